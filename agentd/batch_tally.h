/*
 * batch_tally.h - what came of the files of a batch: how many, which errors, and the one that ends
 * it all. For any thread.
 */
#pragma once

#include <pthread.h>

#include "base/base.h"
#include "proto/jsonw.h"

#define BATCH_ERRORS_TOLD 100

struct batch_error {
	uint64_t index;
	int err;
	char *path; /* owned; NULL: no memory for it */
};

struct batch_tally {
	pthread_mutex_t lock;
	uint64_t files, bytes, failed;
	struct batch_error errors[BATCH_ERRORS_TOLD]; /* the first ones, by index */
	unsigned n;
	struct batch_error end; /* err 0: none */
};

void batch_tally_init(struct batch_tally *t);
void batch_tally_fini(struct batch_tally *t);

/* result: 0, or -errno. */
void batch_tally_add(
	struct batch_tally *t, uint64_t index, const char *path, uint64_t size, int result);
/* Has there been an error that every other file would meet too? */
bool batch_tally_over(struct batch_tally *t);

/* When all threads have finished: "errors":[…], as many as fit. */
void batch_tally_put(const struct batch_tally *t, struct jsonw *w);
