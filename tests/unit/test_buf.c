/* test_buf.c - the byte queue against a plain model of it, and at its limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/buf.h"

static void test_append_consume(void **state)
{
	struct buf b = BUF_NULL(100);

	(void)state;
	assert_int_equal(buf_len(&b), 0);
	assert_int_equal(buf_append(&b, "hello ", 6), 0);
	assert_int_equal(buf_append(&b, "world", 5), 0);
	assert_int_equal(buf_append(&b, NULL, 0), 0);
	assert_int_equal(buf_len(&b), 11);
	assert_memory_equal(buf_head(&b), "hello world", 11);
	buf_consume(&b, 6);
	assert_int_equal(buf_len(&b), 5);
	assert_memory_equal(buf_head(&b), "world", 5);
	buf_consume(&b, 5);
	assert_int_equal(buf_len(&b), 0);
	buf_fini(&b);
	buf_fini(&b);
	assert_null(b.data);
	assert_int_equal(b.max, 100);
	assert_int_equal(buf_append(&b, "again", 5), 0);
	assert_memory_equal(buf_head(&b), "again", 5);
	buf_fini(&b);
}

static void test_max(void **state)
{
	struct buf b = BUF_NULL(10);

	(void)state;
	assert_int_equal(buf_append(&b, "12345678901", 11), -ENOBUFS);
	assert_int_equal(buf_append(&b, "1234567890", 10), 0);
	assert_int_equal(buf_append(&b, "x", 1), -ENOBUFS);
	assert_null(buf_reserve(&b, 1));
	assert_null(buf_reserve(&b, SIZE_MAX)); /* no sum may wrap around */
	assert_int_equal(buf_append(&b, "x", SIZE_MAX), -ENOBUFS);
	assert_memory_equal(buf_head(&b), "1234567890", 10);
	buf_consume(&b, 3);
	assert_int_equal(buf_append(&b, "abcd", 4), -ENOBUFS);
	assert_int_equal(buf_append(&b, "abc", 3), 0);
	assert_memory_equal(buf_head(&b), "4567890abc", 10);
	assert_true(b.cap <= 10);
	buf_fini(&b);
}

static void test_reserve_commit(void **state)
{
	struct buf b = BUF_NULL(1000);
	uint8_t *p;

	(void)state;
	p = buf_reserve(&b, 600);
	assert_non_null(p);
	memset(p, 'r', 600);
	assert_int_equal(buf_len(&b), 0); /* nothing counts before it is committed */
	buf_commit(&b, 2);
	assert_int_equal(buf_len(&b), 2);
	assert_memory_equal(buf_head(&b), "rr", 2);
	p = buf_reserve(&b, 998);
	assert_non_null(p);
	memset(p, 's', 998);
	buf_commit(&b, 998);
	assert_null(buf_reserve(&b, 1));
	assert_int_equal(buf_head(&b)[1], 'r');
	assert_int_equal(buf_head(&b)[2], 's');
	assert_int_equal(buf_head(&b)[999], 's');
	buf_fini(&b);
}

static void test_trim(void **state)
{
	struct buf b = BUF_NULL(100000);
	char data[5000] = {0};

	(void)state;
	buf_trim(&b, 0);
	assert_int_equal(buf_append(&b, data, sizeof(data)), 0);
	buf_trim(&b, 0); /* not while it holds something */
	assert_int_equal(buf_len(&b), sizeof(data));
	buf_consume(&b, sizeof(data));
	buf_trim(&b, b.cap);
	assert_non_null(b.data);
	buf_trim(&b, b.cap - 1);
	assert_null(b.data);
	assert_int_equal(b.cap, 0);
	assert_int_equal(b.max, 100000);
}

static uint32_t random_next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Bytes come out as they went in: the model is two counters, since byte number n is a function of
 * n. */
static void test_random(void **state)
{
	uint32_t seed = 1;
	size_t in = 0, out = 0;
	struct buf b = BUF_NULL(9000);
	uint8_t data[3000];

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		size_t n = random_next(&seed) % (i & 64 ? 3000 : 100);

		if (random_next(&seed) & 1) {
			for (size_t j = 0; j < n; j++)
				data[j] = (uint8_t)((in + j) * 31 >> 3);
			if (in - out + n <= b.max) {
				assert_int_equal(buf_append(&b, data, n), 0);
				in += n;
			} else {
				assert_int_equal(buf_append(&b, data, n), -ENOBUFS);
			}
		} else {
			n = min_of(n, in - out);
			for (size_t j = 0; j < n; j++)
				assert_int_equal(buf_head(&b)[j], (uint8_t)((out + j) * 31 >> 3));
			buf_consume(&b, n);
			out += n;
		}
		if (i % 1000 == 0)
			buf_trim(&b, 0);
		assert_int_equal(buf_len(&b), in - out);
		assert_true(b.cap <= b.max);
	}
	buf_fini(&b);
}

static void test_integers(void **state)
{
	uint8_t p[9];

	(void)state;
	put_u16(p + 1, 0x0102);
	assert_memory_equal(p + 1, "\x01\x02", 2);
	assert_int_equal(get_u16(p + 1), 0x0102);
	put_u32(p + 1, 0x01020304);
	assert_memory_equal(p + 1, "\x01\x02\x03\x04", 4);
	assert_int_equal(get_u32(p + 1), 0x01020304);
	put_u64(p + 1, 0x8102030405060708ULL);
	assert_memory_equal(p + 1, "\x81\x02\x03\x04\x05\x06\x07\x08", 8);
	assert_true(get_u64(p + 1) == 0x8102030405060708ULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_consume),
		cmocka_unit_test(test_max),
		cmocka_unit_test(test_reserve_commit),
		cmocka_unit_test(test_trim),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_integers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
