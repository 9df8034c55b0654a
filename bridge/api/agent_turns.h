/*
 * agent_turns.h - a sandbox is in use while one of its Claude sessions has a turn to do, whether
 * anybody looks on or not. Each agent session is watched for that: the prompts that go in are
 * counted against the turns that are told to be over.
 *
 * Watching costs a viewer that never holds the session up. It ends with the session, or when the
 * agent forgets it.
 */
#pragma once

#include "bridge/sandbox/sandbox.h"

struct agent_turns;

void agent_turns_open(struct agent_turns **ret, uv_loop_t *loop);
/* Before the sandboxes are closed. */
void agent_turns_close(struct agent_turns *t);

/* Begins to watch it, if it runs and is not being watched. t NULL: the bridge ends. */
void agent_turns_watch(struct agent_turns *t, struct sandbox *s, struct roster_entry *e);
/* All agents of a sandbox: when its roster was filled from the agent's list. */
void agent_turns_listed(struct agent_turns *t, struct sandbox *s);
/* Every slice that goes to the stdin of an agent session, whoever wrote it. */
void agent_turns_input(struct roster_entry *e, const void *data, size_t len);
/* The turns that are asked for or under way; 0 when it is not watched. */
unsigned agent_turns_pending(const struct roster_entry *e);
/* Its conversation, or NULL: not known yet. */
const char *agent_turns_conversation(const struct roster_entry *e);
