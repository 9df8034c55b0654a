/*
 * exec_start.h - from the JSON body of a request to the start of a session in the guest: cmd, args,
 * envs, cwd, user, timeout, maxRunAfterDisconnect. Commands, terminals and agents share it.
 *
 *	struct exec_start x;
 *
 *	if (!exec_start_read(c, &x, EXEC_START_CMD | EXEC_START_TIMES))
 *		return;
 *	x.start.with_stdin = true;
 *	exec_visit_start(c, &x, ROSTER_EXEC, NULL, answer);
 */
#pragma once

#include "bridge/api/call.h"
#include "proto/msg.h"

#define EXEC_TIMEOUT_MAX_S (366 * 24 * 3600)
#define EXEC_AGENT_COMMAND "claude-agent-wrapper" /* what agent sessions are called */

struct exec_start {
	struct msg_start start; /* what it points to is below */
	char *cmd, **args;      /* as the client said it; NULL: it did not */
	size_t n_args;
	int64_t timeout_s; /* as said; 0: not, or none. Not yet in `start` */
	/* Owned: */
	char *cwd, *user;
	char *shell; /* for pty.c: start.pty.shell may point here */
	char **words;
	char **envs;
	struct msg_env *env;
};

enum exec_start_parts {
	EXEC_START_CMD = 1 << 0,     /* cmd and args: 400 when cmd is missing */
	EXEC_START_MAY_CMD = 1 << 1, /* cmd and args, if they are there */
	EXEC_START_TIMES = 1 << 2,   /* timeout, maxRunAfterDisconnect */
};

/* Fills *x from c->body: always envs, cwd and user, and the parts named. False: the call is
 * answered, and there is nothing to free. */
bool exec_start_read(struct call *c, struct exec_start *x, unsigned parts);
void exec_start_fini(struct exec_start *x); /* idempotent; fine on a zeroed one */
/* Is this text for a shell, rather than the name of a program? */
bool exec_start_is_shell(const char *cmd);
/* Why a start failed, for people: "no such program: foo". One line without its end. */
void exec_start_why(
	const struct msg_end *end, const char *cmd, const char *cwd, char *out, size_t size);
