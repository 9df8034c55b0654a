/*
 * Operations "batch_write" and "batch_read": records of small files, docs/protocol.md section 13.
 * What a file costs is what its system calls cost: the directory of the one before stays open, a
 * small file that is new is written under its own name at once, and half of them are made by a
 * second thread.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "agentd/file_batch.h"

#define DONE_REST 200 /* bytes for what is told behind the errors */

static struct file_batch *batch_of(struct stream *s)
{
	return container_of(file_many_of(s), struct file_batch, many);
}

uint8_t *file_batch_room(struct file_batch *b, size_t n)
{
	if (n > b->data_room) {
		free(b->data);
		b->data_room = 0;
		b->data = malloc(n);
		if (b->data)
			b->data_room = n;
	}
	return b->data;
}

int file_batch_next(struct file_batch *b, struct batch_head *h, struct error *e)
{
	struct stream *s = &b->many.stream;
	uint8_t head[BATCH_HEAD];
	ssize_t n = stream_read(s, head, sizeof(head));

	if (n == 0)
		return 0;
	if (n == (ssize_t)sizeof(head)) {
		*h = batch_head_get(head);
		if (h->path_len == 0 || h->path_len > BATCH_PATH_MAX)
			return error_set(e, E_BAD_MESSAGE, 0,
				"record %llu: a path of 1 to %d bytes must follow",
				(unsigned long long)b->index, BATCH_PATH_MAX);
		n = stream_read(s, b->path, h->path_len);
		if (n == h->path_len) {
			b->path[n] = '\0';
			if (strlen(b->path) == h->path_len)
				return 1;
			return error_set(e, E_BAD_MESSAGE, 0, "record %llu: a NUL in the path",
				(unsigned long long)b->index);
		}
	}
	if (n < 0)
		return place_error(e, ECANCELED, "batch");
	return error_set(e, E_BAD_MESSAGE, 0, "record %llu is cut", (unsigned long long)b->index);
}

bool file_batch_path(const struct file_batch *b, const char *path, char out[PATH_MAX])
{
	int n = path[0] == '/' ? snprintf(out, PATH_MAX, "%s", path)
			       : snprintf(out, PATH_MAX, "%s/%s", b->many.place.path, path);

	return n < PATH_MAX;
}

/* ---- reading ---- */

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

/* A link leads where the place lets it. */
static int open_link(struct file_batch *b, struct stat *st)
{
	char path[PATH_MAX];
	struct error e;
	int fd;

	if (!file_batch_path(b, b->path, path))
		return -ENAMETOOLONG;
	fd = place_open_file(&b->many.place, path, O_RDONLY, false, st, &e);
	return fd < 0 && e.code == E_SPECIAL_FILE ? -ENXIO : fd;
}

static int open_to_read(struct file_batch *b, struct stat *st)
{
	const char *name;
	int r = unpack_enter(&b->unpack, b->path, false, &name), fd;

	if (r < 0)
		return r;
	if (fstatat(b->unpack.dir, name, st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISLNK(st->st_mode))
		return open_link(b, st);
	if (!S_ISREG(st->st_mode)) /* to open it could be an act of its own */
		return S_ISDIR(st->st_mode) ? -EISDIR : -ENXIO;
	fd = openat(b->unpack.dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
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
	return 1;
}

/* 1: it is sent. 0: it is in b->data, or h->err says why not. Or -errno of the stream. */
static int read_one(struct file_batch *b, struct batch_head *h)
{
	size_t max = (size_t)b->many.msg.max;
	struct stat st;
	auto_close int fd = open_to_read(b, &st);
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

static int read_all_files(struct file_batch *b, struct error *e)
{
	const struct msg_tree *m = &b->many.msg;
	struct batch_head h = {0};
	int r = 0;

	while (!m->paths && r == 0 && (r = file_batch_next(b, &h, e)) > 0) {
		if (h.size > 0)
			return error_set(e, E_BAD_MESSAGE, 0,
				"record %llu: one that asks for a file has no bytes",
				(unsigned long long)b->index);
		r = answer(b);
		if (r < 0)
			place_error(e, -r, b->path);
	}
	for (size_t i = 0; i < m->n_paths && r == 0; i++) {
		size_t len = strlen(m->paths[i]);

		if (len == 0 || len > BATCH_PATH_MAX)
			return error_set(e, E_BAD_MESSAGE, 0, "\"paths\": each has 1 to %d bytes",
				BATCH_PATH_MAX);
		memcpy(b->path, m->paths[i], len + 1);
		r = answer(b);
	}
	return r < 0 && m->paths ? place_error(e, -r, b->path) : r;
}

/* ---- both ---- */

static int work(struct file_batch *b, bool writing, struct error *e)
{
	const struct place *p = &b->many.place;
	int r = place_enter(p);

	if (r < 0)
		return place_error(e, -r, p->path);
	r = unpack_init(&b->unpack, p, -1);
	if (r < 0)
		place_error(e, -r, p->path);
	else
		r = writing ? file_batch_write_all(b, e) : read_all_files(b, e);
	unpack_fini(&b->unpack);
	place_leave(p);
	return r;
}

static void run(struct stream *s, bool writing)
{
	struct file_batch *b = batch_of(s);
	struct jsonw w;
	struct error e;
	int r;

	b->path[0] = '\0';
	batch_tally_init(&b->tally);
	r = work(b, writing, &e);
	file_many_begin_done(&w, b->done, sizeof(b->done) - DONE_REST);
	if (writing)
		batch_tally_put(&b->tally, &w);
	w.size = sizeof(b->done);
	jsonw_u64(&w, "files", b->tally.files);
	jsonw_u64(&w, "bytes", b->tally.bytes);
	jsonw_u64(&w, "failed", b->tally.failed);
	batch_tally_fini(&b->tally);
	file_many_end(&b->many, r, &e, &w);
}

static void run_write(struct stream *s)
{
	run(s, true);
}

static void run_read(struct stream *s)
{
	stream_bulk(s);
	run(s, false);
}

static void release(struct stream *s)
{
	free(batch_of(s)->data);
	file_many_free(s);
}

static int open_write(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	static const struct file_many_kind kind = {
		.size = sizeof(struct file_batch),
		.zeroed = offsetof(struct file_batch, tally),
		.flags = STREAM_INPUT,
		.ops = {.run = run_write, .release = release},
	};

	return file_many_open(l, channel, window, json, &kind, e);
}

static int open_read(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	static const struct file_many_kind kind = {
		.size = sizeof(struct file_batch),
		.zeroed = offsetof(struct file_batch, tally),
		.flags = STREAM_INPUT,
		.ops = {.run = run_read, .release = release},
	};

	return file_many_open(l, channel, window, json, &kind, e);
}

const struct file_op file_batch_write_op = {.name = "batch_write", .open = open_write};
const struct file_op file_batch_read_op = {.name = "batch_read", .open = open_read};
