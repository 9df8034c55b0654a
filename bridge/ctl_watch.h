/*
 * ctl_watch.h - wait until a descriptor that we share with other programs (stdin, stdout, stderr)
 * is readable or writable, without changing it. uv_poll alone would make it non-blocking for all
 * of them: O_NONBLOCK belongs to the open file description. So an epoll descriptor of our own
 * watches it, and uv_poll watches that.
 */
#pragma once

#include <uv.h>

#include "base/base.h"

struct ctl_watch {
	int epoll; /* owned */
	bool open, on;
	uv_poll_t poll;
	void (*fn)(void *owner);
	void *owner;
};

/* epoll_events: EPOLLIN or EPOLLOUT. -EPERM: nothing to wait for, as with a regular file. */
int ctl_watch_init(struct ctl_watch *w, uv_loop_t *loop, int fd, uint32_t epoll_events,
	void (*fn)(void *owner), void *owner);
void ctl_watch_set(struct ctl_watch *w, bool on);
/* Asynchronous through the loop; idempotent, and fine when init failed or on zeroes. */
void ctl_watch_close(struct ctl_watch *w);
