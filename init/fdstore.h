/*
 * fdstore.h - the descriptors that init keeps for agentd, by name, as systemd's file descriptor
 * store does; and the ends of processes whose pidfd is among them, for an agent that was not there
 * to see them.
 *
 * The store owns what is in it. Names need not be unique: removing one removes all that have it.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"
#include "base/child_exit.h"

#define FDSTORE_MAX      65536
#define FDSTORE_NAME_MAX 31

struct fdstore_entry {
	int fd;
	pid_t pid; /* of a pidfd; 0: it is something else */
	bool exited;
	bool told; /* the agent that runs knows of it */
	char name[FDSTORE_NAME_MAX + 1];
	struct child_exit exit;
};

struct fdstore {
	struct fdstore_entry *entries; /* owned; in the order they came */
	size_t n, cap;
};

/* Takes fd over, whatever the result. -EINVAL: not a name (systemd's rule: no control characters,
 * no colon); -ENOSPC; -ENOMEM. */
int fdstore_add(struct fdstore *s, const char *name, int fd);
void fdstore_remove(struct fdstore *s, const char *name);
void fdstore_clear(struct fdstore *s);
/* A child has been reaped. True: it is one whose pidfd we keep, and its end is kept with it. */
bool fdstore_note_exit(struct fdstore *s, const struct child_exit *e);
/* The next end, from entry *at on, that the agent has not been told of, or NULL; *at is its entry.
 */
const struct child_exit *fdstore_untold(const struct fdstore *s, size_t *at);
/* A file with the ends of all that have one (struct child_exit after struct child_exit), or -errno.
 */
int fdstore_exits(const struct fdstore *s);
/* The agent has that file. */
void fdstore_all_told(struct fdstore *s);
