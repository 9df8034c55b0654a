/*
 * A link is one attempt: a dial, then a wire over its descriptor, watched by one uv_poll. Whatever
 * ends it goes through drop(), which only closes the poll handle; everything else of the link is
 * taken apart in that handle's close callback (link_over), where none of our own frames is on the
 * stack. So a callback may end anything at any time. link_over() then decides what comes next: an
 * attempt after a delay, LOST, or CLOSED.
 *
 *	IDLE -> WAITING -> DIALING -> GREETING -> UP
 *	           ^------- DROPPING <-- any of these three
 *	DROPPING -> LOST; all -> CLOSING -> CLOSED
 *
 * Writing is done in one place, the idle callback: it runs after the turn's callbacks and before
 * the loop sleeps, so what several of them queued goes out in one system call.
 */
#include "bridge/guest.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"

#define READ_SIZE    (256 * 1024)
#define FLUSH_ROUNDS 16 /* then the other handles of the loop have their turn */

/* One for all guests: it is in use only inside on_readable(), which nothing nests. */
static uint8_t read_buffer[READ_SIZE];

const char *guest_state_str(enum guest_state s)
{
	static const char *const words[] = {"idle", "waiting", "dialing", "greeting", "up",
		"dropping", "lost", "closing", "closed"};

	return words[s];
}

static void guest_set_state(struct guest *g, enum guest_state state)
{
	log_debug("guest link state=%s was=%s", guest_state_str(state), guest_state_str(g->state));
	ASSERT(g->state < GUEST_LOST || state > g->state);
	g->state = state;
}

static bool has_wire(const struct guest *g)
{
	return g->state == GUEST_GREETING || g->state == GUEST_UP;
}

/* ---- how a link ends ---- */

const char *guest_why(const struct guest *g)
{
	return g->why;
}

__attribute__((format(printf, 4, 5))) static void set_why(
	struct guest *g, int error, bool final, const char *fmt, ...)
{
	va_list ap;

	g->error = error;
	g->final = final;
	va_start(ap, fmt);
	vsnprintf(g->why, sizeof(g->why), fmt, ap);
	va_end(ap);
}

static void link_over(struct guest *g);

static void on_poll_closed(uv_handle_t *h)
{
	link_over(h->data);
}

/* The link is over: the reason is in g->why. Everything further in link_over(). */
static void drop(struct guest *g)
{
	ASSERT(g->state >= GUEST_DIALING && g->state <= GUEST_UP);
	if (g->state == GUEST_UP)
		g->linkless_ms = now_ms();
	guest_set_state(g, GUEST_DROPPING);
	uv_timer_stop(&g->timer);
	uv_idle_stop(&g->flush);
	if (g->has_poll)
		uv_close((uv_handle_t *)&g->poll, on_poll_closed);
	else
		link_over(g);
}

/* The wire has come to its end: by whose will? */
static void drop_closed(struct guest *g)
{
	const struct wire *w = &g->wire;
	int code = w->close_code;

	if (w->error == -EACCES)
		set_why(g, -EACCES, true,
			"the agent wants a token, and not this one. (--token-file)");
	else if (w->error == -EUSERS)
		set_why(g, -EUSERS, false, "the agent has too many connections. Try again");
	else if (w->error < 0)
		set_why(g, -EPROTO, true, "no agentd there: it does not speak " PROTO_NAME);
	else if (code == WS_CLOSE_RESTART)
		set_why(g, -ECONNRESET, false, "the agent is being upgraded");
	else if (code == WS_CLOSE_GOING_AWAY)
		set_why(g, -ECONNRESET, false, "the agent is stopping");
	else if (code == WS_CLOSE_PROTOCOL || code == WS_CLOSE_UNSUPPORTED ||
		 code == WS_CLOSE_TOO_BIG)
		set_why(g, -EPROTO, true, "the rules of the protocol were broken (close code %d)",
			code);
	else
		set_why(g, -ECONNRESET, false, "the agent closed the link (close code %d)", code);
	drop(g);
}

/* The stream broke under us, or the agent hung up (err 0): after having said why, perhaps. */
static void drop_broken(struct guest *g, int err)
{
	if (has_wire(g) && g->wire.close_code) {
		drop_closed(g);
		return;
	}
	if (g->state == GUEST_GREETING && (err == 0 || err == -ECONNRESET || err == -EPIPE))
		set_why(g, -ECONNRESET, false, "it hung up without a word. %s",
			g->config.target.kind == TARGET_UNIX
				? "Only root and the user agentd runs as may connect"
				: "Is it agentd that listens on that port?");
	else
		set_why(g, err ? err : -ECONNRESET, false, "the link broke: %s",
			err ? strerror(-err) : "the agent hung up");
	drop(g);
}

/* ---- requests ---- */

int64_t guest_request(
	struct guest *g, const struct msg_request *m, guest_response_fn fn, void *owner)
{
	char json[FRAME_PAYLOAD_MAX];
	size_t len = msg_format_request(m, json, sizeof(json));

	return len > 0 ? guest_ask(g, json, len, fn, owner) : -EMSGSIZE;
}

int64_t guest_ask(struct guest *g, const void *json, size_t len, guest_response_fn fn, void *owner)
{
	uint64_t id;

	if (!guest_is_up(g))
		return -ENOTCONN;
	id = pending_add(&g->pending, fn, owner);
	mux_request(&g->wire.mux, 0, id, json, len);
	guest_kick(g);
	return (int64_t)id;
}

void guest_cancel(struct guest *g, int64_t id)
{
	pending_cancel(&g->pending, (uint64_t)id);
}

/* ---- the wire's events ---- */

static void on_upgraded(void *owner)
{
	struct guest *g = owner;
	char json[256];
	size_t len = msg_format_hello_client(g->config.name, AGENTD_VERSION, json, sizeof(json));

	ASSERT(len > 0);
	mux_hello(&g->wire.mux, json, len);
	guest_kick(g);
}

static void on_hello(void *owner, const uint8_t *json, size_t len)
{
	struct guest *g = owner;
	struct msg_hello hello;
	struct error e;
	bool same;

	if (g->state != GUEST_GREETING)
		return;
	if (msg_parse_hello(json, len, &hello, &e) < 0) {
		set_why(g, -EPROTO, true, "its HELLO is broken: %.120s", e.message);
		drop(g);
		return;
	}
	msg_hello_fini(&g->hello);
	g->hello = hello;
	if (hello.proto < PROTO_VERSION) {
		set_why(g, -EPROTO, true, "the agent speaks protocol %llu, this program needs %d",
			(unsigned long long)hello.proto, PROTO_VERSION);
		drop(g);
		return;
	}
	same = !g->was_up || strncmp(g->instance, hello.instance, sizeof(g->instance) - 1) == 0;
	snprintf(g->instance, sizeof(g->instance), "%s", hello.instance);
	g->was_up = g->told_up = true;
	g->attempt = 0;
	uv_timer_stop(&g->timer);
	guest_set_state(g, GUEST_UP);
	guest_users_tell(&g->users, same ? GUEST_TELL_UP : GUEST_TELL_UP_ANEW, NULL);
}

static void on_response(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	pending_answer(&((struct guest *)owner)->pending, id, json, len);
}

static void on_notice(void *owner, const uint8_t *json, size_t len)
{
	struct guest *g = owner;
	char word[32] = "";

	if (msg_parse_notice(json, len, word, sizeof(word)) < 0)
		return;
	guest_users_tell(&g->users, GUEST_TELL_NOTICE, word);
}

static const struct wire_events wire_events = {
	.on_upgraded = on_upgraded,
	.mux = {.on_hello = on_hello, .on_response = on_response, .on_notice = on_notice},
};

/* ---- reading and writing ---- */

static void on_poll(uv_poll_t *h, int status, int events);

/* While input is held, the wire waits for its own output to leave: nothing is read before. */
static void update_interest(struct guest *g)
{
	int events = UV_READABLE;

	if (buf_len(&g->held) > 0)
		events = UV_WRITABLE;
	else if (g->blocked)
		events |= UV_WRITABLE;
	if (events != g->events)
		uv_poll_start(&g->poll, events, on_poll);
	g->events = events;
}

/* Gives the wire what it takes of `data`; the rest is held until it takes more. */
static void feed(struct guest *g, uint8_t *data, size_t len)
{
	size_t n = wire_input(&g->wire, data, len);

	if (!has_wire(g))
		return;
	if (data == buf_head(&g->held)) {
		buf_consume(&g->held, n);
	} else if (n < len && buf_append(&g->held, data + n, len - n) < 0) {
		drop_broken(g, -ENOMEM);
		return;
	}
	update_interest(g);
	guest_kick(g);
}

static void on_readable(struct guest *g, bool broken)
{
	ssize_t n;

	do
		n = recv(g->fd, read_buffer, sizeof(read_buffer), 0);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		feed(g, read_buffer, (size_t)n);
	else if (n == 0)
		drop_broken(g, 0);
	else if (errno != EAGAIN || broken)
		drop_broken(g, -errno);
}

/* One gathered write. Returns 1 when all went, 0 when the socket is full, -errno. */
static int write_some(struct guest *g, struct iovec *iov, int n)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	size_t want = 0;
	ssize_t k;
	int err;

	for (int i = 0; i < n; i++)
		want += iov[i].iov_len;
	do
		k = sendmsg(g->fd, &msg, MSG_NOSIGNAL);
	while (k < 0 && errno == EINTR);
	err = k < 0 && errno != EAGAIN ? -errno : 0;
	wire_wrote(&g->wire, k < 0 ? 0 : (size_t)k);
	return err < 0 ? err : (size_t)max_of(k, 0) == want;
}

static void flush(struct guest *g)
{
	struct iovec iov[WIRE_IOV_MAX];
	int n, r = 1;

	for (int round = 0; r > 0 && round < FLUSH_ROUNDS; round++) {
		n = wire_output(&g->wire, iov);
		if (n == 0 && g->wire.state == WIRE_CLOSED) {
			drop_closed(g);
			return;
		}
		if (n == 0)
			break;
		r = write_some(g, iov, n);
		if (r < 0) {
			drop_broken(g, r);
			return;
		}
	}
	/* Also after many rounds: come again when the others had their turn. */
	g->blocked = n > 0;
	update_interest(g);
}

/* Idle handles keep the loop from sleeping, so a kick is seen whenever it comes. With a prepare
 * handle, one from another's prepare callback was not: the link waited for something else to wake
 * the loop. */
static void on_flush(uv_idle_t *h)
{
	struct guest *g = h->data;

	uv_idle_stop(h);
	if (has_wire(g) && !g->blocked)
		flush(g);
}

void guest_kick(struct guest *g)
{
	if (has_wire(g))
		uv_idle_start(&g->flush, on_flush);
}

int guest_open(struct guest *g, struct channel *c, const struct channel_ops *ops, uint64_t window,
	const void *json, size_t len)
{
	if (!guest_is_up(g))
		return -ENOTCONN;
	guest_kick(g);
	return mux_open(&g->wire.mux, c, ops, window, json, len);
}

/* ---- attempts ---- */

static void greet(struct guest *g)
{
	int r;

	g->fd = take_fd(&g->dial.fd);
	dial_fini(&g->dial);
	guest_set_state(g, GUEST_GREETING);
	r = wire_init_client(&g->wire, &wire_events, g, g->config.token);
	if (r < 0) {
		set_why(g, r, r != -ENOMEM, "the link cannot begin: %s", strerror(-r));
		drop(g);
		return;
	}
	update_interest(g);
	guest_kick(g);
}

/* What dial_start() or dial_step() said. */
static void dialed(struct guest *g, int r)
{
	if (r < 0) {
		char text[128];

		target_explain(&g->config.target, r, text, sizeof(text));
		set_why(g, r, false, "%s", text);
		drop(g);
	} else if (r == DIAL_DONE) {
		greet(g);
	} else {
		int events = r == DIAL_READABLE ? UV_READABLE : UV_WRITABLE;

		if (events != g->events)
			uv_poll_start(&g->poll, events, on_poll);
		g->events = events;
	}
}

/*
 * With an error libuv has stopped the handle, but there may be more to read in front of the error,
 * and reading is what tells it.
 */
static void on_poll_error(struct guest *g)
{
	g->events = 0;
	if (buf_len(&g->held) > 0)
		drop_broken(g, 0);
	else
		on_readable(g, true);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct guest *g = h->data;

	if (g->state == GUEST_DIALING) {
		g->events = status < 0 ? 0 : g->events;
		dialed(g, dial_step(&g->dial));
		return;
	}
	if (!has_wire(g))
		return;
	if (status < 0) {
		on_poll_error(g);
		return;
	}
	if (events & UV_WRITABLE) {
		g->blocked = false;
		guest_kick(g);
		if (buf_len(&g->held) > 0 && wire_wants_input(&g->wire))
			feed(g, buf_head(&g->held), buf_len(&g->held));
	}
	if (has_wire(g) && events & UV_READABLE)
		on_readable(g, false);
}

static void on_patience_over(uv_timer_t *t)
{
	struct guest *g = t->data;

	set_why(g, -ETIMEDOUT, false, "no answer within %d s", GUEST_ATTEMPT_MS / 1000);
	drop(g);
}

static void on_attempt(uv_timer_t *t)
{
	struct guest *g = t->data;
	int r;

	guest_set_state(g, GUEST_DIALING);
	g->attempt++;
	uv_timer_start(&g->timer, on_patience_over, GUEST_ATTEMPT_MS, 0);
	r = dial_start(&g->dial, &g->config.target);
	if (r >= 0) {
		int err = uv_poll_init(g->loop, &g->poll, g->dial.fd);

		if (err == 0) {
			g->poll.data = g;
			g->has_poll = true;
			g->events = 0;
			g->open_handles++;
		} else {
			r = err;
		}
	}
	dialed(g, r);
}

/* Half the step is certain, the other half chance, so that a crowd does not come back at once. */
static uint64_t next_delay(struct guest *g)
{
	uint64_t step = GUEST_DELAY_MAX_MS;

	if (g->attempt < 8)
		step = min_of((uint64_t)GUEST_DELAY_MIN_MS << g->attempt, step);
	g->jitter = g->jitter * 1664525 + 1013904223;
	return step / 2 + (g->jitter >> 16) % (step / 2 + 1);
}

/* Nobody listens there, for longer than a restart takes. */
static bool is_refused(const struct guest *g, uint64_t linkless_ms)
{
	return (g->error == -ECONNREFUSED || g->error == -ENOENT) && g->config.refused_ms > 0 &&
	       linkless_ms >= g->config.refused_ms;
}

static void come_again_or_not(struct guest *g)
{
	uint64_t limit = g->was_up ? g->config.retry_ms : g->config.first_ms;
	uint64_t linkless_ms = now_ms() - g->linkless_ms;
	bool refused = is_refused(g, linkless_ms);

	if (g->error == -EAGAIN)
		limit = max_of(limit, (uint64_t)GUEST_BUSY_MS);
	if (g->paused) {
		guest_set_state(g, GUEST_WAITING);
	} else if (g->final || linkless_ms >= limit || (refused && !g->was_up)) {
		guest_set_state(g, GUEST_LOST);
		guest_users_tell(&g->users, GUEST_TELL_LOST, NULL);
	} else {
		guest_set_state(g, GUEST_WAITING);
		uv_timer_start(&g->timer, on_attempt, next_delay(g), 0);
		if (refused)
			guest_users_tell(&g->users, GUEST_TELL_REFUSED, NULL);
	}
}

static void maybe_closed(struct guest *g)
{
	if (g->state != GUEST_CLOSING || g->open_handles > 0)
		return;
	guest_set_state(g, GUEST_CLOSED);
	msg_hello_fini(&g->hello);
	if (g->on_closed)
		g->on_closed(g->on_closed_owner);
}

/* Nothing of ours is on the stack but the close callback (or an attempt that never had a handle).
 */
static void link_over(struct guest *g)
{
	bool had_poll = g->has_poll, told_up = g->told_up;
	struct iovec iov[WIRE_IOV_MAX];
	int n;

	/* In closing, the last words: as many as go without waiting. */
	while (g->state == GUEST_CLOSING && told_up && (n = wire_output(&g->wire, iov)) > 0 &&
		write_some(g, iov, n) > 0)
		;
	wire_fini(&g->wire);
	dial_fini(&g->dial);
	close_fd(&g->fd);
	buf_fini(&g->held);
	g->wire = (struct wire){0};
	g->has_poll = g->blocked = g->told_up = false;
	g->open_handles -= had_poll;
	pending_fail(&g->pending);
	if (g->state == GUEST_DROPPING && told_up)
		guest_users_tell(&g->users, GUEST_TELL_DOWN, NULL);
	if (g->state == GUEST_DROPPING)
		come_again_or_not(g);
	else
		maybe_closed(g);
}

/* ---- its life ---- */

int guest_init(struct guest *g, uv_loop_t *loop, const struct guest_config *config)
{
	*g = (struct guest){.config = *config, .loop = loop, .fd = -1, .dial = DIAL_NULL};
	g->held = BUF_NULL(READ_SIZE);
	g->jitter = (uint32_t)now_ns() ^ (uint32_t)getpid() << 16;
	guest_users_init(&g->users);
	pending_init(&g->pending);
	uv_timer_init(loop, &g->timer);
	uv_idle_init(loop, &g->flush);
	g->timer.data = g->flush.data = g;
	g->open_handles = 2;
	return 0;
}

void guest_add_user(struct guest *g, struct guest_user *u, const struct guest_user_ops *ops)
{
	guest_users_add(&g->users, u, ops);
}

void guest_start(struct guest *g)
{
	ASSERT(g->state == GUEST_IDLE);
	g->linkless_ms = now_ms();
	guest_set_state(g, GUEST_WAITING);
	uv_timer_start(&g->timer, on_attempt, 0, 0);
}

void guest_pause(struct guest *g, bool pause)
{
	if (g->paused == pause || g->state >= GUEST_LOST)
		return;
	g->paused = pause;
	if (pause && g->state >= GUEST_DIALING && g->state <= GUEST_UP) {
		set_why(g, -ECONNRESET, false, "the machine is being saved");
		drop(g);
	} else if (g->state == GUEST_WAITING) {
		g->linkless_ms = now_ms();
		g->attempt = 0;
		uv_timer_stop(&g->timer);
		if (!pause)
			uv_timer_start(&g->timer, on_attempt, 0, 0);
	}
}

static void on_handle_closed(uv_handle_t *h)
{
	struct guest *g = h->data;

	g->open_handles--;
	maybe_closed(g);
}

void guest_close(struct guest *g, guest_closed_fn fn, void *owner)
{
	bool dropping = g->state == GUEST_DROPPING;

	if (g->state >= GUEST_CLOSING)
		return;
	g->users.muted = true;
	g->on_closed = fn;
	g->on_closed_owner = owner;
	if (g->state == GUEST_UP)
		wire_close(&g->wire, WS_CLOSE_NORMAL, "");
	guest_set_state(g, GUEST_CLOSING);
	uv_close((uv_handle_t *)&g->timer, on_handle_closed);
	uv_close((uv_handle_t *)&g->flush, on_handle_closed);
	if (g->has_poll && !dropping)
		uv_close((uv_handle_t *)&g->poll, on_poll_closed);
}

void guest_give_up(struct guest *g, const char *why, guest_closed_fn fn, void *owner)
{
	if (g->state >= GUEST_CLOSING)
		return;
	set_why(g, -ENOTCONN, true, "%s", why);
	guest_close(g, fn, owner);
	g->users.muted = false;
	guest_users_tell(&g->users, GUEST_TELL_LOST, NULL);
	g->users.muted = true;
}
