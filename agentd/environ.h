/*
 * environ.h - what every command finds in its environment before its own `env`: the base, below
 * /etc/environment, below the sandbox's variables, which lie in the arena and so outlive the agent
 * (docs/protocol.md section 17).
 *
 * All lists here are strings "NAME=VALUE" in order of their names, each name once. The merged list
 * is kept for the user it was made for last: a start costs a look at the clock, and once a second a
 * stat(2) of the file.
 */
#pragma once

#include <sys/stat.h>

#include "agentd/arena.h"
#include "agentd/user.h"
#include "proto/msg.h"

#define ENVIRON_MAX      (128 * KIB) /* the sandbox's, each with its NUL */
#define ENVIRON_FILE_MAX (64 * KIB)
#define ENVIRON_EXTENT   (ENVIRON_MAX + ARENA_PAGE)

struct environ_list {
	char **vars; /* owned; the strings are not */
	size_t n;
};

struct environ {
	struct arena *arena;
	const char *file;
	uint64_t looked_at; /* 0: not yet */
	struct stat seen;
	char *file_text; /* owned: the variables of the file, one behind the other */
	size_t file_n;
	struct environ_list merged;
	char *own_text; /* owned: the base; NULL: nothing is merged */
	char *whose;    /* owned: the user it is for */
};

/* The sandbox's variables are the arena's, if it has any. -EINVAL: what it has is damaged, and
 * forgotten. */
int environ_init(struct environ *e, struct arena *a, const char *file);
void environ_fini(struct environ *e);

/* For a command of this user. Good until the next call here; NULL: out of memory. */
const struct environ_list *environ_base(struct environ *e, const struct user *u);
/* The variable of that name (the first n bytes) in a list: its index, or -1. */
ssize_t environ_find(const struct environ_list *l, const char *name, size_t n);

/* 0, or -errno with the error filled and nothing changed. */
int environ_set(
	struct environ *e, bool clear, const struct msg_env *set, size_t n, struct error *error);
/* "env": names, "bytes", "cut", into an open object; leaves some room. */
void environ_put(const struct environ *e, struct jsonw *w);

/* The text of /etc/environment as variables one behind the other, unordered and maybe more than
 * once; the later counts. out: len + 1 bytes. Returns their number. */
size_t environ_parse(const char *text, size_t len, char *out);
