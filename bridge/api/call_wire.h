/*
 * call_wire.h - the front's side of a call: filling it from a request, and what of its answer goes
 * to the client. Nobody but front*.c (and tests) includes this.
 */
#pragma once

#include "bridge/api/call.h"

#define CALL_HEAD_MAX (CALL_HEADERS_OUT + 1024) /* of an answer */

/* The headers of requests that are kept. */
#define CALL_KEPT 14
extern const char *const call_kept[CALL_KEPT];

/* Out of memory: NULL. path and query are copied. */
struct call *call_new(const char *path, size_t path_len, const char *query, size_t query_len);
int call_keep(struct call *c, unsigned kept, const char *value, size_t len); /* -ENOMEM */
/* Fills c->id: what the client said when that is sane, else a new one. */
void call_set_id(struct call *c);
/* Where params may lie, path_len + 1 bytes; for route_find(). */
char *call_params_room(struct call *c);

/* Decodes percent signs, and plus signs too, with a NUL behind: at most len + 1 bytes. Returns what
 * is behind that, or NULL when there is a NUL within. */
char *call_decode(char *out, const char *p, size_t len, bool plus);

/* How the length of the answer's body is told. */
enum call_framing {
	CALL_FRAME_NONE, /* there is no body */
	CALL_FRAME_LENGTH,
	CALL_FRAME_CHUNKED,
	CALL_FRAME_CLOSE, /* by the end of the connection: HTTP/1.0 */
};

enum call_framing call_framing(const struct call *c, bool http10);
/* The answer's head; at most CALL_HEAD_MAX. */
size_t call_head(const struct call *c, enum call_framing framing, bool keep, char *out);
/* As ops->pull, for any answer. */
ssize_t call_pull(struct call *c, uint8_t *out, size_t max);

/* The last of it: ops->on_end. Idempotent. */
void call_end(struct call *c);
void call_free(struct call *c);
