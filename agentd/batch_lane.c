/*
 * Two buffers: one is filled while the files of the other are made. The thread takes whatever is
 * there when it has finished, so nothing waits for a buffer to be full.
 */
#include "agentd/batch_lane.h"

#include "agentd/batch_thread.h"

#define ROOM (256 * 1024) /* of a buffer; any one file fits */

struct record {
	uint64_t index;
	struct batch_head head; /* path, NUL and bytes follow */
};

_Static_assert(ROOM >= sizeof(struct record) + BATCH_PATH_MAX + 1 + UNPACK_SMALL, "any file fits");

bool batch_lane_is_for(const char *path)
{
	const char *slash = strrchr(path, '/');
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (const char *p = slash ? slash + 1 : path; *p; p++)
		hash = (hash ^ (uint8_t)*p) * 16777619U;
	return (hash ^ hash >> 16) & 1;
}

/* ---- the lane's thread ---- */

static void make_files(struct batch_lane *l, struct buf *files)
{
	while (buf_len(files) > 0) {
		struct record r;
		struct batch_file f;

		memcpy(&r, buf_head(files), sizeof(r));
		f = (struct batch_file){.index = r.index,
			.head = r.head,
			.path = (char *)buf_head(files) + sizeof(r),
			.data = buf_head(files) + sizeof(r) + r.head.path_len + 1};
		l->fn(l->owner, &l->unpack, &f);
		buf_consume(files, sizeof(r) + r.head.path_len + 1 + (size_t)r.head.size);
	}
}

static void go_round(struct batch_lane *l)
{
	struct buf files = BUF_NULL(ROOM);

	while (!l->ended || buf_len(&l->waiting) > 0) {
		struct buf taken = l->waiting;

		if (buf_len(&taken) == 0) {
			l->busy = false;
			l->sleeps = true;
			pthread_cond_signal(&l->less);
			pthread_cond_wait(&l->more, &l->lock);
			l->sleeps = false;
			continue;
		}
		l->waiting = files;
		l->busy = true;
		pthread_cond_signal(&l->less);
		pthread_mutex_unlock(&l->lock);
		make_files(l, &taken);
		pthread_mutex_lock(&l->lock);
		files = taken;
	}
	buf_fini(&files);
}

static void *thread(void *arg)
{
	struct batch_lane *l = arg;
	int r = place_enter(l->unpack.place);

	pthread_mutex_lock(&l->lock);
	l->begun = r < 0 ? r : 1;
	pthread_cond_signal(&l->less);
	if (r == 0)
		go_round(l);
	pthread_mutex_unlock(&l->lock);
	return NULL; /* and the rights it took with it */
}

/* ---- the batch's ---- */

static void forget(struct batch_lane *l)
{
	pthread_cond_destroy(&l->less);
	pthread_cond_destroy(&l->more);
	pthread_mutex_destroy(&l->lock);
	buf_fini(&l->waiting);
	unpack_fini(&l->unpack);
}

int batch_lane_open(struct batch_lane *l, const struct place *p, batch_lane_fn fn, void *owner)
{
	int r;

	*l = (struct batch_lane){.fn = fn, .owner = owner, .waiting = BUF_NULL(ROOM)};
	r = unpack_init(&l->unpack, p, -1);
	if (r < 0)
		return r;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->more, NULL);
	pthread_cond_init(&l->less, NULL);
	r = batch_thread_start(&l->thread, thread, l);
	if (r < 0) {
		forget(l);
		return r;
	}
	pthread_mutex_lock(&l->lock);
	while (!l->begun)
		pthread_cond_wait(&l->less, &l->lock);
	r = l->begun;
	pthread_mutex_unlock(&l->lock);
	l->open = true;
	if (r < 0)
		batch_lane_close(l);
	return min_of(r, 0);
}

int batch_lane_put(struct batch_lane *l, const struct batch_file *f)
{
	struct record r = {.index = f->index, .head = f->head};
	size_t len = sizeof(r) + f->head.path_len + 1 + (size_t)f->head.size;
	uint8_t *to;

	ASSERT(f->head.size <= UNPACK_SMALL);
	pthread_mutex_lock(&l->lock);
	while (buf_len(&l->waiting) + len > ROOM)
		pthread_cond_wait(&l->less, &l->lock);
	to = buf_reserve(&l->waiting, len);
	if (to) {
		memcpy(to, &r, sizeof(r));
		memcpy(to + sizeof(r), f->path, f->head.path_len + 1);
		memcpy(to + sizeof(r) + f->head.path_len + 1, f->data, (size_t)f->head.size);
		buf_commit(&l->waiting, len);
		if (l->sleeps)
			pthread_cond_signal(&l->more);
	}
	pthread_mutex_unlock(&l->lock);
	return to ? 0 : -ENOMEM;
}

void batch_lane_wait(struct batch_lane *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->busy || buf_len(&l->waiting) > 0)
		pthread_cond_wait(&l->less, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

void batch_lane_close(struct batch_lane *l)
{
	if (!l->open)
		return;
	l->open = false;
	pthread_mutex_lock(&l->lock);
	l->ended = true;
	pthread_cond_signal(&l->more);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	forget(l);
}
