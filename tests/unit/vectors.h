/*
 * vectors.h - reads tests/vectors, whose files say at their top how they are written.
 */
#pragma once

#include <stdio.h>

#include "proto/buf.h"

struct vectors {
	FILE *file;
	char *line;
	size_t size;
	unsigned count; /* fields of a line */
	char *field[4]; /* of the current one; the last may contain the separator */
	unsigned n;     /* lines so far */
};

#define VECTORS(name) TESTS_DIR "/vectors/" name ".txt"
void vectors_open(struct vectors *v, const char *path, unsigned count);
bool vectors_next(struct vectors *v); /* false at the end; then it is closed */

/* "0a 61*3" appends 0a 61 61 61. */
void vectors_unhex(struct buf *out, const char *text);
/* \r \n \\ \xNN */
void vectors_unescape(struct buf *out, const char *text);
