/*
 * sandbox_json.h - a sandbox as clients see it, and a call that waits for something to become of
 * one.
 */
#pragma once

#include "bridge/api/call.h"
#include "bridge/api/text.h"
#include "bridge/sandbox/sandbox.h"

/* The members of the object under writing. full: with the token, and where to go with it. */
void sandbox_put(struct text *t, const struct call *c, const struct sandbox *s, bool full);
/* "tags" and "tagsLastUpdatedAt" */
void sandbox_put_tags(struct text *t, const struct sandbox *s);
/* Answers with the whole of it. */
void sandbox_reply(struct call *c, const struct sandbox *s, int status);

/* The op to begin something with, for a call that is answered by fn when it went well; faults are
 * answered as they are. Takes the call's ops and state. */
typedef void (*sandbox_wait_fn)(struct call *c, struct sandbox_op *op);
struct sandbox_op *sandbox_wait(struct call *c, sandbox_wait_fn fn);
/* The same; a client that hangs up meanwhile has the sandbox killed: nobody would know its id. */
struct sandbox_op *sandbox_wait_or_kill(struct call *c, sandbox_wait_fn fn);

/* ---- handlers in other files than sandboxes.c ---- */

void sandbox_on_create(struct call *c);
void sandbox_on_timeout(struct call *c);
void sandbox_on_scale(struct call *c);
void sandbox_on_get_lock(struct call *c);
void sandbox_on_set_lock(struct call *c);
void sandbox_on_get_limits(struct call *c);
void sandbox_on_set_limits(struct call *c);
void sandbox_on_get_tags(struct call *c);
void sandbox_on_set_tags(struct call *c);
void sandbox_on_all_tags(struct call *c);
/* Is this object a set of tags? JSON text for free(); NULL: the call is answered. */
char *sandbox_read_tags(struct call *c, struct jsonr object);
/* 410, when it was killed. */
bool sandbox_is_dead(struct call *c);
/* What the store said to a change. */
void sandbox_reply_store(struct call *c, int r);
