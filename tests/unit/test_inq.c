/* test_inq.c - the stdin queue against a plain count of bytes, its memory, and its takeover. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "agentd/inq.h"

struct fixture {
	struct arena arena;
	struct inq q;
	uint64_t record, base; /* bytes in memory before */
};

static uint64_t random_state = 88172645463325252u;

static uint32_t random_u32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 16);
}

static uint8_t byte_at(uint64_t off)
{
	return (uint8_t)(off * 0x9e3779b97f4a7c15u >> 35);
}

static uint64_t resident(const struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->arena.fd, &st), 0);
	return (uint64_t)st.st_blocks * 512 - f->base;
}

static int set_up(void **state)
{
	static struct fixture f;

	*state = &f;
	assert_int_equal(arena_create(&f.arena, 4, UINT64_MAX), 0);
	f.record = arena_alloc_record(&f.arena, sizeof(struct inq_state));
	arena_publish(&f.arena, 0, f.record);
	f.base = 0;
	f.base = resident(&f);
	return inq_create(&f.q, &f.arena, arena_at(&f.arena, f.record), 64 * KIB);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	inq_free(&f->q);
	inq_free(&f->q);
	assert_int_equal(f->arena.charged, 0);
	assert_true(resident(f) <= ARENA_PAGE); /* the warm one */
	arena_fini(&f->arena);
	return 0;
}

static void append(struct inq *q, size_t n)
{
	uint8_t data[64 * KIB];

	for (size_t i = 0; i < n; i++)
		data[i] = byte_at(q->st->accepted + i);
	inq_append(q, data, n);
}

/* Offers what there is and takes up to n of it. */
static size_t take(struct inq *q, size_t n)
{
	const uint8_t *p;
	size_t len = inq_peek(q, &p);

	assert_true(len <= inq_len(q) && (len > 0) == (inq_len(q) > 0));
	assert_int_equal(q->st->writing, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], byte_at(q->st->written + i));
	n = min_of(n, len);
	inq_taken(q, n);
	assert_int_equal(q->st->writing, 0);
	return n;
}

static void test_create(void **state)
{
	struct fixture *f = *state;
	struct inq_state st;
	struct inq q;

	assert_int_equal(inq_create(&q, &f->arena, &st, 0), -EINVAL);
	assert_int_equal(inq_create(&q, &f->arena, &st, UINT64_MAX), -EINVAL);
	assert_int_equal(inq_create(&q, &f->arena, &st, f->arena.head->size), -ENOSPC);
	assert_int_equal(inq_create(&q, &f->arena, &st, 5000), 0);
	assert_int_equal(inq_free_space(&q), 8192);
	inq_free(&q);
	assert_int_equal(st.extent, 0);
	assert_int_equal(resident(f), 0);
}

static void test_trickle(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 100000; i++) {
		append(&f->q, 3);
		assert_int_equal(take(&f->q, 100), 3);
	}
	assert_int_equal(resident(f), ARENA_PAGE); /* always the same */
	assert_int_equal(f->arena.charged, ARENA_PAGE);
	assert_int_equal(take(&f->q, 1), 0); /* empty */
}

static void test_burst(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(inq_free_space(&f->q), 64 * KIB);
	append(&f->q, 64 * KIB);
	assert_int_equal(inq_free_space(&f->q), 0);
	assert_int_equal(f->arena.charged, 64 * KIB);
	assert_int_equal(take(&f->q, 1000), 1000);
	append(&f->q, 900); /* around the end */
	assert_int_equal(inq_free_space(&f->q), 100);
	while (inq_len(&f->q))
		take(&f->q, 10000);
	assert_int_equal(resident(f), 64 * KIB); /* a stream would need it again at once */
	append(&f->q, 1);
	take(&f->q, 1);
	assert_int_equal(resident(f), ARENA_PAGE);
	assert_int_equal(f->arena.charged, ARENA_PAGE);
}

static void test_over_limit(void **state)
{
	struct fixture *f = *state;

	f->arena.charge_max = 8192;
	append(&f->q, 20000); /* granted before: not refused now */
	assert_int_equal(f->arena.charged, 20480);
	take(&f->q, 20000);
}

static void test_discard(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p;

	append(&f->q, 1000);
	inq_peek(&f->q, &p);
	inq_discard(&f->q);
	assert_int_equal(inq_len(&f->q), 0);
	assert_int_equal(f->q.st->writing, 0);
	assert_int_equal(f->q.st->written, 1000);
	append(&f->q, 10);
	assert_int_equal(take(&f->q, 10), 10);
}

/* kill -9 and a new agent. */
static int reopen(struct fixture *f)
{
	struct arena next;

	assert_int_equal(arena_open(&next, dup(f->arena.fd), f->arena.charge_max), 0);
	arena_fini(&f->arena);
	f->arena = next;
	assert_int_equal(arena_claim_record(&f->arena, f->record, sizeof(struct inq_state)), 0);
	return inq_adopt(&f->q, &f->arena, arena_at(&f->arena, f->record));
}

static void test_adopt(void **state)
{
	struct fixture *f = *state;
	struct inq second;
	const uint8_t *p;

	append(&f->q, 30000);
	take(&f->q, 20000);
	inq_peek(&f->q, &p);
	assert_int_equal(reopen(f), 0);
	assert_int_equal(inq_len(&f->q), 10000);
	assert_int_equal(f->q.st->writing, 10000); /* who knows */
	assert_int_equal(f->arena.charged, resident(f));
	assert_int_equal(inq_adopt(&second, &f->arena, f->q.st), -EINVAL); /* not free */
	inq_fill(&f->q, (const uint8_t *)"what", 4); /* there, but it does not count */
	inq_append(&f->q, NULL, 0);
	assert_int_equal(reopen(f), 0);
	assert_int_equal(inq_len(&f->q), 10000);
	inq_peek(&f->q, &p);
	assert_int_equal(take(&f->q, 10000), 10000);
	append(&f->q, 5);
	f->q.st->writing = 10000; /* as if killed before it was cleared */
	assert_int_equal(reopen(f), 0);
	assert_int_equal(f->q.st->writing, 5);
	assert_int_equal(resident(f), ARENA_PAGE); /* the burst is over */
}

static void test_adopt_refuses(void **state)
{
	struct fixture *f = *state;
	struct inq_state *st = f->q.st, good;
	unsigned refused = 0;

	append(&f->q, 60000);
	take(&f->q, 50000);
	good = *st;
	for (int i = 0; i < 3000; i++) {
		struct inq q = {0};
		unsigned bit = random_u32() % (sizeof(good) * 8);
		struct arena a;

		((uint8_t *)st)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(arena_open(&a, dup(f->arena.fd), UINT64_MAX), 0);
		if (inq_adopt(&q, &a, arena_at(&a, f->record)) < 0) {
			refused++;
		} else { /* then it is a queue like any other */
			uint8_t junk[100] = {0};
			const uint8_t *p;

			inq_append(&q, junk, min_of(100, (size_t)inq_free_space(&q)));
			inq_taken(&q, inq_peek(&q, &p) / 2);
			inq_free(&q);
		}
		arena_fini(&a);
		*st = good;
	}
	assert_true(refused > 1000);
}

static void test_random(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 20000; i++) {
		uint32_t x = random_u32();

		switch (x % 5) {
		case 0:
		case 1:
			append(&f->q, min_of(x >> 8 & 0x7fff, (size_t)inq_free_space(&f->q)));
			break;
		case 2: append(&f->q, min_of(x >> 8 & 0xff, (size_t)inq_free_space(&f->q))); break;
		case 3: take(&f->q, x >> 8 & 0x7fff); break;
		case 4:
			if (x % 50 == 4)
				assert_int_equal(reopen(f), 0);
			while (x & 0x100 && take(&f->q, SIZE_MAX))
				;
			break;
		}
		assert_int_equal(f->arena.charged, f->q.charged);
		assert_true(resident(f) <= f->q.charged);
	}
	assert_true(f->q.st->accepted > 10 * MIB);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(test_create),
		CASE(test_trickle),
		CASE(test_burst),
		CASE(test_over_limit),
		CASE(test_discard),
		CASE(test_adopt),
		CASE(test_adopt_refuses),
		CASE(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
