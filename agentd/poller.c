#include "agentd/poller.h"

#define BATCH 64

static void dispatch(struct poller *p)
{
	struct epoll_event batch[BATCH];
	int n = epoll_wait(p->fd, batch, BATCH, 0);

	p->fresh = false;
	p->batch = batch;
	p->batch_n = n;
	for (int i = 0; i < p->batch_n; i++) {
		struct watch *w = batch[i].data.ptr;

		if (w)
			w->on_ready(w, batch[i].events);
	}
	p->batch = NULL;
	p->batch_n = 0;
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	(void)status;
	(void)events;
	dispatch(h->data);
}

void poller_glance(struct poller *p)
{
	if (p->fresh)
		dispatch(p);
}

int poller_init(struct poller *p, uv_loop_t *loop)
{
	int r;

	*p = (struct poller){.fd = epoll_create1(EPOLL_CLOEXEC)};
	if (p->fd < 0)
		return -errno;
	r = uv_poll_init(loop, &p->poll, p->fd);
	if (r < 0) {
		close_fd(&p->fd);
		return r;
	}
	p->poll.data = p;
	return uv_poll_start(&p->poll, UV_READABLE, on_poll);
}

void poller_close(struct poller *p)
{
	if (p->fd < 0)
		return;
	uv_poll_stop(&p->poll);
	uv_close((uv_handle_t *)&p->poll, NULL);
	close_fd(&p->fd);
	p->fresh = false;
}

static int control(struct poller *p, int op, struct watch *w)
{
	struct epoll_event e = {.events = w->events, .data.ptr = w};

	return epoll_ctl(p->fd, op, w->fd, &e) < 0 ? -errno : 0;
}

int watch_add(struct poller *p, struct watch *w, int fd, uint32_t events,
	void (*on_ready)(struct watch *w, uint32_t events))
{
	int r;

	*w = (struct watch){.fd = fd, .events = events, .on_ready = on_ready};
	r = control(p, EPOLL_CTL_ADD, w);
	if (r < 0)
		w->fd = -1;
	else
		p->fresh = true;
	return r;
}

void watch_change(struct poller *p, struct watch *w, uint32_t events)
{
	if (w->fd < 0 || w->events == events)
		return;
	w->events = events;
	ASSERT(control(p, EPOLL_CTL_MOD, w) == 0);
}

void watch_remove(struct poller *p, struct watch *w, bool closing)
{
	if (w->fd < 0)
		return;
	for (int i = 0; i < p->batch_n; i++) {
		if (p->batch[i].data.ptr == w)
			p->batch[i].data.ptr = NULL;
	}
	if (!closing)
		control(p, EPOLL_CTL_DEL, w);
	w->fd = -1;
}
