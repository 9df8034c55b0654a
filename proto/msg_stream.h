/*
 * msg_stream.h - what reading and writing one file is asked with (docs/protocol.md section 13); the
 * rules are those of msg.h.
 */
#pragma once

#include "proto/msg_file.h"

struct msg_read {
	void *mem;
	struct msg_where where;
	uint64_t offset, length; /* length: MSG_TO_END when absent */
	bool special, sha256, sparse;
};

#define MSG_TO_END UINT64_MAX

enum msg_how { HOW_ATOMIC, HOW_REPLACE_NOT, HOW_IN_PLACE, HOW_APPEND, HOW_AT };

struct msg_write {
	void *mem;
	struct msg_where where;
	enum msg_how how;
	int mode; /* -1: not given */
	uint64_t offset;
	uint64_t size; /* MSG_SIZE_UNKNOWN */
	bool parents, sync, sha256;
	const char *digest; /* 64 hex digits, lower case, that must result; NULL: any */
};

#define MSG_SIZE_UNKNOWN UINT64_MAX

int msg_parse_read(const uint8_t *json, size_t len, struct msg_read *ret, struct error *e);
void msg_read_fini(struct msg_read *m);
int msg_parse_write(const uint8_t *json, size_t len, struct msg_write *ret, struct error *e);
void msg_write_fini(struct msg_write *m);
