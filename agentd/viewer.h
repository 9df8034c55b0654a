/*
 * viewer.h - one viewer of a session: where it stands in the output, what it may write, and its
 * *place*, which keeps both across a broken link (docs/protocol.md section 6, Resume).
 *
 * What a viewer has been sent is not what it has: bytes in a broken link's buffers are gone. A
 * named lossless viewer therefore pins the store not where it was sent to but where its credit says
 * it has consumed to.
 */
#pragma once

#include "agentd/session.h"
#include "proto/mux.h"

struct viewer;

struct viewer_events {
	void (*on_ready)(struct viewer *v); /* viewer_next() may have something */
	void (*on_kicked)(
		struct viewer *v, enum error_code why); /* unlinked already: close the channel */
	void (*on_stdin_closed)(struct viewer *v, uint64_t accepted);
	void (*on_input_space)(struct viewer *v); /* viewer_input_limit() may have grown */
};

struct viewer {
	const struct viewer_events *events;
	struct session *session; /* NULL when detached */
	struct list link;
	struct store_cursor cursor;
	struct msg_attach attach;   /* its strings are not kept */
	struct viewer_place *place; /* in the session's record, or NULL */
	uint64_t in_off;            /* unnamed viewers' place->in_off */
	uint64_t live_pos;          /* head at the attach: from there on it is live */
	bool live_sent, end_sent, writer;
	bool took;   /* anything, since the session paused */
	bool yields; /* was waited for in vain: pins nothing until it takes something again */
	bool owner_news, size_news; /* of the terminal: to be told how it is by then */
	/* Pinning: payload sent, position minus payload, payload sent when that difference last
	 * changed. */
	uint64_t sent, skew, skew_mark, pin;
	uint64_t taken;       /* as its credit says */
	uint8_t scratch[600]; /* the event or gap handed out last */
};

/* 0; -ERANGE (an offset beyond the head), -EUSERS (too many), with the error filled. */
int viewer_attach(struct viewer *v, struct session *s, const struct msg_attach *a,
	const struct viewer_events *events, struct error *e);
/* hold: the link broke, so a named viewer's place is kept as it asked. Idempotent. */
void viewer_detach(struct viewer *v, bool hold);

/* The next in-stream frame; see channel_ops.pull. */
bool viewer_next(struct viewer *v, size_t max, struct mux_item *ret);
/* The peer has consumed `total` payload bytes. */
void viewer_consumed(struct viewer *v, uint64_t total);
/* Oldest position it needs; UINT64_MAX: it does not hold anything back. */
uint64_t viewer_pin(const struct viewer *v);
/* Does it wait for output that it must not miss? */
bool viewer_waits(const struct viewer *v);

/* Input at offset `off` of this viewer's own stream. -ERANGE: a hole before it; -EPERM: not a
 * writer. */
int viewer_input(struct viewer *v, uint64_t off, const uint8_t *data, size_t len, bool fin);
uint64_t viewer_input_offset(const struct viewer *v);
/* How many bytes beyond viewer_input_offset() it may send. */
uint64_t viewer_input_space(const struct viewer *v);

/* Places, for the session: the oldest held position; drops holds that are over. */
uint64_t place_pin(const struct record *rec);
uint64_t place_expire(
	struct record *rec, uint64_t now); /* returns the next time one ends, 0 = none */
unsigned place_held(const struct record *rec);
bool place_is_held(struct record *rec, const char *name);
