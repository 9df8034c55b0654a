#include "bridge/api/front_loop.h"

#include <poll.h>

#define EVENTS 128 /* taken at once */

#define ADDED 0x80 /* beside FRONT_IN and FRONT_OUT */

_Static_assert((FRONT_IN | FRONT_OUT) < ADDED, "the bits of a watch");

/* ---- what is wanted of a descriptor ---- */

static struct watch *watch_of(struct front_loop *l, int fd)
{
	size_t n = max_of(l->n_watches, (size_t)64);
	struct watch *grown;

	if ((size_t)fd < l->n_watches)
		return &l->watches[fd];
	while (n <= (size_t)fd)
		n *= 2;
	grown = realloc(l->watches, n * sizeof(*grown));
	ASSERT(grown);
	memset(grown + l->n_watches, 0, (n - l->n_watches) * sizeof(*grown));
	l->watches = grown;
	l->n_watches = n;
	return &l->watches[fd];
}

static void queue(struct front_loop *l, int fd, struct watch *w)
{
	if (w->queued)
		return;
	if (l->n_changed == l->size) {
		l->size = max_of(2 * l->size, (size_t)64);
		l->changed = realloc(l->changed, l->size * sizeof(*l->changed));
		ASSERT(l->changed);
	}
	w->queued = true;
	l->changed[l->n_changed++] = fd;
}

static void apply(struct front_loop *l, int fd, struct watch *w)
{
	struct epoll_event e = {
		.events = w->wanted, .data.u64 = (uint64_t)w->life << 32 | (unsigned)fd};
	bool added = w->applied & ADDED;

	if ((w->applied & (FRONT_IN | FRONT_OUT)) == w->wanted)
		return;
	if (!w->wanted) {
		epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
		w->applied = 0;
		return;
	}
	if (epoll_ctl(l->epoll, added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) == 0)
		w->applied = (uint8_t)(w->wanted | ADDED);
}

/* Those that want to write are asked all at once, and mostly can: then epoll need not know. The
 * others' wishes are told to it. */
static void apply_changes(struct front_loop *l)
{
	struct pollfd out[EVENTS];
	size_t n = l->n_changed, n_out = 0;

	for (size_t i = 0; i < n; i++) {
		int fd = l->changed[i];
		struct watch *w = watch_of(l, fd);

		w->queued = false;
		if (w->known && w->wanted & FRONT_OUT && !(w->applied & FRONT_OUT) &&
			n_out < EVENTS)
			out[n_out++] = (struct pollfd){.fd = fd, .events = POLLOUT};
		else if (w->known)
			apply(l, fd, w);
	}
	l->n_changed = 0;
	if (n_out == 0)
		return;
	while (poll(out, n_out, 0) < 0)
		ASSERT(errno == EINTR);
	for (size_t i = 0; i < n_out; i++) {
		struct watch *w = watch_of(l, out[i].fd);
		uint32_t life = w->life;

		if (!w->known)
			continue;
		if (out[i].revents)
			l->ops->service(l->owner, out[i].fd, POLLOUT);
		w = watch_of(l, out[i].fd);
		if (!w->known || w->life != life)
			continue;
		if (out[i].revents && w->wanted & FRONT_OUT)
			queue(l, out[i].fd, w); /* and again, when the others had their turn */
		else
			apply(l, out[i].fd, w);
	}
}

/* ---- the loop ---- */

static void on_idle(uv_idle_t *h)
{
	(void)h; /* that it is there keeps the loop from blocking */
}

static void on_timer(uv_timer_t *h)
{
	struct front_loop *l = h->data;

	l->due = 0; /* on_prepare() comes after every timer */
}

static void set_timer(struct front_loop *l, int ms)
{
	uint64_t due = uv_now(l->loop) + (uint64_t)ms;

	if (l->due == due)
		return;
	l->due = due;
	uv_timer_start(&l->timer, on_timer, (uint64_t)ms, 0);
}

static void on_prepare(uv_prepare_t *h)
{
	struct front_loop *l = h->data;
	int ms = l->ops->attend(l->owner);

	if (ms < 0)
		return;
	apply_changes(l);
	if (ms == 0 || l->n_changed > 0)
		uv_idle_start(&l->idle, on_idle);
	else
		uv_idle_stop(&l->idle);
	set_timer(l, max_of(ms, 1));
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct front_loop *l = h->data;
	struct epoll_event e[EVENTS];
	int n = epoll_wait(l->epoll, e, EVENTS, 0);

	(void)status;
	(void)events;
	for (int i = 0; i < n; i++) {
		int fd = (int)(uint32_t)e[i].data.u64;
		struct watch *w = watch_of(l, fd);
		short revents = (short)(e[i].events & w->wanted);

		if (!w->known || w->life != (uint32_t)(e[i].data.u64 >> 32))
			continue;                        /* closed by one before it */
		if (e[i].events & (EPOLLHUP | EPOLLERR)) /* reading or writing will tell */
			revents = w->wanted;
		if (revents)
			l->ops->service(l->owner, fd, revents);
	}
}

/* ---- sockets ---- */

void front_loop_add(struct front_loop *l, int fd)
{
	struct watch *w = watch_of(l, fd);

	if (w->known)
		return;
	w->known = true;
	w->life++;
	w->wanted = FRONT_IN;
	queue(l, fd, w);
}

void front_loop_want(struct front_loop *l, int fd, unsigned bits, bool wanted)
{
	struct watch *w = watch_of(l, fd);

	if (!w->known)
		return;
	w->wanted = (uint8_t)(wanted ? w->wanted | bits : w->wanted & ~bits);
	if (w->wanted != (w->applied & (FRONT_IN | FRONT_OUT)))
		queue(l, fd, w);
}

void front_loop_remove(struct front_loop *l, int fd)
{
	struct watch *w = watch_of(l, fd);

	w->wanted = 0;
	apply(l, fd, w);
	w->known = false;
}

/* ---- open and close ---- */

int front_loop_open(
	struct front_loop *l, uv_loop_t *loop, const struct front_loop_ops *ops, void *owner)
{
	uv_handle_t *handles[] = {(uv_handle_t *)&l->prepare, (uv_handle_t *)&l->idle,
		(uv_handle_t *)&l->timer, (uv_handle_t *)&l->poll};
	int r;

	*l = (struct front_loop){.loop = loop, .ops = ops, .owner = owner};
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return -errno;
	r = uv_poll_init(loop, &l->poll, l->epoll);
	if (r < 0) {
		close_fd(&l->epoll);
		return r;
	}
	uv_prepare_init(loop, &l->prepare);
	uv_idle_init(loop, &l->idle);
	uv_timer_init(loop, &l->timer);
	for (size_t i = 0; i < array_size(handles); i++)
		handles[i]->data = l;
	l->open = array_size(handles);
	uv_prepare_start(&l->prepare, on_prepare);
	uv_poll_start(&l->poll, UV_READABLE, on_poll);
	return 0;
}

static void on_closed(uv_handle_t *h)
{
	struct front_loop *l = h->data;

	if (--l->open > 0)
		return;
	free(l->watches);
	free(l->changed);
	l->fn(l->fn_owner);
}

void front_loop_close(struct front_loop *l, void (*fn)(void *owner), void *owner)
{
	l->fn = fn;
	l->fn_owner = owner;
	uv_close((uv_handle_t *)&l->poll, on_closed);
	uv_close((uv_handle_t *)&l->prepare, on_closed);
	uv_close((uv_handle_t *)&l->idle, on_closed);
	uv_close((uv_handle_t *)&l->timer, on_closed);
	close_fd(&l->epoll);
}
