/*
 * test_store.c - the store in a real arena: chosen cases, then long random runs beside the model.
 * ctest: timeout=120
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "tests/store_model.h"

static uint64_t random_state = 88172645463325252u;

static uint32_t random_u32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 16);
}

static int set_up(void **state)
{
	static struct bench b;

	*state = &b;
	bench_init(&b, MIB);
	return 0;
}

static int tear_down(void **state)
{
	bench_fini(*state);
	return 0;
}

static void write_all(struct bench *b, enum store_stream stream, size_t n)
{
	while (n > 0)
		n -= bench_write(b, stream, n);
}

static struct store_piece peek(struct bench *b, struct reader *r, size_t max)
{
	struct store_piece p;

	store_peek(&b->store, &r->c, max, &p);
	return p;
}

static void assert_gap(
	struct bench *b, struct reader *r, enum store_stream stream, uint64_t off, uint64_t len)
{
	struct store_piece p = peek(b, r, 1);

	assert_int_equal(p.kind, STORE_GAP);
	assert_int_equal(p.stream, stream);
	assert_int_equal(p.off, off);
	assert_int_equal(p.len, len);
	assert_true(reader_step(b, r, 1, 1));
}

static void assert_data(
	struct bench *b, struct reader *r, enum store_stream stream, uint64_t off, uint64_t len)
{
	struct store_piece p = peek(b, r, SIZE_MAX);

	assert_int_equal(p.kind, STORE_DATA);
	assert_int_equal(p.stream, stream);
	assert_int_equal(p.off, off);
	assert_int_equal(p.len, len);
	assert_true(reader_step(b, r, SIZE_MAX, SIZE_MAX));
}

static void assert_nothing(struct bench *b, struct reader *r)
{
	assert_int_equal(peek(b, r, 1).kind, STORE_NOTHING);
	reader_drain(b, r); /* checks that all was given */
}

static void test_create(void **state)
{
	struct bench *b = *state;
	struct store_state st;
	struct store s;

	assert_int_equal(store_create(&s, &b->arena, &st, STORE_RING_MAX + 1), -EINVAL);
	assert_int_equal(store_create(&s, &b->arena, &st, UINT64_MAX), -EINVAL);
	assert_int_equal(store_create(&s, &b->arena, &st, STORE_RING_MAX), 0);
	store_free(&s);
	assert_int_equal(st.extent, 0);
	store_free(&s);
	while (arena_alloc_extent(&b->arena, 512 * MIB))
		;
	assert_int_equal(store_create(&s, &b->arena, &st, STORE_RING_MAX), 0);
	while (arena_alloc_extent(&b->arena, 4096))
		;
	assert_int_equal(store_create(&s, &b->arena, &st, 0), -ENOSPC);
}

static void test_order(void **state)
{
	struct bench *b = *state;
	struct reader *r = &b->reader[0], *late = &b->reader[1];
	struct store_piece p;

	reader_seek(b, r, 0, 0, true);
	assert_nothing(b, r);
	write_all(b, STORE_OUT, 10);
	write_all(b, STORE_OUT, 5); /* the same segment */
	write_all(b, STORE_ERR, 3);
	bench_write(b, STORE_ERR, 0);
	write_all(b, STORE_OUT, 1);
	assert_int_equal(b->store.st->seg_head, 3);
	assert_data(b, r, STORE_OUT, 0, 15);
	assert_data(b, r, STORE_ERR, 0, 3);
	assert_data(b, r, STORE_OUT, 15, 1);
	assert_nothing(b, r);
	write_all(b, STORE_OUT, 4); /* grows a segment that was read to its end */
	assert_data(b, r, STORE_OUT, 16, 4);
	assert_nothing(b, r);

	reader_seek_now(b, late);
	assert_nothing(b, late);
	write_all(b, STORE_ERR, 7);
	p = peek(b, late, 0);
	assert_int_equal(p.kind, STORE_DATA);
	assert_int_equal(p.len, 0);
	assert_data(b, late, STORE_ERR, 3, 7);
	assert_int_equal(store_cursor_pos(&late->c), store_head(&b->store));
}

/* Offsets that no reader ever had together: each stream still comes whole from there on. */
static void test_seek_off_path(void **state)
{
	struct bench *b = *state;
	struct reader *r = &b->reader[0];

	write_all(b, STORE_OUT, 100);
	write_all(b, STORE_ERR, 100);
	write_all(b, STORE_OUT, 100);
	write_all(b, STORE_ERR, 100);
	reader_seek(b, r, 150, 20, true);
	assert_int_equal(store_cursor_pos(&r->c), 120); /* already at what is wanted first */
	assert_data(b, r, STORE_ERR, 20, 80);
	assert_data(b, r, STORE_OUT, 150, 50);
	assert_data(b, r, STORE_ERR, 100, 100);
	reader_seek(b, r, 20, 200, true);
	assert_data(b, r, STORE_OUT, 20, 80);
	assert_data(b, r, STORE_OUT, 100, 100);
	assert_nothing(b, r);
	assert_int_equal(store_seek(&b->store, &r->c, 201, 0, true), -ERANGE);
	assert_int_equal(store_seek(&b->store, &r->c, 0, UINT64_MAX, true), -ERANGE);
}

static void test_gaps(void **state)
{
	struct bench *b = *state;
	struct reader *r = &b->reader[0], *half = &b->reader[1];
	uint64_t out, err;

	bench_restart(b, 100 * KIB);
	reader_seek(b, r, 0, 0, true);
	write_all(b, STORE_OUT, 50 * KIB);
	write_all(b, STORE_ERR, 50 * KIB);
	reader_seek(b, half, 0, 50 * KIB, true);
	write_all(b, STORE_OUT, 300 * KIB);
	write_all(b, STORE_OUT, 1);
	out = store_tail(&b->store)->out;
	err = store_tail(&b->store)->err;
	assert_true(out > 50 * KIB && err == 50 * KIB);
	assert_gap(b, half, STORE_OUT, 0, out); /* it wanted none of stderr: no gap there */
	assert_gap(b, r, STORE_OUT, 0, out);
	assert_gap(b, r, STORE_ERR, 0, 50 * KIB);
	reader_drain(b, r);
	reader_drain(b, half);
	store_oldest(&b->store, &out, &err);
	assert_int_equal(out, 250 * KIB + 1);
	assert_int_equal(err, 50 * KIB);
	reader_seek(b, r, out, err, true);
	assert_data(b, r, STORE_OUT, out, b->store.st->cap - (out + err));
	/* Only who held its place gets what the slack still has. */
	assert_true(store_tail(&b->store)->out < out);
	reader_seek(b, r, 0, 10, false);
	assert_gap(b, r, STORE_OUT, 0, out);
	assert_gap(b, r, STORE_ERR, 10, 50 * KIB - 10);
	reader_drain(b, r);
	reader_seek(b, r, out - 5, err, false);
	assert_gap(b, r, STORE_OUT, out - 5, 5);
	reader_drain(b, r);
	reader_seek(b, r, out - 5, err, true);
	assert_data(b, r, STORE_OUT, out - 5, b->store.st->cap - (out - 5 + err));
}

static void test_ring_of_zero(void **state)
{
	struct bench *b = *state;
	struct reader *live = &b->reader[0];
	uint64_t out, err;

	bench_restart(b, 0);
	reader_seek_now(b, live);
	for (int i = 0; i < 100; i++) {
		write_all(b, STORE_OUT, 60000);
		reader_drain(b, live);
		assert_int_equal(live->next[STORE_OUT], (i + 1) * 60000);
		store_oldest(&b->store, &out, &err);
		assert_int_equal(out, (i + 1) * 60000);
	}
	assert_int_equal(b->store.charged, STORE_SLACK);
}

/* The writer stops only when everything from the pin to the head fills the ring. */
static void test_pin(void **state)
{
	struct bench *b = *state;
	struct reader *slow = &b->reader[0];
	uint8_t *p;

	bench_restart(b, 100 * KIB);
	write_all(b, STORE_OUT, 12345);
	reader_seek_now(b, slow);
	slow->lossless = true;
	while (bench_write(b, STORE_OUT, SIZE_MAX))
		;
	assert_int_equal(store_head(&b->store) - 12345, b->store.st->cap);
	assert_true(reader_step(b, slow, 100, 100));
	assert_int_equal(bench_write(b, STORE_OUT, SIZE_MAX), 100);
	assert_int_equal(store_space(&b->store, bench_pin(b), &p), 0);
	assert_true(store_space(&b->store, UINT64_MAX, &p) >= 64 * KIB);
	reader_seek(b, slow, 0, 0, true); /* a gap pins nothing that is gone */
	assert_true(bench_write(b, STORE_OUT, 1) == 1);
}

static void test_index_full(void **state)
{
	struct bench *b = *state;
	struct reader *slow = &b->reader[0];
	uint32_t n = b->store.st->index_cap;

	reader_seek(b, slow, 0, 0, true);
	slow->lossless = true;
	bench_burst(b, n, 0);
	assert_int_equal(store_head(&b->store), n);
	assert_int_equal(bench_write(b, STORE_ERR, 1), 0); /* held back */
	assert_true(reader_step(b, slow, 1, 1));
	assert_int_equal(bench_write(b, STORE_OUT, 1), 1);
	assert_int_equal(bench_write(b, STORE_OUT, 1), 0);
	reader_drain(b, slow);
	slow->lossless = false;
	bench_burst(b, 3 * n, 0);
	assert_int_equal(store_head(&b->store) - store_tail_pos(&b->store), n);
	reader_drain(b, slow);
	bench_check_memory(b);
	bench_crash(b, STORE_ERR); /* the mark needs an entry too */
	reader_drain(b, slow);
}

/* A segment ends when its length is full; 1 GiB in, as one stream would be. */
static void test_long_segment(void **state)
{
	struct bench *b = *state;
	struct store *s = &b->store;
	struct store_cursor c;
	struct store_piece p;
	uint8_t *space;

	store_seek_now(s, &c);
	while (store_head(s) < 3 * GIB) {
		size_t n = store_space(s, UINT64_MAX, &space);

		store_begin(s, STORE_OUT);
		store_commit(s, STORE_OUT, n);
		do {
			store_peek(s, &c, SIZE_MAX, &p);
			assert_int_not_equal(p.kind, STORE_GAP);
			store_advance(s, &c, &p, (size_t)p.len);
		} while (p.kind == STORE_DATA);
		assert_int_equal(store_cursor_pos(&c), store_head(s));
	}
	assert_int_equal(s->st->seg_head, 4);
	assert_int_equal(s->charged, s->st->cap);
	bench_restart(b, 0);
}

/* ---- memory ---- */

static void test_small_is_cheap(void **state)
{
	struct bench *b = *state;

	assert_int_equal(bench_resident(b), 0); /* idle: nothing */
	for (int i = 0; i < STORE_FIRST; i++)
		write_all(b, i % 2 ? STORE_OUT : STORE_ERR, 256);
	assert_int_equal(bench_resident(b), ARENA_PAGE);
	assert_int_equal(b->store.charged, ARENA_PAGE);
	write_all(b, STORE_ERR, 1);
	assert_int_equal(bench_resident(b), 3 * ARENA_PAGE); /* and one of the index */
	assert_int_equal(b->store.charged, 3 * ARENA_PAGE);
}

/* A store that meets the limit goes on with the memory it has. */
static void test_limit_own(void **state)
{
	struct bench *b = *state;
	struct reader *r = &b->reader[0];

	reader_seek(b, r, 0, 0, true);
	write_all(b, STORE_OUT, 500 * KIB);
	bench_limit(b, 100 * KIB);
	for (int i = 0; i < 300; i++) {
		write_all(b, i % 2 ? STORE_OUT : STORE_ERR, 20000);
		assert_true(b->arena.charged <= b->arena.charge_max);
		bench_check_memory(b);
	}
	assert_true(bench_resident(b) > 500 * KIB);
	bench_burst(b, 3 * b->store.st->index_cap, 0); /* the index is memory too */
	assert_true(b->arena.charged <= b->arena.charge_max);
	bench_check_memory(b);
	reader_drain(b, r);
	b->arena.charge_max = UINT64_MAX;
	write_all(b, STORE_OUT, 2 * MIB);
	assert_true(b->store.charged >= b->store.st->cap);
	reader_drain(b, r);
}

/* Others may have gone over the limit, on their floors: no reason to lose more than what comes in.
 */
static void test_limit_by_others(void **state)
{
	struct bench *b = *state;

	write_all(b, STORE_OUT, 500 * KIB);
	bench_limit(b, 0);
	arena_charge_anyway(&b->arena, 100 * KIB);
	for (int i = 0; i < 300; i++)
		write_all(b, STORE_OUT, 20000);
	assert_true(b->store.charged >= 350 * KIB);
	assert_true(b->arena.charged <= b->arena.charge_max);
	arena_uncharge(&b->arena, 100 * KIB);
}

/* With nothing to be had, there is still the floor; a pin is not broken for more. */
static void test_limit_floor(void **state)
{
	struct bench *b = *state;
	struct reader *slow = &b->reader[0];
	uint64_t n = 0;

	bench_limit(b, 0);
	reader_seek(b, slow, 0, 0, true);
	slow->lossless = true;
	for (size_t got; (got = bench_write(b, STORE_OUT, 10000)); n += got)
		;
	assert_true(n >= STORE_FLOOR / 2 && n <= STORE_FLOOR);
	reader_drain(b, slow);
	assert_true(bench_write(b, STORE_OUT, 10000) > 0);
	slow->on = false;
	write_all(b, STORE_OUT, 5 * MIB);
	assert_true(bench_resident(b) <= STORE_FLOOR + ARENA_PAGE);
}

static unsigned reclaimed;

static bool reclaim_one(void *ctx)
{
	struct store *victim = ctx;

	if (!victim->st)
		return false;
	store_free(victim);
	reclaimed++;
	return true;
}

static void test_limit_reclaim(void **state)
{
	struct bench *b = *state;
	struct store_state ended_state;
	struct store ended;
	uint8_t *p;

	assert_int_equal(store_create(&ended, &b->arena, &ended_state, MIB), 0);
	assert_true(store_space(&ended, UINT64_MAX, &p) >= 200 * KIB);
	store_commit(&ended, STORE_OUT, 200 * KIB);
	b->arena.charge_max = 300 * KIB;
	b->arena.reclaim = reclaim_one;
	b->arena.reclaim_ctx = &ended;
	reclaimed = 0;
	for (int i = 0; i < 10; i++) { /* a large space is not worth a session */
		assert_true(store_space(&b->store, UINT64_MAX, &p) > 0);
		store_commit(&b->store, STORE_OUT, 5000);
	}
	assert_int_equal(reclaimed, 0);
	for (int i = 0; i < 10; i++) {
		assert_true(store_space(&b->store, UINT64_MAX, &p) >= 10000);
		store_commit(&b->store, STORE_OUT, 10000);
	}
	assert_int_equal(reclaimed, 1);
	assert_int_equal(store_tail_pos(&b->store), 0); /* and nothing of its own was lost */
	bench_restart(b, 0);
}

static void test_flat(void **state)
{
	struct bench *b = *state;
	uint64_t before = 0;
	struct stat st;

	for (int i = 0; i < 100000; i++) {
		struct store_state *s;
		struct store store;
		uint64_t record = arena_alloc_record(&b->arena, sizeof(*s));
		uint8_t *p;

		s = arena_at(&b->arena, record);
		assert_int_equal(store_create(&store, &b->arena, s, MIB), 0);
		assert_true(store_space(&store, UINT64_MAX, &p) > 0);
		memcpy(p, "ok\n", 3);
		store_commit(&store, STORE_OUT, i % 1000 ? 3 : 100000);
		store_free(&store);
		arena_free_record(&b->arena, record, sizeof(*s));
		if (i == 10 || i == 99999) {
			assert_int_equal(fstat(b->arena.fd, &st), 0);
			before = before ? before : (uint64_t)st.st_blocks;
			assert_int_equal(st.st_blocks, before);
		}
	}
	assert_int_equal(b->arena.charged, 0);
}

/* ---- random ---- */

static void random_lives(struct bench *b, int lives, bool gentle)
{
	static const uint64_t rings[] = {0, 1, 5000, 100000, MIB, 3 * MIB};

	for (int life = 0; life < lives; life++) {
		b->arena.charge_max = UINT64_MAX;
		bench_restart(b, rings[random_u32() % array_size(rings)]);
		for (int i = 0; i < 4000; i++) {
			struct op op = {
				.kind = (uint8_t)random_u32(),
				.who = (uint8_t)random_u32(),
				.x = random_u32(),
				.y = random_u32(),
			};

			if (gentle && op.kind % 16 == 4)
				continue;
			bench_op(b, &op);
			if (i % 64 == 0)
				bench_check_memory(b);
		}
		assert_true(b->strict || !gentle);
		assert_true(store_head(&b->store) > 5 * MIB);
	}
}

static void test_random_gentle(void **state)
{
	random_lives(*state, 10, true);
}

static void test_random_harsh(void **state)
{
	random_lives(*state, 14, false);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(test_create),
		CASE(test_order),
		CASE(test_seek_off_path),
		CASE(test_gaps),
		CASE(test_ring_of_zero),
		CASE(test_pin),
		CASE(test_index_full),
		CASE(test_long_segment),
		CASE(test_small_is_cheap),
		CASE(test_limit_own),
		CASE(test_limit_by_others),
		CASE(test_limit_floor),
		CASE(test_limit_reclaim),
		CASE(test_flat),
		CASE(test_random_gentle),
		CASE(test_random_harsh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
