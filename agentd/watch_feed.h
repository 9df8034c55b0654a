/*
 * watch_feed.h - a watched tree as the kernel tells of it, made into events. T: start and read are
 * called on a worker, never two at once; everything that can hang on a file system happens in them.
 *
 * Each tree has an inotify descriptor of its own: its queue overflows for itself, one hung mount
 * holds up one tree, and closing it takes away all of its watches at once.
 */
#pragma once

#include <stdatomic.h>

#include "agentd/ignore.h"
#include "agentd/place.h"
#include "agentd/watch_dirs.h"
#include "agentd/watch_log.h"

#define WATCH_BATCH_MAX 65536 /* events of one read, and of what it finds in new directories */
#define WATCH_PAIR_MS   20    /* how long half a rename waits for the other */
#define WATCH_PAIRS     8

struct watch_half {
	char *path; /* owned; NULL: free */
	size_t len;
	uint32_t cookie;
	bool dir;
	uint64_t since; /* now_ms() */
};

struct watch_feed {
	/* Set before start. */
	struct place place;
	bool recursive;
	struct ignore *exclude; /* owned; NULL: nothing */
	atomic_bool stop;       /* may be set at any time, from any thread */
	/* For the owner, between calls. */
	int fd;                          /* inotify; -1: not started */
	struct watch_event *out, **tail; /* events of the last call, a list; taken by the owner */
	bool over;                       /* the top is gone: the last event says so */
	unsigned waiting; /* halves of renames: call read again after WATCH_PAIR_MS */
	/* Of watch_feed.c: */
	struct watch_dirs dirs;
	char *top;  /* owned; absolute */
	char *only; /* owned; the one name that is watched; NULL: all */
	uint64_t top_dev, top_ino;
	int top_fd; /* during a call */
	struct list todo;
	uint64_t round; /* of reading */
	uint64_t sure;  /* what was looked at in this round or before is what we think it is */
	struct watch_half halves[WATCH_PAIRS];
	unsigned n_out;
	struct {
		uint64_t path; /* hash */
		enum watch_kind kind;
	} recent[256];
	char path[WATCH_PATH_MAX];
};

void watch_feed_init(struct watch_feed *f);
void watch_feed_fini(struct watch_feed *f); /* closes all; fine at any time but during a call */
/* Watches all of it. 0; -errno: ENOSPC when there are too many directories for us or the kernel. */
int watch_feed_start(struct watch_feed *f);
/* What has happened: into f->out. */
void watch_feed_read(struct watch_feed *f);
