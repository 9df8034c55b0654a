/*
 * A call waits for a run: until its end, or only for a while (run-async, and polls of its result).
 *
 * A client whose own patience is shorter than the command's needs bytes: a call that waits for a
 * command that may take long begins its answer after GRACE_MS and then sends a blank now and then,
 * which is nothing in front of JSON. A fault that comes sooner still has a status of its own.
 *
 * A result that is small goes out whole; a large one is written while the socket takes it, from
 * where the output lies.
 */
#include "bridge/api/dispatch.h"
#include "bridge/api/exec_result.h"
#include "bridge/api/text.h"

#define GRACE_MS 5000
#define BLANK_MS 15000
#define LONG_S   30 /* a longer timeout than this may need blanks */
#define WHOLE    (48 * 1024)

enum how {
	HOW_RUN,    /* to the end */
	HOW_ASYNC,  /* the first answer to run-async */
	HOW_RESULT, /* a poll */
};

struct waiter {
	struct call *call;
	struct run *run; /* held */
	enum how how;
	struct run_wait wait;
	struct due due;
	bool blank, writing;
	struct exec_result result; /* when writing */
};

static struct waiter *waiter_of(struct run_wait *w)
{
	return container_of(w, struct waiter, wait);
}

/* ---- the answer ---- */

static ssize_t pull(struct call *c, uint8_t *out, size_t max)
{
	struct waiter *w = c->state;
	size_t n;

	if (w->writing) {
		n = exec_result_next(&w->result, (char *)out, max);
		return n > 0 ? (ssize_t)n : CALL_DONE;
	}
	if (!w->blank)
		return CALL_NOTHING;
	w->blank = false;
	out[0] = ' ';
	return 1;
}

static void on_call_end(struct call *c)
{
	struct waiter *w = c->state;

	run_wait_end(&w->wait);
	due_clear(&w->due);
	run_release(w->run);
	free(w);
}

static const struct call_ops ops = {.pull = pull, .on_end = on_call_end};

static void reply_whole(struct waiter *w, size_t max)
{
	char *text = malloc(max + 12);
	size_t n = 0, got;

	if (!text) {
		call_error(w->call, 500, "out of memory");
		return;
	}
	while ((got = exec_result_next(&w->result, text + n, max + 12 - n)) > 0)
		n += got;
	call_reply_take(w->call, 200, NULL, text, n);
}

static void reply_result(struct waiter *w)
{
	size_t max;

	exec_result_init(&w->result, w->run, w->how == HOW_RESULT);
	max = exec_result_max(&w->result);
	if (!call_answered(w->call) && max <= WHOLE) {
		reply_whole(w, max);
		return;
	}
	w->writing = true;
	if (!call_answered(w->call))
		call_begin(w->call, 200, NULL, -1);
	call_ready(w->call);
}

/* It has ended. A fault has its own status, where one can be given still; but that a command of
 * run-async failed is its result. */
static void reply_end(struct waiter *w)
{
	struct run *r = w->run;
	bool fault = r->failed && (w->how != HOW_RESULT || r->found);

	if (w->how == HOW_ASYNC)
		run_told(r);
	if (fault && !call_answered(w->call))
		call_fault(w->call, &r->fault);
	else
		reply_result(w);
}

static void on_run_end(struct run_wait *wait)
{
	struct waiter *w = waiter_of(wait);

	due_clear(&w->due);
	reply_end(w);
}

static void reply_running(struct waiter *w)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	if (w->how == HOW_ASYNC) {
		text_str(&t, "execId", w->run->id);
		text_bool(&t, "running", true);
		text_time(&t, "startedAt", w->run->started_ms);
	} else {
		text_bool(&t, "running", true);
		text_str(&t, "stdout", "");
		text_str(&t, "stderr", "");
	}
	if (run_sleeps(w->run))
		text_bool(&t, "waking", true);
	text_close(&t, '}');
	text_reply(&t, w->call, w->how == HOW_ASYNC ? 202 : 200);
}

/* ---- waiting ---- */

static void on_held_enough(struct due *d)
{
	struct waiter *w = container_of(d, struct waiter, due);

	run_wait_end(&w->wait);
	reply_running(w);
}

static void on_blank(struct due *d)
{
	struct waiter *w = container_of(d, struct waiter, due);
	struct call *c = w->call;

	if (!call_answered(c))
		call_begin(c, 200, NULL, -1);
	w->blank = true;
	due_set(exec_runs_dues(bridge_of(c)->runs), d, BLANK_MS, on_blank);
	call_ready(c);
}

/* r is held for us. hold_ms: how long to wait for the end; 0: not at all. */
static void wait_for(struct call *c, struct run *r, enum how how, uint64_t hold_ms)
{
	struct waiter *w = xcalloc(1, sizeof(*w));
	struct dues *dues = exec_runs_dues(bridge_of(c)->runs);

	w->call = c;
	w->run = r;
	w->how = how;
	c->ops = &ops;
	c->state = w;
	if (r->state == RUN_ENDED) {
		reply_end(w);
		return;
	}
	if (how != HOW_RUN && (hold_ms == 0 || run_sleeps(r))) {
		reply_running(w);
		return;
	}
	run_wait(r, &w->wait, on_run_end);
	if (how != HOW_RUN)
		due_set(dues, &w->due, hold_ms, on_held_enough);
	else if (hold_ms > 0)
		due_set(dues, &w->due, hold_ms, on_blank);
}

/* ---- routes ---- */

static bool read_start(struct call *c, struct exec_start *x)
{
	if (!exec_start_read(c, x, EXEC_START_CMD | EXEC_START_TIMES))
		return false;
	if (x->timeout_s == 0)
		x->timeout_s = RUN_TIMEOUT_S;
	x->start.timeout_ms = (uint64_t)x->timeout_s * 1000;
	x->start.disconnect_ms = 0;
	return true;
}

static void handle_run(struct call *c)
{
	struct exec_start x;
	uint64_t grace;

	if (!read_start(c, &x))
		return;
	grace = x.timeout_s > LONG_S ? GRACE_MS : 0;
	wait_for(c, run_start(bridge_of(c)->runs, c->sandbox, &x, false), HOW_RUN, grace);
}

/* Never waits for a sandbox that sleeps, so it brings it up itself. */
static void handle_run_async(struct call *c)
{
	struct bridge *b = bridge_of(c);
	struct exec_start x;

	if (!read_start(c, &x))
		return;
	wait_for(c, run_start(b->runs, c->sandbox, &x, true), HOW_ASYNC, b->config.inline_hold_ms);
}

static void handle_result(struct call *c)
{
	struct bridge *b = bridge_of(c);
	struct run *r = run_find(b->runs, c->sandbox, c->params[1]);

	if (!r) {
		call_error(c, 404, "there is no such command, or it ended too long ago");
		return;
	}
	wait_for(c, r, HOW_RESULT, b->config.result_hold_ms);
}

const struct route routes_exec_run[] = {
	{CALL_POST, "/sandboxes/:id/exec/run", R_TOKEN | R_DATA | R_JSON, handle_run, "runCommand"},
	{CALL_POST, "/sandboxes/:id/exec/run-async", R_TOKEN | R_SANDBOX | R_JSON, handle_run_async,
		"runCommandAsync"},
	{CALL_GET, "/sandboxes/:id/exec/:execId/result", R_TOKEN | R_SANDBOX, handle_result,
		"getCommandResult"},
	{.handle = NULL},
};
