/*
 * relay.h - a connected local socket and a connection in the guest, each the other's continuation:
 * bytes, half-close, reset, and how fast the reader is.
 */
#pragma once

#include "bridge/remote_stream.h"

struct relay;

/* The stream is over: error NULL when it ended in order, or when the local side went. Once, unless
 * relay_close() came first; the relay frees itself afterwards. */
typedef void (*relay_over_fn)(void *owner, struct relay *r, const struct error *error);

struct relay {
	struct list node; /* the owner's */
	uv_poll_t poll;
	int fd, events; /* owned; what is watched */
	struct remote_stream stream;
	struct buf back; /* what the local side has not taken yet */
	bool local_end;  /* nothing more comes from it */
	bool peer_end;   /* nor from the guest */
	bool over;       /* the stream is closed */
	bool failed;     /* and not in order */
	bool told, closing;
	relay_over_fn fn;
	void *owner;
};

/* Takes fd over, which is non-blocking, in any case. NULL: why is in *ret_error. */
struct relay *relay_new(
	struct guest *g, int fd, const char *to, relay_over_fn fn, void *owner, int *ret_error);
/* Resets both sides. fn is not called any more; memory goes with the loop's next turn. */
void relay_close(struct relay *r);
