/*
 * buf.h - a byte queue with a hard maximum: append at the end, consume at the front. It grows by
 * doubling up to `max`, never beyond; a full buffer is an error value for the caller to handle.
 * Memory is kept for reuse until buf_trim() or buf_fini().
 */
#pragma once

#include "base/base.h"

struct buf {
	uint8_t *data; /* owned */
	size_t start, len, cap, max;
};

#define BUF_NULL(max_) ((struct buf){.max = (max_)})

void buf_fini(struct buf *b); /* idempotent; leaves an empty buffer with the same max */

static inline size_t buf_len(const struct buf *b)
{
	return b->len;
}

static inline uint8_t *buf_head(const struct buf *b)
{
	return b->data + b->start;
}

/* Room for n more bytes at the end, or NULL when that would pass max or memory is short. The bytes
 * count only after buf_commit(). */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
/* 0, -ENOBUFS past max, -ENOMEM. */
int buf_append(struct buf *b, const void *data, size_t n);
void buf_consume(struct buf *b, size_t n);
/* Gives the memory back when the buffer is empty and larger than `keep`. */
void buf_trim(struct buf *b, size_t keep);

/* Big-endian integers at unaligned addresses. */
static inline void put_u16(uint8_t *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_u32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put_u64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint16_t get_u16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap16(v);
}

static inline uint32_t get_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline uint64_t get_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}
