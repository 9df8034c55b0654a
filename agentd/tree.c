/*
 * The way down is a stack of open directories, each with a buffer of names read ahead. Names are
 * read by getdents64 itself: readdir() would put 32 KiB on each level.
 */
#include "agentd/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#define NAMES_SIZE 8192

struct kernel_dirent { /* linux_dirent64 */
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

struct level {
	struct level *up;
	int fd;
	struct stat st;
	char name[256]; /* of this directory in the one above */
	size_t at, len; /* in names */
	_Alignas(8) uint8_t names[NAMES_SIZE];
};

struct tree_walk {
	const struct tree_config *config;
	int top; /* the directory the walk began in */
	struct level *level;
	unsigned depth; /* levels */
};

static int dir_of(const struct tree_walk *w)
{
	return w->level ? w->level->fd : w->top;
}

static int open_dir(const struct tree_walk *w, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV,
	};
	int fd = -1;

	if (!w->config->cross_mounts) {
		fd = (int)syscall(SYS_openat2, dir_of(w), name, &how, sizeof(how));
		if (fd >= 0 || errno != ENOSYS)
			return fd < 0 ? -errno : fd;
	}
	fd = openat(dir_of(w), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int visit(const struct tree_walk *w, const struct tree_entry *e)
{
	return w->config->visit(w->config->ctx, e);
}

/* Without openat2 another device is the only sign of another mount. */
static bool is_mount(const struct tree_walk *w, const struct stat *st)
{
	return !w->config->cross_mounts && w->level && w->level->st.st_dev != st->st_dev;
}

static int visit_mount(const struct tree_walk *w, const char *name)
{
	struct tree_entry e = {.when = TREE_MOUNT,
		.dir = dir_of(w),
		.name = name,
		.fd = -1,
		.depth = w->depth,
		.type = DT_DIR};
	int r;

	if (fstatat(e.dir, name, &e.st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	r = visit(w, &e);
	return r > 0 ? 0 : r;
}

static int push(struct tree_walk *w, int fd, const struct stat *st, const char *name)
{
	struct level *l = malloc(sizeof(*l));

	if (!l) {
		close(fd);
		return -ENOMEM;
	}
	l->up = w->level;
	l->fd = fd;
	l->st = *st;
	l->at = l->len = 0;
	memcpy(l->name, name, strlen(name) + 1);
	w->level = l;
	w->depth++;
	return 0;
}

static void pop(struct tree_walk *w)
{
	struct level *l = w->level;

	w->level = l->up;
	w->depth--;
	close(l->fd);
	free(l);
}

static int enter(struct tree_walk *w, const char *name)
{
	struct tree_entry e = {.when = TREE_ENTER,
		.dir = dir_of(w),
		.name = name,
		.depth = w->depth,
		.type = DT_DIR};
	int r;

	if (w->depth >= TREE_DEPTH_MAX)
		return -ELOOP;
	e.fd = open_dir(w, name);
	if (e.fd == -EXDEV)
		return visit_mount(w, name);
	if (e.fd < 0)
		return e.fd;
	r = fstat(e.fd, &e.st) < 0 ? -errno : 0;
	if (r == 0 && is_mount(w, &e.st)) {
		close(e.fd);
		return visit_mount(w, name);
	}
	if (r == 0)
		r = visit(w, &e);
	if (r != 0) {
		close(e.fd);
		return r > 0 ? 0 : r;
	}
	return push(w, e.fd, &e.st, name);
}

static int leave(struct tree_walk *w)
{
	struct level *l = w->level;
	struct tree_entry e = {.when = TREE_LEAVE,
		.dir = l->up ? l->up->fd : w->top,
		.name = l->name,
		.fd = l->fd,
		.depth = w->depth - 1,
		.st = l->st,
		.type = DT_DIR};
	int r = visit(w, &e);

	pop(w);
	return r > 0 ? 0 : r;
}

static int file(struct tree_walk *w, const char *name, uint8_t type, const struct stat *st)
{
	struct tree_entry e = {.when = TREE_FILE,
		.dir = dir_of(w),
		.name = name,
		.fd = -1,
		.depth = w->depth,
		.type = type};
	int r;

	if (st)
		e.st = *st;
	else if (w->config->stat_files && fstatat(e.dir, name, &e.st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	r = visit(w, &e);
	return r > 0 ? 0 : r;
}

static int entry(struct tree_walk *w, const char *name, uint8_t type)
{
	struct stat st;
	int r;

	if (type == DT_UNKNOWN) { /* not every file system tells */
		if (fstatat(dir_of(w), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		type = IFTODT(st.st_mode);
		if (type != DT_DIR)
			return file(w, name, type, &st);
	}
	if (type != DT_DIR)
		return file(w, name, type, NULL);
	r = enter(w, name);
	/* No directory any more: what it is now is looked at as that. */
	return r == -ENOTDIR && fstatat(dir_of(w), name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			       !S_ISDIR(st.st_mode)
		       ? file(w, name, IFTODT(st.st_mode), &st)
		       : r;
}

/* The next name of the deepest directory; NULL at its end. */
static int next_name(struct tree_walk *w, const char **ret, uint8_t *type)
{
	struct level *l = w->level;

	for (;;) {
		const struct kernel_dirent *d = (void *)(l->names + l->at);
		long n;

		if (l->at < l->len) {
			l->at += d->len;
			if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
				continue;
			*ret = d->name;
			*type = d->type;
			return 0;
		}
		n = syscall(SYS_getdents64, l->fd, l->names, sizeof(l->names));
		if (n < 0)
			return -errno;
		*ret = NULL;
		if (n == 0)
			return 0;
		l->at = 0;
		l->len = (size_t)n;
	}
}

static int step(struct tree_walk *w)
{
	const char *name = NULL;
	uint8_t type = DT_UNKNOWN;
	int r;

	if (w->config->cancelled && w->config->cancelled(w->config->ctx))
		return -ECANCELED;
	r = next_name(w, &name, &type);
	if (r < 0)
		return r;
	if (!name)
		return leave(w);
	r = entry(w, name, type);
	return r == -ENOENT ? 0 : r;
}

int tree_visit(int dir, const char *name, const struct tree_config *config)
{
	struct tree_walk w = {.config = config, .top = dir};
	int r;

	if (strlen(name) > 255)
		return -ENAMETOOLONG;
	r = entry(&w, name, DT_UNKNOWN);
	while (r == 0 && w.level)
		r = step(&w);
	while (w.level)
		pop(&w);
	return r;
}
