/*
 * A run is freed when nobody holds it, it has ended, and it is not kept. While it is active its
 * remote and its use of the sandbox hold it once, together.
 *
 * Memory for output is bounded for all of them together. When it is used up, results that are kept
 * go first, oldest first: the guest has them, too. Then whoever writes loses the oldest of its own
 * output beyond its share, and says `truncated`: to stop the commands instead could stop them all,
 * for none of them could end.
 */
#include "bridge/api/exec_runs.h"

#include <stdio.h>

#include "bridge/api/exec_fault.h"

#define BUCKETS   1024
#define TIMED_OUT "\nProcess timed out"

struct exec_runs {
	uv_loop_t *loop;
	struct list active; /* by start */
	struct list kept;   /* by end */
	size_t n_kept;
	struct list buckets[BUCKETS];
	size_t memory; /* of all output */
	struct dues holds, keeps;
	unsigned closing; /* of the two, on the loop still */
	void (*on_closed)(void *owner);
	void *owner;
};

static void set_state(struct run *r, enum run_state state)
{
	ASSERT(r->state != RUN_ENDED);
	r->state = state;
}

static struct list *bucket_of(struct exec_runs *rs, const char *id)
{
	return &rs->buckets[hash_text(id) % BUCKETS];
}

/* ---- how long they stay ---- */

static void on_gone(uv_handle_t *h)
{
	free(h->data);
}

static void run_free(struct run *r)
{
	struct exec_runs *rs = r->all;

	ASSERT(list_empty(&r->waiting));
	due_clear(&r->due);
	list_remove(&r->node);
	list_remove(&r->bucket);
	rs->memory -= r->out[0].memory + r->out[1].memory;
	exec_output_fini(&r->out[0]);
	exec_output_fini(&r->out[1]);
	exec_start_fini(&r->start);
	uv_close((uv_handle_t *)&r->gone, on_gone);
}

void run_hold(struct run *r)
{
	r->holds++;
}

void run_release(struct run *r)
{
	ASSERT(r->holds > 0);
	r->holds--;
	if (r->holds == 0 && !r->keeps)
		run_free(r);
}

/* Not to be found any more. */
static void unkeep(struct run *r)
{
	ASSERT(r->state == RUN_ENDED);
	if (!r->keeps)
		return;
	run_hold(r);
	r->keeps = false;
	r->all->n_kept--;
	due_clear(&r->due);
	list_remove(&r->node);
	list_remove(&r->bucket);
	run_release(r);
}

static void on_kept_enough(struct due *d)
{
	unkeep(container_of(d, struct run, due));
}

static void keep(struct run *r)
{
	struct exec_runs *rs = r->all;

	list_remove(&r->node);
	if (!r->keeps)
		return;
	list_append(&rs->kept, &r->node);
	due_set(&rs->keeps, &r->due, RUN_KEEP_MS, on_kept_enough);
	if (++rs->n_kept > RUNS_KEPT)
		unkeep(list_first(&rs->kept, struct run, node));
}

/* ---- memory ---- */

static void add_output(struct run *r, int stream, const void *data, size_t len)
{
	struct exec_output *o = &r->out[stream];
	struct exec_runs *rs = r->all;
	size_t before = r->out[0].memory + r->out[1].memory;

	if (exec_output_add(o, data, len) < 0)
		o->cut = true; /* no memory: what is there must do */
	exec_output_keep(o, RUN_STREAM_MAX);
	rs->memory += r->out[0].memory + r->out[1].memory - before;
	for (struct list *at = rs->kept.next; rs->memory > RUNS_MEMORY && at != &rs->kept;) {
		struct run *old = list_entry(at, struct run, node);

		at = at->next;
		if (old->holds == 0)
			unkeep(old);
	}
	if (rs->memory > RUNS_MEMORY) {
		before = r->out[0].memory + r->out[1].memory;
		exec_output_keep(o, max_of(o->len / 2, RUN_SHARE));
		rs->memory += r->out[0].memory + r->out[1].memory - before;
	}
	r->truncated |= o->cut;
}

static void add_text(struct run *r, const char *text)
{
	add_output(r, 1, text, strlen(text));
}

/* ---- the end ---- */

/* The one place that decides that it ended. */
static void end_run(struct run *r)
{
	set_state(r, RUN_ENDED);
	remote_close(&r->remote);
	sandbox_unuse(&r->use);
	exec_start_fini(&r->start);
	if (r->found && r->failed) { /* whoever asks again may have more luck */
		list_remove(&r->bucket);
		r->keeps = false;
	}
	keep(r);
	while (!list_empty(&r->waiting)) {
		struct run_wait *w = list_first(&r->waiting, struct run_wait, node);

		list_remove(&w->node);
		w->fn(w);
	}
}

static void fail(struct run *r, const struct fault *f)
{
	r->failed = true;
	r->fault = *f;
	r->exit_code = -1;
	add_text(r, f->text);
	end_run(r);
}

static void on_end(struct remote *remote, const struct msg_end *end)
{
	struct run *r = remote->owner;
	char why[256];

	r->end = *end;
	r->exit_code = roster_exit_code(end);
	if (end->state == END_TIMED_OUT) {
		add_text(r, TIMED_OUT);
	} else if (end->state == END_START_FAILED) {
		exec_start_why(end, r->start.cmd, r->start.cwd, why, sizeof(why));
		add_text(r, why);
		add_text(r, "\n");
	} else if (end->state == END_AGENT_LOST) {
		add_text(r, "the end of the command was not seen\n");
	}
	run_hold(r);
	end_run(r);
	run_release(r);
	run_release(r); /* the remote's */
}

/* The sandbox is put to sleep, and the command with it: it is found again when it is asked for.
 * Whoever waits is told that it runs. */
static void leave_asleep(struct run *r)
{
	list_remove(&r->bucket);
	list_remove(&r->node);
	r->keeps = false;
	sandbox_unuse(&r->use);
	run_release(r);
}

static void on_close(struct remote *remote, enum remote_why why, const struct error *error)
{
	struct run *r = remote->owner;
	struct fault f = {0};

	ASSERT(why != REMOTE_DONE); /* we leave at the end */
	if (why == REMOTE_LOST && r->keeps && r->use.sandbox->state == SANDBOX_HIBERNATING) {
		leave_asleep(r);
		return;
	}
	exec_fault_close(&f, r->use.sandbox, why, error);
	run_hold(r);
	fail(r, &f);
	run_release(r);
	run_release(r);
}

/* ---- the session ---- */

static void on_opened(struct remote *remote, const struct msg_opened *o)
{
	struct run *r = remote->owner;

	(void)o;
	r->opened = true;
}

static void on_output(
	struct remote *remote, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	struct run *r = remote->owner;

	(void)off;
	add_output(r, stream == STREAM_ERR, data, len);
	remote_consumed(remote, len);
}

static void on_gap(struct remote *remote, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct run *r = remote->owner;

	(void)stream, (void)off, (void)missing;
	r->truncated = true;
}

static const struct remote_events events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_gap = on_gap,
	.on_end = on_end,
	.on_close = on_close,
};

static void on_use(struct sandbox_use *u, const struct fault *fault)
{
	struct run *r = u->owner;
	/* By that name the bridge that comes after us takes over our place, for which the session
	 * would wait. */
	struct remote_config config = {
		.id = r->id, .viewer = "run", .start = r->found ? NULL : &r->start.start};
	struct fault f = {0};
	int e;

	if (fault) {
		f = *fault;
	} else {
		set_state(r, RUN_RUNNING);
		r->remote.owner = r;
		e = remote_open(&r->remote, sandbox_guest(u->sandbox), &events, &config);
		if (e == 0)
			return;
		exec_fault_open(&f, e);
	}
	run_hold(r);
	fail(r, &f);
	run_release(r);
	run_release(r);
}

/* ---- beginning ---- */

static struct run *begin(struct exec_runs *rs, struct sandbox *s, bool keeps)
{
	struct run *r = xcalloc(1, sizeof(*r));

	r->all = rs;
	r->keeps = keeps;
	snprintf(r->sandbox, sizeof(r->sandbox), "%s", s->id);
	list_init(&r->waiting);
	list_init(&r->bucket);
	exec_output_init(&r->out[0]);
	exec_output_init(&r->out[1]);
	r->started_ms = wall_ms();
	r->use.lasting = true;
	uv_idle_init(rs->loop, &r->gone);
	r->gone.data = r;
	list_append(&rs->active, &r->node);
	run_hold(r); /* the remote's and the use's; ends with the run */
	run_hold(r); /* the caller's */
	return r;
}

struct run *run_start(struct exec_runs *rs, struct sandbox *s, struct exec_start *x, bool keeps)
{
	struct run *r = begin(rs, s, keeps);

	r->start = *x;
	*x = (struct exec_start){0};
	/* What is told at once is not kept in the guest; the rest, for after our own end. */
	r->start.start.has_retain = true;
	r->start.start.retain_ms = keeps ? RUN_KEEP_MS : 0;
	r->start.start.has_ring = keeps;
	r->start.start.ring = RUN_RING;
	roster_new_id(ROSTER_RUN, r->id);
	if (keeps)
		list_append(bucket_of(rs, r->id), &r->bucket);
	sandbox_use(s, &r->use, on_use, r);
	return r;
}

/* Not when all its processes have ended. */
static bool may_have_runs(const struct sandbox *s)
{
	return s->state != SANDBOX_STOPPING && s->state != SANDBOX_STOPPED &&
	       s->state != SANDBOX_STARTING && s->state < SANDBOX_KILLING;
}

static struct run *known(struct exec_runs *rs, const struct sandbox *s, const char *id)
{
	list_for_each (r, bucket_of(rs, id), struct run, bucket) {
		if (strcmp(r->id, id) == 0 && strcmp(r->sandbox, s->id) == 0)
			return r;
	}
	return NULL;
}

bool run_is_known(struct exec_runs *rs, const struct sandbox *s, const char *id)
{
	return known(rs, s, id) != NULL;
}

struct run *run_find(struct exec_runs *rs, struct sandbox *s, const char *id)
{
	struct run *r = known(rs, s, id);

	if (r) {
		run_hold(r);
		return r;
	}
	if (roster_kind_of(id) != ROSTER_RUN || !may_have_runs(s))
		return NULL;
	r = begin(rs, s, true);
	r->found = true;
	snprintf(r->id, sizeof(r->id), "%s", id);
	list_append(bucket_of(rs, id), &r->bucket);
	sandbox_use(s, &r->use, on_use, r);
	return r;
}

static void forgotten(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	(void)owner, (void)json, (void)len, (void)error;
}

void run_told(struct run *r)
{
	struct msg_request m = {.op = OP_REMOVE, .id = r->id};

	if (r->keeps && r->opened && !r->failed && guest_is_up(r->remote.guest))
		guest_request(r->remote.guest, &m, forgotten, NULL);
	unkeep(r);
}

bool run_sleeps(const struct run *r)
{
	const struct sandbox *s = r->use.sandbox;

	return r->state == RUN_WAITING && (sandbox_sleeps(s) || s->state == SANDBOX_STOPPING);
}

void run_wait(struct run *r, struct run_wait *w, void (*fn)(struct run_wait *w))
{
	ASSERT(r->state != RUN_ENDED);
	w->fn = fn;
	list_append(&r->waiting, &w->node);
}

void run_wait_end(struct run_wait *w)
{
	if (w->node.next)
		list_remove(&w->node);
}

/* ---- all of them ---- */

void exec_runs_open(struct exec_runs **ret, uv_loop_t *loop)
{
	struct exec_runs *rs = xcalloc(1, sizeof(*rs));

	rs->loop = loop;
	list_init(&rs->active);
	list_init(&rs->kept);
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&rs->buckets[i]);
	ASSERT(dues_open(&rs->holds, loop) == 0 && dues_open(&rs->keeps, loop) == 0);
	*ret = rs;
}

struct dues *exec_runs_dues(struct exec_runs *rs)
{
	return &rs->holds;
}

static void on_dues_closed(void *owner)
{
	struct exec_runs *rs = owner;

	if (--rs->closing > 0)
		return;
	rs->on_closed(rs->owner);
	free(rs);
}

void exec_runs_close(struct exec_runs *rs, void (*fn)(void *owner), void *owner)
{
	while (!list_empty(&rs->active)) {
		struct run *r = list_first(&rs->active, struct run, node);

		ASSERT(r->holds == 1); /* no call is left */
		remote_close(&r->remote);
		sandbox_unuse(&r->use);
		run_free(r);
	}
	while (!list_empty(&rs->kept))
		unkeep(list_first(&rs->kept, struct run, node));
	rs->closing = 2;
	rs->on_closed = fn;
	rs->owner = owner;
	dues_close(&rs->holds, on_dues_closed, rs);
	dues_close(&rs->keeps, on_dues_closed, rs);
}
