/*
 * file_batch.h - records of small files, both ways: what file_batch.c, file_batch_read.c and
 * file_batch_write.c share. All of it is for the worker (T).
 */
#pragma once

#include "agentd/batch_ahead.h"
#include "agentd/batch_lane.h"
#include "agentd/batch_tally.h"
#include "agentd/file_many.h"

struct file_batch {
	struct file_many many;
	struct unpack unpack;
	struct batch_lane lane;   /* of writing */
	struct batch_ahead ahead; /* of reading */
	uint64_t index;
	unsigned small; /* files that were, until there is a second thread */
	uint8_t *data;  /* owned; of data_room */
	size_t data_room;
	struct batch_tally tally;
	char path[BATCH_PATH_MAX + 1];
	char done[STREAM_EVENT_MAX];
};

/* The next head, its path in b->path. 1; 0: there are no more; -errno with the error filled. */
int file_batch_next(struct file_batch *b, struct batch_head *h, struct error *e);
/* b->data with room for n bytes, or NULL. */
uint8_t *file_batch_room(struct file_batch *b, size_t n);
/* All records until there are no more: 0, or -errno with the error filled. */
int file_batch_write_all(struct file_batch *b, struct error *e);
int file_batch_read_all(struct file_batch *b, struct error *e);
