/*
 * cgroup_pool.h - between the files of cgroup.h: which leaves there are, and what they are used
 * for.
 */
#pragma once

#include "agentd/cgroup.h"

struct cgroup_pool *cgroup_pool_new(void);
/* Takes note of the leaves that are there already (nobody's, until they are claimed), or removes
 * the empty ones. */
void cgroup_pool_adopt(struct cgroup *cg, bool remove_empty);
/* Removes what is empty and not in use, or also what is in use, and forgets all. */
void cgroup_pool_free(struct cgroup *cg, bool used_too);

/* A leaf that must not be used again. */
void cgroup_pool_spoil(struct cgroup *cg, const char *name);

/* Opens a file in a leaf's directory; a descriptor or -errno. */
int cgroup_leaf_file(const struct cgroup *cg, const char *name, const char *file, int flags);
