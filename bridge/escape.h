/*
 * escape.h - the key by which a person speaks to us instead of to the program: found in what was
 * typed, and taken out. A printable one counts at the beginning of a line, as with ssh; a control
 * character anywhere. Behind it: `.` leaves, `?` asks for help, itself is typed once; anything else
 * is typed with it.
 */
#pragma once

#include "base/base.h"

enum escape_action { ESCAPE_NOTHING, ESCAPE_LEAVE, ESCAPE_HELP };

struct escape {
	int key; /* -1: none */
	bool in_line, held;
};

/* "none", one character, or ^ and one for a control character. -EINVAL: something else. */
int escape_parse(const char *text, int *ret_key);
void escape_init(struct escape *e, int key);
/* How a person types it: "~", "^]". */
const char *escape_name(const struct escape *e, char out[3]);
/* Copies what is meant for the program to out, which has room for len + 1, and returns how much.
 * Stops behind an action; *ret_used says how much of `in` was looked at. */
size_t escape_filter(struct escape *e, const uint8_t *in, size_t len, uint8_t *out,
	size_t *ret_used, enum escape_action *ret_action);
