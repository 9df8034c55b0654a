/*
 * Operations "batch_write" and "batch_read": records of small files, docs/protocol.md section 13.
 * What a file costs is what its system calls cost: the directory of the one before stays open, and
 * a small file that is new is written under its own name at once.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "agentd/file_many.h"
#include "agentd/unpack.h"

#define ERRORS_TOLD 100
#define DONE_REST   200 /* bytes for what is told behind the errors */

struct file_batch {
	struct file_many many;
	struct unpack unpack;
	uint64_t index, files, bytes, failed;
	uint8_t *data; /* owned; of data_room */
	size_t data_room;
	struct jsonw w; /* what is told in the end; first the errors */
	char path[BATCH_PATH_MAX + 1];
	char done[STREAM_EVENT_MAX];
};

static struct file_batch *batch_of(struct stream *s)
{
	return container_of(file_many_of(s), struct file_batch, many);
}

/* As much of it as fits is told in the end. */
static void tell_error(struct file_batch *b, int err)
{
	struct jsonw before = jsonw_mark(&b->w);

	if (b->failed++ >= ERRORS_TOLD)
		return;
	jsonw_open(&b->w, NULL, '{');
	jsonw_u64(&b->w, "index", b->index);
	jsonw_bytes(&b->w, "path", b->path, strlen(b->path));
	jsonw_int(&b->w, "errno", err);
	jsonw_close(&b->w, '}');
	if (b->w.overflow)
		jsonw_rewind(&b->w, before);
}

static uint8_t *data_of(struct file_batch *b, size_t n)
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

/* The next head and its path. 1; 0: there are no more; -errno with the error filled. */
static int next_record(struct file_batch *b, struct batch_head *h, struct error *e)
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

/* ---- writing ---- */

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

/* The path as the place understands it. */
static bool full_path(const struct file_batch *b, char out[PATH_MAX])
{
	int n = b->path[0] == '/' ? snprintf(out, PATH_MAX, "%s", b->path)
				  : snprintf(out, PATH_MAX, "%s/%s", b->many.place.path, b->path);

	return n < PATH_MAX;
}

/* A large file, or one that replaces another. data: all of it (small), or NULL: it comes. */
static int write_atomic(
	struct file_batch *b, const struct batch_head *h, const uint8_t *data, int *ret)
{
	struct place *p = &b->many.place;
	mode_t mode = h->mode == BATCH_MODE_KEEP ? ATOMIC_MODE_KEEP : h->mode & 07777;
	char path[PATH_MAX];
	struct atomic a;
	struct error e;
	int r = 0;

	*ret = full_path(b, path) ? place_make_parents(p, path, 0755, false) : -ENAMETOOLONG;
	if (*ret >= 0) {
		*ret = atomic_begin(&a, p, path, mode, ATOMIC_REPLACE, &e);
		if (*ret < 0 && e.err == 0)
			*ret = -ENXIO; /* special_file */
	}
	if (*ret < 0)
		return data ? 0 : skip_data(b, h->size);
	if (!data)
		r = copy_data(b, h->size, a.fd, ret);
	else
		*ret = unpack_write(a.fd, data, (size_t)h->size);
	if (r == 0 && *ret == 0)
		*ret = atomic_commit(&a, false);
	else
		atomic_abort(&a);
	return r;
}

/* 0 or -errno of the stream; *ret: what came of the file. */
static int write_file(struct file_batch *b, const struct batch_head *h, int *ret)
{
	struct unpack_meta meta = {.mode = h->mode == BATCH_MODE_KEEP ? 0644 : h->mode & 07777};
	ssize_t n;

	if (h->size > UNPACK_SMALL)
		return write_atomic(b, h, NULL, ret);
	n = stream_read(&b->many.stream, b->data, (size_t)h->size);
	if (n < 0)
		return (int)n;
	if ((uint64_t)n < h->size)
		return -ENODATA;
	*ret = unpack_file(&b->unpack, b->path, &meta, b->data, (size_t)n, false);
	return *ret == -EEXIST ? write_atomic(b, h, b->data, ret) : 0;
}

/* What would go wrong with every other file too. */
static bool ends_all(int err)
{
	return err == -ENOSPC || err == -EDQUOT || err == -EROFS || err == -ENOMEM;
}

static int write_all_files(struct file_batch *b, struct error *e)
{
	struct batch_head h = {0};
	int r = 0;

	if (!data_of(b, UNPACK_SMALL))
		return place_error(e, ENOMEM, "batch");
	while ((r = next_record(b, &h, e)) > 0) {
		int result = 0;

		r = write_file(b, &h, &result);
		if (r == -ENODATA)
			return error_set(e, E_BAD_MESSAGE, 0, "record %llu is cut",
				(unsigned long long)b->index);
		if (r < 0 || ends_all(result))
			return place_error(e, r < 0 ? -r : -result, b->path);
		if (result < 0) {
			tell_error(b, -result);
		} else {
			b->files++;
			b->bytes += h.size;
		}
		b->index++;
	}
	return r;
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

	while (data_of(b, room)) {
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

	if (!full_path(b, path))
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

static ssize_t read_one(struct file_batch *b, struct batch_head *h)
{
	size_t max = (size_t)b->many.msg.max;
	struct stat st;
	auto_close int fd = open_to_read(b, &st);

	if (fd < 0)
		return fd;
	h->mode = st.st_mode & 07777;
	return st.st_size > (off_t)max ? -EFBIG : read_file(b, fd, (size_t)st.st_size, max);
}

/* b->path is the file. */
static int answer(struct file_batch *b)
{
	struct batch_head h = {.path_len = (uint16_t)strlen(b->path)};
	ssize_t n = read_one(b, &h);

	if (n < 0) {
		h.mode = 0;
		h.err = (uint16_t)-n;
		b->failed++;
	} else {
		h.size = (uint64_t)n;
		b->files++;
		b->bytes += (uint64_t)n;
	}
	b->index++;
	return send_record(b, &h, b->data);
}

static int read_all_files(struct file_batch *b, struct error *e)
{
	const struct msg_tree *m = &b->many.msg;
	struct batch_head h = {0};
	int r = 0;

	while (!m->paths && r == 0 && (r = next_record(b, &h, e)) > 0) {
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
		r = writing ? write_all_files(b, e) : read_all_files(b, e);
	unpack_fini(&b->unpack);
	place_leave(p);
	return r;
}

static void run(struct stream *s, bool writing)
{
	struct file_batch *b = batch_of(s);
	struct error e;
	int r;

	b->path[0] = '\0';
	file_many_begin_done(&b->w, b->done, sizeof(b->done) - DONE_REST);
	if (writing)
		jsonw_open(&b->w, "errors", '[');
	r = work(b, writing, &e);
	b->w.size = sizeof(b->done);
	if (writing)
		jsonw_close(&b->w, ']');
	jsonw_u64(&b->w, "files", b->files);
	jsonw_u64(&b->w, "bytes", b->bytes);
	jsonw_u64(&b->w, "failed", b->failed);
	file_many_end(&b->many, r, &e, &b->w);
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
		.zeroed = offsetof(struct file_batch, path),
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
		.zeroed = offsetof(struct file_batch, path),
		.flags = STREAM_INPUT,
		.ops = {.run = run_read, .release = release},
	};

	return file_many_open(l, channel, window, json, &kind, e);
}

const struct file_op file_batch_write_op = {.name = "batch_write", .open = open_write};
const struct file_op file_batch_read_op = {.name = "batch_read", .open = open_read};
