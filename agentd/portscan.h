/*
 * portscan.h - one look at who listens: the sockets, and for those that are new the process that
 * holds them. Looking through /proc may take long where there are many processes, so all of it is
 * for a worker thread; it touches nothing but its own struct.
 */
#pragma once

#include <sys/types.h>

#include "agentd/cgroup.h"
#include "agentd/sockdiag.h"

#define PORTSCAN_MAX  8192 /* sockets; what is more is left out */
#define PORTSCAN_CMD  512  /* bytes of a command line */
#define PORTSCAN_LINE 16

struct portscan_port {
	struct sockdiag_entry s;
	bool looked; /* its holder was looked for */
	/* The first process that holds it; pid 0: none was found. */
	pid_t pid;
	pid_t line[PORTSCAN_LINE];   /* its process group and session, its parents; 0 at the end */
	char leaf[CGROUP_LEAF_NAME]; /* where it is below `cgroup`; "" when it is not */
	char *cmd;                   /* arguments, a NUL after each; owned */
	size_t cmd_len;
	bool cmd_cut;
};

struct portscan {
	/* What to do: not to look for holders of these inodes, in ascending order (owned). The name
	 * of the directory with the sessions' cgroups, "" when there is none. */
	uint64_t *known;
	size_t n_known;
	char cgroup[64];
	/* What was found, by port, then inode. Owned. */
	struct portscan_port *ports;
	size_t n, room;
	int error; /* -errno */
};

void portscan_run(struct portscan *s);
void portscan_fini(struct portscan *s);
/* The order of `ports`. */
int portscan_compare(const struct sockdiag_entry *a, const struct sockdiag_entry *b);
