/*
 * search_walk.h - all names of a directory tree, for looking only: fast, in no order, never through
 * symbolic links, and minding ignore rules. T.
 *
 * One directory is open at a time, besides the top; what is still to be looked at is kept as paths.
 * (tree.h is for what changes trees.)
 */
#pragma once

#include "agentd/ignore.h"
#include "agentd/place.h"

#define SEARCH_PENDING_MAX (64 * MIB) /* of paths of directories still to be looked at */

struct search_entry {
	int dir; /* that it is in */
	const char *name;
	const char *path; /* relative to the top, which itself is "" */
	size_t len;
	uint8_t type; /* DT_* */
};

struct search_walk {
	const struct place *place; /* its path is the top: a directory */
	bool hidden;               /* names that begin with '.' too */
	bool ignore; /* leave out what .gitignore, .ignore and .git/info/exclude say, and .git */
	bool same_fs;
	/* Every entry, directories before what is in them. 0, SEARCH_SKIP: not below this
	 * directory; or -errno, which ends the walk. */
	int (*visit)(void *ctx, const struct search_entry *e);
	/* A directory that cannot be read; the walk goes on. */
	void (*failed)(void *ctx, const char *path, int err);
	bool (*cancelled)(void *ctx);
	void *ctx;
};

#define SEARCH_SKIP 1

/* top: the open top directory, O_RDONLY; stays the caller's. 0, -ECANCELED, or what visit() said.
 */
int search_walk(const struct search_walk *w, int top);
