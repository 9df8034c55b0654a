/*
 * ctl_source.h - our stdin, read no faster than it is asked for. Pipes, terminals and sockets are
 * read when they have something; a regular file has nothing to wait for and is read at once.
 */
#pragma once

#include "bridge/ctl_watch.h"

struct ctl_source;

struct ctl_source_events {
	size_t (*room)(struct ctl_source *s); /* how much may be read now */
	void (*on_input)(struct ctl_source *s, const uint8_t *data, size_t len); /* at most room */
	void (*on_input_end)(
		struct ctl_source *s, int err); /* 0: end of file; once, the last call */
};

struct ctl_source {
	int fd; /* borrowed */
	bool on, ended;
	bool direct;
	struct ctl_watch watch;
	const struct ctl_source_events *events;
	void *owner;
};

void ctl_source_init(struct ctl_source *s, uv_loop_t *loop, int fd,
	const struct ctl_source_events *events, void *owner);
/* There is room: go on until there is none. Callbacks may come at once. */
void ctl_source_go(struct ctl_source *s);
void ctl_source_close(struct ctl_source *s); /* idempotent; fine on zeroes */
