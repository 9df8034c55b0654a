#include "bridge/ctl_watch.h"

#include <sys/epoll.h>

int ctl_watch_init(struct ctl_watch *w, uv_loop_t *loop, int fd, uint32_t epoll_events,
	void (*fn)(void *owner), void *owner)
{
	struct epoll_event ev = {.events = epoll_events};
	auto_close int epoll = epoll_create1(EPOLL_CLOEXEC);
	int r;

	*w = (struct ctl_watch){.epoll = -1, .fn = fn, .owner = owner};
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	r = uv_poll_init(loop, &w->poll, epoll);
	if (r < 0)
		return r;
	w->poll.data = w;
	w->epoll = take_fd(&epoll);
	w->open = true;
	return 0;
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct ctl_watch *w = h->data;

	(void)status, (void)events; /* whatever it is, reading or writing will tell */
	w->fn(w->owner);
}

void ctl_watch_set(struct ctl_watch *w, bool on)
{
	if (!w->open || on == w->on)
		return;
	w->on = on;
	if (on)
		uv_poll_start(&w->poll, UV_READABLE, on_poll);
	else
		uv_poll_stop(&w->poll);
}

static void on_closed(uv_handle_t *h)
{
	struct ctl_watch *w = h->data;

	close_fd(&w->epoll);
}

void ctl_watch_close(struct ctl_watch *w)
{
	if (!w->open)
		return;
	w->open = false;
	uv_close((uv_handle_t *)&w->poll, on_closed);
}
