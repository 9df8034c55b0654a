/*
 * front_conn.h - connections, from their socket to their end: what web.c says of them, made into
 * calls, and what is said to calls, made into bytes.
 */
#pragma once

#include "bridge/api/front.h"
#include "bridge/api/front_answer.h"
#include "bridge/api/front_head.h"

#define CONN_OUT_SIZE max_of(WEB_PRE + ANSWER_PIECE_MAX, HEAD_SCRATCH)

/* All of them; the owner of the struct web. */
struct conns {
	struct bridge *bridge;
	const struct front_config *config;
	struct list list;
	size_t n;
	bool closing; /* see conns_close() */
	void (*on_empty)(void *owner);
	void *owner;
	uint8_t out[CONN_OUT_SIZE]; /* in use only inside a callback */
};

/* For web_open(). */
extern const struct web_events conn_events;
/* Each ends with the answer that is under way, WebSockets with 1012. on_empty when, and as often
 * as, the last is gone. */
void conns_close(struct conns *cs, void (*on_empty)(void *owner), void *owner);
/* Answers that are under way will not be finished, and their clients see that. */
void conns_break_off(struct conns *cs);
