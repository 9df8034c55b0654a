#include "bridge/ctl_source.h"

#include <sys/epoll.h>

#define READ_SIZE (64 * 1024)

static void end(struct ctl_source *s, int err)
{
	s->ended = true;
	ctl_watch_set(&s->watch, false);
	s->events->on_input_end(s, err);
}

/* One read of at most what there is room for. False: nothing more for now. */
static bool read_once(struct ctl_source *s)
{
	uint8_t data[READ_SIZE];
	size_t room = min_of(s->events->room(s), sizeof(data));
	ssize_t n;

	if (room == 0) {
		ctl_watch_set(&s->watch, false);
		return false;
	}
	n = read(s->fd, data, room);
	if (n > 0) {
		s->events->on_input(s, data, (size_t)n);
		return !s->ended;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		end(s, n == 0 ? 0 : -errno);
	return false;
}

static void on_readable(void *owner)
{
	read_once(owner);
}

void ctl_source_init(struct ctl_source *s, uv_loop_t *loop, int fd,
	const struct ctl_source_events *events, void *owner)
{
	*s = (struct ctl_source){.fd = fd, .events = events, .owner = owner};
	s->direct = ctl_watch_init(&s->watch, loop, fd, EPOLLIN, on_readable, s) < 0;
}

void ctl_source_go(struct ctl_source *s)
{
	if (s->ended || !s->events)
		return;
	if (!s->direct)
		ctl_watch_set(&s->watch, true);
	while (s->direct && read_once(s))
		;
}

void ctl_source_close(struct ctl_source *s)
{
	s->ended = true;
	ctl_watch_close(&s->watch);
}
