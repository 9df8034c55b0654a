/*
 * ctl_progress.h - a line on a terminal that says how far a copy is: a bar, bytes, rate, and the
 * time it will take. Nothing at all where stderr is no terminal.
 */
#pragma once

#include <uv.h>

#include "base/base.h"

struct ctl_progress {
	uv_timer_t timer;
	bool on, shown, open;
	const char *name;     /* borrowed */
	uint64_t done, total; /* of the file under way; total 0: not known */
	uint64_t began_ms;
	uint64_t mark, mark_ms; /* for the rate: bytes at a time a little ago */
	double rate;
};

void ctl_progress_init(struct ctl_progress *p, uv_loop_t *loop, bool on);
void ctl_progress_begin(struct ctl_progress *p, const char *name, uint64_t total);
void ctl_progress_add(struct ctl_progress *p, uint64_t n);
/* The last state stays as a line; for what failed it goes. */
void ctl_progress_end(struct ctl_progress *p, bool done);
void ctl_progress_close(struct ctl_progress *p);
