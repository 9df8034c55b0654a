/*
 * tree.h - all of a directory tree, for what changes or copies it: each directory is told of before
 * and after what is in it. No recursion; links are never followed, other mounts not entered.
 * Everything is reached by descriptors of its directory, so that a tree that changes meanwhile can
 * at worst be seen half. T.
 */
#pragma once

#include <sys/stat.h>

#include "base/base.h"

#define TREE_DEPTH_MAX 1024 /* deeper is -ELOOP: each level holds a descriptor */

enum tree_when {
	TREE_FILE,  /* anything but a directory */
	TREE_ENTER, /* a directory, before what is in it; return TREE_SKIP not to look inside */
	TREE_LEAVE, /* and after it */
	TREE_MOUNT, /* a directory that is a mount point */
};

#define TREE_SKIP 1

struct tree_entry {
	enum tree_when when;
	int dir; /* of the directory it is in */
	const char *name;
	int fd;         /* ENTER, LEAVE: the directory itself, O_RDONLY; else -1 */
	unsigned depth; /* 0: where the walk began */
	struct stat st; /* FILE: only if asked for */
	uint8_t type;   /* DT_* */
};

struct tree_config {
	/* 0, TREE_SKIP, or -errno, which ends the walk. */
	int (*visit)(void *ctx, const struct tree_entry *e);
	/* Anything to do still? -ECANCELED otherwise. May be NULL. */
	bool (*cancelled)(void *ctx);
	void *ctx;
	bool stat_files;
	bool cross_mounts; /* enter them */
};

/* The entry `name` of `dir` and all below it. 0, -errno of the walk's own or of visit(). What
 * vanishes meanwhile is passed over. */
int tree_visit(int dir, const char *name, const struct tree_config *config);
