/*
 * spawn_child.h - the child's half of spawn.h: what happens between clone and exec, in memory that
 * still belongs to the parent.
 */
#pragma once

#include "agentd/spawn.h"

struct spawn_child {
	const struct spawn_request *req;
	int fd[3];              /* to become 0, 1 and 2 */
	unsigned keep_up_to;    /* not 0: our descriptors are shared; copy those up to here */
	uint64_t reset_signals; /* bit n - 1: signal n is to be set to its default */
	bool join_cgroup;       /* the clone did not put the child into the cgroup */
	/* Stored by the child when it fails, read by the parent when it runs again. */
	int err;
	enum spawn_stage stage;
};

/* The process's function; arg is a struct spawn_child. Returns only on failure, with err and stage
 * set: the exit status. */
int spawn_child_run(void *arg);
