/* Members of bodies: what is taken, and that what is wrong is answered 400 with the member's name.
 */
#include "bridge/api/fields.h"

#include <stdarg.h>
#include <stdio.h>
// clang-format off
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "bridge/api/call_wire.h"

static struct call *body(const char *json)
{
	struct call *c = call_new("/", 1, "", 0);

	assert_int_equal(jsonr_parse(json, strlen(json), &c->body), 0);
	return c;
}

static void refused(struct call *c, const char *text)
{
	char out[200];
	ssize_t n = call_pull(c, (uint8_t *)out, sizeof(out) - 1);

	assert_int_equal(c->status, 400);
	assert_true(n > 0);
	out[n] = '\0';
	if (!strstr(out, text))
		fail_msg("%s is not in %s", text, out);
	call_free(c);
}

/* Ends with NULL; frees. */
static void vector_is(char **v, size_t n, const char *const *want)
{
	size_t i = 0;

	for (; want[i]; i++)
		assert_string_equal(v[i], want[i]);
	assert_null(v[i]);
	assert_int_equal(n, i);
	free(v);
}

static void test_str(void **state)
{
	struct call *c = body("{\"a\":\"x\\u00e9\\n\",\"n\":null,\"e\":\"\"}");
	char *s = NULL, *same = (char *)"same";

	(void)state;
	assert_true(field_str(c, "a", 4, &s));
	assert_string_equal(s, "x\xc3\xa9\n");
	free(s);
	assert_true(field_str(c, "e", 0, &s));
	assert_string_equal(s, "");
	free(s);
	s = same;
	assert_true(field_str(c, "n", 10, &s));
	assert_true(field_str(c, "absent", 10, &s));
	assert_ptr_equal(s, same);
	assert_false(call_answered(c));
	assert_false(field_str(c, "a", 3, &s));
	refused(c, "a is too long");
	c = body("{\"cmd\":7}");
	assert_false(field_str(c, "cmd", 10, &s));
	refused(c, "cmd must be a string");
	c = body("{\"cmd\":\"a\\u0000b\"}");
	assert_false(field_str(c, "cmd", 10, &s));
	refused(c, "cmd must be a string without NUL");
}

static void test_int(void **state)
{
	static const struct {
		const char *json;
		int64_t n;
	} good[] = {{"{\"n\":12}", 12}, {"{\"n\":-3}", -3}, {"{\"n\":1e3}", 1000},
		{"{\"n\":60.0}", 60}, {"{\"n\":0}", 0}};
	static const char *const bad[] = {"{\"n\":1.5}", "{\"n\":\"1\"}", "{\"n\":true}",
		"{\"n\":[1]}", "{\"n\":99999999999999999999}", "{\"n\":1e400}"};
	struct call *c;
	int64_t n;

	(void)state;
	for (size_t i = 0; i < array_size(good); i++) {
		c = body(good[i].json);
		assert_true(field_int(c, "n", -100, 10000, &n));
		assert_int_equal(n, good[i].n);
		call_free(c);
	}
	for (size_t i = 0; i < array_size(bad); i++) {
		c = body(bad[i]);
		assert_false(field_int(c, "n", 0, INT64_MAX, &n));
		refused(c, "n must be a whole number");
	}
	c = body("{\"timeout\":-1}");
	assert_false(field_int(c, "timeout", 0, 86400, &n));
	refused(c, "timeout must be from 0 to 86400");
	c = body("{\"timeout\":null}");
	n = 5;
	assert_true(field_int(c, "timeout", 0, 86400, &n));
	assert_int_equal(n, 5);
	call_free(c);
}

static void test_bool_and_raw(void **state)
{
	struct call *c = body("{\"t\":true,\"f\":false,\"o\":{\"a\": [1]},\"l\":[ ]}");
	struct jsonr v;
	bool b = false;

	(void)state;
	assert_true(field_bool(c, "t", &b));
	assert_true(b);
	assert_true(field_bool(c, "f", &b));
	assert_false(b);
	assert_true(field_raw(c, "o", '{', &v));
	assert_memory_equal(v.p, "{\"a\": [1]}", v.len);
	assert_true(field_raw(c, "l", '[', &v));
	assert_false(field_raw(c, "l", '{', &v));
	refused(c, "l must be an object");
	c = body("{\"t\":\"true\"}");
	assert_false(field_bool(c, "t", &b));
	refused(c, "t must be true or false");
}

static void test_strs(void **state)
{
	struct call *c = body("{\"args\":[\"-c\",\"\",\"a\\\"b\"],\"none\":[]}");
	char **v = NULL;
	size_t n = 9;

	(void)state;
	assert_true(field_strs(c, "args", 3, &v, &n));
	vector_is(v, n, (const char *const[]){"-c", "", "a\"b", NULL});
	assert_true(field_strs(c, "none", 3, &v, &n));
	vector_is(v, n, (const char *const[]){NULL});
	v = NULL;
	assert_true(field_strs(c, "absent", 3, &v, &n));
	assert_null(v);
	assert_false(field_strs(c, "args", 2, &v, &n));
	refused(c, "args has too many elements");
	c = body("{\"args\":[\"a\",1]}");
	assert_false(field_strs(c, "args", 9, &v, &n));
	refused(c, "args must be an array of strings");
	c = body("{\"args\":\"ls\"}");
	assert_false(field_strs(c, "args", 9, &v, &n));
	refused(c, "args must be an array");
}

static void test_map(void **state)
{
	struct call *c = body("{\"envs\":{\"A\":\"1\",\"B\\u0062\":\"\"},\"no\":{\"A\":1}}");
	char **v = NULL;
	size_t n = 0;

	(void)state;
	assert_true(field_map(c, "envs", 2, &v, &n));
	assert_int_equal(n, 2); /* pairs */
	vector_is(v, 2 * n, (const char *const[]){"A", "1", "Bb", "", NULL});
	assert_false(field_map(c, "no", 2, &v, &n));
	refused(c, "no must be an object of strings");
	c = body("{\"envs\":{\"A\":\"1\",\"B\":\"\"}}");
	assert_false(field_map(c, "envs", 1, &v, &n));
	refused(c, "envs has too many members");
	assert_null(fields_map_of((struct jsonr){"[]", 2}, 5, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_str),
		cmocka_unit_test(test_int),
		cmocka_unit_test(test_bool_and_raw),
		cmocka_unit_test(test_strs),
		cmocka_unit_test(test_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
