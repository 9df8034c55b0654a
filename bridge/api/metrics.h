/*
 * metrics.h - what the bridge counts about itself, as Prometheus text.
 */
#pragma once

#include "bridge/api/bridge.h"

struct metrics;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* Of every call, once: when it is over (dispatch_done). */
void metrics_count(struct metrics *m, const struct call *c);
/* A WebSocket has opened (+1) or is gone (-1). */
void metrics_socket(struct metrics *m, int change);
/* The whole text, for free(); NULL: out of memory. */
char *metrics_text(const struct bridge *b, size_t *ret_len);
