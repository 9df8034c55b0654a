/*
 * libwebsockets (web.c) parses heads, frames WebSockets, does TLS and watches sockets. Of HTTP it
 * leaves to its user more than one would think, and some of it would hurt:
 *
 *  - Bodies come as the bytes behind the head: neither Content-Length nor chunks are looked at, so
 *    both are done here (front_body.c), and what is no part of the body ends the connection after
 *    the answer.
 *  - A POST without a length is given 100 MiB of body by it; to us it is an empty one, and the
 *    connection ends after the answer.
 *  - While reading is off, on_writable does not come and nobody notices that the client
 *    hung up: so it is off only while a body waits for its handler and until the answer
 *    begins, and the socket is looked at meanwhile (on_timer).
 *  - A request that is pipelined behind one whose answer has to wait ends the connection (it
 *    cannot be kept). Behind one that is answered at once it is fine.
 *  - It kills a connection whose body pauses for 20 s, so that timeout is put off as long as there
 *    is a call, and patience is our own.
 *
 * An answer is given in on_writable, piece by piece as long as the socket takes them; its
 * beginning right away, when the request has no body. With it what is left of the request's body
 * is no longer the handler's: it is read and dropped for a while, so that the client gets to see
 * the answer.
 */
#include "bridge/api/front_conn.h"

#include <poll.h>
#include <sys/socket.h>

#include "bridge/api/call_wire.h"
#include "bridge/api/front_body.h"
#include "bridge/api/front_listen.h"
#include "proto/ws.h"

#define TICK_MS        2000   /* how often a call with a body is looked at */
#define PIECES_AT_ONCE 8      /* of an answer, before others have their turn */
#define DRAIN_MS       3000   /* reading what a refused client still sends, so that it sees why */
#define CLOSE_MS       600000 /* for a client to read up to the close of its WebSocket */

struct conn {
	struct web_conn web;
	struct list node;
	struct conns *all;
	struct call *call; /* NULL between requests */
	struct head head;  /* of the request */
	struct body body;
	struct answer answer;
	char peer[LISTEN_PEER_MAX];
	bool busy;    /* inside on_call() or the like: what is wanted is seen to after it */
	bool over;    /* the connection ends as soon as what web.c holds is written */
	bool stopped; /* it is not read */
	bool socket;  /* a WebSocket */
	bool in_message;
	uint64_t drain_until; /* ms; 0: not draining */
	uint64_t close_until; /* ms; of a WebSocket that is closing */
	uint64_t heard_ms;
};

static struct conn *conn_of(struct web_conn *w)
{
	return container_of(w, struct conn, web);
}

/* ---- the end of a call ---- */

static void end_call(struct conn *n)
{
	struct call *c = take_ptr(&n->call);

	if (!c)
		return;
	call_end(c);
	if (n->all->config->on_done)
		n->all->config->on_done(c);
	call_free(c);
	body_reset(&n->body);
}

/* Nobody shall take half of an answer for the whole: to whom the end of the connection is the end
 * of the answer (HTTP/1.0, and so some proxies) a reset is none. */
static void break_off(struct conn *n)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	if (n->call && n->answer.head_out)
		(void)connect(web_fd(&n->web), &none, sizeof(none));
}

static void kill_conn(struct conn *n)
{
	break_off(n);
	web_kill(&n->web);
}

/* ---- reading ---- */

/* Reads as long as it is not the handler that makes the body wait. */
static void set_flow(struct conn *n)
{
	struct call *c = n->call;
	bool stop = c && c->paused && (n->socket || (!call_answered(c) && !n->body.complete));

	if (n->body.kind != BODY_NONE || stop)
		web_timer(&n->web, TICK_MS);
	if (stop == n->stopped)
		return;
	n->stopped = stop;
	web_read(&n->web, !stop);
}

static void send_continue(struct conn *n)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	uint8_t *out = n->all->out + WEB_PRE;

	if (!n->head.expects || !n->call || n->call->paused || call_answered(n->call))
		return;
	n->head.expects = false;
	memcpy(out, text, sizeof(text) - 1);
	if (web_write(&n->web, WEB_INTERIM, out, sizeof(text) - 1) < 0)
		kill_conn(n);
}

static int on_body(struct web_conn *w, const uint8_t *data, size_t len)
{
	struct conn *n = conn_of(w);
	int r;

	n->heard_ms = now_ms();
	if (n->call)
		n->call->bytes_in += len;
	r = body_take(&n->body, n->call, data, len);
	if (r == -EPROTO && n->call && !call_answered(n->call))
		call_error(n->call, 400, "the body is not in chunks as it should be");
	else if (r < 0 && r != -EPROTO)
		return -1;
	if (n->body.excess || n->body.broken)
		n->head.last = true;
	body_deliver(&n->body, n->call);
	return 0;
}

/* ---- answers ---- */

/* The answer is out. Returns what the event returns. */
static int finish(struct conn *n)
{
	bool complete = n->body.complete || n->body.broken;

	end_call(n);
	if (!complete) {
		n->drain_until = now_ms() + DRAIN_MS;
		set_flow(n);
		web_timer(&n->web, TICK_MS);
		return 0;
	}
	if (!n->head.last)
		return web_next_request(&n->web);
	if (!web_holds_bytes(&n->web))
		return -1;
	n->over = true;
	web_want_write(&n->web);
	return 0;
}

static int cut(struct conn *n)
{
	break_off(n);
	end_call(n);
	return -1;
}

static int write_answer(struct conn *n)
{
	uint8_t *out = n->all->out + WEB_PRE;
	struct call *c = n->call;
	bool done;
	ssize_t r;

	set_flow(n);
	if (!n->answer.head_out && (n->all->closing || !n->body.complete ||
					   call_framing(c, n->head.http10) == CALL_FRAME_CLOSE))
		n->head.last = true;
	for (int pieces = 0; pieces < PIECES_AT_ONCE; pieces++) {
		r = answer_next(&n->answer, c, n->head.http10, !n->head.last, out, &done);
		if (r == CALL_BROKEN)
			return cut(n);
		if (r > 0 && web_write(&n->web, WEB_BYTES, out, (size_t)r) < 0)
			return -1;
		if (done)
			return finish(n);
		if (r <= 0)
			return 0;
		if (!web_takes_more(&n->web))
			break;
	}
	web_want_write(&n->web);
	return 0;
}

/* ---- requests ---- */

static struct call *begin_call(struct conn *n)
{
	struct call *c = head_call(&n->web, &n->head, (char *)n->all->out);

	ASSERT(!n->call);
	n->call = c;
	if (!c)
		return NULL;
	c->bridge = n->all->bridge;
	c->transport = n;
	if (!*n->peer)
		listen_peer(web_fd(&n->web), n->peer);
	memcpy(c->peer, n->peer, sizeof(c->peer));
	n->answer = (struct answer){0};
	n->drain_until = 0;
	n->heard_ms = now_ms();
	return c;
}

static int on_request(struct web_conn *w)
{
	struct conn *n = conn_of(w);
	struct call *c = begin_call(n);
	const char *why;
	int status;

	if (!c)
		return -1;
	why = head_read(&n->web, c, &n->head, &status);
	body_init(&n->body, n->head.body, n->head.length);
	web_patience(&n->web, 0);
	n->busy = true;
	if (why)
		call_error(c, status, "%s", why);
	else
		n->all->config->on_call(c);
	body_deliver(&n->body, c);
	n->busy = false;
	if (call_answered(c) && n->body.kind == BODY_NONE)
		return write_answer(n);
	if (call_answered(c))
		web_want_write(&n->web);
	set_flow(n);
	send_continue(n);
	if (n->head.last)
		web_timer(&n->web, TICK_MS);
	return 0;
}

/* ---- WebSocket ---- */

/* 0: it happens; -1: it was answered otherwise, and the connection ends. */
static int on_upgrade(struct web_conn *w)
{
	struct conn *n = conn_of(w);
	uint8_t *out = n->all->out + WEB_PRE;
	struct call *c = begin_call(n);
	const char *why;
	int status;
	ssize_t len;
	bool done;

	if (!c)
		return -1;
	c->websocket = true;
	why = head_read_upgrade(&n->web, c, &n->head, &status);
	body_init(&n->body, BODY_NONE, 0);
	n->busy = true;
	if (why)
		call_error(c, status, "%s", why);
	else
		n->all->config->on_call(c);
	n->busy = false;
	if (c->call_state == CALL_SOCKET)
		return 0;
	ASSERT(c->whole); /* a WebSocket's handler accepts or answers at once */
	len = answer_next(&n->answer, c, false, false, out, &done);
	end_call(n);
	if (len > 0)
		web_write(&n->web, WEB_BYTES, out, (size_t)len);
	return -1;
}

static void on_upgraded(struct web_conn *w)
{
	struct conn *n = conn_of(w);

	n->socket = true;
	set_flow(n);
	web_want_write(w);
}

static int on_message(struct web_conn *w, const uint8_t *data, size_t len, bool last)
{
	struct conn *n = conn_of(w);
	bool first = !n->in_message;
	struct call *c = n->call;

	n->in_message = !last;
	if (!c)
		return 0;
	c->bytes_in += len;
	if (c->ops->on_message)
		c->ops->on_message(c, data, len, first, last);
	return 0;
}

/* libwebsockets waits five seconds for the other side's close; one that reads slowly has yet to
 * read what was sent, and would lose it if it were told that nobody is here any more. */
static int close_socket(struct conn *n, uint16_t code, const char *reason)
{
	n->close_until = now_ms() + CLOSE_MS;
	web_timer(&n->web, TICK_MS);
	web_say_close(&n->web, code, reason);
	end_call(n);
	return -1;
}

static int write_message(struct conn *n)
{
	uint8_t *out = n->all->out + WEB_PRE;
	struct call *c = n->call;
	ssize_t r;

	if (!c) /* its close is on the way */
		return 0;
	if (n->all->closing)
		return close_socket(n, WS_CLOSE_RESTART, "the bridge is restarting");
	r = call_pull(c, out, CALL_PIECE);
	if (r == CALL_NOTHING)
		return 0;
	if (r == CALL_DONE)
		return close_socket(n, c->close_code, c->close_reason);
	if (r == CALL_BROKEN)
		return close_socket(n, WS_CLOSE_INTERNAL, "");
	if (r == CALL_EMPTY)
		r = 0;
	ASSERT(r >= 0 && r <= CALL_PIECE);
	c->bytes_out += (uint64_t)r;
	if (web_write(&n->web, c->says_text ? WEB_TEXT : WEB_BINARY, out, (size_t)r) < 0)
		return -1;
	web_want_write(&n->web);
	return 0;
}

/* ---- what web.c says besides ---- */

static int on_timer(struct web_conn *w)
{
	struct conn *n = conn_of(w);
	struct pollfd p = {.fd = web_fd(&n->web), .events = POLLRDHUP};
	uint64_t now = now_ms(), body_ms = n->all->config->body_ms;
	struct call *c = n->call;

	if (now < n->close_until) {
		web_patience(&n->web, 5);
		web_timer(&n->web, TICK_MS);
		return 0;
	}
	if (n->drain_until > 0 && (now >= n->drain_until || n->body.complete))
		return -1;
	if (n->stopped && poll(&p, 1, 0) > 0)
		return -1;
	if (!c && n->drain_until == 0)
		return 0;
	if (!n->socket)
		web_patience(&n->web, 0);
	if (c && !n->socket && !n->stopped && !n->body.complete && !call_answered(c) &&
		now - n->heard_ms > body_ms)
		call_error(c, 408, "nothing came of the body for %llu s",
			(unsigned long long)(body_ms / 1000));
	if (n->stopped || n->drain_until > 0 || !n->socket)
		web_timer(&n->web, TICK_MS);
	return 0;
}

static int on_writable(struct web_conn *w)
{
	struct conn *n = conn_of(w);

	if (n->socket)
		return write_message(n);
	if (n->over)
		return -1;
	if (!n->call)
		return 0;
	n->busy = true;
	body_deliver(&n->body, n->call);
	n->busy = false;
	if (n->call->call_state == CALL_ANSWERING)
		return write_answer(n);
	set_flow(n);
	return 0;
}

static void on_closed(struct web_conn *w)
{
	end_call(conn_of(w));
}

static void on_gone(struct web_conn *w)
{
	struct conn *n = conn_of(w);
	struct conns *cs = n->all;

	end_call(n);
	body_reset(&n->body);
	list_remove(&n->node);
	cs->n--;
	free(n);
	if (cs->closing && cs->n == 0)
		cs->on_empty(cs->owner);
}

static struct web_conn *on_open(void *owner)
{
	struct conn *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->all = owner;
	list_append(&n->all->list, &n->node);
	n->all->n++;
	return &n->web;
}

const struct web_events conn_events = {
	.on_open = on_open,
	.on_request = on_request,
	.on_body = on_body,
	.on_upgrade = on_upgrade,
	.on_upgraded = on_upgraded,
	.on_message = on_message,
	.on_writable = on_writable,
	.on_timer = on_timer,
	.on_closed = on_closed,
	.on_gone = on_gone,
};

/* ---- for call.c ---- */

void front_ready(struct call *c)
{
	struct conn *n = c->transport;

	if (!n || n->busy)
		return;
	set_flow(n);
	web_want_write(&n->web);
}

void front_pause(struct call *c, bool pause)
{
	struct conn *n = c->transport;

	if (!n || n->busy)
		return;
	set_flow(n);
	if (!pause) {
		send_continue(n);
		if (!n->socket)
			web_want_write(&n->web);
	}
}

void front_abort(struct call *c)
{
	struct conn *n = c->transport;

	if (n)
		kill_conn(n);
}

/* ---- all of them ---- */

void conns_close(struct conns *cs, void (*on_empty)(void *owner), void *owner)
{
	cs->closing = true;
	cs->on_empty = on_empty;
	cs->owner = owner;
	list_for_each (n, &cs->list, struct conn, node) {
		if (n->socket)
			web_want_write(&n->web);
		else if (!n->call)
			kill_conn(n);
	}
}

void conns_break_off(struct conns *cs)
{
	list_for_each (n, &cs->list, struct conn, node)
		break_off(n);
}
