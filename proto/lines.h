/*
 * lines.h - a byte stream cut into lines. A line is given out where it was read to, without its
 * end; it stays until the next call of any of these functions. One that is longer than `max` is
 * dropped whole, and said once. Memory grows with the longest line and is given back after a long
 * one.
 */
#pragma once

#include "proto/buf.h"
#include "proto/jsonr.h"

struct lines {
	struct buf buf;
	size_t max;
	size_t taken;   /* of what was given out last, with its end */
	size_t scanned; /* no line end in these first bytes */
	bool dropping;  /* until the next line end */
	bool ended;
};

void lines_init(struct lines *l, size_t max);
void lines_fini(struct lines *l); /* idempotent; as after init */
/* Where to read to, and how much; NULL: no memory. */
uint8_t *lines_space(struct lines *l, size_t *ret_size);
void lines_commit(struct lines *l, size_t n);
void lines_end(struct lines *l); /* what is left is a line, too */
/* 1: *ret is a line. 0: none yet. -EMSGSIZE: here was one that is too long. */
int lines_next(struct lines *l, struct jsonr *ret);
