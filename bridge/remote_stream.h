/*
 * remote_stream.h - one connection that the agent makes in the guest (a channel of service "dial"),
 * as whoever relays it sees it: bytes both ways with credit, half-close, and one end.
 *
 * What comes is handed out slice by slice from the link's read buffer; what is not yet consumed
 * never exceeds the window, and behind that the guest's peer waits. What goes waits in one bounded
 * buffer until the link takes it.
 *
 * A stream lives no longer than its link. on_close is called exactly once, as the last callback,
 * and never from within remote_stream_close(), after which there are none; memory may be reused
 * from there. The exception is one's own callback: it may call remote_stream_close(), but the
 * memory must stay until the callback has returned.
 */
#pragma once

#include "bridge/guest.h"

#define REMOTE_STREAM_WINDOW (256 * 1024)

enum remote_stream_state {
	REMOTE_STREAM_CLOSED, /* never opened, or over */
	REMOTE_STREAM_OPENING,
	REMOTE_STREAM_OPEN,
};

struct remote_stream;

struct remote_stream_events {
	void (*on_opened)(struct remote_stream *s); /* the connection stands; may be NULL */
	void (*on_data)(struct remote_stream *s, const uint8_t *data, size_t len);
	void (*on_end)(struct remote_stream *s); /* the peer will send no more */
	/* There is room again after there was less than half. The link is just writing: here only
	 * remote_stream_write() and _end() may be called. */
	void (*on_room)(struct remote_stream *s);
	/* error is NULL when both directions have ended in order. A broken link is E_FAILED with
	 * ENETRESET. */
	void (*on_close)(struct remote_stream *s, const struct error *error);
};

struct remote_stream {
	enum remote_stream_state state; /* changes only in set_state() */
	struct guest *guest;
	struct channel channel;
	const struct remote_stream_events *events;
	void *owner;    /* for the events' receiver; not used here */
	struct buf out; /* to the peer */
	size_t pulled;  /* of its first bytes: the link has them */
	uint64_t sent;
	uint64_t got, unconsumed;
	bool low;                     /* on_room is due */
	bool end, end_sent, peer_end; /* ours is wanted, was sent; the peer's has come */
};

/* to: as in docs/protocol.md section 16. Writing may begin at once. timeout_ms 0: the agent's
 * default. -ENOTCONN: the link is not up; -EMFILE, -ENOMEM: then nothing is called back. */
int remote_stream_open(struct remote_stream *s, struct guest *g,
	const struct remote_stream_events *events, const char *to, uint64_t timeout_ms);
/* Gives it up. Before both directions have ended this resets the connection. Idempotent, fine on
 * zeroes. */
void remote_stream_close(struct remote_stream *s);

void remote_stream_consumed(struct remote_stream *s, size_t n);

size_t remote_stream_room(const struct remote_stream *s);
/* Takes as much as there is room for and returns how much that was. */
size_t remote_stream_write(struct remote_stream *s, const void *data, size_t len);
void remote_stream_end(struct remote_stream *s);
