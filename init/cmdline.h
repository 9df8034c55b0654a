/*
 * cmdline.h - the kernel's command line, and what else we were started with: "name", "name=value",
 * "name=\"a b\"". The same name may come several times.
 */
#pragma once

#include "base/base.h"

#define CMDLINE_WORDS 256

struct cmdline {
	char *text; /* owned */
	char *name[CMDLINE_WORDS];
	char *value[CMDLINE_WORDS]; /* NULL: a word without "=" */
	size_t n;
};

/* /proc/cmdline (or another file; it may be absent), then argv[1] and on. */
void cmdline_read(struct cmdline *c, const char *path, char **argv);
void cmdline_fini(struct cmdline *c);
/* The last one's value; "" for a bare word; NULL when it is not there. */
const char *cmdline_get(const struct cmdline *c, const char *name);
/* A whole number from 0 to max, else the default. */
unsigned long cmdline_number(
	const struct cmdline *c, const char *name, unsigned long fallback, unsigned long max);
