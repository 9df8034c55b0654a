/*
 * lag.h - how long the loop is busy between two waits: what a key, or anybody, has to wait for at
 * worst. Of the whole process, as there is one loop. Written by the loop only, with two looks at
 * the clock in a turn; read by any thread, so a worker can say since when a turn has been going on
 * that does not end.
 */
#pragma once

#include "base/base.h"

#define LAG_BUCKETS 7

struct lag_figures {
	uint64_t turns, busy_ns, max_ns, average_ns, now_ns;
	uint64_t over[LAG_BUCKETS]; /* turns longer than lag_bounds_us[i] */
};

extern const unsigned lag_bounds_us[LAG_BUCKETS];

/* Something happened that libuv waited for; the first in a turn counts. */
void lag_begin(void);
/* About to wait. */
void lag_end(void);
void lag_read(struct lag_figures *ret);
