/*
 * local_tree.h - a directory of ours as a tar archive, and back. Sans-I/O on the archive's side.
 */
#pragma once

#include "bridge/local_file.h"
#include "proto/tar.h"

/* What cannot be copied is told and passed over. why: for people. */
typedef void (*local_tree_fn)(void *ctx, const char *path, const char *why);

/* ---- a directory into an archive ---- */

struct local_pack;

/* NULL: no memory, or there is no such directory (errno). */
struct local_pack *local_pack_new(const char *dir, local_tree_fn complain, void *ctx);
void local_pack_free(struct local_pack *p); /* NULL is fine */
/* The next bytes of the archive: at most size, which is at least LOCAL_PACK_MIN. 0: that was all.
 */
#define LOCAL_PACK_MIN (TAR_HEAD_MAX + TAR_END_BLOCK)
size_t local_pack_read(struct local_pack *p, uint8_t *out, size_t size);

/* ---- an archive into a directory ---- */

struct local_unpack;

/* The directory is made when missing. The archive's names cannot lead out of it, not by links
 * either. NULL: errno says why. */
struct local_unpack *local_unpack_new(const char *dir, local_tree_fn complain, void *ctx);
void local_unpack_free(struct local_unpack *u);
/* 0, or -errno with the error filled. */
int local_unpack_write(struct local_unpack *u, const uint8_t *data, size_t len, struct error *e);
/* After the last byte: what can be set only now. 0, or -errno: it was cut. */
int local_unpack_end(struct local_unpack *u, struct error *e);
