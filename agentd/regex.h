/*
 * regex.h - finds the lines of a text that a pattern fits (PCRE2 inside, nowhere else). What can be
 * done without the regular expression is: a pattern is first looked through for bytes that every
 * match has to have, and only lines with these are tried.
 *
 * Of one thread. Text is bytes; UTF-8 in it is understood, and bytes that are none fit nothing but
 * themselves in a literal.
 */
#pragma once

#include "agentd/needle.h"
#include "proto/error.h"

enum { REGEX_LITERAL = 1, REGEX_ICASE = 2, REGEX_WORD = 4 };

struct regex_parts;

struct regex {
	struct needle needle; /* len 0: there are no such bytes */
	bool exact;           /* the needle is the whole pattern */
	bool across;          /* no part of the pattern can fit a newline: many lines at once */
	struct regex_parts *parts;
	size_t slice; /* places tried between two looks at the clock */
	bool (*cancelled)(void *ctx);
	void *ctx;
};

struct regex_hit {
	size_t line, line_end; /* of the line, without its newline */
	size_t from, to;       /* of the first match in it */
};

/* cancelled() is asked now and then while something takes long. E_BAD_MESSAGE for a pattern that is
 * none, with the place; nothing to free then. */
int regex_init(struct regex *r, const char *pattern, size_t len, unsigned flags,
	bool (*cancelled)(void *ctx), void *ctx, struct error *e);
void regex_fini(struct regex *r);

/* The next line that fits, beginning with the one at `at`; text ends with the end of a line. 1:
 * *hit is filled. 0: none. -ECANCELED. -E2BIG: the line (*hit) takes too many steps to decide. */
int regex_next(struct regex *r, const uint8_t *text, size_t len, size_t at, struct regex_hit *hit);
