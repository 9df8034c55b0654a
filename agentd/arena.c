/*
 * The file is laid out once, from its size and the number of slots alone, so checking a found arena
 * is computing the layout again and comparing. Nobody else writes while we do, so there are no
 * locks; what matters is only that a kill between any two instructions leaves the directory
 * pointing at whole records: hence the release stores.
 *
 * Extents are where the time goes: the first touch of a page costs a fault, giving it back a system
 * call, together more than all the rest of a short session. So a freed extent keeps its first page
 * for a while on a short stack (warm), from which the next session of the same shape is served.
 */
#include "agentd/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#define SIZE_MAX_TRY (64 * GIB)
#define SIZE_MIN_TRY (1 * GIB)
#define SIZE_MIN     (128 * MIB) /* of an arena that is found */
#define RECORDS_SIZE (64 * MIB)
#define SLOTS_MAX    (1u << 20)

/* A record at least this large gives its memory back when freed; smaller ones are soon used again.
 */
#define RECORD_PUNCH (64 * KIB)

static void lay_out(struct arena_head *h, uint64_t size, uint32_t slots)
{
	h->magic = ARENA_MAGIC;
	h->version = ARENA_VERSION;
	h->size = size;
	h->slots = slots;
	h->dir_off = ARENA_PAGE;
	h->records_off = align_up(h->dir_off + slots * sizeof(uint32_t), ARENA_PAGE);
	h->records_size = RECORDS_SIZE;
	h->extents_off = h->records_off + h->records_size;
}

static int map(struct arena *a, int fd, uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	/* Best effort: a huge page under a three-byte output would be the end of "costs what it
	 * touches", and what sessions printed has no business in a core dump. */
	madvise(p, size, MADV_NOHUGEPAGE);
	madvise(p, size, MADV_DONTDUMP);
	a->base = p;
	a->head = p;
	return 0;
}

/* Everything in ordinary memory, once the head is right. */
static int set_up(struct arena *a, int fd, uint64_t charge_max)
{
	const struct arena_head *h = a->head;
	int r;

	a->dir = arena_at(a, h->dir_off);
	a->charge_max = charge_max;
	r = ranges_init(&a->records, h->records_off, h->records_size);
	if (r == 0)
		r = ranges_init(&a->extents, h->extents_off, h->size - h->extents_off);
	if (r < 0) {
		a->fd = -1; /* stays the caller's */
		arena_fini(a);
		return r;
	}
	a->fd = fd;
	return 0;
}

static uint64_t random_id(void)
{
	uint64_t id;

	/* Early in a boot there may be no entropy yet; an id that is merely unlikely to repeat will
	 * do. */
	if (getrandom(&id, sizeof(id), GRND_NONBLOCK) != sizeof(id))
		id = now_ns() * 0x9e3779b97f4a7c15u ^ (uint64_t)getpid() << 40;
	return id;
}

int arena_create(struct arena *a, uint32_t slots, uint64_t charge_max)
{
	auto_close int fd = -1;
	int r = -ENOMEM;
	uint64_t size;

	*a = (struct arena){.fd = -1};
	if (slots == 0 || slots > SLOTS_MAX)
		return -EINVAL;
	fd = memfd_create("agentd-sessions", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* RLIMIT_FSIZE or RLIMIT_AS may forbid the large sizes. */
	for (size = SIZE_MAX_TRY; size >= SIZE_MIN_TRY; size /= 2) {
		r = ftruncate(fd, (off_t)size) < 0 ? -errno : map(a, fd, size);
		if (r != -EFBIG && r != -ENOMEM)
			break;
	}
	if (r < 0)
		return r;
	lay_out(a->head, size, slots);
	a->head->epoch = 1;
	a->head->instance = random_id();
	a->head->next_serial = 1;
	r = set_up(a, fd, charge_max);
	if (r == 0)
		take_fd(&fd);
	return r;
}

static bool record_valid(const struct arena_head *h, uint64_t off, uint64_t size)
{
	return off % ARENA_GRANULE == 0 && off >= h->records_off && size > 0 &&
	       size <= h->records_size && off - h->records_off <= h->records_size - size;
}

/* Its layout is ours, in a file of that size. From the epoch on, anything may be. */
static int read_head(int fd, struct arena_head *want)
{
	struct arena_head found;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < SIZE_MIN ||
		pread(fd, &found, sizeof(found), 0) != (ssize_t)sizeof(found))
		return -EINVAL;
	if (found.slots == 0 || found.slots > SLOTS_MAX)
		return -EINVAL;
	lay_out(want, (uint64_t)st.st_size, found.slots);
	return memcmp(&found, want, offsetof(struct arena_head, epoch)) == 0 ? 0 : -EINVAL;
}

bool arena_fits(int fd)
{
	struct arena_head want;

	return read_head(fd, &want) == 0;
}

int arena_open(struct arena *a, int fd, uint64_t charge_max)
{
	struct arena_head want = {0};
	int r = read_head(fd, &want);

	*a = (struct arena){.fd = -1};
	if (r < 0)
		return r;
	r = map(a, fd, want.size);
	if (r == 0)
		r = set_up(a, fd, charge_max);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < a->head->slots; i++)
		if (!record_valid(a->head, (uint64_t)a->dir[i] * ARENA_GRANULE, ARENA_GRANULE))
			a->dir[i] = 0; /* points nowhere: no session */
	a->head->cgroup[sizeof(a->head->cgroup) - 1] = 0;
	a->head->epoch++;
	return 0;
}

static void punch_range(void *ctx, uint64_t off, uint64_t len)
{
	arena_punch(ctx, off, len);
}

void arena_claimed(struct arena *a)
{
	ranges_each(&a->records, punch_range, a);
	ranges_each(&a->extents, punch_range, a);
}

void arena_fini(struct arena *a)
{
	if (a->base)
		munmap(a->base, a->head->size);
	close_fd(&a->fd);
	ranges_fini(&a->records);
	ranges_fini(&a->extents);
	*a = (struct arena){.fd = -1};
}

uint64_t arena_alloc_record(struct arena *a, size_t size)
{
	uint64_t len = align_up((uint64_t)size, ARENA_GRANULE), off;

	if (size == 0 || size > a->head->records_size)
		return 0;
	off = ranges_take(&a->records, len);
	if (off)
		memset(arena_at(a, off), 0, len);
	return off;
}

void arena_free_record(struct arena *a, uint64_t off, size_t size)
{
	uint64_t len = align_up((uint64_t)size, ARENA_GRANULE);

	if (len >= RECORD_PUNCH)
		arena_punch(a, off, len);
	ranges_give(&a->records, off, len);
}

int arena_claim_record(struct arena *a, uint64_t off, size_t size)
{
	if (!record_valid(a->head, off, size))
		return -EINVAL;
	return ranges_claim(&a->records, off, align_up((uint64_t)size, ARENA_GRANULE));
}

/* Takes entry i off the warm stack. */
static void warm_remove(struct arena *a, unsigned i)
{
	a->warm_n--;
	memmove(&a->warm[i], &a->warm[i + 1], (a->warm_n - i) * sizeof(a->warm[0]));
}

/* The oldest warm extent becomes plain free space. */
static void warm_cool(struct arena *a)
{
	uint64_t off = a->warm[0].off, size = a->warm[0].size;

	warm_remove(a, 0);
	arena_punch(a, off, ARENA_PAGE);
	ranges_give(&a->extents, off, size);
}

uint64_t arena_alloc_extent(struct arena *a, uint64_t size)
{
	uint64_t off;

	if (size == 0 || size > a->head->size)
		return 0;
	size = align_up(size, ARENA_PAGE);
	for (unsigned i = a->warm_n; i-- > 0;) {
		if (a->warm[i].size == size) {
			off = a->warm[i].off;
			warm_remove(a, i);
			return off;
		}
	}
	while ((off = ranges_take(&a->extents, size)) == 0 && a->warm_n > 0)
		warm_cool(a);
	return off;
}

void arena_free_extent(struct arena *a, uint64_t off, uint64_t size, uint64_t touched)
{
	size = align_up(size, ARENA_PAGE);
	touched = align_up(min_of(touched, size), ARENA_PAGE);
	if (touched == 0) {
		ranges_give(&a->extents, off, size);
		return;
	}
	if (touched > ARENA_PAGE)
		arena_punch(a, off + ARENA_PAGE, touched - ARENA_PAGE);
	if (a->warm_n == ARENA_WARM)
		warm_cool(a);
	a->warm[a->warm_n].off = off;
	a->warm[a->warm_n++].size = size;
}

bool arena_extent_valid(const struct arena *a, uint64_t off, uint64_t size)
{
	const struct arena_head *h = a->head;

	return off % ARENA_PAGE == 0 && size % ARENA_PAGE == 0 && size > 0 && size <= h->size &&
	       off >= h->extents_off && off <= h->size - size;
}

int arena_claim_extent(struct arena *a, uint64_t off, uint64_t size)
{
	if (!arena_extent_valid(a, off, size))
		return -EINVAL;
	return ranges_claim(&a->extents, off, size);
}

void arena_punch(struct arena *a, uint64_t off, uint64_t len)
{
	uint64_t from = align_up(off, ARENA_PAGE), to = (off + len) / ARENA_PAGE * ARENA_PAGE;

	if (to <= from)
		return;
	/* Failure costs memory, not correctness, and there is no one to tell. */
	while (fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		       (off_t)(to - from)) < 0 &&
		errno == EINTR)
		;
}

bool arena_charge(struct arena *a, uint64_t bytes)
{
	while (a->charged + bytes > a->charge_max)
		if (!a->reclaim || !a->reclaim(a->reclaim_ctx))
			return false;
	a->charged += bytes;
	return true;
}

void arena_charge_anyway(struct arena *a, uint64_t bytes)
{
	if (!arena_charge(a, bytes))
		a->charged += bytes;
}

void arena_uncharge(struct arena *a, uint64_t bytes)
{
	ASSERT(bytes <= a->charged);
	a->charged -= bytes;
}

int arena_find_slot(struct arena *a)
{
	while (a->slot_hint < a->head->slots && a->dir[a->slot_hint])
		a->slot_hint++;
	return a->slot_hint < a->head->slots ? (int)a->slot_hint : -ENOSPC;
}

void arena_publish(struct arena *a, unsigned slot, uint64_t record_off)
{
	ASSERT(slot < a->head->slots && record_valid(a->head, record_off, ARENA_GRANULE));
	/* Release: the record is whole before its slot says so, whatever the compiler would like.
	 */
	__atomic_store_n(&a->dir[slot], (uint32_t)(record_off / ARENA_GRANULE), __ATOMIC_RELEASE);
}

void arena_unpublish(struct arena *a, unsigned slot)
{
	ASSERT(slot < a->head->slots);
	__atomic_store_n(&a->dir[slot], 0, __ATOMIC_RELEASE);
	/* Nothing of the freeing that follows may be moved before it. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	a->slot_hint = min_of(a->slot_hint, slot);
}

uint64_t arena_slot_record(const struct arena *a, unsigned slot)
{
	return slot < a->head->slots ? (uint64_t)a->dir[slot] * ARENA_GRANULE : 0;
}
