/*
 * fuzz_msg_tree.c - what operations on many files are opened with. What is taken keeps the limits;
 * what is refused is refused with an error that can be sent.
 */
#include "proto/msg_tree.h"
#include "proto/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char json[ERROR_JSON_MAX];
	struct msg_tree m;
	struct error e;

	if (msg_parse_tree(data, len, &m, &e) < 0) {
		ASSERT(e.code > E_NONE && e.code < E_LAST);
		ASSERT(utf8_valid(json, error_json(&e, json)));
		return 0;
	}
	ASSERT(m.where.path && *m.where.path);
	ASSERT(m.n_exclude <= MSG_EXCLUDE_MAX && m.max <= MSG_BATCH_FILE_MAX && m.depth <= 512);
	for (size_t i = 0; i < m.n_exclude; i++)
		ASSERT(strlen(m.exclude[i]) <= FRAME_PAYLOAD_MAX);
	for (size_t i = 0; i < m.n_paths; i++)
		ASSERT(strlen(m.paths[i]) <= FRAME_PAYLOAD_MAX);
	msg_tree_fini(&m);
	return 0;
}
