/*
 * msg_search.h - what searching and watching are asked with (docs/protocol.md section 14); the
 * rules are those of msg.h.
 */
#pragma once

#include "proto/msg_file.h"

#define MSG_GLOBS_MAX   256
#define MSG_CONTEXT_MAX 100
#define MSG_LINE_MAX    16384
#define MSG_RESULTS_MAX 100000 /* when `limit` is absent */

struct msg_glob {
	void *mem;
	struct msg_where where;
	const char *pattern;
	bool hidden, ignore, same_fs, stat;
	const char *type; /* NULL: any */
	uint64_t limit;
};

struct msg_grep {
	void *mem;
	struct msg_where where;
	const char *pattern;
	bool literal, icase, word, hidden, ignore, same_fs, binary;
	const char **globs;
	size_t n_globs;
	uint64_t limit, max_per_file, context, max_line;
};

struct msg_watch {
	void *mem;
	struct msg_where where;
	bool recursive;
	const char **exclude;
	size_t n_exclude;
	const char *since; /* a cursor; NULL: none */
};

int msg_parse_glob(const uint8_t *json, size_t len, struct msg_glob *ret, struct error *e);
void msg_glob_fini(struct msg_glob *m);
int msg_parse_grep(const uint8_t *json, size_t len, struct msg_grep *ret, struct error *e);
void msg_grep_fini(struct msg_grep *m);
int msg_parse_watch(const uint8_t *json, size_t len, struct msg_watch *ret, struct error *e);
void msg_watch_fini(struct msg_watch *m);
