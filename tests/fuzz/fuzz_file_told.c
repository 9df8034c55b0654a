/*
 * fuzz_file_told.c - what a client reads of files: entries, events, lines and numbers, the same
 * text to each.
 */
#include "proto/msg_file_told.h"
#include "proto/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int r, const struct error *e)
{
	char json[ERROR_JSON_MAX];

	if (r == 0)
		return;
	ASSERT(r < 0 && e->code > E_NONE && e->code < E_LAST);
	ASSERT(utf8_valid(json, error_json(e, json)));
}

static size_t touch(const char *s)
{
	return s ? strlen(s) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct msg_file_entry entry = {0};
	struct msg_file_event event = {0};
	struct msg_file_line line = {0};
	uint64_t number = 0;
	struct error e;
	size_t all;

	check(msg_parse_file_entry(data, len, &entry, &e), &e);
	check(msg_parse_file_event(data, len, &event, &e), &e);
	check(msg_parse_file_line(data, len, &line, &e), &e);
	check(msg_parse_file_number(data, len, "bytes", &number, &e), &e);
	all = touch(entry.name) + touch(entry.path) + touch(entry.type) + touch(entry.target) +
	      touch(line.cursor) + touch(line.kind) + touch(line.path) + touch(line.from) +
	      touch(line.text) + touch(event.sha256);
	ASSERT(all <= 10 * FRAME_PAYLOAD_MAX && number <= 1ULL << 53);
	msg_file_entry_fini(&entry);
	msg_file_line_fini(&line);
	return 0;
}
