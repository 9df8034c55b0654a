/*
 * terminal.h - the terminal of a session among its viewers: whose size it has, who is told of a
 * change, and that programs paint anew (docs/protocol.md section 12). Its bytes are moved like
 * those of pipes; the device is pty.h's.
 *
 * The functions without an error do nothing when the session has no terminal.
 */
#pragma once

#include "agentd/session.h"

/* -ENOTTY: there is none; -EIO: it was closed; -EPERM: not the owner; with the error filled. */
int terminal_resize(
	struct session *s, const struct viewer *by, const struct msg_size *size, struct error *e);
int terminal_own(struct session *s, struct viewer *by, struct error *e);
int terminal_repaint(struct session *s, struct error *e);

bool terminal_is_owner(const struct viewer *v);
/* As told to viewers: without what a repaint does to it. Zeroes when there is no terminal. */
void terminal_size(const struct session *s, struct msg_size *ret);

/* ---- for viewer.c and session.c ---- */

/* v is linked; back: it has come back to its place. */
void terminal_attached(struct viewer *v, bool back);
/* v is unlinked, and its place is held, or is not. */
void terminal_detached(struct session *s, const struct viewer *v);
/* The event that v has not been told of yet; false: none. */
bool terminal_news(struct viewer *v, char *out, size_t size, size_t *ret_len);
/* What is due by now: a repaint's second half, an owner whose place is held no more. */
void terminal_tick(struct session *s, uint64_t now);
