/* Requests chmod and chown, of one file or of all below a directory. Links inside are never
 * followed: for chown they are what is changed, chmod passes them over. */
#include <fcntl.h>

#include "agentd/file_request.h"
#include "agentd/tree.h"

static int chown_fd(const struct file_request *q, int fd)
{
	return fchownat(fd, "", q->m.uid, q->m.gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* A directory after what is in it: its new mode may be one that locks us out. */
static int chmod_visit(void *ctx, const struct tree_entry *e)
{
	const struct file_request *q = ctx;
	auto_close int fd = -1;
	struct stat st;

	if (e->when == TREE_LEAVE)
		return place_chmod(e->fd, q->m.mode);
	if (e->when != TREE_FILE)
		return 0;
	fd = openat(e->dir, e->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISLNK(st.st_mode) ? 0 : place_chmod(fd, q->m.mode);
}

static int chown_visit(void *ctx, const struct tree_entry *e)
{
	const struct file_request *q = ctx;

	if (e->when == TREE_LEAVE)
		return chown_fd(q, e->fd);
	if (e->when == TREE_FILE &&
		fchownat(e->dir, e->name, q->m.uid, q->m.gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int change(struct file_request *q, bool follow,
	int (*visit)(void *ctx, const struct tree_entry *e), int (*one)(struct file_request *, int))
{
	const struct tree_config config = {
		.visit = visit, .cancelled = file_request_cancelled, .ctx = q};
	auto_close int fd =
		place_open(&q->place, q->place.path, O_PATH | (follow ? 0 : O_NOFOLLOW), 0);
	struct stat st;
	int r = fd;

	if (fd >= 0)
		r = fstat(fd, &st) < 0 ? -errno : 0;
	if (r == 0)
		r = q->m.recursive && S_ISDIR(st.st_mode) ? tree_visit(fd, ".", &config)
							  : one(q, fd);
	return r < 0 ? file_request_fail(q, -r, q->place.path) : 0;
}

static int chmod_one(struct file_request *q, int fd)
{
	return place_chmod(fd, q->m.mode);
}

static int chown_one(struct file_request *q, int fd)
{
	return chown_fd(q, fd);
}

int request_chmod(struct file_request *q)
{
	return change(q, true, chmod_visit, chmod_one);
}

int request_chown(struct file_request *q)
{
	return change(q, q->m.follow, chown_visit, chown_one);
}
