/*
 * exec_list.h - the sessions of a sandbox as its agent lists them now, taken over into its roster.
 */
#pragma once

#include "bridge/api/text.h"
#include "bridge/sandbox/sandbox.h"

struct call;

/* Of a sandbox in use. Nobody waits for it. */
void exec_list_refresh(struct sandbox *s);

/* Answers a call of an R_DATA route with an array of them: put writes an entry, or leaves it out.
 */
typedef void (*exec_list_put_fn)(
	struct text *t, const struct sandbox *s, const struct roster_entry *e);
void exec_list_answer(struct call *c, exec_list_put_fn put);
