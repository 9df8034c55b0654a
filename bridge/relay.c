#include "bridge/relay.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define READ_SIZE (128 * 1024)

static uint8_t read_buffer[READ_SIZE]; /* in use only inside on_readable() */

static void on_poll(uv_poll_t *h, int status, int events);

static void update_interest(struct relay *r)
{
	int events = 0;

	if (r->closing)
		return;
	if (!r->local_end && remote_stream_room(&r->stream) > 0)
		events |= UV_READABLE;
	if (buf_len(&r->back) > 0)
		events |= UV_WRITABLE;
	if (events == r->events)
		return;
	if (events)
		uv_poll_start(&r->poll, events, on_poll);
	else
		uv_poll_stop(&r->poll);
	r->events = events;
}

/* ---- the end ---- */

static void on_closed(uv_handle_t *h)
{
	struct relay *r = h->data;

	buf_fini(&r->back);
	free(r);
}

/* The one way out; whoever is on the stack still finds the memory there. */
static void leave(struct relay *r, bool reset)
{
	struct linger now = {.l_onoff = 1};

	if (r->closing)
		return;
	r->closing = true;
	remote_stream_close(&r->stream);
	uv_close((uv_handle_t *)&r->poll, on_closed);
	if (reset)
		setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close_fd(&r->fd);
	list_remove(&r->node);
}

static void tell(struct relay *r, const struct error *error)
{
	if (!r->told) {
		r->told = true;
		r->fn(r->owner, r, error);
	}
}

void relay_close(struct relay *r)
{
	r->told = true;
	leave(r, true);
}

static void local_broke(struct relay *r)
{
	leave(r, true);
	tell(r, NULL);
}

/* ---- to the local side ---- */

static size_t write_some(struct relay *r, const uint8_t *data, size_t len, int *ret_error)
{
	size_t done = 0;

	*ret_error = 0;
	while (done < len && *ret_error == 0) {
		ssize_t n = send(r->fd, data + done, len - done, MSG_NOSIGNAL);

		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			*ret_error = -errno;
	}
	return done;
}

/* What comes behind the last byte. */
static void drained(struct relay *r)
{
	buf_fini(&r->back);
	if (r->over)
		leave(r, r->failed);
	else if (r->peer_end)
		shutdown(r->fd, SHUT_WR);
}

static void on_data(struct remote_stream *s, const uint8_t *data, size_t len)
{
	struct relay *r = s->owner;
	int err = 0;
	size_t n = 0;

	if (buf_len(&r->back) == 0)
		n = write_some(r, data, len, &err);
	if (err < 0 || buf_append(&r->back, data + n, len - n) < 0) {
		local_broke(r);
		return;
	}
	remote_stream_consumed(s, n);
	update_interest(r);
}

static void on_writable(struct relay *r)
{
	int err;
	size_t n = write_some(r, buf_head(&r->back), buf_len(&r->back), &err);

	if (err < 0) {
		local_broke(r);
		return;
	}
	buf_consume(&r->back, n);
	remote_stream_consumed(&r->stream, n);
	if (buf_len(&r->back) == 0)
		drained(r);
}

static void on_end(struct remote_stream *s)
{
	struct relay *r = s->owner;

	r->peer_end = true;
	if (buf_len(&r->back) == 0)
		drained(r);
}

static void on_room(struct remote_stream *s)
{
	update_interest(s->owner);
}

static void on_close(struct remote_stream *s, const struct error *error)
{
	struct relay *r = s->owner;

	r->over = true;
	r->failed = error;
	if (buf_len(&r->back) == 0)
		drained(r);
	else
		update_interest(r);
	tell(r, error);
}

static const struct remote_stream_events stream_events = {
	.on_data = on_data,
	.on_end = on_end,
	.on_room = on_room,
	.on_close = on_close,
};

/* ---- from it ---- */

static void on_readable(struct relay *r)
{
	size_t room = min_of(remote_stream_room(&r->stream), sizeof(read_buffer));
	ssize_t n;

	if (room == 0)
		return;
	n = recv(r->fd, read_buffer, room, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (n > 0 && remote_stream_write(&r->stream, read_buffer, (size_t)n) == 0)) {
		local_broke(r);
	} else if (n == 0) {
		r->local_end = true;
		remote_stream_end(&r->stream);
	}
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct relay *r = h->data;

	if (status < 0) {
		local_broke(r);
		return;
	}
	if (events & UV_WRITABLE)
		on_writable(r);
	if (!r->closing && events & UV_READABLE)
		on_readable(r);
	update_interest(r);
}

/* ---- its life ---- */

struct relay *relay_new(
	struct guest *g, int fd, const char *to, relay_over_fn fn, void *owner, int *ret_error)
{
	struct relay *r = calloc(1, sizeof(*r));
	int on = 1, err = r ? uv_poll_init(g->loop, &r->poll, fd) : -ENOMEM;

	if (err < 0) {
		*ret_error = err;
		close(fd);
		free(r);
		return NULL;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* no matter if it is unix */
	list_init(&r->node);
	r->fd = fd;
	r->fn = fn;
	r->owner = owner;
	r->poll.data = r;
	r->stream.owner = r;
	r->back = BUF_NULL(REMOTE_STREAM_WINDOW);
	err = remote_stream_open(&r->stream, g, &stream_events, to, 0);
	if (err < 0) {
		*ret_error = err;
		relay_close(r);
		return NULL;
	}
	update_interest(r);
	return r;
}
