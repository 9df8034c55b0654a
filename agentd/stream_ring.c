#include "agentd/stream_ring.h"

#include <sys/mman.h>

void ring_init(struct ring *r)
{
	*r = (struct ring){.cap_marks = array_size(r->few)};
	r->marks = r->few;
}

void ring_fini(struct ring *r)
{
	for (; r->n_marks > 0; ring_pop(r))
		free(r->marks[r->first].json);
	if (r->mem && r->mem != r->small)
		munmap(r->mem, r->size);
	free(r->small);
	if (r->marks != r->few)
		free(r->marks);
	ring_init(r);
}

/* ---- bytes ---- */

/* Everything that is in the ring, to where its positions are in the new memory. */
static void move(const struct ring *r, uint8_t *to, size_t size)
{
	for (uint64_t at = r->tail; at < r->head;) {
		size_t from = (size_t)at & (r->size - 1), n = (size_t)(r->head - at);

		n = min_of(n, r->size - from);
		n = min_of(n, size - ((size_t)at & (size - 1)));
		ASSERT(r->mem);
		memcpy(to + ((size_t)at & (size - 1)), r->mem + from, n);
		at += n;
	}
}

static int grow(struct ring *r, size_t want)
{
	uint8_t *p;

	if (!r->mem && want <= RING_SMALL) {
		r->mem = r->small = malloc(RING_SMALL);
		r->size = r->mem ? RING_SMALL : 0;
		return r->mem ? 0 : -ENOMEM;
	}
	p = mmap(NULL, RING_LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	move(r, p, RING_LARGE);
	r->mem = p;
	r->size = RING_LARGE;
	return 0;
}

int ring_room(struct ring *r, size_t want)
{
	ASSERT(want <= RING_LARGE);
	if (ring_len(r) + want <= r->size)
		return 0;
	if (ring_len(r) + want > RING_LARGE)
		return -ENOBUFS;
	return grow(r, ring_len(r) + want);
}

size_t ring_space(const struct ring *r, uint8_t **ret)
{
	size_t at = (size_t)r->head & (r->size - 1);

	*ret = r->mem + at;
	return min_of(r->size - ring_len(r), r->size - at);
}

size_t ring_data(const struct ring *r, const uint8_t **ret)
{
	uint64_t end = r->n_marks > 0 ? r->marks[r->first].at : r->head;
	size_t at;

	if (end == r->tail)
		return 0;
	at = (size_t)r->tail & (r->size - 1);
	*ret = r->mem + at;
	return min_of((size_t)(end - r->tail), r->size - at);
}

/* ---- marks ---- */

static int more_marks(struct ring *r)
{
	unsigned cap = r->cap_marks * 4;
	struct mark *p = malloc(cap * sizeof(*p));

	if (!p)
		return -ENOMEM;
	for (unsigned i = 0; i < r->n_marks; i++)
		p[i] = r->marks[(r->first + i) % r->cap_marks];
	if (r->marks != r->few)
		free(r->marks);
	r->marks = p;
	r->first = 0;
	r->cap_marks = cap;
	return 0;
}

int ring_mark(struct ring *r, const struct mark *m, unsigned max)
{
	if (r->n_marks >= max)
		return -ENOBUFS;
	if (r->n_marks == r->cap_marks && more_marks(r) < 0)
		return -ENOMEM;
	r->marks[(r->first + r->n_marks) % r->cap_marks] = *m;
	r->marks[(r->first + r->n_marks) % r->cap_marks].at = r->head;
	r->n_marks++;
	return 0;
}

const struct mark *ring_next_mark(const struct ring *r)
{
	const struct mark *m = &r->marks[r->first];

	return r->n_marks > 0 && m->at == r->tail ? m : NULL;
}

void ring_pop(struct ring *r)
{
	r->first = (r->first + 1) % r->cap_marks;
	r->n_marks--;
}
