/*
 * process.h - the descriptors of one child and their events: pidfd, stdin, stdout, stderr. It watches and it signals;
 * what is read and written is the session's business. The descriptor numbers live in the session's record, so that
 * they can be handed to the next agentd; closing one sets it to -1 there.
 *
 * Ownership: embedded in a session. process_close() may be called at any time; on_closed comes later, from the
 * loop, when the memory may go. No other callback comes after process_close().
 */
#pragma once

#include <sys/resource.h>
#include <uv.h>

#include "agentd/record.h"

struct process;

struct process_events {
	void (*on_readable)(struct process *p, int stream); /* 1 or 2: data, end or error: read(2) tells */
	void (*on_writable)(struct process *p); /* stdin takes more, after process_want_write() */
	void (*on_stdin_gone)(struct process *p); /* nobody reads stdin any more */
	void (*on_exit)(struct process *p); /* process_reap() will succeed */
	void (*on_closed)(struct process *p);
};

struct process {
	const struct process_events *events;
	struct record *rec;
	uv_poll_t exit_poll, poll[3];
	bool watched[3], exit_watched;
	bool reading[3], writing;
	bool closing;
	unsigned handles; /* initialised and not yet closed */
};

/* Watches what the record holds. On failure (negative errno) process_close() is still to be called. */
int process_init(struct process *p, uv_loop_t *loop, struct record *rec, const struct process_events *events);
/* Closes the descriptors. True: on_closed will follow; false: there is nothing to wait for. */
bool process_close(struct process *p);

void process_read(struct process *p, int stream, bool on);
void process_want_write(struct process *p, bool on);
void process_close_fd(struct process *p, int stream);

/* After on_exit: fills wait_code, wait_status and the rusage. -ECHILD when another has reaped it,
 * -EAGAIN when it has not ended after all. */
int process_reap(struct process *p, struct rusage *ret);
void process_forget(struct process *p); /* the leader is reaped: its pidfd is of no more use */
int process_signal_leader(struct process *p, int sig);
