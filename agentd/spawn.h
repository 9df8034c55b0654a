/*
 * spawn.h - the one way a process is started here, at the cost of a vfork.
 *
 * clone3(CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_INTO_CGROUP) with a stack of its own: the
 * child borrows our memory until exec, so nothing is copied and a failure is reported, with stage
 * and errno, by plain stores. The caller is suspended until exec. Where clone3 is missing or
 * refused (ENOSYS, EPERM by seccomp), clone() and a write to cgroup.procs by the child do the same.
 * After the first spawn for another user this process is undumpable (prctl(2)), and has one more
 * thread, which sleeps (spawn_guard.h).
 */
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include "base/base.h"

enum spawn_stage {
	SPAWN_OK,
	SPAWN_LIMITS, /* before the start: sessions or memory of our own */
	SPAWN_PIPE,
	SPAWN_CLONE,
	SPAWN_SESSION, /* setsid, setpgid, controlling terminal, dup2 */
	SPAWN_CGROUP,
	SPAWN_RLIMIT,
	SPAWN_USER,
	SPAWN_CWD,
	SPAWN_EXEC,
};

const char *spawn_stage_str(enum spawn_stage stage); /* the words of docs/protocol.md section 7 */

struct spawn_rlimit {
	int resource;
	struct rlimit value;
};

struct spawn_request {
	char **argv; /* argv[-1] must be a writable spare slot (used for scripts without #!) */
	char **envp;
	const char *program; /* what is executed, when argv[0] is another name for it; or NULL */
	const char *path;    /* value of PATH for the search of argv[0]; NULL: the default path */
	const char *cwd;
	int fd[3];            /* become 0, 1, 2; everything else is closed in the child */
	bool new_session;     /* setsid; else setpgid(0, 0) */
	bool controlling_tty; /* fd[0] becomes the controlling terminal; needs new_session */
	bool set_user;        /* else uid, gid and groups stay as they are */
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t n_groups;
	const struct spawn_rlimit *rlimits;
	size_t n_rlimits;
	int cgroup_fd;        /* directory of a cgroup v2, or -1 */
	bool reset_oom_score; /* ours is protected, the child's is set to 0 */
};

struct spawn_result {
	pid_t pid;
	int pidfd;              /* owned by the caller, close-on-exec */
	enum spawn_stage stage; /* on failure: where */
};

/* Takes the low descriptors that spawn() needs (see spawn.c). To be called early, while low ones
 * are free; otherwise the first spawn() does it. */
void spawn_reserve(void);
/* 0; or -errno with ret->stage set, and nothing left behind (a child that failed has been reaped).
 * From one thread only. Which signals this process ignores is looked at in the first call. */
int spawn(const struct spawn_request *req, struct spawn_result *ret);
/* For tests: never clone3, so that the way of older kernels is gone. */
void spawn_force_fallback(bool on);
