/*
 * watch_scan.h - what the reading of a feed (watch_feed.c) is made of: saying what happened, and
 * looking at directories: watching them, listing them, finding out that they are others. T.
 */
#pragma once

#include "agentd/watch_feed.h"

enum watch_look {
	LOOK_QUIET, /* what is found in it is no news */
	LOOK_CHECK, /* is it still the same? */
	LOOK_NEWS
};

/* NULL: it was said already, or cannot be. */
struct watch_event *watch_tell_of(struct watch_feed *f, enum watch_kind kind, const char *path,
	size_t len, const char *from, size_t from_len, bool dir);
void watch_tell(struct watch_feed *f, enum watch_kind kind, const char *path, size_t len, bool dir);
/* What is below this directory is not watched. */
void watch_tell_blind(struct watch_feed *f, const char *path, int err);
bool watch_excluded(struct watch_feed *f, const char *path, size_t len, bool dir);

bool watch_is_below(const struct watch_dir *d, const struct watch_dir *up); /* or the same */
void watch_forget(struct watch_feed *f, struct watch_dir *d);
/* With the next watch_scan(). */
void watch_look_at(struct watch_feed *f, struct watch_dir *d, enum watch_look how);
/* Known from now on, and to be looked at. -ENOSPC: there are too many. */
int watch_add_dir(
	struct watch_feed *f, struct watch_dir *parent, const char *name, enum watch_look how);
/* All that is to be looked at; the first failure that was not told as an event. May forget any
 * directory. */
int watch_scan(struct watch_feed *f);
/* The kernel has lost events, or what it tells does not fit what was found: nobody knows what is
 * there now. Look at everything once more; the client does the same. */
void watch_start_anew(struct watch_feed *f);
