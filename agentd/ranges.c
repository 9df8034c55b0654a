/*
 * A singly linked list and linear walks: the number of holes stays near the number of sessions, and
 * those who free what they allocated last find it near the front.
 */
#include "agentd/ranges.h"

/* Nodes kept in reserve beyond what is needed; the rest goes back to malloc after a peak. */
#define SPARE_MAX 64

struct range {
	struct range *next;
	uint64_t off, len;
};

static void node_put(struct ranges *r, struct range *n)
{
	if (r->nodes > r->live + 2 + SPARE_MAX) {
		r->nodes--;
		free(n);
		return;
	}
	n->next = r->spare;
	r->spare = n;
}

static struct range *node_get(struct ranges *r)
{
	struct range *n = r->spare;

	ASSERT(n);
	r->spare = n->next;
	return n;
}

/* Makes sure of a node for one more piece taken. */
static bool reserve(struct ranges *r)
{
	struct range *n;

	if (r->nodes >= r->live + 2)
		return true;
	n = malloc(sizeof(*n));
	if (!n)
		return false;
	n->next = r->spare;
	r->spare = n;
	r->nodes++;
	return true;
}

int ranges_init(struct ranges *r, uint64_t off, uint64_t len)
{
	struct range *n = malloc(sizeof(*n));

	if (!n)
		return -ENOMEM;
	*n = (struct range){.off = off, .len = len};
	*r = (struct ranges){.first = n, .nodes = 1};
	return 0;
}

static void free_list(struct range *n)
{
	while (n) {
		struct range *next = n->next;

		free(n);
		n = next;
	}
}

void ranges_fini(struct ranges *r)
{
	free_list(r->first);
	free_list(r->spare);
	*r = (struct ranges){0};
}

/* Cuts len bytes off the front of the range at *at. */
static void cut_front(struct ranges *r, struct range **at, uint64_t len)
{
	struct range *n = *at;

	n->off += len;
	n->len -= len;
	if (n->len == 0) {
		*at = n->next;
		node_put(r, n);
	}
}

uint64_t ranges_take(struct ranges *r, uint64_t len)
{
	struct range **at = &r->first;
	uint64_t off;

	while (*at && (*at)->len < len)
		at = &(*at)->next;
	if (!*at || len == 0 || !reserve(r))
		return 0;
	r->live++;
	off = (*at)->off;
	cut_front(r, at, len);
	return off;
}

int ranges_claim(struct ranges *r, uint64_t off, uint64_t len)
{
	struct range **at = &r->first, *n, *rest;
	uint64_t skip;

	while (*at && off >= (*at)->off + (*at)->len)
		at = &(*at)->next;
	n = *at;
	if (!n || len == 0 || off < n->off || len > n->len - (off - n->off))
		return -EINVAL;
	if (!reserve(r))
		return -ENOMEM;
	r->live++;
	skip = off - n->off;
	if (skip > 0) {
		rest = node_get(r);
		*rest = (struct range){.next = n->next, .off = off, .len = n->len - skip};
		n->len = skip;
		n->next = rest;
		at = &n->next;
	}
	cut_front(r, at, len);
	return 0;
}

void ranges_give(struct ranges *r, uint64_t off, uint64_t len)
{
	struct range **at = &r->first, *prev = NULL, *next, *n;

	while (*at && (*at)->off < off) {
		prev = *at;
		at = &prev->next;
	}
	next = *at;
	ASSERT(r->live > 0);
	ASSERT(!prev || prev->off + prev->len <= off);
	ASSERT(!next || off + len <= next->off);
	r->live--;
	if (next && off + len == next->off) { /* absorb it, then its node is free */
		len += next->len;
		*at = next->next;
		node_put(r, next);
	}
	if (prev && prev->off + prev->len == off) {
		prev->len += len;
		return;
	}
	n = node_get(r);
	*n = (struct range){.next = *at, .off = off, .len = len};
	*at = n;
}

void ranges_each(
	const struct ranges *r, void (*fn)(void *ctx, uint64_t off, uint64_t len), void *ctx)
{
	for (const struct range *n = r->first; n; n = n->next)
		fn(ctx, n->off, n->len);
}
