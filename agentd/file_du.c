/* The request du. A file with several names counts once: those seen are kept in a hash table, as
 * far as it may grow. */
#include <fcntl.h>

#include "agentd/file_request.h"
#include "agentd/tree.h"

#define SEEN_MAX (1U << 20) /* places; over half of it, names are counted as files */

struct seen {
	dev_t dev;
	ino_t ino; /* 0: free */
};

struct du {
	struct file_request *q;
	struct seen *seen; /* owned */
	size_t n, size;
	uint64_t bytes, apparent, files, dirs;
};

static struct seen *seen_place(struct seen *table, size_t size, dev_t dev, ino_t ino)
{
	size_t i = (size_t)((ino ^ (uint64_t)dev << 32) * 0x9e3779b97f4a7c15ULL >> 20) & (size - 1);

	while (table[i].ino != 0 && (table[i].ino != ino || table[i].dev != dev))
		i = (i + 1) & (size - 1);
	return &table[i];
}

static bool seen_grow(struct du *d)
{
	size_t size = d->size ? d->size * 2 : 1024;
	struct seen *table;

	if (size > SEEN_MAX)
		return false;
	table = calloc(size, sizeof(*table));
	if (!table)
		return false;
	for (size_t i = 0; i < d->size; i++) {
		if (d->seen[i].ino != 0)
			*seen_place(table, size, d->seen[i].dev, d->seen[i].ino) = d->seen[i];
	}
	free(d->seen);
	d->seen = table;
	d->size = size;
	return true;
}

static bool seen_before(struct du *d, const struct stat *st)
{
	struct seen *s;

	if (d->n >= d->size / 2 && !seen_grow(d))
		return false;
	s = seen_place(d->seen, d->size, st->st_dev, st->st_ino);
	if (s->ino != 0)
		return true;
	*s = (struct seen){st->st_dev, st->st_ino};
	d->n++;
	return false;
}

static void count(struct du *d, const struct stat *st)
{
	if (S_ISDIR(st->st_mode)) {
		d->dirs++;
	} else {
		d->files++;
		if (st->st_nlink > 1 && seen_before(d, st))
			return;
		d->apparent += (uint64_t)st->st_size;
	}
	d->bytes += (uint64_t)st->st_blocks * 512;
}

static int visit(void *ctx, const struct tree_entry *e)
{
	struct du *d = ctx;

	if (e->when == TREE_FILE || e->when == TREE_ENTER)
		count(d, &e->st);
	return 0;
}

static bool cancelled(void *ctx)
{
	return file_request_cancelled(((struct du *)ctx)->q);
}

int request_du(struct file_request *q)
{
	struct du d = {.q = q};
	const struct tree_config config = {.visit = visit,
		.cancelled = cancelled,
		.ctx = &d,
		.stat_files = true,
		.cross_mounts = !q->m.same_fs};
	auto_close int fd = place_open(&q->place, q->place.path, O_PATH, 0);
	struct stat st;
	int r = fd;

	if (fd >= 0)
		r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0 && S_ISDIR(st.st_mode))
		r = tree_visit(fd, ".", &config);
	else if (r == 0)
		count(&d, &st);
	free(d.seen);
	if (r < 0)
		return file_request_fail(q, -r, q->place.path);
	jsonw_u64(&q->w, "bytes", d.bytes);
	jsonw_u64(&q->w, "apparent", d.apparent);
	jsonw_u64(&q->w, "files", d.files);
	jsonw_u64(&q->w, "dirs", d.dirs);
	return 0;
}
