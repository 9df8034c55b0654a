/*
 * search_lines.h - the results of a search: JSON lines into a stream, and the last event. T.
 */
#pragma once

#include "agentd/stream.h"

#define SEARCH_ERRORS_MAX 100 /* told of one by one; further ones are only counted */

struct search_lines {
	struct stream *s;
	char *buf; /* owned; grows to the longest line there was */
	size_t size;
	uint64_t matches, files, errors;
	uint64_t limit; /* of matches */
	bool truncated;
};

/* Sends what put() writes, which is called again with more room if need be. 0 or -errno. */
int search_lines_put(
	struct search_lines *o, void (*put)(void *ctx, struct jsonw *w), const void *ctx);
/* Counts a match; false: it is one too many. */
bool search_lines_count(struct search_lines *o);
/* line: 0 when it is not about one. message NULL: the errno's. */
void search_lines_error(
	struct search_lines *o, const char *path, uint64_t line, int err, const char *message);
/* The end, after which there is nothing more to say: r is 0 or what the search ended with. */
void search_lines_end(struct search_lines *o, int r, const char *path);
