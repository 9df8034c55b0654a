/*
 * exec_visit.h - a short stay in a session, for a call: it is started (or is there), what is to be
 * written to its stdin is written, and we leave it to run on. Errors are answered here: a start
 * that failed with 400 and the reason, no such session with 404.
 *
 * Takes the call's ops and state. The visit goes on when the client hangs up meanwhile, but what
 * nothing of was written by then is not written any more. Of a new command everything is kept,
 * however much it says, for the client that attaches within 5 s.
 */
#pragma once

#include "bridge/api/bridge.h"
#include "bridge/api/exec_start.h"
#include "bridge/sandbox/roster.h"
#include "proto/buf.h"

/* Must answer the call, at once. e is in the sandbox's roster. */
typedef void (*exec_visit_fn)(struct call *c, struct roster_entry *e);

/* For R_DATA routes. x is taken over, with what it owns; also *input (may be NULL). It is in the
 * roster before fn is called. For agents it also starts watching their turns. */
void exec_visit_start(struct call *c, struct exec_start *x, enum roster_kind kind,
	struct buf *input, exec_visit_fn fn);
/* Writes to a session that is there; fn is called when all of it is safe in the session. */
void exec_visit_write(struct call *c, struct roster_entry *e, struct buf *input, exec_visit_fn fn);
/* Waits for no first clients any more. After the front has ended. */
void exec_visits_end(struct bridge *b);
