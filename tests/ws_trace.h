/*
 * ws_trace.h - for the WebSocket tests: what a decoder said about a stream, written down so that it
 * does not depend on how the stream was cut. Two decoders, or two ways of cutting, agree when their
 * traces are equal. Recording asserts what must hold for every event.
 */
#pragma once

#include "base/base.h"
#include "proto/buf.h"
#include "proto/ws.h"

struct ws_trace {
	struct buf events;  /* type, length, bytes: of each whole message, ping and pong */
	struct buf close;   /* the same, for the close frame, and its code */
	struct buf message; /* the bytes of the open message so far */
	bool open;
	int result; /* of the decoder: 0, or minus the close code */
};

#define WS_TRACE_NULL                                                                              \
	((struct ws_trace){                                                                        \
		.events = BUF_NULL(GIB), .close = BUF_NULL(GIB), .message = BUF_NULL(GIB)})

static inline void ws_trace_fini(struct ws_trace *t)
{
	buf_fini(&t->events);
	buf_fini(&t->close);
	buf_fini(&t->message);
}

static inline void ws_trace_add(
	struct ws_trace *t, enum ws_event_type type, uint16_t code, const void *data, size_t len)
{
	struct buf *to = type == WS_EV_CLOSE ? &t->close : &t->events;
	uint8_t head[7];

	head[0] = (uint8_t)type;
	put_u16(head + 1, code);
	put_u32(head + 3, (uint32_t)len);
	ASSERT(buf_append(to, head, sizeof(head)) == 0);
	ASSERT(buf_append(to, data, len) == 0);
}

static inline void ws_trace_event(struct ws_trace *t, const struct ws_event *ev)
{
	if (ev->type != WS_EV_DATA) {
		ASSERT(ev->len <= WS_CONTROL_MAX);
		ws_trace_add(t, ev->type, ev->code, ev->data, ev->len);
		return;
	}
	ASSERT(ev->first != t->open);
	ASSERT(ev->len > 0 || ev->last);
	ASSERT(buf_append(&t->message, ev->data, ev->len) == 0);
	t->open = !ev->last;
	if (!ev->last)
		return;
	ws_trace_add(t, WS_EV_DATA, 0, t->message.len > 0 ? buf_head(&t->message) : NULL,
		t->message.len);
	buf_consume(&t->message, t->message.len);
}

/* Feeds one piece, from memory of exactly its size so that the sanitizer sees a step beyond it. */
static inline void ws_trace_feed(
	struct ws_trace *t, struct ws_decoder *d, const uint8_t *piece, size_t piece_len)
{
	uint8_t *copy = malloc(piece_len ? piece_len : 1), *data = copy;
	size_t len = piece_len;
	struct ws_event ev;
	bool closed = false;
	int r = 0;

	ASSERT(copy);
	if (piece_len > 0)
		memcpy(copy, piece, piece_len);
	while (t->result == 0 && (r = ws_next(d, &data, &len, &ev)) > 0) {
		ASSERT(!closed);
		ASSERT(data + len == copy + piece_len);
		if (ev.type == WS_EV_DATA)
			ASSERT(ev.data >= copy && ev.data + ev.len == data);
		ws_trace_event(t, &ev);
		ASSERT(t->message.len <= d->message_max);
		if (ev.type == WS_EV_DATA)
			ASSERT(!ev.last || d->left == 0);
		if (ev.type == WS_EV_DATA && d->in_message)
			ASSERT(d->message_len == t->message.len + d->left);
		closed = ev.type == WS_EV_CLOSE;
	}
	if (t->result == 0)
		ASSERT(r < 0 || len == 0);
	if (r < 0)
		t->result = r;
	free(copy);
}

/* Feeds all of it, in pieces of `step` bytes; 0: pieces of varying size, as `seed` has it. */
static inline void ws_trace_run(struct ws_trace *t, struct ws_decoder *d, const uint8_t *data,
	size_t len, size_t step, uint32_t seed)
{
	size_t n;

	for (size_t i = 0; i < len; i += n) {
		seed = seed * 1664525 + 1013904223;
		n = step ? step : (seed >> 16) % (seed >> 31 ? 8 : 2048);
		n = min_of(n, len - i);
		ws_trace_feed(t, d, data + i, n);
	}
}

static inline bool buf_equal(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(buf_head(a), buf_head(b), a->len) == 0);
}

static inline bool ws_trace_equal(const struct ws_trace *a, const struct ws_trace *b)
{
	return a->result == b->result && a->open == b->open && buf_equal(&a->events, &b->events) &&
	       buf_equal(&a->close, &b->close) && buf_equal(&a->message, &b->message);
}
