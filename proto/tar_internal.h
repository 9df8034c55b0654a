/*
 * tar_internal.h - where things stand in a header block, and what the two halves of the reader
 * share; private to tar_*.c.
 */
#pragma once

#include "proto/tar.h"

#define FIELD_NAME     0, 100
#define FIELD_MODE     100, 8
#define FIELD_UID      108, 8
#define FIELD_GID      116, 8
#define FIELD_SIZE     124, 12
#define FIELD_MTIME    136, 12
#define FIELD_CHECKSUM 148, 8
#define FIELD_TYPE     156
#define FIELD_LINK     157, 100
#define FIELD_MAGIC    257
#define FIELD_MAJOR    329, 8
#define FIELD_MINOR    337, 8
#define FIELD_PREFIX   345, 155

#define MAGIC_POSIX "ustar" /* and its NUL */

enum pax_set {
	SET_PATH = 1,
	SET_LINK = 2,
	SET_SIZE = 4,
	SET_UID = 8,
	SET_GID = 16,
	SET_MTIME = 32,
	SET_SPARSE_MAJOR = 64,
	SET_SPARSE_MINOR = 128,
	SET_SPARSE_NAME = 256,
	SET_REAL_SIZE = 512,
	SET_SPARSE_OLD = 1024, /* of pax 0.0 and 0.1 */
	SET_SPARSE = SET_SPARSE_MAJOR | SET_SPARSE_MINOR | SET_SPARSE_NAME | SET_REAL_SIZE |
		     SET_SPARSE_OLD,
	LONG_PATH = 2048, /* by an entry of GNU tar's; a pax header counts more */
	LONG_LINK = 4096,
};

/* A number of a head: octal, or base 256. */
bool tar_number(const uint8_t *block, size_t at, size_t size, int64_t *ret);

/* The entry whose head is in r->block is sparse; r->left is what is stored of it. Each NULL, or
 * what is wrong. Afterwards r->state says whether blocks of the map follow: then each, in r->block,
 * goes to tar_map_block(). */
const char *tar_map_begin(struct tar_reader *r, bool gnu);
const char *tar_map_block(struct tar_reader *r);
void tar_map_fini(struct tar_map *m);

/* The body in r->meta, into r->pax, r->path and r->link (or r->global). NULL, or what is wrong. */
const char *tar_parse_meta(struct tar_reader *r);
