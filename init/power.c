#include "init/power.h"

#include <signal.h>
#include <sys/reboot.h>

#include "base/log.h"
#include "init/mounts.h"

/* Shares of the budget by which each stage is over. */
static const unsigned percent[] = {
	[POWER_STOP_AGENT] = 60,
	[POWER_STOP_ALL] = 80,
	[POWER_KILL_ALL] = 90,
};

static void power_set_stage(struct power *p, enum power_stage stage)
{
	ASSERT(stage > p->stage);
	p->stage = stage;
	if (stage < POWER_OFF)
		p->stage_at = p->began + p->budget * percent[stage] / 100;
	if (stage == POWER_STOP_ALL) {
		kill(-1, SIGTERM);
		kill(-1, SIGCONT); /* a stopped one could not hear it */
	} else if (stage == POWER_KILL_ALL) {
		kill(-1, SIGKILL);
	}
}

void power_begin(struct power *p, bool reboot, uint64_t budget, pid_t agent)
{
	if (p->stage != POWER_ON)
		return;
	log_info("%s", reboot ? "rebooting" : "powering off");
	p->reboot = reboot;
	p->budget = budget;
	p->began = now_ms();
	power_set_stage(p, POWER_STOP_AGENT);
	if (agent > 0)
		kill(agent, SIGTERM);
}

void power_step(struct power *p, bool agent_runs, bool alone)
{
	uint64_t now = now_ms();

	if (p->stage == POWER_ON)
		return;
	if (p->stage == POWER_STOP_AGENT && (!agent_runs || now >= p->stage_at))
		power_set_stage(p, POWER_STOP_ALL);
	if (p->stage == POWER_STOP_ALL && (alone || now >= p->stage_at))
		power_set_stage(p, POWER_KILL_ALL);
	/* Processes that do not even die of KILL hang in the kernel: nothing waits for them. */
	if (p->stage == POWER_KILL_ALL && (alone || now >= p->stage_at))
		power_set_stage(p, POWER_OFF);
}

_Noreturn void power_end(const struct power *p)
{
	sync();
	if (!mounts_end())
		sync();
	reboot(p->reboot ? RB_AUTOBOOT : RB_POWER_OFF);
	/* No power management, or a container that must not. */
	reboot(RB_HALT_SYSTEM);
	_exit(0);
}
