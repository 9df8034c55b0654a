/*
 * store_state.h - a store as it lies in the arena: the part in the session's record, the index
 * entries, and what each store instruction may leave behind for the next agent.
 *
 * The extent is the ring of payload, then the index. Payload of position P lies at ring[P % cap]. A
 * segment is a run of one stream; the index is a ring of u32: stream in the top two bits, length in
 * the rest (a stream of STORE_LOST marks a place where an unknown number of bytes was lost, its
 * length field holds the stream). The first STORE_FIRST segments have their entries in the record
 * instead: most sessions need no more, and one that prints a few words then costs a single page.
 *
 * Crash safety (kill -9 at any instruction; memory survives in the arena): payload is written
 * first, the commit is one store - the last segment's length, or the index head behind a new entry.
 * The tail is a pair of copies with a selector, flipped by one store. `reading` is set around
 * read(2): when it is found set, bytes may have been taken from the pipe and not committed: the
 * adopting agent marks a loss, it never guesses.
 */
#pragma once

#include "base/base.h"

#define STORE_FIRST 16
#define SEGMENT_MAX ((1u << 30) - 1)

enum store_stream {
	STORE_OUT = 1,
	STORE_ERR = 2,
	STORE_LOST = 3, /* only inside the index */
};

struct store_tail {
	uint64_t out, err; /* offsets of the oldest byte held; the position is their sum */
	uint64_t seg;      /* absolute number of the segment it lies in */
	uint32_t seg_skip; /* bytes of that segment already gone */
	uint32_t pad;
};

/* The part in the record. Offsets in the arena; all else absolute counters. */
struct store_state {
	uint64_t extent, extent_size;
	uint32_t cap, keep, index_cap; /* bytes, bytes, entries */
	uint32_t tail_sel;
	struct store_tail tail[2];
	uint64_t seg_head;           /* number of segments ever begun */
	uint32_t first[STORE_FIRST]; /* entries of the segments below STORE_FIRST */
	uint32_t reading;            /* 0, or the stream of a read(2) under way */
	uint32_t pad;
};

static inline uint32_t entry_make(enum store_stream stream, uint32_t field)
{
	return (uint32_t)stream << 30 | field;
}

static inline bool entry_lost(uint32_t e)
{
	return e >> 30 == STORE_LOST;
}

/* STORE_OUT or STORE_ERR, of a loss too. */
static inline enum store_stream entry_stream(uint32_t e)
{
	return entry_lost(e) ? (enum store_stream)(e & SEGMENT_MAX) : (enum store_stream)(e >> 30);
}

/* Payload bytes: none in a loss. */
static inline uint32_t entry_len(uint32_t e)
{
	return entry_lost(e) ? 0 : e & SEGMENT_MAX;
}
