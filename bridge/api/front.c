/*
 * The parts in the order in which a client meets them: the listener, libwebsockets' context, and
 * the connections (front_conn.c), which make its calls. They end in the same order; what lws still
 * has when the time is over is closed with its context.
 */
#include "bridge/api/front.h"

#include <libwebsockets.h>
#include <stdio.h>

#include "bridge/api/front_conn.h"
#include "bridge/api/front_context.h"
#include "bridge/api/front_listen.h"
#include "bridge/api/front_loop.h"

struct front {
	struct front_loop loop;
	struct listener listener;
	struct lws_vhost *vhost;
	struct front_config config;
	size_t max;
	uint16_t port;
	uv_timer_t timer; /* of the end */
	bool closing;
	void (*fn)(void *owner);
	void *owner;
	struct conns conns;
};

/* lws closes all there is at once, but never inside one of its callbacks. */
static void destroy(struct front *f)
{
	struct lws_context *cx = f->loop.cx;

	if (!cx)
		return;
	lws_context_destroy(cx);
	f->loop.cx = NULL;
}

/* lws closes the socket if it cannot take it. */
static void on_client(void *owner, int fd)
{
	struct front *f = owner;

	if (f->conns.n >= f->max)
		close(fd);
	else
		lws_adopt_socket_vhost(f->vhost, fd);
}

static void on_loop_closed(void *owner)
{
	struct front *f = owner;
	void (*fn)(void *owner) = f->fn;

	owner = f->owner;
	free(f);
	fn(owner);
}

static void on_listener_closed(void *owner)
{
	struct front *f = owner;

	front_loop_close(&f->loop, on_loop_closed, f);
}

static void on_refused(void *owner)
{
	*(bool *)owner = true;
}

/* It could not begin. */
static void undo(struct front *f, bool listening)
{
	uv_loop_t *loop = f->loop.loop;
	bool gone = false;

	f->fn = on_refused;
	f->owner = &gone;
	destroy(f);
	if (listening) {
		listener_stop(&f->listener);
		listener_close(&f->listener, on_listener_closed, f);
	} else {
		on_listener_closed(f);
	}
	while (!gone)
		uv_run(loop, UV_RUN_NOWAIT);
}

int front_open(struct front **ret, uv_loop_t *loop, struct bridge *bridge,
	const struct front_config *config, char *why, size_t why_size)
{
	struct front *f = xcalloc(1, sizeof(*f));
	int r = front_loop_open(&f->loop, loop);
	bool listening;

	if (r < 0) {
		snprintf(why, why_size, "epoll: %s", strerror(-r));
		free(f);
		return r;
	}
	f->config = *config;
	if (!config->body_ms)
		f->config.body_ms = FRONT_BODY_MS;
	f->max = context_max(config);
	f->conns.bridge = bridge;
	f->conns.config = &f->config;
	list_init(&f->conns.list);
	r = listener_open(&f->listener, loop, config->host, config->port, on_client, f, &f->port,
		why, why_size);
	listening = r == 0;
	if (r == 0)
		r = context_open(&f->loop, config, conn_protocols(), &f->conns, f->max, &f->vhost,
			why, why_size);
	if (r < 0) {
		undo(f, listening);
		return r;
	}
	uv_timer_init(loop, &f->timer);
	f->timer.data = f;
	*ret = f;
	return 0;
}

uint16_t front_port(const struct front *f)
{
	return f->port;
}

size_t front_connections(const struct front *f)
{
	return f->conns.n;
}

static void on_timer_closed(uv_handle_t *h)
{
	struct front *f = h->data;

	listener_close(&f->listener, on_listener_closed, f);
}

static void on_grace(uv_timer_t *t)
{
	struct front *f = t->data;

	conns_break_off(&f->conns);
	destroy(f);
	uv_close((uv_handle_t *)t, on_timer_closed);
}

/* Inside of lws, or of destroy(). */
static void on_empty(void *owner)
{
	struct front *f = owner;

	if (f->loop.cx)
		uv_timer_start(&f->timer, on_grace, 0, 0);
}

void front_close(struct front *f, uint64_t grace_ms, void (*fn)(void *owner), void *owner)
{
	ASSERT(!f->closing);
	f->closing = true;
	f->fn = fn;
	f->owner = owner;
	listener_stop(&f->listener);
	conns_close(&f->conns, on_empty, f);
	uv_timer_start(&f->timer, on_grace, f->conns.n > 0 ? grace_ms : 0, 0);
}
