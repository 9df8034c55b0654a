/* bridge/api/text.h: JSON for answers, of any bytes and any length. */
#include "bridge/api/text.h"

#include <stdarg.h>
#include <stdio.h>
// clang-format off
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "bridge/api/call_wire.h"
#include "proto/jsonr.h"

static void is(struct text *t, const char *want)
{
	size_t len = 0;
	char *out = text_take(t, &len);

	assert_non_null(out);
	assert_string_equal(out, want);
	assert_int_equal(len, strlen(want));
	free(out);
}

static void test_members(void **state)
{
	struct text t;

	(void)state;
	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "s", "a\"\\\n\t\x7f");
	text_str(&t, "none", NULL);
	text_int(&t, "i", INT64_MIN);
	text_bool(&t, "b", true);
	text_null(&t, "n");
	text_raw(&t, "r", "{\"x\":1}", 7);
	text_open(&t, "l", '[');
	text_int(&t, NULL, 1);
	text_str(&t, NULL, "");
	text_open(&t, NULL, '{');
	text_close(&t, '}');
	text_close(&t, ']');
	text_time(&t, "t", 1700000000007);
	text_close(&t, '}');
	is(&t, "{\"s\":\"a\\\"\\\\\\n\\u0009\\u007f\",\"i\":-9223372036854775808,\"b\":true,"
	       "\"n\":null,\"r\":{\"x\":1},\"l\":[1,\"\",{}],\"t\":\"2023-11-14T22:13:20.007Z\"}");
	/* It can be used again. */
	text_open(&t, NULL, '[');
	text_close(&t, ']');
	is(&t, "[]");
	text_fini(&t);
}

/* Every broken byte is one U+FFFD, everything else stays. */
static void test_bytes(void **state)
{
	static const struct {
		const char *bytes, *json;
	} cases[] = {
		{"ok \xc3\xa9", "\"ok \xc3\xa9\""},
		{"\xff", "\"\xef\xbf\xbd\""},
		{"a\xc3", "\"a\xef\xbf\xbd\""},
		{"\xc3\xa9\xe9z\xf0\x9f\x98\x80\x80",
			"\"\xc3\xa9\xef\xbf\xbdz\xf0\x9f\x98\x80\xef\xbf\xbd\""},
		{"\xed\xa0\x80\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\\\"\""},
	};
	struct text t;

	(void)state;
	text_init(&t);
	for (size_t i = 0; i < array_size(cases); i++) {
		text_bytes(&t, NULL, cases[i].bytes, strlen(cases[i].bytes));
		is(&t, cases[i].json);
	}
	text_bytes(&t, NULL, "a\0b", 3);
	is(&t, "\"a\\u0000b\"");
}

/* All bytes there are, in all pairs: always JSON. */
static void test_any_bytes(void **state)
{
	static uint8_t all[3 * 256 * 256];
	struct text t;
	struct jsonr v;
	size_t len = 0;
	char *out;

	(void)state;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i % 3 == 0 ? i / 3 >> 8 : i % 3 == 1 ? i / 3 : 'x');
	text_init(&t);
	text_bytes(&t, NULL, all, sizeof(all));
	out = text_take(&t, &len);
	assert_non_null(out);
	assert_int_equal(jsonr_parse(out, len, &v), 0);
	free(out);
}

static void test_reply(void **state)
{
	struct call *c = call_new("/", 1, "", 0);
	uint8_t out[100];
	struct text t;

	(void)state;
	text_init(&t);
	text_open(&t, NULL, '[');
	text_close(&t, ']');
	text_reply(&t, c, 201);
	assert_int_equal(c->status, 201);
	assert_int_equal(call_pull(c, out, sizeof(out)), 2);
	assert_memory_equal(out, "[]", 2);
	assert_int_equal(call_pull(c, out, sizeof(out)), CALL_DONE);
	call_free(c);
	c = call_new("/", 1, "", 0);
	t.failed = true;
	text_reply(&t, c, 201);
	assert_int_equal(c->status, 500);
	call_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
