/*
 * linkat() gives a nameless file a name, but replaces nothing: over an existing target the file
 * gets a hidden name first, which is then renamed. Only a crash between these two leaves anything.
 */
#include "agentd/atomic.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/random.h>
#include <sys/syscall.h>

#define LINKS_MAX   40 /* as the kernel's */
#define NAMES_MAX   16 /* hidden names tried */
#define RENAME_KEEP 1  /* RENAME_NOREPLACE, which not all C libraries know */

/* A link in a directory that anybody may write to is only its owner's to follow, or the
 * directory's: what the kernel calls protected_symlinks, and cannot do for us as we read it. */
static bool link_trusted(int dir, const struct stat *link)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return false;
	if ((st.st_mode & (S_ISVTX | S_IWOTH)) != (S_ISVTX | S_IWOTH))
		return true;
	return link->st_uid == st.st_uid || link->st_uid == (uid_t)setfsuid((uid_t)-1);
}

/* path becomes where the link called `name` in path's directory points to. */
static int follow(const struct place *p, int dir, const char *name, char path[PATH_MAX])
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
	size_t keep = strlen(path);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	while (keep > 0 && path[keep - 1] == '/')
		keep--;
	while (keep > 0 && path[keep - 1] != '/')
		keep--;
	if (target[0] == '/' && p->root)
		return -EXDEV;
	if (target[0] == '/')
		keep = 0;
	if (keep + (size_t)n >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(path + keep, target, (size_t)n + 1);
	return 0;
}

/* The directory and name of what is to be replaced, behind all links; *st: what is there now. */
static int find_target(struct atomic *a, const char *given, struct stat *st)
{
	char path[PATH_MAX];
	int r;

	if (strlen(given) >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(path, given, strlen(given) + 1);
	for (int i = 0; i < LINKS_MAX; i++) {
		size_t len = strlen(path);

		r = place_parent(a->place, path, &a->dir, a->name);
		if (r < 0)
			return r == -EBUSY ? -EISDIR : r;
		if (path[len - 1] == '/')
			return -EISDIR;
		if (fstatat(a->dir, a->name, st, AT_SYMLINK_NOFOLLOW) < 0)
			return errno == ENOENT ? 0 : -errno;
		a->exists = true;
		if (!S_ISLNK(st->st_mode))
			return 0;
		a->exists = false;
		if (a->how == ATOMIC_NEW)
			return -EEXIST;
		if (!link_trusted(a->dir, st))
			return -EACCES;
		r = follow(a->place, a->dir, a->name, path);
		if (r < 0)
			return r;
		close_fd(&a->dir);
	}
	return -ELOOP;
}

void atomic_hidden_name(char name[24])
{
	uint64_t v;

	if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v))
		v = now_ns() * 0x9e3779b97f4a7c15ULL; /* unique will do: O_EXCL decides */
	snprintf(name, 24, ".agentd%016llx", (unsigned long long)v);
}

static int open_new(struct atomic *a)
{
	a->fd = openat(a->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (a->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT)
		return -errno;
	for (int i = 0; i < NAMES_MAX; i++) {
		atomic_hidden_name(a->temp);
		a->fd = openat(
			a->dir, a->temp, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0600);
		if (a->fd >= 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	a->temp[0] = '\0';
	return -errno;
}

static void set_mode(struct atomic *a, mode_t mode, const struct stat *st)
{
	if (a->exists) {
		a->uid = st->st_uid;
		a->gid = st->st_gid;
	}
	a->mode = mode & 07777;
	if (mode == ATOMIC_MODE_KEEP)
		a->mode = a->exists ? st->st_mode & 07777 : 0644;
}

int atomic_begin(struct atomic *a, const struct place *p, const char *path, mode_t mode,
	enum atomic_how how, struct error *e)
{
	struct stat st = {0};
	int r;

	*a = (struct atomic){.place = p, .fd = -1, .dir = -1, .how = how};
	r = find_target(a, path, &st);
	if (r == 0 && a->exists && how == ATOMIC_NEW)
		r = -EEXIST;
	else if (r == 0 && a->exists && S_ISDIR(st.st_mode))
		r = -EISDIR;
	if (r == 0 && a->exists && !S_ISREG(st.st_mode)) {
		atomic_abort(a);
		return error_set(e, E_SPECIAL_FILE, 0, "%.150s: not a regular file", path);
	}
	if (r == 0)
		r = open_new(a);
	if (r < 0) {
		atomic_abort(a);
		return place_error(e, -r, path);
	}
	set_mode(a, mode, &st);
	return 0;
}

static int find_target_at(struct atomic *a, struct stat *st)
{
	if (a->dir < 0)
		return -errno;
	if (fstatat(a->dir, a->name, st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (a->how == ATOMIC_NEW)
		return -EEXIST;
	if (S_ISDIR(st->st_mode))
		return -EISDIR;
	if (!S_ISREG(st->st_mode) && !S_ISLNK(st->st_mode))
		return -ENOTSUP;
	a->exists = true;
	return 0;
}

int atomic_begin_at(struct atomic *a, const struct place *p, int dir, const char *name, mode_t mode,
	enum atomic_how how)
{
	struct stat st = {0};
	int r;

	*a = (struct atomic){.place = p, .fd = -1, .how = how};
	a->dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	if (strlen(name) >= sizeof(a->name)) {
		atomic_abort(a);
		return -ENAMETOOLONG;
	}
	memcpy(a->name, name, strlen(name) + 1);
	r = find_target_at(a, &st);
	if (r == 0)
		r = open_new(a);
	if (r < 0) {
		atomic_abort(a);
		return r;
	}
	set_mode(a, mode, &st);
	if (a->exists && S_ISLNK(st.st_mode) && mode == ATOMIC_MODE_KEEP)
		a->mode = 0644; /* a link has none of its own */
	return 0;
}

static int set_owner_and_mode(struct atomic *a)
{
	struct stat st;

	if (!a->exists) {
		place_give(a->place, a->dir, a->fd);
	} else if (fstat(a->fd, &st) == 0 && (st.st_uid != a->uid || st.st_gid != a->gid)) {
		/* Who may not give files away keeps it, and with it no more than plain rights. */
		if (fchown(a->fd, a->uid, a->gid) < 0)
			a->mode &= 0777;
	}
	return fchmod(a->fd, a->mode) < 0 ? -errno : 0;
}

static int give_name(struct atomic *a, const char *name)
{
	char path[32];

	if (linkat(a->fd, "", a->dir, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT && errno != EPERM && errno != EINVAL)
		return -errno;
	/* Without the capability it takes: the same by way of /proc. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", a->fd);
	return linkat(AT_FDCWD, path, a->dir, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int give_hidden_name(struct atomic *a)
{
	int r = -EEXIST;

	for (int i = 0; i < NAMES_MAX && r == -EEXIST; i++) {
		atomic_hidden_name(a->temp);
		r = give_name(a, a->temp);
	}
	if (r < 0)
		a->temp[0] = '\0';
	return r;
}

/* The hidden name becomes the name, and is no more. */
static int rename_over(struct atomic *a)
{
	if (renameat(a->dir, a->temp, a->dir, a->name) < 0)
		return -errno;
	a->temp[0] = '\0';
	return 0;
}

static int rename_new(struct atomic *a)
{
	if (syscall(SYS_renameat2, a->dir, a->temp, a->dir, a->name, RENAME_KEEP) == 0) {
		a->temp[0] = '\0';
		return 0;
	}
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* A file system without it: link() does not replace either. */
	return linkat(a->dir, a->temp, a->dir, a->name, 0) < 0 ? -errno : 0;
}

static int put_in_place(struct atomic *a)
{
	int r;

	if (a->temp[0] == '\0' && !a->exists) {
		r = give_name(a, a->name);
		if (r != -EEXIST || a->how == ATOMIC_NEW)
			return r;
	}
	if (a->temp[0] == '\0') {
		r = give_hidden_name(a);
		if (r < 0)
			return r;
	}
	return a->how == ATOMIC_NEW ? rename_new(a) : rename_over(a);
}

static int sync_dir(int dir)
{
	auto_close int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int atomic_commit(struct atomic *a, bool sync)
{
	int r = set_owner_and_mode(a);

	if (r == 0 && sync && fsync(a->fd) < 0)
		r = -errno;
	if (r == 0)
		r = put_in_place(a);
	if (r == 0 && sync)
		r = sync_dir(a->dir);
	atomic_abort(a);
	return r;
}

void atomic_abort(struct atomic *a)
{
	if (a->temp[0])
		unlinkat(a->dir, a->temp, 0);
	a->temp[0] = '\0';
	close_fd(&a->fd);
	close_fd(&a->dir);
}
