/*
 * vm_copy.h - copies and checks of large sparse files: memory and disk images. They block: for
 * workers.
 *
 * The sum notices what power failures, full disks and torn copies do; it is no defence against
 * anybody. It is the same for a hole and for zeros, so a copy may be sparser than its source.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

/* One step of such a sum; what things are recognised by is made of it, too. */
static inline uint64_t vm_mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
	return h ^ (h >> 29);
}

/* Of the whole file; ret_bytes (may be NULL): how much of it is not zeros, in blocks. */
int vm_sum(const char *path, uint64_t *ret_sum, uint64_t *ret_bytes);
/* Makes `to` (which must not exist), of the same size, for its owner and mode. Shares storage where
 * the file system can (reflink). ret_sum may be NULL. The copy is removed on failure. */
int vm_copy(const char *from, const char *to, uid_t uid, mode_t mode, uint64_t *ret_sum);
/* The same in two parts. First the file, as large and with storage of its own; where storage can be
 * shared it has its contents, too (ret_whole). */
int vm_copy_begin(const char *from, const char *to, uid_t uid, bool *ret_whole);
/* Then what is in it. It may be mapped already. */
int vm_copy_rest(const char *from, const char *to, uint64_t *ret_sum);
/* Makes an empty file. */
int vm_create(const char *path, uid_t uid);
/* The file gets that size and storage for all of it, where the file system can: a machine whose
 * memory it is does not die of a full disk later. -ENOSPC. */
int vm_reserve(const char *path, uint64_t size);
/* Gives back what of that was never touched, as far as the file system can tell. */
void vm_trim(const char *path);
