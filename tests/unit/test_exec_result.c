/*
 * test_exec_result.c - a result as JSON: of a command that ended, and of one that nobody saw end;
 * whole and in small steps, whatever its fault says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/api/exec_result.h"
#include "proto/jsonr.h"
#include "proto/text.h"

/* Read in steps of `step`; for free(). */
static char *result(const struct run *r, bool polled, size_t step)
{
	struct exec_result e;
	size_t n = 0, got;
	char *all;

	exec_result_init(&e, r, polled);
	all = malloc(exec_result_max(&e) + step + 1);
	assert_non_null(all);
	while ((got = exec_result_next(&e, all + n, step)) > 0)
		n += got;
	assert_true(n <= exec_result_max(&e));
	all[n] = '\0';
	return all;
}

static void expect(const struct run *r, bool polled, const char *want)
{
	for (size_t step = 12; step < 5000; step = 3 * step + 1) {
		char *text = result(r, polled, step);

		assert_string_equal(text, want);
		free(text);
	}
}

static void test_ended(void **state)
{
	struct run r = {
		.state = RUN_ENDED, .exit_code = 3, .end = {.state = END_EXITED, .code = 3}};

	(void)state;
	expect(&r, false, "{\"exitCode\":3,\"stdout\":\"\",\"stderr\":\"\"}");
	assert_int_equal(exec_output_add(&r.out[0], "a\n", 2), 0);
	assert_int_equal(exec_output_add(&r.out[1], "\"", 1), 0);
	expect(&r, false, "{\"exitCode\":3,\"stdout\":\"a\\n\",\"stderr\":\"\\\"\"}");
	r.truncated = true;
	r.exit_code = -1;
	r.end = (struct msg_end){.state = END_TIMED_OUT, .signal = 15, .wall_ms = 7};
	expect(&r, true,
		"{\"running\":false,\"exitCode\":-1,\"stdout\":\"a\\n\",\"stderr\":\"\\\"\","
		"\"truncated\":true,\"signal\":15,\"timedOut\":true,\"commandMs\":7}");
	r.end = (struct msg_end){.state = END_OOM_KILLED, .signal = 9};
	expect(&r, false,
		"{\"exitCode\":-1,\"stdout\":\"a\\n\",\"stderr\":\"\\\"\",\"truncated\":true,"
		"\"signal\":9,\"oomKilled\":true}");
	exec_output_fini(&r.out[0]);
	exec_output_fini(&r.out[1]);
}

/* Bug: what a guest says to its end may take six letters each; it ended the bridge. */
static void test_fault_of_a_guest(void **state)
{
	struct run r = {.state = RUN_ENDED, .exit_code = -1, .failed = true, .truncated = true};
	struct jsonr json, error;
	char said[300], *text;

	(void)state;
	memset(said, 1, sizeof(said) - 1);
	said[sizeof(said) - 1] = '\0';
	fault_set(&r.fault, 502, "%s", said);
	text = result(&r, true, 4096);
	assert_int_equal(jsonr_parse(text, strlen(text), &json), 0);
	assert_true(jsonr_member(json, "error", &error));
	assert_int_equal(error.len, 2 + 6 * (sizeof(r.fault.text) - 1));
	free(text);
	/* Bug: it was cut inside of a character, which is no JSON. */
	for (size_t i = 0; i + 3 < sizeof(said); i += 3)
		memcpy(said + i, "\xe2\x82\xac", 4);
	fault_set(&r.fault, 502, "x%s", said);
	assert_true(utf8_valid(r.fault.text, strlen(r.fault.text)));
	text = result(&r, true, 4096);
	assert_int_equal(jsonr_parse(text, strlen(text), &json), 0);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ended),
		cmocka_unit_test(test_fault_of_a_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
