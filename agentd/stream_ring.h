/*
 * stream_ring.h - one direction of a stream: bytes in a ring, and marks that say what lies between
 * them (an offset from here on, a gap, an event, the end). One side adds at the head, one takes
 * from the tail; the lock is the stream's. Positions count bytes since the beginning.
 *
 * The memory is small at first and becomes large once more must be held than it can: most files are
 * small, and fresh pages cost more than they do. Pointers into the small one stay good after that,
 * with what they showed, until ring_fini().
 */
#pragma once

#include "base/base.h"

#define RING_SMALL 16384
#define RING_LARGE (1024 * 1024)

enum mark_kind { MARK_OFFSET, MARK_GAP, MARK_EVENT };

struct mark {
	enum mark_kind kind;
	uint64_t at;      /* position in the ring it stands before */
	uint64_t arg;     /* OFFSET, GAP: in the peer's numbers */
	uint64_t missing; /* GAP */
	char *json;       /* EVENT: owned */
	size_t len;
};

struct ring {
	uint8_t *mem, *small; /* mem may be small */
	size_t size;          /* of mem; a power of two */
	uint64_t head, tail;
	struct mark *marks, few[4]; /* a ring too; few at first */
	unsigned first, n_marks, cap_marks;
};

void ring_init(struct ring *r);
void ring_fini(struct ring *r);

/* Room for `want` bytes more in all (at most RING_LARGE), if the ring may have as much. 0,
 * -ENOBUFS: later; -ENOMEM. */
int ring_room(struct ring *r, size_t want);
/* The free bytes that lie together at the head, and where. Call ring_room() first. */
size_t ring_space(const struct ring *r, uint8_t **ret);
/* Bytes that lie together at the tail, up to the next mark. */
size_t ring_data(const struct ring *r, const uint8_t **ret);

static inline size_t ring_len(const struct ring *r)
{
	return (size_t)(r->head - r->tail);
}

/* At the head. -ENOBUFS: there are `max` of them already; -ENOMEM. */
int ring_mark(struct ring *r, const struct mark *m, unsigned max);
/* The mark that stands right at the tail, or NULL. ring_pop() takes it off; json is the caller's.
 */
const struct mark *ring_next_mark(const struct ring *r);
void ring_pop(struct ring *r);
