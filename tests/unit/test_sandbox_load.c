/*
 * test_sandbox_load.c - the bridge comes back: rows and boxes as another life of it left them, and
 * what they become together (the table in docs/bridge.md, line by line).
 *
 * ctest: timeout=120
 */
#include "bridge/sandbox/sandbox_internal.h"

#include "tests/unit/sandbox_rig.h"

static void leave_row(const char *id, const char *driver, const char *state)
{
	struct store_sandbox row = {.id = id,
		.driver = driver,
		.state = state,
		.template = "base",
		.alias = "",
		.note = "",
		.created_ms = wall_ms(),
		.ended_ms = wall_ms(),
		.envs = "{}",
		.metadata = "{}",
		.tags = "{}",
		.checkpoint = "",
		.address = "",
		.token = "",
		.more = "{}"};

	assert_int_equal(store_put_sandbox(rig.store, &row), 0);
}

/* A box as it was left, and the row of its sandbox. */
static void leave(const char *id, const char *driver, const char *state, enum box_left left)
{
	struct rig_box *f;
	char path[192];

	leave_row(id, driver, state);
	if (left == BOX_LEFT_NOTHING) {
		snprintf(path, sizeof(path), "%s/%s.gone", rig.dir, id);
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		return;
	}
	f = rig_make(id);
	if (left != BOX_LEFT_STOPPED)
		rig_spawn(f);
	if (left == BOX_LEFT_ASLEEP) {
		rig_pass(300); /* it must listen before it falls asleep */
		kill(f->pid, SIGSTOP);
		f->asleep = true;
	}
}

static bool settled(void)
{
	list_for_each (s, sandboxes_list(rig.all), struct sandbox, node) {
		if (s->busy)
			return false;
	}
	return true;
}

static void test_table(void **state)
{
	enum { GONE = SANDBOX_STATES };
	/* In the order of enum box_left: running, stopped, asleep, nothing. */
	static const struct {
		const char *state;
		unsigned becomes[4];
	} table[] = {
		{"creating", {GONE, GONE, GONE, GONE}},
		{"running", {SANDBOX_RUNNING, SANDBOX_STOPPED, SANDBOX_HIBERNATED, SANDBOX_ERROR}},
		{"busy", {SANDBOX_RUNNING, SANDBOX_STOPPED, SANDBOX_HIBERNATED, SANDBOX_ERROR}},
		{"stopping", {SANDBOX_STOPPED, SANDBOX_STOPPED, SANDBOX_HIBERNATED, SANDBOX_ERROR}},
		{"stopped", {SANDBOX_STOPPED, SANDBOX_STOPPED, SANDBOX_HIBERNATED, SANDBOX_ERROR}},
		{"hibernating",
			{SANDBOX_RUNNING, SANDBOX_STOPPED, SANDBOX_HIBERNATED, SANDBOX_ERROR}},
		{"hibernated",
			{SANDBOX_RUNNING, SANDBOX_STOPPED, SANDBOX_HIBERNATED, SANDBOX_ERROR}},
		{"waking", {SANDBOX_RUNNING, SANDBOX_STOPPED, SANDBOX_HIBERNATED, SANDBOX_ERROR}},
		{"starting", {SANDBOX_RUNNING, SANDBOX_STOPPED, SANDBOX_HIBERNATED, SANDBOX_ERROR}},
		{"error", {SANDBOX_RUNNING, SANDBOX_STOPPED, SANDBOX_HIBERNATED, SANDBOX_ERROR}},
		{"killing", {SANDBOX_KILLED, SANDBOX_KILLED, SANDBOX_KILLED, SANDBOX_KILLED}},
		{"killed", {SANDBOX_KILLED, SANDBOX_KILLED, SANDBOX_KILLED, SANDBOX_KILLED}},
	};
	char id[32];

	(void)state;
	rig_close();
	for (size_t i = 0; i < array_size(table); i++) {
		for (unsigned left = 0; left < 4; left++) {
			snprintf(id, sizeof(id), "%s-%u", table[i].state, left);
			if (strcmp(table[i].state, "killed") == 0)
				leave(id, "rig", "killed", BOX_LEFT_NOTHING);
			else
				leave(id, "rig", table[i].state, left);
		}
	}
	rig_open();
	RIG_UNTIL(settled());
	for (size_t i = 0; i < array_size(table); i++) {
		for (unsigned left = 0; left < 4; left++) {
			unsigned want = table[i].becomes[left];
			struct sandbox *s;

			snprintf(id, sizeof(id), "%s-%u", table[i].state, left);
			s = sandboxes_find(rig.all, id);
			if ((s ? s->state : GONE) != want)
				fail_msg("%s became %d, not %u", id, s ? (int)s->state : -1, want);
			if (s)
				assert_string_equal(
					rig_row(id).state, sandbox_state_word(s->state));
			else
				assert_string_equal(rig_row(id).state, "none");
		}
	}
	/* Who was hibernated and has lost its memory says so. */
	assert_true(*sandboxes_find(rig.all, "hibernated-1")->note);
	assert_true(*sandboxes_find(rig.all, "running-3")->note);
	/* The seven that run, as many as sleep; nobody else is left. */
	assert_int_equal(sandboxes_count(rig.all, SANDBOX_RUNNING), 7);
	assert_int_equal(sandboxes_count(rig.all, SANDBOX_HIBERNATED), 9);
	assert_int_equal(rig_processes(), 16);
}

/* Until a box was asked, uses wait; then a command works, in the same agent. */
static void test_uses_wait(void **state)
{
	struct rig_use u = {0}, v = {0};
	struct rig_op o;
	struct sandbox *s = rig_create(0);
	char id[BOX_ID_MAX + 1];
	pid_t pid = rig_find(s->id)->pid;

	(void)state;
	snprintf(id, sizeof(id), "%s", s->id);
	assert_non_null(rig_ask(s,
		"{\"op\":\"start\",\"id\":\"x0123456789ab\",\"start\":{\"cmd\":[\"sleep\","
		"\"60\"]}}"));
	rig_close();
	rig.hold = "adopt";
	rig_open();
	s = sandboxes_find(rig.all, id);
	rig_use(s, &u);
	rig_use(s, &v);
	rig_pass(100);
	assert_int_equal(u.n, 0);
	sandbox_unuse(&v.use);
	rig.hold = NULL;
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	assert_int_equal(v.n, 0);
	assert_int_equal(rig_find(id)->pid, pid);
	assert_true(roster_find(&s->roster, "x0123456789ab")->running);
	assert_string_equal(roster_find(&s->roster, "x0123456789ab")->cmd, "sleep 60");
	sandbox_unuse(&u.use);

	/* Whatever the row says: it is the box that is asked. */
	rig_close();
	leave_row(id, "rig", "error");
	rig.hold = "adopt";
	rig_open();
	s = sandboxes_find(rig.all, id);
	assert_int_equal(s->state, SANDBOX_ERROR);
	rig_use(s, &u);
	assert_int_equal(u.n, 0);
	rig.hold = NULL;
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	sandbox_unuse(&u.use);

	/* A kill that comes before it was adopted. */
	rig_close();
	rig.hold = "adopt";
	rig_open();
	s = sandboxes_find(rig.all, id);
	sandbox_kill(s, rig_op(&o));
	rig_pass(20);
	rig.hold = NULL;
	RIG_WELL(&o);
	assert_int_equal(rig_processes(), 0);
}

/* A fork runs before it is finished: until its client may know it a restart undoes it. */
static void test_draft(void **state)
{
	const struct sandbox_spec spec = {.template = "base", .draft = true};
	char kept[BOX_ID_MAX + 1], id[BOX_ID_MAX + 1];
	struct sandbox *s = rig_create_of(&spec);

	(void)state;
	snprintf(kept, sizeof(kept), "%s", s->id);
	assert_int_equal(sandbox_confirm(s), 0);
	assert_string_equal(rig_row(kept).more, "{}");
	snprintf(id, sizeof(id), "%s", rig_create_of(&spec)->id);
	assert_string_equal(rig_row(id).state, "running");
	rig_close();
	rig_open();
	RIG_UNTIL(settled());
	assert_null(sandboxes_find(rig.all, id));
	assert_string_equal(rig_row(id).state, "none");
	assert_int_equal(sandboxes_find(rig.all, kept)->state, SANDBOX_RUNNING);
	assert_int_equal(rig_processes(), 1);
}

/* The bridge runs with another driver now: what it does not know it does not touch. */
static void test_foreign(void **state)
{
	struct sandbox *s;
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	rig_close();
	leave("sb-1", "other", "running", BOX_LEFT_RUNNING);
	rig_open();
	s = sandboxes_find(rig.all, "sb-1");
	assert_int_equal(s->state, SANDBOX_ERROR);
	rig_use(s, &u);
	assert_int_equal(u.fault.status, 410);
	sandbox_kill(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 409);
	assert_true(sandbox_set_tags(s, "{}") < 0);
	assert_string_equal(rig_row("sb-1").state, "running");
	assert_string_equal(rig.log, "");
}

/* Many at once are asked some at a time. */
static void test_many(void **state)
{
	char id[32];

	(void)state;
	rig_close();
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "sb-%d", i);
		leave(id, "rig", "running", BOX_LEFT_STOPPED);
	}
	rig.hold = "adopt";
	rig_open();
	rig_pass(20);
	assert_int_equal(rig.all->adopting, SANDBOX_ADOPT_MAX);
	rig.hold = NULL;
	RIG_UNTIL(settled());
	assert_int_equal(sandboxes_count(rig.all, SANDBOX_STOPPED), 100);
	assert_int_equal(rig.all->adopting, 0);
}

/* The dead are remembered for an hour. */
static void test_killed(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_op o;
	char id[BOX_ID_MAX + 1];

	(void)state;
	snprintf(id, sizeof(id), "%s", s->id);
	sandbox_kill(s, rig_op(&o));
	RIG_WELL(&o);
	rig_close();
	rig_open();
	s = sandboxes_find(rig.all, id);
	assert_int_equal(s->state, SANDBOX_KILLED);
	assert_string_equal(sandbox_state_str(s->state), "stopped");
	s->dead_ms -= SANDBOX_KEEP_MS;
	uv_timer_start(&rig.all->sweep, rig.all->sweep.timer_cb, 1, 0);
	RIG_UNTIL(!sandboxes_find(rig.all, id));
	assert_string_equal(rig_row(id).state, "none");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_up, rig_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_table),
		TEST(test_uses_wait),
		TEST(test_draft),
		TEST(test_foreign),
		TEST(test_many),
		TEST(test_killed),
	};

	return cmocka_run_group_tests(tests, rig_warm_up, NULL);
}
