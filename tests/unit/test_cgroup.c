/*
 * Leaves of the machine's own cgroup v2 with real processes in them. Where there is none that we
 * may write to, the same cases show that all degrades quietly.
 */
#include "agentd/cgroup.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "agentd/cgroup_find.h"
#include "tests/unit/spawn_run.h"

static struct cgroup cg;
static bool here; /* there are cgroups */

static int begin(void **state)
{
	int r = before(state);

	assert_int_equal(cgroup_init(&cg, "auto", NULL), 0);
	assert_int_equal(here, cg.dir >= 0);
	return r;
}

static int finish(void **state)
{
	char path[sizeof(cg.path)];

	snprintf(path, sizeof(path), "%s", cg.path);
	cgroup_fini(&cg, true);
	assert_int_equal(cg.dir, -1);
	if (here)
		assert_int_equal(access(path, F_OK), -1); /* nothing is left behind */
	return after(state);
}

static const char *leaf_path(const char *name)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/%s", cg.path, name);
	return path;
}

static bool exists(const char *name)
{
	return access(leaf_path(name), F_OK) == 0;
}

/* A leaf for a session; without cgroups that is refused, and the name is made up. */
static int open_leaf(char name[CGROUP_LEAF_NAME])
{
	int fd;

	snprintf(name, CGROUP_LEAF_NAME, "s0");
	fd = cgroup_leaf_open(&cg, name);
	if (!here)
		assert_int_equal(fd, -EOPNOTSUPP);
	else
		assert_true(fd >= 0 && exists(name));
	return max_of(fd, -1);
}

static struct spawn_result start(const char *script, int leaf)
{
	struct spawn_request req = SH(script);
	struct spawn_result res;

	req.cgroup_fd = leaf;
	assert_int_equal(spawn(&req, &res), 0);
	return res;
}

/* The kernel may tell of the last process's end a moment after it is reaped. */
static bool empties(const char *name)
{
	for (int i = 0; i < 5000 && cgroup_leaf_populated(&cg, name); i++)
		usleep(1000);
	return !cgroup_leaf_populated(&cg, name);
}

static void test_find(void **state)
{
	static const char pure[] =
		"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
		"30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
	static const char hybrid[] =
		"31 22 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
		"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		"41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n";
	static const char bind[] = "9 8 0:26 /../.. /a rw - cgroup2 c rw\n"
				   "9 8 0:26 /box /b rw - cgroup2 c rw\n"
				   "9 8 0:26 /boxes /c rw - cgroup2 c rw";
	const struct {
		const char *mountinfo, *self, *expected;
	} c[] = {
		{pure, "0::/\n", "/sys/fs/cgroup"},
		{pure, "0::/system.slice/agentd.service\n",
			"/sys/fs/cgroup/system.slice/agentd.service"},
		{hybrid, "9:name=systemd:/x\n4:memory:/y\n0::/z\n", "/sys/fs/cgroup/uni fied/z"},
		{bind, "0::/box/in", "/b/in"},
		{bind, "0::/boxes\n", "/c"},
		{bind, "0::/\n", NULL},
		{bind, "0::/boxer\n", NULL},
		{pure, "4:memory:/y\n", NULL},
		{pure, "", NULL},
		{"", "0::/\n", NULL},
		{"9 8 0:26 / - cgroup2\n - cgroup2 \n", "0::/\n", NULL},
	};
	char path[256];

	(void)state;
	for (size_t i = 0; i < array_size(c); i++) {
		int r = cgroup_find_in(c[i].mountinfo, c[i].self, path, sizeof(path));

		assert_int_equal(r, c[i].expected ? 0 : -ENOENT);
		if (c[i].expected)
			assert_string_equal(path, c[i].expected);
	}
	assert_int_equal(cgroup_find_in(pure, "0::/long\n", path, 19), -ENAMETOOLONG);
}

static void test_modes(void **state)
{
	char path[300], name[CGROUP_LEAF_NAME];
	struct cgroup other;

	(void)state;
	assert_int_equal(cgroup_init(&other, "none", NULL), 0);
	assert_int_equal(other.dir, -1);
	assert_string_equal(other.path, "");
	assert_int_equal(cgroup_leaf_open(&other, name), -EOPNOTSUPP);
	cgroup_fini(&other, true);
	assert_int_equal(cgroup_init(&other, "sometimes", NULL), -EINVAL);
	assert_int_equal(cgroup_init(&other, "/nowhere/at/all", NULL), -ENOENT);
	snprintf(path, sizeof(path), "%s/not-a-cgroup", tmp);
	assert_int_equal(cgroup_init(&other, path, NULL), -EINVAL);
	assert_int_equal(access(path, F_OK), -1);
	if (!here)
		return;
	/* A path of the administrator's choice, in use by one agent at a time. */
	assert_int_equal(cgroup_init(&other, cg.path, NULL), -EBUSY);
	snprintf(path, sizeof(path), "%s-of-admin", cg.path);
	assert_int_equal(cgroup_init(&other, path, NULL), 0);
	assert_true(cgroup_leaf_open(&other, name) >= 0);
	cgroup_fini(&other, true);
	assert_int_equal(access(path, F_OK), -1); /* we made it */
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(cgroup_init(&other, path, NULL), 0);
	cgroup_fini(&other, true);
	assert_int_equal(rmdir(path), 0); /* we did not */
}

static void test_leaf(void **state)
{
	char name[CGROUP_LEAF_NAME];
	int fd = open_leaf(name);
	struct spawn_result res = start("exec sleep 100", fd);

	(void)state;
	assert_int_equal(cgroup_leaf_populated(&cg, name), here);
	assert_int_equal(cgroup_leaf_oom_kills(&cg, name), 0);
	if (here) {
		assert_int_equal(cgroup_leaf_signal(&cg, name, 0), 1);
		assert_int_equal(cgroup_leaf_kill(&cg, name), 0);
	} else {
		assert_int_equal(cgroup_leaf_signal(&cg, name, 0), -ENOENT);
		assert_int_equal(cgroup_leaf_kill(&cg, name), -ENOENT);
		kill(res.pid, SIGKILL);
	}
	assert_int_equal(wait_status(&res), 128 + SIGKILL);
	assert_true(empties(name));
	cgroup_leaf_close(&cg, name);
	cgroup_leaf_close(&cg, name); /* twice does no harm */
}

static void test_names_of_others(void **state)
{
	const char *const names[] = {"", "s", "x", "s01", "s-1", "s99999", "s16384", "../s0",
		"s0/../..", "cgroup.procs", "s4294967296"};

	(void)state;
	for (size_t i = 0; i < array_size(names); i++) {
		assert_int_equal(cgroup_leaf_kill(&cg, names[i]), -ENOENT);
		assert_int_equal(cgroup_leaf_signal(&cg, names[i], SIGKILL), -ENOENT);
		assert_int_equal(cgroup_leaf_claim(&cg, names[i]), here ? -EINVAL : -EOPNOTSUPP);
		assert_false(cgroup_leaf_populated(&cg, names[i]));
		assert_int_equal(cgroup_leaf_oom_kills(&cg, names[i]), 0);
		cgroup_leaf_close(&cg, names[i]);
	}
	assert_int_equal(cgroup_leaf_kill(&cg, "s77"), -ENOENT);
	cgroup_leaf_close(&cg, "s77");
}

static void test_signal_all(void **state)
{
	char name[CGROUP_LEAF_NAME], script[256], forked[128];
	int fd = open_leaf(name);
	struct spawn_result res;

	(void)state;
	if (fd < 0) {
		assert_int_equal(cgroup_leaf_signal(&cg, name, SIGTERM), -ENOENT);
		return;
	}
	/* More than one batch, some in other sessions, some without a parent of theirs. */
	snprintf(script, sizeof(script),
		"for i in $(seq 150); do sleep 100 & done; setsid sleep 100 &"
		" (setsid sleep 100 &); : >%s/forked; wait",
		tmp);
	snprintf(forked, sizeof(forked), "%s/forked", tmp);
	res = start(script, fd);
	for (int i = 0; i < 5000 && access(forked, F_OK) < 0; i++)
		usleep(1000);
	assert_int_equal(cgroup_leaf_signal(&cg, name, SIGTERM), 153);
	assert_int_equal(wait_status(&res), 128 + SIGTERM);
	assert_true(empties(name));
	cgroup_leaf_close(&cg, name);
}

/* cgroup.kill is atomic: not even what forks all the time gets away. */
static void test_kill_forkers(void **state)
{
	char name[CGROUP_LEAF_NAME];
	int fd = open_leaf(name);
	struct spawn_result res;

	(void)state;
	if (fd < 0)
		return;
	for (int i = 0; i < 10; i++) {
		res = start(
			"f() { (setsid sh -c 'sleep 0.001; exec sleep 100' &) ; sleep 0.001; }; while :; do f; done",
			fd);
		usleep(20000);
		assert_int_equal(cgroup_leaf_kill(&cg, name), 0);
		assert_int_equal(wait_status(&res), 128 + SIGKILL);
		assert_true(empties(name));
	}
	cgroup_leaf_close(&cg, name);
}

static void test_reuse(void **state)
{
	char a[CGROUP_LEAF_NAME], b[CGROUP_LEAF_NAME], c[CGROUP_LEAF_NAME];
	struct spawn_result res;
	int fd;

	(void)state;
	fd = open_leaf(a);
	open_leaf(b);
	if (fd < 0)
		return;
	assert_string_not_equal(a, b);
	cgroup_leaf_close(&cg, a);
	assert_true(exists(a));
	assert_int_equal(open_leaf(c), fd); /* the same, as it is */
	assert_string_equal(c, a);
	/* A background process stays: the leaf is not handed out, and goes once it is empty. */
	res = start("exec sleep 100", fd);
	cgroup_leaf_close(&cg, a);
	for (int i = 0; i < 10; i++) {
		open_leaf(c);
		assert_string_not_equal(c, a);
		assert_string_not_equal(c, b);
		cgroup_leaf_close(&cg, c);
	}
	assert_int_equal(kill(res.pid, SIGKILL), 0);
	wait_status(&res);
	assert_true(empties(a));
	/* Somebody removed an idle one. */
	assert_int_equal(rmdir(leaf_path(c)), 0);
	open_leaf(c);
	cgroup_leaf_close(&cg, c);
	cgroup_leaf_close(&cg, b);
}

/* What the memory limit ended, where there is such a limit; that leaf's count passes to nobody. */
static void test_oom(void **state)
{
	char name[CGROUP_LEAF_NAME], again[CGROUP_LEAF_NAME], path[320];
	int leaf = open_leaf(name), limit;
	struct spawn_result res;

	(void)state;
	snprintf(path, sizeof(path), "%s/memory.max", leaf_path(name));
	limit = open(path, O_WRONLY | O_CLOEXEC);
	if (limit >= 0) {
		assert_int_equal(write(limit, "16777216", 8), 8);
		close(limit);
		res = start("x=0123456789abcdef; while :; do x=$x$x; done", leaf);
		assert_int_equal(wait_status(&res), 128 + SIGKILL);
		assert_int_equal(cgroup_leaf_oom_kills(&cg, name), 1);
		assert_true(empties(name));
	}
	cgroup_leaf_close(&cg, name);
	open_leaf(again);
	assert_int_equal(cgroup_leaf_oom_kills(&cg, again), 0);
	cgroup_leaf_close(&cg, again);
}

/* When nothing is going on nothing is kept either; what is in use stays. */
static void test_idle(void **state)
{
	char used[CGROUP_LEAF_NAME], closed[CGROUP_LEAF_NAME], again[CGROUP_LEAF_NAME];
	int fds = count_fds();

	(void)state;
	open_leaf(closed);
	cgroup_leaf_close(&cg, closed);
	cgroup_idle(&cg);
	assert_int_equal(count_fds(), fds);
	if (here)
		assert_false(exists(closed));
	open_leaf(used);
	cgroup_idle(&cg);
	assert_int_equal(exists(used), here);
	open_leaf(again);
	cgroup_leaf_close(&cg, again);
	cgroup_leaf_close(&cg, used);
}

/* Far more than descriptors are kept for: all different, and all gone afterwards. */
static void test_many(void **state)
{
	static char names[300][CGROUP_LEAF_NAME];
	int fds = count_fds(), left = 0;

	(void)state;
	for (size_t i = 0; i < array_size(names); i++) {
		open_leaf(names[i]);
		for (size_t k = 0; here && k < i; k++)
			assert_string_not_equal(names[i], names[k]);
	}
	assert_true(count_fds() - fds <= 100);
	for (size_t i = 0; i < array_size(names); i++)
		cgroup_leaf_close(&cg, names[i]);
	for (size_t i = 0; i < array_size(names); i++)
		left += here && exists(names[i]);
	assert_true(left <= 16);
}

/* Leaves beyond the slots that were closed while populated: removed by and by. */
static void test_orphans(void **state)
{
	static char names[60][CGROUP_LEAF_NAME];
	struct spawn_result res[60];
	char name[CGROUP_LEAF_NAME];
	int left = 0;

	(void)state;
	for (size_t i = 0; i < array_size(names); i++)
		res[i] = start("exec sleep 100", open_leaf(names[i]));
	for (size_t i = 0; i < array_size(names); i++)
		cgroup_leaf_close(&cg, names[i]);
	for (size_t i = 0; here && i < array_size(names); i++)
		assert_true(exists(names[i]));
	for (size_t i = 0; i < array_size(names); i++) {
		kill(res[i].pid, SIGKILL);
		wait_status(&res[i]);
		assert_true(empties(names[i]));
	}
	for (int i = 0; i < 40;
		i++) /* none of them closed: each takes one from what is left, or makes one */
		open_leaf(name);
	for (size_t i = 0; i < array_size(names); i++)
		left += here && exists(names[i]);
	assert_true(left <= 40);
}

/* Upgrade: the next agent takes the directory over, and the leaves of living sessions are claimed.
 */
static void test_takeover(void **state)
{
	char busy[CGROUP_LEAF_NAME], empty[CGROUP_LEAF_NAME], stray[CGROUP_LEAF_NAME];
	char idle[CGROUP_LEAF_NAME], name[CGROUP_LEAF_NAME], path[sizeof(cg.path)];
	struct spawn_result res, other;

	(void)state;
	res = start("exec sleep 100", open_leaf(busy));
	open_leaf(empty); /* of a session whose processes are all gone */
	other = start("exec sleep 100", open_leaf(stray)); /* of a session that was removed */
	open_leaf(idle);
	cgroup_leaf_close(&cg, idle);
	snprintf(path, sizeof(path), "%s", cg.path);
	cgroup_fini(&cg, false);
	assert_int_equal(cgroup_init(&cg, "auto", path), 0);
	if (here) {
		assert_string_equal(cg.path, path);
		assert_true(exists(busy) && exists(empty) && exists(stray) && !exists(idle));
		assert_int_equal(cgroup_leaf_claim(&cg, busy), 0);
		assert_int_equal(cgroup_leaf_claim(&cg, empty), 0);
		for (int i = 0; i < 50; i++) {
			open_leaf(name);
			assert_string_not_equal(name, busy);
			assert_string_not_equal(name, empty);
			assert_string_not_equal(name, stray);
		}
		assert_true(cgroup_leaf_populated(&cg, busy));
		assert_int_equal(cgroup_leaf_kill(&cg, busy), 0);
		cgroup_leaf_close(&cg, empty);
		assert_false(exists(empty));
	}
	kill(res.pid, SIGKILL);
	kill(other.pid, SIGKILL);
	wait_status(&res);
	wait_status(&other);
	assert_true(empties(busy) && empties(stray));
	cgroup_leaf_close(&cg, busy);
}

static void test_takeover_of_nothing(void **state)
{
	struct cgroup other;

	(void)state;
	assert_int_equal(cgroup_init(&other, "none", cg.path), 0);
	assert_int_equal(other.dir, -1);
	cgroup_fini(&cg, true);
	assert_int_equal(cgroup_init(&cg, "auto", "/nowhere/agentd-1"), 0);
	assert_int_equal(here, cg.dir >= 0);
	cgroup_leaf_claim(&cg, "s3"); /* of a directory that is no more */
	cgroup_leaf_close(&cg, "s3");
}

/* What an agent that was killed left there: removed when it is empty, let be when it is not. */
static void test_dead_siblings(void **state)
{
	char path[300], leaf[320];
	struct spawn_result res;
	pid_t dead = fork();
	int fd;

	(void)state;
	if (dead == 0)
		_exit(0);
	assert_int_equal(waitpid(dead, NULL, 0), dead);
	if (!here)
		return;
	snprintf(path, sizeof(path), "%.*sagentd-%d", (int)(strrchr(cg.path, '/') + 1 - cg.path),
		cg.path, dead);
	snprintf(leaf, sizeof(leaf), "%s/s5", path);
	assert_int_equal(mkdir(path, 0755) | mkdir(leaf, 0755), 0);
	fd = open(leaf, O_PATH | O_CLOEXEC);
	res = start("exec sleep 100", fd);
	close(fd);
	cgroup_fini(&cg, true);
	assert_int_equal(cgroup_init(&cg, "auto", NULL), 0);
	assert_int_equal(access(leaf, F_OK), 0);
	kill(res.pid, SIGKILL);
	wait_status(&res);
	for (int i = 0; i < 5000 && access(path, F_OK) == 0; i++) {
		cgroup_fini(&cg, true);
		assert_int_equal(cgroup_init(&cg, "auto", NULL), 0);
		usleep(1000);
	}
	assert_int_equal(access(path, F_OK), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		TEST(test_modes),
		TEST(test_leaf),
		TEST(test_names_of_others),
		TEST(test_signal_all),
		TEST(test_kill_forkers),
		TEST(test_reuse),
		TEST(test_idle),
		TEST(test_oom),
		TEST(test_many),
		TEST(test_orphans),
		TEST(test_takeover),
		TEST(test_takeover_of_nothing),
		TEST(test_dead_siblings),
	};
	char own[256];

	if (!spawn_run_init())
		return 1;
	here = cgroup_find_own(own, sizeof(own)) == 0 && access(own, W_OK) == 0;
	return cmocka_run_group_tests(tests, NULL, NULL) + spawn_run_fini();
}
