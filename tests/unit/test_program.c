/*
 * test_program.c - helper programs on a loop: what they print, how they end, what they inherit, and
 * that nobody waits for them. Every test ends with an empty loop and as many descriptors as before.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "bridge/box/program.h"

struct bed {
	uv_loop_t loop;
	size_t fds;
	unsigned calls;
	struct program_result r;
	char out[PROGRAM_OUTPUT_MAX + 1], err[PROGRAM_OUTPUT_MAX + 1];
	char why[256];
	int explained;
};

static size_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int up(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	b->fds = count_fds();
	assert_int_equal(uv_loop_init(&b->loop), 0);
	*state = b;
	return 0;
}

static int down(void **state)
{
	struct bed *b = *state;

	assert_int_equal(uv_run(&b->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&b->loop), 0);
	assert_int_equal(count_fds(), b->fds);
	free(b);
	return 0;
}

static void on_done(void *owner, const struct program_result *r)
{
	struct bed *b = owner;

	b->calls++;
	b->r = *r;
	memcpy(b->out, r->out, r->out_len + 1);
	memcpy(b->err, r->err, r->err_len + 1);
	b->explained = program_explain(r, "helper", b->why, sizeof(b->why));
}

static void run(struct bed *b, const struct program_spec *spec)
{
	assert_int_equal(program_run(&b->loop, spec, on_done, b, NULL), 0);
	assert_int_equal(b->calls, 0);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	assert_int_equal(b->calls, 1);
}

static void run_sh(struct bed *b, const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};

	run(b, &(struct program_spec){.argv = argv, .timeout_ms = 20000});
}

static void both_outputs_and_the_code(void **state)
{
	struct bed *b = *state;

	run_sh(b, "echo hello; echo first >&2; echo last words >&2; exit 3");
	assert_string_equal(b->out, "hello\n");
	assert_string_equal(b->err, "first\nlast words\n");
	assert_int_equal(b->r.code, 3);
	assert_int_equal(b->r.signal, 0);
	assert_int_equal(b->r.error, 0);
	assert_int_equal(b->explained, -1);
	assert_string_equal(b->why, "helper failed (3): last words");
}

static void success_needs_no_words(void **state)
{
	struct bed *b = *state;

	run_sh(b, "exit 0");
	assert_int_equal(b->explained, 0);
}

/* More than is kept, and more than a pipe holds: the program must not stand still. */
static void output_is_bounded(void **state)
{
	struct bed *b = *state;

	run_sh(b, "head -c 1000000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero >&2");
	assert_int_equal(b->r.code, 0);
	assert_int_equal(b->r.out_len, PROGRAM_OUTPUT_MAX);
	assert_int_equal(b->r.err_len, PROGRAM_OUTPUT_MAX);
	assert_int_equal(b->out[PROGRAM_OUTPUT_MAX - 1], 'x');
	assert_int_equal(b->out[PROGRAM_OUTPUT_MAX], 0);
}

static void not_installed(void **state)
{
	struct bed *b = *state;
	const char *const argv[] = {"no-such-program-here", NULL};

	run(b, &(struct program_spec){.argv = argv});
	assert_int_equal(b->r.error, -ENOENT);
	assert_string_equal(b->why, "helper is not installed");
}

static void wrong_directory(void **state)
{
	struct bed *b = *state;
	const char *const argv[] = {"true", NULL};

	run(b, &(struct program_spec){.argv = argv, .cwd = "/no/such/place"});
	assert_int_equal(b->r.error, -ENOENT);
	assert_string_equal(b->r.stage, "directory");
	assert_string_equal(
		b->why, "helper cannot be started (directory): No such file or directory");
}

static int refuse(void *ctx)
{
	(void)ctx;
	return -EPERM;
}

static void preparation_that_fails(void **state)
{
	struct bed *b = *state;
	const char *const argv[] = {"true", NULL};

	run(b, &(struct program_spec){.argv = argv, .before_exec = refuse});
	assert_int_equal(b->r.error, -EPERM);
	assert_string_equal(b->r.stage, "preparation");
}

static int keep_fd(void *ctx)
{
	return dup2(*(int *)ctx, 9) < 0 ? -errno : 0;
}

static void environment_directory_and_descriptors(void **state)
{
	struct bed *b = *state;
	const char *const argv[] = {
		"sh", "-c", "pwd; echo $A; cat <&9; ls /proc/self/fd | wc -l; cat", NULL};
	const char *const envp[] = {"A=b c", "PATH=/usr/bin:/bin", NULL};
	int fds[2],
		other = open("/dev/null", O_RDONLY); /* not close-on-exec: still not passed on */

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], "through 9\n", 10), 10);
	close(fds[1]);
	run(b, &(struct program_spec){.argv = argv,
		       .envp = envp,
		       .cwd = "/usr",
		       .before_exec = keep_fd,
		       .ctx = &fds[0]});
	close(fds[0]);
	close(other);
	/* 0 1 2 9 and the directory itself; stdin is at its end */
	assert_string_equal(b->out, "/usr\nb c\nthrough 9\n5\n");
}

/* Ignored and blocked signals of ours would otherwise be the program's. */
static void default_signals(void **state)
{
	struct bed *b = *state;
	sigset_t block, old;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &old);
	run_sh(b, "grep -E 'SigBlk|SigIgn' /proc/self/status");
	sigprocmask(SIG_SETMASK, &old, NULL);
	signal(SIGPIPE, SIG_DFL);
	assert_string_equal(b->out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

static bool gone(pid_t pid)
{
	char path[64], text[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return true;
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	return strstr(text, ") Z ") != NULL;
}

static void wait_gone(pid_t pid)
{
	uint64_t until = now_ms() + 10000;

	while (!gone(pid)) {
		assert_true(now_ms() < until);
		usleep(1000);
	}
}

static void deadline_kills_the_tree(void **state)
{
	struct bed *b = *state;
	const char *const argv[] = {
		"sh", "-c", "sleep 1000 & echo $!; trap '' TERM; sleep 1000", NULL};

	run(b, &(struct program_spec){.argv = argv, .timeout_ms = 300});
	assert_true(b->r.timed_out);
	assert_int_equal(b->r.signal, SIGKILL);
	assert_string_equal(b->why, "helper took too long");
	wait_gone(atoi(b->out));
}

/* The pipe stays open in the child that stays; the program has ended all the same. */
static void a_child_in_the_background_holds_nobody_up(void **state)
{
	struct bed *b = *state;
	uint64_t began = now_ms();

	run_sh(b, "sleep 1000 & echo $!");
	assert_int_equal(b->r.code, 0);
	assert_true(now_ms() - began < 10000);
	assert_false(gone(atoi(b->out)));
	kill(atoi(b->out), SIGKILL);
	wait_gone(atoi(b->out));
}

static void forgotten(void **state)
{
	struct bed *b = *state;
	const char *const argv[] = {"sleep", "1000", NULL};
	struct program *p = NULL;
	pid_t pid;

	assert_int_equal(
		program_run(&b->loop, &(struct program_spec){.argv = argv}, on_done, b, &p), 0);
	pid = program_pid(p);
	program_forget(p);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	assert_int_equal(b->calls, 0);
	wait_gone(pid);
}

static void left_alone(void **state)
{
	struct bed *b = *state;
	const char *const argv[] = {"sh", "-c", "echo started; exec sleep 1000", NULL};
	char name[] = "/tmp/test-program-XXXXXX", text[16] = "";
	int fd = mkstemp(name);
	uint64_t until = now_ms() + 10000;
	struct program *p = NULL;
	pid_t pid;

	assert_int_equal(program_run(&b->loop, &(struct program_spec){.argv = argv, .output = &fd},
				 on_done, b, &p),
		0);
	pid = program_pid(p);
	program_leave(p);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	assert_int_equal(b->calls, 0);
	while (pread(fd, text, sizeof(text) - 1, 0) < 8) {
		assert_true(now_ms() < until);
		usleep(1000);
	}
	assert_string_equal(text, "started\n");
	assert_false(gone(pid));
	kill(pid, SIGKILL);
	wait_gone(pid);
	unlink(name);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_outputs_and_the_code, up, down),
		cmocka_unit_test_setup_teardown(success_needs_no_words, up, down),
		cmocka_unit_test_setup_teardown(output_is_bounded, up, down),
		cmocka_unit_test_setup_teardown(not_installed, up, down),
		cmocka_unit_test_setup_teardown(wrong_directory, up, down),
		cmocka_unit_test_setup_teardown(preparation_that_fails, up, down),
		cmocka_unit_test_setup_teardown(environment_directory_and_descriptors, up, down),
		cmocka_unit_test_setup_teardown(default_signals, up, down),
		cmocka_unit_test_setup_teardown(deadline_kills_the_tree, up, down),
		cmocka_unit_test_setup_teardown(
			a_child_in_the_background_holds_nobody_up, up, down),
		cmocka_unit_test_setup_teardown(forgotten, up, down),
		cmocka_unit_test_setup_teardown(left_alone, up, down),
	};

	/* libuv keeps a pipe for signals from the first loop on. */
	uv_loop_t first;

	uv_loop_init(&first);
	uv_loop_close(&first);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
