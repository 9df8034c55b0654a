/*
 * vm_agent.h - what is asked of the agent of a machine that nobody else talks to: write what you
 * have to disk, and let go of all links.
 */
#pragma once

#include <uv.h>

#include "bridge/target.h"

struct vm_agent;

/* why: NULL when it is done. Once, from the loop; it is freed then. */
typedef void (*vm_agent_fn)(void *owner, const char *why);

/* Gives up after ms. warm: it runs a shell before, so that what every command needs is in the
 * machine's memory. 0 or -errno. */
int vm_agent_prepare(uv_loop_t *loop, const struct target *t, bool warm, uint64_t ms,
	vm_agent_fn fn, void *owner, struct vm_agent **ret);
/* fn does not come. */
void vm_agent_cancel(struct vm_agent *a);
