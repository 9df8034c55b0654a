/*
 * Two blocks: one is sent while the next one is read. A thread that may not act as the place wants
 * it to reads nothing, and its blocks come back empty.
 */
#include "agentd/batch_ahead.h"

#include <fcntl.h>
#include <limits.h>

#include "agentd/batch_thread.h"

#define BLOCK_ROOM (256 * 1024) /* bytes of a block; any one record fits */

_Static_assert(BLOCK_ROOM >= BATCH_HEAD + BATCH_PATH_MAX + UNPACK_SMALL + 1, "any record fits");

/* ---- opening ---- */

/* A link leads where the place lets it. */
static int open_link(const struct unpack *u, const char *path, struct stat *st)
{
	char full[PATH_MAX];
	struct error e;
	int r = unpack_free_path(u, path, full), fd;

	if (r < 0)
		return r;
	fd = place_open_file(u->place, full, O_RDONLY, false, st, &e);
	return fd < 0 && e.code == E_SPECIAL_FILE ? -ENXIO : fd;
}

int batch_open_file(struct unpack *u, const char *path, struct stat *st)
{
	const char *name;
	int r = unpack_enter(u, path, false, &name), fd;

	if (r < 0)
		return r;
	if (fstatat(u->dir, name, st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISLNK(st->st_mode))
		return open_link(u, path, st);
	if (!S_ISREG(st->st_mode)) /* to open it could be an act of its own */
		return S_ISDIR(st->st_mode) ? -EISDIR : -ENXIO;
	fd = openat(u->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- the thread ---- */

static bool is_its(size_t at)
{
	return at / BATCH_BLOCK % 2 == 1;
}

/* One byte more is asked for, so that the file is seen to end there. Its length, or -1: not as it
 * says. */
static ssize_t read_whole(int fd, const struct stat *st, uint8_t *to)
{
	return pread(fd, to, (size_t)st->st_size + 1, 0) == st->st_size ? st->st_size : -1;
}

/* False: it is the caller's. */
static bool add_record(struct batch_ahead *a, struct batch_block *b, const char *path)
{
	struct batch_head h = {.path_len = (uint16_t)strnlen(path, BATCH_PATH_MAX + 1)};
	size_t before = BATCH_HEAD + h.path_len, len = before;
	struct stat st = {0};
	auto_close int fd = -1;
	uint8_t *to;

	if (h.path_len == 0 || h.path_len > BATCH_PATH_MAX)
		return false;
	fd = batch_open_file(&a->unpack, path, &st);
	if (fd >= 0 && st.st_size > (off_t)a->max)
		return false;
	if (fd >= 0)
		len += (size_t)st.st_size;
	to = buf_reserve(&b->records, len + 1);
	if (!to || (fd >= 0 && read_whole(fd, &st, to + before) < 0))
		return false;
	if (fd >= 0) {
		h.mode = st.st_mode & 07777;
		h.size = (uint64_t)st.st_size;
	} else {
		h.err = (uint16_t)-fd;
	}
	batch_head_put(to, &h);
	memcpy(to + BATCH_HEAD, path, h.path_len);
	buf_commit(&b->records, len);
	b->bytes += h.size;
	b->failed += h.err != 0;
	b->n++;
	return true;
}

static void read_block(struct batch_ahead *a, struct batch_block *b, size_t n)
{
	size_t end = min_of(a->at + n, a->n_paths);

	buf_consume(&b->records, buf_len(&b->records));
	b->n = b->failed = 0;
	b->bytes = 0;
	for (size_t i = a->at; i < end && !__atomic_load_n(&a->ended, __ATOMIC_RELAXED); i++)
		if (!add_record(a, b, a->paths[i]))
			break;
	a->at += 2 * (size_t)BATCH_BLOCK;
}

static void *thread(void *arg)
{
	struct batch_ahead *a = arg;
	size_t n = place_enter(a->unpack.place) < 0 ? 0 : BATCH_BLOCK;

	pthread_mutex_lock(&a->lock);
	while (!a->ended && a->at < a->n_paths) {
		struct batch_block *b = &a->blocks[(a->first + a->n_blocks) % 2];

		if (a->n_blocks == 2) {
			pthread_cond_wait(&a->less, &a->lock);
			continue;
		}
		pthread_mutex_unlock(&a->lock);
		read_block(a, b, n);
		pthread_mutex_lock(&a->lock);
		a->n_blocks++;
		pthread_cond_signal(&a->more);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL; /* and the rights it took with it */
}

/* ---- the batch's ---- */

static void forget(struct batch_ahead *a)
{
	pthread_cond_destroy(&a->less);
	pthread_cond_destroy(&a->more);
	pthread_mutex_destroy(&a->lock);
	buf_fini(&a->blocks[0].records);
	buf_fini(&a->blocks[1].records);
	unpack_fini(&a->unpack);
}

int batch_ahead_open(struct batch_ahead *a, const struct place *p, const char *const *paths,
	size_t n_paths, size_t at, size_t max)
{
	size_t block = at / BATCH_BLOCK + 1;
	int r;

	*a = (struct batch_ahead){.paths = paths,
		.n_paths = n_paths,
		.at = (block + !is_its(block * BATCH_BLOCK)) * BATCH_BLOCK,
		.max = min_of(max, (size_t)UNPACK_SMALL),
		.blocks = {{.records = BUF_NULL(BLOCK_ROOM)}, {.records = BUF_NULL(BLOCK_ROOM)}}};
	a->begins = a->at;
	r = unpack_init(&a->unpack, p, -1);
	if (r < 0)
		return r;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->more, NULL);
	pthread_cond_init(&a->less, NULL);
	r = batch_thread_start(&a->thread, thread, a);
	if (r < 0)
		forget(a);
	a->open = r == 0;
	return r;
}

bool batch_ahead_has(const struct batch_ahead *a, size_t at)
{
	return a->open && at >= a->begins && at % BATCH_BLOCK == 0 && is_its(at);
}

const struct batch_block *batch_ahead_take(struct batch_ahead *a)
{
	pthread_mutex_lock(&a->lock);
	while (a->n_blocks == 0)
		pthread_cond_wait(&a->more, &a->lock);
	pthread_mutex_unlock(&a->lock);
	return &a->blocks[a->first];
}

void batch_ahead_give_back(struct batch_ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->first = (a->first + 1) % 2;
	a->n_blocks--;
	pthread_cond_signal(&a->less);
	pthread_mutex_unlock(&a->lock);
}

void batch_ahead_close(struct batch_ahead *a)
{
	if (!a->open)
		return;
	a->open = false;
	pthread_mutex_lock(&a->lock);
	__atomic_store_n(&a->ended, true, __ATOMIC_RELAXED);
	pthread_cond_signal(&a->less);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	forget(a);
}
