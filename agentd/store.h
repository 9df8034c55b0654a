/*
 * store.h - the output of a session: two streams with absolute 64-bit offsets, and the order
 * between them, in one ring of payload bytes plus an index of segments (store_state.h shows how
 * they lie in the arena). Pure: no loop, no descriptors.
 *
 * A *position* counts payload bytes of both streams together in arrival order: position P is the
 * pair (out, err) with out + err = P.
 *
 * `keep` bytes are promised for replay; the ring is 256 KiB larger (the slack), so that a read into
 * free space never costs kept bytes, and a ring of 0 can still carry bytes to attached viewers.
 * Very short segments (under 32 bytes on average) can fill the index first, and then shorten what
 * is kept.
 */
#pragma once

#include "agentd/arena.h"
#include "agentd/store_state.h"

#define STORE_SLACK    (256 * KIB)
#define STORE_READ_MAX (256 * KIB)
#define STORE_RING_MAX (64 * MIB)
#define STORE_FLOOR    (64 * KIB) /* memory a store may use even when the arena's limit is reached */

/* Which pages of a ring may be in memory: those of the positions [from, to), both multiples of a
 * page. Once they are a whole ring apart, all of it. */
struct store_window {
	uint64_t from, to;
};

/* Not in the record: an adopting agent punches what it does not count. */
struct store_memory {
	struct store_window ring, index;
};

struct store {
	struct arena *arena;
	struct store_state *st;
	uint8_t *ring;
	uint32_t *index;
	uint64_t head[3]; /* [STORE_OUT], [STORE_ERR]: bytes so far; derived from the index */
	struct store_memory memory;
	uint64_t charged; /* bytes accounted with the arena: what `memory` amounts to */
};

struct store_cursor {
	uint64_t out, err; /* offsets of the next byte to give */
	uint64_t seg;
	uint32_t seg_off;
	uint64_t want_out, want_err; /* bytes below these offsets are passed over silently */
	uint64_t floor_out,
		floor_err; /* what lies below is told as a gap, even if it is still there */
};

enum store_piece_kind { STORE_NOTHING, STORE_DATA, STORE_GAP };

struct store_piece {
	enum store_piece_kind kind;
	enum store_stream stream;
	uint64_t off;        /* DATA: of the first byte. GAP: of the first missing byte */
	uint64_t len;        /* GAP of 0: an unknown number of bytes is missing here */
	const uint8_t *data; /* DATA: inside the ring; valid until the store is next written to */
};

/* ring: bytes to keep, 0 .. STORE_RING_MAX (-EINVAL above). -ENOSPC when the arena has no room. */
int store_create(struct store *s, struct arena *a, struct store_state *st, uint64_t ring);
/* Takes over a store found in a record: validates every field (-EINVAL), claims the extent,
 * rebuilds heads, marks a loss where `reading` was set. On failure nothing is claimed and nothing
 * was changed. */
int store_adopt(struct store *s, struct arena *a, struct store_state *st);
void store_free(struct store *s); /* idempotent; the extent goes back to the arena */

/*
 * Where the next read(2) may put bytes: contiguous, up to STORE_READ_MAX. `pin` is the oldest
 * position that must not be overwritten (UINT64_MAX: none): the slowest lossless reader. 0: there
 * is no room before the pin moves. Old output beyond `keep` is dropped as needed. When the arena's
 * limit is reached, own old output is given up for room. Memory for the whole space is accounted
 * until store_commit() says how much was used.
 */
size_t store_space(struct store *s, uint64_t pin, uint8_t **ret);
void store_begin(struct store *s, enum store_stream stream); /* before read(2) into that space */
void store_commit(struct store *s, enum store_stream stream, size_t n); /* after it; n may be 0 */

static inline uint64_t store_head(const struct store *s)
{
	return s->head[STORE_OUT] + s->head[STORE_ERR];
}

static inline const struct store_tail *store_tail(const struct store *s)
{
	return &s->st->tail[s->st->tail_sel];
}

static inline uint64_t store_tail_pos(const struct store *s)
{
	return store_tail(s)->out + store_tail(s)->err;
}

/* The index entry of a segment. */
static inline uint32_t *store_entry(const struct store *s, uint64_t seg)
{
	return seg < STORE_FIRST ? &s->st->first[seg] : &s->index[seg % s->st->index_cap];
}

/* Offsets of the oldest bytes promised for replay: position max(tail, head - keep). */
void store_oldest(const struct store *s, uint64_t *ret_out, uint64_t *ret_err);

/* Reading. A cursor is plain memory of the reader; it stays valid whatever happens to the store. */
void store_seek_now(const struct store *s, struct store_cursor *c); /* only what comes */
/* From these offsets on; -ERANGE when one is beyond its head. What is no longer kept comes out as
 * gaps; `held`: the reader's position was pinned all the time, so what the slack holds counts too.
 */
int store_seek(
	const struct store *s, struct store_cursor *c, uint64_t out, uint64_t err, bool held);
/* The next piece, at most `max` bytes of data; repeated calls without advance give the same. With
 * max 0 it tells what comes next: DATA has no length then. */
void store_peek(struct store *s, struct store_cursor *c, size_t max, struct store_piece *ret);
/* Past n bytes of the piece peeked last (all of it for a gap, whatever n). */
void store_advance(struct store *s, struct store_cursor *c, const struct store_piece *p, size_t n);
static inline uint64_t store_cursor_pos(const struct store_cursor *c)
{
	return c->out + c->err;
}
