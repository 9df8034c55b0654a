/*
 * front_loop.h - libwebsockets on our loop, by its interface for event loops.
 *
 * (What it brings for libuv itself changes a watch with two system calls and asks before each
 * answer's end whether the socket takes more: six calls a request. Here all its sockets are in one
 * epoll of their own, changes wait until the loop is about to block, and whether a socket takes
 * more is asked for all at once.)
 */
#pragma once

#include <uv.h>

#include "base/base.h"

struct lws_context;
struct lws_context_creation_info;

struct watch {
	uint8_t wanted, applied; /* of epoll; bits of front_loop.c */
	bool queued, known;
	uint32_t life; /* descriptors come again */
};

struct front_loop {
	uv_loop_t *loop;
	struct lws_context *cx; /* set by the owner; NULL: nothing is serviced */
	void *self;             /* what lws takes for its loop */
	int epoll;
	uv_poll_t poll;
	uv_prepare_t prepare;
	uv_idle_t idle;
	uv_timer_t timer;
	unsigned open;         /* handles */
	uint64_t due;          /* of the timer; 0: it stands still */
	struct watch *watches; /* by descriptor */
	size_t n_watches;
	int *changed; /* descriptors, each once */
	size_t n_changed, size;
	void (*fn)(void *owner);
	void *owner;
};

int front_loop_open(struct front_loop *l, uv_loop_t *loop);
/* For lws_create_context(). */
void front_loop_use(struct front_loop *l, struct lws_context_creation_info *info);
/* After the context is gone. fn when nothing of it is left on the loop. */
void front_loop_close(struct front_loop *l, void (*fn)(void *owner), void *owner);
