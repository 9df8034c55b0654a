/*
 * front.h - the public side of the bridge: HTTP/1.1 and WebSockets (web.h). It makes calls of what
 * comes and gives them to `on_call`; see call.h for the rest of the conversation.
 */
#pragma once

#include <uv.h>

#include "bridge/api/call.h"

#define FRONT_HEAD_MAX (16 * 1024) /* of a request: 431 */
#define FRONT_HEAD_MS  10000       /* until a head is whole */
#define FRONT_IDLE_MS  75000       /* an open connection without a request */
#define FRONT_BODY_MS  60000       /* for the next byte of a body: 408 */
#define FRONT_STUCK_MS 120000      /* a client that takes nothing, or whose machine is gone */
#define FRONT_PING_S   30          /* WebSockets from which nothing comes are pinged */

struct bridge;
struct front;

struct front_config {
	const char *host;                /* IPv4 or IPv6, in numbers */
	uint16_t port;                   /* 0: any, see front_port() */
	const char *cert, *cert_key;     /* PEM files, or NULL */
	size_t max_connections;          /* 0: as many as descriptors allow */
	uint64_t ping_s;                 /* 0: FRONT_PING_S */
	uint64_t body_ms;                /* 0: FRONT_BODY_MS; other than that for tests */
	void (*on_call)(struct call *c); /* the head is whole: dispatch.c */
	/* An answer's last byte is out, or the client is gone; for the access log and the metrics.
	 */
	void (*on_done)(struct call *c);
};

int front_open(struct front **ret, uv_loop_t *loop, struct bridge *bridge,
	const struct front_config *config, char *why, size_t why_size);
uint16_t front_port(const struct front *f);
size_t front_connections(const struct front *f);
/* Listens no more; WebSockets are closed with 1012, calls may finish for `grace_ms`. fn when
 * nothing of it is left on the loop. */
void front_close(struct front *f, uint64_t grace_ms, void (*fn)(void *owner), void *owner);

/* ---- for call.c ---- */

void front_ready(struct call *c);
void front_pause(struct call *c, bool pause);
void front_abort(struct call *c);
