/*
 * user.h - /etc/passwd and /etc/group, read by ourselves: works in a static binary and in an empty
 * root, and never loads a name service. Parsed files are cached until their stat changes.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

#define USER_GROUPS_MAX 256

struct user {
	uid_t uid;
	gid_t gid;
	char name[256];                /* "" when the uid has no entry */
	char home[256];                /* "/" when unknown */
	char shell[256];               /* "/bin/sh" when unknown */
	gid_t groups[USER_GROUPS_MAX]; /* supplementary, gid included */
	size_t n_groups;
};

/* spec: name, uid, name:group or uid:gid (group by name or number). A number needs no entry.
 * -ENOENT: no such user or group; -EINVAL: malformed; -E2BIG: more groups than fit. */
int user_resolve(const char *spec, struct user *ret);
int user_by_uid(
	uid_t uid, struct user *ret); /* never -ENOENT: unknown uids get defaults, gid = uid */
/* For tests: other files than /etc/passwd and /etc/group. NULL restores. */
void user_set_files(const char *passwd, const char *group);
void user_drop_cache(void);
