/*
 * Operation "tar": a directory as an archive. What the head of a file says must hold for its data,
 * so a file is opened first and described by its descriptor; if it changes while it is read, the
 * archive stays sound and the end says so.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/sysmacros.h>

#include "agentd/file_many.h"
#include "agentd/glob.h"
#include "agentd/names.h"
#include "agentd/walk.h"
#include "proto/tar.h"

struct file_tar {
	struct file_many many;
	struct names names;
	struct glob globs[MSG_EXCLUDE_MAX]; /* of `exclude` */
	bool whole_path[MSG_EXCLUDE_MAX];   /* not only the name is matched */
	uint64_t files, dirs, bytes, skipped, changed, failed;
	char *first_failed; /* owned */
	int first_err;
	char path[TAR_NAME_MAX + 1], link[PATH_MAX];
	uint8_t head[TAR_HEAD_MAX];
	char done[STREAM_EVENT_MAX];
};

static const uint8_t zeros[TAR_END_BLOCK];

/* Left out, and told at the end. */
static void leave_out(struct file_tar *t, const char *path, int err)
{
	if (t->failed++ == 0) {
		t->first_failed = strdup(path);
		t->first_err = err;
	}
}

static struct tar_entry entry_of(const struct file_tar *t, const struct stat *st)
{
	return (struct tar_entry){.path = t->path,
		.link = "",
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec};
}

static int write_head(struct file_tar *t, const struct tar_entry *e)
{
	return stream_write(&t->many.stream, t->head, tar_head(e, t->head));
}

/* The name in the archive. False: too long for one. */
static bool set_path(struct file_tar *t, const char *path, size_t len, bool dir)
{
	if (len + dir > TAR_NAME_MAX)
		return false;
	memcpy(t->path, path, len);
	if (dir)
		t->path[len++] = '/';
	t->path[len] = '\0';
	return true;
}

/* ---- data ---- */

static int write_zeros(struct file_tar *t, uint64_t n)
{
	int r = 0;

	while (n > 0 && r == 0) {
		size_t part = n < sizeof(zeros) ? (size_t)n : sizeof(zeros);

		r = stream_write(&t->many.stream, zeros, part);
		n -= part;
	}
	return r;
}

/* From the file straight into the stream's ring. The bytes there were, or -errno. */
static int64_t copy_data(struct file_tar *t, int fd, uint64_t size, int *ret_err)
{
	uint64_t left = size;

	*ret_err = 0;
	while (left > 0) {
		size_t n = left < STREAM_CHUNK ? (size_t)left : STREAM_CHUNK;
		void *p = stream_reserve(&t->many.stream, &n);
		ssize_t got;

		if (!p)
			return -ECANCELED;
		got = read(fd, p, n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			*ret_err = -errno;
		if (got <= 0)
			break;
		stream_commit(&t->many.stream, (size_t)got);
		left -= (uint64_t)got;
	}
	return (int64_t)(size - left);
}

static bool same_as(int fd, const struct stat *before)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_size == before->st_size &&
	       st.st_mtim.tv_sec == before->st_mtim.tv_sec &&
	       st.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}

/* t->path is its name. */
static int add_file(struct file_tar *t, int fd, const struct stat *st)
{
	struct tar_entry e = entry_of(t, st);
	const char *known = NULL;
	int64_t got;
	int r, err;

	if (st->st_nlink > 1)
		known = names_find_or_add(&t->names, st->st_dev, st->st_ino, t->path);
	t->files++;
	if (known) {
		e.type = TAR_HARDLINK;
		e.link = known;
		return write_head(t, &e);
	}
	e.type = TAR_FILE;
	e.size = (uint64_t)st->st_size;
	r = write_head(t, &e);
	if (r < 0)
		return r;
	got = copy_data(t, fd, e.size, &err);
	if (got < 0)
		return (int)got;
	if (err < 0)
		leave_out(t, t->path, -err);
	else if ((uint64_t)got < e.size || !same_as(fd, st))
		t->changed++;
	t->bytes += (uint64_t)got;
	return write_zeros(t, e.size - (uint64_t)got + tar_padding(e.size));
}

/* ---- entries ---- */

static int add_other(struct file_tar *t, const struct walk_entry *w)
{
	struct tar_entry e;
	struct stat st;

	if (fstatat(w->dir, w->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			leave_out(t, w->path, errno);
		return 0;
	}
	e = entry_of(t, &st);
	e.dev_major = major(st.st_rdev);
	e.dev_minor = minor(st.st_rdev);
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR: e.type = TAR_DIR; break;
	case S_IFLNK: e.type = TAR_SYMLINK; break;
	case S_IFCHR: e.type = TAR_CHAR; break;
	case S_IFBLK: e.type = TAR_BLOCKDEV; break;
	case S_IFIFO: e.type = TAR_FIFO; break;
	case S_IFSOCK: t->skipped++; return 0;
	default: t->changed++; return 0; /* it was something else a moment ago */
	}
	if (e.type == TAR_SYMLINK) {
		ssize_t n = readlinkat(w->dir, w->name, t->link, sizeof(t->link) - 1);

		if (n <= 0) {
			t->changed++;
			return 0;
		}
		t->link[n] = '\0';
		e.link = t->link;
	}
	if (e.type == TAR_DIR) {
		t->dirs++;
		if (!set_path(t, w->path, w->path_len, true)) {
			leave_out(t, w->path, ENAMETOOLONG);
			return 0;
		}
	} else {
		t->files++;
	}
	if (e.type != TAR_DIR && st.st_nlink > 1) {
		const char *known = names_find_or_add(&t->names, st.st_dev, st.st_ino, t->path);

		if (known) {
			e.type = TAR_HARDLINK;
			e.link = known;
		}
	}
	return write_head(t, &e);
}

static int add_regular(struct file_tar *t, const struct walk_entry *w)
{
	auto_close int fd =
		openat(w->dir, w->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		if (errno == ELOOP)
			t->changed++;
		else if (errno != ENOENT)
			leave_out(t, w->path, errno);
		return 0;
	}
	if (!S_ISREG(st.st_mode)) {
		t->changed++;
		return 0;
	}
	return add_file(t, fd, &st);
}

static int compile_globs(struct file_tar *t, struct error *e)
{
	const struct msg_tree *m = &t->many.msg;

	for (size_t i = 0; i < m->n_exclude; i++) {
		const char *text = m->exclude[i];
		int r;

		t->whole_path[i] = strchr(text, '/') != NULL;
		text += text[0] == '/';
		r = glob_compile(&t->globs[i], text, strlen(text), 0);
		if (r == -EINVAL)
			return error_set(
				e, E_BAD_MESSAGE, 0, "\"exclude\": %.100s is no glob", text);
		if (r < 0)
			return place_error(e, -r, "exclude");
	}
	return 0;
}

static bool excluded(struct file_tar *t, const struct walk_entry *w)
{
	size_t name_len = strlen(w->name);

	for (size_t i = 0; i < t->many.msg.n_exclude; i++) {
		bool whole = t->whole_path[i];

		if (glob_match(&t->globs[i], whole ? w->path : w->name,
			    whole ? w->path_len : name_len))
			return true;
	}
	return false;
}

static int add_all(struct file_tar *t, int fd, const struct stat *st, struct error *e)
{
	const char *top = t->many.place.path;
	const struct walk_entry *w;
	struct tar_entry dot;
	struct walk walk;
	unsigned count = 0;
	int r;

	set_path(t, ".", 1, true);
	dot = entry_of(t, st);
	dot.type = TAR_DIR;
	t->dirs++;
	r = walk_init(&walk, fd, 0, 0, NULL);
	if (r == 0)
		r = write_head(t, &dot);
	while (r >= 0 && (r = walk_next(&walk, &w)) > 0) {
		if (!w->err && excluded(t, w)) {
			walk_skip(&walk);
			r = file_many_check(&t->many, &count);
		} else if (w->err) {
			leave_out(t, w->path, -w->err);
		} else if (!set_path(t, w->path, w->path_len, false)) {
			leave_out(t, w->path, ENAMETOOLONG);
			walk_skip(&walk);
		} else {
			r = w->type == DT_REG ? add_regular(t, w) : add_other(t, w);
		}
	}
	walk_fini(&walk);
	return r < 0 ? place_error(e, -r, top) : 0;
}

static int add_top(struct file_tar *t, struct error *e)
{
	const char *top = t->many.place.path, *name = top;
	auto_close int fd = place_open(&t->many.place, top, O_RDONLY, 0);
	struct stat st;
	int r;

	if (fd < 0)
		return place_error(e, -fd, top);
	if (fstat(fd, &st) < 0)
		return place_error(e, errno, top);
	if (S_ISDIR(st.st_mode))
		return add_all(t, take_fd(&fd), &st, e);
	if (!S_ISREG(st.st_mode))
		return error_set(e, E_SPECIAL_FILE, 0, "%.150s: neither file nor directory", top);
	for (const char *p = top; *p; p++) {
		if (*p == '/' && p[1])
			name = p + 1;
	}
	set_path(t, name, strlen(name), false);
	r = add_file(t, fd, &st);
	return r < 0 ? place_error(e, -r, top) : 0;
}

static void run(struct stream *s)
{
	struct file_tar *t = container_of(file_many_of(s), struct file_tar, many);
	struct file_many *m = &t->many;
	struct error e;
	struct jsonw w;
	int r = place_enter(&m->place);

	stream_bulk(s);
	if (r < 0) {
		place_error(&e, -r, m->place.path);
	} else {
		r = compile_globs(t, &e);
		if (r == 0)
			r = add_top(t, &e);
		place_leave(&m->place);
	}
	if (r == 0 && write_zeros(t, TAR_END_BLOCK) < 0)
		r = place_error(&e, ECANCELED, m->place.path);
	file_many_begin_done(&w, t->done, sizeof(t->done));
	jsonw_u64(&w, "files", t->files);
	jsonw_u64(&w, "dirs", t->dirs);
	jsonw_u64(&w, "bytes", t->bytes);
	jsonw_u64(&w, "skipped", t->skipped);
	jsonw_u64(&w, "changed", t->changed);
	jsonw_u64(&w, "failed", t->failed);
	if (t->first_failed) {
		jsonw_open(&w, "first_failed", '{');
		jsonw_bytes(&w, "path", t->first_failed, strlen(t->first_failed));
		jsonw_int(&w, "errno", t->first_err);
		jsonw_close(&w, '}');
	}
	file_many_end(m, r, &e, &w);
}

static void release(struct stream *s)
{
	struct file_tar *t = container_of(file_many_of(s), struct file_tar, many);

	for (size_t i = 0; i < array_size(t->globs); i++)
		glob_fini(&t->globs[i]);
	names_fini(&t->names);
	free(t->first_failed);
	file_many_free(s);
}

static int open_tar(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	static const struct file_many_kind kind = {
		.size = sizeof(struct file_tar),
		.zeroed = offsetof(struct file_tar, path),
		.flags = 0,
		.ops = {.run = run, .release = release},
	};

	return file_many_open(l, channel, window, json, &kind, e);
}

const struct file_op file_tar_op = {.name = "tar", .open = open_tar};
