/*
 * O_NONBLOCK belongs to the open file description, which we share with our parent and siblings, so
 * it must not be set on an inherited descriptor. A pipe or terminal is opened once more through
 * /proc instead. Where that is not allowed, poll(2) tells whether there is room, and PIPE_BUF
 * bytes then go without waiting.
 */
#include "bridge/ctl_sink.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int reopen(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void choose_kind(struct ctl_sink *s)
{
	struct stat st;
	int fd;

	s->kind = SINK_DIRECT;
	if (fstat(s->fd, &st) < 0)
		return;
	if (S_ISSOCK(st.st_mode)) {
		s->kind = SINK_SOCKET;
	} else if (S_ISFIFO(st.st_mode) || isatty(s->fd)) {
		s->kind = SINK_CAREFUL;
		fd = reopen(s->fd);
		if (fd >= 0) {
			s->kind = SINK_NONBLOCK;
			s->fd = fd;
			s->own_fd = true;
		}
	}
}

void ctl_sink_init(struct ctl_sink *s, uv_loop_t *loop, int fd, size_t max,
	const struct ctl_sink_events *events, void *owner)
{
	*s = (struct ctl_sink){.fd = fd, .events = events, .owner = owner};
	s->buf = BUF_NULL(max);
	choose_kind(s);
	if (s->kind == SINK_DIRECT)
		return;
	/* libuv makes what it watches non-blocking, so what is shared is watched as a duplicate
	 * would be: it is the same description. Hence only our own and sockets... */
	if (uv_poll_init(loop, &s->poll, s->fd) == 0) {
		s->poll.data = s;
		s->has_poll = true;
	} else {
		s->kind = SINK_DIRECT;
	}
}
