/*
 * session_internal.h - between the files of a session: session_start.c (how it begins),
 * session_io.c (how its bytes move), session.c (time, signals, the end) and viewer.c.
 */
#pragma once

#include "agentd/session.h"

/* Events of the process. */
void session_on_readable(struct process *p, int stream);
void session_on_writable(struct process *p);
void session_on_stdin_gone(struct process *p);

void session_notify(struct session *s);      /* something for viewers */
void session_close_stdin(struct session *s); /* and tells the viewers */
void session_resume(struct session *s);      /* read again, whatever paused it */
/* When it is to be looked whether a viewer has been waited for long enough (0: never), and that. */
uint64_t session_yield_at(const struct session *s);
void session_yield(struct session *s, uint64_t now);
/* The leader was reaped: what can be read at once. */
void session_drain(struct session *s);
/* After that: what is in the pipes now may still be its output. */
void session_mark_residue(struct session *s);
bool session_residue_read(const struct session *s);
/* A terminal's residue is known only by reading: is that still to be done? */
bool session_residue_unknown(const struct session *s);
void session_release_slave(struct session *s); /* nobody will open the terminal again */

/* For process_watch(). */
extern const struct process_events session_process_events;

uint64_t session_wall_ms(void); /* since 1970 */
void session_signal(struct session *s, enum msg_target to, int sig);

/* The leader has ended and was not our child: its end from the keeper, if that knows it. */
void session_gone(struct session *s);
/* The end becomes a fact of the record; session_check() for what follows from it. */
void session_end(struct session *s, enum end_state state);
/* The one place that decides that a session has ended. */
void session_check(struct session *s);
