/*
 * The order of things is the session's: output, the end of replay and the end come from `remote` in
 * the order in which they happened, and pieces keep it. So 0x04 and 0x03 are where they belong
 * without anybody counting.
 *
 * A client's place at the agent has a name that follows from the sandbox and from which of the
 * session's places here is free. After the bridge was killed, the first clients that come back
 * thereby take over the places that the session is still waiting for. And the latest message counts
 * as taken only when the next one is asked for: had it not left whole, it can be had again.
 */
#include "bridge/api/attach.h"

#include <stdio.h>

#include "bridge/api/bridge.h"
#include "bridge/api/exec_runs.h"

#define NOTE_MAX 128
#define TICK_MS  5 /* how often it is looked whether a client that left has been heard */

static void attach_set_state(struct attach *a, enum attach_state state)
{
	ASSERT(state > a->state);
	a->state = state;
}

/* ---- the roster ---- */

static struct roster_entry *entry_of(struct attach *a)
{
	return a->sandbox ? roster_find(&a->sandbox->roster, a->id) : NULL;
}

static void count_in(struct attach *a, struct roster_entry *e)
{
	a->kind = e->kind;
	a->counted = true;
	e->attached++;
	for (int i = 0; a->place < 0 && i < ATTACH_PLACES; i++) {
		if (e->places & 1 << i)
			continue;
		e->places |= (uint8_t)(1 << i);
		a->place = i;
	}
	a->read_only = a->place < 0;
}

/* The sandbox may go its own ways from here. */
static void leave(struct attach *a)
{
	struct roster_entry *e = a->counted ? entry_of(a) : NULL;

	remote_close(&a->remote);
	if (e) {
		if (e->attached > 0)
			e->attached--;
		if (a->place >= 0)
			e->places &= (uint8_t) ~(1 << a->place);
	}
	sandbox_unuse(&a->use);
	a->counted = false;
	a->sandbox = NULL;
}

/* ---- the end ---- */

static void on_timer_closed(uv_handle_t *h)
{
	free(h->data);
}

/* A remote that is in a callback still finds its memory. */
static void destroy(struct attach *a)
{
	ASSERT(a->state == ATTACH_OVER && !a->call);
	pieces_fini(&a->pieces);
	buf_fini(&a->control);
	uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

/* The one place that decides that it is over. */
static void over(struct attach *a, enum attach_code code, const char *reason)
{
	if (a->state >= ATTACH_OVER)
		return;
	a->code = (uint16_t)code;
	snprintf(a->reason, sizeof(a->reason), "%s", reason);
	if (pieces_flush(&a->pieces) < 0)
		pieces_fini(&a->pieces);
	leave(a);
	buf_fini(&a->in);
	uv_timer_stop(&a->timer);
	attach_set_state(a, ATTACH_OVER);
	if (!a->call) {
		destroy(a);
		return;
	}
	if (a->paused)
		call_pause(a->call, false); /* or the client's close would not be seen */
	call_ready(a->call);
}

static void broken(struct attach *a)
{
	pieces_fini(&a->pieces);
	over(a, CLOSE_LOST, "out of memory");
}

static void on_close(struct remote *r, enum remote_why why, const struct error *error)
{
	struct attach *a = r->owner;
	enum sandbox_state s = a->sandbox->state;

	if (s != SANDBOX_RUNNING && s != SANDBOX_BUSY)
		over(a, CLOSE_NO_SANDBOX, "the sandbox was ended or put to sleep");
	else if (error->code == E_REMOVED && a->kind == ROSTER_PTY)
		over(a, CLOSE_DONE, a->form->done); /* DELETE: it had ended before */
	else if (error->code == E_NOT_FOUND || error->code == E_REMOVED)
		over(a, CLOSE_NO_SESSION, error->message);
	else if (error->code == E_TOO_MANY)
		over(a, CLOSE_BUSY, error->message);
	else if (why == REMOTE_REFUSED)
		over(a, CLOSE_REFUSED, error->message);
	else
		over(a, CLOSE_LOST, error->message);
}

static void on_end(struct remote *r, const struct msg_end *end)
{
	struct attach *a = r->owner;
	struct roster_entry *e = entry_of(a);

	if (e && e->running)
		roster_ended(e, end);
	if (a->state == ATTACH_REPLAY && a->form->channels && a->call &&
		pieces_add(&a->pieces, PIECE_LIVE, NULL, 0) < 0) {
		broken(a);
		return;
	}
	if (end->state == END_AGENT_LOST) {
		over(a, CLOSE_LOST, "nobody saw how the process ended");
		return;
	}
	a->has_exit = a->form->channels;
	a->exit_code = roster_exit_code(end);
	over(a, CLOSE_DONE, a->form->done);
}

/* ---- a client that left ---- */

/* Has all that it said reached the session, or can it not any more? */
static bool is_heard(const struct attach *a)
{
	if (a->state < ATTACH_LIVE)
		return buf_len(&a->in) == 0 && !a->in_end && a->n_signals == 0;
	return a->remote.stdin_closed || (buf_len(&a->in) == 0 && buf_len(&a->remote.in) == 0 &&
						 (!a->in_end || a->remote.in_end_sent));
}

static void on_tick(uv_timer_t *t)
{
	struct attach *a = t->data;

	if (is_heard(a) || uv_now(t->loop) >= a->gone_ms + ATTACH_LINGER_MS)
		over(a, CLOSE_DONE, "");
}

static void linger(struct attach *a)
{
	size_t n = a->remote.unconsumed;

	a->gone_ms = uv_now(a->timer.loop);
	a->paused = false;
	pieces_fini(&a->pieces);
	uv_timer_start(&a->timer, on_tick, TICK_MS, TICK_MS);
	if (a->state >= ATTACH_REPLAY)
		remote_consumed(&a->remote, n);
}

static void on_call_end(struct call *c)
{
	struct attach *a = c->state;

	a->call = NULL;
	if (a->state == ATTACH_OVER)
		destroy(a);
	else if (is_heard(a))
		over(a, CLOSE_DONE, "");
	else
		linger(a);
}

/* ---- time ---- */

static void on_timer(uv_timer_t *t);

static void set_timer(struct attach *a)
{
	uint64_t now = uv_now(a->timer.loop), at = a->sent_ms + ATTACH_QUIET_MS;

	if (pieces_cut(&a->pieces))
		at = min_of(at, a->cut_ms + ATTACH_CUT_MS);
	uv_timer_start(&a->timer, on_timer, at > now ? at - now : 0, 0);
}

static void on_timer(uv_timer_t *t)
{
	struct attach *a = t->data;
	uint64_t now = uv_now(t->loop);

	if (pieces_cut(&a->pieces) && now >= a->cut_ms + ATTACH_CUT_MS) {
		if (pieces_flush(&a->pieces) < 0) {
			broken(a);
			return;
		}
		call_ready(a->call);
	}
	if (now >= a->sent_ms + ATTACH_QUIET_MS) {
		a->sent_ms = now;
		a->quiet = true;
		call_ready(a->call);
	}
	set_timer(a);
}

/* ---- output ---- */

static void on_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	struct attach *a = r->owner;

	(void)off;
	a->begun = true;
	if (!a->call) {
		remote_consumed(r, len);
		return;
	}
	if (pieces_add(&a->pieces, stream == STREAM_ERR ? PIECE_ERR : PIECE_OUT, data, len) < 0) {
		broken(a);
		return;
	}
	if (pieces_cut(&a->pieces)) {
		a->cut_ms = uv_now(a->timer.loop);
		if (uv_timer_get_due_in(&a->timer) > ATTACH_CUT_MS)
			set_timer(a);
	}
	call_ready(a->call);
}

/*
 * What is gone before the first byte is gone from the scrollback, as agreed, and so is what an
 * agent that was killed took along from the middle of it: coming again would bring neither. Later
 * it is a loss, which a client that came with ?since= is told; one that could not understand had
 * better come again. A terminal goes on.
 */
static bool is_loss(const struct attach *a, uint64_t missing)
{
	return a->state == ATTACH_LIVE || (a->begun && missing > 0);
}

static void on_gap(struct remote *r, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct attach *a = r->owner;
	char note[NOTE_MAX];
	int n;

	if (!a->form->channels || !a->call)
		return;
	if (a->resumes) {
		n = snprintf(note, sizeof(note),
			"{\"gap\":{\"stream\":\"%s\",\"offset\":%llu,\"missing\":%llu}}",
			stream == STREAM_ERR ? "stderr" : "stdout", (unsigned long long)off,
			(unsigned long long)missing);
		if (pieces_flush(&a->pieces) < 0 ||
			pieces_add(&a->pieces, PIECE_NOTE, note, (size_t)n) < 0)
			broken(a);
		else
			call_ready(a->call);
	} else if (is_loss(a, missing)) {
		over(a, CLOSE_LOST, "output was lost: attach again to have what is left");
	}
}

static ssize_t pull_end(struct attach *a, uint8_t *out)
{
	if (a->has_exit) {
		a->has_exit = false;
		out[0] = 0x03;
		put_u32(out + 1, (uint32_t)a->exit_code);
		return 5;
	}
	call_close(a->call, a->code, a->reason);
	return CALL_DONE;
}

static ssize_t on_pull(struct call *c, uint8_t *out, size_t max)
{
	struct attach *a = c->state;
	size_t head = a->form->channels, len;
	enum piece_kind kind;
	const uint8_t *data;

	if (a->sent && a->state < ATTACH_OVER)
		remote_consumed(&a->remote, a->sent);
	a->sent = 0;
	if (pieces_next(&a->pieces, max - head, &kind, &data, &len)) {
		if (head)
			out[0] = (uint8_t)kind;
		if (len)
			memcpy(out + head, data, len);
		if (kind == PIECE_OUT || kind == PIECE_ERR)
			a->sent = len;
		pieces_took(&a->pieces, len);
		a->quiet = false;
		a->sent_ms = uv_now(a->timer.loop);
		return (ssize_t)(head + len);
	}
	if (a->state == ATTACH_OVER)
		return pull_end(a, out);
	if (!a->quiet)
		return CALL_NOTHING;
	a->quiet = false;
	return CALL_EMPTY;
}

/* ---- input ---- */

static void pause_at(struct attach *a, size_t n, bool paused)
{
	if (a->call && a->paused != paused && (buf_len(&a->in) > n) == paused) {
		a->paused = paused;
		call_pause(a->call, paused);
	}
}

static size_t give(struct attach *a, const uint8_t *data, size_t len)
{
	size_t n = remote_input(&a->remote, data, len);

	if (n > 0 && a->form->on_given)
		a->form->on_given(a, data, n);
	return n;
}

static void feed(struct attach *a)
{
	size_t n = 1;

	if (a->state != ATTACH_LIVE)
		return;
	while (n > 0 && buf_len(&a->in) > 0) {
		n = give(a, buf_head(&a->in), buf_len(&a->in));
		buf_consume(&a->in, n);
	}
	if (buf_len(&a->in) == 0) {
		buf_trim(&a->in, 0);
		if (a->in_end && !a->remote.in_end)
			remote_input_end(&a->remote);
	}
	pause_at(a, ATTACH_INPUT / 2, false);
}

static void on_input_room(struct remote *r)
{
	feed(r->owner);
}

void attach_input(struct attach *a, const uint8_t *data, size_t len)
{
	size_t n = 0;

	if (a->state >= ATTACH_OVER || a->in_end || len == 0)
		return;
	if (a->read_only) {
		over(a, CLOSE_REFUSED, "enough clients write to this session already");
		return;
	}
	if (a->state == ATTACH_LIVE && buf_len(&a->in) == 0)
		n = give(a, data, len);
	if (n < len && buf_append(&a->in, data + n, len - n) < 0) {
		over(a, CLOSE_LOST, "no memory for what the process does not read");
		return;
	}
	pause_at(a, ATTACH_INPUT, true);
}

void attach_input_end(struct attach *a)
{
	a->in_end = true;
	feed(a);
}

/* The answer is of no use: what a signal does is seen in the output, or in the end. */
static void on_signalled(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	(void)owner, (void)json, (void)len, (void)error;
}

void attach_signal(struct attach *a, int sig)
{
	struct msg_request m = {.op = OP_KILL, .id = a->id, .signal = sig};

	if (a->state == ATTACH_LIVE)
		guest_request(a->remote.guest, &m, on_signalled, NULL);
	else if (a->state < ATTACH_LIVE && a->n_signals < ATTACH_SIGNALS)
		a->signals[a->n_signals++] = (uint8_t)sig;
}

void attach_resize(struct attach *a, uint16_t cols, uint16_t rows)
{
	if (a->kind == ROSTER_PTY && a->state >= ATTACH_REPLAY && a->state < ATTACH_OVER)
		remote_set_size(&a->remote, &(struct msg_size){.cols = cols, .rows = rows});
}

static void on_live(struct remote *r)
{
	struct attach *a = r->owner;

	if (a->form->channels && a->call && pieces_add(&a->pieces, PIECE_LIVE, NULL, 0) < 0) {
		broken(a);
		return;
	}
	attach_set_state(a, ATTACH_LIVE);
	for (unsigned i = 0; i < a->n_signals; i++)
		attach_signal(a, a->signals[i]);
	feed(a);
	if (a->call)
		call_ready(a->call);
}

static void on_opened(struct remote *r, const struct msg_opened *o)
{
	(void)r, (void)o;
}

/* Now what waits is dropped. */
static void on_stdin_closed(struct remote *r)
{
	feed(r->owner);
}

static const struct remote_events remote_events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_gap = on_gap,
	.on_live = on_live,
	.on_input_room = on_input_room,
	.on_stdin_closed = on_stdin_closed,
	.on_end = on_end,
	.on_close = on_close,
};

/* ---- beginning ---- */

void attach_place(const struct sandbox *s, int number, char ret[MSG_VIEWER_MAX + 1])
{
	snprintf(ret, MSG_VIEWER_MAX + 1, "b%d-%.20s", number, s->id);
}

static void on_usable(struct sandbox_use *u, const struct fault *fault)
{
	struct attach *a = u->owner;
	struct roster_entry *e = entry_of(a);
	char name[MSG_VIEWER_MAX + 1];
	struct remote_config config = {.id = a->id,
		.window = ATTACH_WINDOW,
		.since_now = a->since_now,
		.yield_ms = ATTACH_YIELD_MS};
	int err;

	if (fault) {
		over(a,
			fault->status == 502 || fault->status == 503 ? CLOSE_LOST
								     : CLOSE_NO_SANDBOX,
			fault->text);
		return;
	}
	if (e ? !(a->form->kinds & 1u << e->kind) : a->sandbox->roster.known) {
		over(a, CLOSE_NO_SESSION, "no such session any more");
		return;
	}
	if (e)
		count_in(a, e);
	attach_place(a->sandbox, a->place, name);
	config.viewer = a->read_only ? "" : a->place < 0 ? NULL : name;
	config.input = !a->read_only;
	config.since[0] = a->since[0];
	config.since[1] = a->since[1];
	attach_set_state(a, ATTACH_REPLAY);
	a->remote.owner = a;
	err = remote_open(&a->remote, sandbox_guest(a->sandbox), &remote_events, &config);
	if (err < 0)
		over(a, CLOSE_LOST, strerror(-err));
}

static void on_message(struct call *c, const uint8_t *data, size_t len, bool first, bool last)
{
	struct attach *a = c->state;

	a->form->on_message(a, data, len, first, last);
}

static const struct call_ops call_ops = {
	.pull = on_pull,
	.on_message = on_message,
	.on_end = on_call_end,
};

/* "now", or "OUT,ERR"; absent is fine. */
static bool parse_since(struct attach *a, struct call *c)
{
	auto_free char *text = call_query(c, "since");
	unsigned long long out, err;
	int n = 0;

	if (!text)
		return true;
	a->resumes = true;
	a->since_now = strcmp(text, "now") == 0;
	if (a->since_now)
		return true;
	if (sscanf(text, "%16llu,%16llu%n", &out, &err, &n) != 2 || text[n] || strpbrk(text, "-+ "))
		return false;
	a->since[0] = out;
	a->since[1] = err;
	return true;
}

/* NULL: there is none. A run is in no list of sessions until somebody wants to see it. */
static struct roster_entry *find(struct call *c, const char *id)
{
	struct roster *roster = &c->sandbox->roster;
	struct roster_entry *e = roster_find(roster, id);

	if (!e && run_is_known(bridge_of(c)->runs, c->sandbox, id))
		e = roster_add(roster, id, ROSTER_RUN, "", NULL);
	return e;
}

void attach_socket(struct call *c, const struct attach_form *form)
{
	struct sandbox *s = c->sandbox;
	struct roster_entry *e = find(c, c->params[1]);
	struct attach *a;

	if (!msg_name_valid(c->params[1], MSG_ID_MAX) ||
		(e ? !(form->kinds & 1u << e->kind) : s->roster.known)) {
		call_error(c, 404, "no such session");
		return;
	}
	a = xcalloc(1, sizeof(*a));
	a->form = form;
	a->call = c;
	a->sandbox = s;
	a->place = -1;
	snprintf(a->id, sizeof(a->id), "%s", c->params[1]);
	if (!parse_since(a, c)) {
		free(a);
		call_error(c, 400, "since must be \"now\", or two numbers as 120,0");
		return;
	}
	pieces_init(&a->pieces, ATTACH_WINDOW + 64 * KIB, form->channels);
	a->in = BUF_NULL(2 * ATTACH_INPUT);
	a->control = BUF_NULL(ATTACH_CONTROL);
	uv_timer_init(bridge_of(c)->loop, &a->timer);
	a->timer.data = a;
	a->sent_ms = uv_now(a->timer.loop);
	set_timer(a);
	call_accept(c, &call_ops, a);
	a->use.lasting = true;
	sandbox_use(s, &a->use, on_usable, a);
}
