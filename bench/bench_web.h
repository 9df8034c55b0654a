/*
 * bench_web.h - the lightest HTTP and WebSocket client: one blocking connection that is kept, one
 * request at a time.
 */
#pragma once

#include "bench/bench.h"

#define WEB_BODY (64 * 1024)

#define WEB_READ (256 * 1024)

struct web {
	int fd;
	int status;          /* of the last answer */
	size_t len;          /* of its body */
	char body[WEB_BODY]; /* the beginning of it, NUL-terminated */
	/* Received and not looked at. Copies of whole lines of the cache, as the other clients'. */
	_Alignas(64) uint8_t in[WEB_READ + 64];
	size_t in_at, in_len;
};

/* A bridge with no sandboxes, which asks for no key; its port. Ended by agent_stop(). */
unsigned bridge_start(struct agent *bridge);
/* Registers an agent's socket as a sandbox of that name. */
void bridge_add(struct web *w, const char *name, const struct agent *agent);

int web_dial(unsigned port);
void web_open(struct web *w, unsigned port);
void web_close(struct web *w);
/* json NULL: no body. Dies when the connection breaks. */
void web_ask(struct web *w, const char *method, const char *path, const char *json);
/* The same with a body of so many bytes, any bytes. */
void web_send(struct web *w, const char *method, const char *path, uint64_t bytes);

/* A string of the last answer; until the next call. */
const char *web_member(const struct web *w, const char *name);

/* Makes a WebSocket of the connection. */
void web_upgrade(struct web *w, const char *path);
void web_message(struct web *w, const void *data, size_t len); /* at most 125 bytes, binary */
/* The next message that is not empty; its length, the beginning is in `body`. */
size_t web_listen(struct web *w);
