/*
 * arena.h - the memory in which sessions outlive the agent.
 *
 * One memfd, mapped shared, holds everything that makes a session: its record, its output, its
 *stdin queue. Another process that gets the descriptor (the next agentd after an upgrade, or the
 *one init starts after a crash) maps it and finds every session by the directory. Nothing in it is
 *a pointer; places are byte offsets from the start, 0 meaning none.
 *
 *	head | directory: one u32 per slot | records: 256-byte granules | extents: whole pages
 *
 * The file is sparse: a page costs memory once it is touched and until it is punched out. Which
 *parts are free is not stored: it follows from the records that the directory names, so a crash
 *between two stores can leak nothing. The free lists live in ordinary memory and are rebuilt by
 *arena_claim_*().
 *
 * Publishing order: fill a record, then arena_publish() its slot with one store. Unpublish first,
 *then free.
 */
#pragma once

#include "agentd/ranges.h"

#define ARENA_MAGIC   0x61726e61u
#define ARENA_VERSION 5u /* of the layout of everything inside; a reader refuses another */
#define ARENA_GRANULE 256u
#define ARENA_PAGE    4096u
#define ARENA_WARM    32u

struct arena_head {
	uint32_t magic, version;
	uint64_t size, dir_off, records_off, records_size, extents_off;
	uint32_t slots;
	uint32_t epoch;       /* grows each time an agent takes the arena over */
	uint64_t instance;    /* random; names this life of the session table */
	uint64_t next_serial; /* order of starts */
	uint64_t env;         /* extent of the sandbox's variables (environ.h); 0: none */
	uint64_t frozen;      /* extent: what is frozen (frozen.h); 0: nothing */
	char cgroup[256];     /* parent of the sessions' cgroups, "" when there is none */
};

struct arena {
	int fd; /* owned */
	uint8_t *base;
	struct arena_head *head;
	uint32_t *dir;
	struct ranges records, extents; /* what is free */
	unsigned slot_hint;             /* every slot below is taken */
	uint64_t charged,
		charge_max; /* bytes of touched extent pages, by the stores' own account */
	/* Asked when charge_max is hit: make room by dropping something; false when nothing is
	 * left. */
	bool (*reclaim)(void *ctx);
	void *reclaim_ctx;
	/* Extents freed with their first page still resident, newest last; not among the free
	 * ranges. */
	struct {
		uint64_t off, size;
	} warm[ARENA_WARM];
	unsigned warm_n;
};

/* An empty arena for `slots` sessions. The virtual size is the largest the system grants, from 64
 * GiB down to 1 GiB; -ENOMEM or the errno below that. charge_max bounds extent memory. */
int arena_create(struct arena *a, uint32_t slots, uint64_t charge_max);
/* Can arena_open() take it over? */
bool arena_fits(int fd);
/* Maps an arena that another process made; takes fd over on success. Everything counts as free
 * until claimed. -EINVAL: not an arena or another version; every size is checked against the file
 * before it is used. Slots that point outside the records are cleared. The epoch grows by one. */
int arena_open(struct arena *a, int fd, uint64_t charge_max);
/* After the last claim: what nobody claimed gives its memory back (a session may have died half
 * made). */
void arena_claimed(struct arena *a);
void arena_fini(struct arena *a); /* unmaps, closes; idempotent */

static inline void *arena_at(const struct arena *a, uint64_t off)
{
	return a->base + off;
}

/* Records: size is rounded up to granules; zeroed. 0 when full. */
uint64_t arena_alloc_record(struct arena *a, size_t size);
void arena_free_record(struct arena *a, uint64_t off, size_t size);
/* -EINVAL when the range is not wholly free (two records claim it) or outside. A record may be
 * claimed in two steps, its fixed part first so that its size can be read safely, and freed as one.
 */
int arena_claim_record(struct arena *a, uint64_t off, size_t size);

/* Extents: size is rounded up to pages; contents unspecified. 0 when full. Costs no memory until
 * touched. */
uint64_t arena_alloc_extent(struct arena *a, uint64_t size);
/* Gives the memory back; the first page may stay resident for the next user of a same-sized extent,
 * because most sessions write less than a page. `touched`: how many bytes from the start may be
 * resident; up to a page costs no system call. */
void arena_free_extent(struct arena *a, uint64_t off, uint64_t size, uint64_t touched);
/* Whether these numbers, found in a record, lie inside: page-aligned, wholly among the extents. */
bool arena_extent_valid(const struct arena *a, uint64_t off, uint64_t size);
int arena_claim_extent(struct arena *a, uint64_t off, uint64_t size);
/* Releases the memory of whole pages inside an extent. */
void arena_punch(struct arena *a, uint64_t off, uint64_t len);

/* Account for `bytes` (a multiple of pages) more; runs reclaim as long as that helps. False: over
 * the limit and nothing left to reclaim. */
bool arena_charge(struct arena *a, uint64_t bytes);
void arena_charge_anyway(struct arena *a, uint64_t bytes); /* for what is already promised */
void arena_uncharge(struct arena *a, uint64_t bytes);

/* Directory. A slot holds a record's offset / ARENA_GRANULE, 0 when free. */
int arena_find_slot(struct arena *a); /* lowest free slot, or -ENOSPC */
void arena_publish(struct arena *a, unsigned slot, uint64_t record_off);
void arena_unpublish(struct arena *a, unsigned slot);
uint64_t arena_slot_record(const struct arena *a, unsigned slot); /* 0 = free */
