/*
 * file_data.h - the bytes of one file into another: shared blocks where the file system can, else
 * by the kernel's copying, holes kept. T.
 */
#pragma once

#include <sys/stat.h>

#include "base/base.h"

/* `to` is empty. *bytes: counted up by what was copied. -ECANCELED when cancelled() says so. */
int file_data_copy(int from, int to, const struct stat *st, bool (*cancelled)(void *ctx), void *ctx,
	uint64_t *bytes);
