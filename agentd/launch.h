/*
 * launch.h - from a `start` object to a running child: who it runs as, its environment, its pipes,
 * its cgroup. Two steps, because the record (which needs the working directory and the user's name)
 * is made between them.
 */
#pragma once

#include "agentd/cgroup.h"
#include "agentd/config.h"
#include "agentd/environ.h"
#include "agentd/record.h"
#include "agentd/spawn.h"
#include "agentd/user.h"

struct launch {
	const struct msg_start *start;
	struct user user;
	bool set_user;
	const char *cwd;
	/* What is run, with a spare slot before it (spawn.h): the start's, or a shell on a
	 * terminal.
	 */
	char **argv;
	size_t argc;
	char *shell[3];
	char **login_argv;      /* owned; the same with another argv[0], or NULL */
	char **envp;            /* owned, one block */
	const char *path;       /* value of PATH in envp, or NULL */
	enum spawn_stage stage; /* not SPAWN_OK: why it cannot start */
	int err;                /* errno of that */
};

/* Never fails: what is wrong is kept in stage and err, and told by launch_run(). */
void launch_prepare(struct launch *l, const struct msg_start *start, const struct config *config,
	struct environ *env);
/* Starts it: fills pid, pidfd, fd, cgroup, start_ticks of the record; 0, or -errno with l->stage
 * set. ret_held: what process_hold() takes; -1 where there is none. */
int launch_run(struct launch *l, struct record *rec, struct cgroup *cg, int ret_held[2]);
void launch_fini(struct launch *l);

/* agentd itself needs three descriptors for a session, so it takes as many as it may; commands
 * still get the limit it was started with, which old programs (select(2)) rely on. Restored before
 * an upgrade, for the next agent to see. */
void launch_raise_limits(void);
void launch_restore_limits(void);
