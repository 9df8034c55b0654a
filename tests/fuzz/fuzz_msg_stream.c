/* fuzz_msg_stream.c - the messages that read and write files: what is taken keeps its limits. */
#include "proto/msg_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_where(const struct msg_where *w)
{
	ASSERT(w->path && w->path[0] && strlen(w->path) <= FRAME_PAYLOAD_MAX);
	ASSERT(!w->root || w->root[0] == '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char op[MSG_FILE_OP_MAX];
	struct msg_read r;
	struct msg_write w;
	struct error e;

	if (msg_parse_file_op(data, len, op, &e) == 0)
		ASSERT(op[0] && strlen(op) < MSG_FILE_OP_MAX);
	if (msg_parse_read(data, len, &r, &e) == 0) {
		check_where(&r.where);
		ASSERT(r.offset <= 1ULL << 53);
		ASSERT(r.length <= 1ULL << 53 || r.length == MSG_TO_END);
		msg_read_fini(&r);
	} else {
		ASSERT(e.code == E_BAD_MESSAGE);
	}
	if (msg_parse_write(data, len, &w, &e) == 0) {
		check_where(&w.where);
		ASSERT(w.mode >= -1 && w.mode <= 07777);
		ASSERT(w.size <= 1ULL << 53 || w.size == MSG_SIZE_UNKNOWN);
		ASSERT(w.offset == 0 || w.how == HOW_AT);
		ASSERT(!w.digest || (w.sha256 && strlen(w.digest) == 64));
		msg_write_fini(&w);
	} else {
		ASSERT(e.code == E_BAD_MESSAGE);
	}
	return 0;
}
