/*
 * cgroup.h - a cgroup v2 leaf per session, where there is a cgroup v2 that we may write to: the way
 * to reach every descendant of a session, whatever it does (cgroup.kill), and to know what the
 * memory limit ended. Everything degrades to "no cgroup" without an error.
 *
 * Making and removing a leaf costs several times as much as anything else around a spawn, so empty
 * ones are kept and used again; that is why the module chooses the names ("s0", "s1", ...).
 */
#pragma once

#include "base/base.h"

#define CGROUP_LEAF_NAME 16 /* bytes, terminator included */

struct cgroup_pool;

struct cgroup {
	int dir;        /* of the parent of all leaves; -1: there are no cgroups here */
	char path[256]; /* for people and for `existing`; "" when there are none */
	/* private */
	struct cgroup_pool *pool;
	bool made; /* the directory is ours to remove */
};

/*
 * mode "auto": a directory "agentd-<pid>" below our own v2 cgroup (found by /proc/self/mountinfo
 * and /proc/self/cgroup; hybrid hierarchies too); "none"; or an absolute path, created when missing
 * (an error then is an error; -EBUSY: another agent has it). Also removes what former agents left
 * there empty. `existing`: the path from before an upgrade or crash to take over as it is, or NULL;
 * the leaves of living sessions are then to be claimed before the first cgroup_leaf_open.
 */
int cgroup_init(struct cgroup *cg, const char *mode, const char *existing);
/* remove: also removes the parent directory (an orderly end), if we made it; not before an upgrade.
 */
void cgroup_fini(struct cgroup *cg, bool remove);

/* An empty leaf for a new session: its name, and as the result a descriptor of its directory, which
 * stays ours and is good until the next call here. Or -errno; -EOPNOTSUPP: no cgroups. */
int cgroup_leaf_open(struct cgroup *cg, char ret_name[CGROUP_LEAF_NAME]);
/* The same, never one that is kept for reuse, and never kept. */
int cgroup_leaf_open_own(struct cgroup *cg, char ret_name[CGROUP_LEAF_NAME]);
/* After a take-over: this leaf has an owner. -EINVAL: not a name of ours. */
int cgroup_leaf_claim(struct cgroup *cg, const char *name);
/* The same for a leaf just found empty (cgroup_leaf_populated): it can be handed out again unseen.
 */
void cgroup_leaf_close_empty(struct cgroup *cg, const char *name);
/* The session is done with it. Processes that still live in it stay there undisturbed, and it is
 * not used again before they are gone. */
void cgroup_leaf_close(struct cgroup *cg, const char *name);

/* Nothing is going on: gives up the leaves kept for reuse, and their descriptors. */
void cgroup_idle(struct cgroup *cg);

/* For the rest "no such leaf" and "no cgroups" are -ENOENT, false and 0. */
int cgroup_leaf_kill(struct cgroup *cg, const char *name); /* SIGKILL to all in it */
int cgroup_leaf_signal(struct cgroup *cg, const char *name,
	int sig); /* one by one, through pidfds; returns n or -errno */
bool cgroup_leaf_populated(struct cgroup *cg, const char *name);
/* memory.events oom_kill; 0 when there is no memory controller. */
uint64_t cgroup_leaf_oom_kills(struct cgroup *cg, const char *name);
