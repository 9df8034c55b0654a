/*
 * attach_exec.h - the sockets of commands: GET /sandboxes/:id/exec/:sid and its alias for agents.
 * Both ways the first byte of a message says what it is: to the client 1 stdout, 2 stderr, 3 the
 * exit code (int32, big-endian), 4 the end of replay, 6 a note in JSON (only to who asked with
 * ?since=); from it 0 stdin, 5 the end of stdin, 6 control in JSON. Empty messages mean nothing.
 */
#pragma once

#include "bridge/api/attach.h"

void attach_exec(struct call *c);
void attach_agent(struct call *c);
