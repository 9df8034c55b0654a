/*
 * test_jsonr.c - what is JSON and what is not; that the walk finds every joint; and that strings
 * are decoded to what they mean.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/jsonr.h"

/* From a block of exactly its size, so that the sanitizer sees a byte too many. */
static int parse(const char *text, size_t len, char **ret_copy, struct jsonr *ret)
{
	*ret_copy = malloc(len ? len : 1);
	memcpy(*ret_copy, text, len);
	return jsonr_parse(*ret_copy, len, ret);
}

static void test_good(void **state)
{
	static const char *const good[] = {"{}", "[]", "0", "-0", "1", "-12.5e+3", "1E5", "0.1e-1",
		"\"\"", "true", "false", "null", " \t\r\n[ 1 , 2 ] ", "{\"a\":1,\"a\":2}",
		"{ \"a\" : { \"b\" : [ { } , [ ] ] } }", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\"",
		"\"\xc3\xa4\xf0\x9d\x84\x9e\x7f\"", "\"\\ud800\""};

	(void)state;
	for (size_t i = 0; i < array_size(good); i++) {
		struct jsonr v;
		char *copy;

		assert_int_equal(parse(good[i], strlen(good[i]), &copy, &v), 0);
		assert_true(v.len > 0 && !strchr(" \t\r\n", *v.p));
		assert_true(!strchr(" \t\r\n", v.p[v.len - 1]));
		free(copy);
	}
}

static void test_bad(void **state)
{
	static const char *const bad[] = {"", " ", "{", "}", "[", "]", "{]", "[}", "{}}", "{} {}",
		"[1 2]", "[1,]", "[,1]", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}",
		"{1:1}", "{\"a\" 1}", "01", "+1", ".5", "1.", "1e", "1e+", "-", "--1", "0x1", "NaN",
		"Infinity", "tru", "True", "nul", "nullx", "\"", "\"\\\"", "\"\\x\"", "\"\\u12\"",
		"\"\\u12g4\"", "\"\n\"", "\"\t\"", "'a'", "\"\xff\"", "\"\xc3\"",
		"\"\xed\xa0\x80\"", "/* */ 1", "[1]//", "\xef\xbb\xbf{}"};
	struct jsonr v;
	char *copy;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_int_equal(parse(bad[i], strlen(bad[i]), &copy, &v), -EINVAL);
		free(copy);
	}
	assert_int_equal(parse("[1]\0", 4, &copy, &v), -EINVAL);
	free(copy);
	assert_int_equal(parse("\"a\0b\"", 5, &copy, &v), -EINVAL);
	free(copy);
}

/* Every beginning of something good that is not a number is bad. */
static void test_cut(void **state)
{
	static const char text[] = "{\"a\":[1,{\"b\":\"\\u00e4\\\\\"},true,null],\"c\":-1.5e3}";
	struct jsonr v;
	char *copy;

	(void)state;
	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		assert_int_equal(parse(text, n, &copy, &v), -EINVAL);
		free(copy);
	}
}

static void test_depth(void **state)
{
	char text[4 * JSONR_DEPTH];
	struct jsonr v;

	(void)state;
	memset(text, '[', JSONR_DEPTH);
	memset(text + JSONR_DEPTH, ']', JSONR_DEPTH);
	assert_int_equal(jsonr_parse(text, 2 * JSONR_DEPTH, &v), 0);
	memset(text, '[', JSONR_DEPTH + 1);
	memset(text + JSONR_DEPTH + 1, ']', JSONR_DEPTH + 1);
	assert_int_equal(jsonr_parse(text, 2 * JSONR_DEPTH + 2, &v), -EINVAL);
}

static void check_text(struct jsonr v, const char *text)
{
	assert_int_equal(v.len, strlen(text));
	assert_memory_equal(v.p, text, v.len);
}

static void test_walk(void **state)
{
	static const char text[] =
		" { \"a\" : 1 , \"b,}\\\"\":[ {\"x\":\"]\"} , \"\\\\\" ] ,\"\":{}} ";
	static const char *const names[] = {"a", "b,}\\\"", ""};
	static const char *const values[] = {"1", "[ {\"x\":\"]\"} , \"\\\\\" ]", "{}"};
	struct jsonr object, name, value, inner;
	struct jsonr_walk w, w2;

	(void)state;
	assert_int_equal(jsonr_parse(text, strlen(text), &object), 0);
	assert_true(jsonr_begin(&w, object));
	for (size_t i = 0; i < array_size(names); i++) {
		assert_true(jsonr_next(&w, &name, &value));
		check_text(name, names[i]);
		check_text(value, values[i]);
	}
	assert_false(jsonr_next(&w, &name, &value));
	assert_true(jsonr_member(object, "b,}\\\"", &value));
	assert_true(jsonr_begin(&w2, value));
	assert_true(jsonr_next(&w2, &name, &inner));
	check_text(inner, "{\"x\":\"]\"}");
	assert_int_equal(name.len, 0);
	assert_true(jsonr_next(&w2, NULL, &inner));
	check_text(inner, "\"\\\\\"");
	assert_false(jsonr_next(&w2, NULL, &inner));
	assert_false(jsonr_member(object, "c", &value));
	assert_false(jsonr_member(inner, "a", &value));
	assert_false(jsonr_begin(&w, inner));
}

static void test_first_member_counts(void **state)
{
	static const char text[] = "{\"a\":1,\"a\":2,\"aa\":3}";
	struct jsonr object, value;

	(void)state;
	assert_int_equal(jsonr_parse(text, strlen(text), &object), 0);
	assert_true(jsonr_member(object, "a", &value));
	check_text(value, "1");
}

static void test_str(void **state)
{
	static const struct {
		const char *json, *text; /* NULL: not to be had */
	} cases[] = {{"\"\"", ""}, {"\"abc\"", "abc"},
		{"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
		{"\"\\u0041\\u00e4\\u20AC\\ud834\\udd1e\"",
			"A\xc3\xa4\xe2\x82\xac\xf0\x9d\x84\x9e"},
		{"\"\\ud834\"", "\xef\xbf\xbd"}, {"\"\\udd1e\\ud834\"", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\"\\ud834x\"", "\xef\xbf\xbdx"},
		{"\"\\ud834\\u0041\"", "\xef\xbf\xbd"
				       "A"},
		{"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"",
			"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
		{"\"\\u0000\"", NULL}, {"1", NULL}, {"{}", NULL}, {"null", NULL}};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct jsonr v;
		char *text;

		assert_int_equal(jsonr_parse(cases[i].json, strlen(cases[i].json), &v), 0);
		if (!cases[i].text) {
			assert_int_equal(jsonr_str(v, &text), -EINVAL);
			continue;
		}
		assert_int_equal(jsonr_str(v, &text), 0);
		assert_string_equal(text, cases[i].text);
		free(text);
	}
}

static void test_u64(void **state)
{
	static const struct {
		const char *json;
		uint64_t max, value;
		int r;
	} cases[] = {{"0", 0, 0, 0}, {"7", 7, 7, 0}, {"8", 7, 0, -EINVAL}, {"-1", 9, 0, -EINVAL},
		{"1.0", 9, 0, -EINVAL}, {"1e1", 99, 0, -EINVAL}, {"\"1\"", 9, 0, -EINVAL},
		{"18446744073709551615", UINT64_MAX, UINT64_MAX, 0},
		{"18446744073709551616", UINT64_MAX, 0, -EINVAL}};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct jsonr v = {cases[i].json, strlen(cases[i].json)};
		uint64_t n = 0;

		assert_int_equal(jsonr_u64(v, cases[i].max, &n), cases[i].r);
		assert_true(n == cases[i].value);
	}
	assert_true(jsonr_is_str((struct jsonr){"\"ab\"", 4}, "ab"));
	assert_false(jsonr_is_str((struct jsonr){"\"ab\"", 4}, "a"));
	assert_false(jsonr_is_str((struct jsonr){"1234", 4}, "12"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_first_member_counts),
		cmocka_unit_test(test_str),
		cmocka_unit_test(test_u64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
