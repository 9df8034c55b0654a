/*
 * test_local.c - sandboxes without a VM, for real: namespaces, overlay, agentd, and what is left of
 * them afterwards.
 */
#include "bridge/box/box.h"
#include "tests/unit/box_rig.h"

static struct rig rig;
static char state_dir[64];

static int up(void **state)
{
	(void)state;
	snprintf(state_dir, sizeof(state_dir), "/tmp/test-local-XXXXXX");
	assert_non_null(mkdtemp(state_dir));
	rig_up_in(&rig, &box_driver_local, state_dir);
	return 0;
}

static int down(void **state)
{
	char path[96];

	(void)state;
	rig_down(&rig);
	assert_int_equal(rig_count_fds(), rig.fds);
	snprintf(path, sizeof(path), "%s/boxes", state_dir);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(state_dir), 0);
	return 0;
}

static void destroy(struct rig_box *x)
{
	rig_do(x, box_destroy(&x->box, on_rig_answer));
	rig_ok(x);
	assert_null(x->box.state);
	assert_int_equal(access(x->box.dir, F_OK), -1);
}

static void a_command_as_the_user(void **state)
{
	struct rig_box x;
	struct rig_run run;

	(void)state;
	rig_box_init(&rig, &x, "sb-00000001");
	rig_start(&x);
	assert_int_equal(rig_run(&x, &run, "id -un; id -u; id -g; hostname; pwd; echo $HOME"), 0);
	assert_string_equal(run.out, "sandbox\n1000\n1000\nsb-00000001\n/home/sandbox\n/home/sandbox\n");
	destroy(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_command_as_the_user, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
