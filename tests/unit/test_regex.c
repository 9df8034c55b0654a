/*
 * test_regex.c - lines by pattern. The short cuts (bytes every match has, many lines at once) must
 * find what the plain way finds: a random text, a table of patterns, both ways.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "agentd/regex.h"
#include "agentd/regex_look.h"

static unsigned asked, patience;

static bool cancelled(void *ctx)
{
	(void)ctx;
	return ++asked > patience;
}

static int set_up(void **state)
{
	(void)state;
	asked = 0;
	patience = UINT32_MAX;
	return 0;
}

static void init(struct regex *r, const char *pattern, unsigned flags)
{
	struct error e;

	if (regex_init(r, pattern, strlen(pattern), flags, cancelled, NULL, &e) < 0)
		fail_msg("%s: %s", pattern, e.message);
}

/* The numbers of the lines that fit. */
static const char *lines_of(struct regex *r, const char *text)
{
	static char out[1000];
	size_t at = 0, len = strlen(text), n = 0;
	struct regex_hit hit;

	*out = 0;
	while (regex_next(r, (const uint8_t *)text, len, at, &hit) == 1) {
		n += (size_t)sprintf(
			out + n, "%zu ", count_newlines((const uint8_t *)text, hit.line) + 1);
		assert_true(hit.line <= hit.from && hit.from <= hit.to && hit.to <= hit.line_end);
		assert_true(hit.line >= at);
		at = hit.line_end + 1;
	}
	return out;
}

static const char *lines(const char *pattern, unsigned flags, const char *text)
{
	struct regex r;
	const char *out;

	init(&r, pattern, flags);
	out = lines_of(&r, text);
	regex_fini(&r);
	return out;
}

static void test_flags(void **state)
{
	(void)state;
	assert_string_equal(lines("a.c", 0, "abc\naxc\nac\n"), "1 2 ");
	assert_string_equal(lines("a.c", REGEX_LITERAL, "abc\na.c\nac\n"), "2 ");
	assert_string_equal(lines("TaSk", REGEX_ICASE, "task\nTASK\nTAS\n"), "1 2 ");
	assert_string_equal(
		lines("TaSk", REGEX_ICASE | REGEX_LITERAL, "ta\xc5\xbfk\nx"), "1 "); /* long s */
	assert_string_equal(
		lines("foo", REGEX_WORD, "foo\nfoobar\na foo b\n_foo\n(foo)"), "1 3 5 ");
	assert_string_equal(lines("foo|foobar", REGEX_WORD, "foobar\n"), "1 ");
	assert_string_equal(lines("f.o", REGEX_WORD | REGEX_LITERAL, "f.o\nf.oo\nfoo\n"), "1 ");
	assert_string_equal(
		lines("caf\xc3\xa9", REGEX_WORD, "un caf\xc3\xa9 noir\ncaf\xc3\xa9ine\n"), "1 ");
	assert_string_equal(lines("", 0, "a\n\nb"), "1 2 3 ");
	assert_string_equal(lines("^$", 0, "a\n\nb\n\n"), "2 4 ");
	assert_string_equal(lines("a$", 0, "ba\nab\na"), "1 3 ");
	assert_string_equal(lines("^a", 0, "ba\nab\na"), "2 3 ");
	assert_string_equal(lines("x", 0, ""), "");
	assert_string_equal(lines("\\E\\.\\[\\$", REGEX_LITERAL, "\\E\\.\\[\\$\n"), "1 ");
}

/* A line is all that a pattern sees. */
static void test_line_only(void **state)
{
	(void)state;
	assert_string_equal(lines("a\\sb", 0, "a\nb\na b"), "3 ");
	assert_string_equal(lines("[^x]b", 0, "\nb\nab"), "3 ");
	assert_string_equal(lines("foo(?!\\s)", 0, "foo\nfoo \nfoox"), "1 3 ");
	assert_string_equal(lines("(?<!\\n)foo", 0, "foo\nfoo"), "1 2 ");
	assert_string_equal(lines("(?s)a.+b", 0, "a\nb\naxb"), "3 ");
	assert_string_equal(lines("\\Ab", 0, "a\nb"), "2 ");
	assert_string_equal(lines("a\\z", 0, "a\nb"), "1 ");
	assert_string_equal(lines("(?=a)\\Kb|ab\\K", 0, "ab\n"), "1 ");
}

static void test_bytes(void **state)
{
	(void)state;
	assert_string_equal(lines("a.b", 0,
				    "a\xc3\xa9z\na\xc3\xa9"
				    "b\na\xff"
				    "b\n"),
		"2 ");
	assert_string_equal(lines("ab", 0,
				    "\xff"
				    "ab\xfe\n\xc3"
				    "ab"),
		"1 2 ");
	assert_string_equal(lines("\xff\xfe", 0, "x\xff\xfe\nx"), "1 "); /* a pattern of bytes */
	assert_string_equal(lines("\\w+$", 0, "\xc3\xa9t\xc3\xa9\n--"), "1 ");
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"(", "a)(b", "[a", "*a", "a\nb", "(?<n", "\\C", "a{2,1}", "(*X)"};
	struct regex r;
	struct error e;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_true(regex_init(&r, bad[i], strlen(bad[i]), 0, cancelled, NULL, &e) < 0);
		assert_int_equal(e.code, E_BAD_MESSAGE);
	}
	assert_true(regex_init(&r, "a)(?:b", 6, REGEX_WORD, cancelled, NULL, &e) < 0);
	regex_fini(&r);
}

static void test_look(void **state)
{
	static const struct {
		const char *pattern, *bytes;
		bool exact, across;
	} cases[] = {{"abc", "abc", true, true}, {"ab.cde", "cde", false, true},
		{"abc?", "ab", false, true}, {"abc*de", "ab", false, true},
		{"abc+de", "abc", false, true}, {"a|bcd", "", false, true},
		{"(abc)de", "de", false, true}, {"(a|b)cd", "cd", false, true},
		{"[abc]de", "de", false, true}, {"a\\.b", "a.b", true, true},
		{"a\\sbc", "bc", false, false}, {"abc{2}d", "ab", false, true},
		{"a{b|cd", "", false, true}, {"a{b}", "a{b}", true, true},
		{"caf\xc3\xa9?", "caf", false, true}, {"(?i)abc", "", false, false},
		{"(?=abc)d", "d", false, false}, {"\\Qab\\E", "", false, false},
		{"\\x41bc", "", false, false}, {"\\bfoo\\b", "foo", false, true},
		{"^foo$", "foo", false, true}, {"[^a]bc", "bc", false, false},
		{"[]a]bc", "bc", false, false}, {"(a(b)c)?de", "de", false, true},
		{"x(?:ab[)]|c)", "x", false, true}, {"a", "a", true, true}, {"", "", false, true}};
	uint8_t bytes[64];
	struct regex_look look;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		regex_look(cases[i].pattern, strlen(cases[i].pattern), false, bytes, &look);
		if (look.len != strlen(cases[i].bytes) ||
			memcmp(bytes + look.from, cases[i].bytes, look.len) != 0 ||
			look.exact != cases[i].exact || look.across != cases[i].across)
			fail_msg("%s: '%.*s' %d %d", cases[i].pattern, (int)look.len,
				bytes + look.from, look.exact, look.across);
	}
}

static uint32_t random_state = 2463534242u;

static uint32_t random_u32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

static void test_ways(void **state)
{
	static const char *const patterns[] = {"abc", "ab?c", "a[bc]+d", "(ab|ba)c", "a.*d", "^a",
		"d$", "^$", "\\bab\\b", "[^a]b", "a\\sb", "\\d+", "c(?=d)", "(?<=a)b", "a|d",
		"(a+)+d", "\\W", "ba{2,3}", "A", "bD"};
	char text[2000];

	(void)state;
	for (unsigned round = 0; round < 40; round++) {
		size_t n = random_u32() % sizeof(text);

		for (size_t i = 0; i < n; i++)
			text[i] = "abcd \n1B\xff"[random_u32() % 9];
		text[n ? n - 1 : 0] = 0;
		for (unsigned i = 0; i < array_size(patterns) * 4; i++) {
			char quick[1000];
			struct regex r;

			init(&r, patterns[i / 4],
				(i & 1 ? REGEX_ICASE : 0) | (i & 2 ? REGEX_WORD : 0));
			snprintf(quick, sizeof(quick), "%s", lines_of(&r, text));
			needle_fini(&r.needle);
			r.across = r.exact = false;
			if (strcmp(quick, lines_of(&r, text)) != 0)
				fail_msg("%s (%u): %s", patterns[i / 4], i % 4, quick);
			regex_fini(&r);
		}
	}
}

static void test_needle(void **state)
{
	uint8_t text[300];

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		size_t len = random_u32() % sizeof(text), n = 1 + random_u32() % 5;
		uint8_t *copy = malloc(len + 1), bytes[5];
		const uint8_t *naive;
		struct needle needle;
		size_t newlines = 0;

		for (size_t i = 0; i < len; i++) {
			copy[i] = (uint8_t) "ab\nc"[random_u32() % 4];
			newlines += copy[i] == '\n';
		}
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t) "ab\nc"[random_u32() % 4];
		naive = memmem(copy, len, bytes, n);
		assert_int_equal(needle_init(&needle, bytes, n, round % 2), 0);
		assert_ptr_equal(needle_find(&needle, copy, len), naive);
		assert_int_equal(count_newlines(copy, len), newlines);
		needle_fini(&needle);
		free(copy);
	}
}

/* Expressions that never end elsewhere: an error, or at least a cancel, soon. */
static void test_bombs(void **state)
{
	static const char *const bombs[] = {"(a+)+$", "(a|a)*$", "(a|aa)+$", "^(.*?,){40}P",
		"(x+x+)+y", "(.*)*\\1b", "((a*)*)*c", "a*a*a*a*a*a*c"};
	size_t len = 200000;
	char *text = malloc(len);

	(void)state;
	memset(text, 'a', len);
	for (size_t i = 0; i < array_size(bombs); i++) {
		uint64_t start = now_ms();
		struct regex_hit hit;
		struct regex r;
		int n;

		text[len - 1] = '!';
		text[99] = '!';
		text[100] = i % 2 ? 'b' : '\n';
		init(&r, bombs[i], 0);
		asked = 0;
		patience = 20;
		n = regex_next(&r, (uint8_t *)text, len, 0, &hit);
		assert_true(n == 0 || n == -E2BIG || n == -ECANCELED);
		regex_fini(&r);
		if (now_ms() - start > 5000)
			fail_msg("%s took %llu ms", bombs[i],
				(unsigned long long)(now_ms() - start));
	}
	free(text);
}

/* Deep nesting must fit the stack of a worker. */
static void test_deep(void **state)
{
	char pattern[1000];
	struct regex r;
	struct error e;

	(void)state;
	memset(pattern, '(', 500);
	memset(pattern + 500, ')', 500);
	assert_true(regex_init(&r, pattern, 1000, 0, cancelled, NULL, &e) < 0);
	memset(pattern, '(', 200);
	pattern[200] = 'a';
	memset(pattern + 201, ')', 200);
	assert_int_equal(regex_init(&r, pattern, 401, REGEX_WORD, cancelled, NULL, &e), 0);
	assert_string_equal(lines_of(&r, "b\na\n"), "2 ");
	regex_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_flags, set_up),
		cmocka_unit_test_setup(test_line_only, set_up),
		cmocka_unit_test_setup(test_bytes, set_up),
		cmocka_unit_test_setup(test_bad, set_up), cmocka_unit_test_setup(test_look, set_up),
		cmocka_unit_test_setup(test_ways, set_up),
		cmocka_unit_test_setup(test_needle, set_up),
		cmocka_unit_test_setup(test_bombs, set_up),
		cmocka_unit_test_setup(test_deep, set_up)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
