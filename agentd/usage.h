/*
 * usage.h - what a set of processes uses, added up from /proc: for sessions whose cgroup does not
 * tell, or that have none. T: takes a file per process.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

#define USAGE_PROCESSES 4096 /* of one set; more are not looked at */

struct usage {
	uint64_t processes, rss;     /* bytes; what is shared counts once for each */
	uint64_t user_us, system_us; /* children that were waited for included */
};

/* Those that a cgroup's directory lists. */
void usage_of_cgroup(int dir, struct usage *ret);
/* A process and its descendants. */
void usage_of_tree(pid_t pid, struct usage *ret);
