/* test_file_entry.c - what the agent tells of files, as the public API tells it: bytes that are no
 * text above all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/api/file_entry.h"

static void check(struct text *t, const char *want)
{
	size_t len;
	char *got;

	text_close(t, '}');
	got = text_take(t, &len);
	assert_non_null(got);
	assert_string_equal(got, want);
	assert_int_equal(len, strlen(want));
	free(got);
}

static void check_members(const char *object, const char *want)
{
	struct jsonr value;
	struct text t;

	assert_int_equal(jsonr_parse(object, strlen(object), &value), 0);
	text_init(&t);
	text_open(&t, NULL, '{');
	file_members_put(&t, value);
	check(&t, want);
}

/* All is passed on as it is; only {"b64":...} becomes text, and stands beside it. */
static void test_members(void **state)
{
	(void)state;
	check_members("{}", "{}");
	check_members("{ \"a\" : 1 , \"b\":[ true,null ],\"c\":{\"d\":\"e\"}}",
		"{\"a\":1,\"b\":[true,null],\"c\":{\"d\":\"e\"}}");
	check_members("{\"path\":{\"b64\":\"/w==\"}}",
		"{\"path\":\"\xef\xbf\xbd\",\"pathB64\":\"/w==\"}");
	check_members(
		"{\"before\":[\"x\",{\"b64\":\"YWJj\"},[]]}", "{\"before\":[\"x\",\"abc\",[]]}");
	/* What is no base64 is nothing; an object that only looks like bytes is itself. */
	check_members("{\"path\":{\"b64\":\"/w=\"}}", "{\"path\":null}");
	check_members("{\"path\":{\"b64\":7}}", "{\"path\":{\"b64\":7}}");
	check_members("{\"path\":{\"b64\":\"\"}}", "{\"path\":\"\",\"pathB64\":\"\"}");
	check_members("[1]", "{}");
	/* Names that are none of the agent's are left out. */
	check_members("{\"\\u0061\":1,\"b\":2}", "{\"b\":2}");
	check_members(
		"{\"a234567890123456789012345678901\":1,\"a2345678901234567890123456789012\":2}",
		"{\"a234567890123456789012345678901\":1}");
}

static void check_entry(
	const struct msg_file_entry *m, const char *dir, int errnum, const char *want)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	file_entry_put(&t, m, dir, errnum);
	check(&t, want);
}

static void test_entries(void **state)
{
	struct msg_file_entry m = {.name = "f",
		.type = "file",
		.size = 5,
		.mode = 04755,
		.uid = 1,
		.gid = 2,
		.mtime_ns = 1600000000123999999};

	(void)state;
	check_entry(&m, "/", 0,
		"{\"name\":\"f\",\"isDir\":false,\"size\":5,\"path\":\"/f\",\"type\":\"file\","
		"\"mode\":\"4755\",\"uid\":1,\"gid\":2,\"mtime\":\"2020-09-13T12:26:40.123Z\"}");
	m = (struct msg_file_entry){.name = "\xff", .type = "link", .target = "x\xfe"};
	check_entry(&m, "a", 0,
		"{\"name\":\"\xef\xbf\xbd\",\"nameB64\":\"/w==\",\"isDir\":false,\"size\":0,"
		"\"path\":\"a/\xef\xbf\xbd\",\"pathB64\":\"YS//\",\"type\":\"link\","
		"\"mode\":\"0000\",\"uid\":0,\"gid\":0,"
		"\"mtime\":\"1970-01-01T00:00:00.000Z\",\"target\":\"x\xef\xbf\xbd\","
		"\"targetB64\":\"eP4=\"}");
	m = (struct msg_file_entry){.name = "gone", .type = "unknown"};
	check_entry(&m, "a/", ENOENT,
		"{\"name\":\"gone\",\"isDir\":false,\"size\":0,\"path\":\"a/gone\","
		"\"type\":\"unknown\",\"error\":\"ENOENT\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
