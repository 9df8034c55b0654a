/*
 * test_store_takeover.c - what the next agent finds: after kill -9 at any moment everything
 * committed and nothing else, with a mark where bytes may be missing; after corruption an error, or
 * a store that works. ctest: timeout=120
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/store_model.h"

#define KILLS 250

static uint64_t random_state = 88172645463325252u;

static uint32_t random_u32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 16);
}

/* ---- kill -9 ---- */

/* Seen by both processes. `taken`: bytes that the writer took from its source, a pipe as it were;
 * `done`: the head after the last commit that returned. */
struct progress {
	volatile uint64_t taken, done, rounds;
};

/* Which stream a position belongs to: runs of 1 .. 128 bytes, or of 64 KiB, so that writer and
 * checker need nothing in common but the position. */
static uint64_t run_of(uint64_t pos, enum store_stream *ret)
{
	uint64_t area = pos >> 18, size = area % 3 ? 1u << area % 8 : 64 * KIB, run = pos / size;

	*ret = (run * 0x9e3779b97f4a7c15u >> 60) & 1 ? STORE_ERR : STORE_OUT;
	return (run + 1) * size - pos; /* what is left of it */
}

static uint8_t byte_of(uint64_t pos)
{
	return (uint8_t)(pos * 0x9e3779b97f4a7c15u >> 37);
}

static void write_forever(struct store *s, struct progress *shared)
{
	for (;;) {
		uint64_t head = store_head(s);
		enum store_stream stream;
		size_t n, left = run_of(head, &stream);
		uint8_t *p;

		n = store_space(s, UINT64_MAX, &p);
		n = min_of(n, left);
		if (n > 4)
			n = 1 + random_u32() % n;
		store_begin(s, stream);
		shared->taken = head + n;
		for (size_t i = 0; i < n; i++)
			p[i] = byte_of(head + i);
		store_commit(s, stream, n);
		shared->done = head + n;
		if (head / 4096 != (head + n) / 4096 && random_u32() % 4 == 0)
			return;
	}
}

/* Sessions that come and go in slot 1. */
static void churn(struct arena *a)
{
	size_t size = sizeof(struct store_state) + random_u32() % 5000;
	uint64_t record = arena_alloc_record(a, size);
	struct store_state *st = arena_at(a, record);
	struct store s;
	uint8_t *p;

	ASSERT(store_create(&s, a, st, random_u32() % 100000) == 0);
	arena_publish(a, 1, record);
	ASSERT(store_space(&s, UINT64_MAX, &p) > 0);
	store_begin(&s, STORE_OUT);
	store_commit(&s, STORE_OUT, 3);
	arena_unpublish(a, 1);
	store_free(&s);
	arena_free_record(a, record, size);
}

static _Noreturn void child(struct bench *b, struct progress *shared)
{
	if (random_u32() % 2)
		bench_limit(b, random_u32() % (200 * KIB));
	for (;;) {
		write_forever(&b->store, shared);
		shared->rounds++;
		if (shared->rounds % 8 == 0)
			churn(&b->arena);
	}
}

/* How many losses there are; the last one may be at the very end. */
static unsigned check_contents(struct bench *b, uint64_t *ret_last_loss)
{
	struct store *s = &b->store;
	struct store_cursor c;
	struct store_piece p;
	unsigned losses = 0;

	assert_int_equal(store_seek(s, &c, 0, 0, true), 0);
	for (;; store_advance(s, &c, &p, (size_t)p.len)) {
		uint64_t pos;
		enum store_stream stream;

		store_peek(s, &c, 64 * KIB, &p);
		if (p.kind == STORE_NOTHING)
			break;
		if (p.kind == STORE_GAP && p.len > 0)
			continue;
		pos = store_cursor_pos(&c);
		if (p.kind == STORE_GAP) {
			losses++;
			*ret_last_loss = pos;
			continue;
		}
		assert_int_equal(p.off, p.stream == STORE_OUT ? c.out : c.err);
		for (uint64_t i = 0; i < p.len; i++) {
			run_of(pos + i, &stream);
			if (p.stream != stream || p.data[i] != byte_of(pos + i))
				fail_msg("wrong byte at %llu", (unsigned long long)(pos + i));
		}
	}
	assert_int_equal(store_cursor_pos(&c), store_head(s));
	return losses;
}

static void adopt_other(struct bench *b)
{
	uint64_t record = arena_slot_record(&b->arena, 1);
	struct store s;

	if (!record)
		return;
	assert_int_equal(arena_claim_record(&b->arena, record, sizeof(struct store_state)), 0);
	assert_int_equal(store_adopt(&s, &b->arena, arena_at(&b->arena, record)), 0);
	assert_true(store_head(&s) == 0 || store_head(&s) == 3);
	arena_unpublish(&b->arena, 1);
	store_free(&s);
	arena_free_record(&b->arena, record, sizeof(struct store_state));
}

static void one_kill(struct bench *b, struct progress *shared)
{
	uint64_t loss_at = UINT64_MAX, taken;
	unsigned losses;
	bool reading;
	int status;
	pid_t pid;

	random_u32();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(b, shared);
	usleep(500 + random_u32() % 3000);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	taken = shared->taken;

	arena_reopen(&b->arena);
	assert_int_equal(arena_claim_record(&b->arena, b->record, sizeof(struct store_state)), 0);
	reading = ((struct store_state *)arena_at(&b->arena, b->record))->reading;
	assert_int_equal(store_adopt(&b->store, &b->arena, arena_at(&b->arena, b->record)), 0);
	adopt_other(b);
	arena_claimed(&b->arena);
	assert_true(bench_resident(b) <= b->store.charged);

	losses = check_contents(b, &loss_at);
	assert_true(store_head(&b->store) >= shared->done);
	assert_true(store_head(&b->store) <= taken || taken == 0);
	if (reading)
		assert_true(losses > 0 && loss_at == store_head(&b->store));
	if (taken > store_head(&b->store))
		assert_true(reading);
	shared->taken = shared->done = store_head(&b->store);
}

static void test_kill(void **state)
{
	struct progress *shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned marked = 0, moved = 0;
	static struct bench b;

	(void)state;
	assert_true(shared != MAP_FAILED);
	bench_init(&b, 100 * KIB);
	for (int i = 0; i < KILLS; i++) {
		uint64_t head = store_head(&b.store), segs;
		const struct store_state *st;

		if (i % 20 == 19) {
			b.arena.charge_max = UINT64_MAX;
			bench_restart(&b, random_u32() % (2 * MIB));
			shared->taken = shared->done = head = 0;
		}
		one_kill(&b, shared);
		st = b.store.st;
		segs = st->seg_head;
		moved += store_head(&b.store) > head;
		marked += segs > 0 && entry_lost(*store_entry(&b.store, segs - 1));
	}
	print_message("%u of %u marked a loss, %u wrote\n", marked, KILLS, moved);
	assert_true(marked > KILLS / 50 && moved > KILLS / 2);
	b.arena.charge_max = UINT64_MAX;
	bench_fini(&b);
	munmap(shared, sizeof(*shared));
}

/* ---- corruption ---- */

/* Anything at all, on a store that need not make sense. */
static void use(struct store *s)
{
	struct store_cursor c[2];
	uint64_t out, err;

	store_seek_now(s, &c[0]);
	store_oldest(s, &out, &err);
	assert_int_equal(store_seek(s, &c[1], out, err, true), 0);
	for (int i = 0; i < 40; i++) {
		enum store_stream stream = random_u32() % 2 ? STORE_OUT : STORE_ERR;
		struct store_cursor *one = &c[random_u32() % 2];
		struct store_piece p;
		volatile uint8_t sum = 0;
		uint8_t *space;
		size_t n;

		n = store_space(s, random_u32() % 4 ? UINT64_MAX : store_cursor_pos(one), &space);
		if (n > 0)
			n = random_u32() % (n + 1);
		store_begin(s, stream);
		memset(space, 1, n);
		store_commit(s, stream, n);
		for (int k = 0; k < 4; k++) {
			store_peek(s, one, 1u << random_u32() % 19, &p);
			for (uint64_t j = 0; p.kind == STORE_DATA && j < p.len; j++)
				sum = (uint8_t)(sum + p.data[j]);
			store_advance(s, one, &p, (size_t)(p.kind == STORE_DATA ? p.len : 0));
		}
		if (i % 10 == 0)
			assert_int_equal(
				store_seek(s, one, random_u32() % (s->head[STORE_OUT] + 1),
					random_u32() % (s->head[STORE_ERR] + 1), i % 20 == 0),
				0);
	}
}

/* Flips a few bits of the state, or of the live index entries. */
static void corrupt(struct store_state *st, uint32_t *index)
{
	uint32_t entries = st->index_cap;

	for (uint32_t n = 1 + random_u32() % 3; n > 0; n--) {
		uint32_t bit = random_u32();

		if (random_u32() % 4 == 0)
			index[bit / 32 % entries] ^= 1u << bit % 32;
		else
			((uint8_t *)st)[bit / 8 % sizeof(*st)] ^= (uint8_t)(1u << bit % 8);
	}
}

static void corrupt_and_adopt(struct bench *b, unsigned *refused)
{
	struct store_state *st = b->store.st, good = *st;
	uint32_t *index = malloc(good.index_cap * sizeof(*index)), *live = b->store.index;
	struct arena a;
	struct store s;

	assert_non_null(index);
	memcpy(index, live, good.index_cap * sizeof(*index));
	corrupt(st, live);
	assert_int_equal(arena_open(&a, dup(b->arena.fd), UINT64_MAX), 0);
	assert_int_equal(arena_claim_record(&a, b->record, sizeof(*st)), 0);
	if (store_adopt(&s, &a, arena_at(&a, b->record)) == 0) {
		use(&s);
		store_free(&s);
	} else {
		(*refused)++;
		assert_null(s.st);
		assert_int_equal(a.charged, 0);
	}
	*st = good;
	memcpy(live, index, good.index_cap * sizeof(*index));
	free(index);
	if (*refused % 8 == 0 || !s.st) { /* nothing was claimed: the good one still fits */
		arena_fini(&a);
		assert_int_equal(arena_open(&a, dup(b->arena.fd), UINT64_MAX), 0);
		assert_int_equal(store_adopt(&s, &a, arena_at(&a, b->record)), 0);
		assert_int_equal(store_head(&s), store_head(&b->store));
	}
	arena_fini(&a);
}

static void test_corrupt(void **state)
{
	unsigned refused = 0;
	static struct bench b;

	(void)state;
	bench_init(&b, 50 * KIB);
	for (int i = 0; i < 1500; i++) {
		if (i % 50 == 0) {
			bench_restart(&b, random_u32() % 200000);
			bench_burst(&b, random_u32() % 5000, random_u32() % 4);
			bench_write(&b, STORE_OUT, random_u32() % 200000);
			bench_burst(&b, random_u32() % 5000, random_u32() % 400);
		}
		corrupt_and_adopt(&b, &refused);
	}
	print_message("%u of 1500 refused\n", refused);
	assert_true(refused > 500);
	bench_fini(&b);
}

static void refuse(struct bench *b, const struct store_state *good, const char *what)
{
	struct store_state *st = b->store.st;
	struct arena a;
	struct store s;

	assert_int_equal(arena_open(&a, dup(b->arena.fd), UINT64_MAX), 0);
	if (store_adopt(&s, &a, arena_at(&a, b->record)) != -EINVAL)
		fail_msg("%s: not refused", what);
	arena_fini(&a);
	*st = *good;
}

#define REFUSE(change)                                                                             \
	do {                                                                                       \
		change;                                                                            \
		refuse(&b, &good, #change);                                                        \
	} while (0)

static void test_refuses(void **state)
{
	static struct bench b;
	struct store_state *st, good;
	struct store_tail *t;

	(void)state;
	bench_init(&b, 50 * KIB);
	bench_burst(&b, 10, 100);
	bench_write(&b, STORE_OUT, 1000);
	st = b.store.st;
	t = &st->tail[st->tail_sel];
	good = *st;
	REFUSE(st->extent++);
	REFUSE(st->extent -= ARENA_PAGE);
	REFUSE(st->extent = b.arena.head->size - ARENA_PAGE);
	REFUSE(st->extent = UINT64_MAX / ARENA_PAGE * ARENA_PAGE);
	REFUSE(st->extent_size += ARENA_PAGE);
	REFUSE(st->cap += ARENA_PAGE);
	REFUSE(st->cap = 0);
	REFUSE(st->keep += ARENA_PAGE);
	REFUSE(st->keep = UINT32_MAX);
	REFUSE(st->index_cap /= 2);
	REFUSE(st->tail_sel = 2);
	REFUSE(st->reading = STORE_LOST);
	REFUSE((st->seg_head = 0, t->out = 1));
	REFUSE(st->seg_head = UINT64_MAX);
	REFUSE(st->seg_head++); /* an entry of 0 */
	REFUSE(t->seg = st->seg_head);
	REFUSE(t->seg = UINT64_MAX);
	REFUSE(t->seg_skip = entry_len(st->first[0]) + 1);
	REFUSE(t->out = UINT64_MAX);
	REFUSE(t->err = 1ULL << 62);
	REFUSE(st->first[3] = entry_make(STORE_OUT, 0));
	REFUSE(st->first[3] = 5); /* stream 0 */
	REFUSE(st->first[3] = entry_make(STORE_LOST, 0));
	REFUSE(st->first[3] = entry_make(STORE_LOST, STORE_LOST));
	REFUSE(st->first[3] = entry_make(STORE_ERR, st->cap)); /* more than the ring holds */
	bench_fini(&b);
}

/* The tail is moved in the copy that nobody reads. */
static void test_tail_copies(void **state)
{
	static struct bench b;

	(void)state;
	bench_init(&b, 50 * KIB);
	for (int moves = 0; moves < 10;) {
		struct store_tail before = *store_tail(&b.store);
		uint32_t sel = b.store.st->tail_sel;

		bench_write(&b, STORE_OUT, 10000);
		if (b.store.st->tail_sel == sel)
			continue;
		assert_memory_equal(&b.store.st->tail[sel], &before, sizeof(before));
		moves++;
	}
	bench_fini(&b);
}

/* Two records that claim one extent: the second gets an error, the first is not hurt. */
static void test_claimed_twice(void **state)
{
	static struct bench b;
	struct store_state *copy;
	struct store s;

	(void)state;
	bench_init(&b, MIB);
	bench_write(&b, STORE_OUT, 5000);
	copy = arena_at(&b.arena, arena_alloc_record(&b.arena, sizeof(*copy)));
	*copy = *b.store.st;
	assert_int_equal(store_adopt(&s, &b.arena, copy), -EINVAL);
	store_free(&s);
	copy->seg_head = 77; /* nor by one that is wrong in itself */
	assert_int_equal(store_adopt(&s, &b.arena, copy), -EINVAL);
	reader_seek(&b, &b.reader[0], 0, 0, true);
	reader_drain(&b, &b.reader[0]);
	bench_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill),
		cmocka_unit_test(test_corrupt),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_tail_copies),
		cmocka_unit_test(test_claimed_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
