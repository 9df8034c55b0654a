/*
 * What has no bytes: links, nodes, directories. The first two are made under a hidden name when
 * something is in their place, and renamed over it; directories get their modes and times last,
 * since filling them needs the one and changes the other.
 */
#include <fcntl.h>
#include <stdio.h>

#include "agentd/unpack_internal.h"

/* A directory to be finished, in `later`; its path follows. */
struct later {
	size_t before; /* where the one before it is; itself: the first */
	struct unpack_meta meta;
	size_t path_len;
};

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
	if (unpack_owner(u, m, &uid, &gid) && fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 &&
		errno != EPERM)
		return -errno;
	if (type == S_IFDIR) /* the rest comes when it is full */
		return 0;
	if (type != S_IFLNK && unpack_mode(u, m) & u->mask)
		r = place_chmod(fd, unpack_mode(u, m) & 0777);
	unpack_times(m, times);
	if (r == 0 && m->timed && utimensat(u->dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
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
	r = unpack_clear_dir(u, name);
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
	mode_t mode = (meta->mode & S_IFMT) | (unpack_mode(u, meta) & 0777);
	const char *name;
	int r = unpack_enter(u, path, true, &name);

	if (r == 0)
		r = make_replacing(u, &(struct making){.mode = mode, .dev = dev}, name);
	return r < 0 ? r : settle_at(u, name, meta->mode & S_IFMT, meta);
}

int unpack_hardlink(struct unpack *u, const char *path, const char *target)
{
	const char *slash = strrchr(target, '/'), *name;
	char *dir = strndup(target, slash ? (size_t)(slash - target) : 0);
	auto_close int fd = dir ? unpack_open_dir(u, dir) : -ENOMEM;
	int r;

	free(dir);
	r = fd < 0 ? fd : unpack_enter(u, path, true, &name);
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
	auto_close int fd = unpack_open_dir(u, path);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0) {
		if ((st.st_mode & 0700) != 0700) /* as a new one: it is closed at the end */
			place_chmod(fd, (st.st_mode & 07777) | 0700);
		return 0;
	}
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
	auto_close int fd = unpack_open_beneath(u, path, O_RDONLY | O_DIRECTORY);
	mode_t mode = unpack_mode(u, &l->meta);
	struct timespec times[2];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	if (u->place->owner.kind != OWNER_ARCHIVE)
		mode |= st.st_mode & S_ISGID; /* it has that from its parent */
	if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
		return -errno;
	unpack_times(&l->meta, times);
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
