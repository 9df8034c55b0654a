/*
 * Writing, and what it costs. The head only grows; the tail follows when room is needed: down to
 * `keep` bytes at a time, so that the walk over the segments is paid once per 256 KiB. Both rings
 * (payload, index) are the same to the memory account: a window of positions whose pages may be in
 * memory. It widens at the head with what is written and stops at the size of the ring. Only when
 * the arena is full does it shrink at its other end: the session then lives on the memory it has,
 * giving up its oldest output for each new page.
 *
 * Every store that another process may find half done is a release store: the compiler keeps all
 * earlier ones before it. No more is needed, because whoever reads comes after our death.
 */
#include "agentd/store.h"

#define INDEX_BYTES_PER_ENTRY                                                                      \
	32 /* of payload, on average, before short segments shorten what is kept */
#define COUNTER_MAX   (1ULL << 61)      /* of an absolute counter that is found */
#define RESERVE_SMALL (STORE_FLOOR / 2) /* space offered when memory is short */

#define commit_store(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)

static uint64_t page_down(uint64_t n)
{
	return n / ARENA_PAGE * ARENA_PAGE;
}

static uint64_t page_up(uint64_t n)
{
	return align_up(n, ARENA_PAGE);
}

static uint64_t index_bytes(const struct store_state *st)
{
	return st->index_cap * sizeof(uint32_t);
}

/* ---- shape ---- */

static void set_shape(struct store_state *st, uint64_t ring)
{
	st->keep = (uint32_t)ring;
	st->cap = (uint32_t)(page_up(ring) + STORE_SLACK);
	st->index_cap = (uint32_t)page_up(st->cap / INDEX_BYTES_PER_ENTRY);
	st->extent_size = st->cap + index_bytes(st);
}

static void attach(struct store *s, struct arena *a, struct store_state *st)
{
	*s = (struct store){.arena = a, .st = st};
	s->ring = arena_at(a, st->extent);
	s->index = arena_at(a, st->extent + st->cap);
}

int store_create(struct store *s, struct arena *a, struct store_state *st, uint64_t ring)
{
	*s = (struct store){0};
	*st = (struct store_state){0};
	if (ring > STORE_RING_MAX)
		return -EINVAL;
	set_shape(st, ring);
	st->extent = arena_alloc_extent(a, st->extent_size);
	if (!st->extent)
		return -ENOSPC;
	attach(s, a, st);
	return 0;
}

void store_free(struct store *s)
{
	struct store_state *st = s->st;
	uint64_t extent, touched;

	if (!st)
		return;
	extent = st->extent;
	touched = s->memory.index.to ? st->extent_size : min_of(s->memory.ring.to, st->cap);
	commit_store(st->extent, 0); /* nobody shall find it here once it is free */
	arena_uncharge(s->arena, s->charged);
	arena_free_extent(s->arena, extent, st->extent_size, touched);
	*s = (struct store){0};
}

/* ---- the tail ---- */

/* Into the copy that is not in use, then over to it. */
static void set_tail(struct store *s, const struct store_tail *t)
{
	uint32_t other = !s->st->tail_sel;

	s->st->tail[other] = *t;
	commit_store(s->st->tail_sel, other);
}

static void tail_pass(struct store_tail *t, uint32_t e, uint64_t n)
{
	*(entry_stream(e) == STORE_OUT ? &t->out : &t->err) += n;
	t->seg_skip += (uint32_t)n;
}

/* Drops everything before a position. Stays at the end of the last segment dropped, so that a loss
 * that comes right after it is still there to be told. */
static void drop_to(struct store *s, uint64_t pos)
{
	struct store_tail t = *store_tail(s);
	uint64_t left = pos - (t.out + t.err);

	for (;;) {
		uint32_t e = *store_entry(s, t.seg);
		uint64_t n = min_of(left, (uint64_t)(entry_len(e) - t.seg_skip));

		tail_pass(&t, e, n);
		left -= n;
		if (left == 0)
			break;
		t.seg++;
		t.seg_skip = 0;
	}
	set_tail(s, &t);
}

/* Makes room in the index for one more entry; false when the oldest segment is pinned. */
static bool drop_segment(struct store *s, uint64_t pin)
{
	struct store_tail t = *store_tail(s);
	uint32_t e;

	if (s->st->seg_head - t.seg < s->st->index_cap)
		return true;
	e = *store_entry(s, t.seg);
	tail_pass(&t, e, entry_len(e) - t.seg_skip);
	if (t.out + t.err > pin)
		return false;
	t.seg++;
	t.seg_skip = 0;
	set_tail(s, &t);
	return true;
}

/* ---- memory ---- */

static uint64_t window_bytes(const struct store_window *w, uint64_t cap)
{
	return min_of(w->to - w->from, cap);
}

static uint64_t memory_bytes(const struct store *s, const struct store_memory *m)
{
	return window_bytes(&m->ring, s->st->cap) + window_bytes(&m->index, index_bytes(s->st));
}

static uint64_t index_end(uint64_t segs)
{
	return segs > STORE_FIRST ? page_up(segs * sizeof(uint32_t)) : 0;
}

/* Whether the arena lends that much. A large space is a matter of speed, which is not worth
 * dropping another session for: it is only granted out of what is free. */
static bool borrow(struct arena *a, uint64_t bytes, size_t n)
{
	if (n > RESERVE_SMALL && (a->charged > a->charge_max || bytes > a->charge_max - a->charged))
		return false;
	return arena_charge(a, bytes);
}

/* Accounts for n bytes and `segs` segments beyond the head. When the arena refuses, the store may
 * still grow up to `allowance` bytes in all. */
static bool fund(struct store *s, size_t n, unsigned segs, uint64_t allowance)
{
	struct store_memory m = s->memory;
	uint64_t bytes;

	m.ring.to = page_up(store_head(s) + n);
	m.index.to = index_end(s->st->seg_head + segs);
	bytes = memory_bytes(s, &m);
	if (bytes < s->charged) {
		arena_uncharge(s->arena, s->charged - bytes);
	} else if (bytes > s->charged && !borrow(s->arena, bytes - s->charged, n)) {
		if (bytes > allowance)
			return false;
		arena_charge_anyway(s->arena, bytes - s->charged);
	}
	s->memory = m;
	s->charged = bytes;
	return true;
}

/* A window wider than its ring forgets its oldest positions: their pages hold newer ones. */
static void narrow(struct store_window *w, uint64_t cap)
{
	if (w->to - w->from > cap)
		w->from = w->to - cap;
}

/* Back to what is really used. */
static void settle(struct store *s)
{
	fund(s, 0, 0, UINT64_MAX);
	narrow(&s->memory.ring, s->st->cap);
	narrow(&s->memory.index, index_bytes(s->st));
}

/* Releases the pages of positions [from, to) of a ring of `size` bytes at `off` in the extent. */
static void punch(struct store *s, uint64_t off, uint64_t size, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t at = from % size, n = min_of(to - from, size - at);

		arena_punch(s->arena, s->st->extent + off + at, n);
		from += n;
	}
}

/* Everything before the tail goes back to the arena. */
static void release_old(struct store *s)
{
	struct store_window *ring = &s->memory.ring, *index = &s->memory.index;
	uint64_t ring_from = max_of(ring->from, page_down(store_tail_pos(s)));
	uint64_t index_from = page_down(store_tail(s)->seg * sizeof(uint32_t));

	index_from = max_of(index->from, min_of(index_from, index->to));
	punch(s, 0, s->st->cap, ring->from, ring_from);
	punch(s, s->st->cap, index_bytes(s->st), index->from, index_from);
	ring->from = ring_from;
	index->from = index_from;
	arena_uncharge(s->arena, s->charged - memory_bytes(s, &s->memory));
	s->charged = memory_bytes(s, &s->memory);
}

/* Memory for up to n bytes at the head: from the arena, else by giving up own old output. How many
 * there may be; 0 only if a pin is in the way. */
static size_t find_memory(struct store *s, size_t n, uint64_t pin)
{
	uint64_t before, tail, give_up;

	if (fund(s, n, 1, 0))
		return n;
	settle(s);
	n = min_of(n, (size_t)RESERVE_SMALL);
	if (fund(s, n, 1, 0))
		return n;
	before = s->charged;
	tail = store_tail_pos(s);
	give_up = min_of(min_of(pin, store_head(s)), tail + n + 4 * ARENA_PAGE);
	if (give_up > tail)
		drop_to(s, give_up);
	release_old(s);
	if (fund(s, n, 1, max_of(before, STORE_FLOOR)))
		return n;
	/* The rest of the page at the head is there in any case. */
	n = min_of(n, (size_t)(s->memory.ring.to - store_head(s)));
	return fund(s, n, 1, s->charged) ? n : 0;
}

/* ---- writing ---- */

size_t store_space(struct store *s, uint64_t pin, uint8_t **ret)
{
	uint64_t head = store_head(s), cap = s->st->cap, at = head % cap, n;

	*ret = s->ring + at;
	if (cap - (head - store_tail_pos(s)) < STORE_SLACK / 4) {
		uint64_t to = min_of(pin, head - s->st->keep);

		if (to > store_tail_pos(s))
			drop_to(s, to);
	}
	if (!drop_segment(s, pin))
		return 0;
	n = min_of(cap - (head - store_tail_pos(s)), cap - at);
	n = min_of(n, STORE_READ_MAX);
	if (n > 0)
		n = find_memory(s, n, pin);
	return n;
}

void store_begin(struct store *s, enum store_stream stream)
{
	commit_store(s->st->reading, (uint32_t)stream);
}

static void append_entry(struct store *s, uint32_t e)
{
	*store_entry(s, s->st->seg_head) = e;
	commit_store(s->st->seg_head, s->st->seg_head + 1);
}

static void append(struct store *s, enum store_stream stream, uint32_t n)
{
	uint32_t *last = s->st->seg_head ? store_entry(s, s->st->seg_head - 1) : NULL;

	if (last && *last >> 30 == (uint32_t)stream && entry_len(*last) <= SEGMENT_MAX - n)
		commit_store(*last, *last + n);
	else
		append_entry(s, entry_make(stream, n));
	s->head[stream] += n;
}

void store_commit(struct store *s, enum store_stream stream, size_t n)
{
	ASSERT(stream == STORE_OUT || stream == STORE_ERR);
	ASSERT(n <= STORE_READ_MAX && store_head(s) + n <= s->memory.ring.to);
	if (n > 0)
		append(s, stream, (uint32_t)n);
	commit_store(s->st->reading, 0);
	settle(s);
}

/* ---- taking over ---- */

static bool shape_valid(const struct arena *a, const struct store_state *st)
{
	struct store_state want = {0};

	if (st->keep > STORE_RING_MAX || st->tail_sel > 1 || st->reading > STORE_ERR)
		return false;
	set_shape(&want, st->keep);
	return st->cap == want.cap && st->index_cap == want.index_cap &&
	       st->extent_size == want.extent_size &&
	       arena_extent_valid(a, st->extent, st->extent_size);
}

static bool tail_valid(const struct store_state *st, const struct store_tail *t)
{
	if (t->out > COUNTER_MAX || t->err > COUNTER_MAX || st->seg_head > COUNTER_MAX)
		return false;
	if (st->seg_head == 0)
		return t->seg == 0 && t->seg_skip == 0 && t->out == 0 && t->err == 0;
	return t->seg < st->seg_head && st->seg_head - t->seg <= st->index_cap;
}

/* Walks the index, which gives the heads. */
static int count_heads(struct store *s)
{
	const struct store_tail *t = store_tail(s);
	uint64_t total = 0;

	s->head[STORE_OUT] = t->out;
	s->head[STORE_ERR] = t->err;
	for (uint64_t seg = t->seg; seg < s->st->seg_head; seg++) {
		uint32_t e = *store_entry(s, seg), skip = seg == t->seg ? t->seg_skip : 0;

		if (entry_stream(e) != STORE_OUT && entry_stream(e) != STORE_ERR)
			return -EINVAL;
		if (entry_len(e) < skip || (entry_len(e) == 0 && !entry_lost(e)))
			return -EINVAL;
		total += entry_len(e) - skip;
		s->head[entry_stream(e)] += entry_len(e) - skip;
	}
	return total <= s->st->cap ? 0 : -EINVAL;
}

/* Punches whatever lies outside of the live part, so that the account starts exact. */
static void take_memory(struct store *s)
{
	struct store_window *ring = &s->memory.ring, *index = &s->memory.index;
	uint64_t cap = s->st->cap, index_size = index_bytes(s->st);

	ring->from = page_down(store_tail_pos(s));
	ring->to = page_up(store_head(s));
	index->to = index_end(s->st->seg_head);
	index->from = min_of(index->to, page_down(store_tail(s)->seg * sizeof(uint32_t)));
	punch(s, 0, cap, ring->to, ring->from + cap);
	punch(s, cap, index_size, index->to, index->from + index_size);
	narrow(ring, cap);
	narrow(index, index_size);
	s->charged = memory_bytes(s, &s->memory);
	arena_charge_anyway(s->arena, s->charged);
}

int store_adopt(struct store *s, struct arena *a, struct store_state *st)
{
	struct store t;
	int r;

	*s = (struct store){0};
	if (!shape_valid(a, st) || !tail_valid(st, &st->tail[st->tail_sel]))
		return -EINVAL;
	attach(&t, a, st);
	r = count_heads(&t);
	if (r == 0)
		r = arena_claim_extent(a, st->extent, st->extent_size);
	if (r < 0)
		return r;
	if (st->reading) {
		drop_segment(&t, UINT64_MAX);
		append_entry(&t, entry_make(STORE_LOST, st->reading));
		commit_store(st->reading, 0);
	}
	take_memory(&t);
	*s = t;
	return 0;
}
