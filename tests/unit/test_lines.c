/*
 * test_lines.c - a stream comes out as the same lines however it is cut into reads; what is too
 * long is dropped whole and said once; memory is given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/lines.h"

#define OUT_MAX 4096

/* All that comes out, joined by '|', '!' for a line that was too long. */
struct told {
	char text[OUT_MAX];
	size_t len;
};

static void take(struct lines *l, struct told *t)
{
	struct jsonr line;
	int r;

	while ((r = lines_next(l, &line)) != 0) {
		if (r < 0) {
			assert_int_equal(r, -EMSGSIZE);
			t->text[t->len++] = '!';
			continue;
		}
		assert_true(line.len <= l->max && t->len + line.len + 1 < OUT_MAX);
		memcpy(t->text + t->len, line.p, line.len);
		t->len += line.len;
		t->text[t->len++] = '|';
	}
}

static void feed(struct lines *l, struct told *t, const char *data, size_t len, size_t step)
{
	while (len > 0) {
		size_t size, n = min_of(len, step);
		uint8_t *space = lines_space(l, &size);

		assert_non_null(space);
		n = min_of(n, size);
		memcpy(space, data, n);
		lines_commit(l, n);
		take(l, t);
		data += n;
		len -= n;
	}
}

static void check(const char *data, size_t max, const char *expected)
{
	for (size_t step = 1; step <= strlen(data) + 1; step++) {
		struct lines l;
		struct told t = {.len = 0};

		lines_init(&l, max);
		feed(&l, &t, data, strlen(data), step);
		lines_end(&l);
		take(&l, &t);
		take(&l, &t);
		t.text[t.len] = '\0';
		assert_string_equal(t.text, expected);
		lines_fini(&l);
		lines_fini(&l);
	}
}

static void test_lines(void **state)
{
	(void)state;
	check("", 10, "");
	check("one\ntwo\n", 10, "one|two|");
	check("one\n\n\ntwo", 10, "one|||two|");
	check("\n", 10, "|");
	check("a\r\nb", 10, "a\r|b|");
}

static void test_too_long(void **state)
{
	(void)state;
	check("12345\n123456\n1\n", 5, "12345|!1|");
	check("123456", 5, "!");
	check("1234567890123\n\n12345678901234567890\nx", 5, "!|!x|");
	check("12345", 5, "12345|");
}

/* Nothing is kept beyond what a line needs, and a long line's memory goes after it. */
static void test_memory(void **state)
{
	const size_t max = 4 * MIB;
	char *data = malloc(3 * max);
	struct told t = {.len = 0};
	struct lines l;

	(void)state;
	assert_non_null(data);
	memset(data, 'x', 3 * max);
	lines_init(&l, max);
	feed(&l, &t, data, 3 * max, 65536);
	assert_true(l.buf.cap <= max + 64 * KIB);
	assert_int_equal(t.len, 1);
	feed(&l, &t, "\nok\n", 4, 4);
	assert_memory_equal(t.text, "!ok|", 4);
	assert_true(l.buf.cap <= 128 * KIB);
	lines_fini(&l);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
