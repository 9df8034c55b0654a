/*
 * life.h - a process that need not be our child: told apart from a later one with its number by its
 * start time, and watched through a pidfd.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"

struct life_id {
	pid_t pid;
	uint64_t start; /* clock ticks since boot, as /proc has it */
};

/* -ESRCH: there is none, or it is a zombie. */
int life_id_of(pid_t pid, struct life_id *ret);
/* A pidfd of just this one, or -ESRCH. */
int life_open(const struct life_id *id);
int life_signal(int pidfd, int sig);
/* Waits in a thread; -ETIMEDOUT. */
int life_wait(int pidfd, int timeout_ms);

struct life;
typedef void (*life_fn)(struct life *l);

/* On the heap, because its handle is closed later than its owner lets go of it. */
struct life {
	uv_poll_t poll;
	int pidfd;
	life_fn on_end; /* once; afterwards life_free() only */
	void *owner;
};

/* NULL: it is gone, or there is no memory. */
struct life *life_watch(uv_loop_t *loop, const struct life_id *id, life_fn on_end, void *owner);
void life_free(struct life *l); /* NULL is fine; no callback any more */
