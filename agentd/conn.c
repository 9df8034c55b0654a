#include "agentd/conn.h"

#include <stdio.h>
#include <sys/socket.h>

#include "agentd/daemon.h"
#include "agentd/lag.h"
#include "agentd/metrics.h"

#define LINGER_MS      1000
#define SILENCE_MS     10000
#define ANSWER_MS      2
#define ACKNOWLEDGE_MS 30
/*
 * Bytes written in one turn of the loop. It bounds how long a key waits behind bulk, as the next
 * turn begins with what became ready meanwhile; and it costs throughput. So it is small only where
 * there is somebody to wait (bench: stream, echo).
 */
#define FLUSH_ALONE  (512 * 1024)
#define FLUSH_SHARED (128 * 1024)

static const struct wire_events wire_events;

static void conn_set_phase(struct conn *c, enum conn_phase phase)
{
	ASSERT(phase >= c->phase);
	log_debug("connection phase conn=%u from=%d to=%d", c->id, c->phase, phase);
	c->phase = phase;
}

static void on_poll(uv_poll_t *h, int status, int events);

static void update_poll(struct conn *c)
{
	int mask = UV_DISCONNECT;

	if (c->phase == CONN_CLOSED)
		return;
	if (c->phase == CONN_LINGER || (wire_wants_input(&c->wire) && buf_len(&c->pending) == 0))
		mask |= UV_READABLE;
	if (c->want_write)
		mask |= UV_WRITABLE;
	if (mask == c->poll_mask)
		return;
	c->poll_mask = mask;
	uv_poll_start(&c->poll, mask, on_poll);
}

static void wake(struct service_link *l)
{
	struct conn *c = container_of(l, struct conn, service);

	daemon_wake(c->daemon, c);
}

/* ---- input ---- */

static void feed(struct conn *c, uint8_t *data, size_t len)
{
	size_t n = wire_input(&c->wire, data, len);

	/* What the wire leaves is at most one read, and nothing more is read before it is taken. */
	if (n < len && buf_append(&c->pending, data + n, len - n) < 0)
		conn_close(c);
}

static void feed_pending(struct conn *c)
{
	size_t n;

	if (buf_len(&c->pending) == 0 || !wire_wants_input(&c->wire))
		return;
	n = wire_input(&c->wire, buf_head(&c->pending), buf_len(&c->pending));
	buf_consume(&c->pending, n);
	buf_trim(&c->pending, 0);
}

/* When what came asks for something to be sent. A timer that goes off soon has to be set in the
 * hardware, which costs as much as a key's way through us: so acknowledgements, for which nobody
 * waits, have more time. */
static void answer(struct conn *c)
{
	if (wire_urgent(&c->wire) || buf_len(&c->pending) > 0)
		daemon_wake(c->daemon, c);
	else if (buf_len(&c->wire.mux.control) > 0)
		daemon_wake_within(c->daemon, c, ANSWER_MS);
	else if (!list_empty(&c->wire.mux.due))
		daemon_wake_within(c->daemon, c, ACKNOWLEDGE_MS);
}

static void heard(struct conn *c)
{
	c->called = false;
	if (!c->ending)
		uv_timer_stop(&c->timer);
}

static void on_readable(struct conn *c)
{
	ssize_t n = read(c->fd, c->daemon->read_buf, DAEMON_READ_SIZE);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_close(c);
		return;
	}
	c->daemon->bytes_in += (uint64_t)n;
	if (c->called)
		heard(c);
	if (c->phase != CONN_LINGER) {
		feed(c, c->daemon->read_buf, (size_t)n);
		answer(c);
	}
}

/* It has hung up without taking all that we had for it, which is an error and not an end. What it
 * said before counts all the same: the last keys, and a goodbye, by which its places need not be
 * held. */
static void hear_out(struct conn *c)
{
	ssize_t n = 1;

	while (n > 0 && c->phase < CONN_LINGER && wire_wants_input(&c->wire) &&
		buf_len(&c->pending) == 0) {
		n = read(c->fd, c->daemon->read_buf, DAEMON_READ_SIZE);
		if (n > 0)
			feed(c, c->daemon->read_buf, (size_t)n);
	}
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct conn *c = h->data;

	lag_begin();
	if (status < 0) {
		hear_out(c);
		conn_close(c);
		return;
	}
	if (events & UV_WRITABLE) {
		c->want_write = false;
		daemon_wake(c->daemon, c);
	}
	if (events & UV_READABLE)
		on_readable(c);
	else if (events & UV_DISCONNECT)
		conn_close(c); /* it hung up, and we were not going to read what it left */
}

/* ---- output ---- */

/* From the moment a link is ending, the peer has this long to take what is left and hang up. */
static void on_time_up(uv_timer_t *t)
{
	conn_close(t->data);
}

static void limit_farewell(struct conn *c)
{
	if (c->ending)
		return;
	c->ending = true;
	uv_timer_start(&c->timer, on_time_up, LINGER_MS, 0);
}

/* All is said. Closing at once could throw away what the peer has not read yet, so it is asked to
 * go first. */
static void linger(struct conn *c)
{
	conn_set_phase(c, CONN_LINGER);
	shutdown(c->fd, SHUT_WR);
}

void conn_flush(struct conn *c)
{
	struct iovec iov[WIRE_IOV_MAX];
	size_t budget = mux_channels(&c->wire.mux) > 1 ? FLUSH_SHARED : FLUSH_ALONE;

	while (c->phase < CONN_LINGER && !c->want_write) {
		int n = wire_output(&c->wire, iov);
		ssize_t sent;

		if (n == 0 && buf_len(&c->pending) > 0 && wire_wants_input(&c->wire)) {
			feed_pending(c);
			continue;
		}
		if (n == 0)
			break;
		sent = writev(c->fd, iov, n);
		if (sent < 0 && errno != EAGAIN && errno != EINTR) {
			wire_wrote(&c->wire, 0);
			hear_out(c);
			conn_close(c);
			return;
		}
		wire_wrote(&c->wire, sent > 0 ? (size_t)sent : 0);
		c->daemon->bytes_out += sent > 0 ? (uint64_t)sent : 0;
		budget -= sent > 0 ? min_of((size_t)sent, budget) : 0;
		c->want_write = sent < 0 || budget == 0;
	}
	if (c->wire.state >= WIRE_CLOSING && c->phase != CONN_CLOSED)
		limit_farewell(c);
	if (c->wire.state == WIRE_CLOSED && c->phase < CONN_LINGER)
		linger(c);
	update_poll(c);
}

static void on_silence(uv_timer_t *t)
{
	struct conn *c = t->data;

	log_info("connection dropped conn=%u reason=silence", c->id);
	conn_close(c);
}

void conn_call(struct conn *c)
{
	if (c->phase != CONN_OPEN || c->called || c->ending)
		return;
	c->called = true;
	uv_timer_start(&c->timer, on_silence, SILENCE_MS, 0);
	wire_ping(&c->wire);
	daemon_wake(c->daemon, c);
}

void conn_bye(struct conn *c, const char *notice, int code)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "{\"notice\":\"%s\"}", notice);

	if (c->phase == CONN_OPEN)
		mux_send(&c->wire.mux, &(struct frame){.type = FRAME_NOTICE}, text, (size_t)n);
	wire_close(&c->wire, code, notice);
	daemon_wake(c->daemon, c);
}

/* ---- the wire speaks ---- */

/* In time that does not depend on where the difference is. */
static bool same(const char *a, const char *b, size_t len)
{
	volatile unsigned char diff = 0;

	for (size_t i = 0; i < len; i++)
		diff |= (unsigned char)(a[i] ^ b[i]);
	return diff == 0;
}

static int authorize(void *owner, const struct http_head *head)
{
	struct conn *c = owner;
	const char *token = c->daemon->config.token, *given = head->authorization;
	size_t len = token ? strlen(token) : 0;
	int full = c->welcome ? 0 : 503;

	if (!token)
		return full;
	if (strncasecmp(given, "Bearer ", 7) == 0 && strlen(given + 7) == len &&
		same(given + 7, token, len))
		return full;
	log_warn("connection refused conn=%u reason=token", c->id);
	return 401;
}

static bool answer_plain(void *owner, const char *path, struct http_answer *ret)
{
	struct conn *c = owner;

	if (strcmp(path, "/healthz") == 0) {
		ret->status = c->daemon->stopping ? 503 : 200;
		ret->type = "text/plain; charset=utf-8";
		ret->body = c->daemon->stopping ? "stopping\n" : "ok\n";
		ret->len = strlen(ret->body);
		return true;
	}
	if (strcmp(path, "/metrics") == 0) {
		ret->status = 200;
		ret->type = "text/plain; version=0.0.4; charset=utf-8";
		ret->body = metrics_text(c->daemon, &ret->len);
		return true;
	}
	return false;
}

static void on_upgraded(void *owner)
{
	struct conn *c = owner;
	char text[2048];
	struct jsonw w;

	jsonw_init(&w, text, sizeof(text));
	jsonw_open(&w, NULL, '{');
	daemon_put_hello(c->daemon, &w);
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	mux_hello(&c->wire.mux, text, w.len);
}

static void on_hello(void *owner, const uint8_t *json, size_t len)
{
	struct conn *c = owner;
	struct msg_hello m;
	struct error e;

	if (msg_parse_hello(json, len, &m, &e) < 0) {
		wire_close(&c->wire, WS_CLOSE_PROTOCOL, "bad HELLO");
		return;
	}
	if (m.proto != PROTO_VERSION) {
		wire_close(&c->wire, WS_CLOSE_PROTOCOL, "protocol version not known here");
	} else if (c->phase == CONN_HANDSHAKE) {
		uv_timer_stop(&c->timer);
		conn_set_phase(c, CONN_OPEN);
	}
	msg_hello_fini(&m);
}

static void on_open(void *owner, uint32_t id, const uint8_t *json, size_t len)
{
	struct conn *c = owner;

	service_open(&c->service, id, json, len);
}

static void on_request(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	struct conn *c = owner;

	control_request(&c->service, id, json, len);
}

static const struct wire_events wire_events = {
	.authorize = authorize,
	.answer_plain = answer_plain,
	.on_upgraded = on_upgraded,
	.mux = {.on_hello = on_hello, .on_open = on_open, .on_request = on_request},
};

/* ---- life ---- */

static void on_handle_closed(uv_handle_t *h)
{
	struct conn *c = h->data;

	if (--c->open_handles == 0)
		free(c);
}

static void on_handshake_timeout(uv_timer_t *t)
{
	struct conn *c = t->data;

	log_info("connection dropped conn=%u reason=handshake-timeout", c->id);
	wire_close(&c->wire, WS_CLOSE_POLICY, "no HELLO in time");
	daemon_wake(c->daemon, c);
}

struct conn *conn_new(struct daemon *d, int fd, bool welcome)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c || wire_init_server(&c->wire, &wire_events, c, d->config.max_channels) < 0) {
		free(c);
		close(fd);
		return NULL;
	}
	c->daemon = d;
	c->fd = fd;
	c->welcome = welcome;
	c->id = ++d->next_conn_id;
	c->pending = BUF_NULL(DAEMON_READ_SIZE);
	c->service = (struct service_link){.mux = &c->wire.mux,
		.sessions = &d->sessions,
		.workers = &d->workers,
		.watches = &d->watches,
		.dials = &d->dials,
		.ports = &d->ports,
		.host = &daemon_host,
		.host_ctx = d,
		.wake = wake};
	list_init(&c->service.replies);
	list_init(&c->woken);
	list_append(&d->conns, &c->link);
	d->n_conns++;
	uv_timer_init(&d->loop, &c->timer);
	c->timer.data = c->poll.data = c;
	c->open_handles = 1;
	if (uv_poll_init(&d->loop, &c->poll, fd) < 0) {
		conn_close(c);
		return NULL;
	}
	c->poll.data = c;
	c->open_handles++;
	uv_timer_start(&c->timer, on_handshake_timeout, d->config.hello_timeout_ms, 0);
	update_poll(c);
	return c;
}

void conn_close(struct conn *c)
{
	if (c->phase == CONN_CLOSED)
		return;
	log_debug("connection closed conn=%u code=%d", c->id, c->wire.close_code);
	conn_set_phase(c, CONN_CLOSED);
	c->service.clean =
		c->wire.close_code == WS_CLOSE_NORMAL || c->wire.close_code == WS_CLOSE_GOING_AWAY;
	wire_fini(&c->wire);
	service_link_fini(&c->service);
	buf_fini(&c->pending);
	list_remove(&c->link);
	list_remove(&c->woken);
	c->daemon->n_conns--;
	uv_timer_stop(&c->timer);
	uv_close((uv_handle_t *)&c->timer, on_handle_closed);
	if (c->open_handles > 1) {
		uv_poll_stop(&c->poll);
		uv_close((uv_handle_t *)&c->poll, on_handle_closed);
	}
	close_fd(&c->fd);
}
