/*
 * exec_kill.h - a signal to a session, as the body of a request says it: {"signal":9}, or a name.
 */
#pragma once

#include "bridge/api/call.h"
#include "proto/msg.h"

/* Handler of .../:sid/kill: answers 204, also when the session has ended; 404 when there is none of
 * this id. KILL is the default. Takes the call's ops and state. */
void exec_kill(struct call *c, const char *id, enum msg_target to);
