/*
 * What a program gets to see: arguments, environment, descriptors, signals; and how it is found.
 * Real processes, every case twice: by clone3 and by the way of older kernels.
 */
#include "tests/unit/spawn_run.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <cmocka.h>

/* what the program gets */

static void test_argv_env_umask(void **state)
{
	char *env[] = {(char *)"A=1", (char *)"B=two words", NULL};
	struct spawn_request req = REQUEST((char *)"cat", (char *)"/proc/self/environ");
	char out[256];

	(void)state;
	req.envp = env;
	assert_int_equal(run(req, out, sizeof(out)), 0);
	assert_memory_equal(out, "A=1\0B=two words\0", 17);
	req = REQUEST((char *)"cat", (char *)"/proc/self/cmdline", (char *)"/dev/null");
	assert_int_equal(run(req, out, sizeof(out)), 0);
	assert_memory_equal(out, "cat\0/proc/self/cmdline\0/dev/null\0", 34);
	umask(077);
	prints(SH("umask; pwd"), "0022\n/\n");
	umask(022);
	exits(SH("exit 7"), 7);
	exits(SH("kill -9 $$"), 137);
}

static void test_path_search(void **state)
{
	char path[6000], deep[5000];

	(void)state;
	make_dir("a", 0755);
	make_dir("b", 0755);
	make_file("a/prog", 0644, "#!/bin/sh\necho a\n");
	make_file("b/prog", 0755, "#!/bin/sh\necho b\n");
	make_file("prog", 0755, "#!/bin/sh\necho cwd\n");
	make_file("b/lost", 0755, "#!/no/interpreter\n");
	memset(deep, 'x', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';

	struct {
		const char *format, *name, *expected;
		int err;
	} c[] = {
		{"%1$s/a:/etc/passwd:%1$s/b", "prog", "b\n", 0},
		{"%1$s/a:%1$s/b", "prog", "b\n", 0}, /* what may not be run is passed over */
		{"%1$s/a", "prog", NULL, EACCES},    /* but remembered */
		{"%1$s/a:/nowhere", "prog", NULL, EACCES},
		{"/nowhere:%1$s", "absent", NULL, ENOENT},
		{"/etc/passwd:%1$s/b", "prog", "b\n", 0}, /* ENOTDIR */
		{"%2$s:%1$s/b", "prog", "b\n", 0},        /* an element too long */
		{"", "prog", "cwd\n", 0}, /* empty elements are the working directory */
		{":/nowhere", "prog", "cwd\n", 0},
		{"/nowhere:", "prog", "cwd\n", 0},
		{"/nowhere::%1$s/b", "prog", "cwd\n", 0},
		{"/nowhere", "./b/prog", "b\n", 0}, /* a slash: no search */
		{"%1$s/b", "b/absent", NULL, ENOENT},
		{"%1$s/b", "lost", NULL, ENOENT},
		{"%1$s/b", "", NULL, ENOENT},
		{"%1$s/b", deep, NULL, ENAMETOOLONG},
		{"/nowhere", "/", NULL, EACCES},
		{"/nowhere", "/etc/passwd/x", NULL, ENOTDIR},
	};
	for (size_t i = 0; i < array_size(c); i++) {
		struct spawn_request req = REQUEST((char *)c[i].name);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(path, sizeof(path), c[i].format, tmp, deep);
#pragma GCC diagnostic pop
		req.path = path;
		req.cwd = tmp;
		if (c[i].expected)
			prints(req, c[i].expected);
		else
			fails(req, SPAWN_EXEC, c[i].err);
	}
	struct spawn_request req = REQUEST((char *)"true");
	req.path = NULL; /* the default one */
	exits(req, 0);
}

static void test_exec_errors(void **state)
{
	auto_free char *big = malloc(1 << 18);
	const char *busy = make_file("busy", 0755, "#!/bin/true\n");
	int fd = open(busy, O_WRONLY | O_CLOEXEC);

	(void)state;
	memset(big, 'x', (1 << 18) - 1);
	big[(1 << 18) - 1] = '\0';
	fails(REQUEST((char *)"true", big), SPAWN_EXEC, E2BIG);
	fails(REQUEST((char *)busy), SPAWN_EXEC, ETXTBSY);
	close(fd);
	exits(REQUEST((char *)busy), 0);
}

static void test_script_without_interpreter(void **state)
{
	char *argv[] = {(char *)"spare", (char *)"script", (char *)"x", (char *)"y z", NULL};
	struct spawn_request req = request(argv);
	char expected[256];

	(void)state;
	make_file("script", 0755, "echo \"$0|$1|$2|$#\"\n");
	req.path = tmp;
	snprintf(expected, sizeof(expected), "%s/script|x|y z|2\n", tmp);
	prints(req, expected);
	assert_string_equal(argv[0], "spare");
	assert_string_equal(argv[1], "script");
	req = REQUEST((char *)make_file("empty", 0755, ""));
	exits(req, 0);
}

/* descriptors */

/* Each of fd[] names one of three files that are open as 0, 1 and 2, or as something higher. */
static void test_fd_permutations(void **state)
{
	char report[128], script[512], expected[512], got[512];
	const char *name[3];
	int saved[3], file[3], r;

	(void)state;
	snprintf(report, sizeof(report), "%s", make_file("report", 0600, ""));
	snprintf(script, sizeof(script),
		"a=$(readlink /proc/$$/fd/0) b=$(readlink /proc/$$/fd/1)"
		" c=$(readlink /proc/$$/fd/2); echo $a $b $c >%s",
		report);
	for (int i = 0; i < 3; i++) {
		const char *const names[] = {"f0", "f1", "f2"};

		saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
		name[i] = make_file(names[i], 0600, "");
		file[i] = open(name[i], O_RDWR | O_CLOEXEC);
	}
	for (int n = 0; n < 6 * 6 * 6; n++) {
		int pick[3] = {n % 6, n / 6 % 6, n / 36};
		struct spawn_request req = SH(script);
		struct spawn_result res;

		/* All 27 with 0 to 2 alone, and a sample of those with higher ones. */
		if ((pick[0] > 2 || pick[1] > 2 || pick[2] > 2) && n % 7)
			continue;
		for (int i = 0; i < 3; i++)
			assert_int_equal(dup3(file[i], i, O_CLOEXEC), i);
		for (int i = 0; i < 3; i++)
			req.fd[i] = pick[i] < 3 ? pick[i] : file[pick[i] - 3];
		r = spawn(&req, &res);
		for (int i = 0; i < 3; i++)
			dup2(saved[i], i);
		assert_int_equal(r, 0);
		assert_int_equal(wait_status(&res), 0);
		snprintf(expected, sizeof(expected), "%s %s %s\n", name[pick[0] % 3],
			name[pick[1] % 3], name[pick[2] % 3]);
		r = open(report, O_RDONLY | O_CLOEXEC);
		got[read(r, got, sizeof(got) - 1)] = '\0';
		close(r);
		assert_string_equal(got, expected);
	}
	for (int i = 0; i < 3; i++) {
		close(saved[i]);
		close(file[i]);
	}
}

static void test_other_fds_closed(void **state)
{
	int low = dup(devnull), high = fcntl(devnull, F_DUPFD, 900); /* neither close-on-exec */

	(void)state;
	prints(SH("for i in $(seq 3 1023); do [ ! -e /proc/$$/fd/$i ] || echo $i; done"), "");
	close(low);
	close(high);
}

/* When spawn returns the child holds nothing of ours: no file that another child executes is open
 * for writing there (the ETXTBSY that others retry in a loop). */
static void test_nothing_is_held(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s", make_file("fresh", 0755, ""));
	for (int i = 0; i < 200; i++) {
		int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
		struct spawn_request other = REQUEST((char *)"true"), req = REQUEST(path);
		struct spawn_result res[2];

		assert_int_equal(write(fd, "#!/bin/true\n", 12), 12);
		assert_int_equal(spawn(&other, &res[0]), 0);
		close(fd);
		assert_int_equal(spawn(&req, &res[1]), 0);
		assert_int_equal(wait_status(&res[0]) + wait_status(&res[1]), 0);
	}
}

/* signals */

static volatile sig_atomic_t alarms, strange;
static pid_t main_pid;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
	strange |= getpid() != main_pid;
}

static void test_signals_reset(void **state)
{
	char out[4096];
	sigset_t usr2, now;
	struct sigaction sa;

	(void)state;
	/* main() ignores some; SIGALRM has a handler. */
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	sigprocmask(SIG_BLOCK, &usr2, NULL);
	assert_int_equal(
		run(REQUEST((char *)"cat", (char *)"/proc/self/status"), out, sizeof(out)), 0);
	assert_non_null(strstr(out, "SigBlk:\t0000000000000000\n"));
	assert_non_null(strstr(out, "SigIgn:\t0000000000000000\n"));
	assert_non_null(strstr(out, "SigCgt:\t0000000000000000\n"));
	/* Ours are as they were. */
	sigprocmask(SIG_UNBLOCK, &usr2, &now);
	assert_int_equal(sigismember(&now, SIGUSR2), 1);
	assert_int_equal(sigismember(&now, SIGTERM), 0);
	sigaction(SIGPIPE, NULL, &sa);
	assert_true(sa.sa_handler == SIG_IGN);
	sigaction(SIGALRM, NULL, &sa);
	assert_true(sa.sa_handler == on_alarm);
}

/* Handlers run in this process only, never in the child that shares its memory. */
static void test_signal_storm(void **state)
{
	struct itimerval often = {{0, 50}, {0, 50}}, never = {0};

	(void)state;
	alarms = 0;
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 100; i++) {
		struct spawn_request req = REQUEST((char *)"true");
		struct spawn_result res;

		assert_int_equal(spawn(&req, &res), 0);
		while (waitpid(res.pid, NULL, 0) < 0)
			assert_int_equal(errno, EINTR);
		close(res.pidfd);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	assert_true(alarms > 10);
	assert_false(strange);
}

/*
 * Not even a signal to the child itself makes a handler run in the memory it shares with us.
 * Another process signals our group as fast as it can, and some children get one before they leave
 * that.
 */
static void test_signal_to_new_child(void **state)
{
	pid_t group = getpgrp(), helper;
	int hit = 0;

	(void)state;
	setpgid(0, 0);
	helper = fork();
	if (helper == 0) {
		signal(SIGALRM, SIG_IGN);
		while (getppid() == main_pid)
			kill(0, SIGALRM);
		_exit(0);
	}
	strange = 0;
	for (int i = 0; i < 5000 && hit < 10; i++) {
		struct spawn_request req = REQUEST((char *)"true");
		struct spawn_result res;

		assert_int_equal(spawn(&req, &res), 0);
		hit += wait_status(&res) == 128 + SIGALRM;
	}
	kill(helper, SIGKILL);
	waitpid(helper, NULL, 0);
	setpgid(0, group);
	assert_true(hit > 0);
	assert_false(strange);
}

/* all together */

static void test_stage_names(void **state)
{
	(void)state;
	assert_string_equal(spawn_stage_str(SPAWN_LIMITS), "limits");
	assert_string_equal(spawn_stage_str(SPAWN_EXEC), "exec");
	assert_string_equal(spawn_stage_str((enum spawn_stage)99), "?");
}

static void test_thousands(void **state)
{
	struct spawn_request good = REQUEST((char *)"true"), bad = REQUEST((char *)"/nowhere");
	struct spawn_result res;
	int fds = count_fds();

	(void)state;
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(spawn(&good, &res), 0);
		assert_int_equal(wait_status(&res), 0);
		assert_int_equal(spawn(&bad, &res), -ENOENT);
	}
	assert_int_equal(count_fds(), fds);
	no_children();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, before, after)

static const struct CMUnitTest tests[] = {
	TEST(test_argv_env_umask),
	TEST(test_path_search),
	TEST(test_exec_errors),
	TEST(test_script_without_interpreter),
	TEST(test_fd_permutations),
	TEST(test_other_fds_closed),
	TEST(test_nothing_is_held),
	TEST(test_signals_reset),
	TEST(test_signal_storm),
	TEST(test_stage_names),
	TEST(test_signal_to_new_child),
	TEST(test_thousands),
};

int main(void)
{
	const int ignored[] = {SIGPIPE, SIGXFSZ, SIGHUP, SIGUSR1, SIGRTMIN};
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	int failed;

	for (size_t i = 0; i < array_size(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigaction(SIGALRM, &sa, NULL);
	main_pid = getpid();
	if (!spawn_run_init())
		return 1;
	failed = cmocka_run_group_tests_name("clone3", tests, NULL, NULL);
	spawn_force_fallback(true);
	failed += cmocka_run_group_tests_name("clone", tests, NULL, NULL);
	return failed + spawn_run_fini();
}
