/*
 * session_io.h - how bytes move between a session's child and its store and queue; private to session*.c.
 */
#pragma once

#include "agentd/session.h"

/* Events of the process. */
void session_on_readable(struct process *p, int stream);
void session_on_writable(struct process *p);
void session_on_stdin_gone(struct process *p);

void session_notify(struct session *s); /* something for viewers */
void session_close_stdin(struct session *s); /* and tells the viewers */
void session_resume(struct session *s); /* read again, whatever paused it */
/* After the leader was reaped: what is in the pipes now may still be its output. */
void session_mark_residue(struct session *s);
bool session_residue_read(const struct session *s);

/* The one place that decides that a session has ended. */
void session_check(struct session *s);
