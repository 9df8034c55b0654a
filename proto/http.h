/*
 * http.h - the HTTP/1.1 head that opens a link, both roles, over llhttp (which ends in http.c).
 *
 * Sans-I/O and incremental: feed bytes as they come, at any split. The parser stops exactly at the
 * end of the head; what follows is WebSocket. Only the few header fields of docs/protocol.md
 * section 1 are kept, each bounded; anything else is validated and forgotten.
 */
#pragma once

#include "base/base.h"

#define HTTP_HEAD_MAX  16384
#define HTTP_VALUE_MAX 1024 /* a kept field value or the target; longer ones are status 431 */

enum http_role {
	HTTP_SERVER, /* parses a request */
	HTTP_CLIENT, /* parses a response */
};

struct http_head {
	bool is_get, is_head;
	unsigned status;        /* client role */
	bool upgrade_websocket; /* Connection lists "upgrade" and Upgrade lists "websocket" */
	bool has_body;          /* Content-Length other than 0, or Transfer-Encoding */
	char *target; /* server role; path and query as sent. Strings are owned, "" when absent */
	char *ws_key; /* Sec-WebSocket-Key */
	char *ws_version;
	char *ws_protocol; /* all values, joined by ", " */
	char *ws_accept;   /* client role */
	char *authorization;
};

struct http; /* opaque: llhttp state, the head so far */

struct http *http_new(enum http_role role); /* NULL when out of memory */
void http_free(struct http *h);             /* fine on NULL */

/*
 * Takes up to len bytes. Returns the number consumed (<= len). Sets *done when the head is
 * complete (then the consumed bytes end with it). A broken head: a negative HTTP status to answer
 * with (-400, -431, out of memory: -503); a server-role head may still be refused by
 * http_check_upgrade().
 */
int http_feed(struct http *h, const void *data, size_t len, bool *done);
const struct http_head *http_head(const struct http *h); /* valid after done, until http_free */

/* Server: is this head a proper upgrade to `path` offering `protocol`? 0, or the status to answer
 * with (400, 404, 405, 426), by the table of docs/protocol.md section 1. */
int http_check_upgrade(const struct http_head *head, const char *path, const char *protocol);
/* Is `word` one of the comma separated tokens of `list`? Case-insensitive. */
bool http_list_has(const char *list, const char *word);

/* Formatting; each returns the length written, or -ENOBUFS when `size` is too small. */
int http_format_upgrade(char *out, size_t size, const char *path, const char *key,
	const char *protocol, const char *bearer /* or NULL */);
int http_format_switching(char *out, size_t size, const char *ws_key, const char *protocol);
/* A plain answer that is not about a link. */
struct http_answer {
	int status;
	const char *type; /* Content-Type */
	const char *body;
	size_t len;
};

/* Its head: "Connection: close". */
int http_format_answer(char *out, size_t size, const struct http_answer *a);
/* A refusal with a one-line text body, "Connection: close". */
int http_format_refusal(char *out, size_t size, int status, const char *text);
const char *http_status_text(int status);

/* Client: 0 when the head is a 101 that accepts `key` and chose `protocol`; else -EPROTO, or
 * -EACCES for 401 and 403, -EUSERS for 503. */
int http_check_switching(const struct http_head *head, const char *key, const char *protocol);
