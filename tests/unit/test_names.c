/*
 * test_names.c - a file met again has its first name; the limits hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "agentd/names.h"

static void test_find(void **state)
{
	struct names n = {0};
	char name[32];

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 50000; i++) {
			const char *known;

			snprintf(name, sizeof(name), "name %u %s", i, round ? "again" : "");
			known = names_find_or_add(&n, i % 3, i / 3, name);
			snprintf(name, sizeof(name), "name %u ", i);
			if (round == 0)
				assert_null(known);
			else
				assert_string_equal(known, name);
		}
	}
	assert_int_equal(n.n, 50000);
	names_fini(&n);
	names_fini(&n);
	assert_null(names_find_or_add(&n, 0, 0, ""));
	assert_string_equal(names_find_or_add(&n, 0, 0, "x"), "");
	names_fini(&n);
}

/* What does not fit is not found again, and what was found before still is. */
static void test_limits(void **state)
{
	static char name[4096];
	struct names n = {0};
	unsigned kept = 0;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	while (n.used + sizeof(name) <= NAMES_BYTES_MAX)
		assert_null(names_find_or_add(&n, 1, kept++, name));
	assert_null(names_find_or_add(&n, 1, kept, name));
	assert_null(names_find_or_add(&n, 1, kept, name));
	assert_string_equal(names_find_or_add(&n, 1, kept - 1, "x"), name);
	assert_true(n.used <= NAMES_BYTES_MAX);
	names_fini(&n);
	for (unsigned i = 0; i < NAMES_MAX + 10; i++)
		names_find_or_add(&n, 1, i, "s");
	assert_int_equal(n.n, NAMES_MAX);
	assert_non_null(names_find_or_add(&n, 1, 0, "s"));
	names_fini(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
