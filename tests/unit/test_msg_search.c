/* test_msg_search.c - what searches and watches are asked with: defaults, limits, wrong types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/msg_search.h"

static struct error error;

static const uint8_t *bytes(const char *json)
{
	return (const uint8_t *)json;
}

static void test_defaults(void **state)
{
	static const char json[] = "{\"path\":\"/a\",\"pattern\":\"x\"}";
	struct msg_glob glob;
	struct msg_grep grep;
	struct msg_watch watch;

	(void)state;
	assert_int_equal(msg_parse_glob(bytes(json), strlen(json), &glob, &error), 0);
	assert_true(glob.stat && !glob.hidden && !glob.ignore && !glob.type);
	assert_int_equal(glob.limit, MSG_RESULTS_MAX);
	msg_glob_fini(&glob);
	assert_int_equal(msg_parse_grep(bytes(json), strlen(json), &grep, &error), 0);
	assert_int_equal(grep.max_line, 4096);
	assert_int_equal(grep.context, 0);
	assert_int_equal(grep.n_globs, 0);
	msg_grep_fini(&grep);
	msg_grep_fini(&grep);
	assert_int_equal(msg_parse_watch(bytes(json), strlen(json), &watch, &error), 0);
	assert_true(watch.recursive && !watch.since && watch.n_exclude == 0);
	msg_watch_fini(&watch);
}

static void test_globs(void **state)
{
	static const char one[] = "{\"path\":\"/a\",\"pattern\":\"\",\"glob\":{\"b64\":\"/yo=\"}}";
	static const char some[] =
		"{\"path\":\"/a\",\"exclude\":[\"*.c\",\"!x\",{\"b64\":\"/w==\"}]}";
	struct msg_grep grep;
	struct msg_watch watch;

	(void)state;
	assert_int_equal(msg_parse_grep(bytes(one), strlen(one), &grep, &error), 0);
	assert_int_equal(grep.n_globs, 1);
	assert_string_equal(grep.globs[0], "\xff*");
	msg_grep_fini(&grep);
	assert_int_equal(msg_parse_watch(bytes(some), strlen(some), &watch, &error), 0);
	assert_int_equal(watch.n_exclude, 3);
	assert_string_equal(watch.exclude[0], "*.c");
	assert_string_equal(watch.exclude[2], "\xff");
	msg_watch_fini(&watch);
}

static void test_bad(void **state)
{
	static const char *const bad[] = {"{\"pattern\":\"x\"}", "{\"path\":\"/a\"}",
		"{\"path\":\"/a\",\"pattern\":1}",
		"{\"path\":\"/a\",\"pattern\":\"x\",\"limit\":0}",
		"{\"path\":\"/a\",\"pattern\":\"x\",\"context\":101}",
		"{\"path\":\"/a\",\"pattern\":\"x\",\"max_line\":0}",
		"{\"path\":\"/a\",\"pattern\":\"x\",\"max_line\":16385}",
		"{\"path\":\"/a\",\"pattern\":\"x\",\"glob\":7}",
		"{\"path\":\"/a\",\"pattern\":\"x\",\"glob\":[\"a\",7]}",
		"{\"path\":\"/a\",\"pattern\":\"x\",\"icase\":\"yes\"}"};
	struct msg_grep m;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_true(msg_parse_grep(bytes(bad[i]), strlen(bad[i]), &m, &error) < 0);
		assert_int_equal(error.code, E_BAD_MESSAGE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_globs), cmocka_unit_test(test_bad)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
