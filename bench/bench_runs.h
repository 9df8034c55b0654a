/*
 * bench_runs.h - short commands, one after another or many at once, over one link. A run begins
 * with its OPEN and is over when its channel is closed, which comes right behind the `end` event.
 */
#pragma once

#include "bench/bench_link.h"

#define RUNS_WIDTH 16

/* How an ended session goes away. */
enum removal {
	REMOVE_REQUEST, /* a `remove` request behind the end, as `agentctl run` does; nobody waits
			   for the answer */
	REMOVE_RETAIN,  /* start.retain_ms 0: agentd does it by itself */
};

struct run {
	struct job job;
	struct runs *all;
	char id[16];
	const char *expect; /* what is left to come of the expected output */
};

struct runs {
	struct link *link;
	enum removal removal;
	const char *expect;           /* the whole stdout; NULL: not looked at */
	char open[1024], remove[128]; /* JSON, the id's digits are filled in */
	size_t open_len, remove_len;
	char *open_id, *remove_id;
	bool removal_waits; /* `remove` is to be sent */
	uint64_t serial;
	size_t failed;
	struct run run[RUNS_WIDTH];
};

void runs_init(struct runs *r, struct link *l, char *const argv[], enum removal removal);
/* One, to its end. */
void runs_one(struct runs *r);
/* n, `width` at a time; returns nanoseconds. */
uint64_t runs_many(struct runs *r, size_t n, size_t width);
