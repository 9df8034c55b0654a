/*
 * takeover.h - one agentd taking over from another, in the same process: the live upgrade.
 *
 * Everything a session needs is in the arena and in descriptors whose numbers the arena holds, so
 *an upgrade is: make the arena and those descriptors survive exec, exec the new binary, adopt. The
 *command line tells the new one where they are:
 *
 *	agentd <as started> --adopt=ARENA_FD --adopt-link=FD --adopt-listen=FD:SPEC...
 *
 * A crash is the same adoption with descriptors that another process has kept meanwhile: keeper.h.
 */
#pragma once

#include "agentd/daemon.h"

/* Runs `path --can-adopt` and asks whether it understands our arena. 0, or -errno with the error
 * filled. */
int takeover_check(const char *path, struct error *e);
/* Replaces this process. Returns only on failure, with everything as it was. */
int takeover_exec(struct daemon *d, const char *path);
/* What --can-adopt prints: the layout versions this binary takes over. */
void takeover_print_versions(void);
/* "adopt=FD", "adopt-link=FD", "adopt-listen=FD:SPEC". 0 or -EINVAL. */
int takeover_parse(struct inherited *in, const char *option);
