/* What a text given as `cmd` alone means, and what is said of a start that failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "bridge/api/exec_start.h"

static void test_is_shell(void **state)
{
	static const char *const shell[] = {"echo hi", "a|b", "a&", "a;b", "a>b", "a<b", "$HOME/x",
		"`x`", "\"x\"", "'x'", "*.sh", "a?", "[", "{a,b}", "~/x", "A=1", "!x", "#", "a\nb",
		"a\tb", "(a)", "a\\b"};
	static const char *const programs[] = {"ls", "/bin/ls", "./a.out", "g++", "x86_64-gcc-12",
		"a:b", "a@b", "a%b", "a,b", "gr\xc3\xbc\xc3\x9f"};

	(void)state;
	for (size_t i = 0; i < array_size(shell); i++)
		assert_true(exec_start_is_shell(shell[i]));
	for (size_t i = 0; i < array_size(programs); i++)
		assert_false(exec_start_is_shell(programs[i]));
}

static void check_why(const char *stage, int err, const char *want)
{
	struct msg_end end = {.state = END_START_FAILED, .err = err};
	char out[100];

	snprintf(end.stage, sizeof(end.stage), "%s", stage);
	exec_start_why(&end, "prog", "/here", out, sizeof(out));
	assert_string_equal(out, want);
}

static void test_why(void **state)
{
	struct msg_end end = {.state = END_START_FAILED, .err = ENOENT, .stage = "exec"};
	char out[26];

	(void)state;
	check_why("exec", ENOENT, "no such program: prog");
	check_why("exec", EACCES, "cannot run prog: Permission denied");
	check_why("cwd", ENOENT, "cannot change to directory /here: No such file or directory");
	check_why("user", EPERM, "cannot run as this user: Operation not permitted");
	check_why("clone", EAGAIN, "cannot start prog: Resource temporarily unavailable (clone)");
	exec_start_why(&end, NULL, NULL, out, sizeof(out));
	assert_string_equal(out, "no such program: the comm");
	/* A name that is cut is cut between characters. */
	exec_start_why(&end, "1234567\xe2\x82\xac", NULL, out, sizeof(out));
	assert_string_equal(out, "no such program: 1234567");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is_shell),
		cmocka_unit_test(test_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
