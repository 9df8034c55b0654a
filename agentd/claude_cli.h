/*
 * claude_cli.h - the command line program behind an agent session, as a process: its input, its
 * lines, its last words, its end. It stays in our process group, so that what is sent to the group
 * reaches it.
 *
 * The owner polls the descriptors and calls the functions; nothing here waits. The program is gone
 * when it was reaped and what it had written was read; children of its own that keep its pipes are
 * not waited for.
 */
#pragma once

#include <sys/types.h>

#include "proto/lines.h"

#define CLAUDE_CLOSE_MS 5000 /* from the end of its input to TERM */
#define CLAUDE_TERM_MS  1200 /* from there to KILL; a session has 2 s in all */
#define CLAUDE_TAIL     1000 /* bytes of its stderr that are remembered */

enum claude_cli_state {
	CLI_NONE,
	CLI_UP,
	CLI_CLOSING, /* its input has ended */
	CLI_TERMED,
	CLI_KILLED,
	CLI_EXITED, /* reaped; some of its lines may still be there */
};

struct claude_cli {
	enum claude_cli_state state; /* changes only in set_state() */
	pid_t pid;
	int pidfd, in, out, err; /* owned; -1: closed */
	int status;              /* of waitpid(2), once EXITED */
	uint64_t deadline;       /* of CLOSING and TERMED, by now_ms() */
	struct buf to;           /* waits for its stdin */
	struct lines from;
	char tail[CLAUDE_TAIL];
	size_t tail_len;
};

void claude_cli_init(struct claude_cli *cli);
/* argv[0] is searched in PATH; cwd may be NULL. 0, or -errno and the state is NONE. */
int claude_cli_start(struct claude_cli *cli, char *const argv[], const char *cwd);
/* No more input: it ends by itself, or is made to. */
void claude_cli_close(struct claude_cli *cli);
void claude_cli_term(struct claude_cli *cli);
void claude_cli_kill(struct claude_cli *cli); /* and waits; NONE afterwards */
/* Acts on a deadline that is over; UINT64_MAX: there is none. */
void claude_cli_tick(struct claude_cli *cli, uint64_t now);
uint64_t claude_cli_deadline(const struct claude_cli *cli);

/* Its stdin takes some more. */
void claude_cli_feed(struct claude_cli *cli);
/* Reads its stdout once. False: there is nothing for now, or never again. */
bool claude_cli_read(struct claude_cli *cli);
/* Reads its stderr once; what came is also appended to *log. */
void claude_cli_read_err(struct claude_cli *cli, struct buf *log);
/* The pidfd is readable. */
void claude_cli_reap(struct claude_cli *cli);
/* After EXITED, when nothing is left to be read: NONE again. */
void claude_cli_forget(struct claude_cli *cli);

/* How it ended and its last words, as one line of UTF-8. */
#define CLAUDE_WHY_MAX (CLAUDE_TAIL + 100)
void claude_cli_why(const struct claude_cli *cli, char out[CLAUDE_WHY_MAX]);
