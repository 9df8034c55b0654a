/*
 * local_tree.h - a directory of ours as a tar archive, and back. Sans-I/O on the archive's side.
 */
#pragma once

#include "bridge/local_file.h"
#include "proto/tar.h"

/* What cannot be copied is told and passed over. why: for people. */
typedef void (*local_tree_fn)(void *ctx, const char *path, const char *why);

/* ---- a directory into an archive ---- */

struct pack;

/* NULL: no memory, or there is no such directory (errno). */
struct pack *pack_new(const char *dir, local_tree_fn complain, void *ctx);
void pack_free(struct pack *p); /* NULL is fine */
/* The next bytes of the archive: at most size, which is at least PACK_MIN. 0: that was all. */
#define PACK_MIN (TAR_HEAD_MAX + TAR_END_BLOCK)
size_t pack_read(struct pack *p, uint8_t *out, size_t size);

/* ---- an archive into a directory ---- */

struct unpack;

/* The directory is made when missing. The archive's names cannot lead out of it, not by links
 * either. NULL: errno says why. */
struct unpack *unpack_new(const char *dir, local_tree_fn complain, void *ctx);
void unpack_free(struct unpack *u);
/* 0, or -errno with the error filled. */
int unpack_write(struct unpack *u, const uint8_t *data, size_t len, struct error *e);
/* After the last byte: what can be set only now. 0, or -errno: it was cut. */
int unpack_end(struct unpack *u, struct error *e);
