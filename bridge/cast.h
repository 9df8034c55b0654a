/*
 * cast.h - a terminal's output as an asciicast v2 file, which players play: one JSON line with the
 * size, then one for each piece of output and each change of size, with the time since the start.
 * Every line is valid JSON by itself, and complete in the file when its function has returned.
 */
#pragma once

#include <stdio.h>

#include "proto/msg.h"

struct cast {
	FILE *file;      /* NULL: not recording */
	uint64_t start;  /* now_ns() of the header */
	uint8_t tail[4]; /* the beginning of a character whose end has not come */
	size_t tail_len;
	int err; /* of the first write that failed: nothing is written any more */
};

/* -errno when the file cannot be made. */
int cast_open(struct cast *c, const char *path);
/* Once, before the others. term and shell may be NULL. */
void cast_begin(struct cast *c, const struct msg_size *size, uint64_t unix_seconds,
	const char *term, const char *shell);
void cast_output(struct cast *c, const uint8_t *data, size_t len);
void cast_resize(struct cast *c, const struct msg_size *size);
/* The first error there was. Fine on zeroes, idempotent. */
int cast_close(struct cast *c);
