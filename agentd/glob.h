/*
 * glob.h - shell patterns over paths: ? * ** [a-z] [!a-z] [[:alpha:]] {a,b} and \ before what is
 * meant as it is. Bytes, not characters. Time is linear in the path, whatever the pattern.
 *
 * `*`, `?` and classes never match a `/`. A component `**` is any number of directories, none
 * included (a, **, b: a/b and a/x/y/b); at the end it is everything below. Elsewhere `**` is `*`.
 */
#pragma once

#include "base/base.h"

#define GLOB_LEN_MAX 4096

enum { GLOB_NO_BRACES = 1 }; /* { and , are themselves, as in .gitignore */

struct glob_step;

struct glob {
	struct glob_step *steps; /* owned */
	uint8_t (*classes)[32];  /* owned; a bit for each byte */
	uint64_t *sets;          /* owned; two sets of steps, for matching */
	uint16_t *todo;          /* owned; steps to be added to a set */
	size_t n, n_classes, words;
};

/* Thread by thread: matching uses memory of the glob's own. -EINVAL: unclosed [ or {, a \ at the
 * end, or too long; -ENOMEM. Nothing to free after a failure. */
int glob_compile(struct glob *g, const char *pattern, size_t len, unsigned flags);
void glob_fini(struct glob *g); /* idempotent, fine on a zeroed struct */

bool glob_match(struct glob *g, const char *path, size_t len);
/* Whether something in the directory `path`, or deeper, could match. "" is the top. */
bool glob_below(struct glob *g, const char *path, size_t len);
