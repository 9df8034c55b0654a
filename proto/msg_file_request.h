/*
 * msg_file_request.h - the requests "file.*" of docs/protocol.md section 13; the rules are those of
 * msg.h. One struct for all: each operation reads the members it has and leaves the rest at its
 * default.
 */
#pragma once

#include "proto/msg_file.h"

#define MSG_FILE_MANY_MAX 1000  /* paths of a read_many, files of a write_many */
#define MSG_FILE_LIST_MAX 10000 /* more in `limit` means so many */
#define MSG_FILE_READ_MAX 48000 /* of one file in a read_many: its base64 fits into a frame */
#define MSG_FILE_NO_MODE  UINT32_MAX
#define MSG_FILE_KEEP_ID  UINT32_MAX
#define MSG_FILE_NOW      INT64_MIN

enum msg_file_op {
	FILE_STAT,
	FILE_LIST,
	FILE_MKDIR,
	FILE_REMOVE,
	FILE_RENAME,
	FILE_COPY,
	FILE_CHMOD,
	FILE_CHOWN,
	FILE_UTIMES,
	FILE_SYMLINK,
	FILE_LINK,
	FILE_READLINK,
	FILE_TRUNCATE,
	FILE_DU,
	FILE_STATFS,
	FILE_SHA256,
	FILE_READ_MANY,
	FILE_WRITE_MANY,
	FILE_OPS
};

/* The word behind "file."; FILE_OPS: there is none such. */
enum msg_file_op msg_file_op_parse(const char *word);

struct msg_file_data {
	const char *path;
	const void *data;
	size_t len;
	uint32_t mode; /* or MSG_FILE_NO_MODE */
};

struct msg_file_request {
	void *mem;
	enum msg_file_op op;
	struct msg_where
		where; /* path "/" in read_many and write_many, where it is not asked for */
	bool follow, hidden, parents, recursive, missing_ok, replace, same_fs;
	const char *after, *to, *target; /* NULL: not given */
	uint64_t limit, size, offset, length, max;
	uint32_t mode;               /* or MSG_FILE_NO_MODE */
	uint32_t uid, gid;           /* or MSG_FILE_KEEP_ID */
	int64_t atime_ns, mtime_ns;  /* or MSG_FILE_NOW */
	const char **paths;          /* read_many */
	struct msg_file_data *files; /* write_many */
	size_t n;                    /* of either */
};

int msg_parse_file_request(const char *op, const uint8_t *json, size_t len,
	struct msg_file_request *ret, struct error *e);
void msg_file_request_fini(struct msg_file_request *m);
