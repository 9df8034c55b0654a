/*
 * batch_lane.h - a second thread that makes small files, beside the one that reads them from the
 * client: what such a file costs is system calls, and two CPUs do them side by side.
 *
 * Files of the same name go the same way, however the rest of their paths is written: so the last
 * one of a batch wins, as it would with one thread. All functions are for the batch's own thread
 * (T); `fn` is called in the lane's.
 */
#pragma once

#include <pthread.h>

#include "agentd/unpack.h"
#include "proto/buf.h"
#include "proto/msg_tree.h"

struct batch_file {
	uint64_t index; /* of the record */
	struct batch_head head;
	const char *path;
	const uint8_t *data; /* head.size bytes */
};

typedef void (*batch_lane_fn)(void *owner, struct unpack *u, const struct batch_file *f);

struct batch_lane {
	bool open;
	pthread_t thread;
	struct unpack unpack; /* the thread's */
	batch_lane_fn fn;
	void *owner;
	pthread_mutex_t lock; /* for all below */
	pthread_cond_t more, less;
	struct buf waiting;
	int begun; /* 1; 0: not yet; -errno */
	bool sleeps, busy, ended;
};

/* Should this file go there? */
bool batch_lane_is_for(const char *path);
/* 0 or -errno: there is none. */
int batch_lane_open(struct batch_lane *l, const struct place *p, batch_lane_fn fn, void *owner);
/* Copies the file (of UNPACK_SMALL bytes at most); waits for room. 0 or -ENOMEM. */
int batch_lane_put(struct batch_lane *l, const struct batch_file *f);
/* Until all of them are made. */
void batch_lane_wait(struct batch_lane *l);
/* The same, and it is no more. Idempotent. */
void batch_lane_close(struct batch_lane *l);
