/*
 * A file, or a part of it, read straight into the stream's ring.
 *
 * What is regular and says a size is read up to that; what says 0 may be of /proc, and what is
 * special has none: those are read until they say that there is no more. Only special ones are
 * polled for, beside the client's going away, because a regular file never keeps poll() waiting.
 */
#include <fcntl.h>
#include <poll.h>

#include "agentd/file.h"
#include "agentd/file_entry.h"
#include "agentd/place.h"
#include "agentd/stream.h"
#include "proto/msg_stream.h"
#include "proto/sha256.h"

#define READ_AHEAD (1 << 20) /* from this size on the kernel is told that we go to the end */

struct file_read {
	struct stream s;
	struct place place;
	uint64_t offset, length;
	bool special, want_sha, sparse;
	struct sha256 sha;
	uint64_t at; /* in the file */
};

static void send_entry(struct file_read *f, const struct stat *st)
{
	const char *slash = strrchr(f->place.path, '/');
	char text[2048];
	struct jsonw w;

	jsonw_init(&w, text, sizeof(text));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "event", "entry");
	file_entry_put(&w, slash ? slash + 1 : f->place.path, st, NULL);
	jsonw_close(&w, '}');
	ASSERT(!w.overflow); /* a name that could be opened is short */
	stream_event(&f->s, text, w.len);
}

static void finish(struct file_read *f)
{
	char text[160], hex[SHA256_HEX];
	struct jsonw w;

	jsonw_init(&w, text, sizeof(text));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "event", "done");
	jsonw_u64(&w, "bytes", f->at - f->offset);
	if (f->want_sha) {
		sha256_final(&f->sha, hex);
		jsonw_str(&w, "sha256", hex);
	}
	jsonw_close(&w, '}');
	stream_done(&f->s, text, w.len);
}

/* ---- holes ---- */

static void hash_zeros(struct file_read *f, uint64_t n)
{
	static const uint8_t zeros[16384];

	while (n > 0 && !stream_cancelled(&f->s)) {
		size_t part = (size_t)min_of(n, (uint64_t)sizeof(zeros));

		sha256_update(&f->sha, zeros, part);
		n -= part;
	}
}

/* Where the next data is; behind the last there is a hole up to the end that the file has now. */
static int64_t find_data(int fd, uint64_t at)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);
	struct stat st;

	if (data >= 0 || errno != ENXIO)
		return data;
	return fstat(fd, &st) < 0 ? -1 : st.st_size;
}

/* Goes over what is a hole at `at`; returns where the data behind it ends, at most `end`. */
static uint64_t skip_hole(struct file_read *f, int fd, uint64_t end)
{
	int64_t data = find_data(fd, f->at);
	off_t hole;
	uint64_t to;

	if (data < (int64_t)f->at)
		return end; /* a file system that knows no holes; or there is no more of the file */
	to = min_of((uint64_t)data, end);
	if (to > f->at) {
		if (f->want_sha)
			hash_zeros(f, to - f->at);
		stream_gap(&f->s, to - f->at);
		f->at = to;
	}
	hole = to < end ? lseek(fd, (off_t)to, SEEK_HOLE) : -1;
	return hole < 0 ? end : min_of((uint64_t)hole, end);
}

/* ---- bytes ---- */

/* Until there is something to read, or nobody who wants it. */
static int await(struct file_read *f, int fd)
{
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.events = POLLIN}};

	p[1].fd = stream_cancel_fd(&f->s);
	if (p[1].fd < 0)
		return p[1].fd;
	while (poll(p, 2, -1) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return p[1].revents ? -ECANCELED : 0;
}

/* As much as comes at once, at most n; 0 at the end. */
static ssize_t read_some(struct file_read *f, int fd, bool regular, uint64_t n)
{
	size_t len = (size_t)min_of(n, (uint64_t)SIZE_MAX);
	uint8_t *p = stream_reserve(&f->s, &len);
	ssize_t k;

	if (!p)
		return -ECANCELED;
	do {
		int r = regular ? 0 : await(f, fd);

		if (r < 0)
			return r;
		k = regular || f->offset > 0 ? pread(fd, p, len, (off_t)f->at) : read(fd, p, len);
	} while (k < 0 && (errno == EINTR || (errno == EAGAIN && !regular)));
	if (k < 0)
		return -errno;
	if (f->want_sha)
		sha256_update(&f->sha, p, (size_t)k);
	f->at += (uint64_t)k;
	stream_commit(&f->s, (size_t)k);
	return k;
}

static int read_all(struct file_read *f, int fd, const struct stat *st)
{
	bool regular = S_ISREG(st->st_mode), known = regular && st->st_size > 0;
	uint64_t end = MSG_TO_END, run_end;

	if (f->length != MSG_TO_END)
		end = f->offset + f->length;
	if (known)
		end = min_of(end, (uint64_t)st->st_size);
	f->at = f->offset;
	stream_seek(&f->s, f->offset);
	if (known && end > f->at && end - f->at >= READ_AHEAD)
		posix_fadvise(fd, (off_t)f->at, 0, POSIX_FADV_SEQUENTIAL);
	while (f->at < end) {
		run_end = f->sparse && known ? skip_hole(f, fd, end) : end;
		while (f->at < run_end) {
			ssize_t n = read_some(f, fd, regular,
				known ? run_end - f->at
				      : min_of(run_end - f->at, (uint64_t)RING_SMALL));

			if (n < 0)
				return (int)n;
			if (n == 0)
				return 0;
		}
	}
	return 0;
}

static void run(struct stream *s)
{
	struct file_read *f = container_of(s, struct file_read, s);
	auto_close int fd = -1;
	struct error e;
	struct stat st;
	int r = place_enter(&f->place);

	if (r < 0) {
		stream_fail_errno(s, -r, f->place.path);
		return;
	}
	fd = place_open_file(&f->place, f->place.path, O_RDONLY, f->special, &st, &e);
	place_leave(&f->place);
	if (fd < 0) {
		stream_fail(s, &e);
		return;
	}
	send_entry(f, &st);
	r = read_all(f, fd, &st);
	if (r == 0)
		finish(f);
	else if (r != -ECANCELED)
		stream_fail_errno(s, -r, f->place.path);
}

static void release(struct stream *s)
{
	struct file_read *f = container_of(s, struct file_read, s);

	place_fini(&f->place);
	free(f);
}

static const struct stream_ops stream_ops = {.run = run, .release = release};

static struct file_read *file_read_new(
	const struct msg_read *m, const struct config *config, struct error *e)
{
	struct file_read *f = calloc(1, sizeof(*f));

	if (!f) {
		error_set(e, E_FAILED, ENOMEM, "out of memory");
		return NULL;
	}
	f->offset = m->offset;
	f->length = m->length;
	f->special = m->special;
	f->want_sha = m->sha256;
	f->sparse = m->sparse;
	sha256_init(&f->sha);
	if (place_init_lone(&f->place, &m->where, config, e) < 0) {
		free(f);
		return NULL;
	}
	return f;
}

static int open_read(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	struct msg_read m;
	struct file_read *f;
	int r = msg_parse_read(json.text, json.len, &m, e);

	if (r < 0)
		return r;
	f = file_read_new(&m, l->sessions->config, e);
	msg_read_fini(&m);
	if (!f)
		return -EINVAL;
	r = stream_open(&f->s, l, channel, window, 0, &stream_ops, e);
	if (r < 0)
		release(&f->s);
	return r;
}

const struct file_op file_read_op = {.name = "read", .open = open_read};
