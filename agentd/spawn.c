/*
 * The parent's half. The child runs on a stack of its own in our memory and we stand still until it
 * execs or exits (CLONE_VM | CLONE_VFORK), so nothing is copied, one static stack serves all
 * spawns, and what went wrong is simply in `struct spawn_child` afterwards.
 *
 * Sharing memory has its prices. No handler of ours may run in the child: all signals are blocked
 * across the clone, and the child empties the mask only after every disposition is reset. A child
 * that becomes a user can be stopped by that user while we wait for it: spawn_guard.h. And it makes
 * the shared memory undumpable, which is how the kernel keeps the user from reading it. That stays
 * so: the memory is shared for some moments after the kernel has let us go on.
 */
#include "agentd/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agentd/clone3.h"
#include "agentd/spawn_child.h"
#include "agentd/spawn_guard.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Enough for a PATH_MAX buffer, an exec, and the frames of sanitizers; only touched pages cost
 * memory. */
#define STACK_SIZE (64 * KIB)
#define GUARD_SIZE (64 * KIB) /* a multiple of any page size */

static bool no_clone3; /* this kernel has none, or not with the flags we need */
static bool force_fallback;

const char *spawn_stage_str(enum spawn_stage stage)
{
	static const char *const names[] = {
		[SPAWN_OK] = "ok",
		[SPAWN_LIMITS] = "limits",
		[SPAWN_PIPE] = "pipe",
		[SPAWN_CLONE] = "clone",
		[SPAWN_SESSION] = "session",
		[SPAWN_CGROUP] = "cgroup",
		[SPAWN_RLIMIT] = "rlimit",
		[SPAWN_USER] = "user",
		[SPAWN_CWD] = "cwd",
		[SPAWN_EXEC] = "exec",
	};

	return (size_t)stage < array_size(names) ? names[stage] : "?";
}

void spawn_force_fallback(bool on)
{
	force_fallback = on;
}

/* The lowest usable address of the stack, or NULL without memory. Made once, kept for ever. */
static char *child_stack(void)
{
	static char *stack;
	char *p;

	if (stack)
		return stack;
	p = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
		-1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (mprotect(p + GUARD_SIZE, STACK_SIZE, PROT_READ | PROT_WRITE) < 0) {
		munmap(p, GUARD_SIZE + STACK_SIZE);
		return NULL;
	}
	stack = p + GUARD_SIZE;
	return stack;
}

/*
 * A child gets a copy of our descriptor table only to close all of it but three: with thousands of
 * sessions that would cost more than everything else. So it is cloned with the very table, and its
 * first act is to get a copy of the lowest part (close_range with CLOSE_RANGE_UNSHARE), into which
 * we have put its three: three low descriptors are kept for that, holding /dev/null in the
 * meantime.
 */
static struct {
	bool ready, usable;
	int null, fd[3];
} slots;

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2U
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

void spawn_reserve(void)
{
	if (slots.ready)
		return;
	slots.ready = true;
	slots.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	slots.usable =
		slots.null >= 0 && syscall(SYS_close_range, ~0U, ~0U, CLOSE_RANGE_UNSHARE) == 0;
	for (int i = 0; i < 3 && slots.usable; i++) {
		slots.fd[i] = fcntl(slots.null, F_DUPFD_CLOEXEC, 3);
		slots.usable = slots.fd[i] >= 0;
	}
}

/* The child's descriptors into the slots, or (NULL) back to nothing: a pipe must not be held open
 * by us. */
static bool fill_slots(const int fd[3])
{
	for (int i = 0; i < 3; i++) {
		if (dup3(fd ? fd[i] : slots.null, slots.fd[i], O_CLOEXEC) < 0)
			return false;
	}
	return true;
}

/* Raw, because libc spares the signals it uses itself, and their handlers must not run in the child
 * either. */
static void block_signals(void *old)
{
	unsigned char all[_NSIG / 8];

	memset(all, 0xff, sizeof(all));
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, all, old, sizeof(all));
}

/*
 * The signals that are ignored, which neither CLONE_CLEAR_SIGHAND nor exec resets. Asking costs as
 * much as resetting, so it is done once: what we inherited does not change, and we catch
 * what we do not want (main.c), which exec resets.
 */
static uint64_t ignored_signals(void)
{
	static uint64_t set;
	static bool known;
	struct sigaction sa;

	if (known)
		return set;
	known = true;
	for (int sig = 1; sig <= 64; sig++) {
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			set |= 1ULL << (sig - 1);
	}
	return set;
}

static void restore_signals(const void *old)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, old, NULL, (size_t)(_NSIG / 8));
}

/* With clone3: straight into the cgroup. The pid, or -errno. */
static long start_clone3(struct spawn_child *child, char *stack, int *pidfd)
{
	struct clone3_args args = {
		.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
		.stack = (uintptr_t)stack,
		.stack_size = STACK_SIZE,
	};

	child->reset_signals = ignored_signals();
	child->join_cgroup = false;
	if (child->keep_up_to)
		args.flags |= CLONE_FILES;
	if (child->req->cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)child->req->cgroup_fd;
	}
	return clone3_run(&args, spawn_child_run, child);
}

static long start_clone(struct spawn_child *child, char *stack, int *pidfd)
{
	int pid;

	child->keep_up_to = 0;
	memcpy(child->fd, child->req->fd, sizeof(child->fd));
	child->reset_signals = UINT64_MAX;
	child->join_cgroup = child->req->cgroup_fd >= 0;
	pid = clone(spawn_child_run, stack + STACK_SIZE,
		CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, child, pidfd);
	return pid < 0 ? -errno : pid;
}

static long start(struct spawn_child *child, char *stack, int *pidfd)
{
	long pid;

	if (no_clone3 || force_fallback)
		return start_clone(child, stack, pidfd);
	pid = start_clone3(child, stack, pidfd);
	switch (pid) {
	case -ENOSYS:
	case -EINVAL: /* a flag */
	case -E2BIG:  /* or a member it does not know */
		no_clone3 = true;
		return start_clone(child, stack, pidfd);
	case -EPERM: /* seccomp */ return start_clone(child, stack, pidfd);
	default: return pid;
	}
}

/* Which errors of clone3 speak of the cgroup; the others are about making a process. */
static enum spawn_stage clone_stage(const struct spawn_request *req, int err)
{
	static const int of_cgroup[] = {ENODEV, ENOENT, EBADF, ENOTDIR, EACCES, EBUSY, EOPNOTSUPP};

	for (size_t i = 0; req->cgroup_fd >= 0 && i < array_size(of_cgroup); i++) {
		if (err == of_cgroup[i])
			return SPAWN_CGROUP;
	}
	return SPAWN_CLONE;
}

static void reap(int pidfd)
{
	siginfo_t info;

	while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) < 0 &&
		errno == EINTR)
		;
	close(pidfd);
}

/* The child may get into the hands of somebody who is not us, and not root either. */
static bool needs_guard(const struct spawn_request *req)
{
	return req->set_user && req->uid != 0 && req->uid != getuid();
}

/* Clones and waits. The pid, or -errno; child->err says how the child fared. */
static long run_child(struct spawn_child *child, char *stack, int *pidfd)
{
	bool guarded = needs_guard(child->req);
	char **argv = child->req->argv;
	char *argv0 = argv[0], *spare = argv[-1];
	unsigned char mask[_NSIG / 8];
	long pid;

	block_signals(mask);
	if (guarded)
		spawn_guard_begin(pidfd);
	pid = start(child, stack, pidfd);
	if (guarded)
		spawn_guard_end();
	restore_signals(mask);
	argv[0] = argv0; /* a script without #! changed them */
	argv[-1] = spare;
	return pid;
}

int spawn(const struct spawn_request *req, struct spawn_result *ret)
{
	struct spawn_child child = {.req = req, .fd = {req->fd[0], req->fd[1], req->fd[2]}};
	char *stack = child_stack();
	int pidfd = -1;
	long pid;

	if (!stack) {
		ret->stage = SPAWN_LIMITS;
		return -ENOMEM;
	}
	spawn_reserve();
	if (slots.usable && fill_slots(req->fd)) {
		memcpy(child.fd, slots.fd, sizeof(child.fd));
		child.keep_up_to = (unsigned)max_of(slots.fd[0], max_of(slots.fd[1], slots.fd[2]));
	}
	pid = run_child(&child, stack, &pidfd);
	if (slots.usable)
		fill_slots(NULL);
	if (pid < 0) {
		ret->stage = clone_stage(req, (int)-pid);
		return (int)pid;
	}
	if (child.err) {
		reap(pidfd);
		ret->stage = child.stage;
		return -child.err;
	}
	ret->pid = (pid_t)pid;
	ret->pidfd = pidfd;
	ret->stage = SPAWN_OK;
	return 0;
}
