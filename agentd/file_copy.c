/*
 * The request copy: a file, a link, or a tree. Files are made whole or not at all, one by one; a
 * directory that is there already is filled.
 *
 * Of a tree, the new directories are kept open from the top down, as the old ones are: to[n] is
 * where the entries of depth n go.
 */
#include <fcntl.h>
#include <limits.h>

#include "agentd/atomic.h"
#include "agentd/file_data.h"
#include "agentd/file_request.h"
#include "agentd/tree.h"

struct copy {
	struct file_request *q;
	char name[256];  /* of the copy; below the top, names stay */
	int *to;         /* owned, each; of depth + 1 */
	unsigned depth;  /* directories made and not yet left */
	struct stat top; /* the first directory made: not to be copied into itself */
	uint64_t files, bytes;
};

static bool cancelled(void *ctx)
{
	return file_request_cancelled(((struct copy *)ctx)->q);
}

static void times_of(const struct stat *st, struct timespec ret[2])
{
	ret[0] = st->st_atim;
	ret[1] = st->st_mtim;
}

static int copy_regular(struct copy *c, const struct tree_entry *e, int dir, const char *name)
{
	enum atomic_how how = c->q->m.replace ? ATOMIC_REPLACE : ATOMIC_NEW;
	auto_close int from =
		openat(e->dir, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct timespec times[2];
	struct atomic a;
	struct stat st;
	int r;

	if (from < 0)
		return -errno;
	if (fstat(from, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode)) /* exchanged for something else meanwhile */
		return -ENOENT;
	r = atomic_begin_at(&a, &c->q->place, dir, name, st.st_mode & 07777, how);
	if (r < 0)
		return r;
	times_of(&st, times);
	r = file_data_copy(from, a.fd, &st, cancelled, c, &c->bytes);
	if (r == 0 && futimens(a.fd, times) < 0)
		r = -errno;
	if (r == 0)
		return atomic_commit(&a, false);
	atomic_abort(&a);
	return r;
}

/* For what cannot be made aside and renamed. */
static int make_way(const struct copy *c, int dir, const char *name)
{
	if (!c->q->m.replace)
		return 0;
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int finish_special(struct copy *c, const struct tree_entry *e, int dir, const char *name)
{
	auto_close int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct timespec times[2];

	times_of(&e->st, times);
	if (fd < 0)
		return 0;
	place_give(&c->q->place, dir, fd);
	utimensat(fd, "", times, AT_EMPTY_PATH);
	return S_ISLNK(e->st.st_mode) ? 0 : place_chmod(fd, e->st.st_mode & 07777);
}

static int copy_link(const struct tree_entry *e, int dir, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(e->dir, e->name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	return symlinkat(target, dir, name) < 0 ? -errno : 0;
}

static int copy_special(struct copy *c, const struct tree_entry *e, int dir, const char *name)
{
	int r = make_way(c, dir, name);

	if (r < 0)
		return r;
	if (S_ISLNK(e->st.st_mode))
		r = copy_link(e, dir, name);
	else
		r = mknodat(dir, name, e->st.st_mode & (S_IFMT | 0600), e->st.st_rdev) < 0 ? -errno
											   : 0;
	return r < 0 ? r : finish_special(c, e, dir, name);
}

static int open_dir(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Until it is left, a new directory is ours to write to. */
static int enter(struct copy *c, const struct tree_entry *e, int dir, const char *name)
{
	int r = place_mkdir_at(&c->q->place, dir, name, (e->st.st_mode & 07777) | 0700);
	int fd;

	if (r < 0 && (r != -EEXIST || (!c->q->m.replace && c->depth == 0)))
		return r;
	fd = open_dir(dir, name);
	if (fd < 0)
		return fd;
	c->to[++c->depth] = fd;
	return c->depth == 1 && fstat(fd, &c->top) < 0 ? -errno : 0;
}

static int leave(struct copy *c, const struct tree_entry *e)
{
	auto_close int fd = c->to[c->depth--];
	struct timespec times[2];
	int r = place_chmod(fd, e->st.st_mode & 07777);

	times_of(&e->st, times);
	return r == 0 && futimens(fd, times) < 0 ? -errno : r;
}

static int copy_entry(struct copy *c, const struct tree_entry *e)
{
	int dir = c->to[c->depth];
	const char *name = c->depth == 0 ? c->name : e->name;

	switch (e->when) {
	case TREE_MOUNT: return 0; /* another file system is not a part of the tree */
	case TREE_LEAVE: return leave(c, e);
	case TREE_ENTER:
		if (c->depth > 0 && e->st.st_dev == c->top.st_dev && e->st.st_ino == c->top.st_ino)
			return -EINVAL;
		return enter(c, e, dir, name);
	default:
		c->files++;
		return S_ISREG(e->st.st_mode) ? copy_regular(c, e, dir, name)
					      : copy_special(c, e, dir, name);
	}
}

static int visit(void *ctx, const struct tree_entry *e)
{
	struct copy *c = ctx;
	struct stat st;
	int r = copy_entry(c, e);

	/* Only of the source may things vanish without a word. */
	if (r == -ENOENT && fstat(c->to[c->depth], &st) == 0 && st.st_nlink == 0)
		r = -ESTALE;
	return r;
}

/* The source is looked at as what it is; a link is followed when it is not a tree that is copied,
 * as cp(1) does. */
static int find_source(struct file_request *q, int *dir, char name[256], struct error *e)
{
	int r = place_parent(&q->place, q->place.path, dir, name);
	struct stat st = {0};

	if (r == 0 && fstatat(*dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r == 0 && S_ISDIR(st.st_mode) && !q->m.recursive)
		r = -EISDIR;
	if (r < 0)
		return place_error(e, -r, q->place.path);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
		return error_set(e, E_SPECIAL_FILE, 0, "%.120s: not a regular file", q->place.path);
	return S_ISLNK(st.st_mode) && !q->m.recursive ? 1 : 0;
}

/* A link that is followed: from what it leads to. */
static int copy_followed(struct copy *c)
{
	struct file_request *q = c->q;
	struct timespec times[2];
	struct atomic a;
	struct stat st;
	auto_close int from =
		place_open_file(&q->place, q->place.path, O_RDONLY, false, &st, &q->error);
	int r;

	if (from < 0)
		return from;
	r = atomic_begin_at(&a, &q->place, c->to[0], c->name, st.st_mode & 07777,
		q->m.replace ? ATOMIC_REPLACE : ATOMIC_NEW);
	if (r < 0)
		return file_request_fail(q, -r, q->m.to);
	c->files = 1;
	times_of(&st, times);
	r = file_data_copy(from, a.fd, &st, cancelled, c, &c->bytes);
	if (r == 0 && futimens(a.fd, times) < 0)
		r = -errno;
	if (r == 0)
		r = atomic_commit(&a, false);
	else
		atomic_abort(&a);
	return r < 0 ? file_request_fail(q, -r, q->m.to) : 0;
}

static int copy(struct copy *c)
{
	const struct tree_config config = {
		.visit = visit, .cancelled = cancelled, .ctx = c, .stat_files = true};
	struct file_request *q = c->q;
	auto_close int from_dir = -1;
	char from[256];
	int r = find_source(q, &from_dir, from, &q->error);
	int followed = r;

	if (r < 0)
		return r;
	r = place_parent(&q->place, q->m.to, &c->to[0], c->name);
	if (r < 0)
		return file_request_fail(q, -r, q->m.to);
	if (followed)
		return copy_followed(c);
	r = tree_visit(from_dir, from, &config);
	return r < 0 ? file_request_fail(q, -r, r == -EACCES ? q->place.path : q->m.to) : 0;
}

int request_copy(struct file_request *q)
{
	struct copy c = {.q = q};
	int r;

	c.to = malloc((TREE_DEPTH_MAX + 1) * sizeof(*c.to));
	if (!c.to)
		return file_request_fail(q, ENOMEM, "");
	c.to[0] = -1;
	r = copy(&c);
	for (unsigned i = 0; i <= c.depth; i++)
		close_fd(&c.to[i]);
	free(c.to);
	if (r < 0)
		return r;
	jsonw_u64(&q->w, "files", c.files);
	jsonw_u64(&q->w, "bytes", c.bytes);
	return 0;
}
