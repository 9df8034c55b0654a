/*
 * test_local.c - sandboxes without a VM, for real: what they are inside, their life, and another
 * bridge that comes after one that was killed.
 * ctest: timeout=180
 */
#include "bridge/box/box.h"
#include "tests/unit/local_rig.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- inside ---- */

static void a_command_as_the_user(void **state)
{
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x, "id -un; id -u; id -g; hostname; pwd; echo $HOME $USER $LOGNAME",
		"sandbox\n1000\n1000\nsb-00000001\n/home/sandbox\n/home/sandbox sandbox sandbox\n");
	prints(&x,
		"cd /workspace && pwd && touch here && touch ~/here /tmp/here && stat -c %U /workspace here",
		"/workspace\nsandbox\nsandbox\n");
	prints(&x, "test -w /usr || echo no; cat /etc/hostname; getent hosts $(hostname)",
		"no\nsb-00000001\n127.0.1.1       sb-00000001\n");
	destroy(&x);
}

/* bwrap sets no_new_privs for its children and mounts everything nosuid; agentd is none of them. */
static void sudo_works(void **state)
{
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x,
		"sudo -n id -u; sudo -n touch /usr/made && stat -c %U /usr/made; sudo -n -u sandbox id -un",
		"0\nroot\nsandbox\n");
	destroy(&x);
}

static void namespaces_of_its_own(void **state)
{
	struct rig_box x;
	struct rig_run run;

	(void)state;
	start_new(&x, "sb-00000001");
	assert_int_equal(rig_run(&x, &run, "kill -0 $$ && ls -d /proc/[0-9]* | wc -l"), 0);
	assert_in_range(atoi(run.out), 3, 12);
	prints(&x,
		"ls -A /tmp; sudo -n ls -A /root; ls -A /home; ls /run; ls /dev/pts; test -r /sys/class/net && echo sys",
		"sandbox\nagentd\nptmx\nsys\n");
	destroy(&x);
}

static void writes_do_not_reach_the_host(void **state)
{
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x,
		"sudo -n sh -c 'echo x > /etc/from-sandbox; echo x > /usr/from-sandbox; rm /etc/services; "
		"mount -t tmpfs none /mnt && hostname changed && hostname'",
		"changed\n");
	assert_int_equal(access("/etc/from-sandbox", F_OK), -1);
	assert_int_equal(access("/usr/from-sandbox", F_OK), -1);
	assert_int_equal(access("/etc/services", F_OK), 0);
	/* Nor do mistakes reach the machine: its settings, its disks. */
	prints(&x,
		"sudo -n sh -c 'for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger "
		"/sys/kernel/mm/ksm/run; do echo x 2>/dev/null > $f || echo no; done; "
		"mknod /node b 7 0; cat /node || echo no' 2>/dev/null",
		"no\nno\nno\nno\n");
	destroy(&x);
}

/* The state directory holds keys and the other sandboxes. Where it is below a directory that is
 * replaced it cannot be seen anyhow; this one is not. */
static void the_state_directory_is_masked(void **state)
{
	struct rig_box x;
	char key[BOX_PATH_MAX + 16], script[BOX_PATH_MAX + 64];
	FILE *f;

	(void)state;
	snprintf(state_dir, sizeof(state_dir), "/var/lib/test-local-XXXXXX");
	assert_non_null(mkdtemp(state_dir));
	snprintf(key, sizeof(key), "%s/api-key", state_dir);
	f = fopen(key, "we");
	fputs("secret", f);
	fclose(f);
	rig_up_in(&rig, &box_driver_local, state_dir);
	start_new(&x, "sb-00000001");
	snprintf(script, sizeof(script), "sudo -n ls -A %s; echo there", state_dir);
	prints(&x, script, "there\n");
	destroy(&x);
	unlink(key);
	rig_down(&rig);
	remove_state_dir();
}

/* Root inside has the directory of agentd's socket. What he puts there leads the bridge nowhere. */
static void a_link_for_a_socket(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct rig_box x;
	struct dial d;
	char script[512], path[128];

	(void)state;
	start_new(&x, "sb-00000001");
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.64s/others.sock", state_dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(script, sizeof(script),
		"sudo -n sh -c 'ln -sf %s /run/agentd/link/agent.sock; readlink /run/agentd/link/agent.sock'",
		sa.sun_path);
	snprintf(path, sizeof(path), "%s\n", sa.sun_path);
	prints(&x, script, path);
	assert_int_equal(dial_start(&d, &x.box.target), -ELOOP);
	close(fd);
	unlink(sa.sun_path);
	destroy(&x);
}

static void two_are_apart(void **state)
{
	struct rig_box a, b;

	(void)state;
	start_new(&a, "sb-0000000a");
	start_new(&b, "sb-0000000b");
	prints(&a,
		"echo a > /tmp/f; echo a > /workspace/f; echo a > ~/f; "
		"sudo -n sh -c 'echo a > /usr/f'; (sleep 1000 >/dev/null 2>&1 &)",
		"");
	prints(&b, "ls /tmp/f /workspace/f ~/f /usr/f 2>/dev/null; pgrep sleep; hostname",
		"sb-0000000b\n");
	rig_do(&a, box_destroy(&a.box, on_rig_answer));
	rig_ok(&a);
	prints(&b, "echo fine", "fine\n");
	destroy(&b);
}

/* ---- life ---- */

static void stop_and_restart_keep_files(void **state)
{
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x,
		"echo one > ~/f; echo two > /workspace/f; sudo -n sh -c 'echo three > /usr/local/f; rm /etc/services'; "
		"(sleep 1000 >/dev/null 2>&1 &)",
		"");
	stop(&x);
	assert_false(has_cgroup("sb-00000001"));
	restart(&x);
	prints(&x,
		"cat ~/f /workspace/f /usr/local/f; test -e /etc/services || echo gone; pgrep sleep; id -un",
		"one\ntwo\nthree\ngone\nsandbox\n");
	stop(&x);
	adopt(&x, BOX_LEFT_STOPPED);
	restart(&x);
	prints(&x, "cat ~/f", "one\n");
	assert_int_equal(x.gone, 0);
	destroy(&x);
}

#define MANY 6 /* more than libuv has threads */

/* Boxes that take their whole time to end keep nobody from beginning. A slow machine gets more than
 * one try. */
static void many_end_slowly(void **state)
{
	struct rig_box slow[MANY], x;
	char id[32];

	(void)state;
	for (unsigned tries = 0, overtaken = 0; overtaken == 0; tries++) {
		assert_true(tries < 5);
		for (unsigned i = 0; i < MANY; i++) {
			struct local_pids pids;

			snprintf(id, sizeof(id), "sb-0000000%u", i);
			start_new(&slow[i], id);
			local_load_pids(slow[i].box.dir, &pids);
			assert_int_equal(kill(pids.agent.pid, SIGSTOP), 0);
		}
		for (unsigned i = 0; i < MANY; i++) {
			slow[i].answers = 0;
			box_stop(&slow[i].box, on_rig_answer);
		}
		start_new(&x, "sb-0000000x");
		overtaken = 1;
		for (unsigned i = 0; i < MANY; i++)
			overtaken &= slow[i].answers == 0;
		for (unsigned i = 0; i < MANY; i++) {
			rig_answered(&slow[i]);
			rig_ok(&slow[i]);
			rig_do(&slow[i], box_destroy(&slow[i].box, on_rig_answer));
		}
		destroy(&x);
	}
}

static void wait_gone(struct rig_box *x)
{
	uint64_t until = now_ms() + RIG_MS;

	while (!x->gone) {
		assert_true(now_ms() < until);
		uv_run(&rig.loop, UV_RUN_ONCE);
	}
	assert_int_equal(x->gone, 1);
	assert_int_equal(count_processes(), 0);
}

static void the_end_of_agentd_is_told(void **state)
{
	struct rig_box x;
	struct local_pids pids;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x, "echo kept > ~/f; (setsid sleep 1000 >/dev/null 2>&1 &)", "");
	local_load_pids(x.box.dir, &pids);
	assert_int_equal(kill(pids.agent.pid, SIGKILL), 0);
	wait_gone(&x);
	restart(&x);
	prints(&x, "cat ~/f; pgrep sleep", "kept\n");
	x.gone = 0;
	local_load_pids(x.box.dir, &pids);
	assert_int_equal(kill(pids.inner.pid, SIGKILL), 0);
	wait_gone(&x);
	destroy(&x);
}

/* The operation takes the place of on_gone: it is not told in the middle of one. */
static void an_operation_while_it_is_going(void **state)
{
	struct rig_box x;
	struct local_pids pids;

	(void)state;
	start_new(&x, "sb-00000001");
	local_load_pids(x.box.dir, &pids);
	kill(pids.agent.pid, SIGKILL);
	/* Until it is seen: the driver's thread is at work then. */
	for (unsigned i = 0; i < 3; i++)
		uv_run(&rig.loop, UV_RUN_NOWAIT);
	destroy(&x);
	assert_in_range(x.gone, 0, 1);
}

static void what_is_not_there(void **state)
{
	struct rig_box x;

	(void)state;
	rig_box_init(&rig, &x, "sb-00000001");
	adopt(&x, BOX_LEFT_NOTHING);
	destroy(&x);
	rig_box_init(&rig, &x, "sb-00000001");
	destroy(&x);
}

/* ---- another bridge ---- */

/* In a process of its own: starts a box and is killed. */
static void start_and_die(const char *id, int after_ms)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct rig other;
		struct rig_box x;
		struct box_spec spec = {.template = "base"};
		uint64_t until = now_ms() + (uint64_t)after_ms;

		rig_up_in(&other, &box_driver_local, state_dir);
		rig_box_init(&other, &x, id);
		if (after_ms < 0) {
			rig_start(&x);
			kill(getpid(), SIGKILL);
		}
		box_start(&x.box, &spec, on_rig_answer);
		while (now_ms() < until)
			uv_run(&other.loop, UV_RUN_NOWAIT);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void adopted_after_a_kill(void **state)
{
	struct rig_box x;
	struct local_pids before, after;

	(void)state;
	start_and_die("sb-00000001", -1);
	rig_box_init(&rig, &x, "sb-00000001");
	local_load_pids(x.box.dir, &before);
	adopt(&x, BOX_LEFT_RUNNING);
	prints(&x, "hostname; sudo -n id -u", "sb-00000001\n0\n");
	local_load_pids(x.box.dir, &after);
	assert_int_equal(before.agent.pid, after.agent.pid);
	/* It is no child of ours, and its end is seen all the same. */
	kill(after.agent.pid, SIGKILL);
	wait_gone(&x);
	destroy(&x);
}

static void adopted_after_leaving(void **state)
{
	struct rig_box x, y;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x, "(sleep 1000 >/dev/null 2>&1 &)", "");
	box_leave(&x.box);
	assert_null(x.box.state);
	rig_box_init(&rig, &y, "sb-00000001");
	adopt(&y, BOX_LEFT_RUNNING);
	prints(&y, "pgrep -c sleep", "1\n");
	stop(&y);
	box_leave(&y.box);
	rig_box_init(&rig, &x, "sb-00000001");
	adopt(&x, BOX_LEFT_STOPPED);
	destroy(&x);
}

/* A bridge that has no descriptor left cannot say what a box is, and does not end it for that. */
static void adopted_without_descriptors(void **state)
{
	struct rlimit was, few;
	struct rig_box x;
	int fds[64] = {0};
	size_t n = 0;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x, "(sleep 1000 >/dev/null 2>&1 &)", "");
	box_leave(&x.box);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = (struct rlimit){.rlim_cur = 48, .rlim_max = was.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while ((fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	for (unsigned left = 0; left < 2; left++) {
		rig_box_init(&rig, &x, "sb-00000001");
		rig_do(&x, box_adopt(&x.box, on_rig_answer));
		assert_false(x.r.ok);
		box_leave(&x.box);
		close(fds[--n]);
	}
	while (n > 0)
		close(fds[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	rig_box_init(&rig, &x, "sb-00000001");
	adopt(&x, BOX_LEFT_RUNNING);
	prints(&x, "pgrep -c sleep", "1\n");
	destroy(&x);
}

/* A bridge that is killed at any step of a start leaves what adopt and destroy can clean. */
static void killed_while_it_starts(void **state)
{
	struct rig_box x;

	(void)state;
	for (int ms = 0; ms <= 48; ms += 4) {
		start_and_die("sb-00000001", ms);
		rig_box_init(&rig, &x, "sb-00000001");
		rig_do(&x, box_adopt(&x.box, on_rig_answer));
		rig_ok(&x);
		if (x.r.left == BOX_LEFT_STOPPED)
			restart(&x);
		if (x.r.left != BOX_LEFT_NOTHING)
			prints(&x, "echo works", "works\n");
		destroy(&x);
	}
}

static void half_a_box_is_cleaned(void **state)
{
	char path[BOX_PATH_MAX + 32];
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	stop(&x);
	snprintf(path, sizeof(path), "%s/made", x.box.dir);
	assert_int_equal(unlink(path), 0);
	box_leave(&x.box);
	rig_box_init(&rig, &x, "sb-00000001");
	adopt(&x, BOX_LEFT_NOTHING);
	destroy(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_command_as_the_user, up, down),
		cmocka_unit_test_setup_teardown(sudo_works, up, down),
		cmocka_unit_test_setup_teardown(namespaces_of_its_own, up, down),
		cmocka_unit_test_setup_teardown(writes_do_not_reach_the_host, up, down),
		cmocka_unit_test(the_state_directory_is_masked),
		cmocka_unit_test_setup_teardown(a_link_for_a_socket, up, down),
		cmocka_unit_test_setup_teardown(two_are_apart, up, down),
		cmocka_unit_test_setup_teardown(stop_and_restart_keep_files, up, down),
		cmocka_unit_test_setup_teardown(many_end_slowly, up, down),
		cmocka_unit_test_setup_teardown(the_end_of_agentd_is_told, up, down),
		cmocka_unit_test_setup_teardown(an_operation_while_it_is_going, up, down),
		cmocka_unit_test_setup_teardown(what_is_not_there, up, down),
		cmocka_unit_test_setup_teardown(adopted_after_a_kill, up, down),
		cmocka_unit_test_setup_teardown(adopted_after_leaving, up, down),
		cmocka_unit_test_setup_teardown(adopted_without_descriptors, up, down),
		cmocka_unit_test_setup_teardown(killed_while_it_starts, up, down),
		cmocka_unit_test_setup_teardown(half_a_box_is_cleaned, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
