/*
 * Each level remembers how far it has been read: what getdents(2) had given beyond the entry that
 * was entered is copied aside (it is mostly little or nothing), since all levels read into the same
 * buffer. A level that was closed to save descriptors is opened again from the start, step by
 * step and without following links, checked to be the same directory, and read on from its
 * position.
 */
#include "agentd/walk.h"

#include <fcntl.h>
#include <sys/syscall.h>

#define BUF_SIZE (32 * 1024)

/* What the kernel writes; the C libraries name it differently. */
struct dirent_raw {
	uint64_t ino;
	int64_t off;
	uint16_t size;
	uint8_t type;
	char name[];
};

static struct walk_level *top(const struct walk *w)
{
	return &w->levels[w->depth - 1];
}

static int set_path(struct walk *w, size_t parent_len, const char *name)
{
	size_t n = strlen(name), need = parent_len + n + 2;

	if (need > w->path_room) {
		size_t room = max_of(2 * need, (size_t)256);
		char *p = realloc(w->path, room);

		if (!p)
			return -ENOMEM;
		w->path = p;
		w->path_room = room;
	}
	if (parent_len > 0)
		w->path[parent_len++] = '/';
	memcpy(w->path + parent_len, name, n + 1);
	w->path_len = parent_len + n;
	return 0;
}

/* ---- levels ---- */

/* Keeps no more than WALK_OPEN directories open; the first always is. */
static void close_highest(struct walk *w)
{
	struct walk_level *l = &w->levels[w->lowest_open];

	if (w->depth > w->lowest_open + WALK_OPEN) {
		close_fd(&l->fd);
		free(take_ptr(&l->saved));
		l->next = l->end = NULL; /* it is read again from `at` */
		w->lowest_open++;
	}
}

/* fd is taken. */
static int push(struct walk *w, int fd)
{
	auto_close int own = fd;
	struct walk_level *l;
	struct stat st;

	if (fstat(own, &st) < 0)
		return -errno;
	if (w->flags & WALK_FOLLOW) {
		for (unsigned i = 0; i < w->depth; i++) {
			if (w->levels[i].dev == st.st_dev && w->levels[i].ino == st.st_ino)
				return -ELOOP;
		}
	}
	if (w->depth == w->room) {
		unsigned room = w->room ? 2 * w->room : 16;
		struct walk_level *levels = realloc(w->levels, room * sizeof(*levels));

		if (!levels)
			return -ENOMEM;
		w->levels = levels;
		w->room = room;
	}
	if (w->depth > 0) {
		l = top(w);
		if (l->next < l->end && !l->saved) {
			size_t n = (size_t)(l->end - l->next);

			l->saved = malloc(n);
			if (!l->saved)
				return -ENOMEM;
			l->next = memcpy(l->saved, l->next, n);
			l->end = l->next + n;
		}
	}
	w->levels[w->depth] = (struct walk_level){.fd = take_fd(&own),
		.path_len = w->depth > 0 ? w->path_len : 0,
		.dev = st.st_dev,
		.ino = st.st_ino};
	w->lowest_open = min_of(w->lowest_open, max_of(w->depth, 1U));
	w->depth++;
	close_highest(w);
	return 0;
}

static void pop(struct walk *w)
{
	struct walk_level *l = top(w);

	close_fd(&l->fd);
	free(l->saved);
	w->depth--;
}

/* What a link of the walk leads to, as far as the place lets it. */
static int open_followed(const struct walk *w, int flags)
{
	size_t n = strlen(w->place->path);
	char *path = malloc(n + w->path_len + 2);
	int fd;

	if (!path)
		return -ENOMEM;
	memcpy(path, w->place->path, n);
	path[n] = '/';
	memcpy(path + n + 1, w->path, w->path_len + 1);
	fd = place_open(w->place, path, flags, 0);
	free(path);
	return fd;
}

/* The directory of the level that is on top again: its path is the front of `path`. */
static int open_again(struct walk *w)
{
	struct walk_level *l = top(w);
	int fd = w->levels[0].fd;
	char *at = w->path, *end = w->path + l->path_len;
	struct stat st;

	w->path_len = l->path_len;
	*end = '\0';
	if (w->flags & WALK_FOLLOW) {
		fd = open_followed(w, O_RDONLY | O_DIRECTORY);
		at = end;
	}
	while (at < end && fd >= 0) {
		char *slash = strchrnul(at, '/');
		char was = *slash;
		int next;

		*slash = '\0';
		next = openat(fd, at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			next = -errno;
		*slash = was;
		at = slash + (was == '/');
		if (fd != w->levels[0].fd)
			close(fd);
		fd = next;
	}
	if (fd < 0)
		return fd;
	l->fd = fd;
	w->lowest_open = w->depth - 1;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != l->dev || st.st_ino != l->ino)
		return -ESTALE;
	return lseek(fd, l->at, SEEK_SET) < 0 ? -errno : 0;
}

/* ---- entries ---- */

/* 1: there is one in l->next. 0: the directory is at its end. */
static int fill(struct walk *w)
{
	struct walk_level *l = top(w);
	long n;
	int r;

	if (l->fd < 0) {
		r = open_again(w);
		if (r < 0)
			return r;
	}
	if (l->next < l->end)
		return 1;
	free(take_ptr(&l->saved));
	n = syscall(SYS_getdents64, l->fd, w->buf, BUF_SIZE);
	if (n < 0)
		return errno == ENOENT ? 0 : -errno; /* it has been removed */
	l->next = w->buf;
	l->end = w->buf + n;
	return n > 0;
}

static uint8_t type_of(mode_t mode)
{
	return (uint8_t)((mode & S_IFMT) >> 12); /* DT_* are the same numbers */
}

/* Fills type and st of w->last. -ENOENT: it is gone. */
static int look(struct walk *w)
{
	struct walk_entry *e = &w->last;
	bool link = e->type == DT_LNK || e->type == DT_UNKNOWN;

	if (w->flags & WALK_FOLLOW && link) {
		auto_close int fd = open_followed(w, O_PATH);

		if (fd >= 0 && fstat(fd, &e->st) == 0) {
			e->type = type_of(e->st.st_mode);
			return 0;
		}
	}
	if (e->type != DT_UNKNOWN && !(w->flags & WALK_STAT))
		return 0;
	if (fstatat(e->dir, e->name, &e->st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	e->type = type_of(e->st.st_mode);
	return 0;
}

/* 1: w->last is the next entry of the level on top. 0: there is none. */
static int next_here(struct walk *w)
{
	for (;;) {
		struct walk_level *l;
		const struct dirent_raw *d;
		int r = fill(w);

		if (r <= 0)
			return r;
		l = top(w);
		d = (const void *)l->next;
		l->next += d->size;
		l->at = d->off;
		if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
			continue;
		r = set_path(w, l->path_len, d->name);
		if (r < 0)
			return r;
		w->last = (struct walk_entry){.dir = l->fd,
			.path = w->path,
			.path_len = w->path_len,
			.name = w->path + w->path_len - strlen(d->name),
			.depth = w->depth,
			.type = d->type};
		r = look(w);
		if (r == -ENOENT)
			continue;
		w->last.err = r;
		return 1;
	}
}

/* Goes into the directory given last. */
static int enter(struct walk *w)
{
	const struct walk_entry *e = &w->last;
	int fd;

	if (w->depth >= WALK_DEPTH || w->path_len > WALK_PATH_MAX)
		return -ENAMETOOLONG;
	fd = openat(e->dir, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	if (w->flags & WALK_FOLLOW && (fd == -ENOTDIR || fd == -ELOOP))
		fd = open_followed(w, O_RDONLY | O_DIRECTORY);
	return fd < 0 ? fd : push(w, fd);
}

/* ---- the walk ---- */

int walk_init(struct walk *w, int fd, unsigned flags, unsigned depth_max, const struct place *place)
{
	int r;

	ASSERT(place || !(flags & WALK_FOLLOW));
	*w = (struct walk){.place = place,
		.flags = flags,
		.depth_max = flags & WALK_FLAT ? 1 : depth_max,
		.lowest_open = 1,
		.buf = malloc(BUF_SIZE)};
	if (!w->buf || set_path(w, 0, "") < 0) {
		close(fd);
		walk_fini(w);
		return -ENOMEM;
	}
	r = push(w, fd);
	if (r < 0)
		walk_fini(w);
	return r;
}

void walk_fini(struct walk *w)
{
	while (w->depth > 0)
		pop(w);
	free(take_ptr(&w->levels));
	free(take_ptr(&w->path));
	free(take_ptr(&w->buf));
	w->room = 0;
	w->enter = false;
}

/* A directory that cannot be read (on), given once more with the reason. */
static int give_again(struct walk *w, int err, unsigned depth)
{
	w->last.err = err;
	w->last.opening = true;
	w->last.depth = depth;
	w->last.path = w->path;
	w->last.path_len = w->path_len;
	w->last.name = w->path;
	for (const char *p = w->path; *p; p++) {
		if (*p == '/')
			w->last.name = p + 1;
	}
	return 1;
}

int walk_next(struct walk *w, const struct walk_entry **ret)
{
	int r;

	*ret = &w->last;
	if (w->enter) {
		w->enter = false;
		r = enter(w);
		if (r == -ENOMEM)
			return r;
		if (r < 0 && r != -ENOENT)
			return give_again(w, r, w->last.depth);
	}
	while (w->depth > 0) {
		r = next_here(w);
		if (r > 0) {
			w->enter = w->last.type == DT_DIR && w->last.err == 0 &&
				   (w->depth_max == 0 || w->depth < w->depth_max);
			return 1;
		}
		if (r == -ENOMEM || (r < 0 && w->depth == 1))
			return r;
		if (r < 0) {
			w->path_len = top(w)->path_len;
			w->path[w->path_len] = '\0';
			pop(w);
			w->last.type = DT_DIR;
			w->last.dir = -1;
			return give_again(w, r, w->depth);
		}
		pop(w);
	}
	return 0;
}

void walk_skip(struct walk *w)
{
	w->enter = false;
}
