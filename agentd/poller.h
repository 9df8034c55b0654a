/*
 * poller.h - readiness of descriptors that are watched for a short time: the pipes and pidfds of
 * commands.
 *
 * An epoll of our own inside libuv's, for two reasons. A uv_poll handle costs eight system calls
 * over its life where epoll needs one, which for a command of half a millisecond is felt; and its
 * memory may go only after a callback from the loop, which would make every end of a session
 * asynchronous. Here a watch is one call, and forgetting it is none when its descriptor is closed
 * anyway.
 *
 * A watch belongs to its owner and is embedded there. A callback may remove and free any watch, its
 * own included: what the kernel reported for it in the same batch is then dropped.
 */
#pragma once

#include <sys/epoll.h>
#include <uv.h>

#include "base/list.h"

struct poller;

struct watch {
	int fd;                                             /* -1: not watched */
	uint32_t events;                                    /* asked for */
	void (*on_ready)(struct watch *w, uint32_t events); /* EPOLL* bits; level-triggered */
};

struct poller {
	int fd; /* owned */
	uv_poll_t poll;
	struct epoll_event *batch; /* while dispatching: what is still to be delivered */
	int batch_n;
	bool fresh; /* something is watched that was not looked at yet */
};

int poller_init(struct poller *p, uv_loop_t *loop);
void poller_close(struct poller *p); /* the handle closes with the loop's next turn */
/* Looks at what was added since the last look: where there is one CPU, a command that was just
 * started has often ended already, and what is told of it can go out at once. Not from a watch's
 * callback. */
void poller_glance(struct poller *p);

#define WATCH_NULL ((struct watch){.fd = -1})

/* events: EPOLLIN, EPOLLOUT, or 0 (then only EPOLLERR and EPOLLHUP are reported). */
int watch_add(struct poller *p, struct watch *w, int fd, uint32_t events,
	void (*on_ready)(struct watch *w, uint32_t events));
void watch_change(struct poller *p, struct watch *w, uint32_t events);
/* Stops watching; fine when it is not watched. closing: the caller closes the descriptor now, which
 * is the last reference to what it refers to, and the kernel forgets it by itself. */
void watch_remove(struct poller *p, struct watch *w, bool closing);
