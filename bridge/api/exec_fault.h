/*
 * exec_fault.h - how it is told that a session could not be opened, or was lost.
 */
#pragma once

#include "bridge/remote.h"
#include "bridge/sandbox/sandbox.h"

/* remote_open() failed: err < 0. */
void exec_fault_open(struct fault *f, int err);
/* What on_close of a remote said, but REMOTE_DONE. */
void exec_fault_close(
	struct fault *f, const struct sandbox *s, enum remote_why why, const struct error *e);
