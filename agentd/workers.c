/*
 * One lock around three lists. A thread takes from `queue`, runs, appends to `finished` and pokes
 * the loop; the loop takes all of `finished` at once. What is in `notices` is told before what
 * finished after it; therefore a notice is never in a list when its owner is done.
 *
 * Nobody is woken with the lock held, which is the first thing he would ask for. The poke is an
 * eventfd of our own: uv_async_send() lets the loop spin when the sender is interrupted in its
 * middle, as it is by waking the loop on the same CPU. Its handle is unreferenced: it never keeps
 * the loop alive by itself.
 *
 * Being woken on a CPU that sleeps costs several times what a small file does. So the loop waits a
 * moment for work it has just given away, and when work comes in quick succession one thread looks
 * out for the next before it sleeps. Both give way to whoever else wants the CPU.
 */
#include "agentd/workers.h"

#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

#define IDLE_MS    1000
#define GOODBYE_MS 500
#define STACK_SIZE (256 * 1024)
#define ATTEND_NS  60000 /* how long the loop waits for work that may be short */
#define SPIN_NS    60000 /* how long a thread looks out for more */
#define HOT_NS     200000

static struct timespec after_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* Looks out for work without sleeping. With the lock held, but not meanwhile. */
static void spin(struct workers *ws)
{
	uint64_t until = now_ns() + SPIN_NS;

	ws->spins = true;
	pthread_mutex_unlock(&ws->lock);
	do
		sched_yield();
	while (__atomic_load_n(&ws->queued, __ATOMIC_RELAXED) == 0 && now_ns() < until);
	pthread_mutex_lock(&ws->lock);
	ws->spins = false;
	ws->hot = !list_empty(&ws->queue);
}

/* Until there is work, or ETIMEDOUT. With the lock held. */
static int await(struct workers *ws, const struct timespec *until)
{
	uint64_t since = now_ns();
	int r;

	if (ws->hot && !ws->spins && ws->several) {
		spin(ws);
		return 0;
	}
	r = pthread_cond_timedwait(&ws->more, &ws->lock, until);
	ws->hot = ws->hot || now_ns() - since < HOT_NS;
	return r;
}

/* The next work, or NULL: time to go. With the lock held. */
static struct work *next(struct workers *ws)
{
	struct timespec until = after_ms(IDLE_MS);
	struct work *w;

	while (list_empty(&ws->queue)) {
		int r = 0;

		if (ws->closing)
			return NULL;
		ws->idle++;
		r = await(ws, &until);
		ws->idle--;
		if (r == ETIMEDOUT && list_empty(&ws->queue))
			return NULL;
	}
	w = list_first(&ws->queue, struct work, link);
	list_remove(&w->link);
	__atomic_store_n(&ws->queued, ws->queued - 1, __ATOMIC_RELAXED);
	return w;
}

/* Appends, and tells the loop of the first. Takes the lock and leaves without it. */
static void give(struct workers *ws, struct list *to, struct list *node)
{
	uint64_t one = 1;
	bool first;

	pthread_mutex_lock(&ws->lock);
	first = list_empty(to) && ws->open && !ws->attended;
	if (list_empty(node))
		list_append(to, node);
	__atomic_store_n(&ws->news, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&ws->lock);
	if (first && write(ws->poke, &one, sizeof(one)) < 0)
		ASSERT(errno == EAGAIN); /* it is readable already */
}

static void *thread(void *arg)
{
	struct workers *ws = arg;
	struct work *w;

	pthread_mutex_lock(&ws->lock);
	while ((w = next(ws))) {
		pthread_mutex_unlock(&ws->lock);
		w->run(w);
		give(ws, &ws->finished, &w->link);
		pthread_mutex_lock(&ws->lock);
	}
	ws->threads--;
	pthread_cond_signal(&ws->fewer);
	pthread_mutex_unlock(&ws->lock);
	return NULL;
}

/* With every signal blocked: they are the loop's. */
static int add_thread(struct workers *ws)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t id;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&id, &attr, thread, ws);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r == 0)
		ws->threads++;
	return -r;
}

static void tell_notices(struct workers *ws)
{
	while (!list_empty(&ws->notices)) {
		struct notice *n = list_first(&ws->notices, struct notice, link);

		list_remove(&n->link);
		if (!ws->open)
			continue;
		pthread_mutex_unlock(&ws->lock);
		n->fn(n);
		pthread_mutex_lock(&ws->lock);
	}
}

/* What the threads left, on the loop. */
static void tell_all(struct workers *ws)
{
	struct list all;

	list_init(&all);
	pthread_mutex_lock(&ws->lock);
	__atomic_store_n(&ws->news, false, __ATOMIC_RELAXED);
	while (!list_empty(&ws->finished)) {
		struct list *node = ws->finished.next;

		list_remove(node);
		list_append(&all, node);
	}
	tell_notices(ws);
	pthread_mutex_unlock(&ws->lock);
	while (!list_empty(&all)) {
		struct work *w = list_first(&all, struct work, link);

		list_remove(&w->link);
		ws->pending--;
		ws->fresh -= ws->fresh > 0;
		w->done(w);
	}
}

static void on_poke(uv_poll_t *h, int status, int events)
{
	struct workers *ws = h->data;
	uint64_t v;

	(void)status;
	(void)events;
	if (read(ws->poke, &v, sizeof(v)) < 0)
		ASSERT(errno == EAGAIN);
	tell_all(ws);
}

int workers_init(struct workers *ws, uv_loop_t *loop, unsigned max)
{
	pthread_condattr_t attr;
	cpu_set_t cpus;
	int r;

	*ws = (struct workers){.max = max};
	ws->several = sched_getaffinity(0, sizeof(cpus), &cpus) < 0 || CPU_COUNT(&cpus) > 1;
	list_init(&ws->queue);
	list_init(&ws->finished);
	list_init(&ws->notices);
	ws->poke = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ws->poke < 0)
		return -errno;
	r = uv_poll_init(loop, &ws->poll, ws->poke);
	if (r < 0) {
		close_fd(&ws->poke);
		return r;
	}
	uv_poll_start(&ws->poll, UV_READABLE, on_poke);
	uv_unref((uv_handle_t *)&ws->poll);
	ws->poll.data = ws;
	ws->open = true;
	pthread_mutex_init(&ws->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&ws->more, &attr);
	pthread_cond_init(&ws->fewer, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

int workers_submit(struct workers *ws, struct work *w)
{
	bool alone; /* for the one that looks out for it */
	int r = 0;

	pthread_mutex_lock(&ws->lock);
	if (ws->closing)
		r = -ESHUTDOWN;
	else if (ws->queued >= WORKERS_QUEUE)
		r = -EAGAIN;
	else if (ws->idle <= ws->queued && ws->threads < ws->max)
		r = add_thread(ws);
	if (r < 0 && r != -ESHUTDOWN && ws->threads > 0 && ws->queued < WORKERS_QUEUE)
		r = 0; /* no more threads to be had: those that are there will come to it */
	if (r == 0) {
		list_init(&w->link);
		list_append(&ws->queue, &w->link);
		__atomic_store_n(&ws->queued, ws->queued + 1, __ATOMIC_RELAXED);
		ws->pending++;
	}
	alone = r == 0 && ws->spins && ws->queued == 1;
	pthread_mutex_unlock(&ws->lock);
	ws->fresh += r == 0;
	if (r == 0 && !alone) /* not before: who wakes up wants the lock */
		pthread_cond_signal(&ws->more);
	return r;
}

void workers_notify(struct workers *ws, struct notice *n)
{
	give(ws, &ws->notices, &n->link);
}

static void set_attended(struct workers *ws, bool attended)
{
	pthread_mutex_lock(&ws->lock);
	ws->attended = attended;
	pthread_mutex_unlock(&ws->lock);
}

void workers_attend(struct workers *ws)
{
	uint64_t until;

	if (ws->fresh == 0 || !ws->open)
		return;
	set_attended(ws, true);
	until = now_ns() + ATTEND_NS;
	do {
		sched_yield();
		if (__atomic_load_n(&ws->news, __ATOMIC_RELAXED))
			tell_all(ws);
	} while (ws->fresh > 0 && now_ns() < until);
	ws->fresh = 0;
	set_attended(ws, false);
	tell_all(ws);
}

void workers_close(struct workers *ws)
{
	if (!ws->open)
		return;
	pthread_mutex_lock(&ws->lock);
	ws->closing = true;
	ws->open = false;
	pthread_cond_broadcast(&ws->more);
	pthread_mutex_unlock(&ws->lock);
	tell_all(ws);
	uv_poll_stop(&ws->poll);
	uv_close((uv_handle_t *)&ws->poll, NULL);
}

bool workers_fini(struct workers *ws)
{
	struct timespec until = after_ms(GOODBYE_MS);
	bool all;

	pthread_mutex_lock(&ws->lock);
	while (ws->threads > 0 &&
		pthread_cond_timedwait(&ws->fewer, &ws->lock, &until) != ETIMEDOUT)
		;
	all = ws->threads == 0;
	pthread_mutex_unlock(&ws->lock);
	if (!all)
		return false;
	tell_all(ws);
	close_fd(&ws->poke);
	pthread_mutex_destroy(&ws->lock);
	pthread_cond_destroy(&ws->more);
	pthread_cond_destroy(&ws->fewer);
	return true;
}
