/*
 * fake_loop.h - a loop that is run until something has happened, and the descriptors it left.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <uv.h>

#include "base/base.h"

static inline size_t fake_count_fds(void)
{
	size_t n = 0;
	DIR *d = opendir("/proc/self/fd");

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* libuv's own descriptors, which it keeps, come with the first loop. */
static inline int fake_warm_up(void **state)
{
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	return uv_loop_close(&loop);
}

static inline void fake_on_tick(uv_timer_t *t)
{
	if (now_ms() > *(uint64_t *)t->data)
		fail_msg("nothing happened for too long");
}

/* Runs the loop until *done, at most 20 s. The tick is there because a callback that sets *done may
 * be followed by a long sleep in the same turn. */
static inline void fake_run_until(uv_loop_t *loop, const bool *done)
{
	uint64_t deadline = now_ms() + 20000;
	uv_timer_t t;

	uv_timer_init(loop, &t);
	t.data = &deadline;
	uv_timer_start(&t, fake_on_tick, 5, 5);
	while (!*done)
		uv_run(loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&t, NULL);
	uv_run(loop, UV_RUN_NOWAIT);
}
