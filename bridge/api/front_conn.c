/*
 * lws parses heads, frames WebSockets, does TLS and watches sockets. Of HTTP it leaves to its user
 * more than one would think, and some of it would hurt:
 *
 *  - Bodies come as the bytes behind the head: neither Content-Length nor chunks are looked at, so
 *    both are done here (front_body.c), and what is no part of the body ends the connection after
 *    the answer.
 *  - A POST without a length is given 100 MiB of body by lws; to us it is an empty one, and the
 *    connection ends after the answer.
 *  - While rx flow control is on, HTTP_WRITEABLE does not come and nobody notices that the client
 *    hung up: so it is on only while a body waits for its handler, ends with the answer's
 *    beginning, and the socket is looked at meanwhile (TIMER).
 *  - A request that is pipelined behind one whose answer has to wait ends the connection (lws
 *    cannot keep it). Behind one that is answered at once it is fine.
 *  - lws kills a connection whose body pauses for 20 s, so that timeout is put off as long as there
 *    is a call, and patience is our own.
 *
 * An answer is given in HTTP_WRITEABLE, piece by piece as long as the socket takes them; its
 * beginning right away, when the request has no body. With it what is left of the request's body
 * is no longer the handler's: it is read and dropped for a while, so that the client gets to see
 * the answer.
 */
#include "bridge/api/front_conn.h"

#include <libwebsockets.h>
#include <poll.h>

#include "bridge/api/call_wire.h"
#include "bridge/api/front_body.h"
#include "bridge/api/front_listen.h"
#include "proto/ws.h"

#define TICK_US        (2 * LWS_USEC_PER_SEC) /* how often a call with a body is looked at */
#define PIECES_AT_ONCE 8                      /* of an answer, before others have their turn */
#define DRAIN_MS       3000   /* reading what a refused client still sends, so that it sees why */
#define CLOSE_MS       600000 /* for a client to read up to the close of its WebSocket */

struct conn {
	struct list node;
	struct conns *all;
	struct lws *wsi;
	struct call *call; /* NULL between requests */
	struct head head;  /* of the request */
	struct body body;
	struct answer answer;
	char peer[LISTEN_PEER_MAX];
	bool busy;    /* inside on_call() or the like: what is wanted is seen to after it */
	bool over;    /* the connection ends as soon as what lws holds is written */
	bool stopped; /* rx flow control is on */
	bool socket;  /* a WebSocket */
	bool in_message;
	uint64_t drain_until; /* ms; 0: not draining */
	uint64_t close_until; /* ms; of a WebSocket that is closing */
	uint64_t heard_ms;
};

_Static_assert(LWS_PRE <= 64, "CONN_OUT_SIZE");

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
		(void)connect(lws_get_socket_fd(n->wsi), &none, sizeof(none));
}

static void kill_conn(struct conn *n)
{
	break_off(n);
	lws_set_timeout(n->wsi, 1, LWS_TO_KILL_ASYNC);
}

/* ---- reading ---- */

/* Reads as long as it is not the handler that makes the body wait. */
static void set_flow(struct conn *n)
{
	struct call *c = n->call;
	bool stop = c && c->paused && (n->socket || (!call_answered(c) && !n->body.complete));

	if (n->body.kind != BODY_NONE || stop)
		lws_set_timer_usecs(n->wsi, TICK_US);
	if (stop == n->stopped)
		return;
	n->stopped = stop;
	lws_rx_flow_control(n->wsi, !stop);
}

static void send_continue(struct conn *n)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	uint8_t *out = n->all->out + LWS_PRE;

	if (!n->head.expects || !n->call || n->call->paused || call_answered(n->call))
		return;
	n->head.expects = false;
	memcpy(out, text, sizeof(text) - 1);
	if (lws_write(n->wsi, out, sizeof(text) - 1, LWS_WRITE_HTTP_HEADERS_CONTINUATION) < 0)
		kill_conn(n);
}

static int on_body(struct conn *n, const uint8_t *data, size_t len)
{
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

/* The answer is out. Returns what the callback of lws returns. */
static int finish(struct conn *n)
{
	bool complete = n->body.complete || n->body.broken;

	end_call(n);
	if (!complete) {
		n->drain_until = now_ms() + DRAIN_MS;
		set_flow(n);
		lws_set_timer_usecs(n->wsi, TICK_US);
		return 0;
	}
	if (!n->head.last)
		return lws_http_transaction_completed(n->wsi) ? -1 : 0;
	if (!lws_partial_buffered(n->wsi))
		return -1;
	n->over = true;
	lws_callback_on_writable(n->wsi);
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
	uint8_t *out = n->all->out + LWS_PRE;
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
		if (r > 0 && lws_write(n->wsi, out, (size_t)r, LWS_WRITE_HTTP) < 0)
			return -1;
		if (done)
			return finish(n);
		if (r <= 0)
			return 0;
		if (lws_send_pipe_choked(n->wsi))
			break;
	}
	lws_callback_on_writable(n->wsi);
	return 0;
}

static int on_writable(struct conn *n)
{
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

/* ---- requests ---- */

static struct call *begin_call(struct conn *n)
{
	struct call *c = head_call(n->wsi, &n->head, (char *)n->all->out);

	ASSERT(!n->call);
	n->call = c;
	if (!c)
		return NULL;
	c->bridge = n->all->bridge;
	c->transport = n;
	if (!*n->peer)
		listen_peer(lws_get_socket_fd(n->wsi), n->peer);
	memcpy(c->peer, n->peer, sizeof(c->peer));
	n->answer = (struct answer){0};
	n->drain_until = 0;
	n->heard_ms = now_ms();
	return c;
}

static int on_request(struct conn *n)
{
	struct call *c = begin_call(n);
	const char *why;
	int status;

	if (!c)
		return -1;
	why = head_read(n->wsi, c, &n->head, &status);
	body_init(&n->body, n->head.body, n->head.length);
	lws_set_timeout(n->wsi, NO_PENDING_TIMEOUT, 0);
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
		lws_callback_on_writable(n->wsi);
	set_flow(n);
	send_continue(n);
	if (n->head.last)
		lws_set_timer_usecs(n->wsi, TICK_US);
	return 0;
}

/* ---- WebSocket ---- */

/* 0: it happens; -1: it was answered otherwise, and the connection ends. */
static int on_upgrade(struct conn *n)
{
	uint8_t *out = n->all->out + LWS_PRE;
	struct call *c = begin_call(n);
	const char *why;
	int status;
	ssize_t len;
	bool done;

	if (!c)
		return -1;
	c->websocket = true;
	why = head_read_upgrade(n->wsi, c, &n->head, &status);
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
		lws_write(n->wsi, out, (size_t)len, LWS_WRITE_HTTP);
	return -1;
}

static int on_message(struct conn *n, const uint8_t *data, size_t len)
{
	bool first = !n->in_message;
	bool last = lws_is_final_fragment(n->wsi) && lws_remaining_packet_payload(n->wsi) == 0;
	struct call *c = n->call;

	n->in_message = !last;
	if (!c)
		return 0;
	c->bytes_in += len;
	if (c->ops->on_message)
		c->ops->on_message(c, data, len, first, last);
	return 0;
}

/* lws waits five seconds for the other side's close; one that reads slowly has yet to read what
 * was sent, and would lose it if it were told that nobody is here any more. */
static int close_socket(struct conn *n, uint16_t code, const char *reason)
{
	n->close_until = now_ms() + CLOSE_MS;
	lws_set_timer_usecs(n->wsi, TICK_US);
	lws_close_reason(
		n->wsi, (enum lws_close_status)code, (unsigned char *)reason, strlen(reason));
	end_call(n);
	return -1;
}

static int write_message(struct conn *n)
{
	uint8_t *out = n->all->out + LWS_PRE;
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
	if (lws_write(n->wsi, out, (size_t)r, c->says_text ? LWS_WRITE_TEXT : LWS_WRITE_BINARY) < 0)
		return -1;
	lws_callback_on_writable(n->wsi);
	return 0;
}

/* ---- what lws says ---- */

static int on_tick(struct conn *n)
{
	struct pollfd p = {.fd = lws_get_socket_fd(n->wsi), .events = POLLRDHUP};
	uint64_t now = now_ms(), body_ms = n->all->config->body_ms;
	struct call *c = n->call;

	if (now < n->close_until) {
		lws_set_timeout(n->wsi, PENDING_TIMEOUT_CLOSE_ACK, 5);
		lws_set_timer_usecs(n->wsi, TICK_US);
		return 0;
	}
	if (n->drain_until > 0 && (now >= n->drain_until || n->body.complete))
		return -1;
	if (n->stopped && poll(&p, 1, 0) > 0)
		return -1;
	if (!c && n->drain_until == 0)
		return 0;
	if (!n->socket)
		lws_set_timeout(n->wsi, NO_PENDING_TIMEOUT, 0);
	if (c && !n->socket && !n->stopped && !n->body.complete && !call_answered(c) &&
		now - n->heard_ms > body_ms)
		call_error(c, 408, "nothing came of the body for %llu s",
			(unsigned long long)(body_ms / 1000));
	if (n->stopped || n->drain_until > 0 || !n->socket)
		lws_set_timer_usecs(n->wsi, TICK_US);
	return 0;
}

static void on_gone(struct conn *n)
{
	struct conns *cs = n->all;

	end_call(n);
	body_reset(&n->body);
	list_remove(&n->node);
	cs->n--;
	free(n);
	if (cs->closing && cs->n == 0)
		cs->on_empty(cs->owner);
}

static struct conn *conn_new(struct conns *cs, struct lws *wsi)
{
	struct conn *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->all = cs;
	n->wsi = wsi;
	list_append(&cs->list, &n->node);
	cs->n++;
	lws_set_opaque_user_data(wsi, n);
	return n;
}

static int on_event(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct conn *n = NULL;

	(void)user;
	if (reason == LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED)
		return conn_new(lws_context_user(lws_get_context(wsi)), wsi) ? 0 : -1;
	if (wsi)
		n = lws_get_opaque_user_data(wsi);
	if (!n)
		return 0;
	switch (reason) {
	case LWS_CALLBACK_HTTP: return on_request(n);
	case LWS_CALLBACK_HTTP_BODY: return len > 0 ? on_body(n, in, len) : 0;
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
	case LWS_CALLBACK_HTTP_WRITEABLE: return on_writable(n);
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return strcasecmp(in, "websocket") != 0 ? 0 : on_upgrade(n);
	case LWS_CALLBACK_ESTABLISHED:
		n->socket = true;
		set_flow(n);
		lws_callback_on_writable(wsi);
		return 0;
	case LWS_CALLBACK_RECEIVE: return on_message(n, in, len);
	case LWS_CALLBACK_SERVER_WRITEABLE: return write_message(n);
	case LWS_CALLBACK_TIMER: return on_tick(n);
	case LWS_CALLBACK_RAW_ADOPT: return -1; /* CONNECT: lws would make a tunnel of it */
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_CLOSED_HTTP: end_call(n); return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		lws_set_opaque_user_data(wsi, NULL);
		on_gone(n);
		return 0;
	default: return 0;
	}
}

const struct lws_protocols *conn_protocols(void)
{
	static const struct lws_protocols protocols[] = {
		{.name = "bridge",
			.callback = on_event,
			.rx_buffer_size = CALL_PIECE,
			.tx_packet_size = ANSWER_PIECE_MAX},
		LWS_PROTOCOL_LIST_TERM,
	};

	return protocols;
}

/* ---- for call.c ---- */

void front_ready(struct call *c)
{
	struct conn *n = c->transport;

	if (!n || n->busy)
		return;
	set_flow(n);
	lws_callback_on_writable(n->wsi);
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
			lws_callback_on_writable(n->wsi);
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
			lws_callback_on_writable(n->wsi);
		else if (!n->call)
			kill_conn(n);
	}
}

void conns_break_off(struct conns *cs)
{
	list_for_each (n, &cs->list, struct conn, node)
		break_off(n);
}
