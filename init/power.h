/*
 * power.h - the orderly end of the machine, in stages, each with its time: agentd ends its
 * sessions, everything else gets TERM, then KILL; then the file systems.
 */
#pragma once

#include "base/base.h"

#define POWER_BUDGET_MS 15000

enum power_stage {
	POWER_ON,
	POWER_STOP_AGENT, /* TERM was sent; it ends its sessions with grace */
	POWER_STOP_ALL,   /* TERM to what is left */
	POWER_KILL_ALL,
	POWER_OFF, /* nothing runs any more */
};

struct power {
	enum power_stage stage; /* changes only in power_set_stage() */
	bool reboot;
	uint64_t budget;   /* ms, for all of it */
	uint64_t began;    /* now_ms() */
	uint64_t stage_at; /* when this stage's time is up */
};

void power_begin(struct power *p, bool reboot, uint64_t budget, pid_t agent);
/* Called when something may have changed: a child was reaped, time passed. alone: we have no
 * children left. */
void power_step(struct power *p, bool agent_runs, bool alone);
/* File systems, then the machine. Does not return. */
_Noreturn void power_end(const struct power *p);
