/*
 * Operation "untar": the reader says what comes, unpack.c makes it. A small file is made when all
 * its bytes are here, so that a client that goes away leaves none half; of a large one nothing has
 * a name before its end.
 */
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "agentd/file_many.h"
#include "agentd/unpack.h"
#include "proto/tar.h"

struct file_untar {
	struct file_many many;
	struct tar_reader reader;
	struct unpack unpack;
	bool made;     /* the directory itself */
	bool large;    /* a file is under writing */
	bool sparse;   /* which has holes: it is done when the next entry comes */
	bool dropping; /* the data that comes belongs to nothing */
	uint64_t files, dirs, bytes, skipped;
	uint64_t left; /* of the data of this entry */
	size_t small_len;
	char path[TAR_NAME_MAX + 1], link[TAR_NAME_MAX + 1];
	uint8_t small[UNPACK_SMALL];
};

static struct unpack_meta meta_of(const struct tar_entry *t)
{
	return (struct unpack_meta){.mode = t->mode,
		.uid = t->uid,
		.gid = t->gid,
		.timed = true,
		.mtime = {.tv_sec = t->mtime, .tv_nsec = t->mtime_ns}};
}

static int no_leaving(const char *path, struct error *e)
{
	return error_set(e, E_FAILED, EXDEV, "archive: %.120s: leads out of the directory", path);
}

/* ---- data ---- */

static int finish_sparse(struct file_untar *f)
{
	int r = ftruncate(f->unpack.atomic.fd, (off_t)f->left) < 0 ? -errno : 0;

	f->sparse = f->large = false;
	if (r == 0)
		r = unpack_commit(&f->unpack);
	else
		atomic_abort(&f->unpack.atomic);
	f->files += r == 0;
	return r;
}

static int file_done(struct file_untar *f, const void *data, size_t len)
{
	const struct unpack_meta meta = meta_of(&f->reader.entry);
	int r;

	if (f->large)
		r = unpack_commit(&f->unpack);
	else
		r = unpack_file(&f->unpack, f->path, &meta, data, len, true);
	f->large = false;
	f->files += r == 0;
	return r;
}

static int begin_file(struct file_untar *f)
{
	const struct tar_entry *t = &f->reader.entry;
	const struct unpack_meta meta = meta_of(t);
	int r;

	f->left = t->size;
	f->small_len = 0;
	if (t->size == 0 && !t->sparse)
		return file_done(f, NULL, 0);
	if (t->size <= UNPACK_SMALL && !t->sparse)
		return 0;
	r = unpack_begin(&f->unpack, f->path, &meta);
	f->large = r == 0;
	f->sparse = f->large && t->sparse;
	return r;
}

static int take_data(struct file_untar *f, const uint8_t *data, size_t len)
{
	int r = 0;

	if (f->dropping)
		return 0;
	f->bytes += len;
	if (f->sparse) {
		if (lseek(f->unpack.atomic.fd, (off_t)f->reader.data_at, SEEK_SET) < 0)
			return -errno;
		return unpack_write(f->unpack.atomic.fd, data, len);
	}
	f->left -= len;
	if (f->large) {
		r = unpack_write(f->unpack.atomic.fd, data, len);
	} else if (f->left > 0 || f->small_len > 0) { /* else it came in one piece */
		memcpy(f->small + f->small_len, data, len);
		f->small_len += len;
		data = f->small;
		len = f->small_len;
	}
	return r == 0 && f->left == 0 ? file_done(f, data, len) : r;
}

/* ---- entries ---- */

static int add_hardlink(struct file_untar *f, struct error *e)
{
	const char *target = f->reader.entry.link;
	int r = tar_clean_path(target, (unsigned)f->many.msg.strip, f->link);

	if (r == -EXDEV)
		return no_leaving(target, e);
	if (r == 0) { /* what it was a name of has not been unpacked either */
		f->skipped++;
		return 0;
	}
	r = unpack_hardlink(&f->unpack, f->path, f->link);
	f->files += r == 0;
	return r;
}

static int add_node(struct file_untar *f)
{
	const struct tar_entry *t = &f->reader.entry;
	struct unpack_meta meta = meta_of(t);
	int r;

	if (f->many.place.owner.kind != OWNER_ARCHIVE || f->many.place.as_user || geteuid() != 0) {
		f->skipped++;
		return 0;
	}
	meta.mode |= t->type == TAR_CHAR ? S_IFCHR : t->type == TAR_FIFO ? S_IFIFO : S_IFBLK;
	r = unpack_node(&f->unpack, f->path, &meta, makedev(t->dev_major, t->dev_minor));
	f->files += r == 0;
	return r;
}

static int add_dir(struct file_untar *f)
{
	const struct unpack_meta meta = meta_of(&f->reader.entry);
	int r = unpack_dir(&f->unpack, f->path, &meta);

	f->dirs += r >= 0;
	return min_of(r, 0);
}

/* 0, or -errno; the error is filled only if it is not about f->path (e->err is set). */
static int add_entry(struct file_untar *f, struct error *e)
{
	const struct tar_entry *t = &f->reader.entry;
	const struct unpack_meta meta = meta_of(t);
	int r = tar_clean_path(t->path, (unsigned)f->many.msg.strip, f->path);

	if (r == -EXDEV)
		return no_leaving(t->path, e);
	f->dropping = t->type == TAR_OTHER || r == 0;
	if (r == 0) {
		if (t->type == TAR_DIR && f->made && f->many.msg.strip == 0)
			return add_dir(f);
		f->skipped += t->type != TAR_DIR;
		return 0;
	}
	switch (t->type) {
	case TAR_FILE: return begin_file(f);
	case TAR_DIR: return add_dir(f);
	case TAR_HARDLINK: return add_hardlink(f, e);
	case TAR_SYMLINK:
		r = unpack_symlink(&f->unpack, f->path, &meta, t->link);
		f->files += r == 0;
		return r;
	case TAR_CHAR:
	case TAR_BLOCKDEV:
	case TAR_FIFO: return add_node(f);
	case TAR_OTHER: f->skipped++; break;
	}
	return 0;
}

/* ---- the archive ---- */

static int read_slice(struct file_untar *f, const uint8_t *data, size_t len, struct error *e)
{
	const uint8_t *piece = NULL;
	size_t n = 0;
	int event, r = 0;

	e->err = 0;
	do {
		event = tar_read(&f->reader, &data, &len, &piece, &n, e);
		if (f->sparse && (event == TAR_ENTRY || event == TAR_END))
			r = finish_sparse(f);
		if (event == TAR_ENTRY && r == 0)
			r = add_entry(f, e);
		else if (event == TAR_DATA)
			r = take_data(f, piece, n);
	} while (event > TAR_MORE && len > 0 && r == 0);
	if (r < 0 && e->err == 0)
		place_error(e, -r, f->path);
	return event < 0 ? event : r;
}

static int read_archive(struct file_untar *f, struct error *e)
{
	struct stream *s = &f->many.stream;
	const uint8_t *data;
	uint64_t off;
	ssize_t n;
	int r;

	while ((n = stream_peek(s, &data, &off)) > 0) {
		r = read_slice(f, data, (size_t)n, e);
		if (r < 0)
			return r;
		stream_consume(s, (size_t)n);
	}
	if (n < 0)
		return place_error(e, ECANCELED, f->many.place.path);
	r = tar_reader_check_end(&f->reader, e);
	if (r < 0)
		return r;
	r = unpack_finish(&f->unpack);
	return r < 0 ? place_error(e, -r, f->many.place.path) : 0;
}

static int untar(struct file_untar *f, struct error *e)
{
	const struct place *p = &f->many.place;
	int r = place_make_parents(p, p->path, 0755, true);

	f->made = r > 0;
	if (r >= 0)
		r = place_open(p, p->path, O_PATH | O_DIRECTORY, 0);
	if (r >= 0)
		r = unpack_init(&f->unpack, p, r);
	if (r < 0)
		return place_error(e, -r, p->path);
	tar_reader_init(&f->reader);
	f->path[0] = '\0';
	r = read_archive(f, e);
	tar_reader_fini(&f->reader);
	unpack_fini(&f->unpack);
	return r;
}

static void run(struct stream *s)
{
	struct file_untar *f = container_of(file_many_of(s), struct file_untar, many);
	struct file_many *m = &f->many;
	char done[200];
	struct error e;
	struct jsonw w;
	int r = place_enter(&m->place);

	if (r < 0) {
		place_error(&e, -r, m->place.path);
	} else {
		r = untar(f, &e);
		place_leave(&m->place);
	}
	file_many_begin_done(&w, done, sizeof(done));
	jsonw_u64(&w, "files", f->files);
	jsonw_u64(&w, "dirs", f->dirs);
	jsonw_u64(&w, "bytes", f->bytes);
	jsonw_u64(&w, "skipped", f->skipped);
	file_many_end(m, r, &e, &w);
}

static int open_untar(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	static const struct file_many_kind kind = {
		.size = sizeof(struct file_untar),
		.zeroed = offsetof(struct file_untar, path),
		.flags = STREAM_INPUT,
		.archive = true,
		.ops = {.run = run, .release = file_many_free},
	};

	return file_many_open(l, channel, window, json, &kind, e);
}

const struct file_op file_untar_op = {.name = "untar", .open = open_untar};
