/* test_escape.c - the escape key: where it counts, what is taken out, and that nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "bridge/escape.h"

/* What the program gets of `typed`, then what was asked for: "ab leave", in pieces of `step`. */
static const char *run(int key, const char *typed, size_t step)
{
	static char text[200];
	static const char *const words[] = {
		[ESCAPE_NOTHING] = "", [ESCAPE_LEAVE] = " leave", [ESCAPE_HELP] = " help"};
	size_t len = strlen(typed), at = 0;
	char *to = text;
	struct escape e;

	escape_init(&e, key);
	while (at < len) {
		enum escape_action action;
		size_t used, part = min_of(step, len - at);
		uint8_t out[100];
		size_t n =
			escape_filter(&e, (const uint8_t *)typed + at, part, out, &used, &action);

		assert_true(used <= part && n <= part + 1);
		assert_true(used == part || action != ESCAPE_NOTHING);
		to += sprintf(to, "%.*s%s", (int)n, (char *)out, words[action]);
		at += used;
	}
	*to = '\0';
	return text;
}

static void test_filter(void **state)
{
	static const struct {
		int key;
		const char *typed, *got;
	} cases[] = {
		{'~', "ls\r", "ls\r"},
		{'~', "~.", " leave"},
		{'~', "ls\r~.rest", "ls\r leaverest"}, /* the caller stops there */
		{'~', "ls\n~.", "ls\n leave"},
		{'~', "a~.", "a~."},
		{'~', "~~.", "~."},
		{'~', "~~\r~.", "~\r leave"},
		{'~', "~a~.", "~a~."},
		{'~', "~\r~.", "~\r leave"},
		{'~', "~?~.", " help leave"},
		{'~', "cd ~\r", "cd ~\r"},
		{0x1d, "a\x1d.", "a leave"},
		{0x1d, "a\x1d\x1d.", "a\x1d."},
		{0x1d,
			"a\x1d"
			"b",
			"a\x1d"
			"b"},
		{-1, "~.\r~.\xff", "~.\r~.\xff"},
	};

	(void)state;
	for (size_t step = 1; step < 12; step++) {
		for (size_t i = 0; i < array_size(cases); i++)
			assert_string_equal(run(cases[i].key, cases[i].typed, step), cases[i].got);
	}
}

static void test_parse(void **state)
{
	static const char *const bad[] = {"", "ab", "^^^", "\xff", "\t", "^!"};
	static const struct {
		const char *text;
		int key;
	} good[] = {{"~", '~'}, {"none", -1}, {"^]", 0x1d}, {"^a", 1}, {"^A", 1}, {"^@", 0},
		{"^?", 0x7f}, {"^^", 0x1e}, {"%", '%'}, {"^", '^'}};
	struct escape e;
	char name[3];
	int key;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(escape_parse(bad[i], &key), -EINVAL);
	for (size_t i = 0; i < array_size(good); i++) {
		assert_int_equal(escape_parse(good[i].text, &key), 0);
		assert_int_equal(key, good[i].key);
	}
	escape_init(&e, 0x1d);
	assert_string_equal(escape_name(&e, name), "^]");
	escape_init(&e, '~');
	assert_string_equal(escape_name(&e, name), "~");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
