/*
 * metrics.h - `GET /metrics`: agentd's own figures in the Prometheus text format. Counters begin at
 * 0 with each program, an upgrade included, as that format expects.
 */
#pragma once

#include "agentd/daemon.h"

/* Good until the next call. */
const char *metrics_text(struct daemon *d, size_t *ret_len);
