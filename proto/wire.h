/*
 * wire.h - one end of a link, from first byte to last, without I/O: HTTP upgrade, WebSocket, hello,
 *mux. agentd's connections and the bridge's guest links are this plus a socket.
 *
 *	readable:  n = read(fd, buf);  wire_input(w, buf, n);
 *	writable:  n = wire_output(w, iov, WIRE_IOV_MAX);  k = writev(fd, iov, n);  wire_wrote(w,
 *k);
 *
 * Order of what leaves: the rest of what was begun, then control frames, then one in-stream frame
 *after the other. Small frames are gathered in `out`; a large one is written from where its payload
 *lies, and only what a short write leaves of it is copied. So `out` holds at most WIRE_GATHER plus
 *one frame plus control.
 */
#pragma once

#include <sys/uio.h>

#include "proto/http.h"
#include "proto/mux.h"

#define WIRE_IOV_MAX 2
#define WIRE_GATHER  (32 * 1024)
#define WIRE_SMALL                                                                                 \
	4096 /* payloads up to this are copied into `out` rather than written from their place */

enum wire_state {
	WIRE_HTTP, /* the upgrade is under way */
	WIRE_OPEN,
	WIRE_CLOSING, /* nothing more is taken in; what is queued still goes out */
	WIRE_CLOSED,  /* all is out: the socket may go */
};

struct wire_events {
	/* Server: may this request upgrade? 0, or the HTTP status to refuse with. NULL: everybody.
	 */
	int (*authorize)(void *owner, const struct http_head *head);
	/* Server: a request that asks for no upgrade, whatever its method, when it may. False:
	 * there is nothing under this path (without its query). The body must be good until the
	 * next call. May be NULL. */
	bool (*answer_plain)(void *owner, const char *path, struct http_answer *ret);
	/* The upgrade is done; a good place for mux_hello(). */
	void (*on_upgraded)(void *owner);
	struct mux_events mux;
};

struct wire {
	enum wire_state state; /* changes only in wire_set_state() */
	enum ws_role role;
	const struct wire_events *events;
	void *owner;
	struct http *http;
	struct ws_decoder ws;
	struct mux mux;
	struct buf out;    /* bytes that must leave next, in order */
	const void *large; /* payload that goes behind `out` in this wire_output() */
	size_t large_len;
	uint8_t pong[WS_CONTROL_MAX]; /* the latest ping's, to be answered */
	size_t pong_len;
	bool pong_due, close_sent;
	int close_code; /* why it ended: a WebSocket close code, or an HTTP status below 1000; 0:
			   not yet */
	int error;      /* client: -errno of a refused upgrade (http_check_switching) */
	char key[WS_KEY_LEN + 1]; /* client */
};

int wire_init_server(
	struct wire *w, const struct wire_events *events, void *owner, size_t max_channels);
/* bearer may be NULL. Queues the upgrade request. */
int wire_init_client(
	struct wire *w, const struct wire_events *events, void *owner, const char *bearer);
void wire_fini(struct wire *w); /* every channel gets on_close; idempotent */

/*
 * Takes bytes (unmasking in place) and returns how many: all, unless the peer leaves our answers
 * unread and wire_wants_input() became false on the way; the caller keeps the rest and offers it
 * again later. A peer's mistake moves the state to CLOSING with an answer queued; after that
 * everything is taken and ignored.
 */
size_t wire_input(struct wire *w, uint8_t *data, size_t len);
bool wire_wants_input(const struct wire *w);
/* Should what is queued leave at once, or may it wait for company? */
bool wire_urgent(const struct wire *w);

/* What to write next; 0 when there is nothing. Must be followed by wire_wrote() before any other
 * call. */
int wire_output(struct wire *w, struct iovec iov[WIRE_IOV_MAX]);
void wire_wrote(struct wire *w, size_t n);

/* Ends the link in order. Idempotent; the first code counts. */
void wire_close(struct wire *w, int code, const char *reason);
/* A WebSocket ping. */
void wire_ping(struct wire *w);
