/*
 * keeper.h - who keeps our descriptors in case we die: our init or systemd, both through
 * sd_notify's descriptor store (NOTIFY_SOCKET, LISTEN_FDS). What was kept comes back to the agent
 * started next, in any order; each is known again by its identity, and not by its name.
 *
 * Without a keeper every function does nothing.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/child_exit.h"

struct kept {
	uint64_t identity;
	int fd; /* -1: claimed */
};

struct keeper {
	int fd;            /* to the keeper; -1: there is none */
	int link;          /* from init: how children of a former agent ended; -1 */
	struct kept *kept; /* sorted by identity; what came back and nobody has claimed */
	size_t n_kept;
	struct child_exit *exits;
	size_t n_exits;
};

/* Takes what the environment says, and takes LISTEN_* out of it. */
void keeper_init(struct keeper *k);
void keeper_fini(struct keeper *k);
static inline bool keeper_there(const struct keeper *k)
{
	return k && k->fd >= 0;
}

/* "READY=1" and the like. */
int keeper_say(struct keeper *k, const char *words);
/* All under one name (see systemd's FDNAME=). The keeper has them when this returns 0. */
int keeper_keep(struct keeper *k, const char *name, const int *fds, size_t n);
/* All that have the name are closed there. To be called before they are closed here, if somebody is
 * to see that: a pipe ends with its last descriptor. */
void keeper_forget(struct keeper *k, const char *name);

/* What a pipe end, terminal, pidfd or memfd is, the same in every process; 0: none of these. */
uint64_t keeper_identity(int fd);
/* The descriptor of that identity, close-on-exec; -1: it did not come back. */
int keeper_claim(struct keeper *k, uint64_t identity);
/* The memory of the sessions, or -1. */
int keeper_claim_arena(struct keeper *k);
/* Closes what nobody claimed. */
void keeper_drop_rest(struct keeper *k);

/* How a former agent's child ended; false: not known, or not yet: `link` becomes readable. */
bool keeper_exit_of(struct keeper *k, pid_t pid, struct child_exit *ret);
/* Reads the link. False: it is over. */
bool keeper_read_link(struct keeper *k);
