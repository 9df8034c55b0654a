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
#define MAGIC_GNU   "ustar  "

enum pax_set {
	SET_PATH = 1,
	SET_LINK = 2,
	SET_SIZE = 4,
	SET_UID = 8,
	SET_GID = 16,
	SET_MTIME = 32,
	SET_SPARSE = 64,
	LONG_PATH = 128, /* by an entry of GNU tar's; a pax header counts more */
	LONG_LINK = 256,
};

/* The body in r->meta, into r->pax, r->path and r->link (or r->global). NULL, or what is wrong. */
const char *tar_parse_meta(struct tar_reader *r);
