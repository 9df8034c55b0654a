/*
 * libwebsockets, behind the calls of call.h.
 *
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
 * An answer is given in HTTP_WRITEABLE, one lws_write() each; the first right away, when the
 * request has no body.
 */
#include "bridge/api/front.h"

#include <arpa/inet.h>
#include <libwebsockets.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>

#include "bridge/api/call_wire.h"
#include "bridge/api/front_body.h"
#include "proto/http.h"
#include "proto/ws.h"

#define TICK_US     (2 * LWS_USEC_PER_SEC) /* how often a call with a body is looked at */
#define PATIENCE_MS 60000                  /* for the next byte of a body */
#define DRAIN_MS    3000 /* reading what a refused client still sends, so that it sees why */
#define OUT_SIZE    (LWS_PRE + CALL_HEAD_MAX + CALL_PIECE + 32)

struct front {
	uv_loop_t *loop;
	struct bridge *bridge;
	struct front_config config;
	struct lws_context *cx; /* becomes NULL when the last of it is gone */
	struct lws_vhost *vhost;
	struct lws_protocols protocols[2];
	lws_retry_bo_t keepalive;
	struct list conns;
	size_t n, max;
	uint16_t port;
	uv_timer_t timer; /* of the end */
	bool closing, destroyed;
	void (*fn)(void *owner);
	void *owner;
	uint8_t out[OUT_SIZE]; /* in use only inside a callback */
};

struct conn {
	struct list node;
	struct front *front;
	struct lws *wsi;
	struct call *call; /* NULL between requests */
	struct body body;  /* of the request */
	bool http10;
	bool busy;     /* inside on_call() or the like: what is wanted is seen to after it */
	bool head_out; /* of the answer */
	bool last;     /* the connection ends after this answer */
	bool over;     /* it ends as soon as what lws holds is written */
	bool expects;  /* 100 Continue is due when the body is wanted */
	bool stopped;  /* rx flow control is on */
	bool socket;   /* a WebSocket */
	bool in_message;
	enum call_framing framing;
	uint64_t drain_until; /* ms; 0: not draining */
	uint64_t heard_ms;
};

/* ---- the end of a call ---- */

static void end_call(struct conn *n)
{
	struct call *c = take_ptr(&n->call);

	if (!c)
		return;
	call_end(c);
	if (n->front->config.on_done)
		n->front->config.on_done(c);
	call_free(c);
	body_reset(&n->body);
}

static void kill_conn(struct conn *n)
{
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
	uint8_t *out = n->front->out + LWS_PRE;

	if (!n->expects || !n->call || n->call->paused || call_answered(n->call))
		return;
	n->expects = false;
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
		n->last = true;
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
	if (!n->last)
		return lws_http_transaction_completed(n->wsi) ? -1 : 0;
	if (!lws_partial_buffered(n->wsi))
		return -1;
	n->over = true;
	lws_callback_on_writable(n->wsi);
	return 0;
}

/* Nobody shall take half of it for the whole. */
static int cut(struct conn *n)
{
	struct linger now = {.l_onoff = 1};

	end_call(n);
	setsockopt(lws_get_socket_fd(n->wsi), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return -1;
}

/* The next piece of the body at `out`, framed. Returns its length; *ret_done: that was all. */
static ssize_t next_piece(struct conn *n, uint8_t *out, bool *ret_done)
{
	struct call *c = n->call;
	bool chunked = n->framing == CALL_FRAME_CHUNKED;
	uint8_t *data = out + (chunked ? 8 : 0);
	char size[9];
	ssize_t r;

	if (c->head || n->framing == CALL_FRAME_NONE ||
		(n->framing == CALL_FRAME_LENGTH && c->bytes_out == (uint64_t)c->answer_length)) {
		*ret_done = true;
		return 0;
	}
	r = call_pull(c, data, CALL_PIECE);
	if (r == CALL_DONE) {
		*ret_done = true;
		if (chunked)
			memcpy(out, "0\r\n\r\n", 5);
		return chunked ? 5 : n->framing == CALL_FRAME_LENGTH ? CALL_BROKEN : 0;
	}
	if (r <= 0)
		return r;
	ASSERT(r <= CALL_PIECE);
	c->bytes_out += (uint64_t)r;
	if (n->framing == CALL_FRAME_LENGTH) {
		ASSERT(c->bytes_out <= (uint64_t)c->answer_length);
		*ret_done = c->bytes_out == (uint64_t)c->answer_length;
	}
	if (!chunked)
		return r;
	snprintf(size, sizeof(size), "%06zx\r\n", (size_t)r);
	memcpy(out, size, 8);
	memcpy(data + r, "\r\n", 2);
	return r + 10;
}

static int write_answer(struct conn *n)
{
	uint8_t *out = n->front->out + LWS_PRE;
	struct call *c = n->call;
	bool done = false;
	size_t head = 0;
	ssize_t r;

	set_flow(n);
	if (!n->head_out) {
		n->framing = call_framing(c, n->http10);
		if (n->framing == CALL_FRAME_CLOSE || !n->body.complete || n->front->closing)
			n->last = true;
		head = call_head(c, n->framing, !n->last, (char *)out);
		n->head_out = true;
	}
	r = next_piece(n, out + head, &done);
	if (r == CALL_BROKEN)
		return cut(n);
	if (r < 0)
		r = 0;
	if (head + (size_t)r > 0 && lws_write(n->wsi, out, head + (size_t)r, LWS_WRITE_HTTP) < 0)
		return -1;
	if (done)
		return finish(n);
	if (r > 0)
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

static bool is_token(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* A header lws does not know: what is no name may hide one that it should have known. */
static void check_name(const char *name, int len, void *bad)
{
	for (int i = 0; i < len - 1; i++)
		if (!is_token(name[i]))
			*(bool *)bad = true;
}

/* lws has decoded it. */
static size_t encode(char *out, const char *p, size_t len, const char *keep)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c && strchr(keep, c))) {
			out[n++] = (char)c;
		} else {
			out[n++] = '%';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		}
	}
	return n;
}

/* A header's value, "" when there is none; NULL when it does not fit. */
static const char *header(struct lws *wsi, enum lws_token_indexes token, char *out, size_t size)
{
	int n;

	*out = '\0';
	if (lws_hdr_total_length(wsi, token) <= 0)
		return out;
	n = lws_hdr_copy(wsi, out, (int)size, token);
	while (n > 0 && (out[n - 1] == ' ' || out[n - 1] == '\t'))
		out[--n] = '\0';
	return n < 0 ? NULL : out;
}

static const struct {
	unsigned kept; /* in call_kept */
	int token;     /* -1: lws does not know it */
} kept_headers[] = {
	{0, WSI_TOKEN_HTTP_ACCEPT},
	{1, WSI_TOKEN_HTTP_AUTHORIZATION},
	{2, WSI_TOKEN_HTTP_CONTENT_TYPE},
	{3, WSI_TOKEN_HTTP_IF_NONE_MATCH},
	{4, WSI_TOKEN_HTTP_RANGE},
	{5, -1},
	{6, -1},
	{7, -1},
	{8, -1},
	{9, -1},
	{10, WSI_TOKEN_HOST},
	{11, WSI_TOKEN_ORIGIN},
};

static int keep_headers(struct conn *n, struct call *c)
{
	char value[4096], name[32];
	int len;

	for (size_t i = 0; i < array_size(kept_headers); i++) {
		int token = kept_headers[i].token;

		len = snprintf(name, sizeof(name), "%s:", call_kept[kept_headers[i].kept]);
		if (token >= 0)
			len = lws_hdr_copy(
				n->wsi, value, sizeof(value), (enum lws_token_indexes)token);
		else
			len = lws_hdr_custom_copy(n->wsi, value, sizeof(value), name, len);
		while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
			len--;
		if (len > 0 && call_keep(c, kept_headers[i].kept, value, (size_t)len) < 0)
			return -ENOMEM;
	}
	return 0;
}

static struct call *make_call(struct conn *n)
{
	char *out = (char *)n->front->out, *uri, *query;
	size_t path_len, query_len = 0;
	struct call *c;
	int len, method = lws_http_get_uri_and_method(n->wsi, &uri, &len);
	static const int methods[][2] = {
		{LWSHUMETH_GET, CALL_GET},
		{LWSHUMETH_HEAD, CALL_GET},
		{LWSHUMETH_POST, CALL_POST},
		{LWSHUMETH_PUT, CALL_PUT},
		{LWSHUMETH_DELETE, CALL_DELETE},
		{LWSHUMETH_PATCH, CALL_PATCH},
		{LWSHUMETH_OPTIONS, CALL_OPTIONS},
	};

	path_len = encode(out, uri, (size_t)max_of(len, 0), "/-._~!$&'()*+,;=:@");
	query = out + path_len;
	for (int i = 0;; i++) {
		char *value = (char *)n->front->out + OUT_SIZE / 2 + 1024;
		int v = lws_hdr_copy_fragment(
			n->wsi, value, FRONT_HEAD_MAX, WSI_TOKEN_HTTP_URI_ARGS, i);
		char *equals = v > 0 ? memchr(value, '=', (size_t)v) : NULL;
		size_t name = equals ? (size_t)(equals - value) + 1 : (size_t)max_of(v, 0);

		if (v < 0)
			break;
		if (i > 0)
			query[query_len++] = '&';
		query_len += encode(query + query_len, value, name, "-._~/:@=,");
		query_len += encode(query + query_len, value + name, (size_t)v - name, "-._~/:@=,");
	}
	c = call_new(out, path_len, query, query_len);
	if (!c || keep_headers(n, c) < 0) {
		if (c)
			call_free(c);
		return NULL;
	}
	for (size_t i = 0; i < array_size(methods); i++)
		if (methods[i][0] == method)
			c->method = (enum call_method)methods[i][1];
	c->head = method == LWSHUMETH_HEAD;
	c->encrypted = lws_is_ssl(n->wsi);
	c->bridge = n->front->bridge;
	c->front = n->front;
	c->transport = n;
	lws_get_peer_simple(n->wsi, c->peer, sizeof(c->peer));
	call_set_id(c);
	return c;
}

/* What the head says about the body and the connection. NULL, or why it is refused with *status. */
static const char *read_head(struct conn *n, struct call *c, int *status)
{
	char version[16], length[32], coding[32], connection[256], expect[32];
	bool bad = false,
	     may = c->method == CALL_POST || c->method == CALL_PUT || c->method == CALL_PATCH;

	*status = 400;
	n->last = true;
	if (!header(n->wsi, WSI_TOKEN_HTTP, version, sizeof(version)) ||
		(strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0))
		return "HTTP/1.1 is spoken here";
	n->http10 = !strcmp(version, "HTTP/1.0");
	lws_hdr_custom_name_foreach(n->wsi, check_name, &bad);
	if (bad)
		return "a header's name is none";
	if (!n->http10 && !call_get_header(c, "host"))
		return "there is no Host";
	if (!header(n->wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, length, sizeof(length)) ||
		!header(n->wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING, coding, sizeof(coding)) ||
		!header(n->wsi, WSI_TOKEN_CONNECTION, connection, sizeof(connection)) ||
		!header(n->wsi, WSI_TOKEN_HTTP_EXPECT, expect, sizeof(expect)))
		return "a header is too long";
	if (*length && *coding)
		return "Content-Length and Transfer-Encoding exclude each other";
	if (strspn(length, "0123456789") != strlen(length) || strlen(length) > 18)
		return "Content-Length must be a number";
	if (*coding && (strcasecmp(coding, "chunked") != 0 || n->http10)) {
		*status = 501;
		return "the only Transfer-Encoding known here is chunked";
	}
	if (*coding && !may) {
		*status = 411;
		return "a body of this method needs a Content-Length";
	}
	n->last = *coding || (may && !*length) || http_list_has(connection, "close") ||
		  (n->http10 && !http_list_has(connection, "keep-alive"));
	n->expects = !strcasecmp(expect, "100-continue") && !n->http10;
	c->length = *coding ? -1 : strtoll(length, NULL, 10);
	body_init(&n->body,
		*coding         ? BODY_CHUNKED
		: c->length > 0 ? BODY_LENGTH
				: BODY_NONE,
		(uint64_t)max_of(c->length, 0));
	return NULL;
}

static int on_request(struct conn *n)
{
	const char *why;
	struct call *c;
	int status;

	ASSERT(!n->call);
	n->head_out = n->stopped = n->expects = false;
	n->drain_until = 0;
	body_init(&n->body, BODY_NONE, 0);
	c = n->call = make_call(n);
	if (!c)
		return -1;
	n->heard_ms = now_ms();
	lws_set_timeout(n->wsi, NO_PENDING_TIMEOUT, 0);
	why = read_head(n, c, &status);
	n->busy = true;
	if (why)
		call_error(c, status, "%s", why);
	else
		n->front->config.on_call(c);
	body_deliver(&n->body, c);
	n->busy = false;
	if (call_answered(c) && n->body.kind == BODY_NONE)
		return write_answer(n);
	if (call_answered(c))
		lws_callback_on_writable(n->wsi);
	set_flow(n);
	send_continue(n);
	if (n->last)
		lws_set_timer_usecs(n->wsi, TICK_US);
	return 0;
}

/* ---- WebSocket ---- */

/* NULL, or why this is no upgrade that lws would do. */
static const char *check_upgrade(struct conn *n, struct call *c, int *status)
{
	char connection[120], key[64], version[8];
	const char *why = read_head(n, c, status);

	if (why)
		return why;
	*status = 400;
	if (c->method != CALL_GET || c->head || n->body.kind != BODY_NONE || n->http10)
		return "an upgrade is a GET without a body";
	if (!header(n->wsi, WSI_TOKEN_CONNECTION, connection, sizeof(connection)) ||
		!http_list_has(connection, "upgrade"))
		return "Connection must say Upgrade";
	if (!header(n->wsi, WSI_TOKEN_KEY, key, sizeof(key)) || !ws_key_valid(key))
		return "Sec-WebSocket-Key is not the base64 of 16 bytes";
	if (lws_hdr_total_length(n->wsi, WSI_TOKEN_PROTOCOL) > 0)
		return "no WebSocket subprotocol is spoken here";
	if (!header(n->wsi, WSI_TOKEN_VERSION, version, sizeof(version)) ||
		strcmp(version, "13") != 0) {
		call_header(c, "Sec-WebSocket-Version", "13");
		*status = 426;
		return "Sec-WebSocket-Version must be 13";
	}
	return NULL;
}

/* 0: it happens; 1: it was answered otherwise; -1: cut. */
static int on_upgrade(struct conn *n)
{
	uint8_t *out = n->front->out + LWS_PRE;
	const char *why;
	struct call *c;
	int status, len;

	ASSERT(!n->call);
	body_init(&n->body, BODY_NONE, 0);
	c = n->call = make_call(n);
	if (!c)
		return -1;
	c->websocket = true;
	why = check_upgrade(n, c, &status);
	n->busy = true;
	if (why)
		call_error(c, status, "%s", why);
	else
		n->front->config.on_call(c);
	n->busy = false;
	if (c->call_state == CALL_SOCKET)
		return 0;
	ASSERT(c->whole); /* a WebSocket's handler accepts or answers at once */
	n->last = true;
	len = (int)call_head(c, call_framing(c, n->http10), false, (char *)out);
	len += (int)call_pull(c, out + len, CALL_PIECE);
	c->bytes_out = c->whole_len;
	status = lws_write(n->wsi, out, (size_t)len, LWS_WRITE_HTTP);
	end_call(n);
	return status < 0 ? -1 : 1;
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

static int close_socket(struct conn *n, uint16_t code, const char *reason)
{
	lws_close_reason(
		n->wsi, (enum lws_close_status)code, (unsigned char *)reason, strlen(reason));
	end_call(n);
	return -1;
}

static int write_message(struct conn *n)
{
	uint8_t *out = n->front->out + LWS_PRE;
	struct call *c = n->call;
	ssize_t r;

	if (!c)
		return -1;
	if (n->front->closing)
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
	if (lws_write(n->wsi, out, (size_t)r, LWS_WRITE_BINARY) < 0)
		return -1;
	lws_callback_on_writable(n->wsi);
	return 0;
}

/* ---- what lws says ---- */

static int on_tick(struct conn *n)
{
	struct pollfd p = {.fd = lws_get_socket_fd(n->wsi), .events = POLLRDHUP};
	struct call *c = n->call;
	uint64_t now = now_ms();

	if (n->drain_until > 0 && (now >= n->drain_until || n->body.complete))
		return -1;
	if (n->stopped && poll(&p, 1, 0) > 0)
		return -1;
	if (!c && n->drain_until == 0)
		return 0;
	if (!n->socket)
		lws_set_timeout(n->wsi, NO_PENDING_TIMEOUT, 0);
	if (c && !n->socket && !n->stopped && !n->body.complete && !call_answered(c) &&
		now - n->heard_ms > PATIENCE_MS)
		return -1;
	if (n->stopped || n->drain_until > 0 || !n->socket)
		lws_set_timer_usecs(n->wsi, TICK_US);
	return 0;
}

static void on_grace(uv_timer_t *t);

static void on_gone(struct conn *n)
{
	struct front *f = n->front;

	end_call(n);
	body_reset(&n->body);
	list_remove(&n->node);
	f->n--;
	free(n);
	if (f->closing && f->n == 0 && !f->destroyed)
		uv_timer_start(&f->timer, on_grace, 0, 0);
}

static struct conn *conn_new(struct front *f, struct lws *wsi)
{
	struct conn *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->front = f;
	n->wsi = wsi;
	list_append(&f->conns, &n->node);
	f->n++;
	lws_set_opaque_user_data(wsi, n);
	return n;
}

static int on_event(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct front *f = lws_context_user(lws_get_context(wsi));
	struct conn *n = NULL;

	(void)user;
	if (reason == LWS_CALLBACK_FILTER_NETWORK_CONNECTION)
		return f->closing || f->n >= f->max ? 1 : 0;
	if (reason == LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED)
		return conn_new(f, wsi) ? 0 : -1;
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
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_CLOSED_HTTP: end_call(n); return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		lws_set_opaque_user_data(wsi, NULL);
		on_gone(n);
		return 0;
	default: return 0;
	}
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

/* ---- open and close ---- */

static int refuse(struct front *f, int err, char *why, size_t why_size, const char *what)
{
	snprintf(why, why_size, "%s%s%s", what, err ? ": " : "", err ? strerror(-err) : "");
	uv_close((uv_handle_t *)&f->timer, NULL);
	for (int i = 0; i < 1000 && (f->cx || i < 2); i++) {
		lws_context_destroy(f->cx);
		uv_run(f->loop, UV_RUN_NOWAIT);
	}
	free(f);
	return err ? err : -EIO;
}

/* lws has no words for it. */
static int try_port(const struct front_config *config, char *what, size_t size)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(config->port)};
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	snprintf(what, size, "cannot listen on %s:%u", config->host, config->port);
	if (inet_pton(AF_INET, config->host, &a.sin_addr) != 1)
		return -EADDRNOTAVAIL;
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		return -errno;
	return 0;
}

static size_t most_connections(const struct front_config *config)
{
	struct rlimit r;
	size_t n;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		r.rlim_cur = 1024;
	n = min_of((size_t)r.rlim_cur, (size_t)1 << 20);
	n -= min_of(n / 4, (size_t)1024); /* for guests, files, the store */
	return config->max_connections > 0 ? min_of(config->max_connections, n) : n;
}

static void fill_info(struct front *f, struct lws_context_creation_info *info)
{
	f->protocols[0] = (struct lws_protocols){
		.name = "bridge", .callback = on_event, .rx_buffer_size = CALL_PIECE};
	f->keepalive.secs_since_valid_ping = FRONT_KEEPALIVE_S;
	/* A client that does not read for minutes is normal; TCP finds out about dead ones. */
	f->keepalive.secs_since_valid_hangup = UINT16_MAX;
	*info = (struct lws_context_creation_info){
		.port = CONTEXT_PORT_NO_LISTEN,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
			   LWS_SERVER_OPTION_UV_NO_SIGSEGV_SIGFPE_SPIN |
			   LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND,
		.foreign_loops = (void **)&f->loop,
		.pcontext = &f->cx,
		.user = f,
		.protocols = f->protocols,
		.pt_serv_buf_size = CALL_PIECE + LWS_PRE,
		.max_http_header_data = FRONT_HEAD_MAX,
		.max_http_header_pool2 = (unsigned)f->max,
		.fd_limit_per_thread = (unsigned)f->max + 64,
		.timeout_secs = 20,
		.timeout_secs_ah_idle = FRONT_HEAD_MS / 1000,
		.keepalive_timeout = FRONT_IDLE_MS / 1000,
		.ka_time = 60,
		.ka_probes = 3,
		.ka_interval = 20,
		.retry_and_idle_policy = &f->keepalive,
		.vhost_name = "bridge",
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};
	if (f->config.cert) {
		info->options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info->alpn = "http/1.1";
	}
}

int front_open(struct front **ret, uv_loop_t *loop, struct bridge *bridge,
	const struct front_config *config, char *why, size_t why_size)
{
	struct front *f = xcalloc(1, sizeof(*f));
	struct lws_context_creation_info info;
	char what[128];
	int r;

	f->loop = loop;
	f->bridge = bridge;
	f->config = *config;
	f->max = most_connections(config);
	list_init(&f->conns);
	uv_timer_init(loop, &f->timer);
	r = try_port(config, what, sizeof(what));
	if (r < 0)
		return refuse(f, r, why, why_size, what);
	lws_set_log_level(0, NULL);
	fill_info(f, &info);
	f->cx = lws_create_context(&info);
	if (!f->cx)
		return refuse(f, 0, why, why_size,
			"libwebsockets does not start; it must be one with libuv built in");
	info.port = config->port;
	info.iface = strcmp(config->host, "0.0.0.0") != 0 ? config->host : NULL;
	info.ssl_cert_filepath = config->cert;
	info.ssl_private_key_filepath = config->cert_key;
	f->vhost = lws_create_vhost(f->cx, &info);
	if (!f->vhost)
		return refuse(f, 0, why, why_size,
			config->cert ? "the certificate or its key cannot be used" : what);
	f->port = (uint16_t)lws_get_vhost_listen_port(f->vhost);
	*ret = f;
	return 0;
}

uint16_t front_port(const struct front *f)
{
	return f->port;
}

size_t front_connections(const struct front *f)
{
	return f->n;
}

static void on_timer_closed(uv_handle_t *h)
{
	struct front *f = h->data;
	void (*fn)(void *owner) = f->fn;
	void *owner = f->owner;

	free(f);
	fn(owner);
}

/* lws closes its handles in its own time, and wants to be asked again when they are. */
static void on_grace(uv_timer_t *t)
{
	struct front *f = t->data;

	f->destroyed = true;
	lws_context_destroy(f->cx);
	if (f->cx)
		uv_timer_start(t, on_grace, 1, 0);
	else
		uv_close((uv_handle_t *)t, on_timer_closed);
}

void front_close(struct front *f, uint64_t grace_ms, void (*fn)(void *owner), void *owner)
{
	ASSERT(!f->closing);
	f->closing = true;
	f->fn = fn;
	f->owner = owner;
	f->timer.data = f;
	list_for_each (n, &f->conns, struct conn, node) {
		if (n->socket)
			lws_callback_on_writable(n->wsi);
		else if (!n->call)
			kill_conn(n);
	}
	uv_timer_start(&f->timer, on_grace, f->n > 0 ? grace_ms : 0, 0);
}
