/*
 * watch_log.h - what happened in a watched tree, lately: events with numbers, the oldest go. Who
 * reads it keeps a number of its own, so that many can read at their own pace and none of them
 * costs memory.
 */
#pragma once

#include "base/base.h"

#define WATCH_LOG_EVENTS 4096
#define WATCH_LOG_BYTES  MIB /* of paths */

enum watch_kind {
	WATCH_CREATE,
	WATCH_MODIFY,
	WATCH_REMOVE,
	WATCH_RENAME,
	WATCH_ATTRIB,
	WATCH_OVERFLOW
};

struct watch_event {
	struct watch_event *next; /* in a list on the way to the log */
	uint64_t seq;
	enum watch_kind kind;
	bool dir;
	int err; /* OVERFLOW: why this path cannot be watched, or 0 */
	size_t len, from_len;
	char text[]; /* the path, then RENAME's former one */
};

struct watch_log {
	struct watch_event **ring; /* owned */
	uint64_t first, next;      /* numbers of the oldest event kept, and of the next one */
	size_t bytes;
};

const char *watch_kind_str(enum watch_kind kind);
/* NULL: out of memory. */
struct watch_event *watch_event_new(
	enum watch_kind kind, const char *path, size_t len, const char *from, size_t from_len);

int watch_log_init(struct watch_log *l); /* -ENOMEM */
void watch_log_fini(struct watch_log *l);
void watch_log_add(struct watch_log *l, struct watch_event *e); /* takes it over */
/* Good until the next add. NULL: none of this number, or not any more. */
const struct watch_event *watch_log_get(const struct watch_log *l, uint64_t seq);
