/*
 * Rights are a property of the thread: the file system's uid and gid, and the groups. The C
 * library's setgroups() would change all threads, so the system calls are made directly. With an
 * fsuid that is not 0 the kernel takes the capabilities that concern files from the thread, and
 * gives them back with the 0.
 *
 * A name beneath a root goes to the kernel in one piece, with a descriptor of the root that is
 * opened for each operation: there is nothing a swap of links could come between.
 */
#include "agentd/place.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

#define RACES_MAX 64 /* openat2 says EAGAIN when something was renamed while it resolved ".." */

/* Our own groups, for the way back. Set on the loop before any worker can need them. */
static gid_t own_groups[USER_GROUPS_MAX];
static int n_own_groups = -1;

static int resolve_user(struct place *p, const char *spec, struct error *e)
{
	int r = user_resolve(spec, &p->user);

	if (r < 0)
		return error_set(e, E_FAILED, -r, "user %.64s: %s", spec,
			r == -ENOENT ? "no such user or group" : strerror(-r));
	p->as_user = p->user.uid != geteuid() || p->user.gid != getegid();
	if (n_own_groups < 0)
		n_own_groups = getgroups(USER_GROUPS_MAX, own_groups);
	if (p->as_user && n_own_groups < 0)
		return error_set(e, E_FAILED, errno, "agentd has too many groups itself");
	return 0;
}

/* Where relative names without a root begin. */
static const char *home_of(
	const struct place *p, const char *user, const struct config *config, struct user *tmp)
{
	if (user)
		return p->user.home;
	if (config->default_user && user_resolve(config->default_user, tmp) == 0)
		return tmp->home;
	return user_by_uid(geteuid(), tmp) == 0 ? tmp->home : "/";
}

static int init(struct place *p, const struct msg_where *w, const struct config *config,
	bool other_names, struct error *e)
{
	const char *base = w->root, *sep = "";
	size_t base_len, size;
	struct user tmp;
	int r;

	*p = (struct place){.owner = w->owner};
	r = w->user ? resolve_user(p, w->user, e) : 0;
	if (r < 0)
		return r;
	if (!base)
		base = other_names || w->path[0] != '/' ? home_of(p, w->user, config, &tmp) : "/";
	base_len = strlen(base) + 1;
	size = strlen(w->path) + 1;
	if (!w->root && w->path[0] != '/') {
		size += base_len;
		sep = "/";
	}
	if (size > PATH_MAX || base_len > PATH_MAX)
		return error_set(e, E_FAILED, ENAMETOOLONG, "a path of over %d bytes", PATH_MAX);
	p->mem = malloc(base_len + size);
	if (!p->mem)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	if (w->root)
		p->root = memcpy(p->mem, base, base_len);
	else
		p->home = memcpy(p->mem, base, base_len);
	p->path = p->mem + base_len;
	snprintf(p->path, size, "%s%s%s", *sep ? base : "", sep, w->path);
	return 0;
}

int place_init(
	struct place *p, const struct msg_where *w, const struct config *config, struct error *e)
{
	return init(p, w, config, true, e);
}

int place_init_lone(
	struct place *p, const struct msg_where *w, const struct config *config, struct error *e)
{
	return init(p, w, config, false, e);
}

void place_fini(struct place *p)
{
	free(p->mem);
	*p = (struct place){0};
}

/* rights */

static int set_groups(const gid_t *groups, size_t n)
{
	return syscall(SYS_setgroups, n, groups) < 0 ? -errno : 0;
}

/* setfsuid and setfsgid tell only what was before; asked for the impossible they tell what is. */
static bool set_ids(uid_t uid, gid_t gid)
{
	setfsgid(gid);
	setfsuid(uid);
	return (gid_t)setfsgid((gid_t)-1) == gid && (uid_t)setfsuid((uid_t)-1) == uid;
}

int place_enter(const struct place *p)
{
	int r;

	if (!p->as_user)
		return 0;
	r = set_groups(p->user.groups, p->user.n_groups);
	if (r < 0)
		return r;
	if (set_ids(p->user.uid, p->user.gid))
		return 0;
	place_leave(p);
	return -EPERM;
}

void place_leave(const struct place *p)
{
	bool ids;
	int groups;

	if (!p->as_user)
		return;
	ids = set_ids(geteuid(), getegid());
	groups = set_groups(own_groups, (size_t)n_own_groups);
	/* Whatever this thread does next must not be done with another's rights. */
	ASSERT(ids && groups == 0);
}

/* names */

static int open_beneath(const struct place *p, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)flags,
		.mode = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? mode & 07777 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	auto_close int root = open(p->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = -1;

	if (root < 0)
		return -errno;
	path += strspn(path, "/");
	if (!*path)
		path = ".";
	for (int i = 0; i < RACES_MAX; i++) {
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd < 0 ? -errno : fd;
}

static int open_anywhere(const struct place *p, const char *path, int flags, mode_t mode)
{
	char full[PATH_MAX];
	int fd;

	if (path[0] != '/' && p->home) {
		int n = snprintf(full, sizeof(full), "%s/%s", p->home, path);

		if (n >= (int)sizeof(full))
			return -ENAMETOOLONG;
		path = full;
	}
	do
		fd = open(path, flags, mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int place_open(const struct place *p, const char *path, int flags, mode_t mode)
{
	if (!*path)
		return -ENOENT;
	flags |= O_CLOEXEC;
	if (!(flags & O_PATH)) {
		flags |= O_NOCTTY;
		if (!(flags & O_DIRECTORY))
			flags |= O_NONBLOCK;
	}
	return p->root ? open_beneath(p, path, flags, mode) : open_anywhere(p, path, flags, mode);
}

static int refuse_special(struct error *e, const char *path, const struct stat *st)
{
	const char *what = S_ISFIFO(st->st_mode)   ? "FIFO"
			   : S_ISSOCK(st->st_mode) ? "socket"
						   : "device";
	size_t len = strlen(path);

	return error_set(
		e, E_SPECIAL_FILE, 0, "%s: a %s", path + (len > 120 ? len - 120 : 0), what);
}

/* What path leads to, without opening it. */
static int look_at(const struct place *p, const char *path, struct stat *st)
{
	auto_close int fd = -1;

	if (!p->root && path[0] == '/')
		return stat(path, st) < 0 ? -errno : 0;
	fd = place_open(p, path, O_PATH, 0);
	if (fd < 0)
		return fd;
	return fstat(fd, st) < 0 ? -errno : 0;
}

int place_open_file(const struct place *p, const char *path, int flags, bool special,
	struct stat *ret, struct error *e)
{
	auto_close int fd = -1;
	int r = look_at(p, path, ret);

	if (r < 0)
		return place_error(e, -r, path);
	if (S_ISDIR(ret->st_mode))
		return place_error(e, EISDIR, path);
	if (!special && !S_ISREG(ret->st_mode))
		return refuse_special(e, path, ret);
	fd = place_open(p, path, flags, 0);
	if (fd < 0)
		return place_error(e, -fd, path);
	if (fstat(fd, ret) < 0) /* it may be another by now */
		return place_error(e, errno, path);
	if (!special && !S_ISREG(ret->st_mode))
		return refuse_special(e, path, ret);
	return take_fd(&fd);
}

int place_parent(const struct place *p, const char *path, int *ret_dir, char name[256])
{
	char dir[PATH_MAX];
	size_t end = strlen(path), from;
	int fd;

	if (end == 0)
		return -EINVAL;
	while (end > 0 && path[end - 1] == '/')
		end--;
	if (end == 0)
		return -EBUSY;
	from = end;
	while (from > 0 && path[from - 1] != '/')
		from--;
	if (end - from > NAME_MAX || from >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(name, path + from, end - from);
	name[end - from] = '\0';
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	if (from == 0)
		dir[from++] = '.';
	else
		memcpy(dir, path, from);
	dir[from] = '\0';
	fd = place_open(p, dir, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	*ret_dir = fd;
	return 0;
}

/* owners */

void place_give(const struct place *p, int dir, int fd)
{
	uid_t uid = p->owner.uid;
	gid_t gid = p->owner.gid;
	struct stat st;

	if (p->owner.kind == OWNER_PARENT) {
		if (fstat(dir, &st) < 0)
			return;
		uid = st.st_uid;
		gid = st.st_gid;
	} else if (p->owner.kind != OWNER_IDS) {
		return;
	}
	if (fstat(fd, &st) < 0 || (st.st_uid == uid && st.st_gid == gid))
		return;
	/* The kernel decides whether we may. */
	(void)!fchownat(fd, "", uid, gid, AT_EMPTY_PATH);
}

int place_chmod(int fd, mode_t mode)
{
	char name[32];

	if (fchmod(fd, mode) == 0)
		return 0;
	if (errno != EBADF)
		return -errno;
	if (syscall(SYS_fchmodat2, fd, "", mode, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOSYS)
		return -errno;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return chmod(name, mode) < 0 ? -errno : 0;
}

/* The mode is meant as it is said, whatever umask agentd was started with: threads share that. */
static int finish_dir(const struct place *p, int dir, int fd, mode_t mode)
{
	struct stat st;

	place_give(p, dir, fd);
	if (fstat(fd, &st) < 0 || (st.st_mode & 01777) == (mode & 01777))
		return 0;
	return place_chmod(fd, (st.st_mode & S_ISGID) | mode);
}

int place_mkdir_at(const struct place *p, int dir, const char *name, mode_t mode)
{
	auto_close int fd = -1;

	if (mkdirat(dir, name, mode) < 0)
		return -errno;
	fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 ? finish_dir(p, dir, fd, mode) : -errno;
}

/* One directory, unless it is there. 1: made. */
static int make_one(const struct place *p, const char *path, mode_t mode)
{
	auto_close int fd = place_open(p, path, O_PATH | O_DIRECTORY, 0);
	auto_close int dir = -1;
	char name[NAME_MAX + 1];
	int r;

	if (fd >= 0)
		return 0;
	if (fd != -ENOENT)
		return fd;
	r = place_parent(p, path, &dir, name);
	if (r == 0)
		r = place_mkdir_at(p, dir, name, mode);
	if (r != -EEXIST)
		return r < 0 ? r : 1;
	fd = place_open(p, path, O_PATH | O_DIRECTORY, 0); /* somebody was faster */
	return fd >= 0 ? 0 : -EEXIST;
}

int place_make_parents(const struct place *p, const char *path, mode_t mode, bool itself)
{
	char prefix[PATH_MAX];
	size_t end = strlen(path), at;
	int made = 0, fd;

	if (end >= sizeof(prefix))
		return -ENAMETOOLONG;
	while (end > 0 && path[end - 1] == '/')
		end--;
	while (!itself && end > 0 && path[end - 1] != '/')
		end--;
	if (end == 0)
		return 0;
	memcpy(prefix, path, end);
	prefix[end] = '\0';
	fd = place_open(p, prefix, O_PATH | O_DIRECTORY, 0); /* as it mostly is */
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (fd != -ENOENT)
		return fd;
	for (at = 0; at < end;) {
		int r;

		at += strspn(path + at, "/");
		at += strcspn(path + at, "/");
		at = min_of(at, end);
		memcpy(prefix, path, at);
		prefix[at] = '\0';
		r = make_one(p, prefix, mode);
		if (r < 0)
			return r;
		made += r;
	}
	return made;
}

int place_error(struct error *e, int err, const char *path)
{
	size_t len = strlen(path);
	bool cut = len > 120;

	/* Of a long path the end tells more. */
	return error_set(e, E_FAILED, err, "%s%s: %s", cut ? "..." : "",
		cut ? path + len - 120 : path, strerror(err));
}
