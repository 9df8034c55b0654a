/*
 * batch_ahead.h - small files of a batch opened to be read, and a second thread that reads them
 * ahead of the one that answers: what such a file costs is system calls, and two CPUs do them side
 * by side.
 *
 * The paths are taken BATCH_BLOCK at a time, every other block by the second thread, so that
 * answers stay in order. It leaves to the other what is not small, is no plain file or is no path.
 * All functions are for the batch's own thread (T), but batch_open_file().
 */
#pragma once

#include <pthread.h>
#include <sys/stat.h>

#include "agentd/unpack.h"
#include "proto/buf.h"
#include "proto/msg_tree.h"

#define BATCH_BLOCK 16

/* Answers, as they are sent. */
struct batch_block {
	struct buf records;
	unsigned n; /* paths it answers, from the first one of the block on */
	unsigned failed;
	uint64_t bytes; /* of the files */
};

struct batch_ahead {
	bool open;
	pthread_t thread;
	struct unpack unpack; /* the thread's, as `at` */
	const char *const *paths;
	size_t n_paths, begins, at, max; /* begins: its first path; at: its next one */
	pthread_mutex_t lock;            /* for all below */
	pthread_cond_t more, less;
	struct batch_block blocks[2]; /* a ring */
	unsigned first, n_blocks;
	bool ended;
};

/* Any thread that has entered the place. What may be read: a descriptor, or -errno. */
int batch_open_file(struct unpack *u, const char *path, struct stat *st);

/* The thread begins with the first of its blocks from `at` on. The paths stay the caller's; files
 * of more than `max` bytes are left to it. 0 or -errno: there is none. */
int batch_ahead_open(struct batch_ahead *a, const struct place *p, const char *const *paths,
	size_t n_paths, size_t at, size_t max);
/* Is this path the first of a block of the thread's? Then the caller takes the block, waiting for
 * it, and gives it back: what it has not answered is the caller's to read. */
bool batch_ahead_has(const struct batch_ahead *a, size_t at);
const struct batch_block *batch_ahead_take(struct batch_ahead *a);
void batch_ahead_give_back(struct batch_ahead *a);
/* The thread is no more. Idempotent. */
void batch_ahead_close(struct batch_ahead *a);
