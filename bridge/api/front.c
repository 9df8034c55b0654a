/*
 * The parts in the order in which a client meets them: the listener, web.c, and the connections
 * (front_conn.c), which make its calls. They end in the same order; what is still there when the
 * time is over is closed by web.c.
 */
#include "bridge/api/front.h"

#include <stdio.h>
#include <sys/resource.h>

#include "bridge/api/front_conn.h"
#include "bridge/api/front_listen.h"
#include "bridge/api/web.h"

struct front {
	struct web web;
	struct listener listener;
	struct front_config config;
	size_t max;
	uint16_t port;
	uv_timer_t timer; /* of the end */
	bool closing;
	void (*fn)(void *owner);
	void *owner;
	struct conns conns;
};

/* As many connections as there are descriptors for. */
static size_t conns_max(const struct front_config *config)
{
	struct rlimit r;
	size_t n;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		r.rlim_cur = 1024;
	n = min_of((size_t)r.rlim_cur, (size_t)1 << 20);
	n -= min_of(n / 4, (size_t)1024); /* for guests, files, the store */
	return config->max_connections > 0 ? min_of(config->max_connections, n) : n;
}

static void on_client(void *owner, int fd)
{
	struct front *f = owner;

	if (f->conns.n >= f->max)
		close(fd);
	else
		web_adopt(&f->web, fd);
}

static void on_web_closed(void *owner)
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

	web_close(&f->web, on_web_closed, f);
}

static void on_refused(void *owner)
{
	*(bool *)owner = true;
}

/* web.c did not begin. */
static void undo(struct front *f, uv_loop_t *loop)
{
	bool gone = false;

	listener_stop(&f->listener);
	listener_close(&f->listener, on_refused, &gone);
	while (!gone)
		uv_run(loop, UV_RUN_NOWAIT);
}

static int open_web(struct front *f, uv_loop_t *loop, char *why, size_t why_size)
{
	const struct front_config *config = &f->config;
	const struct web_config web = {
		.cert = config->cert,
		.cert_key = config->cert_key,
		.conns_max = f->max,
		.head_max = HEAD_ROOM,
		.read_max = BODY_READ_MAX,
		.head_s = FRONT_HEAD_MS / 1000,
		.idle_s = FRONT_IDLE_MS / 1000,
		.ping_s = config->ping_s > 0 ? (unsigned)config->ping_s : FRONT_PING_S,
		.message_piece = CALL_PIECE,
		.write_max = ANSWER_PIECE_MAX,
	};

	return web_open(&f->web, loop, &web, &conn_events, &f->conns, why, why_size);
}

int front_open(struct front **ret, uv_loop_t *loop, struct bridge *bridge,
	const struct front_config *config, char *why, size_t why_size)
{
	struct front *f = xcalloc(1, sizeof(*f));
	int r;

	f->config = *config;
	if (!config->body_ms)
		f->config.body_ms = FRONT_BODY_MS;
	f->max = conns_max(config);
	f->conns.bridge = bridge;
	f->conns.config = &f->config;
	list_init(&f->conns.list);
	r = listener_open(&f->listener, loop, config->host, config->port, on_client, f, &f->port,
		why, why_size);
	if (r == 0) {
		r = open_web(f, loop, why, why_size);
		if (r < 0)
			undo(f, loop);
	}
	if (r < 0) {
		free(f);
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
	web_destroy(&f->web);
	uv_close((uv_handle_t *)t, on_timer_closed);
}

/* Inside of an event, or of web_destroy(). */
static void on_empty(void *owner)
{
	struct front *f = owner;

	if (f->web.cx)
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
