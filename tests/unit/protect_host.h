/*
 * protect_host.h - for an agent of a test that runs here and not in a machine. What it is told when
 * it wakes (name, id, clock, what to freeze) would be done to this one.
 */
#pragma once

#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

/* In the child, before exec. An ordinary user can do none of it anyway. */
static inline void protect_host(void)
{
	if (geteuid() != 0)
		return;
	if (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("/etc", "/etc", NULL, MS_BIND, NULL) < 0 ||
		mount(NULL, "/etc", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0 ||
		prctl(PR_CAPBSET_DROP, CAP_SYS_TIME) < 0 ||
		prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN) < 0)
		_exit(126);
}
