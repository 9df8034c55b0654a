/*
 * store_model.h - for the tests of the store: a model too simple to be wrong, and a bench that
 * drives the real store beside it. The model knows the position of every byte of each stream; what
 * a byte is follows from its stream and offset. Each piece a reader gets is checked against that:
 * nothing twice, nothing missing, nothing out of order, every gap exact and allowed.
 *
 * Ops come from numbers, so a random generator and a fuzzer can drive the same bench.
 */
#pragma once

#include <stdio.h>
#include <sys/mman.h>

#include "agentd/store.h"

#define MODEL_MAX     (64 * MIB) /* bytes of each stream in one life of a bench */
#define MODEL_LOSSES  1024
#define BENCH_READERS 5

struct model {
	uint32_t *pos[3]; /* of each byte of [STORE_OUT], [STORE_ERR] in the order of arrival */
	uint64_t head[3];
	struct {
		enum store_stream stream;
		uint64_t off, pos;
	} loss[MODEL_LOSSES];
	unsigned losses;
};

struct reader {
	struct store_cursor c;
	uint64_t next[3], since[3];
	uint64_t
		from[3]; /* where its bytes began at the seek: a lossless reader has no gap after */
	unsigned loss_next;
	bool on, lossless;
};

struct bench {
	struct arena arena;
	uint64_t record;
	struct store store;
	struct model model;
	struct reader reader[BENCH_READERS];
	bool strict; /* the promise of `keep` holds: memory never ran short, nor the index */
};

static inline enum store_stream other_of(enum store_stream stream)
{
	return stream == STORE_OUT ? STORE_ERR : STORE_OUT;
}

static inline uint8_t model_byte(enum store_stream stream, uint64_t off)
{
	return (uint8_t)((off * 0x9e3779b97f4a7c15u >> 35) + (unsigned)stream);
}

static inline uint64_t model_head(const struct model *m)
{
	return m->head[STORE_OUT] + m->head[STORE_ERR];
}

/* How many bytes of a stream arrived before a position. */
static inline uint64_t model_before(const struct model *m, enum store_stream stream, uint64_t pos)
{
	uint64_t lo = 0, hi = m->head[stream];

	while (lo < hi) {
		uint64_t mid = (lo + hi) / 2;

		if (m->pos[stream][mid] < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static inline void bench_record(struct bench *b, uint64_t ring)
{
	b->record = arena_alloc_record(&b->arena, sizeof(struct store_state));
	ASSERT(b->record);
	ASSERT(store_create(&b->store, &b->arena, arena_at(&b->arena, b->record), ring) == 0);
	arena_publish(&b->arena, 0, b->record);
	memset(b->reader, 0, sizeof(b->reader));
	b->model.head[STORE_OUT] = b->model.head[STORE_ERR] = 0;
	b->model.losses = 0;
	b->strict = b->arena.charge_max == UINT64_MAX;
}

static inline void bench_init(struct bench *b, uint64_t ring)
{
	memset(b, 0, sizeof(*b));
	ASSERT(arena_create(&b->arena, 4, UINT64_MAX) == 0);
	for (int i = STORE_OUT; i <= STORE_ERR; i++) {
		void *p = mmap(NULL, MODEL_MAX * sizeof(uint32_t), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		ASSERT(p != MAP_FAILED);
		b->model.pos[i] = p;
	}
	bench_record(b, ring);
}

static inline void bench_fini(struct bench *b)
{
	store_free(&b->store);
	ASSERT(b->arena.charged == 0);
	arena_fini(&b->arena);
	for (int i = STORE_OUT; i <= STORE_ERR; i++)
		munmap(b->model.pos[i], MODEL_MAX * sizeof(uint32_t));
}

/* A new session in the same arena. */
static inline void bench_restart(struct bench *b, uint64_t ring)
{
	arena_unpublish(&b->arena, 0);
	store_free(&b->store);
	store_free(&b->store); /* harmless */
	ASSERT(b->arena.charged == 0);
	arena_free_record(&b->arena, b->record, sizeof(struct store_state));
	bench_record(b, ring);
}

/* ---- what must hold ---- */

/* Bytes of the extent that are in memory. */
static inline uint64_t bench_resident(const struct bench *b)
{
	uint64_t end = b->store.st->extent + b->store.st->extent_size, sum = 0;
	off_t at = (off_t)b->store.st->extent;

	while ((at = lseek(b->arena.fd, at, SEEK_DATA)) >= 0 && (uint64_t)at < end) {
		uint64_t hole = (uint64_t)lseek(b->arena.fd, at, SEEK_HOLE);

		sum += min_of(hole, end) - (uint64_t)at;
		at = (off_t)min_of(hole, end);
	}
	return sum;
}

static inline void bench_check(const struct bench *b)
{
	const struct store *s = &b->store;
	const struct model *m = &b->model;
	uint64_t held = store_head(s) - store_tail_pos(s), oldest, out, err;

	ASSERT(s->head[STORE_OUT] == m->head[STORE_OUT] &&
		s->head[STORE_ERR] == m->head[STORE_ERR]);
	ASSERT(store_tail_pos(s) <= store_head(s) && held <= s->st->cap);
	ASSERT(model_before(m, STORE_OUT, store_tail_pos(s)) == store_tail(s)->out);
	ASSERT(s->charged == b->arena.charged);
	if (b->strict)
		ASSERT(held >= min_of(store_head(s), s->st->keep));
	store_oldest(s, &out, &err);
	oldest = max_of(store_tail_pos(s), store_head(s) - min_of(store_head(s), s->st->keep));
	ASSERT(out + err == oldest && model_before(m, STORE_OUT, oldest) == out);
}

/* A page that an earlier session left warm is not on the new one's account. */
static inline void bench_check_memory(const struct bench *b)
{
	ASSERT(bench_resident(b) <= b->store.charged + ARENA_PAGE);
}

/* ---- readers ---- */

static inline uint64_t bench_tail(const struct bench *b, enum store_stream stream)
{
	return stream == STORE_OUT ? store_tail(&b->store)->out : store_tail(&b->store)->err;
}

static inline uint64_t reader_floor(const struct reader *r, enum store_stream stream)
{
	return stream == STORE_OUT ? r->c.floor_out : r->c.floor_err;
}

/* The next loss goes by without being told: only if it is none to this reader, or was dropped. */
static inline void reader_pass_loss(const struct bench *b, struct reader *r)
{
	const struct model *m = &b->model;

	ASSERT(m->loss[r->loss_next].off < r->since[m->loss[r->loss_next].stream] ||
		m->loss[r->loss_next].pos <= store_tail_pos(&b->store) ||
		m->loss[r->loss_next].pos <= r->c.floor_out + r->c.floor_err);
	r->loss_next++;
}

static inline void reader_pass_losses(const struct bench *b, struct reader *r, uint64_t pos)
{
	while (r->loss_next < b->model.losses && b->model.loss[r->loss_next].pos <= pos)
		reader_pass_loss(b, r);
}

static inline void reader_check_data(
	const struct bench *b, struct reader *r, const struct store_piece *p)
{
	const uint32_t *pos = b->model.pos[p->stream];
	uint64_t at;

	ASSERT(p->off == r->next[p->stream]);
	ASSERT(p->off + p->len <= b->model.head[p->stream]);
	ASSERT(p->data >= b->store.ring && p->data + p->len <= b->store.ring + b->store.st->cap);
	if (p->len == 0)
		return;
	at = pos[p->off];
	ASSERT(at >= store_tail_pos(&b->store));
	ASSERT(pos[p->off + p->len - 1] == at + p->len - 1);
	/* All that arrived earlier on the other stream was given before. */
	ASSERT(r->next[other_of(p->stream)] >= at - p->off);
	reader_pass_losses(b, r, at);
	for (uint64_t i = 0; i < p->len; i++)
		ASSERT(p->data[i] == model_byte(p->stream, p->off + i));
}

static inline void reader_check_gap(
	const struct bench *b, struct reader *r, const struct store_piece *p)
{
	const struct store *s = &b->store;
	uint64_t end = p->off + p->len;

	ASSERT(p->off == r->next[p->stream]);
	ASSERT(end == max_of(bench_tail(b, p->stream), reader_floor(r, p->stream)));
	if (b->strict)
		ASSERT(b->model.pos[p->stream][end - 1] < store_head(s) - s->st->keep);
	if (r->lossless)
		ASSERT(end <= r->from[p->stream]);
}

static inline void reader_check_loss(
	const struct bench *b, struct reader *r, const struct store_piece *p)
{
	const struct model *m = &b->model;
	unsigned i = r->loss_next;

	for (; i < m->losses; i++) {
		if (m->loss[i].stream == p->stream && m->loss[i].off == p->off &&
			m->loss[i].pos == store_cursor_pos(&r->c))
			break;
		reader_pass_loss(b, r);
	}
	ASSERT(i < m->losses && p->off == r->next[p->stream]);
	ASSERT(r->next[other_of(p->stream)] >= m->loss[i].pos - p->off);
}

static inline void reader_check(
	const struct bench *b, struct reader *r, const struct store_piece *p)
{
	switch (p->kind) {
	case STORE_NOTHING:
		ASSERT(r->next[STORE_OUT] == b->model.head[STORE_OUT]);
		ASSERT(r->next[STORE_ERR] == b->model.head[STORE_ERR]);
		reader_pass_losses(b, r, UINT64_MAX);
		break;
	case STORE_DATA: reader_check_data(b, r, p); break;
	case STORE_GAP:
		if (p->len)
			reader_check_gap(b, r, p);
		else
			reader_check_loss(b, r, p);
		break;
	}
}

/* One piece; false when there was none. */
static inline bool reader_step(struct bench *b, struct reader *r, size_t max, size_t take)
{
	struct store_piece p, again;

	store_peek(&b->store, &r->c, max, &p);
	store_peek(&b->store, &r->c, max, &again);
	ASSERT(p.kind == again.kind && p.stream == again.stream && p.off == again.off &&
		p.len == again.len && p.data == again.data);
	reader_check(b, r, &p);
	if (p.kind == STORE_NOTHING)
		return false;
	if (p.kind == STORE_DATA) {
		ASSERT(p.len <= max && (p.len > 0 || max == 0));
		p.len = min_of(p.len, take);
	} else if (p.len == 0) {
		r->loss_next++;
	}
	store_advance(&b->store, &r->c, &p, p.kind == STORE_DATA ? (size_t)p.len : 0);
	r->next[p.stream] += p.len;
	return true;
}

static inline void reader_drain(struct bench *b, struct reader *r)
{
	while (reader_step(b, r, 64 * KIB, 64 * KIB))
		;
}

static inline void reader_seek(
	struct bench *b, struct reader *r, uint64_t out, uint64_t err, bool held)
{
	uint64_t oldest[3];

	ASSERT(store_seek(&b->store, &r->c, out, err, held) == 0);
	store_oldest(&b->store, &oldest[STORE_OUT], &oldest[STORE_ERR]);
	r->since[STORE_OUT] = out;
	r->since[STORE_ERR] = err;
	for (int i = STORE_OUT; i <= STORE_ERR; i++) {
		r->next[i] = r->since[i];
		r->from[i] = held ? bench_tail(b, (enum store_stream)i) : oldest[i];
		ASSERT(max_of(reader_floor(r, (enum store_stream)i),
			       bench_tail(b, (enum store_stream)i)) == r->from[i]);
	}
	r->loss_next = 0;
	r->on = true;
}

static inline void reader_seek_now(struct bench *b, struct reader *r)
{
	reader_seek(b, r, b->model.head[STORE_OUT], b->model.head[STORE_ERR], false);
	store_seek_now(&b->store, &r->c);
	r->loss_next = b->model.losses;
}

/* ---- the writer ---- */

static inline uint64_t bench_pin(const struct bench *b)
{
	uint64_t pin = UINT64_MAX;

	for (int i = 0; i < BENCH_READERS; i++)
		if (b->reader[i].on && b->reader[i].lossless)
			pin = min_of(pin, store_cursor_pos(&b->reader[i].c));
	return pin;
}

/* When it is full, the oldest segment goes before its time. */
static inline void bench_look_at_index(struct bench *b)
{
	if (b->store.st->seg_head - store_tail(&b->store)->seg == b->store.st->index_cap)
		b->strict = false;
}

/* Up to `want` bytes; how many there was room for. */
static inline size_t bench_write(struct bench *b, enum store_stream stream, size_t want)
{
	struct model *m = &b->model;
	uint64_t pin = bench_pin(b), tail = store_tail_pos(&b->store), limit = b->arena.charge_max;
	uint64_t before = b->store.charged;
	uint8_t *p;
	size_t space;

	bench_look_at_index(b);
	space = store_space(&b->store, pin, &p);
	ASSERT(space <= STORE_READ_MAX && (space > 0 || pin != UINT64_MAX));
	ASSERT(p >= b->store.ring && p + space <= b->store.ring + b->store.st->cap);
	ASSERT(store_tail_pos(&b->store) <= max_of(tail, pin));
	ASSERT(b->store.charged <= max_of(limit, max_of(before, STORE_FLOOR)));
	want = min_of(min_of(want, space), MODEL_MAX - m->head[stream]);
	store_begin(&b->store, stream);
	for (size_t i = 0; i < want; i++) {
		m->pos[stream][m->head[stream]] = (uint32_t)model_head(m);
		p[i] = model_byte(stream, m->head[stream]++);
	}
	store_commit(&b->store, stream, want);
	return want;
}

/* Many short segments: what fills the index before the ring. */
static inline void bench_burst(struct bench *b, uint32_t n, uint32_t size)
{
	for (uint32_t i = 0; i < n; i++)
		bench_write(b, i % 2 ? STORE_ERR : STORE_OUT, 1 + i % (size + 1));
}

/* The arena is (or becomes) full: `room` more than it holds now. */
static inline void bench_limit(struct bench *b, uint64_t room)
{
	b->arena.charge_max = b->arena.charged + room;
	b->strict = false;
}

/* ---- the end of an agent ---- */

static inline void arena_reopen(struct arena *a)
{
	struct arena next;
	int fd = dup(a->fd);

	ASSERT(fd >= 0 && arena_open(&next, fd, a->charge_max) == 0);
	arena_fini(a);
	*a = next;
}

/* kill -9 and a new agent; `reading`: the stream of a read that was under way, or 0. */
static inline void bench_crash(struct bench *b, unsigned reading)
{
	struct model *m = &b->model;

	if (reading && m->losses < MODEL_LOSSES) {
		store_begin(&b->store, (enum store_stream)reading);
		m->loss[m->losses].stream = (enum store_stream)reading;
		m->loss[m->losses].off = m->head[reading];
		m->loss[m->losses++].pos = model_head(m);
		bench_look_at_index(b);
	}
	arena_reopen(&b->arena);
	ASSERT(arena_slot_record(&b->arena, 0) == b->record);
	ASSERT(arena_claim_record(&b->arena, b->record, sizeof(struct store_state)) == 0);
	ASSERT(store_adopt(&b->store, &b->arena, arena_at(&b->arena, b->record)) == 0);
	arena_claimed(&b->arena);
	for (int i = 0; i < BENCH_READERS; i++)
		if (b->reader[i].on)
			reader_seek(b, &b->reader[i], b->reader[i].next[STORE_OUT],
				b->reader[i].next[STORE_ERR], b->reader[i].lossless);
}

/* ---- ops ---- */

struct op {
	uint8_t kind, who;
	uint32_t x, y;
};

/* Sizes of all magnitudes alike: 0 .. 256 KiB. */
static inline size_t op_size(uint32_t x)
{
	return x >> 5 & ((1u << (x % 19)) - 1);
}

static inline void bench_op(struct bench *b, const struct op *op)
{
	struct reader *r = &b->reader[op->who % BENCH_READERS];
	enum store_stream stream = op->who & 0x80 ? STORE_ERR : STORE_OUT;
	struct model *m = &b->model;

	switch (op->kind % 16) {
	case 0: reader_seek_now(b, r); break;
	case 1:
	case 2:
		reader_seek(b, r, op->x % (m->head[STORE_OUT] + 1),
			op->y % (m->head[STORE_ERR] + 1), op->who & 0x40);
		break;
	case 3: /* where one usually resumes: near the head */
		reader_seek(b, r, m->head[STORE_OUT] - min_of(m->head[STORE_OUT], op_size(op->x)),
			m->head[STORE_ERR] - min_of(m->head[STORE_ERR], op_size(op->y)),
			op->who & 0x40);
		break;
	case 4:
		if (op->x % 8 == 0)
			bench_burst(b, op->y % 3000, op->x >> 3 & 3);
		if (op->x % 64 == 9)
			bench_limit(b, op->y % (512 * KIB));
		if (op->x % 64 == 17)
			b->arena.charge_max = UINT64_MAX;
		ASSERT(store_seek(&b->store, &r->c, m->head[STORE_OUT] + 1 + op->x, 0, true) ==
			-ERANGE);
		ASSERT(store_seek(&b->store, &r->c, 0, m->head[STORE_ERR] + 1 + op->x, true) ==
			-ERANGE);
		break;
	case 5:
		r->on = r->on && op->x % 4 != 0;
		if (r->on)
			reader_seek(b, r, r->next[STORE_OUT], r->next[STORE_ERR], r->lossless);
		r->lossless = op->x & 1;
		break;
	case 6:
		if (op->x % 4 == 0)
			bench_crash(b, op->y % 3);
		break;
	case 7:
		if (r->on)
			reader_drain(b, r);
		break;
	case 8:
	case 9:
	case 10:
		for (uint32_t n = op->who >> 4; r->on && n > 0; n--)
			if (!reader_step(b, r, op_size(op->x), op_size(op->y)))
				break;
		break;
	default: bench_write(b, stream, op_size(op->x)); break;
	}
	bench_check(b);
}
