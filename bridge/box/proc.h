/*
 * proc.h - a process that need not be our child: told apart from a later one with its number by its
 * start time, and watched through a pidfd.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"

struct proc_id {
	pid_t pid;
	uint64_t start; /* clock ticks since boot, as /proc has it */
};

/* -ESRCH: there is none, or it is a zombie. Another error: that cannot be said now. */
int proc_id_of(pid_t pid, struct proc_id *ret);
/* A pidfd of just this one, or -errno, as above. */
int proc_open(const struct proc_id *id);
int proc_signal(int pidfd, int sig);
/* Waits in a thread; -ETIMEDOUT. */
int proc_wait(int pidfd, int timeout_ms);

struct proc_watch;
typedef void (*proc_watch_fn)(struct proc_watch *l);

/* On the heap, because its handle is closed later than its owner lets go of it. */
struct proc_watch {
	uv_poll_t poll;
	int pidfd;
	proc_watch_fn on_end; /* once; afterwards proc_watch_free() only */
	void *owner;
};

/* 0 or -errno; -ESRCH: it is gone. */
int proc_watch_new(struct proc_watch **ret, uv_loop_t *loop, const struct proc_id *id,
	proc_watch_fn on_end, void *owner);
void proc_watch_free(struct proc_watch *l); /* NULL is fine; no callback any more */
