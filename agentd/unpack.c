/*
 * The directory used last stays open, with its path: an archive comes directory by directory, so
 * mostly there is nothing to resolve. What was found out about it (owner, set-gid) says what a new
 * file will have by itself, and saves asking.
 */
#include "agentd/unpack.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>

#define RACES_MAX 64 /* openat2 says EAGAIN when something was renamed while it resolved ".." */
#define DIR_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)

/* A directory to be finished, in `later`; its path follows. */
struct later {
	size_t before; /* where the one before it is; itself: the first */
	struct unpack_meta meta;
	size_t path_len;
};

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

static int open_beneath(const struct unpack *u, const char *path, int flags)
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

/* u->path or the like as the place understands it. */
static int free_path(const struct unpack *u, const char *path, char out[PATH_MAX])
{
	bool absolute = path[0] == '/';
	int n = snprintf(
		out, PATH_MAX, "%s%s%s", absolute ? "" : u->place->path, absolute ? "" : "/", path);

	return n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int open_free(const struct unpack *u, const char *path, int flags)
{
	char full[PATH_MAX];
	int r = free_path(u, path, full);

	return r < 0 ? r : place_open(u->place, full, flags, 0);
}

static int open_dir(const struct unpack *u, const char *path)
{
	return u->free ? open_free(u, path, DIR_FLAGS) : open_beneath(u, path, DIR_FLAGS);
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
	int r = free_path(u, u->path, full);

	if (r == 0)
		r = place_make_parents(u->place, full, 0755, true);
	return r < 0 ? r : place_open(u->place, full, DIR_FLAGS, 0);
}

/* Opens u->path and makes what is missing of it. */
static int make_dirs(const struct unpack *u)
{
	char *p = u->path;
	int fd = open_dir(u, "");

	while (*p && fd >= 0) {
		auto_close int parent = fd;
		char *name = p, *end = strchrnul(p, '/');
		char was = *end;

		*end = '\0';
		fd = open_dir(u, u->path);
		if (fd == -ENOENT) {
			fd = make_implied(u, parent, name);
			if (fd == 0 || fd == -EEXIST)
				fd = open_dir(u, u->path);
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
	u->dir = open_dir(u, u->path);
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

/* Whose a new entry of u->dir is to be; false: that is whose it is already. */
static bool owner_for(const struct unpack *u, const struct unpack_meta *m, uid_t *uid, gid_t *gid)
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

/* Set-user bits on somebody else's word only where the owner is that of the archive, too. */
static mode_t mode_for(const struct unpack *u, const struct unpack_meta *m)
{
	return m->mode & (u->place->owner.kind == OWNER_ARCHIVE ? 07777 : 01777);
}

static void times_for(const struct unpack_meta *m, struct timespec ret[2])
{
	ret[0] = (struct timespec){.tv_nsec = UTIME_NOW};
	ret[1] = m->mtime;
}

/* An open file that was made with `mode & 0777`. */
static int settle(const struct unpack *u, int fd, const struct unpack_meta *m)
{
	mode_t mode = mode_for(u, m);
	struct timespec times[2];
	uid_t uid;
	gid_t gid;

	if (owner_for(u, m, &uid, &gid) && fchown(fd, uid, gid) < 0) {
		if (errno != EPERM)
			return -errno;
		mode &= 01777; /* those of a file that is ours */
	}
	if (mode & (u->mask | 07000) && fchmod(fd, mode) < 0)
		return -errno;
	times_for(m, times);
	return m->timed && futimens(fd, times) < 0 ? -errno : 0;
}

/* The same for what was just made under this name. Whoever may write to the directory may have put
 * something else there meanwhile, even another name of a file that is not theirs: what is given
 * away is what was looked at, and of the type that was made. */
static int settle_at(
	const struct unpack *u, const char *name, mode_t type, const struct unpack_meta *m)
{
	auto_close int fd = openat(u->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct timespec times[2];
	struct stat st;
	uid_t uid;
	gid_t gid;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) != type)
		return -ESTALE;
	if (owner_for(u, m, &uid, &gid) && fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 &&
		errno != EPERM)
		return -errno;
	if (type == S_IFDIR) /* the rest comes when it is full */
		return 0;
	if (type != S_IFLNK && mode_for(u, m) & u->mask)
		r = place_chmod(fd, mode_for(u, m) & 0777);
	times_for(m, times);
	if (r == 0 && m->timed && utimensat(u->dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	return r;
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

/* An empty directory gives way; another one does not. */
static int clear_dir(const struct unpack *u, const char *name)
{
	if (unlinkat(u->dir, name, AT_REMOVEDIR) == 0 || errno == ENOTDIR || errno == ENOENT)
		return 0;
	return -EISDIR;
}

int unpack_begin(struct unpack *u, const char *path, const struct unpack_meta *meta)
{
	const char *name;
	int r = unpack_enter(u, path, true, &name);

	if (r == 0)
		r = clear_dir(u, name);
	if (r < 0)
		return r;
	u->meta = *meta;
	r = atomic_begin_at(&u->atomic, u->place, u->dir, name, mode_for(u, meta), ATOMIC_REPLACE);
	if (r == -ENOTSUP && unlinkat(u->dir, name, 0) == 0) /* a FIFO, socket or device */
		r = atomic_begin_at(
			&u->atomic, u->place, u->dir, name, mode_for(u, meta), ATOMIC_REPLACE);
	/* What is replaced passes nothing on. */
	if (r == 0)
		owner_for(u, meta, &u->atomic.uid, &u->atomic.gid);
	return r;
}

int unpack_commit(struct unpack *u)
{
	struct timespec times[2];

	if (u->place->owner.kind == OWNER_ARCHIVE && !u->atomic.exists &&
		fchown(u->atomic.fd, u->meta.uid, u->meta.gid) < 0)
		u->atomic.mode &= 01777;
	times_for(&u->meta, times);
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

int unpack_file(struct unpack *u, const char *path, const struct unpack_meta *meta,
	const void *data, size_t len, bool replace)
{
	auto_close int fd = -1;
	const char *name;
	int r = unpack_enter(u, path, true, &name);

	if (r < 0)
		return r;
	fd = openat(u->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		meta->mode & 0777);
	if (fd < 0)
		return errno == EEXIST && replace ? replace_file(u, path, meta, data, len) : -errno;
	r = unpack_write(fd, data, len);
	if (r == 0)
		r = settle(u, fd, meta);
	if (r < 0)
		unlinkat(u->dir, name, 0);
	return r;
}

/* ---- links and nodes ---- */

/* One system call that makes an entry, to be made under whichever name. */
struct making {
	const char *symlink; /* or */
	int target_dir;      /* a hard link, with its name; or neither: a node */
	const char *target;
	mode_t mode;
	dev_t dev;
};

static int make(const struct unpack *u, const struct making *m, const char *name)
{
	int r;

	if (m->symlink)
		r = symlinkat(m->symlink, u->dir, name);
	else if (m->target)
		r = linkat(m->target_dir, m->target, u->dir, name, 0);
	else
		r = mknodat(u->dir, name, m->mode, m->dev);
	return r < 0 ? -errno : 0;
}

static int make_replacing(const struct unpack *u, const struct making *m, const char *name)
{
	char temp[24];
	int r = make(u, m, name);

	if (r != -EEXIST)
		return r;
	r = clear_dir(u, name);
	if (r < 0)
		return r;
	atomic_hidden_name(temp);
	r = make(u, m, temp);
	if (r < 0)
		return r;
	if (renameat(u->dir, temp, u->dir, name) < 0)
		r = -errno;
	unlinkat(u->dir, temp, 0); /* is still there also when both were the same file */
	return r;
}

int unpack_symlink(
	struct unpack *u, const char *path, const struct unpack_meta *meta, const char *target)
{
	const char *name;
	int r = unpack_enter(u, path, true, &name);

	if (r == 0)
		r = make_replacing(u, &(struct making){.symlink = target}, name);
	return r < 0 ? r : settle_at(u, name, S_IFLNK, meta);
}

int unpack_node(struct unpack *u, const char *path, const struct unpack_meta *meta, dev_t dev)
{
	mode_t mode = (meta->mode & S_IFMT) | (mode_for(u, meta) & 0777);
	const char *name;
	int r = unpack_enter(u, path, true, &name);

	if (r == 0)
		r = make_replacing(u, &(struct making){.mode = mode, .dev = dev}, name);
	return r < 0 ? r : settle_at(u, name, meta->mode & S_IFMT, meta);
}

int unpack_hardlink(struct unpack *u, const char *path, const char *target)
{
	const char *slash = strrchr(target, '/'), *name;
	auto_free char *dir = strndup(target, slash ? (size_t)(slash - target) : 0);
	auto_close int fd = dir ? open_dir(u, dir) : -ENOMEM;
	int r = fd < 0 ? fd : unpack_enter(u, path, true, &name);

	if (r < 0)
		return r;
	return make_replacing(
		u, &(struct making){.target_dir = fd, .target = slash ? slash + 1 : target}, name);
}

/* ---- directories ---- */

static int keep_for_later(struct unpack *u, const char *path, const struct unpack_meta *meta)
{
	struct later l = {.meta = *meta, .path_len = strlen(path)};
	size_t need = align_up(sizeof(l) + l.path_len + 1, _Alignof(struct later));

	if (u->later_len + need > UNPACK_DIRS_MAX)
		return -ENOBUFS;
	if (u->later_len + need > u->later_room) {
		size_t room = max_of(2 * (u->later_len + need), (size_t)4096);
		uint8_t *p = realloc(u->later, room);

		if (!p)
			return -ENOMEM;
		u->later = p;
		u->later_room = room;
	}
	l.before = u->later_last;
	memcpy(u->later + u->later_len, &l, sizeof(l));
	memcpy(u->later + u->later_len + sizeof(l), path, l.path_len + 1);
	u->later_last = u->later_len;
	u->later_len += need;
	return 0;
}

/* What is there is a directory, perhaps by way of a link that stays below the base: merged. Or it
 * is something else, and gives way. */
static int merge_or_replace(struct unpack *u, const char *path, const char *name, mode_t mode)
{
	auto_close int fd = open_dir(u, path);

	if (fd >= 0)
		return 0;
	if (unlinkat(u->dir, name, 0) < 0)
		return -errno;
	return mkdirat(u->dir, name, mode) < 0 ? -errno : 1;
}

int unpack_dir(struct unpack *u, const char *path, const struct unpack_meta *meta)
{
	mode_t mode = (meta->mode & 0777) | 0700; /* so that it can be filled */
	const char *name;
	int made = 0, r;

	if (*path) {
		r = unpack_enter(u, path, true, &name);
		if (r < 0)
			return r;
		made = mkdirat(u->dir, name, mode) < 0 ? -errno : 1;
		if (made == -EEXIST)
			made = merge_or_replace(u, path, name, mode);
		r = made > 0 ? settle_at(u, name, S_IFDIR, meta) : made;
		if (r < 0)
			return r;
	}
	r = keep_for_later(u, path, meta);
	return r < 0 ? r : made;
}

static int finish_one(const struct unpack *u, const struct later *l, const char *path)
{
	auto_close int fd = open_beneath(u, path, O_RDONLY | O_DIRECTORY);
	mode_t mode = mode_for(u, &l->meta);
	struct timespec times[2];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	if (u->place->owner.kind != OWNER_ARCHIVE)
		mode |= st.st_mode & S_ISGID; /* it has that from its parent */
	if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
		return -errno;
	times_for(&l->meta, times);
	return l->meta.timed && futimens(fd, times) < 0 ? -errno : 0;
}

/* Of a directory that is somebody else's, or is none any more. */
static bool may_stay(int r)
{
	return r == -EPERM || r == -EACCES || r == -ENOENT || r == -ENOTDIR || r == -EXDEV ||
	       r == -ELOOP;
}

/* Backwards: what is deeper comes before what might become closed to us. */
int unpack_finish(struct unpack *u)
{
	struct later l;

	close_fd(&u->dir);
	for (size_t at = u->later_last; u->later_len > 0; at = l.before) {
		int r;

		memcpy(&l, u->later + at, sizeof(l));
		r = finish_one(u, &l, (const char *)u->later + at + sizeof(l));
		if (r < 0 && !may_stay(r))
			return r;
		if (at == 0)
			break;
	}
	u->later_len = 0;
	return 0;
}
