/*
 * A byte ring whose beginning moves: each time the queue runs empty, the next byte goes to ring[0]
 * again. So keystrokes stay in one page, while a stream uses as much of the ring as it needs. A
 * stream also runs empty often, and giving its pages back each time would cost more than the
 * copying; they go back at the first cycle (empty to empty) that needed no more than a page.
 *
 * The release stores keep the compiler from moving a counter before what it vouches for (see
 * store.c).
 */
#include "agentd/inq.h"

#define commit_store(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)

static uint64_t page_up(uint64_t n)
{
	return align_up(n, ARENA_PAGE);
}

int inq_create(struct inq *q, struct arena *a, struct inq_state *st, uint64_t size)
{
	*q = (struct inq){0};
	*st = (struct inq_state){0};
	if (size == 0 || size > a->head->size)
		return -EINVAL;
	st->extent_size = page_up(size);
	st->extent = arena_alloc_extent(a, st->extent_size);
	if (!st->extent)
		return -ENOSPC;
	*q = (struct inq){.arena = a, .st = st, .ring = arena_at(a, st->extent)};
	return 0;
}

/* Pages from ring[0] on that hold, or held since the queue was last empty, something. */
static uint64_t touched(const struct inq_state *st)
{
	return min_of(page_up(st->accepted - st->base), st->extent_size);
}

int inq_adopt(struct inq *q, struct arena *a, struct inq_state *st)
{
	int r;

	*q = (struct inq){0};
	if (!arena_extent_valid(a, st->extent, st->extent_size) || st->written > st->accepted ||
		st->base > st->written || st->accepted - st->written > st->extent_size ||
		st->accepted > UINT64_MAX / 2)
		return -EINVAL;
	r = arena_claim_extent(a, st->extent, st->extent_size);
	if (r < 0)
		return r;
	*q = (struct inq){.arena = a, .st = st, .ring = arena_at(a, st->extent)};
	/* The end may have come between the two stores of inq_taken(). */
	st->writing = min_of(st->writing, inq_len(q));
	q->charged = touched(st);
	arena_punch(a, st->extent + q->charged, st->extent_size - q->charged);
	arena_charge_anyway(a, q->charged);
	return 0;
}

void inq_free(struct inq *q)
{
	struct inq_state *st = q->st;
	uint64_t extent;

	if (!st)
		return;
	extent = st->extent;
	commit_store(st->extent, 0); /* nobody shall find it here once it is free */
	arena_uncharge(q->arena, q->charged);
	arena_free_extent(q->arena, extent, st->extent_size, q->charged);
	*q = (struct inq){0};
}

uint64_t inq_free_space(const struct inq *q)
{
	return q->st->extent_size - inq_len(q);
}

void inq_fill(struct inq *q, const uint8_t *data, size_t n)
{
	struct inq_state *st = q->st;
	uint64_t at = (st->accepted - st->base) % st->extent_size;
	size_t part = min_of(n, (size_t)(st->extent_size - at));

	ASSERT(n <= inq_free_space(q));
	if (n == 0)
		return; /* perhaps there is no data to point to */
	memcpy(q->ring + at, data, part);
	memcpy(q->ring, data + part, n - part);
}

void inq_accept(struct inq *q, size_t n)
{
	struct inq_state *st = q->st;
	uint64_t need;

	commit_store(st->accepted, st->accepted + n);
	need = touched(st);
	if (need > q->charged) { /* the viewer had the credit for it: no refusing now */
		arena_charge_anyway(q->arena, need - q->charged);
		q->charged = need;
	}
}

void inq_append(struct inq *q, const uint8_t *data, size_t n)
{
	inq_fill(q, data, n);
	inq_accept(q, n);
}

size_t inq_peek(struct inq *q, const uint8_t **ret)
{
	struct inq_state *st = q->st;
	uint64_t at = (st->written - st->base) % st->extent_size;
	uint64_t n = min_of(inq_len(q), st->extent_size - at);

	*ret = q->ring + at;
	commit_store(st->writing, n);
	return (size_t)n;
}

/* Starts over at ring[0] when nothing waits. */
static void rewind_empty(struct inq *q)
{
	struct inq_state *st = q->st;
	uint64_t used = touched(st);

	if (inq_len(q) > 0)
		return;
	commit_store(st->base, st->accepted);
	if (used <= ARENA_PAGE && q->charged > ARENA_PAGE) {
		arena_punch(q->arena, st->extent + ARENA_PAGE, q->charged - ARENA_PAGE);
		arena_uncharge(q->arena, q->charged - ARENA_PAGE);
		q->charged = ARENA_PAGE;
	}
}

void inq_taken(struct inq *q, size_t n)
{
	ASSERT(n <= q->st->writing);
	commit_store(q->st->written, q->st->written + n);
	commit_store(q->st->writing, 0);
	rewind_empty(q);
}

void inq_discard(struct inq *q)
{
	commit_store(q->st->written, q->st->accepted);
	commit_store(q->st->writing, 0);
	rewind_empty(q);
}
