/*
 * exec_list.h - the sessions of a sandbox as its agent lists them now, taken over into its roster.
 */
#pragma once

#include "bridge/sandbox/sandbox.h"

struct exec_list;

/* fault NULL: the roster is up to date. Never from inside exec_list_begin(). */
typedef void (*exec_list_fn)(void *owner, const struct fault *fault);

/* Of a sandbox in use, which it holds. NULL: the fault is filled. */
struct exec_list *exec_list_begin(
	struct sandbox *s, exec_list_fn fn, void *owner, struct fault *fault);
void exec_list_cancel(struct exec_list *l);
/* The same without anybody waiting for it. */
void exec_list_refresh(struct sandbox *s);
