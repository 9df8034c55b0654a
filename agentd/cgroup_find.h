/*
 * cgroup_find.h - where in the file system our own cgroup v2 is.
 */
#pragma once

#include <stddef.h>

/* From the texts of /proc/self/mountinfo and /proc/self/cgroup. 0, -ENOENT, -ENAMETOOLONG. */
int cgroup_find_in(const char *mountinfo, const char *self, char *ret, size_t size);
int cgroup_find_own(char *ret, size_t size);
