/*
 * ignore.h - the rules of .gitignore files: which paths of a tree are not to be looked at.
 *
 * Rules form a chain from the top directory down: a directory with rules of its own has a link,
 * which refers to that of a directory above. A link is immutable once made and counted, so that
 * pending directories can share it; the whole chain belongs to one thread at a time.
 */
#pragma once

#include "agentd/glob.h"

#define IGNORE_FILE_MAX (256 * 1024) /* of one file's text; the rest is not read */

struct ignore;

/* Rules from the text of one or more ignore files, later lines first in rank. base: the directory
 * they are in, relative to the top ("" = the top itself); or, with above, `base` is what lies
 * between the rules' directory and the top ("sub/dir"). Takes over the caller's reference to `up`
 * (NULL: none). NULL when out of memory: then the reference is gone too. */
struct ignore *ignore_new(
	struct ignore *up, const char *base, bool above, const char *text, size_t len);
/* Rules that a client gave, for the top; {a,b} works in these. NULL and -EINVAL: one is broken;
 * -ENOMEM. */
struct ignore *ignore_globs(const char *const *globs, size_t n, int *ret);
struct ignore *ignore_ref(struct ignore *i); /* fine on NULL, as the next */
void ignore_unref(struct ignore *i);

/* What the rules say of this path (relative to the top, no `/` at the end): 1: left out, 0: not
 * (by a `!`), -1: nothing. The directories above it are not left out: who walks a tree asks for
 * each on the way down. */
int ignore_match(struct ignore *i, const char *path, size_t len, bool dir);
