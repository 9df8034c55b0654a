/*
 * exec_output.h - what a command wrote to one stream: all of it, or the last part of it. Kept in
 * pieces, so that growing copies nothing and dropping the oldest costs nothing; and read out as the
 * inside of a JSON string, piece by piece, so that a large output is never in memory twice.
 */
#pragma once

#include "base/base.h"

struct exec_output_piece;

struct exec_output {
	struct exec_output_piece *first, *last; /* owned */
	size_t len;                             /* bytes held */
	size_t memory;                          /* that takes */
	bool cut;                               /* older bytes are gone */
};

/* Where reading is. */
struct exec_output_at {
	const struct exec_output_piece *piece; /* NULL: not begun, or at the end */
	size_t at;                             /* in it */
	bool begun;
};

void exec_output_init(struct exec_output *o);
void exec_output_fini(struct exec_output *o); /* idempotent; empty afterwards */
/* 0 or -ENOMEM: then nothing of it is there. */
int exec_output_add(struct exec_output *o, const void *data, size_t len);
/* Drops the oldest until there are at most `keep` bytes. */
void exec_output_keep(struct exec_output *o, size_t keep);
/* The next of it, escaped, into out (max at least 12). 0: that was all. What is not UTF-8 becomes
 * U+FFFD, one for each longest beginning of a character. Nothing may be added or dropped between
 * two calls. */
size_t exec_output_json(
	const struct exec_output *o, struct exec_output_at *at, char *out, size_t max);
