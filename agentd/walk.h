/*
 * walk.h - a directory and everything below it, one entry at a time, in the order the file system
 * gives (a directory before what is in it). For workers (T).
 *
 * Nothing recurses: levels are kept in a list, at most WALK_DEPTH of them, and at most WALK_OPEN
 * directories are open at once; further up ones are closed and opened again on the way back, which
 * ends that level with an error should they have been moved meanwhile. Links are never followed,
 * so a walk cannot leave its directory, unless WALK_FOLLOW asks for it; then they lead where
 * `place` lets them, and a directory that is above itself is not entered again.
 */
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include "agentd/place.h"

#define WALK_DEPTH    512
#define WALK_OPEN     24
#define WALK_PATH_MAX (8 * 1024) /* of a directory that is entered */

enum walk_flags {
	WALK_STAT = 1,   /* fills `st` */
	WALK_FOLLOW = 2, /* of links, what they lead to; one that leads nowhere stays a link */
	WALK_FLAT = 4,   /* only the directory itself, nothing below it */
};

struct walk_entry {
	int dir; /* holds it, for the *at() calls; until the next walk_next(). -1: it was moved */
	const char *name; /* in it */
	const char *path; /* from the start, without a leading '/' */
	size_t path_len;
	unsigned depth; /* 1: an entry of the start itself */
	uint8_t type;   /* DT_*; never unknown when err is 0 */
	int err;        /* -errno: it could not be looked at or, if `opening`, not be read */
	bool opening;   /* the directory had been given before */
	struct stat st; /* WALK_STAT, and err is 0 or `opening` */
};

struct walk_level {
	int fd;          /* -1: closed for now */
	size_t path_len; /* of its own path in `path` */
	dev_t dev;
	ino_t ino;
	int64_t at;                /* position behind the last entry given */
	uint8_t *saved;            /* owned; what was read and not given when it was left */
	const uint8_t *next, *end; /* entries read and not given, in `saved` or the walk's buf */
};

struct walk {
	const struct place *place;
	unsigned flags, depth_max;
	struct walk_level *levels; /* owned; of `room` */
	unsigned depth, room;      /* levels[depth - 1] is being read; 0: the end */
	unsigned lowest_open;      /* levels below it are closed, except the first */
	char *path;                /* owned */
	size_t path_len, path_room;
	uint8_t *buf; /* owned; what getdents(2) fills */
	bool enter;   /* the entry given last is a directory to be entered now */
	struct walk_entry last;
};

/* Begins with an open directory, which is taken (also on failure). depth_max: how far down, 0 for
 * as far as it goes. place: needed for WALK_FOLLOW only, and outlives the walk; `fd` is its path.
 * 0 or -ENOMEM. */
int walk_init(
	struct walk *w, int fd, unsigned flags, unsigned depth_max, const struct place *place);
void walk_fini(struct walk *w); /* idempotent */

/* The next entry: 1. 0: that was all. -errno: out of memory, or the start cannot be read. What
 * cannot be looked at is an entry with `err`; what is gone meanwhile is not told. The entry and
 * its strings are valid until the next call. */
int walk_next(struct walk *w, const struct walk_entry **ret);
/* The directory given last is not entered. */
void walk_skip(struct walk *w);
