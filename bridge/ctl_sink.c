/*
 * A pipe or terminal is opened once more through /proc, for a non-blocking description of our own.
 * Where that is not allowed, poll(2) tells whether there is room, and PIPE_BUF bytes then go
 * without waiting.
 */
#include "bridge/ctl_sink.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int reopen(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static enum sink_kind choose_kind(struct ctl_sink *s)
{
	struct stat st;
	int fd;

	if (fstat(s->fd, &st) < 0)
		return SINK_DIRECT;
	if (S_ISSOCK(st.st_mode))
		return SINK_SOCKET;
	if (!S_ISFIFO(st.st_mode) && !isatty(s->fd))
		return SINK_DIRECT;
	fd = reopen(s->fd);
	if (fd < 0)
		return SINK_CAREFUL;
	s->fd = fd;
	s->own_fd = true;
	return SINK_NONBLOCK;
}

static ssize_t write_some(struct ctl_sink *s, const uint8_t *data, size_t len)
{
	struct pollfd p = {.fd = s->fd, .events = POLLOUT};

	if (s->kind == SINK_SOCKET)
		return send(s->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (s->kind == SINK_CAREFUL) {
		if (poll(&p, 1, 0) == 0) {
			errno = EAGAIN;
			return -1;
		}
		len = min_of(len, (size_t)PIPE_BUF);
	}
	return write(s->fd, data, len);
}

/* As much as goes now. Returns it, or -errno. */
static ssize_t write_more(struct ctl_sink *s, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write_some(s, data + done, len - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			return -errno;
	}
	return (ssize_t)done;
}

static void fail(struct ctl_sink *s, int err)
{
	size_t left = buf_len(&s->buf);

	s->kind = SINK_FAILED;
	ctl_watch_set(&s->watch, false);
	buf_fini(&s->buf);
	s->events->on_failed(s, err);
	if (left)
		s->events->on_drained(s, left);
}

static void on_writable(void *owner)
{
	struct ctl_sink *s = owner;
	ssize_t n = write_more(s, buf_head(&s->buf), buf_len(&s->buf));

	if (n < 0) {
		fail(s, (int)n);
		return;
	}
	buf_consume(&s->buf, (size_t)n);
	ctl_watch_set(&s->watch, !ctl_sink_empty(s));
	if (n > 0)
		s->events->on_drained(s, (size_t)n);
}

void ctl_sink_init(struct ctl_sink *s, uv_loop_t *loop, int fd, size_t max,
	const struct ctl_sink_events *events, void *owner)
{
	*s = (struct ctl_sink){.fd = fd, .events = events, .owner = owner};
	s->buf = BUF_NULL(max);
	s->kind = choose_kind(s);
	if (s->kind != SINK_DIRECT &&
		ctl_watch_init(&s->watch, loop, s->fd, EPOLLOUT, on_writable, s) < 0)
		s->kind = SINK_DIRECT;
}

size_t ctl_sink_write(struct ctl_sink *s, const uint8_t *data, size_t len)
{
	ssize_t n = 0;

	if (s->kind == SINK_FAILED)
		return len;
	if (ctl_sink_empty(s))
		n = write_more(s, data, len);
	if (n >= 0 && (size_t)n < len && buf_append(&s->buf, data + n, len - (size_t)n) < 0)
		n = -ENOMEM;
	if (n < 0) {
		fail(s, (int)n);
		return len;
	}
	ctl_watch_set(&s->watch, !ctl_sink_empty(s));
	return (size_t)n;
}

void ctl_sink_close(struct ctl_sink *s)
{
	ctl_watch_close(&s->watch);
	buf_fini(&s->buf);
	if (s->own_fd)
		close_fd(&s->fd);
	s->own_fd = false;
	s->kind = SINK_FAILED;
}
