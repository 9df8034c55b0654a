/*
 * Trees of real processes. All of a tree hold the write end of one pipe, so that it is gone, all of
 * it, when the other end reads EOF.
 */
#include "agentd/proctree.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/spawn_run.h"

#define CLOSED_MS 10000

struct tree {
	struct spawn_result leader;
	uint64_t start;
	int out;
};

/* Starts a shell script and waits until it says "ready", maybe with words behind that, which are
 * returned. */
static struct tree start(const char *script, bool new_session, pid_t *ret_pid)
{
	struct spawn_request req = SH(script);
	struct tree t;
	char text[128];
	size_t len = 0;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	req.fd[1] = p[1];
	req.new_session = new_session;
	assert_int_equal(spawn(&req, &t.leader), 0);
	close(p[1]);
	t.out = p[0];
	while (len == 0 || text[len - 1] != '\n') {
		assert_int_equal(read(t.out, text + len, 1), 1);
		len++;
	}
	text[len - 1] = '\0';
	assert_int_equal(strncmp(text, "ready", 5), 0);
	if (ret_pid)
		*ret_pid = (pid_t)strtol(text + 5, NULL, 10);
	assert_int_equal(proctree_start_time(t.leader.pid, &t.start), 0);
	assert_true(t.start > 0);
	return t;
}

static bool gone_within(const struct tree *t, int ms)
{
	struct pollfd p = {.fd = t->out, .events = POLLIN};

	return poll(&p, 1, ms) == 1 && (p.revents & POLLHUP);
}

static void end(struct tree *t)
{
	assert_true(gone_within(t, CLOSED_MS));
	close(t->out);
}

static int signal_session(const struct tree *t, int sig)
{
	return proctree_signal(PROCTREE_SESSION, t->leader.pid, t->start, sig);
}

/* Until the scripts' own forks have come and gone, there are `n` of them. */
static void expect(const struct tree *t, int n)
{
	uint64_t until = now_ms() + CLOSED_MS;

	while (signal_session(t, 0) != n && now_ms() < until)
		usleep(1000);
	assert_int_equal(signal_session(t, 0), n);
}

static void test_session(void **state)
{
	struct tree t = start(
		"sleep 100 & (sleep 100; :) & set -m; sleep 100 & echo ready; wait", true, NULL);

	(void)state;
	/* The shell, the subshell and its sleep, two more; one of them in a group of its own. */
	expect(&t, 5);
	assert_false(gone_within(&t, 0));
	assert_int_equal(signal_session(&t, SIGTERM), 5);
	assert_int_equal(wait_status(&t.leader), 128 + SIGTERM);
	end(&t);
	expect(&t, 0); /* the last descriptors close a moment before the process is gone */
}

static void test_escaped_descendant(void **state)
{
	struct tree t = start("setsid sh -c 'sleep 100 & echo ready; wait' & wait", true, NULL);

	(void)state;
	expect(&t, 3);
	assert_int_equal(signal_session(&t, SIGKILL), 3);
	assert_int_equal(wait_status(&t.leader), 128 + SIGKILL);
	end(&t);
}

/* A daemon has neither the session nor a parent in it: what only a cgroup can reach. */
static void test_daemon_is_not_reached(void **state)
{
	pid_t pid;
	struct tree t =
		start("(setsid sh -c 'echo ready $$; exec sleep 100' &); sleep 100; :", true, &pid);

	(void)state;
	expect(&t, 2);
	assert_int_equal(signal_session(&t, SIGKILL), 2);
	assert_int_equal(wait_status(&t.leader), 128 + SIGKILL);
	assert_false(gone_within(&t, 20));
	assert_int_equal(kill(pid, SIGKILL), 0);
	end(&t);
}

static void test_after_the_leader(void **state)
{
	struct tree t = start("sleep 100 & sleep 100 & echo ready", true, NULL);

	(void)state;
	assert_int_equal(wait_status(&t.leader), 0);
	expect(&t, 2);
	assert_int_equal(proctree_start_time(t.leader.pid, &(uint64_t){0}), -ESRCH);
	assert_int_equal(signal_session(&t, SIGKILL), 2);
	end(&t);
	expect(&t, 0);
}

static void test_zombies_do_not_count(void **state)
{
	struct tree t = start("echo ready", true, NULL);
	siginfo_t info;

	(void)state;
	assert_int_equal(waitid(P_PID, (id_t)t.leader.pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(signal_session(&t, SIGKILL), 0);
	assert_int_equal(wait_status(&t.leader), 0);
	end(&t);
}

static void test_group(void **state)
{
	struct tree t = start("sleep 100 & setsid sleep 100 & echo ready; wait", false, NULL);

	(void)state;
	assert_int_equal(
		getsid(t.leader.pid), getsid(0)); /* our own session: not to be signalled */
	assert_int_equal(proctree_signal(PROCTREE_GROUP, t.leader.pid, t.start, SIGKILL), 3);
	assert_int_equal(wait_status(&t.leader), 128 + SIGKILL);
	end(&t);
}

static void test_strangers(void **state)
{
	struct tree t = start("sleep 100 & echo ready; wait", true, NULL);

	(void)state;
	/* All of it is older than the leader we mean: the number is somebody else's. */
	t.start++;
	assert_int_equal(signal_session(&t, SIGKILL), 0);
	/* The pid is alive, but not since the time of our leader. */
	t.start -= 2;
	assert_int_equal(signal_session(&t, SIGKILL), 0);
	assert_false(gone_within(&t, 0));
	t.start++;
	assert_int_equal(signal_session(&t, SIGKILL), 2);
	wait_status(&t.leader);
	end(&t);
	/* Numbers that mean something else to kill(2). */
	assert_int_equal(proctree_signal(PROCTREE_SESSION, 0, 0, SIGKILL), 0);
	assert_int_equal(proctree_signal(PROCTREE_SESSION, -1, 0, SIGKILL), 0);
	assert_int_equal(proctree_signal(PROCTREE_GROUP, 1, 0, SIGKILL), 0);
}

/* We ourselves are left out even where the number is our own. */
static void test_not_ourselves(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		setsid();
		_exit(proctree_signal(PROCTREE_SESSION, getpid(), 0, SIGKILL));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A name that looks like the rest of the line, and processes that come and go during the snapshots.
 */
static void test_names_and_noise(void **state)
{
	struct tree noise = start("echo ready; while :; do /bin/true; done", true, NULL);
	struct tree t;
	uint64_t start_time;

	(void)state;
	prctl(PR_SET_NAME, ") Z 1 1 1 (");
	assert_int_equal(proctree_start_time(getpid(), &start_time), 0);
	assert_true(start_time > 0 && start_time <= noise.start);
	prctl(PR_SET_NAME, "test_proctree");
	for (int i = 0; i < 20; i++) {
		t = start("sleep 100 & sleep 100 & echo ready; wait", true, NULL);
		assert_int_equal(signal_session(&t, SIGKILL), 3);
		wait_status(&t.leader);
		end(&t);
	}
	assert_true(signal_session(&noise, SIGKILL) >= 1);
	wait_status(&noise.leader);
	end(&noise);
}

/* Where there is no /proc, the group is what is left. */
static void test_without_proc(void **state)
{
	struct tree t = start("sleep 100 & echo ready; wait", true, NULL);
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		if (geteuid() != 0)
			unshare(CLONE_NEWUSER);
		if (chroot(tmp) < 0)
			_exit(kill(-t.leader.pid, SIGKILL)); /* not possible here */
		_exit(proctree_signal(PROCTREE_SESSION, t.leader.pid, t.start, SIGKILL) == 1 &&
					proctree_start_time(getpid(), &t.start) == -ESRCH
				? 0
				: 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(wait_status(&t.leader), 128 + SIGKILL);
	end(&t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, before, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_session),
		TEST(test_escaped_descendant),
		TEST(test_daemon_is_not_reached),
		TEST(test_after_the_leader),
		TEST(test_zombies_do_not_count),
		TEST(test_group),
		TEST(test_strangers),
		TEST(test_not_ourselves),
		TEST(test_names_and_noise),
		TEST(test_without_proc),
	};

	if (!spawn_run_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL) + spawn_run_fini();
}
