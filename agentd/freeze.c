/*
 * The watch is a work like any other: its run() sleeps until somebody says "over" or the time is
 * up, and thaws. A FIFREEZE that returns after that is undone by who called it. The lock is never
 * held over FIFREEZE, which may take as long as the disk likes.
 */
#include "agentd/freeze.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/base.h"
#include "base/log.h"

#define FREEZE_MAX  16
#define ON_WATCH_MS 2000  /* for the watch to begin, before anything is frozen */
#define BEGIN_MS    60000 /* for what comes before the first freeze: a sync */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct work work;
	struct arena *arena;        /* the loop's */
	bool active;                /* the loop's; read anywhere */
	bool on_watch, over, begun; /* the first is being frozen */
	uint64_t thaw_ms, until;
	unsigned n;
	int fd[FREEZE_MAX]; /* owned; each frozen */
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A time of now_ms(), for a wait. */
static struct timespec at(uint64_t ms)
{
	return (struct timespec){
		.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
}

/* With the lock held. */
static int thaw_all(unsigned *ret_n)
{
	int r = 0;

	if (ret_n)
		*ret_n = all.n;
	while (all.n > 0) {
		int fd = all.fd[--all.n];

		/* EINVAL: somebody else has thawed it. */
		if (ioctl(fd, FITHAW, 0) < 0 && errno != EINVAL && r == 0)
			r = -errno;
		close(fd);
	}
	all.over = true;
	pthread_cond_broadcast(&all.changed);
	return r;
}

static void run(struct work *w)
{
	(void)w;
	pthread_mutex_lock(&all.lock);
	all.on_watch = true;
	pthread_cond_broadcast(&all.changed);
	while (!all.over && now_ms() < all.until) {
		struct timespec until = at(all.until);

		pthread_cond_timedwait(&all.changed, &all.lock, &until);
	}
	thaw_all(NULL);
	pthread_mutex_unlock(&all.lock);
}

static void forget(void)
{
	if (all.arena->head) /* not at the end of the program */
		frozen_forget(all.arena);
	log_hold(false);
}

static void done(struct work *w)
{
	(void)w;
	forget();
	__atomic_store_n(&all.active, false, __ATOMIC_RELEASE);
}

bool freeze_active(void)
{
	return __atomic_load_n(&all.active, __ATOMIC_ACQUIRE);
}

bool freeze_settled(void)
{
	bool over;

	if (!freeze_active())
		return true;
	pthread_mutex_lock(&all.lock);
	over = all.over;
	pthread_mutex_unlock(&all.lock);
	if (over)
		forget();
	return over;
}

static void init_cond(void)
{
	static bool ready;
	pthread_condattr_t attr;

	if (ready)
		return;
	ready = true;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&all.changed, &attr);
	pthread_condattr_destroy(&attr);
}

int freeze_start(
	struct workers *ws, struct arena *a, const char *const *paths, size_t n, uint64_t thaw_ms)
{
	int r;

	if (freeze_active())
		return -EBUSY;
	r = frozen_note(a, paths, n);
	if (r < 0)
		return r;
	init_cond();
	all.arena = a;
	all.on_watch = all.over = all.begun = false;
	all.thaw_ms = thaw_ms;
	all.until = now_ms() + BEGIN_MS + thaw_ms;
	all.work = (struct work){.run = run, .done = done};
	log_hold(true);
	__atomic_store_n(&all.active, true, __ATOMIC_RELEASE);
	r = workers_submit(ws, &all.work);
	if (r < 0)
		done(&all.work);
	return r;
}

/* Nothing is frozen that nobody watches. */
static int await_watch(void)
{
	struct timespec until = at(now_ms() + ON_WATCH_MS);
	int r = 0;

	pthread_mutex_lock(&all.lock);
	while (!all.on_watch && r == 0)
		r = pthread_cond_timedwait(&all.changed, &all.lock, &until);
	if (all.on_watch)
		r = all.over ? ETIMEDOUT : all.n == FREEZE_MAX ? EUSERS : 0;
	if (r == 0 && !all.begun) {
		all.begun = true;
		all.until = now_ms() + all.thaw_ms;
		pthread_cond_broadcast(&all.changed);
	}
	pthread_mutex_unlock(&all.lock);
	return -r;
}

int freeze_mount(const char *path)
{
	auto_close int fd = -1;
	int r = await_watch();

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || ioctl(fd, FIFREEZE, 0) < 0)
		return -errno;
	pthread_mutex_lock(&all.lock);
	if (all.over) {
		r = -ETIMEDOUT;
		ioctl(fd, FITHAW, 0);
	} else {
		all.fd[all.n++] = take_fd(&fd);
	}
	pthread_mutex_unlock(&all.lock);
	return r;
}

void freeze_settle(void)
{
	pthread_mutex_lock(&all.lock);
	if (all.n == 0)
		thaw_all(NULL);
	pthread_mutex_unlock(&all.lock);
}

int freeze_thaw(unsigned *ret_n)
{
	int r;

	if (ret_n)
		*ret_n = 0;
	if (!freeze_active())
		return 0;
	pthread_mutex_lock(&all.lock);
	r = thaw_all(ret_n);
	pthread_mutex_unlock(&all.lock);
	return r;
}
