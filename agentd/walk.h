/*
 * walk.h - a directory tree, entry by entry, without recursion. Links are never followed, and what
 * is another mount is not entered. Everything is reached by descriptors of its directory, so that a
 * tree that changes meanwhile can at worst be seen half. T.
 */
#pragma once

#include <sys/stat.h>

#include "base/base.h"

#define WALK_DEPTH_MAX 1024 /* deeper is -ELOOP: each level holds a descriptor */

enum walk_when {
	WALK_FILE,  /* anything but a directory */
	WALK_ENTER, /* a directory, before what is in it; return WALK_SKIP not to look inside */
	WALK_LEAVE, /* and after it */
	WALK_MOUNT, /* a directory that is a mount point */
};

#define WALK_SKIP 1

struct walk_entry {
	enum walk_when when;
	int dir; /* of the directory it is in */
	const char *name;
	int fd;         /* ENTER, LEAVE: the directory itself, O_RDONLY; else -1 */
	unsigned depth; /* 0: where the walk began */
	struct stat st; /* FILE: only if asked for */
	uint8_t type;   /* DT_* */
};

struct walk_config {
	/* 0, WALK_SKIP, or -errno, which ends the walk. */
	int (*visit)(void *ctx, const struct walk_entry *e);
	/* Anything to do still? -ECANCELED otherwise. May be NULL. */
	bool (*cancelled)(void *ctx);
	void *ctx;
	bool stat_files;
	bool cross_mounts; /* enter them */
};

/* The entry `name` of `dir` and all below it. 0, -errno of the walk's own or of visit(). What
 * vanishes meanwhile is passed over. */
int walk(int dir, const char *name, const struct walk_config *config);
