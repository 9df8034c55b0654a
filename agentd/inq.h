/*
 * inq.h - the queue of a session's stdin: bytes accepted from viewers and not yet written to the
 * child. In the arena, so that what was acknowledged survives the agent. One reader (the child's
 * pipe), appended by whole slices.
 */
#pragma once

#include "agentd/arena.h"

struct inq_state {
	uint64_t extent, extent_size;
	uint64_t accepted; /* bytes ever appended */
	uint64_t written;  /* bytes ever taken */
	uint64_t base; /* absolute number of the byte at ring[0]; moves when the queue runs empty,
			* so that a trickle of keystrokes does not walk through all the memory */
	uint64_t writing; /* nonzero around write(2): how many bytes were offered */
};

struct inq {
	struct arena *arena;
	struct inq_state *st;
	uint8_t *ring;
	uint64_t charged;
};

/* size is rounded up to pages. -ENOSPC when the arena has no room. */
int inq_create(struct inq *q, struct arena *a, struct inq_state *st, uint64_t size);
/* Takes over a queue found in a record; -EINVAL, with nothing claimed, when it cannot be right.
 * `writing` stays as found (never more than what waits): nonzero means that up to so many of the
 * next bytes may have reached the child already, and what to do about that is the caller's. */
int inq_adopt(struct inq *q, struct arena *a, struct inq_state *st);
void inq_free(struct inq *q); /* idempotent */

uint64_t inq_free_space(const struct inq *q);
static inline uint64_t inq_len(const struct inq *q)
{
	return q->st->accepted - q->st->written;
}
/* The caller keeps to inq_free_space(); more is an assertion. */
void inq_append(struct inq *q, const uint8_t *data, size_t n);
/* The two halves of it, for a caller that has a counter of its own to move in the same step. */
void inq_fill(
	struct inq *q, const uint8_t *data, size_t n); /* bytes are there, nothing counts yet */
void inq_accept(struct inq *q, size_t n);              /* they count */
/* The next contiguous bytes to write to the child; 0 when empty. Sets `writing`. */
size_t inq_peek(struct inq *q, const uint8_t **ret);
/* n of them were written (0 when write(2) failed); clears `writing`. When it runs empty it starts
 * over at ring[0], and gives memory back once a whole page was enough since it was last empty. */
void inq_taken(struct inq *q, size_t n);
void inq_discard(struct inq *q); /* drops what waits: counts as written */
