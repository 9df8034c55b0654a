/*
 * tar_field.h - where things stand in a header block; private to tar_*.c.
 */
#pragma once

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
