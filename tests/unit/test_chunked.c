/* Chunked bodies: any split gives the same bytes, and what is nearly right is refused. */
#include "bridge/api/chunked.h"

#include <stdarg.h>
#include <stdio.h>
// clang-format off
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

/* Feeds `step` bytes at a time. Returns what chunked_next said last; *ret_used: what was taken. */
static int decode(const char *text, size_t len, size_t step, char *out, size_t *ret_out,
	size_t *ret_used, bool *ret_done)
{
	struct chunked c = {0};
	size_t used = 0, n;
	int r = 0;

	*ret_out = 0;
	while (used < len && !chunked_done(&c)) {
		const uint8_t *at = (const uint8_t *)text + used, *slice;
		size_t left = min_of(step, len - used), before = left;

		while ((r = chunked_next(&c, &at, &left, &slice, &n)) > 0) {
			assert_true(n > 0);
			memcpy(out + *ret_out, slice, n);
			*ret_out += n;
		}
		if (r < 0)
			return r;
		used += before - left;
	}
	*ret_used = used;
	*ret_done = chunked_done(&c);
	return r;
}

static void test_good(void **state)
{
	static const char text[] = "5\r\nhello\r\n"
				   "00000A;name=\"v\"\r\n, chunked \r\n"
				   "5;\r\nworld\r\n"
				   "0\r\nTrailer: x\r\nOther:\r\n\r\nREST";
	char out[100];
	size_t n, used;
	bool done;

	(void)state;
	for (size_t step = 1; step <= sizeof(text); step++) {
		assert_int_equal(decode(text, sizeof(text) - 1, step, out, &n, &used, &done), 0);
		assert_true(done);
		assert_int_equal(n, 20);
		assert_memory_equal(out, "hello, chunked world", 20);
		assert_int_equal(used, sizeof(text) - 1 - 4);
	}
}

static void test_empty(void **state)
{
	char out[10];
	size_t n, used;
	bool done;

	(void)state;
	assert_int_equal(decode("0\r\n\r\n", 5, 5, out, &n, &used, &done), 0);
	assert_true(done);
	assert_int_equal(n, 0);
	assert_int_equal(decode("3\r\nabc\r\n", 8, 3, out, &n, &used, &done), 0);
	assert_false(done);
	assert_int_equal(n, 3);
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"\r\n",
		"g\r\n",
		" 5\r\nhello\r\n",
		"5 \r\nhello\r\n",
		"5\nhello\r\n",
		"5\r\nhello\n",
		"5\r\nhelloX\r\n",
		"5\r\r\nhello",
		"-1\r\n",
		"0x5\r\nhello\r\n",
		"+5\r\nhello\r\n",
		";x\r\n",
		"10000000000000000\r\n",
		"fffffffffffffffff\r\n",
		"5;a\nb\r\nhello\r\n",
		"0\r\nx: y\n\r\n",
		"0\r\n\n",
		"0\r\n\r\r\n",
		"0\r\nx\rY\r\n",
	};
	char out[100];
	size_t n, used;
	bool done;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++)
		for (size_t step = 1; step < 3; step++)
			if (decode(bad[i], strlen(bad[i]), step, out, &n, &used, &done) != -EPROTO)
				fail_msg("taken: %s", bad[i]);
}

/* A peer cannot send extensions or trailers for ever. */
static void test_limits(void **state)
{
	size_t n, used, size = 20000;
	char *text = malloc(size), out[10];
	bool done;

	(void)state;
	memset(text, 'a', size);
	text[0] = '1', text[1] = ';';
	assert_int_equal(decode(text, size, 100, out, &n, &used, &done), -EPROTO);
	text[0] = '0', text[1] = '\r', text[2] = '\n';
	assert_int_equal(decode(text, size, 100, out, &n, &used, &done), -EPROTO);
	for (size_t i = 3; i + 3 <= size; i += 3)
		text[i + 1] = '\r', text[i + 2] = '\n';
	assert_int_equal(decode(text, size, 100, out, &n, &used, &done), -EPROTO);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
