/*
 * A visit is a remote that shows no output: its window is one byte, and it never holds the session
 * up. It goes on when the client hangs up, so that a prompt is never written by half; it holds the
 * sandbox itself for that.
 *
 * What is written to a session goes there whole, one visit's after the other's: the agent takes it
 * in pieces, and an interrupt in the middle of a long prompt would spoil both.
 *
 * Except for the beginning of a new command. Its client attaches in a moment, and would find only
 * what the scrollback still has: so the visit stays for a while, at the first byte and as a viewer
 * that must not miss any. It has the name of the first client's place (attach.c), who thereby takes
 * it over.
 *
 * It is freed when it is over and its call has ended, whichever comes last, and no callback of the
 * remote is on the stack any more.
 */
#include "bridge/api/exec_visit.h"

#include <stdio.h>

#include "bridge/api/agent_turns.h"
#include "bridge/api/attach.h"
#include "bridge/api/bridge.h"
#include "bridge/api/dispatch.h"
#include "bridge/api/exec_fault.h"
#include "bridge/api/exec_list.h"
#include "bridge/remote.h"

#define LISTED_EACH 128  /* sessions in a roster: then it is compared with the agent's list */
#define STAY_MS     5000 /* for the first client of a new command */

struct visit {
	struct list node;  /* in bridge->visits */
	struct call *call; /* NULL: it has ended */
	struct bridge *bridge;
	struct sandbox *sandbox;
	struct sandbox_use use;
	struct remote remote;
	struct exec_start start;
	bool starts, opened, over;
	bool writes, waits; /* waits: for another to have written */
	bool stays;         /* answered, and waiting for the first client */
	enum roster_kind kind;
	char id[ROSTER_ID_MAX + 1];
	struct buf input;
	exec_visit_fn fn;
	uv_timer_t timer; /* of the stay; memory goes when it is closed: then no callback is on the
			     stack any more */
	bool freed;
};

static void open_remote(struct visit *v);

static void on_gone(uv_handle_t *h)
{
	struct visit *v = h->data;

	exec_start_fini(&v->start);
	buf_fini(&v->input);
	free(v);
}

static void maybe_free(struct visit *v)
{
	if (!v->over || v->call || v->freed)
		return;
	v->freed = true;
	list_remove(&v->node);
	uv_close((uv_handle_t *)&v->timer, on_gone);
}

/* Does it write to the same session, or wait to? */
static bool is_writer(const struct visit *v, const struct visit *other)
{
	return v->writes && !v->over && v->sandbox == other->sandbox &&
	       strcmp(v->id, other->id) == 0;
}

static bool is_first(const struct visit *v)
{
	list_for_each (other, &v->bridge->visits, struct visit, node) {
		if (other == v)
			return true;
		if (is_writer(other, v))
			return false;
	}
	return true;
}

/* They are in the order in which they came. `left` may be out of the list. */
static void let_next(struct visit *left)
{
	list_for_each (v, &left->bridge->visits, struct visit, node) {
		if (!is_writer(v, left))
			continue;
		if (v->waits)
			open_remote(v);
		return;
	}
}

/* We leave. The call, if it is there, is answered by the caller; nothing is done after that. */
static void leave(struct visit *v)
{
	ASSERT(!v->over);
	v->over = true;
	v->waits = false;
	remote_close(&v->remote);
	sandbox_unuse(&v->use);
	maybe_free(v);
	let_next(v);
}

static void fail(struct visit *v, const struct fault *f)
{
	leave(v);
	if (v->call)
		call_fault(v->call, f);
}

static void on_time_up(uv_timer_t *t)
{
	leave(t->data);
}

static bool keeps_beginning(const struct visit *v)
{
	return v->starts && v->kind == ROSTER_EXEC && !v->writes;
}

static void stay(struct visit *v)
{
	uint64_t ms = v->start.start.disconnect_ms;

	v->stays = true;
	sandbox_unuse(&v->use);
	/* That nobody comes is counted from our leaving. */
	uv_timer_start(&v->timer, on_time_up, ms ? min_of(ms, (uint64_t)STAY_MS) : STAY_MS, 0);
}

static void done(struct visit *v)
{
	struct roster_entry *e = roster_find(&v->sandbox->roster, v->id);
	struct fault f = {0};

	if (!e) {
		fault_set(&f, 404, "session not found");
		fail(v, &f);
		return;
	}
	if (keeps_beginning(v))
		stay(v);
	else
		leave(v);
	if (v->call)
		v->fn(v->call, e);
}

/* ---- what is written ---- */

static void write_more(struct visit *v)
{
	struct roster_entry *e = roster_find(&v->sandbox->roster, v->id);
	size_t n;

	if (buf_len(&v->input) == 0)
		return;
	n = remote_input(&v->remote, buf_head(&v->input), buf_len(&v->input));
	if (e)
		agent_turns_input(e, buf_head(&v->input), n);
	buf_consume(&v->input, n);
}

static void on_input_room(struct remote *r)
{
	write_more(r->owner);
}

static void on_input_safe(struct remote *r)
{
	struct visit *v = r->owner;

	if (v->opened && !v->over && buf_len(&v->input) == 0)
		done(v);
}

/* A session that we have started is there all the same: what is wrong it says itself. */
static void no_reader(struct visit *v)
{
	struct fault f = {0};

	if (v->starts && v->opened) {
		done(v);
		return;
	}
	fault_set(&f, 409, "the session takes no input any more");
	fail(v, &f);
}

static void on_stdin_closed(struct remote *r)
{
	struct visit *v = r->owner;

	if (!v->over && v->opened && !v->stays)
		no_reader(v);
}

/* ---- the session ---- */

/* It runs: now everybody may know it. */
static bool introduce(struct visit *v)
{
	struct roster *roster = &v->sandbox->roster;
	struct roster_entry *e = roster_find(roster, v->id);

	if (!e)
		e = roster_add(
			roster, v->id, v->kind, v->start.cmd ? v->start.cmd : "", v->start.args);
	if (!e)
		return false;
	if (v->kind == ROSTER_AGENT)
		agent_turns_watch(v->bridge->turns, v->sandbox, e);
	if (roster->n % LISTED_EACH == 0)
		exec_list_refresh(v->sandbox);
	return true;
}

static void on_opened(struct remote *r, const struct msg_opened *o)
{
	struct visit *v = r->owner;
	struct fault f = {0};

	if (o->state == END_START_FAILED)
		return; /* on_end tells why */
	v->opened = true;
	if (v->starts && !introduce(v)) {
		fault_set(&f, 500, "out of memory");
		fail(v, &f);
	} else if (buf_len(&v->input) > 0) {
		write_more(v);
	} else {
		done(v);
	}
}

static void on_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	struct visit *v = r->owner;

	(void)stream, (void)off, (void)data;
	if (!keeps_beginning(v))
		remote_consumed(r, len);
}

static void forgotten(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	(void)owner, (void)json, (void)len, (void)error;
}

/* A session that never ran is nobody's. */
static void forget(struct visit *v)
{
	struct msg_request m = {.op = OP_REMOVE, .id = v->id};

	guest_request(sandbox_guest(v->sandbox), &m, forgotten, NULL);
}

static void on_end(struct remote *r, const struct msg_end *end)
{
	struct visit *v = r->owner;
	struct fault f = {0};
	char why[200];

	if (!v->over && end->state == END_START_FAILED && v->starts) {
		exec_start_why(end, v->start.cmd, v->start.cwd, why, sizeof(why));
		fault_set(&f, 400, "%s", why);
		forget(v);
		fail(v, &f);
	} else if (!v->over && !v->stays) {
		no_reader(v);
	}
}

static void on_close(struct remote *r, enum remote_why why, const struct error *error)
{
	struct visit *v = r->owner;
	struct fault f = {0};

	if (v->over)
		return;
	if (v->stays) {
		leave(v);
		return;
	}
	if (why == REMOTE_DONE) {
		no_reader(v);
		return;
	}
	exec_fault_close(&f, v->sandbox, why, error);
	fail(v, &f);
}

static const struct remote_events events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_input_room = on_input_room,
	.on_input_safe = on_input_safe,
	.on_stdin_closed = on_stdin_closed,
	.on_end = on_end,
	.on_close = on_close,
};

/* ---- the call ---- */

static void on_call_end(struct call *c)
{
	struct visit *v = c->state;

	v->call = NULL;
	if (v->waits)
		leave(v); /* nothing of it is written yet */
	else
		maybe_free(v);
}

static const struct call_ops call_ops = {.on_end = on_call_end};

/* The call's own use has brought it up. */
static void on_use(struct sandbox_use *u, const struct fault *fault)
{
	(void)u, (void)fault;
}

static struct visit *begin(struct call *c, struct buf *input, exec_visit_fn fn)
{
	struct visit *v = xcalloc(1, sizeof(*v));

	v->call = c;
	v->bridge = bridge_of(c);
	v->sandbox = c->sandbox;
	v->fn = fn;
	v->input = BUF_NULL(0);
	if (input) {
		v->input = *input;
		*input = BUF_NULL(0);
	}
	v->writes = buf_len(&v->input) > 0;
	v->remote.owner = v;
	uv_timer_init(v->bridge->loop, &v->timer);
	v->timer.data = v;
	list_init(&v->node);
	list_append(&v->bridge->visits, &v->node);
	c->ops = &call_ops;
	c->state = v;
	sandbox_use(v->sandbox, &v->use, on_use, NULL);
	return v;
}

static void open_remote(struct visit *v)
{
	bool keeps = keeps_beginning(v);
	char place[MSG_VIEWER_MAX + 1];
	struct remote_config config = {
		.id = v->id,
		.viewer = v->writes ? NULL
			  : keeps   ? place
				    : "",
		.start = v->starts ? &v->start.start : NULL,
		.since_now = !v->starts,
		.input = v->writes,
		.own = OWN_NEVER,
		.policy = keeps ? POLICY_LOSSLESS : POLICY_LIVE,
		.window = 1,
	};
	struct fault f = {0};
	int r;

	v->waits = v->writes && !is_first(v);
	if (v->waits)
		return;
	attach_place(v->sandbox, 0, place);
	r = remote_open(&v->remote, sandbox_guest(v->sandbox), &events, &config);
	if (r < 0) {
		exec_fault_open(&f, r);
		fail(v, &f);
	}
}

void exec_visit_start(struct call *c, struct exec_start *x, enum roster_kind kind,
	struct buf *input, exec_visit_fn fn)
{
	struct visit *v = begin(c, input, fn);

	v->start = *x;
	*x = (struct exec_start){0};
	v->starts = true;
	v->kind = kind;
	roster_new_id(kind, v->id);
	open_remote(v);
}

void exec_visit_write(struct call *c, struct roster_entry *e, struct buf *input, exec_visit_fn fn)
{
	struct visit *v = begin(c, input, fn);

	snprintf(v->id, sizeof(v->id), "%s", e->id);
	open_remote(v);
}

void exec_visits_end(struct bridge *b)
{
	list_for_each_safe (v, &b->visits, struct visit, node) {
		if (v->stays)
			leave(v);
	}
}
