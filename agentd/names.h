/*
 * names.h - files met before, by device and inode, with the name they had: how more names of one
 * file become hard links in an archive. Bounded; what does not fit is not found again.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

#define NAMES_MAX       (128 * 1024) /* files */
#define NAMES_BYTES_MAX (16 * 1024 * 1024)

struct names_slot {
	dev_t dev;
	ino_t ino;
	uint32_t at; /* of its name, plus one; 0: free */
};

struct names {
	struct names_slot *slots; /* owned; a power of two, at most half full */
	size_t n, size;
	char *bytes; /* owned */
	size_t used, room;
};

/* Zeroed: empty. */
void names_fini(struct names *n);
/* The name given with the first file of these numbers; NULL: this is the first, or was forgotten.
 * Valid until the next call. */
const char *names_find_or_add(struct names *n, dev_t dev, ino_t ino, const char *name);
