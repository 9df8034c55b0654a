/*
 * regex_look.h - what can be said of a pattern by looking at its text. Careful rather than clever:
 * what it does not understand it says nothing about.
 */
#pragma once

#include "base/base.h"

struct regex_look {
	size_t from, len; /* the longest run of bytes in `bytes` that every match contains; len 0:
			     none */
	bool exact;       /* they are all of the pattern */
	bool across;      /* nothing in it fits a newline or looks beyond one */
};

/* bytes: as large as the pattern; receives its literal bytes. icase: the run must have the same
 * letters in all cases of Unicode (a K is also the Kelvin sign). */
void regex_look(
	const char *pattern, size_t len, bool icase, uint8_t *bytes, struct regex_look *ret);
