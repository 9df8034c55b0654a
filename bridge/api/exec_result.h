/*
 * exec_result.h - the result of a command as JSON, written piece by piece.
 */
#pragma once

#include "bridge/api/exec_runs.h"

/* A fault's text, each byte of it escaped at its longest, and the members around it. */
#define EXEC_RESULT_TAIL (6 * sizeof(((struct fault *)0)->text) + 128)

struct exec_result {
	const struct run *run; /* ended, and held meanwhile */
	unsigned part;
	size_t at; /* in a part that is text */
	struct exec_output_at output;
	char head[64], tail[EXEC_RESULT_TAIL];
};

/* polled: as run-async's result has it, with `running` and `error`. */
void exec_result_init(struct exec_result *e, const struct run *r, bool polled);
/* An upper bound of its length. */
size_t exec_result_max(const struct exec_result *e);
/* The next of it into out (max at least 12); 0: that was all. */
size_t exec_result_next(struct exec_result *e, char *out, size_t max);
