/*
 * test_guest_agent.h - an agent of few words for the tests of the guest link: wire_init_server()
 * over a unix socket on the test's own loop. It answers requests, and its exec service "runs"
 * sessions whose output is a known pattern and whose input is checked against that pattern.
 * Links can be cut after any number of bytes in either direction.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "bridge/guest.h"
#include "tests/unit/fake_loop.h"

#define FAKE_NEVER UINT64_MAX

struct fake_conn;

struct fake_session {
	struct list node;
	char id[MSG_ID_MAX + 1];
	uint64_t out_len[3]; /* how much stdout and stderr there will be; [0]: not used */
	uint64_t oldest[3];  /* what is below is gone */
	bool with_stdin;
	uint64_t accepted; /* stdin bytes; one writer is enough here */
	bool got_fin, closed_stdin;
	bool holds_end; /* the end does not come yet */
	uint64_t taken; /* output bytes the viewer said it has, by its WINDOW frames */
	unsigned opens;
};

struct fake_viewer {
	struct channel channel;
	struct fake_session *session;
	uint64_t off[3];
	uint64_t since, window;
	unsigned turn;
	bool live_told, stdin_told, end_told, gap_told;
	uint8_t gap[8];
	char event[512];
};

struct fake {
	uv_loop_t *loop;
	char path[64];
	int listen_fd;
	uv_poll_t poll;
	struct list conns, sessions;
	const char *instance;
	uint64_t epoch;
	int proto;                   /* said in HELLO */
	int refuse_status;           /* HTTP status for everybody; 0: let in */
	const char *token;           /* wanted; NULL: none */
	bool hangs_up;               /* right after accept */
	bool stopped;                /* reads and writes nothing */
	enum error_code refuse_open; /* next OPENs; E_NONE: accept */
	/* What the next links live through: cut after so many bytes read, or written. */
	uint64_t cut_in, cut_out;
	void (*choose_cut)(struct fake *f); /* sets them for each new link; may be NULL */
	unsigned accepted, starts, requests, ups;
	bool mute; /* answers no request */
	/* Takes all OPENs, in place of the exec service; may be NULL. */
	void (*open_other)(struct fake *f, struct mux *m, uint32_t id);
	/* Session defaults. */
	uint64_t out_len, err_len;
	unsigned seed;
};

struct fake_conn {
	struct list node;
	struct fake *fake;
	int fd;
	uv_poll_t poll;
	struct wire wire;
	uint64_t cut_in, cut_out, n_in, n_out;
	bool closing;
};

/* Byte i of stream s. */
static inline uint8_t fake_byte(uint8_t s, uint64_t i)
{
	return (uint8_t)((i * 2654435761u + s * 40503u) >> 11);
}

static inline unsigned fake_random(struct fake *f)
{
	f->seed = f->seed * 1103515245 + 12345;
	return f->seed >> 8;
}

/* ---- links ---- */

static inline void fake_on_conn_closed(uv_handle_t *h)
{
	struct fake_conn *c = h->data;

	wire_fini(&c->wire);
	close(c->fd);
	list_remove(&c->node);
	free(c);
}

static inline void fake_cut(struct fake_conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	uv_close((uv_handle_t *)&c->poll, fake_on_conn_closed);
}

static inline void fake_flush(struct fake_conn *c);
static inline void fake_on_poll(uv_poll_t *h, int status, int events);

static inline void fake_flush_all(struct fake *f)
{
	list_for_each_safe (c, &f->conns, struct fake_conn, node)
		fake_flush(c);
}

/* ---- exec ---- */

static struct fake_session *fake_find(struct fake *f, const char *id)
{
	list_for_each (s, &f->sessions, struct fake_session, node) {
		if (strcmp(s->id, id) == 0)
			return s;
	}
	return NULL;
}

static inline void fake_remove(struct fake *f, const char *id)
{
	struct fake_session *s = fake_find(f, id);

	assert_non_null(s);
	list_remove(&s->node);
	free(s);
}

static inline bool fake_item(
	struct fake_viewer *v, struct mux_item *it, uint8_t type, const char *text)
{
	snprintf(v->event, sizeof(v->event), "%s", text);
	*it = (struct mux_item){.type = type, .data = v->event, .len = strlen(text)};
	return true;
}

static inline bool fake_pull_data(struct fake_viewer *v, size_t max, struct mux_item *it)
{
	static uint8_t data[FRAME_PAYLOAD_MAX];
	struct fake_conn *c = v->channel.mux->owner;

	for (unsigned k = 0; k < 2; k++) {
		uint8_t s = (uint8_t)(1 + (v->turn++ & 1));
		uint64_t left = v->session->out_len[s] - v->off[s];
		size_t some = 1 + fake_random(c->fake) % 40000;
		size_t n = (size_t)min_of(left, (uint64_t)max);

		n = min_of(n, some);
		if (n == 0)
			continue;
		for (size_t i = 0; i < n; i++)
			data[i] = fake_byte(s, v->off[s] + i);
		*it = (struct mux_item){
			.type = FRAME_DATA, .stream = s, .arg = v->off[s], .data = data, .len = n};
		v->off[s] += n;
		return true;
	}
	return false;
}

static inline bool fake_pull(struct channel *ch, size_t max, struct mux_item *it)
{
	struct fake_viewer *v = container_of(ch, struct fake_viewer, channel);
	struct fake_session *s = v->session;

	for (uint8_t k = 1; k <= 2; k++) {
		if (v->off[k] < s->oldest[k]) {
			put_u64(v->gap, s->oldest[k] - v->off[k]);
			*it = (struct mux_item){.type = FRAME_GAP,
				.stream = k,
				.arg = v->off[k],
				.data = v->gap,
				.len = 8};
			v->off[k] = s->oldest[k];
			return true;
		}
	}
	if (max > 0 && fake_pull_data(v, max, it))
		return true;
	if (s->closed_stdin && !v->stdin_told) {
		v->stdin_told = true;
		return fake_item(v, it, FRAME_EVENT, "{\"event\":\"stdin_closed\",\"offset\":0}");
	}
	if (v->off[1] < s->out_len[1] || v->off[2] < s->out_len[2])
		return false;
	if (!v->live_told) {
		v->live_told = true;
		return fake_item(v, it, FRAME_EVENT, "{\"event\":\"live\"}");
	}
	if (s->holds_end || (s->with_stdin && !s->got_fin && !s->closed_stdin))
		return false;
	if (!v->end_told) {
		v->end_told = true;
		return fake_item(
			v, it, FRAME_EVENT, "{\"event\":\"end\",\"state\":\"exited\",\"code\":7}");
	}
	*it = (struct mux_item){.type = FRAME_CLOSE};
	return true;
}

static inline void fake_on_data(
	struct channel *ch, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct fake_viewer *v = container_of(ch, struct fake_viewer, channel);
	struct fake_session *s = v->session;

	assert_int_equal(stream, STREAM_IN);
	assert_true(off <= s->accepted);
	for (size_t i = 0; i < len; i++) {
		if (off + i < s->accepted)
			continue;
		assert_int_equal(data[i], fake_byte(0, off + i));
		s->accepted++;
	}
	if (fin) {
		assert_int_equal(off + len, s->accepted);
		s->got_fin = true;
	}
	channel_ack(ch, STREAM_IN, s->accepted);
	channel_grant(ch, ch->received + 65536);
	channel_ready(ch);
}

static inline void fake_on_close(struct channel *ch, const uint8_t *error, size_t len)
{
	struct fake_viewer *v = container_of(ch, struct fake_viewer, channel);
	uint64_t taken = min_of(ch->send_limit - v->window, ch->sent);

	(void)error, (void)len;
	if (taken > 0)
		v->session->taken = max_of(v->session->taken, v->since + taken);
	free(v);
}

static inline void fake_on_channel_request(
	struct channel *ch, uint64_t id, const uint8_t *json, size_t len)
{
	(void)json, (void)len;
	mux_respond(ch->mux, ch->id, id, "{}", 2);
}

static const struct channel_ops fake_channel_ops = {.pull = fake_pull,
	.on_data = fake_on_data,
	.on_request = fake_on_channel_request,
	.on_close = fake_on_close};

static inline void fake_refuse(struct mux *m, uint32_t id, enum error_code code)
{
	struct error e;
	char json[ERROR_JSON_MAX];

	error_set(&e, code, 0, "refused for the test");
	mux_refuse(m, id, json, error_json(&e, json));
}

static struct fake_session *fake_start(struct fake *f, const struct msg_open *m)
{
	struct fake_session *s = xcalloc(1, sizeof(*s));

	snprintf(s->id, sizeof(s->id), "%s", m->id);
	s->with_stdin = m->start.with_stdin;
	s->out_len[1] = f->out_len;
	s->out_len[2] = f->err_len;
	list_append(&f->sessions, &s->node);
	f->starts++;
	return s;
}

static inline void fake_on_open(void *owner, uint32_t id, const uint8_t *json, size_t len)
{
	struct fake_conn *c = owner;
	struct fake *f = c->fake;
	struct fake_session *s;
	struct fake_viewer *v;
	struct msg_open m;
	struct msg_opened o = {.state = END_RUNNING, .pid = 1, .window = 65536};
	struct error e;
	char text[1024];

	if (f->open_other) {
		f->open_other(f, &c->wire.mux, id);
		return;
	}
	assert_int_equal(msg_parse_open(json, len, &m, &e), 0);
	assert_non_null(m.id);
	s = fake_find(f, m.id);
	if (f->refuse_open != E_NONE || (!s && !m.has_start)) {
		fake_refuse(&c->wire.mux, id, f->refuse_open ? f->refuse_open : E_NOT_FOUND);
		msg_open_fini(&m);
		return;
	}
	o.is_new = !s;
	if (!s)
		s = fake_start(f, &m);
	s->opens++;
	v = xcalloc(1, sizeof(*v));
	v->session = s;
	v->off[1] = m.attach.since_now ? s->out_len[1] : m.attach.since_out;
	v->off[2] = m.attach.since_now ? s->out_len[2] : m.attach.since_err;
	v->since = v->off[1] + v->off[2];
	v->window = m.window;
	/* What the viewer was thought to have is not kept for it: it must not ask for it again. */
	assert_true(v->since >= s->taken);
	snprintf(o.id, sizeof(o.id), "%s", s->id);
	o.stdin_open = s->with_stdin && !s->got_fin && !s->closed_stdin;
	o.stdin_offset = s->accepted;
	o.out = (struct msg_span){s->oldest[1], s->out_len[1]};
	o.err = (struct msg_span){s->oldest[2], s->out_len[2]};
	mux_accept(&c->wire.mux, id, &v->channel, &fake_channel_ops, o.window, m.window, true, text,
		msg_format_opened(&o, text, sizeof(text)));
	msg_open_fini(&m);
}

/* ---- the rest of the protocol ---- */

static inline int fake_authorize(void *owner, const struct http_head *head)
{
	struct fake_conn *c = owner;
	char want[128];

	if (c->fake->refuse_status)
		return c->fake->refuse_status;
	snprintf(want, sizeof(want), "Bearer %s", c->fake->token ? c->fake->token : "");
	return c->fake->token && strcmp(head->authorization, want) != 0 ? 401 : 0;
}

static inline void fake_on_upgraded(void *owner)
{
	struct fake_conn *c = owner;
	char text[512];
	int n = snprintf(text, sizeof(text),
		"{\"agent\":\"fake\",\"version\":\"1\",\"proto\":%d,\"instance\":\"%s\","
		"\"boot_id\":\"b\",\"epoch\":%llu}",
		c->fake->proto, c->fake->instance, (unsigned long long)c->fake->epoch);

	mux_hello(&c->wire.mux, text, (size_t)n);
}

static inline void fake_on_hello(void *owner, const uint8_t *json, size_t len)
{
	struct fake_conn *c = owner;
	struct msg_hello h;
	struct error e;

	assert_int_equal(msg_parse_hello(json, len, &h, &e), 0);
	assert_string_equal(h.name, "test");
	msg_hello_fini(&h);
	c->fake->ups++;
}

static inline void fake_on_request(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	struct fake_conn *c = owner;
	struct msg_request m;
	struct error e;
	char text[ERROR_JSON_MAX];

	assert_int_equal(msg_parse_request(json, len, &m, &e), 0);
	c->fake->requests++;
	if (m.op == OP_REMOVE) {
		error_set(&e, E_NOT_FOUND, 0, "no session %s", m.id);
		mux_respond(&c->wire.mux, 0, id, text, error_json(&e, text));
	} else if (!c->fake->mute) {
		mux_respond(&c->wire.mux, 0, id, "{}", 2);
	}
	msg_request_fini(&m);
}

static const struct wire_events fake_wire_events = {
	.authorize = fake_authorize,
	.on_upgraded = fake_on_upgraded,
	.mux = {.on_hello = fake_on_hello, .on_open = fake_on_open, .on_request = fake_on_request},
};

/* ---- I/O, with the scissors ---- */

static inline void fake_flush(struct fake_conn *c)
{
	struct iovec iov[WIRE_IOV_MAX];
	bool blocked = false;
	int n;

	while (!c->closing && !c->fake->stopped && (n = wire_output(&c->wire, iov)) > 0) {
		uint64_t may = c->cut_out - c->n_out;
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
		ssize_t k;

		for (int i = 0; i < n; i++) {
			iov[i].iov_len = (size_t)min_of((uint64_t)iov[i].iov_len, may);
			may -= iov[i].iov_len;
		}
		k = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
		wire_wrote(&c->wire, k < 0 ? 0 : (size_t)k);
		if (k < 0 && errno == EAGAIN) {
			blocked = true;
			break;
		}
		if (k > 0)
			c->n_out += (uint64_t)k;
		if (k < 0 || c->n_out == c->cut_out)
			fake_cut(c);
	}
	if (c->closing)
		return;
	if (c->wire.state == WIRE_CLOSED)
		fake_cut(c);
	else
		uv_poll_start(&c->poll,
			c->fake->stopped ? 0 : UV_READABLE | (blocked ? UV_WRITABLE : 0),
			fake_on_poll);
}

static inline void fake_on_poll(uv_poll_t *h, int status, int events)
{
	struct fake_conn *c = h->data;
	static uint8_t data[65536];
	ssize_t n;

	if (c->closing)
		return;
	if (status == 0 && !(events & UV_READABLE)) {
		fake_flush(c);
		return;
	}
	n = recv(c->fd, data, (size_t)min_of(sizeof(data), c->cut_in - c->n_in), 0);
	if (n <= 0) {
		fake_cut(c);
		return;
	}
	c->n_in += (uint64_t)n;
	assert_int_equal(wire_input(&c->wire, data, (size_t)n), n);
	fake_flush(c);
	if (c->n_in == c->cut_in)
		fake_cut(c);
}

static inline void fake_on_accept(uv_poll_t *h, int status, int events)
{
	struct fake *f = h->data;
	struct fake_conn *c;
	int fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)status, (void)events;
	if (fd < 0)
		return;
	f->accepted++;
	if (f->hangs_up) {
		close(fd);
		return;
	}
	if (f->choose_cut)
		f->choose_cut(f);
	c = xcalloc(1, sizeof(*c));
	c->fake = f;
	c->fd = fd;
	c->cut_in = f->cut_in;
	c->cut_out = f->cut_out;
	assert_int_equal(wire_init_server(&c->wire, &fake_wire_events, c, 100), 0);
	list_append(&f->conns, &c->node);
	assert_int_equal(uv_poll_init(f->loop, &c->poll, fd), 0);
	c->poll.data = c;
	uv_poll_start(&c->poll, UV_READABLE, fake_on_poll);
}

/* ---- its life ---- */

static inline void fake_listen(struct fake *f)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->path);
	f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(f->listen_fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(f->listen_fd, 16), 0);
	assert_int_equal(uv_poll_init(f->loop, &f->poll, f->listen_fd), 0);
	f->poll.data = f;
	uv_poll_start(&f->poll, UV_READABLE, fake_on_accept);
}

static inline void fake_init(struct fake *f, uv_loop_t *loop)
{
	static unsigned serial;

	*f = (struct fake){.loop = loop,
		.instance = "0123456789abcdef",
		.epoch = 1,
		.proto = 1,
		.cut_in = FAKE_NEVER,
		.cut_out = FAKE_NEVER,
		.seed = 1};
	snprintf(f->path, sizeof(f->path), "/tmp/test_guest.%d.%u", (int)getpid(), serial++);
	list_init(&f->conns);
	list_init(&f->sessions);
	fake_listen(f);
}

static inline void fake_cut_all(struct fake *f)
{
	list_for_each_safe (c, &f->conns, struct fake_conn, node)
		fake_cut(c);
}

static inline void fake_on_listen_closed(uv_handle_t *h)
{
	close_fd(&((struct fake *)h->data)->listen_fd);
}

/* The socket is gone, links stay. */
static inline void fake_unlisten(struct fake *f)
{
	if (f->listen_fd < 0 || uv_is_closing((uv_handle_t *)&f->poll))
		return;
	unlink(f->path);
	uv_close((uv_handle_t *)&f->poll, fake_on_listen_closed);
}

static inline void fake_stop(struct fake *f)
{
	fake_cut_all(f);
	fake_unlisten(f);
}

static inline void fake_fini(struct fake *f)
{
	assert_true(list_empty(&f->conns));
	list_for_each_safe (s, &f->sessions, struct fake_session, node) {
		list_remove(&s->node);
		free(s);
	}
}

static inline void fake_config(struct fake *f, struct guest_config *ret)
{
	*ret = (struct guest_config){.name = "test", .retry_ms = 5000};
	ret->target.kind = TARGET_UNIX;
	snprintf(ret->target.path, sizeof(ret->target.path), "%s", f->path);
}

/* Tests have no time for patience: the next attempt is now. */
static inline void fake_hurry(struct guest *g)
{
	if (g->state == GUEST_WAITING)
		uv_timer_start(&g->timer, g->timer.timer_cb, 0, 0);
}
