/*
 * unpack.h - files, directories and links made below one directory, by paths that nobody need
 * trust. Workers only (T), between place_enter() and place_leave().
 *
 * A path is resolved by openat2(RESOLVE_BENEATH) from the directory, so that neither ".." nor a
 * link, nor one that appears in a race, leads out of it. (With `free` paths are the place's to
 * resolve, and only a root confines them.) What is made is made with *at() calls, new or in place
 * of what was there; nothing that exists is ever opened for writing.
 *
 * Paths are relative, without empty or "." components (tar_clean_path()).
 */
#pragma once

#include <limits.h>

#include "agentd/atomic.h"

#define UNPACK_SMALL    (64 * 1024)        /* what unpack_file() takes at once */
#define UNPACK_DIRS_MAX (64 * 1024 * 1024) /* bytes kept of directories until the end */
#define UNPACK_PATH_MAX 4096

/* What a new entry is to have. */
struct unpack_meta {
	mode_t mode; /* 07777 at most */
	uid_t uid;   /* with OWNER_ARCHIVE */
	gid_t gid;
	bool timed;
	struct timespec mtime;
};

struct unpack {
	const struct place *place;
	bool free;
	int base;    /* owned; -1 with `free` */
	mode_t mask; /* of this process: what a creation's mode lacks */
	uid_t fsuid; /* who we are to the file system */
	gid_t fsgid;
	/* The directory used last. */
	char *path; /* owned, UNPACK_PATH_MAX; "": the base */
	int dir;    /* owned; -1: none */
	uid_t dir_uid;
	gid_t dir_gid;
	bool dir_setgid;
	/* Directories whose mode and time are set at the end. */
	uint8_t *later; /* owned */
	size_t later_len, later_room, later_last;
	/* A file under writing, see unpack_begin(). */
	struct atomic atomic;
	struct unpack_meta meta;
};

/* base: the directory, taken (also on failure); -1: `free`. */
int unpack_init(struct unpack *u, const struct place *p, int base);
void unpack_fini(struct unpack *u); /* idempotent; aborts a file under writing */

/* u->dir becomes the directory that holds the path; *ret_name points into the path. make: what is
 * missing of it. 0 or -errno. */
int unpack_enter(struct unpack *u, const char *path, bool make, const char **ret_name);
/* With `free`: the path as the place understands it. 0 or -ENAMETOOLONG. */
int unpack_free_path(const struct unpack *u, const char *path, char out[PATH_MAX]);
/* All of it: 0 or -errno. */
int unpack_write(int fd, const void *bytes, size_t len);

/* All return 0 or -errno. Missing directories above are made. */

/* A whole file of at most UNPACK_SMALL bytes. -EEXIST when there is something and `replace` is not
 * set. */
int unpack_file(struct unpack *u, const char *path, const struct unpack_meta *meta,
	const void *data, size_t len, bool replace);
/* A larger one: write to u->atomic.fd, then unpack_commit(). Replaces. */
int unpack_begin(struct unpack *u, const char *path, const struct unpack_meta *meta);
int unpack_commit(struct unpack *u);
/* Its mode and time come with unpack_finish(). "": the base itself. 1: it was made. */
int unpack_dir(struct unpack *u, const char *path, const struct unpack_meta *meta);
int unpack_symlink(
	struct unpack *u, const char *path, const struct unpack_meta *meta, const char *target);
/* target: a path as the others. */
int unpack_hardlink(struct unpack *u, const char *path, const char *target);
/* A device or FIFO: mode with its type. */
int unpack_node(struct unpack *u, const char *path, const struct unpack_meta *meta, dev_t dev);
/* Modes and times of directories. */
int unpack_finish(struct unpack *u);
