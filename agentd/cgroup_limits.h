/*
 * cgroup_limits.h - limits of a cgroup v2: memory.max, pids.max, cpu.max. A limit needs its
 * controller, which is switched on here when it is wanted first, because controllers cost every
 * command something.
 */
#pragma once

#include "agentd/cgroup.h"
#include "proto/msg.h"

/* `dir`: a cgroup's directory. Makes sure that the controllers of what r says work in it (below:
 * also in the cgroups below it). 0, or -EOPNOTSUPP with the error filled. */
int cgroup_limits_enable(int dir, bool below, const struct msg_resources *r, struct error *e);
/* Writes what r says. 0, or -errno with the error filled; then an earlier one may be written. */
int cgroup_limits_set(int dir, const struct msg_resources *r, struct error *e);
/* Those in force as an object `name` (NULL: as members of what is open); nothing for a controller
 * that is not there. */
void cgroup_limits_put(int dir, struct jsonw *w, const char *name);
