/*
 * fuzz_file_request.c - the requests of files: the first byte chooses the operation, the rest is
 * the JSON. What is taken keeps the limits; what is refused is refused with an error that can be
 * sent.
 */
#include "proto/msg_file_request.h"
#include "proto/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const ops[] = {"stat", "list", "mkdir", "remove", "rename", "copy", "chmod",
	"chown", "utimes", "symlink", "link", "readlink", "truncate", "du", "statfs", "sha256",
	"read_many", "write_many", "none"};

static void check(const struct msg_file_request *m)
{
	ASSERT(m->where.path && *m->where.path && m->where.owner.kind != OWNER_ARCHIVE);
	ASSERT(!m->where.root || m->where.root[0] == '/');
	ASSERT(m->mode == MSG_FILE_NO_MODE || m->mode <= 07777);
	ASSERT(m->op != FILE_LIST || (m->limit > 0 && m->limit <= MSG_FILE_LIST_MAX));
	ASSERT(m->n <= MSG_FILE_MANY_MAX && m->max <= MSG_FILE_READ_MAX);
	for (size_t i = 0; m->paths && i < m->n; i++)
		ASSERT(strlen(m->paths[i]) <= FRAME_PAYLOAD_MAX);
	for (size_t i = 0; m->files && i < m->n; i++)
		ASSERT(m->files[i].path[0] && m->files[i].len <= FRAME_PAYLOAD_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct msg_file_request m;
	char json[ERROR_JSON_MAX];
	struct error e;

	if (len == 0)
		return 0;
	if (msg_parse_file_request(ops[data[0] % array_size(ops)], data + 1, len - 1, &m, &e) ==
		0) {
		check(&m);
		msg_file_request_fini(&m);
	} else {
		size_t n = error_json(&e, json);

		ASSERT(e.code > E_NONE && e.code < E_LAST && utf8_valid(json, n));
	}
	return 0;
}
