/*
 * front_loop.h - many sockets on our loop: for each, whether it is to be read and written, as the
 * library behind web.c says, which changes its mind often.
 *
 * (What that library brings for libuv itself changes a watch with two system calls and asks before
 * each answer's end whether the socket takes more: six calls a request. Here all its sockets are in
 * one epoll of their own, changes wait until the loop is about to block, and whether a socket takes
 * more is asked for all at once.)
 */
#pragma once

#include <sys/epoll.h>
#include <uv.h>

#include "base/base.h"

enum { FRONT_IN = EPOLLIN, FRONT_OUT = EPOLLOUT };

struct front_loop_ops {
	/* A socket is ready: POLLIN, POLLOUT or both, as was wanted. */
	void (*service)(void *owner, int fd, short revents);
	/* The loop is about to block: in how many ms this is due again; 0: there is more to do at
	 * once; -1: never. */
	int (*attend)(void *owner);
};

struct watch {
	uint8_t wanted, applied; /* of epoll; bits of front_loop.c */
	bool queued, known;
	uint32_t life; /* descriptors come again */
};

struct front_loop {
	uv_loop_t *loop;
	const struct front_loop_ops *ops;
	void *owner;
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
	void (*fn)(void *owner); /* of the end */
	void *fn_owner;
};

/* 0 or -errno. */
int front_loop_open(
	struct front_loop *l, uv_loop_t *loop, const struct front_loop_ops *ops, void *owner);
/* A socket that is to be read. Nothing happens when it is there already. */
void front_loop_add(struct front_loop *l, int fd);
/* Of FRONT_IN and FRONT_OUT: they are wanted from here on, or no more. */
void front_loop_want(struct front_loop *l, int fd, unsigned bits, bool wanted);
/* Before it is closed. */
void front_loop_remove(struct front_loop *l, int fd);
/* After all sockets are gone. fn when nothing of it is left on the loop. */
void front_loop_close(struct front_loop *l, void (*fn)(void *owner), void *owner);
