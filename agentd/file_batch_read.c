/*
 * Operation "batch_read": records of small files, docs/protocol.md section 13. What a file costs is
 * what its system calls cost: the directory of the one before stays open, and where the paths are
 * known beforehand half of the files are read by a second thread.
 */
#include "agentd/file_batch.h"

#define AHEAD_AFTER 16  /* so many small files */
#define AHEAD_WORTH 100 /* and so many paths to come are worth a second thread */

static int send_record(struct file_batch *b, const struct batch_head *h, const uint8_t *data)
{
	uint8_t head[BATCH_HEAD];
	struct stream *s = &b->many.stream;
	int r;

	batch_head_put(head, h);
	r = stream_write(s, head, sizeof(head));
	if (r == 0)
		r = stream_write(s, b->path, h->path_len);
	return r == 0 && h->size > 0 ? stream_write(s, data, (size_t)h->size) : r;
}

/* Up to `max` bytes of an open file: one more than expected is asked for, so that it is seen to end
 * there. Its length, or -errno. */
static ssize_t read_file(struct file_batch *b, int fd, size_t expected, size_t max)
{
	size_t room = min_of(max_of(expected, (size_t)4096), max) + 1, n = 0;

	while (file_batch_room(b, room)) {
		ssize_t got = read(fd, b->data + n, room - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		n += (size_t)got;
		if (n > max)
			return -EFBIG;
		/* What said its size and gave as much is not asked again. */
		if (got == 0 || (n == expected && expected > 0))
			return (ssize_t)n;
		if (n == room) { /* of a file that says 0, or grows: /proc */
			uint8_t *more = realloc(b->data, min_of(2 * room, max + 1));

			if (!more)
				break;
			b->data = more;
			b->data_room = room = min_of(2 * room, max + 1);
		}
	}
	return -ENOMEM;
}

/* A small file that is as long as it says, straight into the ring: 1. 0: not so, and nothing was
 * sent; or -errno of the stream. */
static int send_small(struct file_batch *b, struct batch_head *h, int fd, size_t size)
{
	size_t before = BATCH_HEAD + h->path_len, want = before + size + 1, room = want;
	uint8_t *to;

	if (size == 0 || size > UNPACK_SMALL)
		return 0;
	to = stream_reserve(&b->many.stream, &room);
	if (!to)
		return -ECANCELED;
	if (room < want || pread(fd, to + before, size + 1, 0) != (ssize_t)size)
		return 0;
	h->size = size;
	batch_head_put(to, h);
	memcpy(to + BATCH_HEAD, b->path, h->path_len);
	stream_commit(&b->many.stream, before + size);
	b->small++;
	return 1;
}

/* 1: it is sent. 0: it is in b->data, or h->err says why not. Or -errno of the stream. */
static int read_one(struct file_batch *b, struct batch_head *h)
{
	size_t max = (size_t)b->many.msg.max;
	struct stat st;
	auto_close int fd = batch_open_file(&b->unpack, b->path, &st);
	ssize_t n = fd;
	int r = 0;

	if (fd >= 0 && st.st_size > (off_t)max) {
		n = -EFBIG;
	} else if (fd >= 0) {
		h->mode = st.st_mode & 07777;
		r = send_small(b, h, fd, (size_t)st.st_size);
		if (r != 0)
			return r;
		n = read_file(b, fd, (size_t)st.st_size, max);
	}
	if (n < 0)
		*h = (struct batch_head){.path_len = h->path_len, .err = (uint16_t)-n};
	else
		h->size = (uint64_t)n;
	return 0;
}

/* b->path is the file. */
static int answer(struct file_batch *b)
{
	struct batch_head h = {.path_len = (uint16_t)strlen(b->path)};
	struct batch_tally *t = &b->tally;
	int r = read_one(b, &h);

	if (r < 0)
		return r;
	t->failed += h.err != 0;
	t->files += h.err == 0;
	t->bytes += h.size;
	b->index++;
	return r > 0 ? 0 : send_record(b, &h, b->data);
}

static int read_asked(struct file_batch *b, struct error *e)
{
	struct batch_head h = {0};
	int r = 0;

	while (r == 0 && (r = file_batch_next(b, &h, e)) > 0) {
		if (h.size > 0)
			return error_set(e, E_BAD_MESSAGE, 0,
				"record %llu: one that asks for a file has no bytes",
				(unsigned long long)b->index);
		r = answer(b);
		if (r < 0)
			place_error(e, -r, b->path);
	}
	return r;
}

/* ---- those whose names are known ---- */

/* What the other thread has read from this path on: their number, or -errno of the stream. */
static int send_block(struct file_batch *b)
{
	const struct batch_block *block = batch_ahead_take(&b->ahead);
	struct batch_tally *t = &b->tally;
	int r = stream_write(&b->many.stream, buf_head(&block->records), buf_len(&block->records));

	t->failed += block->failed;
	t->files += block->n - block->failed;
	t->bytes += block->bytes;
	b->index += block->n;
	if (r == 0)
		r = (int)block->n;
	batch_ahead_give_back(&b->ahead);
	return r;
}

/* Where there is but one CPU, or no thread to be had, we read them all ourselves. */
static void open_ahead(struct file_batch *b, size_t at)
{
	const struct msg_tree *m = &b->many.msg;

	if (b->small < AHEAD_AFTER || !b->many.stream.workers->several)
		return;
	b->small = 0;
	if (!b->ahead.open && m->n_paths - at >= AHEAD_WORTH)
		batch_ahead_open(
			&b->ahead, &b->many.place, m->paths, m->n_paths, at, (size_t)m->max);
}

static int read_listed(struct file_batch *b, struct error *e)
{
	const struct msg_tree *m = &b->many.msg;

	for (size_t i = 0; i < m->n_paths;) {
		size_t len = strlen(m->paths[i]);
		int r = 0;

		if (batch_ahead_has(&b->ahead, i))
			r = send_block(b);
		if (r == 0 && (len == 0 || len > BATCH_PATH_MAX))
			return error_set(e, E_BAD_MESSAGE, 0, "\"paths\": each has 1 to %d bytes",
				BATCH_PATH_MAX);
		if (r == 0) {
			memcpy(b->path, m->paths[i], len + 1);
			r = answer(b) < 0 ? -ECANCELED : 1;
		}
		if (r < 0)
			return place_error(e, -r, m->paths[i]);
		i += (size_t)r;
		open_ahead(b, i);
	}
	return 0;
}

int file_batch_read_all(struct file_batch *b, struct error *e)
{
	int r = b->many.msg.paths ? read_listed(b, e) : read_asked(b, e);

	batch_ahead_close(&b->ahead);
	return r;
}
