/*
 * test_arena.c - the arena as a real memfd: what is handed out never overlaps, what is freed costs
 * nothing, and a file that is not an arena is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agentd/arena.h"

static uint64_t random_state = 88172645463325252u;

static uint32_t random_u32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 16);
}

static uint64_t resident(const struct arena *a)
{
	struct stat st;

	assert_int_equal(fstat(a->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static int set_up(void **state)
{
	static struct arena a;

	*state = &a;
	return arena_create(&a, 100, UINT64_MAX);
}

static int tear_down(void **state)
{
	arena_fini(*state);
	arena_fini(*state); /* harmless */
	return 0;
}

static void test_create(void **state)
{
	struct arena *a = *state, bad;

	assert_true(a->head->size >= GIB);
	assert_int_equal(a->head->magic, ARENA_MAGIC);
	assert_int_equal(a->head->slots, 100);
	assert_int_equal(a->head->epoch, 1);
	assert_true(a->head->instance != 0);
	assert_int_equal(fcntl(a->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_true(resident(a) <= ARENA_PAGE); /* the head alone */
	assert_int_equal(arena_create(&bad, 0, 0), -EINVAL);
	assert_int_equal(arena_create(&bad, UINT32_MAX, 0), -EINVAL);
	arena_fini(&bad);
}

/* In a child: what arena_create() does under a limit. */
static int under_limit(int resource, uint64_t limit, uint64_t *ret_size)
{
	uint64_t *shared =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status, r;
	pid_t pid = fork();

	assert_true(shared != MAP_FAILED && pid >= 0);
	if (pid == 0) {
		struct arena a;

		signal(SIGXFSZ, SIG_IGN); /* as agentd does */
		setrlimit(resource, &(struct rlimit){limit, limit});
		r = arena_create(&a, 100, 0);
		*shared = r == 0 ? a.head->size : 0;
		_exit(-r);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	*ret_size = *shared;
	munmap(shared, 4096);
	return -WEXITSTATUS(status);
}

static void test_limits(void **state)
{
	uint64_t size;

	(void)state;
	assert_int_equal(under_limit(RLIMIT_FSIZE, 5 * GIB, &size), 0);
	assert_int_equal(size, 4 * GIB);
	assert_int_equal(under_limit(RLIMIT_FSIZE, 100 * MIB, &size), -EFBIG);
	assert_int_equal(under_limit(RLIMIT_AS, 100 * MIB, &size), -ENOMEM);
	assert_int_equal(under_limit(RLIMIT_NOFILE, 0, &size), -EMFILE);
}

static int try_open(const struct arena *a)
{
	struct arena b;
	int fd = dup(a->fd), r = arena_open(&b, fd, 0);

	if (r < 0)
		close(fd); /* still ours */
	arena_fini(&b);
	return r;
}

static void test_open(void **state)
{
	struct arena *a = *state, b;
	uint64_t off = arena_alloc_record(a, 10);

	memcpy(arena_at(a, off), "hello", 6);
	arena_publish(a, 7, off);
	arena_publish(a, 9, off);
	a->dir[1] = 1;          /* before the records */
	a->dir[2] = UINT32_MAX; /* behind them */
	assert_int_equal(arena_open(&b, dup(a->fd), 77), 0);
	assert_int_equal(b.head->epoch, 2);
	assert_int_equal(b.head->instance, a->head->instance);
	assert_int_equal(b.charge_max, 77);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(arena_slot_record(&b, i), i == 7 || i == 9 ? off : 0);
	assert_int_equal(arena_slot_record(&b, 100), 0);
	assert_string_equal(arena_at(&b, off), "hello");
	assert_int_equal(arena_claim_record(&b, off, 10), 0);
	assert_int_equal(arena_claim_record(&b, off, 10), -EINVAL); /* slot 9 says the same */
	arena_fini(&b);
}

static void test_open_refuses(void **state)
{
	struct arena *a = *state, b;
	int fd, p[2];

	/* Every single bit; 100 slots and 1000 make the same layout, more do not. */
	for (size_t i = 0; i < offsetof(struct arena_head, epoch) * 8; i++) {
		if (i - offsetof(struct arena_head, slots) * 8 < 10)
			continue;
		((uint8_t *)a->head)[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(try_open(a), -EINVAL);
		((uint8_t *)a->head)[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(try_open(a), 0);
	assert_int_equal(ftruncate(a->fd, (off_t)(a->head->size - ARENA_PAGE)), 0);
	assert_int_equal(try_open(a), -EINVAL);

	assert_int_equal(arena_open(&b, -1, 0), -EBADF);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(arena_open(&b, p[0], 0), -EINVAL);
	close(p[0]);
	close(p[1]);
	fd = memfd_create("small", MFD_CLOEXEC);
	assert_int_equal(arena_open(&b, fd, 0), -EINVAL);
	assert_int_equal(ftruncate(fd, (off_t)(4 * GIB)), 0);
	assert_int_equal(arena_open(&b, fd, 0), -EINVAL); /* all zero */
	close(fd);
}

static void test_records(void **state)
{
	struct arena *a = *state;
	uint64_t x = arena_alloc_record(a, 1), y = arena_alloc_record(a, 257);
	uint64_t z = arena_alloc_record(a, 100);

	assert_int_equal(y - x, 256);
	assert_int_equal(z - y, 512);
	memset(arena_at(a, y), 0xff, 512);
	arena_free_record(a, y, 257);
	assert_int_equal(arena_alloc_record(a, 300), y);
	for (int i = 0; i < 512; i++)
		assert_int_equal(((uint8_t *)arena_at(a, y))[i], 0);
	assert_int_equal(arena_alloc_record(a, 0), 0);
	assert_int_equal(arena_alloc_record(a, a->head->records_size), 0);
	assert_int_equal(arena_alloc_record(a, SIZE_MAX), 0);
	arena_free_record(a, x, 1);
	arena_free_record(a, z, 100);
	arena_free_record(a, y, 300);
	assert_int_equal(
		arena_alloc_record(a, a->head->records_size), x); /* all in one piece again */
	assert_true(resident(a) > 60 * MIB);
	arena_free_record(a, x, a->head->records_size);
	assert_true(resident(a) <= 2 * ARENA_PAGE);
}

static void test_claims(void **state)
{
	struct arena *a = *state;
	const struct arena_head *h = a->head;
	uint64_t r = h->records_off + 1024, e = h->extents_off + 8 * ARENA_PAGE;

	assert_int_equal(arena_claim_record(a, r + 1, 10), -EINVAL);
	assert_int_equal(arena_claim_record(a, h->records_off - 256, 256), -EINVAL);
	assert_int_equal(arena_claim_record(a, r, h->records_size), -EINVAL);
	assert_int_equal(arena_claim_record(a, r, SIZE_MAX), -EINVAL);
	assert_int_equal(arena_claim_record(a, UINT64_MAX - 255, 256), -EINVAL);
	assert_int_equal(arena_claim_record(a, r, 0), -EINVAL);
	assert_int_equal(arena_claim_record(a, r, 256), 0); /* in two steps */
	assert_int_equal(arena_claim_record(a, r + 256, 100), 0);
	assert_int_equal(arena_claim_record(a, r - 256, 257), -EINVAL);
	assert_int_equal(arena_claim_record(a, r - 256, 256), 0);
	assert_int_equal(arena_claim_record(a, r + 500, 1), -EINVAL);
	assert_int_equal(arena_alloc_record(a, 768), h->records_off);
	assert_int_equal(arena_alloc_record(a, 1), r + 512);
	arena_free_record(a, r, 512);
	assert_int_equal(arena_alloc_record(a, 512), r);

	assert_int_equal(arena_claim_extent(a, e + 256, ARENA_PAGE), -EINVAL);
	assert_int_equal(arena_claim_extent(a, e, 100), -EINVAL);
	assert_int_equal(arena_claim_extent(a, e, 0), -EINVAL);
	assert_int_equal(arena_claim_extent(a, h->extents_off - ARENA_PAGE, ARENA_PAGE), -EINVAL);
	assert_int_equal(arena_claim_extent(a, e, h->size), -EINVAL);
	assert_int_equal(arena_claim_extent(a, h->size, ARENA_PAGE), -EINVAL);
	assert_int_equal(arena_claim_extent(a, e, h->size - e), 0);
	assert_int_equal(arena_claim_extent(a, e + 4 * ARENA_PAGE, ARENA_PAGE), -EINVAL);
	assert_int_equal(arena_alloc_extent(a, 8 * ARENA_PAGE), h->extents_off);
	assert_int_equal(arena_alloc_extent(a, 1), 0); /* full */
}

/* Pieces of random sizes against a map of who owns which granule. */
static void test_random_records(void **state)
{
	enum { PIECES = 300, GRANULES = (int)(64 * MIB / ARENA_GRANULE) };
	struct arena *a = *state;
	struct {
		uint64_t off;
		size_t size;
	} piece[PIECES] = {0};
	uint8_t *owned = calloc(1, GRANULES);

	assert_non_null(owned);
	for (int i = 0; i < 50000; i++) {
		unsigned p = random_u32() % PIECES;
		bool take = piece[p].off == 0;
		size_t n;

		if (take) {
			piece[p].size = 1 + random_u32() % (random_u32() % 64 ? 3000 : 4 << 20);
			piece[p].off = arena_alloc_record(a, piece[p].size);
			assert_true(piece[p].off || piece[p].size > 4096);
			if (!piece[p].off)
				continue;
		}
		n = (piece[p].off - a->head->records_off) / ARENA_GRANULE;
		for (size_t g = 0; g * ARENA_GRANULE < piece[p].size; g++) {
			assert_int_equal(owned[n + g], take ? 0 : 1 + p % 255);
			owned[n + g] = take ? (uint8_t)(1 + p % 255) : 0;
		}
		if (!take) {
			arena_free_record(a, piece[p].off, piece[p].size);
			piece[p].off = 0;
		}
	}
	for (unsigned p = 0; p < PIECES; p++)
		if (piece[p].off)
			arena_free_record(a, piece[p].off, piece[p].size);
	free(owned);
	assert_int_equal(arena_alloc_record(a, a->head->records_size), a->head->records_off);
}

static void touch(struct arena *a, uint64_t off, uint64_t len)
{
	memset(arena_at(a, off), 1, len);
}

static void test_warm(void **state)
{
	struct arena *a = *state;
	uint64_t size = 300 * KIB, first = arena_alloc_extent(a, size), base = resident(a);
	uint64_t second = arena_alloc_extent(a, size), other = arena_alloc_extent(a, 4 * KIB);

	assert_int_equal(resident(a), base); /* nothing costs until touched */
	touch(a, first, 100);
	touch(a, second, 200 * KIB);
	touch(a, other, 100);
	arena_free_extent(a, other, 4 * KIB, 100);
	arena_free_extent(a, first, size, 100);
	arena_free_extent(a, second, size, 200 * KIB);
	assert_int_equal(resident(a), base + 3 * ARENA_PAGE);  /* the first page of each */
	assert_int_equal(arena_alloc_extent(a, size), second); /* the newest of that size */
	assert_int_equal(arena_alloc_extent(a, size), first);
	assert_true(arena_alloc_extent(a, size) > other);
	arena_free_extent(a, first, size, 0); /* not touched: plain free space at once */
	assert_int_equal(a->warm_n, 1);
	arena_free_extent(a, second, size, 1);
	/* When space is short the warm ones are plain free space too. */
	assert_int_equal(arena_alloc_extent(a, a->head->size), 0);
	assert_int_equal(a->warm_n, 0);
	assert_int_equal(arena_alloc_extent(a, 2 * size + 4 * KIB), first);
	assert_int_equal(resident(a), base + ARENA_PAGE); /* `first` was a lie above */
}

static void test_warm_bound(void **state)
{
	struct arena *a = *state;
	uint64_t off[100], base;

	arena_find_slot(a); /* looking at the directory brings it in, and arena_open() looks */
	base = resident(a);
	for (int i = 0; i < 100; i++) {
		off[i] = arena_alloc_extent(a, MIB);
		touch(a, off[i], MIB);
	}
	for (int i = 0; i < 100; i++)
		arena_free_extent(a, off[i], MIB, MIB);
	assert_int_equal(a->warm_n, ARENA_WARM);
	assert_int_equal(resident(a), base + ARENA_WARM * ARENA_PAGE);
	/* The next agent cannot know of them: what nobody claims gives its memory back. */
	arena_claimed(a);
	assert_int_equal(resident(a), base + ARENA_WARM * ARENA_PAGE);
	{
		struct arena b;

		assert_int_equal(arena_open(&b, dup(a->fd), 0), 0);
		assert_int_equal(arena_claim_extent(&b, off[99], MIB), 0);
		arena_claimed(&b);
		assert_int_equal(resident(&b), base + ARENA_PAGE);
		arena_fini(&b);
	}
}

static void test_directory(void **state)
{
	struct arena *a = *state;
	uint64_t off = arena_alloc_record(a, 1);

	for (int i = 0; i < 100; i++) {
		assert_int_equal(arena_find_slot(a), i);
		arena_publish(a, (unsigned)i, off);
	}
	assert_int_equal(arena_find_slot(a), -ENOSPC);
	arena_unpublish(a, 60);
	assert_int_equal(arena_find_slot(a), 60);
	arena_unpublish(a, 40);
	assert_int_equal(arena_find_slot(a), 40);
	arena_publish(a, 40, off);
	assert_int_equal(arena_find_slot(a), 60);
	arena_publish(a, 60, off);
	assert_int_equal(arena_find_slot(a), -ENOSPC);
	arena_unpublish(a, 99);
	assert_int_equal(arena_find_slot(a), 99);
	assert_int_equal(arena_slot_record(a, 99), 0);
	assert_int_equal(arena_slot_record(a, 98), off);
}

static struct arena *reclaimed_from;
static unsigned reclaimable;

static bool reclaim(void *ctx)
{
	assert_ptr_equal(ctx, &reclaimable);
	if (reclaimable == 0)
		return false;
	reclaimable--;
	arena_uncharge(reclaimed_from, 4096);
	return true;
}

static void test_charge(void **state)
{
	struct arena *a = *state;

	a->charge_max = 10 * 4096;
	assert_true(arena_charge(a, 10 * 4096));
	assert_false(arena_charge(a, 4096));
	assert_true(arena_charge(a, 0));
	a->reclaim = reclaim;
	a->reclaim_ctx = &reclaimable;
	reclaimed_from = a;
	reclaimable = 5;
	assert_true(arena_charge(a, 2 * 4096));
	assert_int_equal(reclaimable, 3); /* no more than needed */
	assert_false(arena_charge(a, 4 * 4096));
	assert_int_equal(reclaimable, 0);
	assert_int_equal(a->charged, 7 * 4096);
	arena_charge_anyway(a, 4 * 4096);
	assert_int_equal(a->charged, 11 * 4096);
	assert_false(arena_charge(a, 4096));
	arena_uncharge(a, 11 * 4096);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(test_create),
		CASE(test_limits),
		CASE(test_open),
		CASE(test_open_refuses),
		CASE(test_records),
		CASE(test_claims),
		CASE(test_random_records),
		CASE(test_warm),
		CASE(test_warm_bound),
		CASE(test_directory),
		CASE(test_charge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
