/*
 * test_sandbox.c - a sandbox is made, idles, is ended, at whatever point of it; its settings; the
 * end of the bridge in the middle of everything. More in test_sandbox_sleep.c. Agents are real; see
 * sandbox_rig.h.
 *
 * ctest: timeout=240
 */
#include "bridge/sandbox/sandbox_internal.h"

#include "tests/unit/sandbox_rig.h"

/* ---- create, kill ---- */

static void test_create_and_kill(void **state)
{
	char before[65] = "", after[65] = "";
	struct rig_use u = {0};
	struct rig_op o;
	struct sandbox *s;

	(void)state;
	gethostname(before, sizeof(before) - 1);
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
	/* It has a name of its own now, and the machine of the test keeps its. */
	gethostname(after, sizeof(after) - 1);
	assert_string_equal(before, after);
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
	memcpy(at, "}", 2);
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
		TEST(test_settings),
		TEST(test_many_envs),
		TEST(test_close),
	};

	return cmocka_run_group_tests(tests, rig_warm_up, NULL);
}
