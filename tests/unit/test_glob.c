/* test_glob.c - shell patterns: what fits, what may lie below, and that no pattern takes long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "agentd/glob.h"

static bool fits(const char *pattern, const char *path)
{
	struct glob g;
	bool r;

	assert_int_equal(glob_compile(&g, pattern, strlen(pattern), 0), 0);
	r = glob_match(&g, path, strlen(path));
	glob_fini(&g);
	glob_fini(&g);
	return r;
}

static const struct {
	const char *pattern, *yes, *no; /* paths, separated by blanks */
} table[] = {
	{"a", "a", "b aa a/a"},
	{"", "", "a"},
	{"*", "a abc .x", "a/b"},
	{"*.c", "a.c .c", "a.h a/b.c a.cc"},
	{"a*b*c", "abc axxbyyc abbc abcbc", "ab acb abcd"},
	{"?", "a", "aa /"},
	{"a?c", "abc a.c", "a/c ac"},
	{"[a-c]x", "ax bx cx", "dx /x x"},
	{"[!a-c]x", "dx", "ax bx /x"},
	{"[^a]", "b", "a"},
	{"[]a]", "] a", "b"},
	{"[!]a]", "b", "] a"},
	{"[a-]", "a -", "b"},
	{"[\\]x]", "] x", "\\"},
	{"[[:digit:][:upper:]_]", "0 A _", "a ."},
	{"\\*", "*", "a"},
	{"\\{a}", "{a}", "a"},
	{"**", "a a/b a/b/c", ""},
	{"a/**", "a/b a/b/c", "a b/a ab"},
	{"**/a", "a x/a x/y/a", "ba x/ba a/x"},
	{"a/**/b", "a/b a/x/b a/x/y/b", "ab a/xb a/b/x xa/b"},
	{"a/**/b/**/c", "a/b/c a/x/b/y/c a/b/b/c/c", "a/c b/c"},
	{"**/x/**", "x/a q/x/a q/x/a/b", "x q/x xx/a"},
	{"a**b", "ab axb", "a/b"},
	{"a/*/b", "a/x/b", "a/b a/x/y/b"},
	{"{a,b}", "a b", "ab c {a,b}"},
	{"{a,}x", "ax x", "bx"},
	{"x{,a}{,b}", "x xa xb xab", "xba"},
	{"*.{c,h}", "a.c a.h", "a.cc a."},
	{"{a,b{c,d}e}f", "af bcef bdef", "bf bef bcf"},
	{"{**/,}x", "x a/x", "ax"},
	{"{src,lib}/**/*.[ch]", "src/a.c lib/x/y/b.h", "bin/a.c src/a.o"},
	{"{[,],x}", ", x", "] {"},
	{"{a}", "a", "{a}"},
	{"a,b", "a,b", "a b"},
	{"a}", "a}", "a"},
};

static void each(const char *paths, const char *pattern, bool expected)
{
	char copy[200], *rest = copy;

	snprintf(copy, sizeof(copy), "%s", paths);
	for (char *path = strsep(&rest, " "); path; path = strsep(&rest, " ")) {
		if (fits(pattern, path) != expected)
			fail_msg("%s and %s: %d", pattern, path, !expected);
	}
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(table); i++) {
		if (*table[i].yes || !*table[i].pattern)
			each(table[i].yes, table[i].pattern, true);
		if (*table[i].no)
			each(table[i].no, table[i].pattern, false);
	}
}

static void test_bytes(void **state)
{
	(void)state;
	assert_true(fits("a\xff*", "a\xff\xfe"));
	assert_true(fits("[\x80-\xff]", "\xc3"));
	assert_false(fits("?", "\xc3\xa9")); /* two bytes */
}

static void test_bad(void **state)
{
	static const char *const bad[] = {"[", "[a", "[!", "[]", "[[:nope:]]", "[a-", "{a", "{a,b",
		"a\\", "{{a}",
		"{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{a}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}}"};
	char *longest = calloc(1, GLOB_LEN_MAX + 1);
	struct glob g;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(glob_compile(&g, bad[i], strlen(bad[i]), 0), -EINVAL);
	memset(longest, '[', GLOB_LEN_MAX + 1);
	assert_int_equal(glob_compile(&g, longest, GLOB_LEN_MAX + 1, 0), -EINVAL);
	free(longest);
	assert_int_equal(glob_compile(&g, "{a", 2, GLOB_NO_BRACES), 0);
	assert_true(glob_match(&g, "{a", 2));
	glob_fini(&g);
}

static void test_below(void **state)
{
	static const struct {
		const char *pattern, *dir;
		bool below;
	} cases[] = {{"a/b/c", "", true}, {"a/b/c", "a", true}, {"a/b/c", "a/b", true},
		{"a/b/c", "a/b/c", false}, {"a/b/c", "b", false}, {"*.c", "a", false},
		{"*/x", "a", true}, {"**/x", "a/b", true}, {"a/**", "a/q", true},
		{"a/**/b", "b", false}, {"{a,b}/x", "b", true}, {"**", "a", true},
		{"a*", "a", false}};
	struct glob g;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		assert_int_equal(
			glob_compile(&g, cases[i].pattern, strlen(cases[i].pattern), 0), 0);
		if (glob_below(&g, cases[i].dir, strlen(cases[i].dir)) != cases[i].below)
			fail_msg("%s below %s", cases[i].pattern, cases[i].dir);
		glob_fini(&g);
	}
}

/* What ends backtracking matchers, at full length. */
static void test_hostile(void **state)
{
	static const char *const units[] = {"*a", "**/", "*", "{,a}", "{a,a}", "?*", "[!b]*", ","};
	char *pattern = malloc(GLOB_LEN_MAX + 8), *path = malloc(GLOB_LEN_MAX);
	struct glob g;

	(void)state;
	for (size_t i = 0; i < array_size(units); i++) {
		uint64_t start = now_ms();
		size_t n = 0;

		while (n + strlen(units[i]) + 1 < GLOB_LEN_MAX)
			n += (size_t)sprintf(pattern + n, "%s", units[i]);
		pattern[n++] = 'b';
		for (size_t at = 0; at < GLOB_LEN_MAX; at++)
			path[at] = at % 4 == 3 ? '/' : 'a';
		assert_int_equal(glob_compile(&g, pattern, n, 0), 0);
		assert_false(glob_match(&g, path, GLOB_LEN_MAX));
		memset(path, 'a', GLOB_LEN_MAX);
		assert_false(glob_match(&g, path, GLOB_LEN_MAX));
		glob_fini(&g);
		assert_true(now_ms() - start < 8000); /* the sanitized build, a busy machine */
	}
	pattern[0] = '{';
	memset(pattern + 1, ',', GLOB_LEN_MAX - 2);
	pattern[GLOB_LEN_MAX - 1] = '}';
	assert_int_equal(glob_compile(&g, pattern, GLOB_LEN_MAX, 0), 0);
	assert_true(glob_match(&g, "", 0));
	glob_fini(&g);
	free(pattern);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table),
		cmocka_unit_test(test_bytes), cmocka_unit_test(test_bad),
		cmocka_unit_test(test_below), cmocka_unit_test(test_hostile)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
