/*
 * test_msg_stream.c - what reading and writing a file is asked with: defaults, every member, and
 * every way in which one can be wrong; the error names it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "proto/msg_stream.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct error error;

static int read_of(const char *json, struct msg_read *m)
{
	return msg_parse_read((const uint8_t *)json, strlen(json), m, &error);
}

static int write_of(const char *json, struct msg_write *m)
{
	return msg_parse_write((const uint8_t *)json, strlen(json), m, &error);
}

static void test_defaults(void **state)
{
	struct msg_read r;
	struct msg_write w;

	(void)state;
	assert_int_equal(read_of("{\"path\":\"/a\"}", &r), 0);
	assert_string_equal(r.where.path, "/a");
	assert_true(!r.where.root && !r.where.user && r.where.owner.kind == OWNER_PARENT);
	assert_true(r.offset == 0 && r.length == MSG_TO_END);
	assert_false(r.special || r.sha256 || r.sparse);
	msg_read_fini(&r);
	assert_int_equal(write_of("{\"path\":\"/a\"}", &w), 0);
	assert_true(w.how == HOW_ATOMIC && w.mode == -1 && w.size == MSG_SIZE_UNKNOWN);
	assert_true(w.parents && !w.sync && !w.sha256 && !w.digest && w.offset == 0);
	msg_write_fini(&w);
}

static void test_members(void **state)
{
	struct msg_read r;
	struct msg_write w;

	(void)state;
	assert_int_equal(
		read_of("{\"path\":{\"b64\":\"/w==\"},\"root\":\"/r\",\"user\":\"u\",\"offset\":5,"
			"\"length\":0,\"special\":true,\"sha256\":true,\"sparse\":true,\"x\":1}",
			&r),
		0);
	assert_string_equal(r.where.path, "\xff");
	assert_string_equal(r.where.root, "/r");
	assert_string_equal(r.where.user, "u");
	assert_true(r.offset == 5 && r.length == 0 && r.special && r.sha256 && r.sparse);
	msg_read_fini(&r);
	assert_int_equal(
		write_of("{\"path\":\"a\",\"how\":\"at\",\"offset\":7,\"mode\":4095,\"size\":9,"
			 "\"parents\":false,\"sync\":true,\"sha256\":\"" DIGEST "\","
			 "\"owner\":\"3:4\"}",
			&w),
		0);
	assert_true(w.how == HOW_AT && w.offset == 7 && w.mode == 07777 && w.size == 9);
	assert_true(!w.parents && w.sync && w.sha256 && w.where.owner.kind == OWNER_IDS);
	assert_string_equal(w.digest, DIGEST);
	msg_write_fini(&w);
	assert_int_equal(write_of("{\"path\":\"a\",\"sha256\":true,\"how\":\"in_place\"}", &w), 0);
	assert_true(w.sha256 && !w.digest && w.how == HOW_IN_PLACE);
	msg_write_fini(&w);
}

static void test_bad(void **state)
{
	static const char *const members[] = {"path\":5", "path\":\"\"", "path\":null",
		"root\":\"x\"", "root\":1", "user\":[]", "owner\":\"me\"", "owner\":\"1:\"",
		"owner\":\"-1:2\"", "offset\":-1", "offset\":1.5", "offset\":9007199254740994",
		"offset\":\"1\""};
	static const char *const of_read[] = {
		"length\":-1", "length\":null", "special\":1", "sha256\":\"x\"", "sparse\":\"no\""};
	static const char *const of_write[] = {"how\":\"so\"", "how\":1", "mode\":4096",
		"mode\":-1", "mode\":\"0644\"", "offset\":1", "size\":-1", "size\":1e60",
		"parents\":0", "sync\":2", "sha256\":1", "sha256\":\"ab\"",
		"sha256\":\"00123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
		"sha256\":\"ABCDEF6789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""};
	struct msg_read r;
	struct msg_write w;
	char text[200], quoted[40];

	(void)state;
	assert_true(read_of("{}", &r) < 0 && write_of("{}", &w) < 0);
	assert_true(read_of("[]", &r) < 0 && write_of("{\"path\"", &w) < 0);
	for (size_t i = 0; i < array_size(members) + array_size(of_read) + array_size(of_write);
		i++) {
		const char *m = i < array_size(members) ? members[i]
				: i < array_size(members) + array_size(of_read)
					? of_read[i - array_size(members)]
					: of_write[i - array_size(members) - array_size(of_read)];
		bool reads = i < array_size(members) + array_size(of_read);
		bool writes = i < array_size(members) || !reads;

		snprintf(text, sizeof(text), "{%s\"%s}",
			strncmp(m, "path", 4) == 0 ? "" : "\"path\":\"/a\",", m);
		snprintf(quoted, sizeof(quoted), "\"%.*s\" must be", (int)strcspn(m, "\""), m);
		if (reads && read_of(text, &r) >= 0)
			fail_msg("taken: %s", text);
		if (reads && !strstr(error.message, quoted))
			fail_msg("%s does not name %s", error.message, quoted);
		if (writes && write_of(text, &w) >= 0)
			fail_msg("taken: %s", text);
		if (writes && !strstr(error.message, quoted))
			fail_msg("%s does not name %s", error.message, quoted);
		assert_int_equal(error.code, E_BAD_MESSAGE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
