/*
 * The directory is what the kernel's number says, not the name: see watch_feed.c.
 */
#include "agentd/watch_scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/syscall.h>

#define EVENTS                                                                                     \
	(IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO |             \
		IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

/* ---- telling ---- */

/* True: the same was the last that was said of this path, in this batch. (Never of what comes and
 * goes: it may have gone with a directory above it.) */
static bool said_already(struct watch_feed *f, enum watch_kind kind, const char *path, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;
	unsigned i;
	bool same;

	for (size_t k = 0; k < len; k++)
		h = (h ^ (uint8_t)path[k]) * 0x100000001b3u;
	h |= 1; /* 0: nothing was said */
	i = (unsigned)(h >> 32) % array_size(f->recent);
	same = f->recent[i].path == h && f->recent[i].kind == kind;
	f->recent[i].path = h;
	f->recent[i].kind = kind;
	return same && (kind == WATCH_MODIFY || kind == WATCH_ATTRIB);
}

struct watch_event *watch_tell_of(struct watch_feed *f, enum watch_kind kind, const char *path,
	size_t len, const char *from, size_t from_len, bool dir)
{
	struct watch_event *e = NULL;

	if (said_already(f, kind, path, len))
		return NULL;
	if (from_len > 0)
		said_already(f, kind, from, from_len);
	if (f->n_out < WATCH_BATCH_MAX)
		e = watch_event_new(kind, path, len, from, from_len);
	else if (f->n_out == WATCH_BATCH_MAX)
		e = watch_event_new(WATCH_OVERFLOW, "", 0, "", 0);
	f->n_out++;
	if (!e)
		return NULL;
	e->dir = dir;
	*f->tail = e;
	f->tail = &e->next;
	return e;
}

void watch_tell(struct watch_feed *f, enum watch_kind kind, const char *path, size_t len, bool dir)
{
	watch_tell_of(f, kind, path, len, "", 0, dir);
}

/* What is below this directory is not watched. */
void watch_tell_blind(struct watch_feed *f, const char *path, int err)
{
	struct watch_event *e = watch_tell_of(f, WATCH_OVERFLOW, path, strlen(path), "", 0, true);

	if (e)
		e->err = err;
}

bool watch_excluded(struct watch_feed *f, const char *path, size_t len, bool dir)
{
	return f->exclude && ignore_match(f->exclude, path, len, dir) == 1;
}

/* ---- directories ---- */

static void drop_watch(void *ctx, int wd)
{
	struct watch_feed *f = ctx;

	inotify_rm_watch(f->fd, wd);
}

void watch_forget(struct watch_feed *f, struct watch_dir *d)
{
	watch_dirs_remove(&f->dirs, d, drop_watch, f);
}

void watch_look_at(struct watch_feed *f, struct watch_dir *d, enum watch_look how)
{
	d->how = list_empty(&d->todo) ? how : max_of(d->how, how);
	list_remove(&d->todo);
	list_append(&f->todo, &d->todo);
}

/* All that was found in it was found in another. */
static void take_back(struct watch_feed *f, struct watch_dir *d)
{
	char path[WATCH_PATH_MAX];
	ssize_t len = watch_dirs_path(d, NULL, path);

	while (!list_empty(&d->children))
		watch_forget(f, list_first(&d->children, struct watch_dir, siblings));
	if (len <= 0)
		return;
	watch_tell(f, WATCH_REMOVE, path, (size_t)len, true);
	watch_tell(f, WATCH_CREATE, path, (size_t)len, true);
}

/* Known from now on, and to be looked at. -ENOSPC: there are too many. */
int watch_add_dir(
	struct watch_feed *f, struct watch_dir *parent, const char *name, enum watch_look how)
{
	struct watch_dir *d;

	if (f->dirs.n >= WATCH_DIRS_MAX)
		return -ENOSPC;
	d = watch_dirs_add(&f->dirs, parent, name, strlen(name));
	if (!d)
		return -ENOMEM;
	watch_look_at(f, d, how);
	return 0;
}

static int open_dir(const struct watch_feed *f, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	int fd = (int)syscall(SYS_openat2, f->top_fd, *path ? path : ".", &how, sizeof(how));

	if (fd < 0 && errno == ENOSYS && !f->place.root)
		fd = openat(f->top_fd, *path ? path : ".", (int)how.flags);
	return fd < 0 ? -errno : fd;
}

bool watch_is_below(const struct watch_dir *d, const struct watch_dir *up)
{
	while (d && d != up)
		d = d->parent;
	return d;
}

/* Watches what is open at fd as d. 1: it is the one that was watched already. -ESTALE: nothing fits
 * together any more. */
static int watch_dir(struct watch_feed *f, struct watch_dir *d, int fd)
{
	struct watch_dir *holder;
	char proc[40];
	int wd;

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(f->fd, proc, EVENTS);
	if (wd < 0)
		return -errno;
	d->round = f->round;
	if (wd == d->wd)
		return 1;
	holder = watch_dirs_by_wd(&f->dirs, wd);
	if (holder) {
		if (watch_is_below(d, holder))
			return -ESTALE;
		watch_dirs_set_wd(&f->dirs, holder, -1);
		take_back(f, holder);
		watch_look_at(f, holder, LOOK_NEWS);
	}
	if (d->wd >= 0)
		take_back(f, d);
	watch_dirs_set_wd(&f->dirs, d, wd);
	return 0;
}

static bool is_dir(int dir, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_DIR;
	return fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* One name found in d. */
static int found(struct watch_feed *f, struct watch_dir *d, const char *name, bool dir)
{
	ssize_t len = watch_dirs_path(d, name, f->path);
	struct watch_dir *child;

	if (len < 0 || watch_excluded(f, f->path, (size_t)len, dir))
		return 0;
	if (d->how != LOOK_QUIET)
		watch_tell(f, WATCH_CREATE, f->path, (size_t)len, dir);
	if (!dir || !f->recursive)
		return 0;
	child = watch_dirs_child(&f->dirs, d, name, strlen(name));
	if (!child)
		return watch_add_dir(f, d, name, d->how == LOOK_QUIET ? LOOK_QUIET : LOOK_NEWS);
	if (child->wd < 0)
		watch_look_at(f, child, LOOK_NEWS);
	return 0;
}

static int list_dir(struct watch_feed *f, struct watch_dir *d, int fd)
{
	DIR *stream = fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!stream) {
		close(fd);
		return -ENOMEM;
	}
	while (r == 0 && !atomic_load(&f->stop) && (e = readdir(stream))) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = found(f, d, e->d_name, is_dir(fd, e));
	}
	closedir(stream);
	return r;
}

/* 0; -errno when it, or something in it, cannot be watched though it is there. */
static int scan_dir(struct watch_feed *f, struct watch_dir *d)
{
	ssize_t len = watch_dirs_path(d, NULL, f->path);
	int fd, r;

	fd = len < 0 ? (int)len : f->top_fd < 0 ? -ENOENT : open_dir(f, f->path);
	if (fd < 0) {
		r = fd;
	} else {
		r = watch_dir(f, d, fd);
		if (r == 0 && (f->recursive || d->how != LOOK_QUIET))
			return list_dir(f, d, fd);
		close(fd);
	}
	if (r == -EACCES && d->parent)
		watch_forget(f, d);
	else if (r < 0)
		d->round = f->round; /* still in doubt */
	/* Where it has gone to we will be told. */
	return r == 1 || r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EACCES ? 0 : r;
}

/* The kernel has lost events, or what it tells does not fit what was found: nobody knows what is
 * there now. Look at everything once more; the client does the same. */
void watch_start_anew(struct watch_feed *f)
{
	for (size_t i = 0; i < WATCH_PAIRS; i++) {
		if (f->halves[i].path)
			f->waiting--;
		free(take_ptr(&f->halves[i].path));
	}
	watch_tell(f, WATCH_OVERFLOW, "", 0, false);
	while (!list_empty(&f->dirs.top->children))
		watch_forget(f, list_first(&f->dirs.top->children, struct watch_dir, siblings));
	watch_dirs_set_wd(&f->dirs, f->dirs.top, -1);
	watch_look_at(f, f->dirs.top, LOOK_QUIET);
}

/* All that is to be looked at; the first failure that was not told as an event. */
int watch_scan(struct watch_feed *f)
{
	int first = 0;

	while (!list_empty(&f->todo) && !atomic_load(&f->stop)) {
		struct watch_dir *d = list_first(&f->todo, struct watch_dir, todo);
		bool news = d->how != LOOK_QUIET;
		char path[WATCH_PATH_MAX];
		int r;

		list_remove(&d->todo);
		if (watch_dirs_path(d, NULL, path) < 0)
			path[0] = '\0';
		r = scan_dir(f, d);
		if (r == -ESTALE)
			watch_start_anew(f);
		else if (r < 0 && (news || r == -ENAMETOOLONG))
			watch_tell_blind(f, path, -r);
		else if (first == 0)
			first = r;
	}
	return first;
}
