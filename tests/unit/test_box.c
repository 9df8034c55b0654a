/*
 * test_box.c - the rules every driver keeps, with a small driver of the test's own; the driver
 * `external`; and faults.
 */
#include "bridge/box/box.h"
#include "tests/unit/box_rig.h"

#include "proto/error.h"

/* ---- a driver that answers at the next turn, or wrongly ---- */

static struct box *begun;
static bool at_once;
static unsigned left;
static uv_idle_t later;

static void on_later(uv_idle_t *h)
{
	struct box *b = begun;

	uv_idle_stop(h);
	begun = NULL;
	if (strcmp(b->token, "fail") == 0)
		box_fail(b, 507, "no %s", "room");
	else
		box_answer_ok(b);
}

static void fake_begin(struct box *b)
{
	b->state = &begun;
	begun = b;
	if (at_once)
		box_answer_ok(b);
	else
		uv_idle_start(&later, on_later);
}

static void fake_start(struct box *b, const struct box_spec *spec)
{
	snprintf(b->token, sizeof(b->token), "%s", spec->token ? spec->token : "");
	fake_begin(b);
}

static void fake_leave(struct box *b)
{
	left++;
	b->state = NULL;
}

static int fake_open(struct boxes *bs, char *why, size_t why_size)
{
	snprintf(why, why_size, "not on a %s", "Friday");
	return bs->config->verbose ? -EPERM : uv_idle_init(bs->loop, &later);
}

static void fake_close(struct boxes *bs)
{
	(void)bs;
	uv_close((uv_handle_t *)&later, NULL);
}

static const struct box_driver fake = {
	.name = "fake",
	.can = BOX_CAN_RESTART,
	.open = fake_open,
	.close = fake_close,
	.start = fake_start,
	.adopt = fake_begin,
	.stop = fake_begin,
	.restart = fake_begin,
	.destroy = fake_begin,
	.leave = fake_leave,
};

static struct rig rig;
static char state_dir[64];

static void up_with(const struct box_driver *driver)
{
	snprintf(state_dir, sizeof(state_dir), "/tmp/test-box-XXXXXX");
	assert_non_null(mkdtemp(state_dir));
	rig_up_in(&rig, driver, state_dir);
	at_once = false;
	begun = NULL;
	left = 0;
}

static int up_fake(void **state)
{
	(void)state;
	up_with(&fake);
	return 0;
}

static int up_external(void **state)
{
	(void)state;
	up_with(&box_driver_external);
	return 0;
}

static int down(void **state)
{
	char path[96];

	(void)state;
	rig_down(&rig);
	assert_int_equal(fake_count_fds(), rig.fds);
	snprintf(path, sizeof(path), "%s/boxes", state_dir);
	rmdir(path);
	assert_int_equal(rmdir(state_dir), 0);
	return 0;
}

/* ---- the rules ---- */

static void drivers_by_name(void **state)
{
	(void)state;
	assert_ptr_equal(box_driver_find("local"), &box_driver_local);
	assert_ptr_equal(box_driver_find("external"), &box_driver_external);
	assert_ptr_equal(box_driver_find("vm"), &box_driver_vm);
	assert_null(box_driver_find("fake"));
	assert_null(box_driver_find(""));
}

static void a_driver_that_cannot_be_opened(void **state)
{
	struct box_config config = {.state_dir = "/nowhere", .verbose = true};
	struct boxes bs;
	char why[64];
	uv_loop_t loop;

	(void)state;
	uv_loop_init(&loop);
	assert_int_equal(boxes_open(&bs, &loop, &fake, &config, why, sizeof(why)), -EPERM);
	assert_string_equal(why, "not on a Friday");
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void one_answer_each(void **state)
{
	struct box_spec failing = {.token = "fail"}, fine = {0};
	struct rig_box x;
	char dir[128];

	(void)state;
	rig_box_init(&rig, &x, "sb-1");
	snprintf(dir, sizeof(dir), "%s/boxes/sb-1", state_dir);
	assert_string_equal(x.box.dir, dir);
	rig_do(&x, box_start(&x.box, &failing, on_rig_answer));
	assert_false(x.r.ok);
	assert_int_equal(x.r.fault.status, 507);
	assert_string_equal(x.r.fault.text, "no room");
	rig_do(&x, box_start(&x.box, &fine, on_rig_answer));
	rig_ok(&x);
	rig_do(&x, box_stop(&x.box, on_rig_answer));
	rig_do(&x, box_restart(&x.box, on_rig_answer));
	rig_do(&x, box_destroy(&x.box, on_rig_answer));
	/* What was begun is not answered to somebody who has left. */
	x.answers = 0;
	box_adopt(&x.box, on_rig_answer);
	uv_idle_stop(&later);
	box_leave(&x.box);
	assert_int_equal(left, 1);
	assert_int_equal(x.answers, 0);
}

/* In a child, as it ends by abort(). */
static void aborts(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		close(2);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void two_at_a_time(void)
{
	struct rig_box x;

	rig_box_init(&rig, &x, "sb-1");
	box_adopt(&x.box, on_rig_answer);
	box_stop(&x.box, on_rig_answer);
}

static void answered_from_inside(void)
{
	struct rig_box x;

	at_once = true;
	rig_box_init(&rig, &x, "sb-1");
	box_adopt(&x.box, on_rig_answer);
}

static void not_its_trade(void)
{
	struct rig_box x;

	rig_box_init(&rig, &x, "sb-1");
	box_hibernate(&x.box, on_rig_answer);
}

static void an_id_that_is_a_path(void)
{
	struct rig_box x;

	rig_box_init(&rig, &x, "../x");
}

static void broken_rules_are_found(void **state)
{
	(void)state;
	aborts(two_at_a_time);
	aborts(answered_from_inside);
	aborts(not_its_trade);
	aborts(an_id_that_is_a_path);
}

/* ---- external ---- */

static void register_guest(struct rig_box *x, const char *address, const char *token)
{
	struct box_spec spec = {.address = address, .token = token};

	rig_do(x, box_start(&x->box, &spec, on_rig_answer));
}

static void a_guest_is_remembered(void **state)
{
	struct rig_box x, y;

	(void)state;
	rig_box_init(&rig, &x, "sb-1");
	register_guest(&x, "hybrid:/run/vm.sock:1024", "secret");
	rig_ok(&x);
	assert_int_equal(x.box.target.kind, TARGET_HYBRID);
	assert_string_equal(x.box.token, "secret");
	box_leave(&x.box);

	rig_box_init(&rig, &y, "sb-1");
	rig_do(&y, box_adopt(&y.box, on_rig_answer));
	assert_int_equal(y.r.left, BOX_LEFT_RUNNING);
	assert_string_equal(y.box.target.path, "/run/vm.sock");
	assert_int_equal(y.box.target.port, 1024);
	assert_string_equal(y.box.token, "secret");
	rig_do(&y, box_stop(&y.box, on_rig_answer));
	rig_ok(&y);
	rig_do(&y, box_restart(&y.box, on_rig_answer));
	rig_ok(&y);
	rig_do(&y, box_destroy(&y.box, on_rig_answer));
	assert_null(y.box.state);
	assert_int_equal(access(y.box.dir, F_OK), -1);
	rig_do(&y, box_adopt(&y.box, on_rig_answer));
	assert_int_equal(y.r.left, BOX_LEFT_NOTHING);
}

static void guests_that_cannot_be(void **state)
{
	char token[BOX_TOKEN_MAX + 2];
	struct rig_box x;

	(void)state;
	memset(token, 'x', sizeof(token));
	token[sizeof(token) - 1] = '\0';
	rig_box_init(&rig, &x, "sb-1");
	register_guest(&x, NULL, NULL);
	assert_int_equal(x.r.fault.status, 400);
	register_guest(&x, "tcp:1.2.3.4", "");
	assert_int_equal(x.r.fault.status, 400);
	register_guest(&x, "unix:/run/a\nb", "");
	assert_int_equal(x.r.fault.status, 400);
	register_guest(&x, "unix:/run/a", token);
	assert_int_equal(x.r.fault.status, 400);
	register_guest(&x, "unix:/run/a", "two\nlines");
	assert_int_equal(x.r.fault.status, 400);
	assert_null(x.box.state);
	assert_int_equal(access(x.box.dir, F_OK), -1);
}

/* ---- faults ---- */

static void faults_of_errors(void **state)
{
	static const struct {
		enum error_code code;
		int err, status;
	} cases[] = {
		{E_NOT_FOUND, 0, 404},
		{E_FAILED, ENOENT, 404},
		{E_FAILED, EACCES, 403},
		{E_FAILED, EROFS, 403},
		{E_FAILED, EISDIR, 409},
		{E_FAILED, ENOTEMPTY, 409},
		{E_STILL_RUNNING, 0, 409},
		{E_TOO_LARGE, 0, 413},
		{E_FAILED, ENOSPC, 507},
		{E_SPECIAL_FILE, 0, 400},
		{E_FAILED, EINVAL, 400},
		{E_FAILED, EIO, 502},
		{E_STOPPING, 0, 502},
	};
	struct fault f;
	struct error e;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		error_set(&e, cases[i].code, cases[i].err, "words");
		fault_from_error(&f, &e, "file");
		assert_int_equal(f.status, cases[i].status);
		assert_string_equal(f.text, "file: words");
	}
	assert_false(fault_set(&f, 404, "no %s", "such"));
	assert_string_equal(f.text, "no such");
	assert_null(f.code);
	assert_int_equal(fault_status_of(-EPERM), 403);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drivers_by_name),
		cmocka_unit_test(a_driver_that_cannot_be_opened),
		cmocka_unit_test_setup_teardown(one_answer_each, up_fake, down),
		cmocka_unit_test_setup_teardown(broken_rules_are_found, up_fake, down),
		cmocka_unit_test_setup_teardown(a_guest_is_remembered, up_external, down),
		cmocka_unit_test_setup_teardown(guests_that_cannot_be, up_external, down),
		cmocka_unit_test(faults_of_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
