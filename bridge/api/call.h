/*
 * call.h - one HTTP request from its head to the last byte of its answer, or one WebSocket from its
 * upgrade to its end. This is all that routes and operations see of the public side; how bytes get
 * to and from the client is the front's (front_conn.c), which makes and frees every call.
 *
 * A call ends exactly once, with ops->on_end, whatever the cause: the answer is out, the client
 * hung up, the bridge stops. Whoever keeps something for a call frees it there, and touches the
 * call no more. Until then every function here is fine from any callback; after the client has gone
 * they do nothing.
 *
 * Nothing is pushed into a socket: a call that has something to say is marked with call_ready(),
 * and ops->pull is asked for the next piece when the socket takes one. So what waits, waits where
 * it lives, and a client that reads slowly costs its handler's window and nothing here.
 */
#pragma once

#include <stdarg.h>

#include "base/list.h"
#include "proto/jsonr.h"

struct bridge;
struct call;
struct route;
struct sandbox;
struct sandbox_use;

/* The most pull is asked for, and the largest WebSocket message sent. Just under 64 KiB, so that it
 * is one segment on the loopback interface: 64 KiB are two, one of them tiny. */
#define CALL_PIECE       (64 * 1024 - 64)
#define CALL_PARAMS_MAX  4
#define CALL_REQUEST_ID  64
#define CALL_HEADERS_OUT 2048 /* of an answer, what call_header() adds */

enum call_method { CALL_GET, CALL_POST, CALL_PUT, CALL_DELETE, CALL_PATCH, CALL_OPTIONS };

enum call_state {
	CALL_ASKED,     /* no answer yet */
	CALL_ANSWERING, /* its head is given, pull is asked for the rest */
	CALL_SOCKET,    /* a WebSocket */
	CALL_ENDED,     /* all given, or the client is gone: on_end is due or was */
};

/* What pull gives instead of a length. */
#define CALL_NOTHING 0 /* now; call_ready() when there is */
#define CALL_DONE                                                                                  \
	(-1) /* that was all: the body ends, the WebSocket closes as call_close() said             \
	      */
#define CALL_BROKEN                                                                                \
	(-2) /* the answer cannot be finished: the connection is cut, so that nobody               \
		takes half for the whole */

/* Any may be NULL but on_end. */
struct call_ops {
	/* The next piece of the body, or (WebSocket) the next message, at most max bytes; 0 <= n.
	 * An empty message is sent for CALL_EMPTY. */
	ssize_t (*pull)(struct call *c, uint8_t *out, size_t max);
	/* The request's body, for routes with R_STREAM. All of it is taken; call_pause() when it is
	 * too much. After the answer's beginning no more of it comes. */
	void (*on_body)(struct call *c, const uint8_t *data, size_t len);
	void (*on_body_end)(struct call *c);
	/* A slice of a WebSocket message. */
	void (*on_message)(struct call *c, const uint8_t *data, size_t len, bool first, bool last);
	void (*on_end)(struct call *c);
};

#define CALL_EMPTY (-3) /* pull of a WebSocket: send an empty message */

/* Who is asking. */
enum call_who {
	CALL_NOBODY,
	CALL_KEY,    /* an API key: everything */
	CALL_TOKEN,  /* a sandbox token: its sandbox only */
	CALL_SIGNED, /* a signed URL; the handler has checked */
};

struct call_text {
	const char *p;
	size_t len;
};

struct call {
	/* ---- the request: constant from the handler's call on ---- */
	enum call_method method;
	bool head;                           /* HEAD: like GET, without the body */
	bool websocket;                      /* an upgrade is asked for */
	bool encrypted;                      /* TLS */
	const char *path;                    /* as sent, without the query; "/api" is cut off */
	const char *query;                   /* as sent; "" when there is none */
	const struct route *route;           /* NULL: none */
	const char *params[CALL_PARAMS_MAX]; /* what the route's ":x" stand for, decoded */
	int64_t length;                      /* of the body; -1: not said (chunked) */
	char id[CALL_REQUEST_ID + 1];        /* X-Request-Id, or made up */
	char peer[64];                       /* the client's address, for the log */
	/* BODY_JSON routes: the body, a JSON object ("{}" when it was empty). */
	struct jsonr body;
	enum call_who who;
	/* R_SANDBOX routes: the sandbox, and while it is used (R_DATA) the hold on it. */
	struct sandbox *sandbox;
	struct sandbox_use *use;

	/* ---- the handler's ---- */
	const struct call_ops *ops;
	void *state;
	bool says_text; /* WebSocket: messages from pull are text, and UTF-8 */

	/* ---- call.c's and the front's ---- */
	enum call_state call_state; /* changes only in call_set_state() */
	struct bridge *bridge;
	void *transport; /* the front's */
	int status;      /* of the answer; 0: none yet */
	uint64_t began_ns;
	uint64_t bytes_in, bytes_out;
	char headers[CALL_HEADERS_OUT]; /* "Name: value\r\n" each */
	size_t headers_len;
	int64_t answer_length; /* -1: chunked */
	const char *answer_type;
	bool paused, body_done;
	uint16_t close_code;
	char close_reason[124];
	/* A whole answer (call_reply): what is left of it. */
	char *whole;
	size_t whole_len, whole_at;
	/* A body that is collected (BODY_JSON). */
	char *text; /* owned */
	size_t text_len, text_size;
	void *mem; /* path, query, params; owned */
};

/* ---- the request ---- */

const char *call_method_str(const struct call *c);
/* A header's value, by its name in lower case, or NULL. Valid while the call lives. Only those the
 * front keeps: see front_head.c (accept, authorization, content-type, if-none-match, range,
 * if-range, content-range, last-event-id, x-api-key, x-request-id, x-forwarded-proto,
 * x-osb-async-wake, host, origin). */
const char *call_get_header(const struct call *c, const char *name);
/* A query member, decoded, for free(); any bytes but NUL. NULL when it is not there, or has one. */
char *call_query(const struct call *c, const char *name);
bool call_query_u64(const struct call *c, const char *name, uint64_t *ret); /* there and a number */
bool call_is_near(const struct call *c); /* the client is on this machine */
/* No more of the body (or of messages) for now, and on again. */
void call_pause(struct call *c, bool pause);

/* ---- the answer ---- */

/* Adds a header; before the answer's head is given. The value must have no line ends. */
void call_header(struct call *c, const char *name, const char *value);
/* The whole answer at once; copied. type NULL: JSON. */
void call_reply(struct call *c, int status, const char *type, const void *data, size_t len);
/* The same of memory from malloc(), which is taken over. */
void call_reply_take(struct call *c, int status, const char *type, char *data, size_t len);
void call_empty(struct call *c, int status); /* 204 and the like */
/* {"error":"..."} */
void call_error(struct call *c, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* {"error":"...", then `members`, JSON text that begins with a comma. For code, retryable, waking.
 */
void call_error_with(struct call *c, int status, const char *members, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Gives the head; the body comes by ops->pull. length -1: as long as it takes. */
void call_begin(struct call *c, int status, const char *type, int64_t length);
/* pull has something. Cheap, idempotent. */
void call_ready(struct call *c);
/* Cuts the connection. */
void call_abort(struct call *c);

/* ---- WebSocket ---- */

/* In the handler of an R_SOCKET route, instead of an answer: the upgrade happens. */
void call_accept(struct call *c, const struct call_ops *ops, void *state);
/* How the WebSocket closes once pull gives CALL_DONE; the reason is cut to 123 bytes. */
void call_close(struct call *c, uint16_t code, const char *reason);

static inline bool call_answered(const struct call *c)
{
	return c->call_state != CALL_ASKED;
}
