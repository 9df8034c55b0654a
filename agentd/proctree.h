/*
 * proctree.h - signals to a set of processes where there is no cgroup: those of a session (setsid)
 * or process group, found in /proc. Each is signalled through a pidfd that is opened before its
 * stat is read a second time, so a recycled pid is never hit.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

enum proctree_by { PROCTREE_SESSION, PROCTREE_GROUP };

/* Signals every process whose session (or group) is `id`, and all descendants of those; not
 * ourselves, not pid 1. started_after: clock ticks since boot (field 22 of stat) of the leader;
 * older processes are strangers that reuse the number. Returns how many were signalled. */
int proctree_signal(enum proctree_by by, pid_t id, uint64_t started_after, int sig);
/* CPU time a running process has used so far, all its threads; -ESRCH. */
int proctree_cpu(pid_t pid, uint64_t *ret_user_us, uint64_t *ret_sys_us);
/* Start time of a process in clock ticks since boot; -ESRCH. */
int proctree_start_time(pid_t pid, uint64_t *ret);
