/*
 * test_msg_tree.c - what operations on many files are opened with: defaults, every member, every
 * member wrong; and the head of a record.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/msg_tree.h"

static struct msg_tree m;
static struct error e;

static int parse(const char *json)
{
	msg_tree_fini(&m);
	return msg_parse_tree((const uint8_t *)json, strlen(json), &m, &e);
}

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse("{\"path\":\"/x\",\"unknown\":[1]}"), 0);
	assert_string_equal(m.where.path, "/x");
	assert_true(m.hidden && !m.recursive && !m.follow && m.depth == 0 && m.strip == 0);
	assert_true(m.max == 1024 * 1024 && !m.paths && m.n_exclude == 0);
	msg_tree_fini(&m);
	msg_tree_fini(&m);
}

static void test_members(void **state)
{
	(void)state;
	assert_int_equal(
		parse("{\"path\":\"p\",\"recursive\":true,\"follow\":true,\"hidden\":false,"
		      "\"depth\":512,\"strip\":1000,\"max\":4194304,\"owner\":\"archive\","
		      "\"exclude\":[\"*.o\",{\"b64\":\"/w==\"}],\"paths\":[\"\",\"b\"]}"),
		0);
	assert_true(m.recursive && m.follow && !m.hidden && m.depth == 512 && m.strip == 1000);
	assert_int_equal(m.where.owner.kind, OWNER_ARCHIVE);
	assert_int_equal(m.max, 4194304);
	assert_int_equal(m.n_exclude, 2);
	assert_string_equal(m.exclude[0], "*.o");
	assert_string_equal(m.exclude[1], "\xff");
	assert_int_equal(m.n_paths, 2);
	assert_string_equal(m.paths[1], "b");
	assert_int_equal(parse("{\"path\":\"p\",\"paths\":[],\"exclude\":[]}"), 0);
	assert_true(m.paths && m.n_paths == 0);
	msg_tree_fini(&m);
}

static void test_bad(void **state)
{
	static const char *const members[] = {
		"\"recursive\":1",
		"\"follow\":\"yes\"",
		"\"hidden\":0",
		"\"depth\":513",
		"\"depth\":-1",
		"\"strip\":1001",
		"\"max\":4194305",
		"\"exclude\":\"*.o\"",
		"\"exclude\":{\"a\":\"b\"}",
		"\"exclude\":[1]",
		"\"paths\":[null]",
		"\"paths\":[{\"b64\":\"AA==\"}]",
		"\"owner\":\"nobody\"",
		"\"root\":\"relative\"",
	};
	char json[200];

	(void)state;
	for (size_t i = 0; i < array_size(members); i++) {
		snprintf(json, sizeof(json), "{\"path\":\"p\",%s}", members[i]);
		if (parse(json) == 0)
			fail_msg("%s was taken", json);
		assert_int_equal(e.code, E_BAD_MESSAGE);
	}
	assert_true(parse("{}") < 0);
	assert_true(parse("[]") < 0);
}

/* The shortest elements, as many as a frame holds: memory was put aside for them. */
static void test_full(void **state)
{
	static char json[FRAME_PAYLOAD_MAX + 1];
	size_t n = (size_t)sprintf(json, "{\"path\":\"p\",\"paths\":[\"\"");
	unsigned count = 1;

	(void)state;
	for (; n < FRAME_PAYLOAD_MAX - 8; count++)
		n += (size_t)sprintf(json + n, ",\"\"");
	sprintf(json + n, "]}");
	assert_int_equal(parse(json), 0);
	assert_int_equal(m.n_paths, count);
	n = (size_t)sprintf(json, "{\"path\":\"p\",\"exclude\":[\"\"");
	for (unsigned i = 1; i < MSG_EXCLUDE_MAX; i++)
		n += (size_t)sprintf(json + n, ",\"\"");
	sprintf(json + n, "]}");
	assert_int_equal(parse(json), 0);
	sprintf(json + n, ",\"\"]}");
	assert_true(parse(json) < 0);
}

static void test_head(void **state)
{
	static const uint8_t raw[BATCH_HEAD] = {
		0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 1, 0xa4, 0, 5, 0xf, 0xff};
	struct batch_head h = batch_head_get(raw);
	uint8_t again[BATCH_HEAD];

	(void)state;
	assert_true(h.size == 0x100000002ULL && h.mode == 0644 && h.err == 5 && h.path_len == 4095);
	batch_head_put(again, &h);
	assert_memory_equal(raw, again, sizeof(raw));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
