/*
 * msg_file_told.h - what the agent tells of files (docs/protocol.md sections 13 and 14), as a
 * client reads it; the rules are those of msg.h.
 */
#pragma once

#include "proto/msg_file.h"

/* Sizes and times are numbers of JSON, which are rounded above. */
#define FILE_SIZE_EXACT (1ULL << 53)

/* An entry; what is absent is 0 or NULL. */
struct msg_file_entry {
	void *mem;
	const char *name, *path; /* path: where the operation tells whole paths */
	const char *type;        /* "file", "dir", "link", ... */
	const char *target;
	uint64_t size; /* exact up to FILE_SIZE_EXACT */
	uint64_t mode, uid, gid, nlink, blocks;
	uint64_t errnum; /* it could not be looked at */
	int64_t mtime_ns, ctime_ns;
};

int msg_parse_file_entry(
	const uint8_t *json, size_t len, struct msg_file_entry *ret, struct error *e);
void msg_file_entry_fini(struct msg_file_entry *m);

enum msg_file_event_kind { FILE_EVENT_UNKNOWN, FILE_EVENT_ENTRY, FILE_EVENT_DONE };

struct msg_file_event {
	enum msg_file_event_kind kind;
	bool has_size, is_file;     /* ENTRY: a regular file */
	uint64_t size, mode;        /* ENTRY */
	int64_t mtime_ns, ctime_ns; /* ENTRY */
	uint64_t bytes, files, dirs, skipped, failed, matches;
	bool truncated;
	char sha256[65]; /* "" when absent */
};

int msg_parse_file_event(
	const uint8_t *json, size_t len, struct msg_file_event *ret, struct error *e);

/* A line of watch, glob or grep; what is absent is 0 or NULL. */
struct msg_file_line {
	void *mem;
	const char *event, *cursor;     /* watch: "watching" */
	const char *kind, *path, *from; /* watch; path: of the others as well */
	const char *text;               /* grep */
	uint64_t seq, line;
};

int msg_parse_file_line(
	const uint8_t *json, size_t len, struct msg_file_line *ret, struct error *e);
void msg_file_line_fini(struct msg_file_line *m);

/* Of du, remove, mkdir and the like: one number. */
int msg_parse_file_number(
	const uint8_t *json, size_t len, const char *name, uint64_t *ret, struct error *e);
