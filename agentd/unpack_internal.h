/*
 * unpack_internal.h - what unpack.c and unpack_links.c share.
 */
#pragma once

#include "agentd/unpack.h"

/* As the header says paths are resolved. A descriptor or -errno. */
int unpack_open_beneath(const struct unpack *u, const char *path, int flags);
int unpack_open_dir(const struct unpack *u, const char *path); /* O_PATH */
/* Whose a new entry of u->dir is to be; false: that is whose it is already. */
bool unpack_owner(const struct unpack *u, const struct unpack_meta *m, uid_t *uid, gid_t *gid);
/* Set-user bits on an archive's word only where the owner is that of the archive, too. */
mode_t unpack_mode(const struct unpack *u, const struct unpack_meta *m);
void unpack_times(const struct unpack_meta *m, struct timespec ret[2]);
/* An empty directory of this name gives way; another one is -EISDIR. */
int unpack_clear_dir(const struct unpack *u, const char *name);
