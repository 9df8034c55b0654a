/*
 * session.h - a process, the store of its output, and its viewers, under one name.
 *
 * Facts arrive as events (output, exit, end of pipes, time, requests); what follows from them is
 * decided in two places only: session_check() decides that the session has ended, session_arm()
 * what time must wake us for. An end is reported after the leader has been reaped and its output
 * read; see docs/architecture.md, "The end of a session".
 *
 * Ownership: `struct sessions` owns all sessions. A session is freed only by session_close(), in
 * the loop, when its last handle is closed. Viewers are embedded in their channels' state; a
 * session only links them.
 */
#pragma once

#include <signal.h>
#include <uv.h>

#include "agentd/launch.h"
#include "agentd/process.h"
#include "base/list.h"

#define SESSION_STDIN_WINDOW (256 * KIB) /* a viewer's unread input, at most */
#define SESSION_WRITERS      8
#define SESSION_VIEWERS      64

struct sessions;
struct viewer;

struct session {
	struct sessions *all;        /* owner */
	struct list by_name, by_age; /* links in the owner; a hidden one has no name */
	struct list ended;           /* link in the owner's list of ended ones, by age of the end */
	struct list untidy;          /* ended, and session_tidy() is still to be called */
	struct list young;           /* not given to the keeper yet, see keep.h */
	struct record *rec;
	uint64_t rec_off;
	unsigned slot;
	struct store store;
	struct inq in;
	bool has_in;
	struct process process;
	uv_timer_t timer;
	struct list viewers;
	unsigned n_viewers, n_writers;
	struct viewer *owner; /* of the terminal; NULL: nobody */
	bool paused;          /* output is not read: a lossless viewer is too far behind */
	uint64_t paused_at;   /* since when, or since it was last looked whom to pass over */
	bool wide[3];         /* the pipe has been enlarged */
	bool closing;
};

/* Starts a new session by name `id` (which must be free), or takes over the one in the record when
 * start is NULL. On failure nothing is left. */
int session_new(struct sessions *all, const char *id, const struct msg_start *start,
	struct session **ret, struct error *e);
int session_adopt(struct sessions *all, unsigned slot, uint64_t rec_off, struct session **ret);
/* After all have been adopted: what became true in the meantime takes effect. */
void session_adopted(struct session *s);

/* Forgets the session: viewers are told `why`, the process is not touched. While children hold its
 * pipes it lives on hidden, draining them. */
void session_remove(struct session *s, enum error_code why);
/* What an end leaves to be done and nobody waits for: the cgroup is given back if it is empty. */
void session_tidy(struct session *s);
/* Unlinks and frees, whatever runs; the process is left alone. */
void session_close(struct session *s);

static inline bool session_ended(const struct session *s)
{
	return s->rec->end.state != END_RUNNING;
}
/* No more output can come. */
static inline bool session_silent(const struct session *s)
{
	return s->rec->fd[1] < 0 && s->rec->fd[2] < 0;
}

/* What asks it to end: a shell on a terminal ignores TERM. */
static inline int session_end_signal(const struct session *s)
{
	return s->rec->pty ? SIGHUP : SIGTERM;
}

/* A signal, on behalf of `cause`; with escalate KILL follows after grace_ms. */
int session_kill(struct session *s, enum cause cause, enum msg_target to, int sig, bool escalate,
	uint64_t grace_ms);

void session_opened_msg(const struct session *s, struct msg_opened *m);
void session_entry_msg(const struct session *s, struct msg_entry *m);

/* ---- for viewer.c ---- */
void session_link_viewer(struct session *s, struct viewer *v);
void session_unlink_viewer(struct session *s, struct viewer *v);
/* A pin or place moved: reading may go on. */
void session_unpin(struct session *s);
/* Bytes or the end of stdin were queued. */
void session_feed_stdin(struct session *s);
void session_arm(struct session *s);
