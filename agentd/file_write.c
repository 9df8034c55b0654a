/*
 * A file written from the stream's ring, in one of five ways. Two are atomic.h's; for all five the
 * loop is the same: what comes has an offset, and goes to `base` + offset.
 *
 * Room that was reserved would fill the holes a client leaves, so they are punched again.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include "agentd/atomic.h"
#include "agentd/file.h"
#include "agentd/stream.h"
#include "proto/msg_stream.h"
#include "proto/sha256.h"

#define RESERVE_MIN (256 * 1024) /* less is written before a reservation would be worth it */
#define WRITE_MAX   (256 * 1024)

struct file_write {
	struct stream s;
	struct place place;
	enum msg_how how;
	int mode;
	uint64_t size;
	uint64_t base; /* where the stream's offset 0 is in the file */
	bool parents, sync, want_sha;
	char digest[SHA256_HEX]; /* "": any */
	/* T, while it runs. */
	struct atomic atomic;
	struct sha256 sha;
	int fd;        /* the atomic's, or owned */
	unsigned made; /* directories on the way */
	uint64_t at;
	bool reserved;
};

static bool is_atomic(const struct file_write *f)
{
	return f->how == HOW_ATOMIC || f->how == HOW_REPLACE_NOT;
}

/* ---- the target ---- */

static int open_atomic(struct file_write *f, struct error *e)
{
	int r = atomic_begin(&f->atomic, &f->place, f->place.path,
		f->mode < 0 ? ATOMIC_MODE_KEEP : (mode_t)f->mode,
		f->how == HOW_ATOMIC ? ATOMIC_REPLACE : ATOMIC_NEW, e);

	f->fd = f->atomic.fd;
	return r;
}

/* One that is not there yet, for in_place and append. */
static int create(struct file_write *f, struct error *e)
{
	const char *path = f->place.path;
	auto_close int dir = -1;
	char name[256];
	int r = place_parent(&f->place, path, &dir, name);

	if (r == 0)
		r = place_open(&f->place, path, O_WRONLY | O_CREAT, 0600);
	if (r < 0)
		return place_error(e, -r, path);
	f->fd = r;
	place_give(&f->place, dir, f->fd);
	r = place_chmod(f->fd, f->mode < 0 ? 0644 : (mode_t)f->mode);
	return r < 0 ? place_error(e, -r, path) : 0;
}

static int open_lying(struct file_write *f, struct error *e)
{
	int flags = O_WRONLY | (f->how == HOW_APPEND ? O_APPEND : 0);
	struct stat st;

	f->fd = place_open_file(&f->place, f->place.path, flags, false, &st, e);
	if (f->fd == -ENOENT && f->how != HOW_AT) {
		int r = create(f, e);

		if (r == 0 && f->how == HOW_APPEND && fcntl(f->fd, F_SETFL, O_APPEND) < 0)
			r = place_error(e, errno, f->place.path);
		return r;
	}
	if (f->fd < 0)
		return f->fd;
	if (f->how == HOW_IN_PLACE && ftruncate(f->fd, 0) < 0)
		return place_error(e, errno, f->place.path);
	return f->mode >= 0 && fchmod(f->fd, (mode_t)f->mode) < 0
		       ? place_error(e, errno, f->place.path)
		       : 0;
}

static int open_target(struct file_write *f, struct error *e)
{
	int r = is_atomic(f) ? open_atomic(f, e) : open_lying(f, e);

	if (r != -ENOENT || !f->parents || f->how == HOW_AT)
		return r;
	r = place_make_parents(&f->place, f->place.path, 0755, false);
	if (r < 0)
		return place_error(e, -r, f->place.path);
	f->made = (unsigned)r;
	return is_atomic(f) ? open_atomic(f, e) : open_lying(f, e);
}

/* The directories that were made for a file that will not be, as far as nobody uses them. */
static void remove_parents(struct file_write *f)
{
	char *path = f->place.path;

	for (; f->made > 0; f->made--) {
		auto_close int dir = -1;
		char name[256], *slash = strrchr(path, '/');

		while (slash && slash > path && slash[-1] == '/')
			slash--;
		if (!slash || slash == path)
			return;
		*slash = '\0';
		if (place_parent(&f->place, path, &dir, name) < 0 ||
			unlinkat(dir, name, AT_REMOVEDIR) < 0)
			return;
	}
}

/* ---- room ---- */

/* Is there room for `size` bytes? Taken at once, but not on a tmpfs: there it would only be done
 * twice as slowly, and the file's pages are no better for it. */
static int reserve(struct file_write *f)
{
	struct statfs v;

	if (f->size == MSG_SIZE_UNKNOWN || f->size < RESERVE_MIN)
		return 0;
	if (fstatfs(f->fd, &v) < 0)
		return -errno;
	if (v.f_type != TMPFS_MAGIC && f->how != HOW_APPEND) {
		f->reserved =
			fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)f->base, (off_t)f->size) == 0;
		if (f->reserved || (errno != EOPNOTSUPP && errno != ENOSYS))
			return f->reserved ? 0 : -errno;
	}
	return v.f_blocks > 0 && f->size / (uint64_t)v.f_bsize >= v.f_bavail ? -ENOSPC : 0;
}

/* What was reserved behind the end of a file that stays. */
static void give_room_back(struct file_write *f)
{
	struct stat st;

	if (f->reserved && fstat(f->fd, &st) == 0)
		(void)!ftruncate(f->fd, st.st_size);
}

/* ---- bytes ---- */

static void hash_zeros(struct file_write *f, uint64_t n)
{
	static const uint8_t zeros[16384];

	while (n > 0 && !stream_cancelled(&f->s)) {
		size_t part = (size_t)min_of(n, (uint64_t)sizeof(zeros));

		sha256_update(&f->sha, zeros, part);
		n -= part;
	}
}

/* Up to `to` nothing was sent. */
static void jump(struct file_write *f, uint64_t to)
{
	if (f->want_sha)
		hash_zeros(f, to - f->at);
	f->at = to;
}

/* Gives back the room that was reserved for a hole. Only once the file reaches beyond it: before,
 * ext4 would leave it as it is. What cannot be punched reads as zeros too. */
static void dig(struct file_write *f, uint64_t from, uint64_t to)
{
	if (from < to && f->reserved && f->how != HOW_AT)
		(void)!fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)(f->base + from), (off_t)(to - from));
}

static int put(struct file_write *f, const uint8_t *data, size_t len)
{
	size_t done = 0;

	if (f->want_sha)
		sha256_update(&f->sha, data, len);
	while (done < len) {
		ssize_t n = f->how == HOW_APPEND ? write(f->fd, data + done, len - done)
						 : pwrite(f->fd, data + done, len - done,
							   (off_t)(f->base + f->at + done));

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	f->at += len;
	return 0;
}

/* A hole at the end must be part of the file. */
static int stretch(struct file_write *f)
{
	struct stat st;

	if (f->how == HOW_APPEND || f->at == 0)
		return 0;
	if (fstat(f->fd, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size < f->base + f->at &&
			       ftruncate(f->fd, (off_t)(f->base + f->at)) < 0
		       ? -errno
		       : 0;
}

static int wrong_size(const struct file_write *f, struct error *e)
{
	return error_set(e, E_BAD_MESSAGE, 0, "not of the size that was announced: %llu",
		(unsigned long long)f->size);
}

/* -ECANCELED, or another -errno with the error filled. */
static int copy_all(struct file_write *f, struct error *e)
{
	const uint8_t *data;
	uint64_t off, from;
	ssize_t n;
	int r;

	while ((n = stream_peek(&f->s, &data, &off)) > 0) {
		n = min_of(n, (ssize_t)WRITE_MAX);
		if (off + (uint64_t)n > f->size)
			return wrong_size(f, e);
		from = f->at;
		jump(f, off);
		r = put(f, data, (size_t)n);
		if (r < 0)
			return place_error(e, -r, f->place.path);
		dig(f, from, off);
		stream_consume(&f->s, (size_t)n);
	}
	if (n < 0)
		return (int)n;
	if (f->size != MSG_SIZE_UNKNOWN && off != f->size)
		return wrong_size(f, e);
	from = f->at;
	if (off == from)
		return 0;
	jump(f, off);
	r = stretch(f);
	if (r < 0)
		return place_error(e, -r, f->place.path);
	dig(f, from, off);
	return 0;
}

/* From here on the file is there. */
static int commit(struct file_write *f, char hex[SHA256_HEX], struct error *e)
{
	int r = 0;

	if (f->want_sha)
		sha256_final(&f->sha, hex);
	if (f->digest[0] && strcmp(f->digest, hex) != 0)
		return error_set(e, E_FAILED, EBADMSG, "%.100s: what came has another SHA-256: %s",
			f->place.path, hex);
	if (is_atomic(f))
		r = atomic_commit(&f->atomic, f->sync);
	else if (f->sync && fsync(f->fd) < 0)
		r = -errno;
	return r < 0 ? place_error(e, -r, f->place.path) : 0;
}

static void finish(struct file_write *f, const char *hex)
{
	char text[160];
	struct jsonw w;

	jsonw_init(&w, text, sizeof(text));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "event", "done");
	jsonw_u64(&w, "bytes", f->at);
	if (f->want_sha)
		jsonw_str(&w, "sha256", hex);
	jsonw_close(&w, '}');
	stream_done(&f->s, text, w.len);
}

static int write_file(struct file_write *f, char hex[SHA256_HEX], struct error *e)
{
	int r = open_target(f, e);

	if (r < 0)
		return r;
	r = reserve(f);
	if (r < 0)
		return place_error(e, -r, f->place.path);
	r = copy_all(f, e);
	return r < 0 ? r : commit(f, hex, e);
}

static void run(struct stream *s)
{
	struct file_write *f = container_of(s, struct file_write, s);
	char hex[SHA256_HEX];
	struct error e;
	int r = place_enter(&f->place);

	if (r < 0) {
		stream_fail_errno(s, -r, f->place.path);
		return;
	}
	r = write_file(f, hex, &e);
	if (r < 0 && !is_atomic(f))
		give_room_back(f);
	if (is_atomic(f))
		atomic_abort(&f->atomic);
	else
		close_fd(&f->fd);
	if (r < 0)
		remove_parents(f);
	place_leave(&f->place);
	if (r == 0)
		finish(f, hex);
	else if (r != -ECANCELED)
		stream_fail(s, &e);
}

static void release(struct stream *s)
{
	struct file_write *f = container_of(s, struct file_write, s);

	place_fini(&f->place);
	free(f);
}

static const struct stream_ops stream_ops = {.run = run, .release = release};

static struct file_write *file_write_new(
	const struct msg_write *m, const struct config *config, struct error *e)
{
	struct file_write *f = calloc(1, sizeof(*f));

	if (!f) {
		error_set(e, E_FAILED, ENOMEM, "out of memory");
		return NULL;
	}
	f->how = m->how;
	f->mode = m->mode;
	f->base = m->offset;
	f->size = m->size;
	f->parents = m->parents;
	f->sync = m->sync;
	f->want_sha = m->sha256;
	if (m->digest)
		memcpy(f->digest, m->digest, SHA256_HEX);
	f->fd = f->atomic.fd = f->atomic.dir = -1;
	sha256_init(&f->sha);
	if (place_init_lone(&f->place, &m->where, config, e) < 0) {
		free(f);
		return NULL;
	}
	return f;
}

static int open_write(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	struct msg_write m;
	struct file_write *f;
	unsigned flags = STREAM_INPUT;
	int r = msg_parse_write(json.text, json.len, &m, e);

	if (r < 0)
		return r;
	if (m.how != HOW_APPEND)
		flags |= STREAM_SPARSE;
	f = file_write_new(&m, l->sessions->config, e);
	msg_write_fini(&m);
	if (!f)
		return -EINVAL;
	r = stream_open(&f->s, l, channel, window, flags, &stream_ops, e);
	if (r < 0)
		release(&f->s);
	return r;
}

const struct file_op file_write_op = {.name = "write", .open = open_write};
