/*
 * The directory used last stays open, with its path: an archive comes directory by directory, so
 * mostly there is nothing to resolve. What was found out about it (owner, set-gid) says what a new
 * file will have by itself, and saves asking.
 */
#include "agentd/unpack_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>

#define RACES_MAX 64 /* openat2 says EAGAIN when something was renamed while it resolved ".." */
#define DIR_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)

/* The process's umask, which cannot be asked for without setting it: threads share it. */
static mode_t creation_mask(void)
{
	auto_close int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	char text[2048], *p;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return 0777;
	text[n] = '\0';
	p = strstr(text, "\nUmask:");
	return p ? (mode_t)strtoul(p + 7, NULL, 8) & 0777 : 0777;
}

int unpack_init(struct unpack *u, const struct place *p, int base)
{
	*u = (struct unpack){.place = p,
		.free = base < 0,
		.base = base,
		.mask = creation_mask(),
		.fsuid = p->as_user ? p->user.uid : geteuid(),
		.fsgid = p->as_user ? p->user.gid : getegid(),
		.path = malloc(UNPACK_PATH_MAX + 1),
		.dir = -1,
		.atomic = {.fd = -1, .dir = -1}};
	if (u->path)
		return 0;
	unpack_fini(u);
	return -ENOMEM;
}

void unpack_fini(struct unpack *u)
{
	atomic_abort(&u->atomic);
	close_fd(&u->dir);
	close_fd(&u->base);
	free(take_ptr(&u->path));
	free(take_ptr(&u->later));
}

/* ---- names ---- */

int unpack_open_beneath(const struct unpack *u, const char *path, int flags)
{
	struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	int fd = -1;

	for (int i = 0; i < RACES_MAX; i++) {
		fd = (int)syscall(SYS_openat2, u->base, *path ? path : ".", &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd < 0 ? -errno : fd;
}

int unpack_free_path(const struct unpack *u, const char *path, char out[PATH_MAX])
{
	bool absolute = path[0] == '/';
	int n = snprintf(
		out, PATH_MAX, "%s%s%s", absolute ? "" : u->place->path, absolute ? "" : "/", path);

	return n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int open_free(const struct unpack *u, const char *path, int flags)
{
	char full[PATH_MAX];
	int r = unpack_free_path(u, path, full);

	return r < 0 ? r : place_open(u->place, full, flags, 0);
}

int unpack_open_dir(const struct unpack *u, const char *path)
{
	return u->free ? open_free(u, path, DIR_FLAGS) : unpack_open_beneath(u, path, DIR_FLAGS);
}

/* A directory that the archive only implies. */
static int make_implied(const struct unpack *u, int parent, const char *name)
{
	auto_close int fd = -1;

	if (mkdirat(parent, name, 0755) < 0)
		return -errno;
	fd = openat(parent, name, DIR_FLAGS | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	place_give(u->place, parent, fd);
	return u->mask & 0755 ? place_chmod(fd, 0755) : 0;
}

static int make_free(const struct unpack *u)
{
	char full[PATH_MAX];
	int r = unpack_free_path(u, u->path, full);

	if (r == 0)
		r = place_make_parents(u->place, full, 0755, true);
	return r < 0 ? r : place_open(u->place, full, DIR_FLAGS, 0);
}

/* Opens u->path and makes what is missing of it. */
static int make_dirs(const struct unpack *u)
{
	char *p = u->path;
	int fd = unpack_open_dir(u, "");

	while (*p && fd >= 0) {
		auto_close int parent = fd;
		char *name = p, *end = strchrnul(p, '/');
		char was = *end;

		*end = '\0';
		fd = unpack_open_dir(u, u->path);
		if (fd == -ENOENT) {
			fd = make_implied(u, parent, name);
			if (fd == 0 || fd == -EEXIST)
				fd = unpack_open_dir(u, u->path);
		}
		*end = was;
		p = end + (was == '/');
	}
	return fd;
}

int unpack_enter(struct unpack *u, const char *path, bool make, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) + (slash == path) : 0;
	struct stat st;

	*ret_name = slash ? slash + 1 : path;
	if (len > UNPACK_PATH_MAX)
		return -ENAMETOOLONG;
	if (u->dir >= 0 && memcmp(u->path, path, len) == 0 && u->path[len] == '\0')
		return 0;
	close_fd(&u->dir);
	memcpy(u->path, path, len);
	u->path[len] = '\0';
	u->dir = unpack_open_dir(u, u->path);
	if (u->dir == -ENOENT && make)
		u->dir = u->free ? make_free(u) : make_dirs(u);
	if (u->dir < 0)
		return u->dir;
	if (fstat(u->dir, &st) < 0) {
		int r = -errno;

		close_fd(&u->dir);
		return r;
	}
	u->dir_uid = st.st_uid;
	u->dir_gid = st.st_gid;
	u->dir_setgid = st.st_mode & S_ISGID;
	return 0;
}

/* ---- what new entries get ---- */

bool unpack_owner(const struct unpack *u, const struct unpack_meta *m, uid_t *uid, gid_t *gid)
{
	gid_t own_gid = u->dir_setgid ? u->dir_gid : u->fsgid;

	switch (u->place->owner.kind) {
	case OWNER_PARENT:
		*uid = u->dir_uid;
		*gid = u->dir_gid;
		break;
	case OWNER_IDS:
		*uid = u->place->owner.uid;
		*gid = u->place->owner.gid;
		break;
	case OWNER_ARCHIVE:
		*uid = m->uid;
		*gid = m->gid;
		break;
	case OWNER_SELF:
		*uid = u->fsuid;
		*gid = own_gid;
		break;
	}
	return *uid != u->fsuid || *gid != own_gid;
}

mode_t unpack_mode(const struct unpack *u, const struct unpack_meta *m)
{
	return m->mode & (u->free || u->place->owner.kind == OWNER_ARCHIVE ? 07777 : 01777);
}

void unpack_times(const struct unpack_meta *m, struct timespec ret[2])
{
	ret[0] = (struct timespec){.tv_nsec = UTIME_NOW};
	ret[1] = m->mtime;
}

/* An open file that was made with `mode & 0777`. */
static int settle(const struct unpack *u, int fd, const struct unpack_meta *m)
{
	mode_t mode = unpack_mode(u, m);
	struct timespec times[2];
	uid_t uid;
	gid_t gid;

	if (unpack_owner(u, m, &uid, &gid) && fchown(fd, uid, gid) < 0) {
		if (errno != EPERM)
			return -errno;
		mode &= 01777; /* those of a file that is ours */
	}
	if (mode & (u->mask | 07000) && fchmod(fd, mode) < 0)
		return -errno;
	unpack_times(m, times);
	return m->timed && futimens(fd, times) < 0 ? -errno : 0;
}

/* ---- files ---- */

int unpack_write(int fd, const void *bytes, size_t len)
{
	const uint8_t *data = bytes;

	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int unpack_clear_dir(const struct unpack *u, const char *name)
{
	if (unlinkat(u->dir, name, AT_REMOVEDIR) == 0 || errno == ENOTDIR || errno == ENOENT)
		return 0;
	return errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY ? -EISDIR : -errno;
}

int unpack_begin(struct unpack *u, const char *path, const struct unpack_meta *meta)
{
	const char *name;
	int r = unpack_enter(u, path, true, &name);

	if (r == 0)
		r = unpack_clear_dir(u, name);
	if (r < 0)
		return r;
	u->meta = *meta;
	r = atomic_begin_at(
		&u->atomic, u->place, u->dir, name, unpack_mode(u, meta), ATOMIC_REPLACE);
	if (r == -ENOTSUP && unlinkat(u->dir, name, 0) == 0) /* a FIFO, socket or device */
		r = atomic_begin_at(
			&u->atomic, u->place, u->dir, name, unpack_mode(u, meta), ATOMIC_REPLACE);
	/* What is replaced passes nothing on. */
	if (r == 0)
		unpack_owner(u, meta, &u->atomic.uid, &u->atomic.gid);
	return r;
}

int unpack_commit(struct unpack *u)
{
	struct timespec times[2];

	if (u->place->owner.kind == OWNER_ARCHIVE && !u->atomic.exists &&
		fchown(u->atomic.fd, u->meta.uid, u->meta.gid) < 0)
		u->atomic.mode &= 01777;
	unpack_times(&u->meta, times);
	if (u->meta.timed && futimens(u->atomic.fd, times) < 0) {
		int r = -errno;

		atomic_abort(&u->atomic);
		return r;
	}
	return atomic_commit(&u->atomic, false);
}

static int replace_file(struct unpack *u, const char *path, const struct unpack_meta *meta,
	const void *data, size_t len)
{
	int r = unpack_begin(u, path, meta);

	if (r < 0)
		return r;
	r = unpack_write(u->atomic.fd, data, len);
	if (r < 0) {
		atomic_abort(&u->atomic);
		return r;
	}
	return unpack_commit(u);
}

/* Opens a new file. The directory used last may have been removed meanwhile: then once more. */
static int create(struct unpack *u, const char *path, mode_t mode, const char **name)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int r = unpack_enter(u, path, true, name), fd;

	if (r < 0)
		return r;
	fd = openat(u->dir, *name, flags, mode & 0777);
	if (fd < 0 && errno == ENOENT) {
		close_fd(&u->dir);
		r = unpack_enter(u, path, true, name);
		if (r < 0)
			return r;
		fd = openat(u->dir, *name, flags, mode & 0777);
	}
	return fd < 0 ? -errno : fd;
}

int unpack_file(struct unpack *u, const char *path, const struct unpack_meta *meta,
	const void *data, size_t len, bool replace)
{
	const char *name;
	auto_close int fd = create(u, path, meta->mode, &name);
	int r;

	if (fd == -EEXIST && replace)
		return replace_file(u, path, meta, data, len);
	if (fd < 0)
		return fd;
	r = unpack_write(fd, data, len);
	if (r == 0)
		r = settle(u, fd, meta);
	if (r < 0)
		unlinkat(u->dir, name, 0);
	return r;
}
