/*
 * frozen.h - the note of what is frozen (freeze.h), in the arena: an agent that dies meanwhile
 * takes its watch with it, and the next one must thaw.
 */
#pragma once

#include "agentd/arena.h"

/* Before anything is frozen. At most 16 paths. 0 or -errno. */
int frozen_note(struct arena *a, const char *const *paths, size_t n);
/* All is thawed. Fine when nothing is noted. */
void frozen_forget(struct arena *a);
/* Of a former agent, before arena_claimed(): thaws what it noted. Returns how many were frozen. */
unsigned frozen_recover(struct arena *a);
