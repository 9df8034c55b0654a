/*
 * jsonr.h - reading JSON where it lies: one pass that says whether a text is JSON, then a walk over
 * its joints. Nothing is copied and no tree is built, so a line of 16 MiB costs no more than
 * itself, and a part of it can be passed on as it was written. (Messages of the protocol are read
 * with msg_read.h, which is stricter about members and limited to a frame.)
 *
 * Members whose names are written with escapes are not found by name.
 */
#pragma once

#include "base/base.h"

#define JSONR_DEPTH 256

/* A value's own text, without the blanks around it. */
struct jsonr {
	const char *p;
	size_t len;
};

/* The text as one value: UTF-8, RFC 8259 to the letter, nested no deeper than JSONR_DEPTH. -EINVAL
 * otherwise. The functions below are for values that came from here. */
int jsonr_parse(const void *text, size_t len, struct jsonr *ret);

struct jsonr_walk {
	struct jsonr rest;
	bool named; /* an object's members, else an array's elements */
};

/* False when it is neither an object nor an array. */
bool jsonr_begin(struct jsonr_walk *w, struct jsonr value);
/* The next member or element; ret_name (may be NULL) is what stands between its quotes. */
bool jsonr_next(struct jsonr_walk *w, struct jsonr *ret_name, struct jsonr *ret_value);

/* The first member `name` of an object; false when there is none, or it is no object. */
bool jsonr_member(struct jsonr object, const char *name, struct jsonr *ret);
static inline bool jsonr_is(struct jsonr v, char first)
{
	return v.len > 0 && *v.p == first; /* '{', '[', '"', 't', 'f', 'n' */
}
/* Is it this string, written without escapes? */
bool jsonr_is_str(struct jsonr v, const char *s);
/* Only what is written as a whole number. */
int jsonr_u64(struct jsonr v, uint64_t max, uint64_t *ret);
/* A string, decoded, for free(): -EINVAL when it is none or has a NUL in it, -ENOMEM. Half a
 * surrogate pair becomes U+FFFD. */
int jsonr_str(struct jsonr v, char **ret);
