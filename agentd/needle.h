/*
 * needle.h - finds a byte string in large texts, as fast as memory is read. With the processor's
 * vector instructions where every processor of the kind has them (SSE2 of x86-64), else bytewise.
 */
#pragma once

#include "base/base.h"

struct needle {
	const uint8_t *bytes; /* owned; letters in lower case with icase */
	uint8_t *mask;        /* owned; per byte: 0x20 where the case does not matter, else 0 */
	size_t len;
	bool icase;
	size_t rare, rarer; /* positions of the two bytes that are looked for first */
};

/* icase: of ASCII letters only. -ENOMEM. */
int needle_init(struct needle *n, const void *bytes, size_t len, bool icase);
void needle_fini(struct needle *n);
/* NULL: not there. len of the needle > 0. */
const uint8_t *needle_find(const struct needle *n, const uint8_t *text, size_t len);

size_t count_newlines(const uint8_t *text, size_t len);
