/*
 * The states of one end of a link and the order of what leaves it.
 *
 * Input runs HTTP -> OPEN -> CLOSING -> CLOSED and never back. Output is one pump: wire_output()
 * first moves what is due into `out` (pong, credit, control frames, small in-stream frames), stops
 * at the first large frame, and offers both; wire_wrote() settles what the kernel took and copies
 * what it left of the large frame into `out`, because the memory it lies in may change before the
 * next turn.
 */
#include "proto/wire.h"

#include <stdio.h>

#define OUT_MAX  (1024 * 1024)
#define OUT_KEEP 16384

static void wire_set_state(struct wire *w, enum wire_state state)
{
	ASSERT(state >= w->state);
	w->state = state;
}

/* Without a word: for when words can no longer be queued. */
static void fail(struct wire *w, int code)
{
	if (w->close_code == 0)
		w->close_code = code;
	wire_set_state(w, WIRE_CLOSED);
}

static void put(struct wire *w, const void *data, size_t len)
{
	if (w->state != WIRE_CLOSED && buf_append(&w->out, data, len) < 0)
		fail(w, WS_CLOSE_INTERNAL);
}

static int wire_init(struct wire *w, enum ws_role role, const struct wire_events *events,
	void *owner, size_t max_channels)
{
	*w = (struct wire){
		.role = role, .events = events, .owner = owner, .out = BUF_NULL(OUT_MAX)};
	w->http = http_new(role == WS_SERVER ? HTTP_SERVER : HTTP_CLIENT);
	if (!w->http)
		return -ENOMEM;
	ws_decoder_init(&w->ws, role, FRAME_MAX);
	mux_init(&w->mux, role, &events->mux, owner, max_channels);
	return 0;
}

int wire_init_server(
	struct wire *w, const struct wire_events *events, void *owner, size_t max_channels)
{
	return wire_init(w, WS_SERVER, events, owner, max_channels);
}

int wire_init_client(
	struct wire *w, const struct wire_events *events, void *owner, const char *bearer)
{
	char request[HTTP_VALUE_MAX + 512];
	int r = wire_init(w, WS_CLIENT, events, owner, UINT16_MAX);

	if (r < 0)
		return r;
	ws_key_make(w->key);
	r = http_format_upgrade(request, sizeof(request), PROTO_PATH, w->key, PROTO_NAME, bearer);
	if (r < 0) {
		wire_fini(w);
		return r;
	}
	put(w, request, (size_t)r);
	return 0;
}

void wire_fini(struct wire *w)
{
	mux_fini(&w->mux);
	http_free(take_ptr(&w->http));
	buf_fini(&w->out);
}

/* ---- input ---- */

/* All of the answer is queued. */
static void answered(struct wire *w, int status)
{
	if (w->state < WIRE_CLOSING) {
		w->close_code = status;
		wire_set_state(w, WIRE_CLOSING);
	}
}

static void refuse(struct wire *w, int status)
{
	char text[512];
	int n = http_format_refusal(text, sizeof(text), status, http_status_text(status));

	ASSERT(n > 0);
	put(w, text, (size_t)n);
	answered(w, status);
}

/* True: this was a plain request, and is answered. */
static bool plain(struct wire *w, const struct http_head *head)
{
	struct http_answer a = {0};
	char text[512];
	int n;

	if (!w->events->answer_plain || head->upgrade_websocket || head->has_body)
		return false;
	n = (int)strcspn(head->target, "?");
	if ((size_t)snprintf(text, sizeof(text), "%.*s", n, head->target) >= sizeof(text) ||
		!w->events->answer_plain(w->owner, text, &a))
		return false;
	if (!head->is_get && !head->is_head) {
		refuse(w, 405);
		return true;
	}
	n = http_format_answer(text, sizeof(text), &a);
	ASSERT(n > 0);
	put(w, text, (size_t)n);
	if (head->is_get)
		put(w, a.body, a.len);
	answered(w, a.status);
	return true;
}

static void upgraded(struct wire *w)
{
	http_free(take_ptr(&w->http));
	wire_set_state(w, WIRE_OPEN);
	w->events->on_upgraded(w->owner);
}

static void server_head_done(struct wire *w)
{
	const struct http_head *head = http_head(w->http);
	char answer[256];
	int status = 0;

	/* Who may not in learns nothing else: the token is judged before the path. */
	if (w->events->authorize)
		status = w->events->authorize(w->owner, head);
	if (status == 0 && plain(w, head))
		return;
	if (status == 0)
		status = http_check_upgrade(head, PROTO_PATH, PROTO_NAME);
	if (status) {
		refuse(w, status);
		return;
	}
	status = http_format_switching(answer, sizeof(answer), head->ws_key, PROTO_NAME);
	ASSERT(status > 0);
	put(w, answer, (size_t)status);
	if (w->state == WIRE_HTTP)
		upgraded(w);
}

static void client_head_done(struct wire *w)
{
	w->error = http_check_switching(http_head(w->http), w->key, PROTO_NAME);
	if (w->error < 0)
		fail(w, (int)http_head(w->http)->status);
	else
		upgraded(w);
}

static size_t input_http(struct wire *w, const uint8_t *data, size_t len)
{
	bool done = false;
	int n = http_feed(w->http, data, len, &done);

	if (n < 0 && w->role == WS_SERVER) {
		refuse(w, -n);
	} else if (n < 0) {
		w->error = -EPROTO;
		fail(w, -n);
	} else if (done && w->role == WS_SERVER) {
		server_head_done(w);
	} else if (done) {
		client_head_done(w);
	}
	return n < 0 ? len : (size_t)n;
}

static void input_event(struct wire *w, const struct ws_event *ev)
{
	int code;

	switch (ev->type) {
	case WS_EV_DATA:
		code = mux_input(&w->mux, ev->data, ev->len, ev->first, ev->last);
		if (code)
			wire_close(w, code, "");
		break;
	case WS_EV_PING:
		memcpy(w->pong, ev->data, ev->len);
		w->pong_len = ev->len;
		w->pong_due = true;
		break;
	case WS_EV_PONG: break;
	case WS_EV_CLOSE:
		wire_close(w, ev->code == WS_CLOSE_NO_STATUS ? WS_CLOSE_NORMAL : ev->code, "");
		break;
	}
}

size_t wire_input(struct wire *w, uint8_t *data, size_t len)
{
	uint8_t *at = data;
	struct ws_event ev;

	w->mux.patient = false;
	while (w->state == WIRE_HTTP && len > 0) {
		size_t n = input_http(w, at, len);

		at += n;
		len -= n;
	}
	while (w->state == WIRE_OPEN && wire_wants_input(w)) {
		int r = ws_next(&w->ws, &at, &len, &ev);

		if (r < 0)
			wire_close(w, -r, "");
		if (r <= 0)
			break;
		input_event(w, &ev);
	}
	return w->state == WIRE_OPEN ? (size_t)(at - data) : (size_t)(at - data) + len;
}

bool wire_wants_input(const struct wire *w)
{
	return buf_len(&w->mux.control) <= MUX_CONTROL_HIGH;
}

bool wire_urgent(const struct wire *w)
{
	return w->state != WIRE_OPEN || w->pong_due || w->mux.urgent || buf_len(&w->out) > 0;
}

/* ---- output ---- */

static void put_control_frame(struct wire *w, enum ws_opcode op, const uint8_t *data, size_t len)
{
	static const uint8_t zero_key[4];
	uint8_t header[WS_HEADER_MAX];
	size_t n = ws_encode_header(header, w->role, op, true, len, zero_key);

	put(w, header, n);
	put(w, data, len);
}

static void put_queued_control(struct wire *w)
{
	struct buf *control = &w->mux.control;

	if (w->pong_due)
		put_control_frame(w, WS_PONG, w->pong, w->pong_len);
	w->pong_due = false;
	mux_flush_due(&w->mux);
	if (buf_len(control) == 0)
		return;
	put(w, buf_head(control), buf_len(control));
	buf_consume(control, buf_len(control));
	buf_trim(control, OUT_KEEP);
}

static void put_stream_frames(struct wire *w)
{
	struct mux_out f;

	while (buf_len(&w->out) < WIRE_GATHER && mux_pull(&w->mux, &f)) {
		put(w, f.prefix, f.prefix_len);
		if (f.payload_len > WIRE_SMALL) {
			w->large = f.payload;
			w->large_len = f.payload_len;
			return;
		}
		put(w, f.payload, f.payload_len);
	}
}

int wire_output(struct wire *w, struct iovec iov[WIRE_IOV_MAX])
{
	int n = 0;

	ASSERT(!w->large);
	if (w->state == WIRE_OPEN && buf_len(&w->out) < WIRE_GATHER) {
		w->mux.urgent = false;
		put_queued_control(w);
		put_stream_frames(w);
		if (w->mux.broken)
			wire_close(w, w->mux.broken, "");
	}
	if (w->state == WIRE_CLOSED) {
		w->large = NULL;
		return 0;
	}
	if (buf_len(&w->out) > 0)
		iov[n++] = (struct iovec){buf_head(&w->out), buf_len(&w->out)};
	if (w->large)
		iov[n++] = (struct iovec){(void *)w->large, w->large_len};
	if (n == 0) {
		buf_trim(&w->out, OUT_KEEP);
		if (w->state == WIRE_CLOSING)
			wire_set_state(w, WIRE_CLOSED);
	}
	return n;
}

void wire_wrote(struct wire *w, size_t n)
{
	size_t from_out = min_of(n, buf_len(&w->out));
	const uint8_t *large = w->large;

	buf_consume(&w->out, from_out);
	n -= from_out;
	w->large = NULL;
	if (large) {
		ASSERT(n <= w->large_len);
		put(w, large + n, w->large_len - n);
	}
}

void wire_close(struct wire *w, int code, const char *reason)
{
	uint8_t payload[WS_CONTROL_MAX];
	size_t len = 2;

	if (w->state >= WIRE_CLOSING)
		return;
	if (w->close_code == 0)
		w->close_code = code;
	if (w->state == WIRE_HTTP) {
		wire_set_state(w, WIRE_CLOSED);
		return;
	}
	/* A large frame is only ever half queued inside wire_output(), which closes after it is
	 * settled. */
	if (w->large) {
		put(w, w->large, w->large_len);
		w->large = NULL;
	}
	put_queued_control(w);
	put_u16(payload, (uint16_t)code);
	for (; *reason && len < sizeof(payload); reason++)
		payload[len++] = (uint8_t)*reason;
	put_control_frame(w, WS_CLOSE, payload, len);
	if (w->state == WIRE_OPEN)
		wire_set_state(w, WIRE_CLOSING);
}

void wire_ping(struct wire *w)
{
	if (w->state == WIRE_OPEN)
		put_control_frame(w, WS_PING, NULL, 0);
}
