/*
 * test_msg_file.c - the requests of files: defaults, every member, every member wrong, and arrays
 * that would need more memory than the reader has put aside for them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/msg_file_request.h"
#include "proto/msg_file_told.h"

static struct msg_file_request m;
static struct error e;

static int parse(const char *op, const char *json)
{
	msg_file_request_fini(&m);
	return msg_parse_file_request(op, (const uint8_t *)json, strlen(json), &m, &e);
}

static void bad(const char *op, const char *json, const char *says)
{
	assert_true(parse(op, json) < 0);
	assert_int_equal(e.code, E_BAD_MESSAGE);
	if (!strstr(e.message, says))
		fail_msg("\"%s\" does not say \"%s\"", e.message, says);
}

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse("stat", "{\"path\":\"/x\",\"unknown\":1}"), 0);
	assert_int_equal(m.op, FILE_STAT);
	assert_string_equal(m.where.path, "/x");
	assert_null(m.where.root);
	assert_int_equal(m.where.owner.kind, OWNER_PARENT);
	assert_true(m.follow);
	assert_int_equal(parse("list", "{\"path\":\"/x\"}"), 0);
	assert_int_equal(m.limit, 1000);
	assert_true(m.hidden);
	assert_null(m.after);
	assert_int_equal(parse("mkdir", "{\"path\":\"/x\"}"), 0);
	assert_int_equal(m.mode, 0755);
	assert_false(m.parents);
	assert_int_equal(parse("chown", "{\"path\":\"/x\",\"gid\":4294967294}"), 0);
	assert_true(m.uid == MSG_FILE_KEEP_ID && m.gid == 4294967294U && m.follow);
	assert_int_equal(parse("utimes", "{\"path\":\"/x\",\"atime_ns\":-7}"), 0);
	assert_true(m.atime_ns == -7 && m.mtime_ns == MSG_FILE_NOW);
	assert_int_equal(parse("du", "{\"path\":\"/x\"}"), 0);
	assert_true(m.same_fs);
	assert_int_equal(parse("read_many", "{\"paths\":[\"a\",{\"b64\":\"/w==\"}]}"), 0);
	assert_int_equal(m.n, 2);
	assert_string_equal(m.paths[1], "\xff");
	assert_int_equal(m.max, 32768);
	msg_file_request_fini(&m);
}

static void test_members(void **state)
{
	(void)state;
	assert_int_equal(
		parse("copy", "{\"path\":\"a\",\"root\":\"/r\",\"user\":\"u\",\"owner\":\"7:8\","
			      "\"to\":\"b\",\"replace\":false,\"recursive\":true}"),
		0);
	assert_string_equal(m.where.root, "/r");
	assert_string_equal(m.where.user, "u");
	assert_true(m.where.owner.kind == OWNER_IDS && m.where.owner.uid == 7 &&
		    m.where.owner.gid == 8);
	assert_true(m.recursive && !m.replace);
	assert_string_equal(m.to, "b");
	assert_int_equal(parse("list", "{\"path\":\"/\",\"limit\":9007199254740992}"), 0);
	assert_int_equal(m.limit, MSG_FILE_LIST_MAX);
	assert_int_equal(
		parse("utimes", "{\"path\":\"/\",\"mtime_ns\":\"1731000000123456789\"}"), 0);
	assert_true(m.mtime_ns == 1731000000123456789);
	assert_int_equal(parse("utimes", "{\"path\":\"/\",\"mtime_ns\":\"-12\"}"), 0);
	assert_true(m.mtime_ns == -12);
	assert_int_equal(parse("write_many", "{\"files\":[{\"path\":\"p\",\"b64\":\"AAE=\"},"
					     "{\"path\":\"q\",\"b64\":\"\",\"mode\":511}]}"),
		0);
	assert_int_equal(m.n, 2);
	assert_int_equal(m.files[0].len, 2);
	assert_memory_equal(m.files[0].data, "\0\1", 2);
	assert_true(m.files[0].mode == MSG_FILE_NO_MODE && m.files[1].mode == 0777);
	msg_file_request_fini(&m);
}

static void test_bad(void **state)
{
	static const struct {
		const char *op, *json, *says;
	} c[] = {
		{"stat", "{}", "path"},
		{"stat", "{\"path\":\"\"}", "path"},
		{"stat", "{\"path\":5}", "path"},
		{"stat", "{\"path\":\"a\\u0000b\"}", "NUL"},
		{"stat", "{\"path\":{\"b64\":\"AA==\"}}", "path"},
		{"stat", "{\"path\":\"/\",\"root\":\"x\"}", "root"},
		{"stat", "{\"path\":\"/\",\"root\":\"\"}", "root"},
		{"stat", "{\"path\":\"/\",\"owner\":\"archive\"}", "owner"},
		{"stat", "{\"path\":\"/\",\"owner\":\"1:\"}", "owner"},
		{"stat", "{\"path\":\"/\",\"follow\":\"yes\"}", "follow"},
		{"list", "{\"path\":\"/\",\"limit\":0}", "limit"},
		{"list", "{\"path\":\"/\",\"limit\":-1}", "limit"},
		{"mkdir", "{\"path\":\"/\",\"mode\":4096}", "mode"},
		{"mkdir", "{\"path\":\"/\",\"mode\":\"0755\"}", "mode"},
		{"chmod", "{\"path\":\"/\"}", "mode"},
		{"chown", "{\"path\":\"/\",\"uid\":4294967295}", "uid"},
		{"chown", "{\"path\":\"/\",\"uid\":-2}", "uid"},
		{"rename", "{\"path\":\"/\"}", "to"},
		{"link", "{\"path\":\"/\",\"to\":\"\"}", "to"},
		{"symlink", "{\"path\":\"/\"}", "target"},
		{"truncate", "{\"path\":\"/\"}", "size"},
		{"truncate", "{\"path\":\"/\",\"size\":9007199254740994}", "size"},
		{"utimes", "{\"path\":\"/\",\"mtime_ns\":\"\"}", "mtime_ns"},
		{"utimes", "{\"path\":\"/\",\"mtime_ns\":\"99999999999999999999\"}", "mtime_ns"},
		{"sha256", "{\"path\":\"/\",\"offset\":-1}", "offset"},
		{"read_many", "{\"paths\":[]}", "paths"},
		{"read_many", "{\"paths\":{}}", "paths"},
		{"read_many", "{\"paths\":[1]}", "paths"},
		{"read_many", "{\"paths\":[\"/\"],\"max\":48001}", "max"},
		{"write_many", "{\"files\":[1]}", "files"},
		{"write_many", "{\"files\":[{\"path\":\"/\"}]}", "files"},
		{"write_many", "{\"files\":[{\"path\":\"\",\"b64\":\"\"}]}", "path"},
		{"write_many", "{\"files\":[{\"path\":\"/\",\"b64\":1}]}", "b64"},
		{"write_many", "{\"files\":[{\"path\":\"/\",\"b64\":\"A\"}]}", "b64"},
	};

	(void)state;
	for (size_t i = 0; i < array_size(c); i++)
		bad(c[i].op, c[i].json, c[i].says);
	assert_true(parse("format", "{\"path\":\"/\"}") < 0);
	assert_int_equal(e.code, E_UNKNOWN_OP);
}

/* Each element costs more here than in JSON: the block of memory must be large enough still. */
static void test_arrays(void **state)
{
	auto_free char *json = malloc(FRAME_PAYLOAD_MAX + 1);
	const struct {
		const char *op, *head, *element;
		size_t n;
		bool good;
	} c[] = {
		{"write_many", "{\"files\":[", "{}", 1000, false},
		{"write_many", "{\"files\":[", "1", 1000, false},
		{"write_many", "{\"files\":[", "{\"path\":\"a\",\"b64\":\"\"}", 1000, true},
		{"write_many", "{\"files\":[", "{\"path\":\"a\",\"b64\":\"\"}", 1001, false},
		{"read_many", "{\"paths\":[", "\"\"", 1000, true},
		{"read_many", "{\"paths\":[", "\"\"", 1001, false},
	};

	(void)state;
	for (size_t i = 0; i < array_size(c); i++) {
		char *p = json + sprintf(json, "%s", c[i].head);

		for (size_t k = 0; k < c[i].n; k++)
			p += sprintf(p, "%s%s", k ? "," : "", c[i].element);
		sprintf(p, "]}");
		assert_int_equal(parse(c[i].op, json) == 0, c[i].good);
	}
	msg_file_request_fini(&m);
}

#define TOLD(what, text, ret) msg_parse_file_##what((const uint8_t *)(text), strlen(text), ret, &e)

/* What a client is told. A newer agent may tell more. */
static void test_told(void **state)
{
	struct msg_file_entry entry;
	struct msg_file_event event;
	struct msg_file_line line;
	uint64_t n = 7;

	(void)state;
	assert_int_equal(
		TOLD(entry,
			"{\"name\":{\"b64\":\"/w==\"},\"type\":\"link\",\"size\":5,\"mode\":511,"
			"\"mtime_ns\":1700000000000000000,\"target\":\"t\",\"new\":1}",
			&entry),
		0);
	assert_string_equal(entry.name, "\xff");
	assert_string_equal(entry.target, "t");
	assert_null(entry.path);
	assert_true(entry.size == 5 && entry.mode == 0777);
	assert_true(entry.mtime_ns / 1000000000 == 1700000000);
	msg_file_entry_fini(&entry);
	assert_int_equal(
		TOLD(event, "{\"event\":\"entry\",\"type\":\"file\",\"size\":9}", &event), 0);
	assert_true(event.kind == FILE_EVENT_ENTRY && event.is_file && event.size == 9);
	assert_int_equal(
		TOLD(event, "{\"event\":\"done\",\"matches\":3,\"truncated\":true}", &event), 0);
	assert_true(event.kind == FILE_EVENT_DONE && event.matches == 3 && event.truncated);
	assert_string_equal(event.sha256, "");
	assert_int_equal(TOLD(event, "{\"event\":\"weather\"}", &event), 0);
	assert_int_equal(event.kind, FILE_EVENT_UNKNOWN);
	assert_int_equal(
		TOLD(line, "{\"seq\":4,\"kind\":\"rename\",\"path\":\"b\",\"from\":\"a\"}", &line),
		0);
	assert_string_equal(line.from, "a");
	assert_true(line.seq == 4 && !line.text);
	msg_file_line_fini(&line);
	assert_int_equal(
		msg_parse_file_number((const uint8_t *)"{\"bytes\":8}", 11, "bytes", &n, &e), 0);
	assert_int_equal(n, 8);
	assert_true(TOLD(entry, "{\"size\":-1}", &entry) < 0);
	assert_true(TOLD(event, "{\"event\":5}", &event) < 0);
	assert_true(TOLD(line, "[]", &line) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_arrays),
		cmocka_unit_test(test_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
