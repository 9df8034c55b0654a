/*
 * fault.h - why something could not be done, as the public API tells it: an HTTP status, a sentence
 * for people, and a code for programs where the API has one.
 */
#pragma once

#include "base/base.h"

struct fault {
	int status;
	const char *code; /* a constant, or NULL */
	bool waking;      /* come again, it is being woken */
	char text[256];
};

/* Returns false, so that it can end a function: return fault_set(f, 404, "no such thing"). */
bool fault_set(struct fault *f, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct error;
/* The status class of what the agent said: 404, 403, 409, 413, 507, 400, else 502. what: prefix of
 * the text, or NULL. */
void fault_from_error(struct fault *f, const struct error *e, const char *what);
/* The same of an errno. */
int fault_status_of(int err);
