/*
 * ranges.h - which parts of a region are free: a list of ranges, sorted by offset, neighbours
 * merged. First fit. Knows nothing of what lies in the region.
 *
 * Giving back cannot fail: n pieces taken out of a region leave at most n + 1 free ranges, so each
 * take also makes sure of the node that its return may need, and reports it when that cannot be
 * had.
 */
#pragma once

#include "base/base.h"

struct range;

struct ranges {
	struct range *first; /* the free ranges */
	struct range *spare; /* nodes in reserve */
	size_t nodes;        /* in both lists */
	size_t live;         /* pieces taken and not given back */
};

int ranges_init(struct ranges *r, uint64_t off, uint64_t len); /* all free; -ENOMEM */
void ranges_fini(struct ranges *r);
uint64_t ranges_take(struct ranges *r, uint64_t len); /* offset; 0 when nothing fits */
/* Takes exactly this piece. -EINVAL when it is not wholly free, -ENOMEM. */
int ranges_claim(struct ranges *r, uint64_t off, uint64_t len);
/* A piece as it was taken; pieces that lie side by side may come back as one. */
void ranges_give(struct ranges *r, uint64_t off, uint64_t len);
void ranges_each(
	const struct ranges *r, void (*fn)(void *ctx, uint64_t off, uint64_t len), void *ctx);
