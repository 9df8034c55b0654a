/*
 * Blocks of 64 KiB at multiples of it; one that is all zeros counts for nothing. The sums of the
 * others are added, each mixed with its place.
 *
 * Somebody waits for it (a machine that is to wake), and one processor does not fill the memory's
 * bandwidth with it: so a few threads do it together.
 */
#include "bridge/box/vm_copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define BLOCK   (64 * KIB)
#define SLICE   (8 * MIB)
#define THREADS 4

/* ---- one block ---- */

static bool is_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Four chains, so that the multiplications overlap. p has BLOCK bytes. */
static uint64_t sum_block(const uint8_t *p, uint64_t place)
{
	uint64_t h[4] = {place, ~place, place << 32 | 1, 77}, v[4];

	for (size_t i = 0; i < BLOCK; i += sizeof(v)) {
		memcpy(v, p + i, sizeof(v));
		for (int k = 0; k < 4; k++)
			h[k] = vm_mix(h[k], v[k]);
	}
	return vm_mix(vm_mix(vm_mix(h[0], h[1]), h[2]), h[3]);
}

/* ---- a file ---- */

/* What there is at `at`, filled up with zeros. The number of its bytes. */
static ssize_t read_block(int fd, uint8_t *p, off_t at)
{
	size_t got = 0;

	while (got < BLOCK) {
		ssize_t n = pread(fd, p + got, BLOCK - got, at + (off_t)got);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	if (got < BLOCK)
		memset(p + got, 0, BLOCK - got);
	return (ssize_t)got;
}

static int write_block(int fd, const uint8_t *p, size_t len, off_t at)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, p + done, len - done, at + (off_t)done);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* From `at` on: where data begin, at a block's begin; -ENXIO: nowhere. */
static off_t next_data(int fd, off_t at)
{
	off_t r = lseek(fd, at, SEEK_DATA);

	if (r < 0)
		return -errno;
	return r / (off_t)BLOCK * (off_t)BLOCK;
}

/* One over a whole file. As sums are added, it matters not who of its threads does which slice. */
struct pass {
	int from, to; /* to -1: only the sum */
	off_t next, end;
	uint64_t sum, bytes;
	int error;
};

static int pass_block(struct pass *p, uint8_t *block, off_t at)
{
	ssize_t n = read_block(p->from, block, at);

	if (n < 0)
		return (int)n;
	if (is_zero(block, (size_t)n))
		return 0;
	__atomic_fetch_add(&p->sum, sum_block(block, (uint64_t)at / BLOCK), __ATOMIC_RELAXED);
	__atomic_fetch_add(&p->bytes, (uint64_t)n, __ATOMIC_RELAXED);
	return p->to < 0 ? 0 : write_block(p->to, block, (size_t)n, at);
}

static int pass_slice(struct pass *p, uint8_t *block, off_t at, off_t end)
{
	off_t hole;

	while ((at = next_data(p->from, at)) >= 0 && at < end) {
		hole = lseek(p->from, at, SEEK_HOLE);
		/* The block may begin in a hole. */
		if (hole <= at)
			hole = at + (off_t)BLOCK;
		for (hole = min_of(hole, end); at < hole; at += (off_t)BLOCK) {
			int r = pass_block(p, block, at);

			if (r < 0)
				return r;
		}
	}
	return at >= 0 || at == -ENXIO ? 0 : (int)at;
}

static void *pass_slices(void *arg)
{
	struct pass *p = arg;
	uint8_t block[BLOCK] = {0};
	off_t at;

	while ((at = __atomic_fetch_add(&p->next, (off_t)SLICE, __ATOMIC_RELAXED)) < p->end &&
		!__atomic_load_n(&p->error, __ATOMIC_RELAXED)) {
		int r = pass_slice(p, block, at, min_of(at + (off_t)SLICE, p->end));

		if (r < 0)
			__atomic_store_n(&p->error, r, __ATOMIC_RELAXED);
	}
	return NULL;
}

static int pass_file(int from, int to, off_t size, uint64_t *ret_sum, uint64_t *ret_bytes)
{
	struct pass p = {.from = from, .to = to, .end = size};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t want = min_of((size_t)max_of(cpus, 1L), (size_t)THREADS), n = 0;
	pthread_t threads[THREADS];

	want = min_of(want, (size_t)size / SLICE + 1);
	while (n + 1 < want && pthread_create(&threads[n], NULL, pass_slices, &p) == 0)
		n++;
	pass_slices(&p);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	if (ret_sum)
		*ret_sum = p.sum;
	if (ret_bytes)
		*ret_bytes = p.bytes;
	return p.error;
}

int vm_sum(const char *path, uint64_t *ret_sum, uint64_t *ret_bytes)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return pass_file(fd, -1, st.st_size, ret_sum, ret_bytes);
}

/* ---- new files ---- */

int vm_reserve(const char *path, uint64_t size)
{
	auto_close int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	if (fallocate(fd, 0, 0, (off_t)size) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

void vm_trim(const char *path)
{
	auto_close int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	off_t at = 0, data;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	while (at < st.st_size) {
		off_t hole = lseek(fd, at, SEEK_HOLE);

		if (hole < 0 || hole >= st.st_size)
			return;
		data = lseek(fd, hole, SEEK_DATA);
		at = data < 0 ? st.st_size : data;
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hole, at - hole) < 0)
			return;
	}
}

static int create(const char *path, uid_t uid, mode_t mode)
{
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);

	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0 || (uid != 0 && fchown(fd, uid, uid) < 0)) {
		int err = -errno;

		unlink(path);
		return err;
	}
	return take_fd(&fd);
}

int vm_create(const char *path, uid_t uid)
{
	auto_close int fd = create(path, uid, 0600);

	return fd < 0 ? fd : 0;
}

static int copy_into(int from, int to, uint64_t *ret_sum)
{
	struct stat st;

	if (ret_sum)
		*ret_sum = 0;
	if (fstat(from, &st) < 0)
		return -errno;
	if (ioctl(to, FICLONE, from) == 0)
		return ret_sum ? pass_file(to, -1, st.st_size, ret_sum, NULL) : 0;
	if (ftruncate(to, st.st_size) < 0)
		return -errno;
	return pass_file(from, to, st.st_size, ret_sum, NULL);
}

int vm_copy_begin(const char *from, const char *to, uid_t uid, bool *ret_whole)
{
	auto_close int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_close int out = -1;
	struct stat st;
	int r;

	if (in < 0 || fstat(in, &st) < 0)
		return -errno;
	out = create(to, uid, 0600);
	if (out < 0)
		return out;
	*ret_whole = ioctl(out, FICLONE, in) == 0;
	r = vm_reserve(to, (uint64_t)st.st_size);
	if (r < 0)
		unlink(to);
	return r;
}

int vm_copy_rest(const char *from, const char *to, uint64_t *ret_sum)
{
	auto_close int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_close int out = open(to, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (in < 0 || out < 0 || fstat(in, &st) < 0)
		return -errno;
	return pass_file(in, out, st.st_size, ret_sum, NULL);
}

int vm_copy(const char *from, const char *to, uid_t uid, mode_t mode, uint64_t *ret_sum)
{
	auto_close int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_close int out = -1;
	int r;

	if (in < 0)
		return -errno;
	out = create(to, uid, mode);
	if (out < 0)
		return out;
	r = copy_into(in, out, ret_sum);
	if (r < 0)
		unlink(to);
	return r;
}
