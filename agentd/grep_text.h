/*
 * grep_text.h - looks for lines in one file: reads it in large blocks, whatever its size, keeps
 * count of lines, and remembers those around. T.
 *
 * A line may be as long as GREP_LINE_MAX; of a longer one each part of about this size is looked at
 * for itself, until one fits.
 */
#pragma once

#include "agentd/regex.h"

#define GREP_BLOCK    (256 * 1024)
#define GREP_LINE_MAX (1024 * 1024)

/* A line that fits. All of it is gone when the callback returns. */
struct grep_hit {
	uint64_t line; /* from 1 */
	uint64_t col;  /* bytes, from 1 */
	const uint8_t *text;
	size_t len;
	size_t from, to;       /* the match, in text */
	const uint8_t *before; /* whole lines that end at text */
	const uint8_t *after;  /* whole lines behind it */
	size_t before_len, after_len;
};

struct grep_text {
	struct regex *regex;
	bool binary;                                     /* look into files with NUL bytes too */
	size_t context;                                  /* lines before and after */
	int (*hit)(void *ctx, const struct grep_hit *h); /* 0; GREP_ENOUGH of this file; -errno */
	void *ctx;
	/* Of grep_text.c: */
	uint8_t *buf; /* owned; kept from file to file */
	size_t size, fill;
	size_t at;      /* behind what was looked at; the beginning of a line */
	size_t counted; /* `line` is the number of the line that begins here */
	uint64_t told;  /* the last line that hit() was called for */
	uint64_t line;
	uint64_t col; /* of `at`, when it is in the middle of a line */
	bool eof;
};

#define GREP_ENOUGH 1

/* 0; GREP_ENOUGH; -errno of reading, of hit() or of the regex (-E2BIG: *ret_line takes too many
 * steps). A binary file is passed over in silence. */
int grep_text_file(struct grep_text *g, int fd, uint64_t *ret_line);
void grep_text_fini(struct grep_text *g);
