/*
 * ws_oracle.h - the second opinion on RFC 6455: decodes a stream with libwslay into the same kind
 * of trace as ours (ws_trace.h), and says whether the two agree.
 *
 * wslay judges a frame only when its header and one byte of payload are there, ours with the first
 * byte that is wrong; so when ours refused, wslay is fed some zeros more. What else is known to
 * differ:
 * - text: ours refuses it with the first byte, wslay takes it;
 * - close codes 1012 to 1014: registered after wslay was written, which refuses them;
 * - a close payload of one byte: wslay takes it for an empty one;
 * - a close reason that wslay gets in pieces: it leaves out two bytes of each piece when it looks
 *   for UTF-8; and it looks at each piece as it comes, ours at the whole.
 */
#pragma once

#include <wslay/wslay.h>

#include "tests/ws_trace.h"

struct ws_oracle {
	wslay_event_context_ptr ctx;
	struct ws_trace *trace;
	const uint8_t *data;
	size_t len, step; /* step: the most bytes handed over at once; 0: all */
	bool paused;
};

static inline ssize_t ws_oracle_recv(
	wslay_event_context_ptr ctx, uint8_t *out, size_t size, int flags, void *user)
{
	struct ws_oracle *o = user;
	size_t n = min_of(o->len, size);

	(void)flags;
	o->paused = !o->paused; /* end of input now and then, to make it stop in the middle */
	if (n == 0 || (o->step && o->paused)) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	if (o->step)
		n = min_of(n, o->step);
	memcpy(out, o->data, n);
	o->data += n;
	o->len -= n;
	return (ssize_t)n;
}

static inline ssize_t ws_oracle_send(
	wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags, void *user)
{
	(void)ctx;
	(void)data;
	(void)flags;
	(void)user;
	return (ssize_t)len;
}

static inline int ws_oracle_genmask(
	wslay_event_context_ptr ctx, uint8_t *out, size_t len, void *user)
{
	(void)ctx;
	(void)user;
	memset(out, 0, len);
	return 0;
}

static inline void ws_oracle_message(
	wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
	struct ws_oracle *o = user;

	(void)ctx;
	switch (arg->opcode) {
	case WSLAY_CONNECTION_CLOSE:
		if (arg->msg_length < 2)
			ws_trace_add(o->trace, WS_EV_CLOSE, WS_CLOSE_NO_STATUS, NULL, 0);
		else
			ws_trace_add(o->trace, WS_EV_CLOSE, arg->status_code, arg->msg + 2,
				arg->msg_length - 2);
		return;
	case WSLAY_PING: ws_trace_add(o->trace, WS_EV_PING, 0, arg->msg, arg->msg_length); return;
	case WSLAY_PONG: ws_trace_add(o->trace, WS_EV_PONG, 0, arg->msg, arg->msg_length); return;
	default: ws_trace_add(o->trace, WS_EV_DATA, 0, arg->msg, arg->msg_length);
	}
}

#define WS_ORACLE_BUFFER 4096 /* what wslay reads at once; more comes in pieces */

/* Decodes data, in steps as above. t->result is 0, or -1 when wslay refused the stream. */
static inline void ws_oracle_run(struct ws_trace *t, enum ws_role role, uint64_t message_max,
	const uint8_t *data, size_t len, size_t step)
{
	const struct wslay_event_callbacks callbacks = {
		.recv_callback = ws_oracle_recv,
		.send_callback = ws_oracle_send,
		.genmask_callback = ws_oracle_genmask,
		.on_msg_recv_callback = ws_oracle_message,
	};
	struct ws_oracle o = {.trace = t, .data = data, .len = len, .step = step};
	int r = role == WS_SERVER ? wslay_event_context_server_init(&o.ctx, &callbacks, &o)
				  : wslay_event_context_client_init(&o.ctx, &callbacks, &o);

	ASSERT(r == 0);
	wslay_event_config_set_max_recv_msg_length(o.ctx, message_max);
	do {
		r = wslay_event_recv(o.ctx);
	} while (r == 0 && o.len > 0 && wslay_event_get_read_enabled(o.ctx));
	if (!wslay_event_get_read_enabled(o.ctx) && !wslay_event_get_close_received(o.ctx))
		t->result = -1;
	wslay_event_context_free(o.ctx);
}

static inline bool ws_oracle_knows_close(const struct ws_decoder *d, bool whole)
{
	if (d->opcode != WS_CLOSE || d->control_len == 0)
		return true;
	if (!whole || d->left > 0 || d->control_len == 1)
		return false;
	return get_u16(d->control) < 1012 || get_u16(d->control) > 1014;
}

/* Does wslay say of data what our decoder d, having been fed all of it, wrote into `ours`? */
static inline bool ws_oracle_agrees(const struct ws_decoder *d, const struct ws_trace *ours,
	const uint8_t *data, size_t len, size_t step)
{
	struct ws_trace theirs = WS_TRACE_NULL;
	size_t padded_len = len + (ours->result < 0 ? 16 : 0);
	uint8_t *padded = calloc(1, padded_len + 1);
	bool agree;

	ASSERT(padded);
	memcpy(padded, data, len);
	ws_oracle_run(&theirs, d->role, d->message_max, padded, padded_len, step);
	free(padded);
	if (ours->result == -WS_CLOSE_UNSUPPORTED) {
		agree = theirs.events.len >= ours->events.len;
		if (agree)
			theirs.events.len = ours->events.len;
		agree = agree && buf_equal(&ours->events, &theirs.events);
	} else {
		agree = buf_equal(&ours->events, &theirs.events);
		if (ws_oracle_knows_close(d, step == 0 && len <= WS_ORACLE_BUFFER))
			agree = agree && buf_equal(&ours->close, &theirs.close) &&
				(ours->result < 0) == (theirs.result < 0);
	}
	ws_trace_fini(&theirs);
	return agree;
}
