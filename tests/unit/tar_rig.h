/*
 * tar_rig.h - archives for tests, put together entry by entry, and what the reader says of one, in
 * pieces of many sizes.
 */
#pragma once

#include "proto/tar.h"

#define SOME_TIME 1700000000

struct archive {
	uint8_t *data; /* for free() */
	size_t len, room;
};

void archive_add(struct archive *a, const void *data, size_t len); /* NULL: zeros */
/* Its bytes are all `fill`. */
void archive_add_entry(struct archive *a, const struct tar_entry *e, uint8_t fill);
void archive_finish(struct archive *a);
/* One of 1000:100, of SOME_TIME. */
struct tar_entry archive_file(const char *path, uint64_t size);
/* Of a head that was changed. */
void archive_set_checksum(uint8_t *block);

/* Everything a reader says of an archive, as text for free(); NULL and the error when it is not
 * sound. step: bytes at a time. */
char *archive_tell(const struct archive *a, size_t step, struct error *e);
void archive_expect(const struct archive *a, const char *want);
void archive_expect_bad(const struct archive *a, const char *words);
