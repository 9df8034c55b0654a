/*
 * test_sandbox.c - what becomes of a sandbox: every way from one state to another, with operations
 * that meet, fail, and come too late. Agents are real; see sandbox_rig.h.
 *
 * ctest: timeout=240
 */
#include "bridge/sandbox/sandbox_internal.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/unit/sandbox_rig.h"

/* ---- create, kill ---- */

static void test_create_and_kill(void **state)
{
	struct rig_use u = {0};
	struct rig_op o;
	struct sandbox *s;

	(void)state;
	s = rig_create_of(&(struct sandbox_spec){.template = "base",
		.alias = "bob",
		.envs = "{\"COLOR\":\"red\"}",
		.checkpoint = "cp"});
	assert_string_equal(rig.checkpoint, "cp");
	assert_string_equal(rig_row(s->id).state, "running");
	assert_ptr_equal(sandboxes_find(rig.all, s->id), s);
	assert_ptr_equal(sandboxes_find(rig.all, "bob"), s);
	assert_int_equal(rig.listed, 1);
	/* A command works now: not soon. */
	assert_true(guest_is_up(sandbox_guest(s)));
	assert_non_null(strstr(rig_ask(s, "{\"op\":\"sys.env\"}"), "COLOR"));
	rig_use(s, &u);
	assert_int_equal(u.n, 1);
	sandbox_unuse(&u.use);

	sandbox_kill(s, rig_op(&o));
	assert_false(o.done);
	RIG_WELL(&o);
	assert_int_equal(s->state, SANDBOX_KILLED);
	assert_string_equal(rig_row(s->id).state, "killed");
	assert_int_equal(rig_processes(), 0);
	rig_use(s, &u);
	assert_int_equal(u.n, 1);
	assert_int_equal(u.fault.status, 410);
	sandbox_kill(s, rig_op(&o));
	RIG_WELL(&o);
	sandbox_hibernate(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 400);
}

/* A create that failed is not a sandbox: the original kept it as "hibernated". */
static void test_create_fails(void **state)
{
	struct rig_op o;

	(void)state;
	rig.fail = "start";
	sandbox_create(rig.all, &(struct sandbox_spec){.template = "base"}, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 507);
	assert_true(list_empty(sandboxes_list(rig.all)));
	assert_int_equal(sandboxes_live(rig.all), 0);
	assert_string_equal(rig_row(o.op.sandbox->id).state, "none");
	assert_null(sandboxes_find(rig.all, o.op.sandbox->id));
	assert_string_equal(rig.log, "start destroy");
}

static void test_create_nobody_there(void **state)
{
	struct rig_op o;

	(void)state;
	rig.deaf = true;
	rig_close();
	rig.limits.create_ms = 300;
	rig_open();
	sandbox_create(rig.all, &(struct sandbox_spec){.template = "base"}, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 503);
	assert_string_equal(o.fault.code, "worker_unavailable");
	assert_int_equal(rig_processes(), 0);
}

static void test_too_many(void **state)
{
	struct rig_op o;
	struct sandbox *s;

	(void)state;
	rig_close();
	rig.limits.max = 1;
	rig_open();
	s = rig_create(0);
	sandbox_create(rig.all, &(struct sandbox_spec){.template = "base"}, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 429);
	sandbox_kill(s, rig_op(&o));
	RIG_WELL(&o);
	rig_create(0);
}

/* At whatever point of the create the kill comes. */
static void test_kill_during_create(void **state)
{
	struct rig_op c, k;

	(void)state;
	for (int at = 0; at < 4; at++) {
		rig.hold = at == 1 ? "start" : NULL;
		rig.deaf = at == 2;
		sandbox_create(rig.all, &(struct sandbox_spec){.template = "base"}, rig_op(&c));
		if (at > 0)
			rig_pass(10);
		if (at == 2)
			RIG_UNTIL(c.op.sandbox->has_guest);
		sandbox_kill(c.op.sandbox, at == 3 ? NULL : rig_op(&k));
		rig_pass(10);
		rig.hold = NULL;
		RIG_UNTIL(c.done && (at == 3 || k.done));
		assert_int_equal(c.fault.status, 410);
		assert_int_equal(at == 3 ? 0 : k.fault.status, 0);
		assert_int_equal(rig_processes(), 0);
		assert_int_equal(sandboxes_live(rig.all), 0);
		rig.deaf = false;
	}
}

/* A box that does not go at once is tried again; in the end somebody hears of it. */
static void test_kill_fails_first(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_op o;

	(void)state;
	rig.fail = "destroy";
	sandbox_kill(s, rig_op(&o));
	RIG_WELL(&o);
	assert_string_equal(rig.log, "start destroy destroy");

	s = rig_create(0);
	rig.fail = "destroy";
	rig.fails = 5;
	sandbox_kill(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 500);
	assert_int_equal(s->state, SANDBOX_ERROR);
	sandbox_kill(s, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(rig_processes(), 0);
}

/* ---- idling ---- */

static void test_idle_hibernates(void **state)
{
	struct sandbox *s = rig_create(1);
	struct rig_use u = {0};
	uint64_t before;
	pid_t pid = rig_find(s->id)->pid;

	(void)state;
	rig_use(s, &u);
	rig_pass(1500); /* a use holds it, however long */
	assert_int_equal(s->state, SANDBOX_RUNNING);
	before = now_ms();
	sandbox_unuse(&u.use);
	RIG_UNTIL(s->state == SANDBOX_HIBERNATED);
	assert_in_range(now_ms() - before, 1000, 2500);
	assert_string_equal(rig_row(s->id).state, "hibernated");
	assert_true(sandbox_sleeps(s));
	rig_use(s, &u);
	assert_int_equal(u.n, 0);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	assert_int_equal(rig_find(s->id)->pid, pid);
	assert_string_equal(rig.log, "start hibernate wake");
	sandbox_unuse(&u.use);
}

/* Without hibernation it is stopped, and started by the next use, with its environment. */
static void test_idle_stops(void **state)
{
	struct sandbox *s;
	struct rig_use u = {0};

	(void)state;
	rig.driver.can = BOX_CAN_RESTART;
	s = rig_create_of(&(struct sandbox_spec){
		.template = "base", .timeout_s = 1, .envs = "{\"COLOR\":\"red\"}"});
	RIG_UNTIL(s->state == SANDBOX_STOPPED);
	assert_int_equal(rig_processes(), 0);
	rig_use(s, &u);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	assert_non_null(strstr(rig_ask(s, "{\"op\":\"sys.env\"}"), "COLOR"));
	sandbox_unuse(&u.use);
	assert_string_equal(rig.log, "start stop restart");
}

static void test_timeouts(void **state)
{
	struct sandbox *s = rig_create(0);

	(void)state;
	assert_int_equal(s->idle_at_ms, 0);
	assert_int_equal(sandbox_set_timeout(s, INT64_MAX), 0);
	assert_true(s->idle_at_ms > now_ms() + 1000000000ULL);
	assert_int_equal(rig_row(s->id).timeout_s, INT64_MAX);
	assert_int_equal(sandbox_set_timeout(s, 1), 0); /* sooner than the timer that is set */
	RIG_UNTIL(s->state == SANDBOX_HIBERNATED);
	assert_int_equal(sandbox_set_timeout(s, 0), 0);
	sandbox_rouse(s);
	sandbox_rouse(s);
	RIG_UNTIL(s->state == SANDBOX_RUNNING);
	rig_pass(1300);
	assert_int_equal(s->state, SANDBOX_RUNNING);
}

/* ---- whoever looks at the link ---- */

struct watch {
	struct guest_user user;
	unsigned ups, downs, lost;
	bool same;
};

static void watch_up(struct guest_user *u, bool same)
{
	struct watch *w = container_of(u, struct watch, user);

	w->ups++;
	w->same = same;
}

static void watch_down(struct guest_user *u)
{
	container_of(u, struct watch, user)->downs++;
}

static void watch_lost(struct guest_user *u)
{
	container_of(u, struct watch, user)->lost++;
	guest_remove_user(u);
}

static const struct guest_user_ops watch_ops = {
	.on_up = watch_up, .on_down = watch_down, .on_lost = watch_lost};

/* ---- hibernate, wake ---- */

static void test_hibernate_and_wake(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_op a, b, c;

	(void)state;
	sandbox_hibernate(s, rig_op(&a));
	sandbox_hibernate(s, rig_op(&b));
	RIG_WELL(&a);
	RIG_WELL(&b);
	assert_int_equal(a.op.bytes, 4711);
	assert_int_equal(b.op.bytes, 4711);
	assert_int_equal(s->state, SANDBOX_HIBERNATED);
	sandbox_wake(s, 77, rig_op(&a));
	sandbox_wake(s, 77, rig_op(&b));
	sandbox_hibernate(s, rig_op(&c));
	RIG_WELL(&a);
	RIG_WELL(&b);
	RIG_WELL(&c);
	assert_int_equal(s->state, SANDBOX_HIBERNATED);
	assert_int_equal(s->timeout_s, 77);
	assert_string_equal(rig.log, "start hibernate wake hibernate");
	rig.cold = true;
	sandbox_wake(s, -1, rig_op(&a));
	RIG_WELL(&a);
	assert_string_equal(s->note, "the saved memory was damaged");
	assert_int_equal(s->timeout_s, 77);
}

/* A hibernation waits for operations, not for clients that are attached; nor for ever. */
static void test_hibernate_waits(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use op = {0}, client = {.use.lasting = true}, late = {0};
	struct rig_op o;

	(void)state;
	rig_use(s, &client);
	rig_use(s, &op);
	sandbox_hibernate(s, rig_op(&o));
	rig_pass(100);
	assert_int_equal(s->state, SANDBOX_HIBERNATING);
	assert_false(o.done);
	rig_use(s, &late);
	sandbox_unuse(&op.use);
	RIG_WELL(&o);
	RIG_UNTIL(late.n == 1); /* who came meanwhile has woken it */
	assert_int_equal(late.fault.status, 0);
	sandbox_unuse(&client.use);

	rig.all->drain_ms = 50;
	sandbox_hibernate(s, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(s->state, SANDBOX_HIBERNATED);
	sandbox_unuse(&late.use);
}

static void test_hibernate_fails(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use u = {0};
	struct rig_op o;
	static const enum box_left lefts[] = {BOX_LEFT_RUNNING, BOX_LEFT_NOTHING};

	(void)state;
	for (size_t i = 0; i < array_size(lefts); i++) {
		rig.fail = "hibernate";
		rig.left = lefts[i]; /* nothing: the driver does not know; it is asked */
		sandbox_hibernate(s, rig_op(&o));
		RIG_UNTIL(o.done);
		assert_int_equal(o.fault.status, 507);
		assert_int_equal(s->state, SANDBOX_RUNNING);
		rig_use(s, &u);
		RIG_UNTIL(u.n == 1);
		assert_int_equal(u.fault.status, 0);
		sandbox_unuse(&u.use);
	}
}

/* The guest hangs: it is given up on in time, and the sandbox goes on. */
static void test_prepare_hangs(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	rig.all->prepare_ms = 200;
	kill(rig_find(s->id)->pid, SIGSTOP);
	sandbox_hibernate(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 502);
	assert_int_equal(s->state, SANDBOX_RUNNING);
	kill(rig_find(s->id)->pid, SIGCONT);
	rig_use(s, &u);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	sandbox_unuse(&u.use);
}

/* A link that breaks is renewed, and what ran is the same. What comes meanwhile waits. */
static void test_link_breaks(void **state)
{
	struct sandbox *s = rig_create(0);
	struct watch w = {0};
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	roster_add(&s->roster, "x000000000001", ROSTER_EXEC, "true", NULL);
	shutdown(sandbox_guest(s)->fd, SHUT_RDWR);
	RIG_UNTIL(w.downs == 1);
	rig_use(s, &u);
	assert_int_equal(u.n, 0);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	assert_true(w.same);
	assert_true(roster_find(&s->roster, "x000000000001")->running);
	sandbox_unuse(&u.use);
	shutdown(sandbox_guest(s)->fd, SHUT_RDWR);
	RIG_UNTIL(w.downs == 2);
	sandbox_hibernate(s, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(w.lost, 1);
	assert_string_equal(rig.log, "start hibernate");
}

static void test_wake_fails(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	sandbox_hibernate(s, rig_op(&o));
	RIG_WELL(&o);
	rig.fail = "wake";
	rig.left = BOX_LEFT_ASLEEP;
	rig_use(s, &u);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 502);
	assert_int_equal(s->state, SANDBOX_HIBERNATED);
	rig_use(s, &u); /* the next try is another one */
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	sandbox_unuse(&u.use);
}

static void test_kill_during_hibernate(void **state)
{
	struct rig_op h, k;

	(void)state;
	for (int at = 0; at < 3; at++) {
		struct sandbox *s = rig_create(0);
		struct rig_use u = {0};

		if (at == 0)
			rig_use(s, &u); /* it waits for this */
		rig.hold = at == 1 ? "hibernate" : NULL;
		if (at == 2)
			kill(rig_find(s->id)->pid, SIGSTOP);
		sandbox_hibernate(s, rig_op(&h));
		rig_pass(50);
		sandbox_kill(s, rig_op(&k));
		rig_pass(50);
		rig.hold = NULL;
		RIG_WELL(&k);
		RIG_UNTIL(h.done);
		assert_int_equal(s->state, SANDBOX_KILLED);
		assert_int_equal(rig_processes(), 0);
		sandbox_unuse(&u.use);
	}
}

static void test_cannot(void **state)
{
	struct sandbox *s;
	struct rig_op o;

	(void)state;
	rig.driver.can = 0;
	s = rig_create(0);
	sandbox_hibernate(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 501);
	sandbox_reboot(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 501);
	assert_int_equal(s->state, SANDBOX_RUNNING);
	sandbox_set_timeout(s, 1);
	RIG_UNTIL(s->state == SANDBOX_KILLED);
}

/* ---- what goes wrong by itself ---- */

static void test_box_goes(void **state)
{
	struct sandbox *s = rig_create(0);
	struct watch w = {0};
	struct rig_use u = {0};

	(void)state;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	roster_add(&s->roster, "x000000000001", ROSTER_EXEC, "true", NULL);
	kill(rig_find(s->id)->pid, SIGKILL);
	RIG_UNTIL(s->state == SANDBOX_STOPPED);
	assert_int_equal(w.lost, 1);
	assert_string_equal(s->note, "the agent died");
	assert_string_equal(rig_row(s->id).state, "stopped");
	rig_use(s, &u);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	assert_string_equal(s->note, "");
	assert_false(roster_find(&s->roster, "x000000000001")->running);
	sandbox_unuse(&u.use);
}

/* The same address, another agent: what ran is lost, and the environment is told again. */
static void test_new_instance(void **state)
{
	struct sandbox *s = rig_create_of(
		&(struct sandbox_spec){.template = "base", .envs = "{\"COLOR\":\"red\"}"});
	struct rig_box *f = rig_find(s->id);
	struct watch w = {0};

	(void)state;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	roster_add(&s->roster, "x000000000001", ROSTER_EXEC, "true", NULL);
	f->box = NULL; /* nobody tells of its end */
	rig_end(f);
	rig_spawn(f);
	RIG_UNTIL(w.ups == 1);
	assert_false(w.same);
	RIG_UNTIL(s->linked);
	assert_int_equal(roster_find(&s->roster, "x000000000001")->end.state, END_AGENT_LOST);
	assert_non_null(strstr(rig_ask(s, "{\"op\":\"sys.env\"}"), "COLOR"));
	assert_int_equal(s->state, SANDBOX_RUNNING);
	f->box = &s->box;
	guest_remove_user(&w.user);
}

static void test_reboot(void **state)
{
	struct sandbox *s = rig_create(0);
	struct watch w = {0};
	struct rig_op o;

	(void)state;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	sandbox_reboot(s, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(w.lost, 1);
	assert_int_equal(s->state, SANDBOX_RUNNING);
	assert_string_equal(rig.log, "start stop restart");
	rig.fail = "restart";
	rig.left = BOX_LEFT_STOPPED;
	sandbox_reboot(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 502);
	assert_int_equal(s->state, SANDBOX_STOPPED);
}

/* What cannot be stored does not happen. */
static void test_store_fails(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rlimit was, none = {.rlim_cur = 0};
	struct rig_op h, k, c;
	struct rig_use u = {0};

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	none.rlim_max = was.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	sandbox_hibernate(s, rig_op(&h));
	sandbox_kill(s, rig_op(&k));
	sandbox_create(rig.all, &(struct sandbox_spec){.template = "base"}, rig_op(&c));
	RIG_UNTIL(h.done && k.done && c.done);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_in_range(h.fault.status, 500, 507);
	assert_in_range(k.fault.status, 500, 507);
	assert_in_range(c.fault.status, 500, 507);
	assert_int_equal(s->state, SANDBOX_RUNNING);
	assert_string_equal(rig_row(s->id).state, "running");
	assert_string_equal(rig.log, "start");
	rig_use(s, &u);
	assert_int_equal(u.n, 1);
	sandbox_unuse(&u.use);
}

/* ---- exclusive operations ---- */

static unsigned n_done;

static void run_checkpoint(struct sandbox *s, void *owner, box_fn fn)
{
	(void)owner;
	assert_int_equal(s->state, SANDBOX_BUSY);
	assert_string_equal(rig_row(s->id).state, "busy");
	assert_false(guest_is_up(&s->guest));
	box_checkpoint(&s->box, "cp", true, fn);
}

static void run_restore(struct sandbox *s, void *owner, box_fn fn)
{
	(void)owner;
	box_restore(&s->box, "cp", fn);
}

static void on_exclusive(
	struct sandbox *s, void *owner, const struct box_result *r, const struct fault *fault)
{
	(void)s, (void)owner;
	assert_true(r || fault);
	n_done++;
}

static void test_exclusive(void **state)
{
	static const struct sandbox_exclusive checkpoint = {.keep = true,
						      .run = run_checkpoint,
						      .done = on_exclusive},
					      restore = {.run = run_restore, .done = on_exclusive};
	struct sandbox *s = rig_create(0);
	struct watch w = {0};
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	n_done = 0;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	sandbox_exclusive(s, &checkpoint, NULL, rig_op(&o));
	rig_pass(1);
	rig_use(s, &u);
	RIG_WELL(&o);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(o.op.bytes, 99);
	assert_int_equal(w.lost, 0); /* who is attached stays */
	assert_int_equal(w.downs, 1);
	assert_int_equal(w.ups, 1);
	assert_true(w.same);
	sandbox_unuse(&u.use);

	rig.fail = "checkpoint";
	rig.left = BOX_LEFT_RUNNING;
	sandbox_exclusive(s, &checkpoint, NULL, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 507);
	assert_int_equal(s->state, SANDBOX_RUNNING);

	sandbox_exclusive(s, &restore, NULL, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(w.lost, 1); /* what they were attached to is another now */
	assert_int_equal(n_done, 3);
	sandbox_hibernate(s, rig_op(&o));
	RIG_WELL(&o);
	sandbox_exclusive(s, &restore, NULL, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 400);
	assert_int_equal(n_done, 4);
}

/* ---- settings, ends ---- */

static void test_settings(void **state)
{
	struct sandbox *s = rig_create(0);
	unsigned memory, cpu;

	(void)state;
	assert_int_equal(sandbox_set_tags(s, "{\"a\":\"b\"}"), 0);
	assert_string_equal(rig_row(s->id).tags, "{\"a\":\"b\"}");
	assert_true(s->tags_ms > 0);
	assert_int_equal(sandbox_set_more(s, "other", "[1]"), 0);
	assert_int_equal(sandbox_set_limits(s, 512, 50), 0);
	sandbox_limits(s, &memory, &cpu);
	assert_int_equal(memory, 512);
	assert_int_equal(cpu, 50);
	assert_int_equal(sandbox_set_limits(s, 0, 60), 0);
	assert_string_equal(rig_row(s->id).more, "{\"other\":[1],\"limit_cpu_percent\":60}");
}

/* More variables than one request to the agent holds. */
static void test_many_envs(void **state)
{
	char *json = malloc(200000), *at = json;
	struct sandbox *s;

	(void)state;
	for (int i = 0; i < 1000; i++)
		at += sprintf(at, "%s\"N%04d\":\"%0100d\"", i ? "," : "{", i, i);
	strcpy(at, "}");
	s = rig_create_of(&(struct sandbox_spec){.template = "base", .envs = json});
	assert_non_null(strstr(rig_ask(s, "{\"op\":\"sys.env\"}"), "N0999"));
	free(json);
}

/* The bridge ends in the middle of everything: nobody is called any more, nothing is left over. */
static void test_close(void **state)
{
	struct sandbox *a = rig_create(0), *b = rig_create(0), *c = rig_create(0);
	struct rig_use u = {0}, v = {0}, w = {0};
	struct rig_op h, o, n;

	(void)state;
	rig_use(a, &u);
	rig.hold = "hibernate";
	sandbox_hibernate(b, rig_op(&h));
	kill(rig_find(c->id)->pid, SIGSTOP);
	sandbox_hibernate(c, rig_op(&o));
	rig_pass(50);
	rig_use(b, &v);
	rig_use(c, &w);
	rig.deaf = true;
	sandbox_create(rig.all, &(struct sandbox_spec){.template = "base"}, rig_op(&n));
	rig_pass(20);
	rig_close();
	assert_false(h.done || o.done || n.done);
	assert_int_equal(v.n, 1);
	assert_int_equal(v.fault.status, 503);
	assert_int_equal(w.fault.status, 503);
	sandbox_unuse(&u.use);
	sandbox_unuse(&v.use);
	sandbox_forget(&h.op);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_up, rig_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_create_and_kill),
		TEST(test_create_fails),
		TEST(test_create_nobody_there),
		TEST(test_too_many),
		TEST(test_kill_during_create),
		TEST(test_kill_fails_first),
		TEST(test_idle_hibernates),
		TEST(test_idle_stops),
		TEST(test_timeouts),
		TEST(test_hibernate_and_wake),
		TEST(test_hibernate_waits),
		TEST(test_hibernate_fails),
		TEST(test_prepare_hangs),
		TEST(test_link_breaks),
		TEST(test_wake_fails),
		TEST(test_kill_during_hibernate),
		TEST(test_cannot),
		TEST(test_box_goes),
		TEST(test_new_instance),
		TEST(test_reboot),
		TEST(test_store_fails),
		TEST(test_exclusive),
		TEST(test_settings),
		TEST(test_many_envs),
		TEST(test_close),
	};

	return cmocka_run_group_tests(tests, rig_warm_up, NULL);
}
