/*
 * turn_count.h - how many turns an agent session has to do, from the lines that go in and come out
 * (docs/protocol.md section 15).
 */
#pragma once

#include "proto/lines.h"

#define TURN_CONVERSATION 64

struct turn_count {
	struct lines in, out;
	unsigned pending;    /* prompts without an end, and a turn that was found */
	unsigned unanswered; /* other lines that were written */
	char conversation[TURN_CONVERSATION]; /* the latest; "" */
};

void turn_count_init(struct turn_count *t);
void turn_count_fini(struct turn_count *t);
void turn_count_in(struct turn_count *t, const void *data, size_t len);
void turn_count_out(struct turn_count *t, const void *data, size_t len);
/* Some of what came out is missing here. */
void turn_count_gap(struct turn_count *t);
