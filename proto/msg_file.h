/*
 * msg_file.h - messages of the file operations (docs/protocol.md sections 13 and 14); the rules are
 * those of msg.h.
 */
#pragma once

#include "proto/msg.h"

enum msg_owner_kind { OWNER_PARENT, OWNER_SELF, OWNER_IDS, OWNER_ARCHIVE };

struct msg_owner {
	enum msg_owner_kind kind;
	uint32_t uid, gid; /* IDS */
};

/* What every operation has. */
struct msg_where {
	const char *path;
	const char *root, *user; /* NULL: none */
	struct msg_owner owner;
};

/* The `op` of an OPEN. */
#define MSG_FILE_OP_MAX 24
int msg_parse_file_op(const uint8_t *json, size_t len, char ret[MSG_FILE_OP_MAX], struct error *e);
