/*
 * Where a program is put: session, terminal, limits, user, directory, cgroup. Real processes, every
 * case twice: by clone3 and by the way of older kernels. Without root the refusals are what is
 * tested.
 */
#include "tests/unit/spawn_run.h"

#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "agentd/cgroup.h"

#define NOBODY 65534

/* session, terminal, limits */

static void test_session_and_group(void **state)
{
	int pid, group, session, tty;
	struct spawn_request req =
		REQUEST((char *)"cut", (char *)"-d ", (char *)"-f1,5-7", (char *)"/proc/self/stat");
	char out[256];

	(void)state;
	assert_int_equal(run(req, out, sizeof(out)), 0);
	assert_int_equal(sscanf(out, "%d %d %d %d", &pid, &group, &session, &tty), 4);
	assert_int_equal(group, pid);
	assert_int_equal(session, getsid(0));
	req.new_session = true;
	assert_int_equal(run(req, out, sizeof(out)), 0);
	assert_int_equal(sscanf(out, "%d %d %d %d", &pid, &group, &session, &tty), 4);
	assert_int_equal(group, pid);
	assert_int_equal(session, pid);
	assert_int_equal(tty, 0);
}

static void test_controlling_tty(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
	struct spawn_request req = SH("echo to-tty >/dev/tty");
	struct spawn_result res;
	char out[64];

	(void)state;
	assert_int_equal(unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	req.new_session = req.controlling_tty = true;
	req.fd[0] = req.fd[1] = req.fd[2] = slave;
	assert_int_equal(spawn(&req, &res), 0);
	assert_int_equal(wait_status(&res), 0);
	assert_int_equal(read(master, out, sizeof(out)), 8);
	assert_memory_equal(out, "to-tty\r\n", 8);
	req.fd[0] = devnull;
	fails(req, SPAWN_SESSION, ENOTTY);
	close(slave);
	close(master);
	req.fd[2] = -1;
	fails(req, SPAWN_SESSION, EBADF);
}

static void test_rlimits(void **state)
{
	struct spawn_rlimit lim[] = {
		{RLIMIT_NOFILE, {100, 200}},
		{RLIMIT_CORE, {0, 0}},
		{RLIMIT_STACK, {1 << 20, RLIM_INFINITY}},
	};
	struct spawn_request req = SH("ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -Ss; ulimit -Hs");
	struct rlimit mine;

	(void)state;
	getrlimit(RLIMIT_STACK, &mine);
	req.rlimits = lim;
	req.n_rlimits = mine.rlim_max == RLIM_INFINITY ? 3 : 2;
	if (req.n_rlimits == 3)
		prints(req, "100\n200\n0\n1024\nunlimited\n");
	lim[0].value.rlim_cur = 201;
	fails(req, SPAWN_RLIMIT, EINVAL);
	lim[0].resource = 9999;
	fails(req, SPAWN_RLIMIT, EINVAL);
	getrlimit(RLIMIT_NOFILE, &mine);
	assert_true(mine.rlim_max > 200);
}

static void test_oom_score(void **state)
{
	struct spawn_request req = REQUEST((char *)"cat", (char *)"/proc/self/oom_score_adj");
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	char mine[8] = "";

	(void)state;
	assert_int_equal(write(fd, "100", 3), 3);
	prints(req, "100\n");
	req.reset_oom_score = true;
	for (int i = 0; i < 300; i++) { /* a race, at the moment when memory is no longer shared */
		prints(req, "0\n");
		assert_true(pread(fd, mine, sizeof(mine), 0) > 0);
		assert_string_equal(mine, "100\n");
	}
	req.argv[0] = (char *)"absent";
	fails(req, SPAWN_EXEC, ENOENT);
	assert_int_equal(write(fd, "0", 1), 1);
	close(fd);
}

/* users */

static const char ids[] = "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status";

static void test_user(void **state)
{
	const gid_t groups[] = {NOBODY, 12345};
	struct spawn_request req = SH(ids);

	(void)state;
	req.set_user = true;
	req.uid = req.gid = NOBODY;
	req.groups = groups;
	req.n_groups = 2;
	if (geteuid() != 0) {
		fails(req, SPAWN_USER, EPERM);
		return;
	}
	prints(req, "Uid:\t65534\t65534\t65534\t65534\nGid:\t65534\t65534\t65534\t65534\n"
		    "Groups:\t12345 65534 \nCapEff:\t0000000000000000\n");
	req.uid = 4000000000U;
	req.gid = 77;
	req.n_groups = 0;
	prints(req, "Uid:\t4000000000\t4000000000\t4000000000\t4000000000\n"
		    "Gid:\t77\t77\t77\t77\nGroups:\t \nCapEff:\t0000000000000000\n");
	assert_int_equal(geteuid(), 0);
	assert_int_not_equal(prctl(PR_GET_DUMPABLE), 1); /* what we have in memory is ours */
	req.n_groups = 70000;                            /* the kernel's limit is 65536 */
	fails(req, SPAWN_USER, EINVAL);
}

/* Runs f in a process of its own without any privileges; asserts in it show in its exit status. */
static void as_nobody(void (*f)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (geteuid() == 0 && (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY)))
			_exit(99);
		f();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			dprintf(2, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                      \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/*
 * Until exec the child borrows our memory, and for a moment it is a process of the user already.
 * One who stops all their processes, over and over, must not stop us with it.
 */
static void test_hostile_user(void **state)
{
	struct spawn_request req = REQUEST((char *)"true");
	struct spawn_result res;
	pid_t hostile;

	(void)state;
	if (geteuid() != 0) { /* a user who is ours may stop us anyway */
		assert_int_equal(spawn(&req, &res), 0);
		assert_int_equal(wait_status(&res), 0);
		return;
	}
	req.set_user = true;
	req.uid = req.gid = 4000000001U;
	hostile = fork();
	if (hostile == 0) {
		if (setgid(req.gid) < 0 || setuid(req.uid) < 0)
			_exit(1);
		for (;;)
			kill(-1, SIGSTOP);
	}
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(spawn(&req, &res), 0);
		kill(res.pid, SIGKILL);
		wait_status(&res);
	}
	assert_int_equal(kill(hostile, SIGKILL), 0);
	assert_int_equal(waitpid(hostile, NULL, 0), hostile);
}

/* Becoming what one is already needs no privilege; anything else does. */
static void unprivileged(void)
{
	gid_t groups[64];
	int n = getgroups(array_size(groups), groups);
	struct spawn_request req = REQUEST((char *)"true");
	struct spawn_result res;
	struct rlimit lim;

	CHECK(n >= 0);
	req.set_user = true;
	req.uid = getuid();
	req.gid = getgid();
	req.groups = groups;
	req.n_groups = (size_t)n;
	CHECK(spawn(&req, &res) == 0 && waitpid(res.pid, NULL, 0) == res.pid);
	req.uid++;
	CHECK(spawn(&req, &res) == -EPERM && res.stage == SPAWN_USER);
	req.uid--;
	CHECK(n < 64);
	groups[n] = 4242;
	req.n_groups++;
	CHECK(spawn(&req, &res) == -EPERM && res.stage == SPAWN_USER);
	/* No more processes. */
	getrlimit(RLIMIT_NPROC, &lim);
	CHECK(setrlimit(RLIMIT_NPROC, &(struct rlimit){0, lim.rlim_max}) == 0);
	CHECK(spawn(&req, &res) == -EAGAIN && res.stage == SPAWN_CLONE);
	CHECK(setrlimit(RLIMIT_NPROC, &lim) == 0);
	/* No descriptor for the pidfd. */
	CHECK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, 0}) == 0);
	CHECK(spawn(&req, &res) == -EMFILE && res.stage == SPAWN_CLONE);
	CHECK(waitpid(-1, NULL, 0) < 0);
}

static void test_unprivileged(void **state)
{
	(void)state;
	as_nobody(unprivileged);
}

static void test_cwd(void **state)
{
	struct spawn_request req = SH("pwd");
	char expected[128];

	(void)state;
	req.cwd = "/nowhere";
	fails(req, SPAWN_CWD, ENOENT);
	req.cwd = "/etc/passwd";
	fails(req, SPAWN_CWD, ENOTDIR);
	req.cwd = make_dir("private", geteuid() == 0 ? 0700 : 0);
	req.set_user = geteuid() == 0; /* with the rights of the user */
	req.uid = req.gid = NOBODY;
	fails(req, SPAWN_CWD, EACCES);
	assert_int_equal(chmod(req.cwd, 0700), 0);
	if (req.set_user)
		assert_int_equal(chown(req.cwd, NOBODY, NOBODY), 0);
	snprintf(expected, sizeof(expected), "%s\n", req.cwd);
	prints(req, expected);
	assert_int_equal(rmdir(req.cwd), 0);
}

/* cgroups */

static void test_cgroup(void **state)
{
	struct spawn_request req =
		REQUEST((char *)"grep", (char *)"^0::", (char *)"/proc/self/cgroup");
	char name[CGROUP_LEAF_NAME], out[512], path[300];
	struct cgroup cg;

	(void)state;
	assert_int_equal(cgroup_init(&cg, "auto", NULL), 0);
	req.cgroup_fd = cgroup_leaf_open(&cg, name);
	if (cg.dir < 0) {
		assert_int_equal(req.cgroup_fd, -EOPNOTSUPP);
		exits(SH("true"), 0);
	} else {
		assert_int_equal(run(req, out, sizeof(out)), 0);
		snprintf(path, sizeof(path), "%s/%s\n", strrchr(cg.path, '/'), name);
		assert_non_null(strstr(out, path));
		snprintf(path, sizeof(path), "%s/%s", cg.path, name);
		assert_int_equal(rmdir(path), 0);
		fails(req, SPAWN_CGROUP, 0); /* ENODEV, or ENOENT from the child */
	}
	req.cgroup_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	fails(req, SPAWN_CGROUP, 0); /* EBADF, or ENOENT from the child */
	close(req.cgroup_fd);
	cgroup_fini(&cg, true);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, before, after)

static const struct CMUnitTest tests[] = {
	TEST(test_session_and_group),
	TEST(test_controlling_tty),
	TEST(test_rlimits),
	TEST(test_oom_score),
	TEST(test_user),
	TEST(test_hostile_user),
	TEST(test_unprivileged),
	TEST(test_cwd),
	TEST(test_cgroup),
};

int main(void)
{
	int failed;

	if (!spawn_run_init())
		return 1;
	failed = cmocka_run_group_tests_name("clone3", tests, NULL, NULL);
	spawn_force_fallback(true);
	failed += cmocka_run_group_tests_name("clone", tests, NULL, NULL);
	return failed + spawn_run_fini();
}
