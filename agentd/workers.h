/*
 * workers.h - threads for what may block: file systems, clocks, disks. A hung FUSE mount holds the
 * thread that touched it and nobody else.
 *
 * A `struct work` is embedded in its owner's state. run() is called on some thread and must not
 * touch the loop, JSON reading, sessions or the mux; done() follows on the loop, exactly once, and
 * may free the memory or submit it again. Between submit and done the memory belongs to the work:
 * who loses interest sets a flag of its own and waits for done(). At the end of the program done()
 * may come when the loop is closed already: links and channels are gone by then, so all that is
 * left to do is to free.
 *
 * While it runs, work may ask for a word with the loop: a `struct notice` of its own, whose fn() is
 * called there once for any number of workers_notify() before it, and always before done().
 *
 * Threads are made when there is work and none is idle, up to the limit; those that had nothing to
 * do for a second are gone, so an idle agent has none.
 */
#pragma once

#include <pthread.h>
#include <uv.h>

#include "base/list.h"

/* Threads: more than a client can have hang (STREAM_MAX and FILE_REQUESTS_MAX). */
#define WORKERS_MAX   512
#define WORKERS_QUEUE 4096 /* waiting for one */

struct work {
	void (*run)(struct work *w);
	void (*done)(struct work *w);
	struct list link;
};

/* list_init(&link) before its first use. Not called any more once the loop is closed. */
struct notice {
	void (*fn)(struct notice *n);
	struct list link;
};

struct workers {
	uv_poll_t poll; /* of poke */
	int poke;       /* an eventfd */
	pthread_mutex_t lock;
	pthread_cond_t more, fewer;
	struct list queue, finished, notices;
	unsigned threads, idle, max;
	unsigned queued;  /* atomic, to be looked at without the lock */
	unsigned pending; /* submitted and not done; the loop's own count */
	unsigned fresh;   /* of them, those submitted in this turn of the loop */
	bool attended;    /* the loop looks by itself: no poke */
	bool spins;       /* a thread does: no signal */
	bool hot;         /* work came soon after there was none */
	bool several;     /* CPUs */
	bool news;        /* atomic: in finished or notices */
	unsigned streams; /* of them, those that may take long (stream.c's count) */
	bool closing, open;
};

int workers_init(struct workers *ws, uv_loop_t *loop, unsigned max);
/* 0; -EAGAIN: too much is waiting already; -ESHUTDOWN; or no thread can be had (-errno). After a
 * failure the work was never seen. */
int workers_submit(struct workers *ws, struct work *w);
/* From the thread of the work that owns n. */
void workers_notify(struct workers *ws, struct notice *n);
/* At the end of a turn of the loop: what was submitted in it may be done in a moment, and then need
 * not wake us up. Waits that moment, letting others run. */
void workers_attend(struct workers *ws);
/* No more work is taken. What is queued or runs is still done, as long as the loop runs. */
void workers_close(struct workers *ws);
/* After the loop. Waits a moment for threads; one that hangs in the kernel is left behind. False:
 * there is one. */
bool workers_fini(struct workers *ws);
