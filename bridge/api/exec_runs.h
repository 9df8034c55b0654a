/*
 * exec_runs.h - the commands of run and run-async, and their results, as far as main.c must know.
 */
#pragma once

#include <uv.h>

struct exec_runs;

int exec_runs_open(struct exec_runs **ret, uv_loop_t *loop);
/* After the front is closed, before the sandboxes are: commands go on. fn when nothing of it is
 * left on the loop. */
void exec_runs_close(struct exec_runs *r, void (*fn)(void *owner), void *owner);
