/*
 * agent.h - the agentd that init looks after: started with what the store holds, started again when
 * it dies.
 */
#pragma once

#include "init/cmdline.h"
#include "init/fdstore.h"

#define AGENT_PATH "/usr/sbin/agentd"

struct agent {
	const char *path;
	char **argv; /* owned, with its strings borrowed from the command line */
	bool has_cgroup;
	pid_t pid;         /* 0: not running */
	int link;          /* our end of the socket on which it is told of ends; -1 */
	bool behind;       /* it was full, and there is more to tell */
	uint64_t started;  /* now_ms() */
	uint64_t start_at; /* not running: when it is to be started */
	uint64_t delay;    /* before the next start */
	unsigned starts;
	uint64_t boot_ms; /* when init began, since the kernel did */
};

/* agentd.KEY=VALUE of the command line become --KEY=VALUE; without agentd.listen it listens on
 * vsock port 1024. It gives its sessions half of stop_ms, the time for the end of the machine. */
void agent_init(struct agent *a, const struct cmdline *c, bool has_cgroup, unsigned long stop_ms);
void agent_fini(struct agent *a);
/* Starts it now. 0 or -errno; then start_at says when to try again. */
int agent_start(struct agent *a, struct fdstore *s);
/* It has been reaped. */
void agent_died(struct agent *a);
/* Tells it which of its sessions' processes, for which it cannot wait itself, have ended. When its
 * socket is full `behind` is set: again when that can be written. */
void agent_tell_exits(struct agent *a, struct fdstore *s);
