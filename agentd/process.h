/*
 * process.h - the descriptors of one child and their events: pidfd, stdin, stdout, stderr. It
 * watches and it signals; what is read and written is the session's business. The descriptor
 * numbers live in the session's record, so that they can be handed to the next agentd; closing one
 * sets it to -1 there.
 *
 * Ownership: embedded in a session; nothing is pending after process_close(). A callback may call
 * it.
 */
#pragma once

#include <sys/resource.h>

#include "agentd/poller.h"
#include "agentd/record.h"

struct process;

struct process_events {
	void (*on_readable)(
		struct process *p, int stream);   /* 1 or 2: data, end or error: read(2) tells */
	void (*on_writable)(struct process *p);   /* stdin takes more, after process_want_write() */
	void (*on_stdin_gone)(struct process *p); /* nobody reads stdin any more */
	void (*on_exit)(struct process *p);       /* process_reap() will succeed */
};

struct process {
	const struct process_events *events;
	struct poller *poller;
	struct record *rec; /* NULL: closed */
	struct watch exit, pipe[3];
	int held[2]; /* owned; see process_hold() */
};

/* Knows where the descriptors are, watches nothing yet; enough for process_close(). */
void process_prepare(struct process *p, struct poller *poller, struct record *rec);
/* Takes the child's ends of stdout and stderr (-1: none): as long as they are open here, too, its
 * exit is one event and not three, of which the first two would only get in its way. */
void process_hold(struct process *p, const int held[2]);
/* When it has ended: what is in the pipes now ends with an end of file, unless others hold them. */
void process_let_go(struct process *p);
/* Watches what the record holds. On failure (negative errno) process_close() is still to be called.
 */
int process_watch(struct process *p, const struct process_events *events);
void process_close(struct process *p); /* closes the descriptors; idempotent */

void process_read(struct process *p, int stream, bool on);
void process_want_write(struct process *p, bool on);
void process_close_fd(struct process *p, int stream);

/* After on_exit: fills wait_code, wait_status and the rusage. -ECHILD when another has reaped it,
 * -EAGAIN when it has not ended after all. */
int process_reap(struct process *p, struct rusage *ret);
void process_forget(struct process *p); /* the leader is reaped: its pidfd is of no more use */
int process_signal_leader(struct process *p, int sig);
