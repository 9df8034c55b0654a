/*
 * keep.h - which of the sessions' descriptors the keeper has. A session that lives longer than a
 * moment is kept: most commands are over before, and should not pay for it.
 */
#pragma once

#include "agentd/keeper.h"
#include "agentd/sessions.h"

#define KEEP_AFTER_MS 50

/* From now on what is started is kept. NULL or no keeper: nothing ever is. */
void keep_init(struct sessions *all, struct keeper *k);
/* The arena, which the keeper does not have yet. */
void keep_arena(struct sessions *all);
void keep_close(struct sessions *all);
/* What came back cannot be taken over: the keeper forgets all of it. */
void keep_forget_all(struct keeper *k, unsigned slots);
/* It has been started. */
void keep_started(struct session *s);
/* A former agent's session: its descriptors from what came back. */
void keep_claim(struct session *s);

/* Before the descriptor is closed here. */
void keep_forget_stdin(struct session *s);
void keep_forget_slave(struct session *s);
/* The rest; nothing of it is needed any more. */
void keep_forget(struct session *s);

/* Its leader has ended, and is not our child. 1: *ret filled; 0: we shall be told, or time will
 * tell; negative: nobody knows. */
int keep_exit(struct session *s, struct child_exit *ret);
