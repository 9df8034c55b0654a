/*
 * watch_dirs.h - the directories of a watched tree: found by the kernel's watch number, and by name
 * in their parent. Names of paths are put together when they are needed, so that a renamed
 * directory takes along all below it.
 */
#pragma once

#include <limits.h>

#include "base/list.h"

#define WATCH_DIRS_MAX 100000
#define WATCH_PATH_MAX (PATH_MAX + 256)

struct watch_dir {
	struct watch_dir *parent; /* NULL: the top */
	struct list siblings, children;
	struct list todo; /* still to be looked at, or unlinked */
	unsigned how;     /* to be looked at; the feed's business */
	uint64_t round;   /* when it was looked at */
	int wd;           /* -1: none */
	uint32_t hash;    /* of parent and name */
	struct watch_dir *next_wd, *next_name;
	char *name; /* owned */
	size_t len;
};

struct watch_dirs {
	struct watch_dir *top;
	struct watch_dir **by_wd, **by_name; /* owned; chains */
	size_t buckets, n;
};

int watch_dirs_init(struct watch_dirs *ds); /* with the top; -ENOMEM */
void watch_dirs_fini(struct watch_dirs *ds);

/* NULL: out of memory. The name is not there yet. */
struct watch_dir *watch_dirs_add(
	struct watch_dirs *ds, struct watch_dir *parent, const char *name, size_t len);
struct watch_dir *watch_dirs_by_wd(const struct watch_dirs *ds, int wd);
struct watch_dir *watch_dirs_child(
	const struct watch_dirs *ds, const struct watch_dir *parent, const char *name, size_t len);
/* NULL: there is none. path: relative to the top. */
struct watch_dir *watch_dirs_by_path(const struct watch_dirs *ds, const char *path, size_t len);
/* -1 takes it away. No other directory has this number. */
void watch_dirs_set_wd(struct watch_dirs *ds, struct watch_dir *d, int wd);
/* -ENOMEM: nothing has changed. `to` is not below d. */
int watch_dirs_move(struct watch_dirs *ds, struct watch_dir *d, struct watch_dir *to,
	const char *name, size_t len);
/* Forgets it and all below; the number of each goes to drop(). */
void watch_dirs_remove(
	struct watch_dirs *ds, struct watch_dir *d, void (*drop)(void *ctx, int wd), void *ctx);

/* The next one of all below `within`, parents first; NULL behind the last. */
struct watch_dir *watch_dirs_next(const struct watch_dir *d, const struct watch_dir *within);

/* The path of `name` (NULL: of itself) in d, relative to the top; its length, or -ENAMETOOLONG. */
ssize_t watch_dirs_path(const struct watch_dir *d, const char *name, char out[WATCH_PATH_MAX]);
