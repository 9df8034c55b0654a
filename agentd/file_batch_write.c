/*
 * Operation "batch_write": records of small files, docs/protocol.md section 13. What a file costs
 * is what its system calls cost: the directory of the one before stays open, a small file that is
 * new is written under its own name at once, and half of them are made by a second thread.
 */
#include <limits.h>

#include "agentd/file_batch.h"

#define LANE_AFTER 16 /* so many small files are worth a second thread */

static int skip_data(struct file_batch *b, uint64_t left)
{
	while (left > 0) {
		const uint8_t *data;
		uint64_t off;
		ssize_t n = stream_peek(&b->many.stream, &data, &off);

		if (n <= 0)
			return n < 0 ? (int)n : -ENODATA;
		n = (ssize_t)min_of((uint64_t)n, left);
		stream_consume(&b->many.stream, (size_t)n);
		left -= (uint64_t)n;
	}
	return 0;
}

/* -ENODATA: the records end within it. Otherwise all of it is taken, and what went wrong with the
 * file is in *ret. */
static int copy_data(struct file_batch *b, uint64_t left, int fd, int *ret)
{
	while (left > 0 && *ret == 0) {
		const uint8_t *data;
		uint64_t off;
		ssize_t n = stream_peek(&b->many.stream, &data, &off), done;

		if (n <= 0)
			return n < 0 ? (int)n : -ENODATA;
		n = (ssize_t)min_of((uint64_t)n, left);
		done = write(fd, data, (size_t)n);
		if (done < 0 && errno != EINTR)
			*ret = -errno;
		if (done > 0) {
			stream_consume(&b->many.stream, (size_t)done);
			left -= (uint64_t)done;
		}
	}
	return skip_data(b, left);
}

/* A large file, or one that replaces another: begins it. 0 or -errno. */
static int begin_atomic(const struct file_batch *b, const struct batch_file *f, struct atomic *a)
{
	const struct place *p = &b->many.place;
	mode_t mode = f->head.mode == BATCH_MODE_KEEP ? ATOMIC_MODE_KEEP : f->head.mode & 07777;
	char path[PATH_MAX];
	struct error e;
	int r = unpack_free_path(&b->unpack, f->path, path);

	if (r == 0)
		r = place_make_parents(p, path, 0755, false);
	if (r < 0)
		return r;
	r = atomic_begin(a, p, path, mode, ATOMIC_REPLACE, &e);
	return r < 0 && e.err == 0 ? -ENXIO : min_of(r, 0); /* special_file */
}

/* 0 or -errno of the stream; *ret: what came of the file. */
static int write_large(struct file_batch *b, const struct batch_file *f, int *ret)
{
	struct atomic a;
	int r;

	*ret = begin_atomic(b, f, &a);
	if (*ret < 0)
		return skip_data(b, f->head.size);
	r = copy_data(b, f->head.size, a.fd, ret);
	if (r == 0 && *ret == 0)
		*ret = atomic_commit(&a, false);
	else
		atomic_abort(&a);
	return r;
}

static int replace_small(const struct file_batch *b, const struct batch_file *f)
{
	struct atomic a;
	int r = begin_atomic(b, f, &a);

	if (r < 0)
		return r;
	r = unpack_write(a.fd, f->data, (size_t)f->head.size);
	if (r == 0)
		return atomic_commit(&a, false);
	atomic_abort(&a);
	return r;
}

/* In either thread. */
static void write_small(void *owner, struct unpack *u, const struct batch_file *f)
{
	struct file_batch *b = owner;
	struct unpack_meta meta = {
		.mode = f->head.mode == BATCH_MODE_KEEP ? 0644 : f->head.mode & 07777};
	int r;

	if (batch_tally_over(&b->tally))
		return;
	r = unpack_file(u, f->path, &meta, f->data, (size_t)f->head.size, false);
	if (r == -EEXIST)
		r = replace_small(b, f);
	batch_tally_add(&b->tally, f->index, f->path, f->head.size, r);
}

/* Where there is but one CPU, or no thread to be had, we do it all ourselves. */
static void open_lane(struct file_batch *b)
{
	if (++b->small == LANE_AFTER && b->many.stream.workers->several)
		batch_lane_open(&b->lane, &b->many.place, write_small, b);
}

/* 0 or -errno of the stream. */
static int write_file(struct file_batch *b, const struct batch_head *h)
{
	struct batch_file f = {.index = b->index, .head = *h, .path = b->path, .data = b->data};
	bool aside = b->lane.open && batch_lane_is_for(b->path);
	int result, r;
	ssize_t n;

	if (h->size > UNPACK_SMALL) {
		if (aside)
			batch_lane_wait(&b->lane); /* for one of the same name */
		r = write_large(b, &f, &result);
		if (r == 0)
			batch_tally_add(&b->tally, f.index, f.path, h->size, result);
		return r;
	}
	n = stream_read(&b->many.stream, b->data, (size_t)h->size);
	if (n < 0)
		return (int)n;
	if ((uint64_t)n < h->size)
		return -ENODATA;
	if (aside)
		return batch_lane_put(&b->lane, &f);
	write_small(b, &b->unpack, &f);
	open_lane(b);
	return 0;
}

static int write_them(struct file_batch *b, struct error *e)
{
	struct batch_head h = {0};
	int r = 0;

	if (!file_batch_room(b, UNPACK_SMALL))
		return place_error(e, ENOMEM, "batch");
	while (!batch_tally_over(&b->tally) && (r = file_batch_next(b, &h, e)) > 0) {
		r = write_file(b, &h);
		if (r == -ENODATA)
			return error_set(e, E_BAD_MESSAGE, 0, "record %llu is cut",
				(unsigned long long)b->index);
		if (r < 0)
			return place_error(e, -r, b->path);
		b->index++;
	}
	return r;
}

int file_batch_write_all(struct file_batch *b, struct error *e)
{
	const struct batch_error *end = &b->tally.end;
	int r = write_them(b, e);

	batch_lane_close(&b->lane);
	return end->err ? place_error(e, end->err, end->path ? end->path : "batch") : r;
}
