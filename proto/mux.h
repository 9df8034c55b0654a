/*
 * mux.h - many channels over one link: ids, open and close, credit, who sends next. Sans-I/O, both
 * roles: the server end is agentd's, the client end the guest link's (docs/protocol.md sections 2
 * and 5).
 *
 * Bytes in: mux_input() takes the slices the WebSocket decoder yields. DATA is passed on slice by
 * slice and never assembled; everything else is collected whole, at most one frame per link.
 *
 * Frames out have two ways. *Control* (mux_send and the like) is encoded at once into `control` and
 * leaves first. *In-stream* frames are pulled: a channel that may have something to say is marked
 * with channel_ready(); when the link can take more, mux_pull() asks the ready channels in turn,
 * one frame each. So a channel's data waits where it lives (the session's store) and not in queues
 * here. WINDOW and ACK are state, not messages: at most one of each is due per channel, however
 * often the numbers moved.
 *
 * Ownership: a struct channel is embedded in its service's state. The mux refers to it from
 * channel_attach() until ops->on_close() returns, which is called exactly once, whatever the cause;
 * the state may be freed in it.
 */
#pragma once

#include "base/list.h"
#include "proto/frame.h"

struct mux;
struct channel;

/* What an in-stream frame is; filled by ops->pull. `data` must stay valid until the next call into
 * the mux. */
struct mux_item {
	uint8_t type; /* FRAME_DATA, FRAME_GAP, FRAME_EVENT or FRAME_CLOSE */
	uint8_t flags, stream;
	uint64_t arg;
	const void *data;
	size_t len;
};

struct channel_ops {
	/* The next in-stream frame: true and *ret filled, or false when there is nothing now
	 * (channel_ready() again when there is). At most max bytes of DATA; with max 0 only other
	 * types. Returning FRAME_CLOSE ends the channel: nothing more is asked of it, and on_close
	 * follows when the peer has answered, which says that it has everything. */
	bool (*pull)(struct channel *c, size_t max, struct mux_item *ret);
	/* A slice of a DATA frame, offset already advanced to it; fin only with the last slice. */
	void (*on_data)(struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data,
		size_t len, bool fin);
	void (*on_request)(struct channel *c, uint64_t id, const uint8_t *json, size_t len);
	/* Client end; NULL at the server. */
	void (*on_opened)(struct channel *c, const uint8_t *json, size_t len);
	void (*on_gap)(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing);
	void (*on_ack)(struct channel *c, uint8_t stream, uint64_t off);
	void (*on_event)(struct channel *c, const uint8_t *json, size_t len);
	void (*on_response)(struct channel *c, uint64_t id, const uint8_t *json, size_t len);
	/* The channel is over; exactly once. error: the peer's (or our own) reason as JSON, len 0
	 * when there is none. mux_linked(c->mux) is false when the whole link went. */
	void (*on_close)(struct channel *c, const uint8_t *error, size_t len);
};

struct channel {
	struct mux *mux; /* NULL before attach; good until on_close returns */
	const struct channel_ops *ops;
	uint32_t id;
	bool opened;               /* OPENED has come (client), or was sent (server) */
	bool early;                /* client end: may send before that */
	bool closing;              /* FRAME_CLOSE was pulled; the peer's answer is awaited */
	struct list ready;         /* in mux->ready, or unlinked */
	struct list due;           /* in mux->due: WINDOW or ACK to send */
	uint64_t sent, send_limit; /* DATA payload bytes, docs section 5 */
	uint64_t received, recv_limit;
	uint64_t recv_announced; /* the limit last sent */
	uint64_t ack, ack_sent;
	uint8_t ack_stream;
};

/* The JSON passed up is valid only during the call. */
struct mux_events {
	void (*on_hello)(void *owner, const uint8_t *json, size_t len);
	/* Server: an OPEN. Answer with mux_accept() or mux_refuse(), now, or take it with
	 * mux_defer() and answer later. */
	void (*on_open)(void *owner, uint32_t id, const uint8_t *json, size_t len);
	/* Server: a request on channel 0. Answer with mux_respond(), now or later. */
	void (*on_request)(void *owner, uint64_t id, const uint8_t *json, size_t len);
	/* Client; NULL at the server. Responses and rejects of channel 0. */
	void (*on_response)(void *owner, uint64_t id, const uint8_t *json, size_t len);
	void (*on_notice)(void *owner, const uint8_t *json, size_t len);
};

struct mux_entry {
	uint32_t id;
	struct channel *channel; /* NULL: we closed it and wait for the peer's CLOSE */
};

struct mux {
	enum ws_role role;
	const struct mux_events *events;
	void *owner;
	struct buf control; /* encoded control frames, not yet sent */
	struct list ready, due;
	struct mux_entry *entries; /* sorted by id; owned */
	size_t n_entries, cap_entries, max_channels;
	/* The frame being received. */
	uint8_t head[FRAME_HEADER];
	size_t head_len;
	struct frame frame;
	uint64_t frame_at;            /* payload bytes seen */
	struct channel *data_channel; /* receiver of the DATA frame under way; NULL: drop it */
	struct buf assembly;
	bool hello_seen;
	bool linked;
	bool urgent;  /* something was queued that should leave at once; the owner clears it when it
			 writes */
	bool patient; /* in this piece of input a command began whose answer may wait a moment:
			 those to requests behind it wait with it */
	int broken;   /* close code to end the link with; 0 while well */
};

#define MUX_CONTROL_HIGH (64 * 1024) /* above it the owner stops reading from the link */

void mux_init(struct mux *m, enum ws_role role, const struct mux_events *events, void *owner,
	size_t max_channels);
/* The link is gone: every channel gets on_close. */
void mux_fini(struct mux *m);
static inline bool mux_linked(const struct mux *m)
{
	return m && m->linked && !m->broken;
}

/* Channels open or closing. */
static inline size_t mux_channels(const struct mux *m)
{
	return m->n_entries;
}

/* A slice of a message, as ws_next() gives it. 0, or the close code the link must end with. */
int mux_input(struct mux *m, const uint8_t *data, size_t len, bool first, bool last);

/* The next in-stream frame: false when no ready channel has one. prefix_len bytes of prefix, then
 * the payload, which is valid until the next call into the mux. */
struct mux_out {
	uint8_t prefix[FRAME_PREFIX_MAX];
	size_t prefix_len;
	const void *payload;
	size_t payload_len;
};
bool mux_pull(struct mux *m, struct mux_out *ret);
/* Encodes WINDOW and ACK frames that are due into `control`; what is above MUX_CONTROL_HIGH waits
 * for the next call. */
void mux_flush_due(struct mux *m);

/* Control frames. Failing to queue one (out of memory) breaks the link: see m->broken. */
void mux_send(struct mux *m, const struct frame *f, const void *payload, size_t len);
void mux_hello(struct mux *m, const void *json, size_t len);
void mux_respond(struct mux *m, uint32_t channel, uint64_t id, const void *json, size_t len);
void mux_request(struct mux *m, uint32_t channel, uint64_t id, const void *json, size_t len);

/* Server, inside on_open. Not urgent: the answer may wait a moment for what follows it. window: how
 * many bytes the client may send at first. The client's own window for us comes from its OPEN:
 * send_limit. */
void mux_accept(struct mux *m, uint32_t id, struct channel *c, const struct channel_ops *ops,
	uint64_t window, uint64_t send_limit, bool urgent, const void *json, size_t len);
void mux_refuse(struct mux *m, uint32_t id, const void *error, size_t len);
/* Server, inside on_open: the answer takes a while. The id is taken from here on and the channel is
 * there, but the client may send nothing yet except FIN, requests, or CLOSE, which ends it as
 * always. channel_accept() answers OPENED, channel_close() REFUSED. -ENOMEM: nothing happened. */
int mux_defer(struct mux *m, uint32_t id, struct channel *c, const struct channel_ops *ops,
	uint64_t send_limit);
void channel_accept(struct channel *c, uint64_t window, const void *json, size_t len);
/* Client: opens a channel; `window` must be what the JSON says. The id is chosen. -EMFILE: too
 * many. -ENOMEM. */
int mux_open(struct mux *m, struct channel *c, const struct channel_ops *ops, uint64_t window,
	const void *json, size_t len);
/* Client, after mux_open(): the agent's HELLO promised such a first window for a channel of this
 * kind (limits.file_window), so DATA may follow OPEN without waiting for OPENED. */
void channel_presume(struct channel *c, uint64_t window);

/* Has in-stream frames to give. Cheap, idempotent. */
void channel_ready(struct channel *c);
/* Ends it from this side, overtaking what waits: CLOSE (REFUSED when the agent has not answered
 * OPEN yet) is queued, on_close is called. */
void channel_close(struct channel *c, const void *error, size_t len);
/* Control event, overtakes data. */
void channel_event(struct channel *c, const void *json, size_t len);
void channel_ack(struct channel *c, uint8_t stream, uint64_t off);
/* The peer may send until `total` payload bytes since OPEN; never lowers. Sent when it moved enough
 * to matter. */
void channel_grant(struct channel *c, uint64_t total);
static inline uint64_t channel_credit(const struct channel *c)
{
	return c->send_limit > c->sent ? c->send_limit - c->sent : 0;
}
