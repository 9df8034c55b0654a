/* Requests that make or change one name or one file. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "agentd/file_request.h"

#define RENAME_KEEP 1 /* RENAME_NOREPLACE, which not all C libraries know */

static int in_parent(struct file_request *q, const char *path, int *dir, char name[256])
{
	int r = place_parent(&q->place, path, dir, name);

	return r < 0 ? file_request_fail(q, -r, path) : 0;
}

/* mkdir -p: what is there already is fine, if it is a directory. The ones in between have the usual
 * mode. */
static int make_all(struct file_request *q)
{
	const char *path = q->place.path;
	int above = place_make_parents(&q->place, path, 0755, false);
	int made = above < 0 ? above : place_make_parents(&q->place, path, q->m.mode, true);

	if (made < 0)
		return file_request_fail(q, -made, path);
	jsonw_int(&q->w, "made", above + made);
	return 0;
}

int request_mkdir(struct file_request *q)
{
	auto_close int dir = -1;
	char name[256];
	int r;

	if (q->m.parents)
		return make_all(q);
	if (q->place.path[strspn(q->place.path, "/")] == '\0')
		return file_request_fail(q, EEXIST, q->place.path);
	r = in_parent(q, q->place.path, &dir, name);
	if (r < 0)
		return r;
	r = place_mkdir_at(&q->place, dir, name, q->m.mode);
	if (r < 0)
		return file_request_fail(q, -r, q->place.path);
	jsonw_int(&q->w, "made", 1);
	return 0;
}

int request_rename(struct file_request *q)
{
	auto_close int from_dir = -1, to_dir = -1;
	char from[256], to[256];
	int r = in_parent(q, q->place.path, &from_dir, from);

	if (r == 0)
		r = in_parent(q, q->m.to, &to_dir, to);
	if (r < 0)
		return r;
	if (q->m.replace)
		r = renameat(from_dir, from, to_dir, to);
	else
		r = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, RENAME_KEEP);
	if (r == 0)
		return 0;
	/* Only these two are sure to be about the new name. */
	r = errno;
	return file_request_fail(q, r, r == EEXIST || r == ENOTEMPTY ? q->m.to : q->place.path);
}

int request_symlink(struct file_request *q)
{
	auto_close int dir = -1, fd = -1;
	char name[256];
	int r = in_parent(q, q->place.path, &dir, name);

	if (r < 0)
		return r;
	if (symlinkat(q->m.target, dir, name) < 0)
		return file_request_fail(q, errno, q->place.path);
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		place_give(&q->place, dir, fd);
	return 0;
}

int request_link(struct file_request *q)
{
	auto_close int from_dir = -1, to_dir = -1;
	char from[256], to[256];
	int r = in_parent(q, q->place.path, &from_dir, from);

	if (r == 0)
		r = in_parent(q, q->m.to, &to_dir, to);
	if (r < 0)
		return r;
	if (linkat(from_dir, from, to_dir, to, 0) == 0)
		return 0;
	r = errno;
	return file_request_fail(q, r, r == EEXIST ? q->m.to : q->place.path);
}

int request_truncate(struct file_request *q)
{
	struct stat st;
	auto_close int fd =
		place_open_file(&q->place, q->place.path, O_WRONLY, false, &st, &q->error);

	if (fd < 0)
		return fd;
	return ftruncate(fd, (off_t)q->m.size) < 0 ? file_request_fail(q, errno, q->place.path) : 0;
}

/* Rounded down, as times before 1970 need it. */
static struct timespec from_ns(int64_t ns)
{
	int64_t s = ns / 1000000000, rest = ns % 1000000000;

	if (ns == MSG_FILE_NOW)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	if (rest < 0) {
		rest += 1000000000;
		s--;
	}
	return (struct timespec){.tv_sec = s, .tv_nsec = rest};
}

int request_utimes(struct file_request *q)
{
	const struct timespec times[2] = {from_ns(q->m.atime_ns), from_ns(q->m.mtime_ns)};
	auto_close int fd =
		place_open(&q->place, q->place.path, O_PATH | (q->m.follow ? 0 : O_NOFOLLOW), 0);

	if (fd < 0)
		return file_request_fail(q, -fd, q->place.path);
	return utimensat(fd, "", times, AT_EMPTY_PATH) < 0
		       ? file_request_fail(q, errno, q->place.path)
		       : 0;
}
