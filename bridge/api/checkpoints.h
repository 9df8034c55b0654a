/*
 * checkpoints.h - what the handlers around checkpoints share.
 */
#pragma once

#include <stdio.h>

#include "bridge/api/call.h"
#include "bridge/sandbox/checkpoint.h"

/* By its id; NULL: the call is answered. */
struct checkpoint *checkpoint_of(struct call *c, const char *id);
/* Does the driver keep checkpoints? False: answered. */
bool checkpoint_can(struct call *c);
/* checkpoint_fork.c */
void checkpoint_on_fork(struct call *c);
