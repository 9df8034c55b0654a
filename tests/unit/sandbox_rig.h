/*
 * sandbox_rig.h - sandboxes on a driver of the tests: each box is a real agentd on a unix socket.
 * The driver's table outlives the sandboxes, so the next sandboxes_open() finds it as after a
 * restart. An operation can be held back, or made to fail. Hibernated is an agentd with SIGSTOP.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "bridge/sandbox/sandbox_internal.h"
#include "tests/unit/fake_loop.h"
#include "tests/unit/protect_host.h"

struct rig_box {
	struct list node;
	char id[BOX_ID_MAX + 1];
	pid_t pid; /* 0: none */
	bool asleep;
	struct box *box; /* who has it now */
	/* The operation under way. */
	uv_timer_t timer;
	bool has_timer;
	const char *name;
	void (*work)(struct rig_box *f, struct box_result *r);
};

struct rig {
	uv_loop_t loop;
	char dir[64];
	struct store *store;
	struct box_driver driver;
	struct boxes boxes;
	struct box_config config;
	struct sandboxes_config limits;
	struct sandboxes *all;
	bool closed, expired;
	size_t fds;
	uv_timer_t timer;
	uv_signal_t child;
	/* ---- of the driver ---- */
	struct list list;
	const char *hold; /* the operation of this name answers only after rig_release() */
	const char *fail; /* this one fails, `fails` times (0: once), with 507 and `left` */
	unsigned fails;
	enum box_left left;
	bool deaf, cold;
	char log[4096];
	char checkpoint[64];
	unsigned listed;
	char answer[8192];
	bool answered;
};

static struct rig rig;

/* ---- processes ---- */

static void rig_socket(const struct rig_box *f, char *out, size_t size)
{
	snprintf(out, size, "%s/%s.sock", rig.dir, f->id);
}

static void rig_spawn(struct rig_box *f)
{
	const char *agentd = getenv("AGENTD");
	char listen[160], path[128];

	rig_socket(f, path, sizeof(path));
	snprintf(listen, sizeof(listen), "unix:%s%s", path, rig.deaf ? ".deaf" : "");
	f->asleep = false;
	f->pid = fork();
	assert_true(f->pid >= 0);
	if (f->pid == 0) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setsid();
		protect_host();
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execl(agentd ? agentd : "build/dev/bin/agentd", "agentd", "--listen", listen,
			"--cgroup", "none", (char *)NULL);
		_exit(127);
	}
}

static void rig_end(struct rig_box *f)
{
	if (f->pid) {
		kill(-f->pid, SIGKILL);
		kill(f->pid, SIGKILL);
		waitpid(f->pid, NULL, 0);
	}
	f->pid = 0;
	f->asleep = false;
}

static void rig_on_child(uv_signal_t *h, int sig)
{
	(void)h, (void)sig;
	list_for_each_safe (f, &rig.list, struct rig_box, node) {
		/* An end within an operation is told after it. */
		if (!f->pid || f->name || waitpid(f->pid, NULL, WNOHANG) != f->pid)
			continue;
		f->pid = 0;
		if (f->box && f->box->on_gone)
			f->box->on_gone(f->box, "the agent died");
	}
}

/* ---- the driver ---- */

static struct rig_box *rig_find(const char *id)
{
	list_for_each (f, &rig.list, struct rig_box, node) {
		if (strcmp(f->id, id) == 0)
			return f;
	}
	return NULL;
}

static struct rig_box *rig_make(const char *id)
{
	struct rig_box *f = xcalloc(1, sizeof(*f));

	snprintf(f->id, sizeof(f->id), "%s", id);
	list_append(&rig.list, &f->node);
	return f;
}

static void rig_on_timer_closed(uv_handle_t *h)
{
	((struct rig_box *)h->data)->has_timer = false;
}

static void rig_forget(struct rig_box *f)
{
	rig_end(f);
	if (f->has_timer && !uv_is_closing((uv_handle_t *)&f->timer))
		uv_close((uv_handle_t *)&f->timer, rig_on_timer_closed);
	while (f->has_timer)
		uv_run(&rig.loop, UV_RUN_NOWAIT);
	list_remove(&f->node);
	free(f);
}

static enum box_left rig_left(const struct rig_box *f)
{
	if (f->asleep)
		return BOX_LEFT_ASLEEP;
	return f->pid ? BOX_LEFT_RUNNING : BOX_LEFT_STOPPED;
}

static void rig_answer(uv_timer_t *t)
{
	struct rig_box *f = t->data;
	struct box_result r = {.ok = true};
	struct box *b = f->box;

	if (rig.hold && strcmp(rig.hold, f->name) == 0) {
		uv_timer_start(&f->timer, rig_answer, 2, 0);
		return;
	}
	if (rig.fail && strcmp(rig.fail, f->name) == 0) {
		if (rig.fails < 2)
			rig.fail = NULL;
		rig.fails -= rig.fails > 0;
		r.ok = false;
		r.left = rig.left;
		fault_set(&r.fault, 507, "the disk is full");
	} else {
		f->work(f, &r);
	}
	f->name = NULL;
	b->target.kind = TARGET_UNIX;
	rig_socket(f, b->target.path, sizeof(b->target.path));
	if (!f->box)
		b->state = NULL;
	box_answer(b, &r);
	rig_on_child(NULL, 0);
}

static void rig_begin(
	struct box *b, const char *name, void (*work)(struct rig_box *f, struct box_result *r))
{
	struct rig_box *f = rig_find(b->id);
	size_t n = strlen(rig.log);

	if (!f)
		f = rig_make(b->id);
	snprintf(rig.log + n, sizeof(rig.log) - n, "%s%s", n ? " " : "", name);
	if (!f->has_timer) {
		uv_timer_init(&rig.loop, &f->timer);
		f->timer.data = f;
		f->has_timer = true;
	}
	b->state = f;
	f->box = b;
	f->name = name;
	f->work = work;
	uv_timer_start(&f->timer, rig_answer, 1, 0);
}

static void rig_do_start(struct rig_box *f, struct box_result *r)
{
	rig_spawn(f);
	r->cold = rig.cold;
	snprintf(r->note, sizeof(r->note), "%s", rig.cold ? "cold" : "");
}

static void rig_do_adopt(struct rig_box *f, struct box_result *r)
{
	r->left = rig_left(f);
	/* A box that nobody had made before has no process and no directory. */
	if (r->left == BOX_LEFT_STOPPED && !f->pid && access(f->id, F_OK) < 0) {
		char path[192];

		snprintf(path, sizeof(path), "%s/%s.gone", rig.dir, f->id);
		if (access(path, F_OK) == 0)
			r->left = BOX_LEFT_NOTHING;
	}
}

static void rig_do_stop(struct rig_box *f, struct box_result *r)
{
	(void)r;
	rig_end(f);
}

/* One that is about to die is not asleep: it stands still, or is dead, before this returns. */
static void rig_do_hibernate(struct rig_box *f, struct box_result *r)
{
	int status = 0;

	if (f->pid && kill(f->pid, SIGSTOP) == 0)
		assert_int_equal(waitpid(f->pid, &status, WUNTRACED), f->pid);
	if (f->pid && WIFSTOPPED(status)) {
		r->bytes = 4711;
		f->asleep = true;
		return;
	}
	f->pid = 0;
	r->ok = false;
	r->left = BOX_LEFT_STOPPED;
	fault_set(&r->fault, 502, "there is nothing to save");
}

static void rig_do_wake(struct rig_box *f, struct box_result *r)
{
	if (rig.cold || !f->pid) { /* it was being killed already when it was stopped */
		rig_end(f);
		rig_spawn(f);
		r->cold = true;
		snprintf(r->note, sizeof(r->note), "the saved memory was damaged");
		return;
	}
	kill(f->pid, SIGCONT);
	f->asleep = false;
}

static void rig_do_destroy(struct rig_box *f, struct box_result *r)
{
	(void)r;
	rig_end(f);
	f->box = NULL; /* rig_down() frees it; it is not found any more */
	f->id[0] = '\0';
}

static void rig_do_checkpoint(struct rig_box *f, struct box_result *r)
{
	(void)f;
	r->bytes = 99;
}

static void rig_start(struct box *b, const struct box_spec *spec)
{
	snprintf(rig.checkpoint, sizeof(rig.checkpoint), "%s",
		spec->checkpoint ? spec->checkpoint : "");
	rig_begin(b, "start", rig_do_start);
}

#define RIG_OPERATION(name, work)                                                                  \
	static void rig_##name(struct box *b)                                                      \
	{                                                                                          \
		rig_begin(b, #name, work);                                                         \
	}
RIG_OPERATION(adopt, rig_do_adopt)
RIG_OPERATION(stop, rig_do_stop)
RIG_OPERATION(restart, rig_do_start)
RIG_OPERATION(destroy, rig_do_destroy)
RIG_OPERATION(hibernate, rig_do_hibernate)
RIG_OPERATION(wake, rig_do_wake)

/* It dies of it. */
static void rig_do_scale(struct rig_box *f, struct box_result *r)
{
	rig_end(f);
	r->ok = false;
	r->left = BOX_LEFT_STOPPED;
	fault_set(&r->fault, 502, "the machine went away");
}

static void rig_scale(struct box *b, unsigned memory_mb)
{
	(void)memory_mb;
	rig_begin(b, "scale", rig_do_scale);
}

static void rig_checkpoint(struct box *b, const char *name, bool full)
{
	(void)name, (void)full;
	rig_begin(b, "checkpoint", rig_do_checkpoint);
}

static void rig_restore(struct box *b, const char *name)
{
	(void)name;
	rig_begin(b, "restore", rig_do_checkpoint);
}

static void rig_leave(struct box *b)
{
	struct rig_box *f = b->state;

	if (f) {
		f->box = NULL;
		f->name = NULL;
		uv_timer_stop(&f->timer);
	}
	b->state = NULL;
}

/* ---- its life ---- */

static void rig_on_expired(uv_timer_t *t)
{
	(void)t;
	rig.expired = true;
}

static void rig_limit(uint64_t ms)
{
	rig.expired = false;
	uv_timer_stop(&rig.timer);
	uv_update_time(&rig.loop);
	if (ms)
		uv_timer_start(&rig.timer, rig_on_expired, ms, 0);
}

#define RIG_UNTIL(cond)                                                                            \
	do {                                                                                       \
		rig_limit(20000);                                                                  \
		while (!(cond)) {                                                                  \
			if (rig.expired)                                                           \
				fail_msg("%s:%d: not within 20 s: %s", __FILE__, __LINE__, #cond); \
			uv_run(&rig.loop, UV_RUN_ONCE);                                            \
		}                                                                                  \
		rig_limit(0);                                                                      \
	} while (0)

/* For what must not happen meanwhile. */
static inline void rig_pass(uint64_t ms)
{
	rig_limit(ms);
	while (!rig.expired)
		uv_run(&rig.loop, UV_RUN_ONCE);
	rig_limit(0);
}

static void rig_on_listed(void *owner, struct sandbox *s)
{
	(void)owner;
	assert_true(s->roster.known);
	rig.listed++;
}

static void rig_open(void)
{
	char why[256] = "";

	rig.limits.on_listed = rig_on_listed;
	assert_int_equal(sandboxes_open(&rig.all, &rig.loop, rig.store, &rig.boxes, NULL,
				 &rig.limits, why, sizeof(why)),
		0);
}

static void rig_on_closed(void *owner)
{
	(void)owner;
	rig.closed = true;
}

static void rig_close(void)
{
	rig.closed = false;
	sandboxes_close(rig.all, rig_on_closed, NULL);
	RIG_UNTIL(rig.closed);
	rig.all = NULL;
}

static int rig_up(void **state)
{
	char path[128], why[256] = "";

	(void)state;
	rig = (struct rig){.fds = fake_count_fds()};
	list_init(&rig.list);
	strcpy(rig.dir, "/tmp/sandbox-test-XXXXXX");
	assert_non_null(mkdtemp(rig.dir));
	snprintf(path, sizeof(path), "%s/bridge.db", rig.dir);
	if (store_open(path, &rig.store, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	uv_loop_init(&rig.loop);
	uv_timer_init(&rig.loop, &rig.timer);
	uv_signal_init(&rig.loop, &rig.child);
	uv_signal_start(&rig.child, rig_on_child, SIGCHLD);
	rig.driver = (struct box_driver){.name = "rig",
		.can = BOX_CAN_HIBERNATE | BOX_CAN_CHECKPOINT | BOX_CAN_RESTART | BOX_CAN_SCALE,
		.start = rig_start,
		.adopt = rig_adopt,
		.stop = rig_stop,
		.restart = rig_restart,
		.destroy = rig_destroy,
		.hibernate = rig_hibernate,
		.wake = rig_wake,
		.scale = rig_scale,
		.checkpoint = rig_checkpoint,
		.restore = rig_restore,
		.leave = rig_leave};
	rig.config.state_dir = rig.dir;
	rig.limits = (struct sandboxes_config){.create_ms = 15000, .region = "r", .worker = "w"};
	assert_int_equal(
		boxes_open(&rig.boxes, &rig.loop, &rig.driver, &rig.config, why, sizeof(why)), 0);
	rig_open();
	return 0;
}

static int rig_down(void **state)
{
	char command[128];

	(void)state;
	if (rig.all)
		rig_close();
	list_for_each_safe (f, &rig.list, struct rig_box, node)
		rig_forget(f);
	boxes_close(&rig.boxes);
	store_close(rig.store);
	uv_close((uv_handle_t *)&rig.timer, NULL);
	uv_close((uv_handle_t *)&rig.child, NULL);
	uv_run(&rig.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&rig.loop), 0);
	snprintf(command, sizeof(command), "rm -rf %s", rig.dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(fake_count_fds(), rig.fds);
	return 0;
}

/* libuv's own descriptors, which it keeps, come with the first loop. */
static inline int rig_warm_up(void **state)
{
	uv_loop_t loop;
	uv_signal_t sig;

	(void)state;
	uv_loop_init(&loop);
	uv_signal_init(&loop, &sig);
	uv_signal_start(&sig, rig_on_child, SIGCHLD);
	uv_close((uv_handle_t *)&sig, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

/* ---- what tests do ---- */

struct rig_op {
	struct sandbox_op op;
	bool done;
	struct fault fault; /* status 0: it went well */
};

static void rig_on_op(struct sandbox_op *op, const struct fault *fault)
{
	struct rig_op *o = op->owner;

	assert_false(o->done);
	o->done = true;
	o->fault = fault ? *fault : (struct fault){0};
}

static struct sandbox_op *rig_op(struct rig_op *o)
{
	*o = (struct rig_op){.op = {.fn = rig_on_op, .owner = o}};
	return &o->op;
}

#define RIG_WELL(o)                                                                                \
	do {                                                                                       \
		RIG_UNTIL((o)->done);                                                              \
		if ((o)->fault.status)                                                             \
			fail_msg("%s:%d: %s", __FILE__, __LINE__, (o)->fault.text);                \
	} while (0)

static inline struct sandbox *rig_create_of(const struct sandbox_spec *spec)
{
	struct rig_op o;

	sandbox_create(rig.all, spec, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(o.op.sandbox->state, SANDBOX_RUNNING);
	return o.op.sandbox;
}

static inline struct sandbox *rig_create(int64_t timeout_s)
{
	return rig_create_of(
		&(struct sandbox_spec){.template = "base", .timeout_s = timeout_s, .cpus = 1});
}

struct rig_use {
	struct sandbox_use use;
	unsigned n;
	struct fault fault;
};

static void rig_on_use(struct sandbox_use *u, const struct fault *fault)
{
	struct rig_use *r = u->owner;

	r->n++;
	r->fault = fault ? *fault : (struct fault){0};
	assert_true(!fault == !!u->sandbox);
}

static inline void rig_use(struct sandbox *s, struct rig_use *r)
{
	bool lasting = r->use.lasting;

	*r = (struct rig_use){.use.lasting = lasting};
	sandbox_use(s, &r->use, rig_on_use, r);
}

static void rig_on_answer(void *owner, const uint8_t *json, size_t len, const struct error *e)
{
	(void)owner;
	rig.answered = true;
	snprintf(rig.answer, sizeof(rig.answer), "%.*s", e ? (int)strlen(e->message) : (int)len,
		e ? e->message : (const char *)json);
}

static inline const char *rig_ask(struct sandbox *s, const char *json)
{
	rig.answered = false;
	assert_true(guest_ask(sandbox_guest(s), json, strlen(json), rig_on_answer, NULL) > 0);
	RIG_UNTIL(rig.answered);
	return rig.answer;
}

struct rig_row {
	const char *id;
	char state[32], tags[256], more[256];
	int64_t timeout_s;
};

static void rig_on_row(void *ctx, const struct store_sandbox *row)
{
	struct rig_row *r = ctx;

	if (strcmp(row->id, r->id) != 0)
		return;
	snprintf(r->state, sizeof(r->state), "%s", row->state);
	snprintf(r->tags, sizeof(r->tags), "%s", row->tags);
	snprintf(r->more, sizeof(r->more), "%s", row->more);
	r->timeout_s = row->timeout_s;
}

static inline struct rig_row rig_row(const char *id)
{
	struct rig_row r = {.id = id, .state = "none"};

	store_each_sandbox(rig.store, rig_on_row, &r);
	return r;
}

static inline size_t rig_processes(void)
{
	size_t n = 0;

	list_for_each (f, &rig.list, struct rig_box, node)
		n += f->pid != 0;
	return n;
}
