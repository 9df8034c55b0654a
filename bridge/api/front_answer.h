/*
 * front_answer.h - an answer as bytes: its head, then the pieces its call gives, framed.
 */
#pragma once

#include "bridge/api/call_wire.h"

#define ANSWER_PIECE_MAX (CALL_HEAD_MAX + CALL_PIECE + 16)

struct answer {
	enum call_framing framing;
	bool head_out;
};

/* The next bytes at `out` (ANSWER_PIECE_MAX); 0: nothing now. *ret_done: that was all.
 * CALL_BROKEN: it cannot be finished. keep: the connection will stay open. */
ssize_t answer_next(
	struct answer *a, struct call *c, bool http10, bool keep, uint8_t *out, bool *ret_done);
