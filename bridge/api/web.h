/*
 * web.h - HTTP/1.1 heads, WebSocket frames and TLS on connected sockets: what libwebsockets does
 * for us. Only web.c knows it. What it leaves to its user, and how its ways are mended, is
 * front_conn.c's.
 *
 * A connection is a `struct web_conn` inside what its owner keeps for it, from on_open to on_gone.
 * It may be written to in on_request, on_upgrade and on_writable only, which web_want_write() asks
 * for. Events that return int: 0, or -1, and the connection ends.
 */
#pragma once

#include "bridge/api/front_loop.h"

#define WEB_PRE     64   /* writable bytes before what is written */
#define WEB_ROOM    4096 /* of any header's value */
#define WEB_TOO_BIG (-1)

struct lws;
struct lws_context;
struct lws_vhost;

struct web_conn {
	struct lws *wsi;
};

struct web_events {
	/* NULL: out of memory. owner: of the struct web. */
	struct web_conn *(*on_open)(void *owner);
	int (*on_request)(struct web_conn *c);                               /* a head is whole */
	int (*on_body)(struct web_conn *c, const uint8_t *data, size_t len); /* bytes behind it */
	int (*on_upgrade)(struct web_conn *c); /* or one that asks for a WebSocket */
	void (*on_upgraded)(struct web_conn *c);
	int (*on_message)(struct web_conn *c, const uint8_t *data, size_t len, bool last);
	int (*on_writable)(struct web_conn *c);
	int (*on_timer)(struct web_conn *c);
	void (*on_closed)(struct web_conn *c); /* nobody is at the other end any more */
	void (*on_gone)(struct web_conn *c);   /* the last that is heard of it; frees it */
};

struct web_config {
	const char *cert, *cert_key; /* PEM files, or NULL */
	size_t conns_max;
	size_t head_max;      /* kept of a head; what is longer is cut */
	size_t read_max;      /* of a socket at once */
	unsigned head_s;      /* until a head is whole */
	unsigned idle_s;      /* an open connection without a request */
	unsigned ping_s;      /* WebSockets from which nothing comes are pinged */
	size_t message_piece; /* of what comes as a message */
	size_t write_max;
};

struct web {
	struct front_loop loop;
	struct lws_context *cx; /* NULL: not open */
	struct lws_vhost *vhost;
	const struct web_events *events;
	void *owner;
};

/* 0, or -errno and why. */
int web_open(struct web *w, uv_loop_t *loop, const struct web_config *config,
	const struct web_events *events, void *owner, char *why, size_t why_size);
/* Takes the socket; closes it if it cannot. */
void web_adopt(struct web *w, int fd);
/* All connections end at once. Never inside of an event. Idempotent. */
void web_destroy(struct web *w);
/* After that: fn when nothing of it is left on the loop. */
void web_close(struct web *w, void (*fn)(void *owner), void *owner);

/* ---- a head: in on_request and on_upgrade ---- */

enum web_method {
	WEB_GET,
	WEB_HEAD,
	WEB_POST,
	WEB_PUT,
	WEB_DELETE,
	WEB_PATCH,
	WEB_OPTIONS,
	WEB_OTHER,
};

/* Those it has places for; others go by their names. */
enum web_header {
	WEB_ACCEPT,
	WEB_AUTHORIZATION,
	WEB_CONNECTION,
	WEB_CONTENT_LENGTH,
	WEB_CONTENT_RANGE,
	WEB_CONTENT_TYPE,
	WEB_EXPECT,
	WEB_HOST,
	WEB_IF_NONE_MATCH,
	WEB_IF_RANGE,
	WEB_ORIGIN,
	WEB_RANGE,
	WEB_TRANSFER_ENCODING,
	WEB_SOCKET_KEY,
	WEB_SOCKET_PROTOCOL,
	WEB_SOCKET_VERSION,
	WEB_VERSION, /* of HTTP: no header */
	WEB_HEADERS,
};

/* The path is decoded, and good until the event returns. */
enum web_method web_request(const struct web_conn *c, const char **path, size_t *len);
/* Part i of the query, decoded ("name=value"): its length, or -1: there is none. */
int web_query(const struct web_conn *c, int i, char *out, size_t size);
/* The length of the value, which is trimmed and ends with a NUL; 0: none; WEB_TOO_BIG. */
int web_header(const struct web_conn *c, enum web_header h, char *out, size_t size);
/* The same of one that has no place; the name in small letters, of at most 30 bytes. */
int web_header_named(const struct web_conn *c, const char *name, char *out, size_t size);
/* Those names, as they came, with their colon. */
void web_each_name(
	const struct web_conn *c, void (*fn)(const char *name, int len, void *arg), void *arg);
/* Bytes of names and values, without what is the same in every head; SIZE_MAX: more than
 * `names_max` that have no place. */
size_t web_head_size(const struct web_conn *c, size_t names_max);
bool web_encrypted(const struct web_conn *c);

/* ---- a connection ---- */

enum web_kind { WEB_BYTES, WEB_INTERIM /* before an answer */, WEB_TEXT, WEB_BINARY };

/* In one of the events. data: with WEB_PRE bytes before it that may be written. What the socket
 * does not take now is kept, copied. 0, or -1: it is broken. */
int web_write(const struct web_conn *c, enum web_kind kind, uint8_t *data, size_t len);
bool web_takes_more(const struct web_conn *c);
bool web_holds_bytes(const struct web_conn *c); /* which the socket did not take */
void web_want_write(const struct web_conn *c);
/* The answer is out; what comes is a request. As an event returns. */
int web_next_request(const struct web_conn *c);
/* Then the event returns -1. */
void web_say_close(const struct web_conn *c, uint16_t code, const char *reason);
void web_read(const struct web_conn *c, bool on);
void web_timer(const struct web_conn *c, uint64_t ms); /* on_timer, once */
/* libwebsockets' own patience with what is under way. 0: none. */
void web_patience(const struct web_conn *c, unsigned s);
void web_kill(const struct web_conn *c); /* soon, not inside of this call */
int web_fd(const struct web_conn *c);
