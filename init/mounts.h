/*
 * mounts.h - the file systems every program expects, and undoing all mounts at the end.
 */
#pragma once

#include "base/base.h"

/* Mounts what is not mounted yet. What a kernel does not have is left out; only a missing /proc or
 * /dev is worth a word (logged). */
void mounts_make(void);
/* cgroup v2 with every controller handed down, the directories of agentd and of the sandbox. False:
 * this kernel has no cgroup v2, or none that can hold processes. */
bool mounts_cgroup(void);
/* Unmounts all it can, the rest read-only. True: nothing is left that could be dirty. */
bool mounts_end(void);

#define MOUNTS_CGROUP_AGENT   "/sys/fs/cgroup/agentd"
#define MOUNTS_CGROUP_SANDBOX "/sys/fs/cgroup/sandbox"
