/*
 * dial.h - service "dial": a channel is one connection that we make in the guest, TCP or unix
 * (docs/protocol.md section 16).
 *
 * `struct dials` is what they share; the daemon's. Its connections belong to their channels and are
 * gone when those are.
 */
#pragma once

#include "agentd/poller.h"
#include "agentd/service.h"

#define DIAL_MAX    1024        /* at once in the whole agent */
#define DIAL_WINDOW (512 * KIB) /* of a client's bytes that its peer has not taken */

struct dials {
	struct poller *poller;
	struct list connecting;
	uv_timer_t timer; /* of the one of them that wants it first */
	unsigned n;       /* connections, those included */
};

int dials_init(struct dials *all, uv_loop_t *loop, struct poller *poller);
/* After the last link; the handle closes with the loop's next turn. */
void dials_close(struct dials *all);
