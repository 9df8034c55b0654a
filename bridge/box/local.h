/*
 * local.h - the parts of the driver `local`. A box is a directory and two processes:
 *
 *	upper/ work/ root/	the overlay; root/ is where it is mounted, in a private mount
 *				namespace only, so on the host nothing is ever mounted
 *	home/ roothome/ tmp/ workspace/
 *				bound over those of the root
 *	link/agent.sock		where agentd listens; bound to /run/agentd/link
 *	log			stdout and stderr of agentd
 *	spec, made, nest, pids, cgroup, lock
 *				what we remember, each written before it is acted on (local_file.c)
 *
 * bwrap makes the namespaces and is PID 1 in them; agentd joins from outside, because bwrap sets
 * no_new_privs for all its children, and then sudo could not work.
 */
#pragma once

#include "bridge/box/box.h"
#include "bridge/box/proc.h"

#define LOCAL_UID    1000 /* of `sandbox`, inside */
#define LOCAL_SOCKET "agent.sock"

/* What is known once about the host. */
struct local_host {
	int boxes_fd;                   /* the directory "boxes", for short paths to sockets */
	bool root;                      /* we are; else there is a user namespace */
	char cgroup[BOX_PATH_MAX + 64]; /* directory for the boxes' cgroups, or "" */
	const struct box_config *config;
};

struct local_spec {
	unsigned cpus, memory_mb;
};

struct local_pids {
	struct proc_id outer; /* bwrap on the host; it ends after the next */
	struct proc_id inner; /* bwrap as PID 1 of the namespace */
	struct proc_id agent;
};

/*
 * The directories that are overlaid. Usually one, "": the whole root. An ordinary user may not
 * overlay a directory with other mounts in it, as the host's / always has: then those below / that
 * are of use, each by itself, on a root that is otherwise empty.
 */
#define LOCAL_LAYERS_MAX 32
#define LOCAL_LAYER_NAME 32

struct local_layers {
	char names[LOCAL_LAYERS_MAX][LOCAL_LAYER_NAME];
	size_t n;
};

/* ---- local_disk.c: in a thread ---- */

void local_layers_find(const struct local_host *h, struct local_layers *ret);

/* Everything of the box's directory that the processes need. 0, or -errno with why. */
int local_disk_make(
	const struct local_host *h, const char *dir, const char *id, char *why, size_t why_size);
/* -errno of the first thing that could not be removed; the rest is. */
int local_disk_remove(const char *dir);

/* ---- local_file.c: what is remembered ---- */

int local_write(const char *dir, const char *name, const char *text);      /* whole or not at all */
int local_read(const char *dir, const char *name, char *ret, size_t size); /* "" if missing */
int local_save_pids(const char *dir, const struct local_pids *p);
/* 0; -ENOENT: not known; or -errno. Zeros then. */
int local_load_pids(const char *dir, struct local_pids *ret);
int local_save_spec(const char *dir, const struct local_spec *s);
void local_load_spec(const char *dir, struct local_spec *ret);
/* The lock that the nest's maker holds: a descriptor, or -errno; waits up to timeout_ms. Unless it
 * is to be made: -ENOENT when there was no nest ever. */
int local_lock(const char *dir, bool make, int timeout_ms);

/* ---- local_cgroup.c ---- */

/* The cgroup that those of our boxes are to be in; "" when there can be none. */
void local_cgroup_find(const char *state_dir, char *ret, size_t size);
/* Makes the cgroup of a box and sets limits where that is possible; path "" when there is none. */
void local_cgroup_make(const struct local_host *h, const char *dir, const char *id,
	const struct local_spec *spec, char *ret_path, size_t size);
/* Kills what is in it and removes it, after a bridge that was killed too. */
void local_cgroup_end(const char *dir);

/* ---- local_args.c ---- */

#define LOCAL_ARGS_MAX 96
#define LOCAL_RUN      "/run/agentd" /* in the sandbox: the agent's program and its socket */

struct local_args {
	const char
		*list[LOCAL_ARGS_MAX]; /* NULL-terminated; some are in texts, the others borrowed */
	size_t n;
	char texts[8][BOX_PATH_MAX + 64];
	size_t n_texts;
};

void local_args_fill(struct local_args *a, const struct local_host *h, const char *dir,
	const char *id, const char *cgroup);

/* ---- local_nest.c ---- */

struct local_nest;
/* Called with an empty why when both processes run. */
typedef void (*local_nest_fn)(void *owner, const struct local_pids *pids, const char *why);

/* 0, or -errno: nothing was started. cgroup: directory or "". */
int local_nest_start(struct local_nest **ret, uv_loop_t *loop, const struct local_host *h,
	const char *dir, const char *id, const char *cgroup, local_nest_fn fn, void *owner);
/* fn comes no more; what is being made is found by the next adopt. */
void local_nest_leave(struct local_nest *n);

/* ---- local_end.c: in a thread ---- */

/* Nothing of the box runs afterwards. 0 or -errno. */
int local_end(const char *dir);
