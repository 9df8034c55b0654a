/*
 * The order of things is what makes it gapless. A directory is first watched and then listed: what
 * comes into being in between is told twice rather than never. Nothing is read from the kernel
 * before every directory that is known of has been listed.
 *
 * What the kernel tells is about the past, and a name may mean another directory by now, or none,
 * when one above it was renamed since. So a directory that is not found stays known, and is looked
 * for again when it or one above it turns out to be renamed; and so is every one that was looked at
 * so lately that the rename may have been under way. Which directory it is the kernel's number
 * tells: two names with one number mean that one of them was wrong, and then all that was said of
 * its content is taken back.
 */
#include "agentd/watch_feed.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>

#include "agentd/watch_scan.h"

#define READ_SIZE (64 * 1024)

void watch_feed_init(struct watch_feed *f)
{
	*f = (struct watch_feed){.fd = -1, .top_fd = -1, .round = 1};
	f->tail = &f->out;
	list_init(&f->todo);
}

static void free_events(struct watch_feed *f)
{
	struct watch_event *next;

	for (struct watch_event *e = f->out; e; e = next) {
		next = e->next;
		free(e);
	}
	f->out = NULL;
	f->tail = &f->out;
}

void watch_feed_fini(struct watch_feed *f)
{
	close_fd(&f->fd);
	free_events(f);
	watch_dirs_fini(&f->dirs);
	for (size_t i = 0; i < WATCH_PAIRS; i++)
		free(take_ptr(&f->halves[i].path));
	free(take_ptr(&f->top));
	free(take_ptr(&f->only));
	ignore_unref(take_ptr(&f->exclude));
	place_fini(&f->place);
}

/* ---- renames ---- */

static void clear_half(struct watch_feed *f, struct watch_half *h)
{
	free(take_ptr(&h->path));
	f->waiting--;
}

/* It was moved to where we do not look. */
static void give_up_half(struct watch_feed *f, struct watch_half *h)
{
	struct watch_dir *d = h->dir ? watch_dirs_by_path(&f->dirs, h->path, h->len) : NULL;

	watch_tell(f, WATCH_REMOVE, h->path, h->len, h->dir);
	if (d && d->parent)
		watch_forget(f, d);
	clear_half(f, h);
}

/* Those that waited long enough. */
static void expire_halves(struct watch_feed *f, uint64_t before)
{
	for (size_t i = 0; i < WATCH_PAIRS; i++) {
		if (f->halves[i].path && f->halves[i].since <= before)
			give_up_half(f, &f->halves[i]);
	}
}

/* Something else happens to f->path: the other half cannot come any more of what was there. below:
 * nor of what was below. */
static void settle_halves(struct watch_feed *f, size_t len, uint32_t cookie, bool below)
{
	for (size_t i = 0; i < WATCH_PAIRS; i++) {
		struct watch_half *h = &f->halves[i];

		if (!h->path || h->len < len || (cookie && h->cookie == cookie))
			continue;
		if (memcmp(h->path, f->path, len) == 0 &&
			(h->len == len || (below && h->path[len] == '/')))
			give_up_half(f, h);
	}
}

static void keep_half(struct watch_feed *f, const struct inotify_event *ev, size_t len)
{
	struct watch_half *free_one = NULL, *oldest = &f->halves[0];

	for (size_t i = 0; i < WATCH_PAIRS; i++) {
		struct watch_half *h = &f->halves[i];

		if (!h->path)
			free_one = h;
		else if (h->since < oldest->since)
			oldest = h;
	}
	if (!free_one) {
		give_up_half(f, oldest);
		free_one = oldest;
	}
	*free_one = (struct watch_half){
		strndup(f->path, len), len, ev->cookie, ev->mask & IN_ISDIR, now_ms()};
	if (free_one->path)
		f->waiting++;
	else
		watch_tell_blind(f, "", ENOMEM);
}

static struct watch_half *find_half(struct watch_feed *f, uint32_t cookie)
{
	for (size_t i = 0; i < WATCH_PAIRS; i++) {
		if (f->halves[i].path && f->halves[i].cookie == cookie)
			return &f->halves[i];
	}
	return NULL;
}

/* A directory of which no more is known than that it is called so now. */
static void came(struct watch_feed *f, struct watch_dir *d, const char *name)
{
	struct watch_dir *there = watch_dirs_child(&f->dirs, d, name, strlen(name));

	if (!f->recursive)
		return;
	if (there)
		watch_look_at(f, there, LOOK_NEWS);
	else if (watch_add_dir(f, d, name, LOOK_NEWS) < 0)
		watch_tell_blind(f, f->path, ENOSPC);
}

/* It was renamed: what was not found in it is to be looked for at its new place, and what was found
 * may have been somebody else's. */
static void look_again(struct watch_feed *f, struct watch_dir *top)
{
	for (struct watch_dir *d = top; d; d = watch_dirs_next(d, top)) {
		if (d->wd < 0)
			watch_look_at(f, d, LOOK_NEWS);
		else if (d->round > f->sure)
			watch_look_at(f, d, LOOK_CHECK);
	}
}

/* The directory that was at h->path is now `name` in `to`. */
static void move_dir(
	struct watch_feed *f, const struct watch_half *h, struct watch_dir *to, const char *name)
{
	struct watch_dir *d = watch_dirs_by_path(&f->dirs, h->path, h->len);
	struct watch_dir *there = watch_dirs_child(&f->dirs, to, name, strlen(name));

	if (!d || !d->parent) {
		came(f, to, name);
	} else if (watch_is_below(to, d) || (there && there != d && watch_is_below(d, there))) {
		watch_start_anew(f);
	} else {
		if (there && there != d)
			watch_forget(f, there);
		if (watch_dirs_move(&f->dirs, d, to, name, strlen(name)) < 0)
			watch_tell_blind(f, f->path, ENOMEM);
		look_again(f, d);
	}
}

static void moved_to(
	struct watch_feed *f, struct watch_dir *d, const struct inotify_event *ev, size_t len)
{
	struct watch_half *h = find_half(f, ev->cookie), half;
	bool dir = ev->mask & IN_ISDIR;

	if (!h) {
		watch_tell(f, WATCH_CREATE, f->path, len, dir);
		if (dir)
			came(f, d, ev->name);
		return;
	}
	watch_tell_of(f, WATCH_RENAME, f->path, len, h->path, h->len, dir);
	half = *h;
	h->path = NULL;
	f->waiting--;
	if (dir)
		move_dir(f, &half, d, ev->name);
	free(half.path);
}

/* ---- what the kernel tells ---- */

static void on_top_event(struct watch_feed *f, const struct inotify_event *ev)
{
	if (ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) {
		expire_halves(f, UINT64_MAX);
		watch_tell(f, WATCH_REMOVE, "", 0, true);
		f->over = true;
	} else if (ev->mask & IN_ATTRIB && !f->only) {
		watch_tell(f, WATCH_ATTRIB, "", 0, true);
	}
}

static void on_name(struct watch_feed *f, struct watch_dir *d, const struct inotify_event *ev)
{
	ssize_t n = watch_dirs_path(d, ev->name, f->path);
	size_t len = (size_t)n;
	bool dir = ev->mask & IN_ISDIR;
	struct watch_dir *child;

	if (n < 0 || (f->only && strcmp(ev->name, f->only) != 0) ||
		watch_excluded(f, f->path, len, dir))
		return;
	if (f->waiting > 0)
		settle_halves(f, len, ev->cookie, ev->mask & (IN_DELETE | IN_MOVED_FROM));
	child = dir ? watch_dirs_child(&f->dirs, d, ev->name, strlen(ev->name)) : NULL;
	if (ev->mask & IN_CREATE) {
		watch_tell(f, WATCH_CREATE, f->path, len, dir);
		if (dir && (!child || child->wd < 0)) /* else it was found before we read of it */
			came(f, d, ev->name);
	} else if (ev->mask & IN_DELETE) {
		watch_tell(f, WATCH_REMOVE, f->path, len, dir);
		if (child)
			watch_forget(f, child);
	} else if (ev->mask & IN_MOVED_FROM) {
		keep_half(f, ev, len);
	} else if (ev->mask & IN_MOVED_TO) {
		moved_to(f, d, ev, len);
	} else if (ev->mask & (IN_MODIFY | IN_ATTRIB)) {
		watch_tell(
			f, ev->mask & IN_MODIFY ? WATCH_MODIFY : WATCH_ATTRIB, f->path, len, dir);
	}
}

static void on_event(struct watch_feed *f, const struct inotify_event *ev)
{
	struct watch_dir *d;

	if (ev->mask & IN_Q_OVERFLOW) {
		watch_start_anew(f);
		return;
	}
	d = watch_dirs_by_wd(&f->dirs, ev->wd);
	if (!d)
		return;
	if (ev->len > 0)
		on_name(f, d, ev);
	else if (d == f->dirs.top)
		on_top_event(f, ev);
	else if (ev->mask & IN_IGNORED)
		watch_dirs_set_wd(&f->dirs, d, -1);
}

static void read_events(struct watch_feed *f)
{
	uint64_t words[READ_SIZE / 8]; /* aligned, as the events are */
	char *buf = (char *)words;
	ssize_t n;

	f->round++;
	do {
		n = read(f->fd, buf, READ_SIZE);
	} while (n < 0 && errno == EINTR);
	for (ssize_t at = 0; at < n && !f->over && !atomic_load(&f->stop);) {
		const struct inotify_event *ev = (const void *)(buf + at);

		on_event(f, ev);
		watch_scan(f);
		at += (ssize_t)sizeof(*ev) + ev->len;
	}
	/* That was all there was: what comes is younger than what earlier rounds looked at. */
	if (n < READ_SIZE - (ssize_t)sizeof(struct inotify_event) - NAME_MAX - 1)
		f->sure = f->round - 1;
}

/* ---- calls ---- */

/* The top, if it is what it was. Only held during a call: an open directory is not deleted. */
static int open_top(struct watch_feed *f)
{
	struct stat st;

	f->top_fd = open(f->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->top_fd < 0)
		return -errno;
	if (fstat(f->top_fd, &st) < 0 || st.st_ino != f->top_ino || st.st_dev != f->top_dev) {
		close_fd(&f->top_fd);
		return -ENOENT;
	}
	return 0;
}

/* What the path leads to: its real name, and of a file the directory it is in. */
static int find_top(struct watch_feed *f)
{
	auto_close int fd = place_open(&f->place, f->place.path, O_PATH, 0);
	char proc[40], real[PATH_MAX], *slash;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return fd;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	n = readlink(proc, real, sizeof(real) - 1);
	if (n < 0 || fstat(fd, &st) < 0)
		return -errno;
	real[n] = '\0';
	if (!S_ISDIR(st.st_mode)) {
		slash = strrchr(real, '/');
		if (!slash)
			return -ENOENT;
		f->recursive = false;
		f->only = strdup(slash + 1);
		slash[slash == real] = '\0';
		if (!f->only || stat(real, &st) < 0)
			return f->only ? -errno : -ENOMEM;
	}
	f->top_dev = st.st_dev;
	f->top_ino = st.st_ino;
	f->top = strdup(real);
	return f->top ? 0 : -ENOMEM;
}

static int start(struct watch_feed *f)
{
	int r = find_top(f);

	if (r == 0)
		r = open_top(f);
	if (r < 0)
		return r;
	f->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (f->fd < 0)
		return -errno;
	r = watch_dirs_init(&f->dirs);
	if (r < 0)
		return r;
	watch_look_at(f, f->dirs.top, LOOK_QUIET);
	r = watch_scan(f);
	return r == 0 && f->dirs.top->wd < 0 ? -EACCES : r;
}

int watch_feed_start(struct watch_feed *f)
{
	int r = place_enter(&f->place);

	if (r < 0)
		return r;
	r = start(f);
	close_fd(&f->top_fd);
	place_leave(&f->place);
	return r;
}

void watch_feed_read(struct watch_feed *f)
{
	bool entered = place_enter(&f->place) == 0;

	f->n_out = 0;
	memset(f->recent, 0, sizeof(f->recent));
	/* When it is gone the kernel's own last words follow. */
	if (entered)
		open_top(f);
	read_events(f);
	if (!f->over)
		expire_halves(f, now_ms() - WATCH_PAIR_MS);
	close_fd(&f->top_fd);
	if (entered)
		place_leave(&f->place);
}
