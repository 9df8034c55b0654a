/*
 * A directory into an archive. The way down is a stack of open directories, each entry is reached
 * by the descriptor of its own; one file is open at a time. (fts(3) would do, but not every C
 * library has it.)
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "bridge/local_tree.h"

struct level {
	DIR *dir;
	size_t len; /* of its path in `path` */
};

struct local_pack {
	char *top; /* owned; for complaints */
	local_tree_fn complain;
	void *ctx;
	struct level *levels; /* owned */
	size_t depth, room;
	char path[TAR_NAME_MAX + 1]; /* of the entry under way, in the archive */
	int fd;                      /* of the file under way; owned */
	uint64_t left;
	size_t padding;
	bool begun, over;
	bool cut; /* the file became shorter: zeros make up for it */
};

static void complain(const struct local_pack *p, const char *why)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", p->top, p->path) < 0)
		path = NULL;
	p->complain(p->ctx, path ? path : p->path, why);
	free(path);
}

/* Takes the descriptor. */
static int push(struct local_pack *p, int fd)
{
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir && p->depth == p->room) {
		size_t room = p->room ? p->room * 2 : 32;
		struct level *levels = reallocarray(p->levels, room, sizeof(*levels));

		if (!levels) {
			closedir(dir);
			return -ENOMEM;
		}
		p->levels = levels;
		p->room = room;
	}
	if (!dir) {
		int r = -errno;

		close_fd(&fd);
		return r;
	}
	p->levels[p->depth++] = (struct level){dir, strlen(p->path)};
	return 0;
}

struct local_pack *local_pack_new(const char *dir, local_tree_fn complain_fn, void *ctx)
{
	struct local_pack *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->fd = -1;
	p->complain = complain_fn;
	p->ctx = ctx;
	p->top = strdup(dir);
	if (!p->top || push(p, open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		int err = errno;

		local_pack_free(p);
		errno = err;
		return NULL;
	}
	return p;
}

void local_pack_free(struct local_pack *p)
{
	if (!p)
		return;
	while (p->depth > 0)
		closedir(p->levels[--p->depth].dir);
	free(p->levels);
	close_fd(&p->fd);
	free(p->top);
	free(p);
}

/* ---- heads ---- */

static size_t put_head(
	const struct local_pack *p, const struct stat *st, struct tar_entry *e, uint8_t *out)
{
	e->path = *p->path ? p->path : ".";
	if (!e->link)
		e->link = "";
	e->mode = st->st_mode & 07777;
	e->uid = st->st_uid;
	e->gid = st->st_gid;
	e->mtime = st->st_mtim.tv_sec;
	e->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
	return tar_head(e, out);
}

static size_t put_top(struct local_pack *p, uint8_t *out)
{
	struct tar_entry e = {.type = TAR_DIR};
	struct stat st;

	p->begun = true;
	return fstat(dirfd(p->levels[0].dir), &st) < 0 ? 0 : put_head(p, &st, &e, out);
}

static size_t put_dir(
	struct local_pack *p, int dir, const char *name, const struct stat *st, uint8_t *out)
{
	struct tar_entry e = {.type = TAR_DIR};
	size_t n = put_head(p, st, &e, out);
	int r = push(p, openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));

	if (r < 0)
		complain(p, strerror(-r));
	return n;
}

static size_t put_file(struct local_pack *p, int dir, const char *name, uint8_t *out)
{
	struct tar_entry e = {.type = TAR_FILE};
	auto_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		complain(p, strerror(errno));
		return 0;
	}
	if (!S_ISREG(st.st_mode)) {
		complain(p, "it has just been replaced by something else");
		return 0;
	}
	e.size = (uint64_t)st.st_size;
	p->fd = take_fd(&fd);
	p->left = e.size;
	p->padding = tar_padding(e.size);
	p->cut = false;
	return put_head(p, &st, &e, out);
}

static size_t put_link(
	const struct local_pack *p, int dir, const char *name, const struct stat *st, uint8_t *out)
{
	char target[TAR_NAME_MAX + 1];
	struct tar_entry e = {.type = TAR_SYMLINK, .link = target};
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0) {
		complain(p, strerror(errno));
		return 0;
	}
	target[n] = '\0';
	return put_head(p, st, &e, out);
}

/* An entry of the deepest directory; p->path is its name. */
static size_t put_entry(struct local_pack *p, int dir, const char *name, uint8_t *out)
{
	struct tar_entry fifo = {.type = TAR_FIFO};
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		complain(p, strerror(errno));
		return 0;
	}
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR: return put_dir(p, dir, name, &st, out);
	case S_IFREG: return put_file(p, dir, name, out);
	case S_IFLNK: return put_link(p, dir, name, &st, out);
	case S_IFIFO: return put_head(p, &st, &fifo, out);
	default: complain(p, "a socket or device"); return 0;
	}
}

static size_t put_next(struct local_pack *p, uint8_t *out)
{
	const struct level *l = &p->levels[p->depth - 1];
	const struct dirent *d = readdir(l->dir);
	size_t len = l->len;

	if (!d) {
		closedir(p->levels[--p->depth].dir);
		return 0;
	}
	if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
		return 0;
	p->path[len] = '\0';
	if (len + 1 + strlen(d->d_name) > TAR_NAME_MAX) {
		complain(p, "a name in it is too long");
		return 0;
	}
	snprintf(p->path + len, sizeof(p->path) - len, "%s%s", len ? "/" : "", d->d_name);
	return put_entry(p, dirfd(l->dir), d->d_name, out);
}

/* ---- the archive ---- */

/* Bytes of the file under way; those that are gone are zeros, as their number was said. */
static size_t put_data(struct local_pack *p, uint8_t *out, size_t size)
{
	size_t want = (size_t)min_of(p->left, (uint64_t)size);
	ssize_t n = p->cut ? 0 : read(p->fd, out, want);

	if (n <= 0) {
		if (!p->cut)
			complain(
				p, n < 0 ? strerror(errno) : "it became shorter while it was read");
		p->cut = true;
		memset(out, 0, want);
		n = (ssize_t)want;
	}
	p->left -= (uint64_t)n;
	return (size_t)n;
}

static size_t put_some(struct local_pack *p, uint8_t *out, size_t size)
{
	size_t n;

	if (p->left > 0)
		return put_data(p, out, size);
	close_fd(&p->fd);
	if (p->padding > 0) {
		n = p->padding;
		p->padding = 0;
		memset(out, 0, n);
		return n;
	}
	if (!p->begun)
		return put_top(p, out);
	if (p->depth > 0)
		return put_next(p, out);
	p->over = true;
	memset(out, 0, TAR_END_BLOCK);
	return TAR_END_BLOCK;
}

size_t local_pack_read(struct local_pack *p, uint8_t *out, size_t size)
{
	size_t n = 0;

	while (!p->over && size - n >= LOCAL_PACK_MIN)
		n += put_some(p, out + n, size - n);
	return n;
}
