/* What a command wrote: kept whole or as its tail, and read out as JSON whatever it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "bridge/api/exec_output.h"

/* All of it, read in steps of `step`. */
static char *read_all(const struct exec_output *o, size_t step, size_t *ret)
{
	struct exec_output_at at = {0};
	char *all = malloc(6 * o->len + step + 1);
	size_t n = 0, got;

	assert_non_null(all);
	while ((got = exec_output_json(o, &at, all + n, step)) > 0) {
		assert_true(got <= step);
		n += got;
	}
	all[n] = '\0';
	*ret = n;
	return all;
}

static void check(const char *bytes, size_t len, size_t slice, const char *want)
{
	struct exec_output o;
	size_t n;

	exec_output_init(&o);
	for (size_t i = 0; i < len; i += slice)
		assert_int_equal(exec_output_add(&o, bytes + i, min_of(slice, len - i)), 0);
	for (size_t step = 12; step < 40; step += 9) {
		char *text = read_all(&o, step, &n);

		assert_string_equal(text, want);
		free(text);
	}
	exec_output_fini(&o);
	assert_int_equal(o.memory, 0);
}

#define CHECK(bytes, want)                                                                         \
	do {                                                                                       \
		check(bytes, sizeof(bytes) - 1, 1, want);                                          \
		check(bytes, sizeof(bytes) - 1, 100, want);                                        \
	} while (0)
#define BAD "\xef\xbf\xbd"

static void test_text(void **state)
{
	(void)state;
	CHECK("", "");
	CHECK("hello", "hello");
	CHECK("a\nb\t\"c\"\\", "a\\nb\\t\\\"c\\\"\\\\");
	CHECK("\0\x01\x1f\x7f", "\\u0000\\u0001\\u001f\\u007f");
	CHECK("\r\b\f", "\\r\\b\\f");
	CHECK("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac "
								  "\xf0\x9f\x98\x80");
}

/* As Python's errors="replace" and browsers do it. */
static void test_not_utf8(void **state)
{
	(void)state;
	CHECK("\xff", BAD);
	CHECK("a\x80z", "a" BAD "z");
	CHECK("\xc3", BAD);
	CHECK("\xc3(", BAD "(");
	CHECK("\xe2\x82", BAD);
	CHECK("\xe2\x82z", BAD "z");
	CHECK("\xf0\x9f\x98", BAD);
	CHECK("\xed\xa0\x80", BAD BAD BAD);         /* half a surrogate pair */
	CHECK("\xc0\xaf", BAD BAD);                 /* too long */
	CHECK("\xe0\x80\xaf", BAD BAD BAD);         /* too long */
	CHECK("\xf4\x90\x80\x80", BAD BAD BAD BAD); /* beyond U+10FFFF */
}

/* A character whose bytes lie in two pieces is one. */
static void test_across_pieces(void **state)
{
	struct exec_output o;
	size_t n;
	char *text;

	(void)state;
	exec_output_init(&o);
	for (int i = 0; i < 4095; i++)
		assert_int_equal(exec_output_add(&o, "x", 1), 0);
	assert_int_equal(exec_output_add(&o, "\xe2\x82\xac", 3), 0);
	text = read_all(&o, 100, &n);
	assert_int_equal(n, 4098);
	assert_memory_equal(text + 4095, "\xe2\x82\xac", 3);
	free(text);
	exec_output_fini(&o);
}

/* Bounded memory with exactly the last bytes. */
static void test_tail(void **state)
{
	struct exec_output o;
	char line[32];
	size_t n;
	char *text;

	(void)state;
	exec_output_init(&o);
	for (int i = 0; i < 200000; i++) {
		snprintf(line, sizeof(line), "%09d,", i);
		assert_int_equal(exec_output_add(&o, line, 10), 0);
		exec_output_keep(&o, 1000000);
		assert_true(o.memory < 1000000 + 600000);
	}
	assert_true(o.cut);
	assert_int_equal(o.len, 1000000);
	text = read_all(&o, 64 * 1024, &n);
	assert_int_equal(n, 1000000);
	for (int i = 0; i < 100000; i++) {
		snprintf(line, sizeof(line), "%09d,", i + 100000);
		assert_memory_equal(text + 10 * i, line, 10);
	}
	free(text);
	exec_output_keep(&o, 0);
	assert_int_equal(o.len, 0);
	assert_int_equal(o.memory, 0);
	text = read_all(&o, 100, &n);
	assert_int_equal(n, 0);
	free(text);
	exec_output_fini(&o);
	exec_output_fini(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_not_utf8),
		cmocka_unit_test(test_across_pieces),
		cmocka_unit_test(test_tail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
