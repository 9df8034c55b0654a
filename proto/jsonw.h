/*
 * jsonw.h - writes JSON straight into a fixed buffer: no tree, no allocation. (cJSON, which reads
 * for us, could print only from a tree of its own, and has no way to write strings that are not
 * UTF-8 as {"b64":...}.)
 *
 * A writer that ran out of room has `overflow` set and len is what fitted; jsonw_mark/rewind let a
 * list stop before an element that does not fit. `name` is NULL inside arrays and at the top.
 */
#pragma once

#include "base/base.h"

struct jsonw {
	char *out;
	size_t len, size;
	bool comma; /* the next value needs one before it */
	bool overflow;
};

void jsonw_init(struct jsonw *w, char *out, size_t size);
void jsonw_open(struct jsonw *w, const char *name, char bracket); /* '{' or '[' */
void jsonw_close(struct jsonw *w, char bracket);
void jsonw_str(struct jsonw *w, const char *name, const char *s);
/* Any bytes: a string when they are UTF-8 without NUL, else {"b64":"..."}. */
void jsonw_bytes(struct jsonw *w, const char *name, const void *data, size_t len);
/* A value that is JSON already. */
void jsonw_raw(struct jsonw *w, const char *name, const char *json, size_t len);
void jsonw_u64(struct jsonw *w, const char *name, uint64_t v);
void jsonw_int(struct jsonw *w, const char *name, int64_t v);
/* v / 1000, with up to three places. */
void jsonw_milli(struct jsonw *w, const char *name, uint64_t v);
void jsonw_bool(struct jsonw *w, const char *name, bool v);
void jsonw_null(struct jsonw *w, const char *name);

/* Go back to a remembered state, e.g. when an element overflowed. */
static inline struct jsonw jsonw_mark(const struct jsonw *w)
{
	return *w;
}
static inline void jsonw_rewind(struct jsonw *w, struct jsonw mark)
{
	*w = mark;
}
