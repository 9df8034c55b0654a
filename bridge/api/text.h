/*
 * text.h - JSON of any length, for answers: like jsonw.h, into a buffer that grows.
 */
#pragma once

#include "proto/buf.h"

struct text {
	struct buf buf; /* owned */
	bool comma;
	bool failed; /* out of memory, or past the maximum */
};

#define TEXT_MAX (512 * 1024 * 1024)

void text_init(struct text *t);
void text_fini(struct text *t);
void text_open(struct text *t, const char *name, char bracket); /* '{' or '[' */
void text_close(struct text *t, char bracket);
void text_str(struct text *t, const char *name, const char *s); /* NULL: the member is left out */
/* Bytes as a string: what is not UTF-8 becomes U+FFFD. */
void text_bytes(struct text *t, const char *name, const void *data, size_t len);
void text_int(struct text *t, const char *name, int64_t v);
void text_bool(struct text *t, const char *name, bool v);
void text_null(struct text *t, const char *name);
/* JSON already. */
void text_raw(struct text *t, const char *name, const char *json, size_t len);
/* Milliseconds since 1970 as RFC 3339, in UTC, with milliseconds. */
void text_time(struct text *t, const char *name, uint64_t ms);
/* What was written, for free(), NUL-terminated; NULL when it failed. The text is empty then. */
char *text_take(struct text *t, size_t *ret_len);

/* Answers with what was written: 500 when it failed. Ends the text. */
struct call;
void text_reply(struct text *t, struct call *c, int status);
