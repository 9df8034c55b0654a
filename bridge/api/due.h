/*
 * due.h - what comes due at some time, any number of it on one timer of the loop. For times that
 * are mostly alike: what is set goes behind what comes due before it, found from the end.
 */
#pragma once

#include <uv.h>

#include "base/list.h"

struct due {
	struct list node; /* list_init()ed or zeroed: not set */
	uint64_t at_ms;   /* by now_ms() */
	void (*fn)(struct due *d);
};

struct dues {
	uv_timer_t timer;
	struct list list;
	void (*on_closed)(void *owner);
	void *owner;
};

int dues_open(struct dues *ds, uv_loop_t *loop);
/* What is set is forgotten. fn when the timer is off the loop. */
void dues_close(struct dues *ds, void (*fn)(void *owner), void *owner);
/* fn once, not before `ms` from now. Set again: only the later call counts. */
void due_set(struct dues *ds, struct due *d, uint64_t ms, void (*fn)(struct due *d));
void due_clear(struct due *d); /* idempotent */
