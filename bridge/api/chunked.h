/*
 * chunked.h - the chunked transfer coding of request bodies (RFC 9112 section 7.1), which
 * libwebsockets does not decode for servers. Sans-I/O and strict: every line ends with CRLF, sizes
 * are hex digits and nothing else, extensions and trailers are limited and ignored.
 *
 *	while ((r = chunked_next(&d, &p, &len, &slice, &n)) > 0)
 *		take(slice, n);
 *	r == 0: all input is used up; chunked_done() says whether that was the end
 */
#pragma once

#include "base/base.h"

#define CHUNKED_LINE_MAX    512  /* of an extension */
#define CHUNKED_TRAILER_MAX 8192 /* all trailers */

enum chunked_state {
	CHUNKED_SIZE, /* at the beginning, no digit yet */
	CHUNKED_DIGITS,
	CHUNKED_EXTENSION,
	CHUNKED_SIZE_LF,
	CHUNKED_DATA,
	CHUNKED_DATA_CR,
	CHUNKED_DATA_LF,
	CHUNKED_TRAILER, /* at the beginning of a line */
	CHUNKED_TRAILER_LINE,
	CHUNKED_TRAILER_LF,
	CHUNKED_LAST_LF,
	CHUNKED_END,
};

struct chunked {
	enum chunked_state state;
	uint64_t left; /* of this chunk */
	size_t line;   /* bytes of this extension, or of the trailers */
};

/* Takes from *data. 1: a slice of the body, inside the input; 0: the input is used up, or the body
 * has ended (then the rest is left); -EPROTO: it is no such body. */
int chunked_next(
	struct chunked *c, const uint8_t **data, size_t *len, const uint8_t **ret, size_t *ret_len);
static inline bool chunked_done(const struct chunked *c)
{
	return c->state == CHUNKED_END;
}
