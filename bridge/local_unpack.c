/*
 * An archive into a directory. The archive is another's word: each name is walked from the
 * directory down, one component after the other, and a link is never gone through. Directories get
 * their mode and time at the end, when nothing more is put into them.
 */
#include <fcntl.h>

#include "bridge/local_tree.h"

struct later {
	char *path; /* owned */
	mode_t mode;
	struct timespec mtime;
};

struct local_unpack {
	int dir; /* owned */
	struct tar_reader reader;
	local_tree_fn complain;
	void *ctx;
	struct local_file file; /* under way */
	uint64_t left;
	struct timespec mtime;
	struct later *later; /* owned */
	size_t n_later, room;
};

struct local_unpack *local_unpack_new(const char *dir, local_tree_fn complain, void *ctx)
{
	struct local_unpack *u;
	int fd;

	if (mkdir(dir, 0777) < 0 && errno != EEXIST)
		return NULL;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	u = fd < 0 ? NULL : calloc(1, sizeof(*u));
	if (!u) {
		close_fd(&fd);
		return NULL;
	}
	u->dir = fd;
	u->file = LOCAL_FILE_NULL;
	u->complain = complain;
	u->ctx = ctx;
	tar_reader_init(&u->reader);
	return u;
}

void local_unpack_free(struct local_unpack *u)
{
	if (!u)
		return;
	local_file_abort(&u->file);
	tar_reader_fini(&u->reader);
	for (size_t i = 0; i < u->n_later; i++)
		free(u->later[i].path);
	free(u->later);
	close(u->dir);
	free(u);
}

/* The directory that holds the last component of a clean path; those above are made. */
static int open_parent(const struct local_unpack *u, const char *path, const char **name)
{
	auto_close int dir = fcntl(u->dir, F_DUPFD_CLOEXEC, 0);
	const char *slash;

	while (dir >= 0 && (slash = strchr(path, '/'))) {
		char part[256];
		int below;

		if ((size_t)(slash - path) >= sizeof(part))
			return -ENAMETOOLONG;
		memcpy(part, path, (size_t)(slash - path));
		part[slash - path] = '\0';
		if (mkdirat(dir, part, 0777) < 0 && errno != EEXIST)
			return -errno;
		below = openat(dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below < 0)
			return -errno;
		close(dir);
		dir = below;
		path = slash + 1;
	}
	if (dir < 0)
		return -errno;
	*name = path;
	return take_fd(&dir);
}

static int keep_for_later(struct local_unpack *u, const char *path, const struct tar_entry *e)
{
	struct later *l;

	if (u->n_later == u->room) {
		size_t room = u->room ? u->room * 2 : 64;

		l = reallocarray(u->later, room, sizeof(*l));
		if (!l)
			return -ENOMEM;
		u->later = l;
		u->room = room;
	}
	l = &u->later[u->n_later];
	*l = (struct later){.path = strdup(path), .mode = e->mode & 0777, .mtime = u->mtime};
	if (!l->path)
		return -ENOMEM;
	u->n_later++;
	return 0;
}

static int make_dir(struct local_unpack *u, int dir, const char *name, const char *path)
{
	struct stat st;

	if (mkdirat(dir, name, 0700) < 0) {
		if (errno != EEXIST)
			return -errno;
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		return S_ISDIR(st.st_mode) ? 0 : -EEXIST; /* it keeps its mode */
	}
	return keep_for_later(u, path, &u->reader.entry);
}

/* Anything but a directory is replaced. */
static int make_way(int dir, const char *name)
{
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int make_link(int dir, const char *name, const char *target)
{
	int r = make_way(dir, name);

	return r < 0 ? r : symlinkat(target, dir, name) < 0 ? -errno : 0;
}

static bool is_same(int a_dir, const char *a, int b_dir, const char *b)
{
	struct stat x, y;

	return fstatat(a_dir, a, &x, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(b_dir, b, &y, AT_SYMLINK_NOFOLLOW) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* What has the name gives way only to what is there, and is not itself. */
static int make_hard_link(
	const struct local_unpack *u, int dir, const char *name, const char *target)
{
	char clean[TAR_NAME_MAX + 1];
	auto_close int from = -1;
	const char *from_name = "";
	int r = tar_clean_path(target, 0, clean);

	if (r <= 0)
		return r < 0 ? r : -EINVAL;
	from = open_parent(u, clean, &from_name);
	if (from < 0)
		return from;
	if (linkat(from, from_name, dir, name, 0) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (is_same(from, from_name, dir, name))
		return 0;
	r = make_way(dir, name);
	return r < 0 ? r : linkat(from, from_name, dir, name, 0) < 0 ? -errno : 0;
}

static int make(struct local_unpack *u, const struct tar_entry *e, const char *path)
{
	auto_close int dir = -1;
	const char *name = NULL;

	dir = open_parent(u, path, &name);
	if (dir < 0)
		return dir;
	switch (e->type) {
	case TAR_FILE: u->left = e->size; return local_file_begin(&u->file, dir, name, e->mode);
	case TAR_DIR: return make_dir(u, dir, name, path);
	case TAR_SYMLINK: return make_link(dir, name, e->link);
	case TAR_HARDLINK: return make_hard_link(u, dir, name, e->link);
	default: return -ENOTSUP;
	}
}

static void finish_file(struct local_unpack *u)
{
	int r;

	if (u->file.fd < 0 || u->left > 0)
		return;
	r = local_file_commit(&u->file, &u->mtime);
	if (r < 0)
		u->complain(u->ctx, u->reader.entry.path, strerror(-r));
}

static void begin_entry(struct local_unpack *u)
{
	const struct tar_entry *e = &u->reader.entry;
	char path[TAR_NAME_MAX + 1];
	int r = tar_clean_path(e->path, 0, path);

	u->mtime = (struct timespec){.tv_sec = e->mtime, .tv_nsec = e->mtime_ns};
	if (r > 0) {
		size_t len = strlen(path);

		while (len > 0 && path[len - 1] == '/')
			path[--len] = '\0';
		r = make(u, e, path);
	}
	if (r == -ENOTSUP)
		u->complain(u->ctx, e->path, "a FIFO, socket or device");
	else if (r < 0)
		u->complain(u->ctx, e->path, strerror(-r));
	finish_file(u); /* an empty one */
}

static void put_data(struct local_unpack *u, const uint8_t *data, size_t len)
{
	u->left -= min_of(u->left, (uint64_t)len);
	while (u->file.fd >= 0 && len > 0) {
		ssize_t n = write(u->file.fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			u->complain(u->ctx, u->reader.entry.path, strerror(errno));
			local_file_abort(&u->file);
			return;
		}
		data += n;
		len -= (size_t)n;
	}
	finish_file(u);
}

int local_unpack_write(struct local_unpack *u, const uint8_t *data, size_t len, struct error *e)
{
	const uint8_t *piece;
	size_t piece_len;

	for (;;) {
		int r = tar_read(&u->reader, &data, &len, &piece, &piece_len, e);

		if (r < 0)
			return r;
		if (r == TAR_MORE || r == TAR_END)
			return 0;
		if (r == TAR_ENTRY)
			begin_entry(u);
		else
			put_data(u, piece, piece_len);
	}
}

int local_unpack_end(struct local_unpack *u, struct error *e)
{
	int r = tar_reader_check_end(&u->reader, e);

	for (size_t i = u->n_later; i > 0; i--) {
		const struct later *l = &u->later[i - 1];
		const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, l->mtime};
		const char *name = "";
		auto_close int dir = open_parent(u, l->path, &name);
		auto_close int fd =
			dir < 0 ? -1
				: openat(dir, name,
					  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0 && (fchmod(fd, l->mode) < 0 || futimens(fd, times) < 0))
			u->complain(u->ctx, l->path, strerror(errno));
	}
	return r;
}
