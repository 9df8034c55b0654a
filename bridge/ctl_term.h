/*
 * ctl_term.h - the terminal that agentctl itself runs on: its size, and raw mode, which is undone
 * however the program ends (a KILL excepted).
 */
#pragma once

#include "proto/msg.h"

/* Of the first of our stdin, stdout and stderr that is a terminal; false when none is. */
bool ctl_term_size(struct msg_size *ret);
/* Raw mode of stdin: keys come one by one and mean nothing to us; or, for who only watches, nothing
 * but signals. False when it is no terminal. */
bool ctl_term_raw(bool watch_only);
void ctl_term_restore(void); /* idempotent */
bool ctl_term_is_raw(void);
