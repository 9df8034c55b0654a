/*
 * The parent's half. The child runs on a stack of its own in our memory, and we stand still until
 * it execs or exits. So nothing is copied, one static stack serves all spawns, and what went wrong
 * is simply in `struct spawn_child` afterwards. That is vfork, but for the waiting: vfork's ends in
 * the kernel when the child lets go of our memory, and not before. A child that has become some
 * user can be stopped by that user, and we would hang with it, for ever. So we wait ourselves, on
 * the futex that the kernel wakes at the same moment (set_tid_address), and look after a child that
 * takes long.
 *
 * Sharing memory has two more prices. No handler of ours may run in the child: all signals are
 * blocked across the clone, and the child empties the mask only after every disposition is reset.
 * And a child that changes its uid makes the shared memory undumpable (the kernel protects us from
 * a ptrace by that user); once the child has left it, that is put back.
 */
#include "agentd/spawn.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agentd/clone3.h"
#include "agentd/spawn_child.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Enough for a PATH_MAX buffer, an exec, and the frames of sanitizers; only touched pages cost
 * memory. */
#define STACK_SIZE (64 * KIB)
#define GUARD_SIZE (64 * KIB) /* a multiple of any page size */

/* Where we have no system calls without errno, the kernel waits. */
#define SHARE_FLAGS (CLONE_VM | CLONE_PIDFD | (CLONE3_NATIVE ? 0 : CLONE_VFORK))

#define TICK_MS   5
#define STOPS_MAX 100 /* then the child is killed */

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
 * much as resetting, so it is done once: what we inherited does not change, and what we ignore
 * ourselves is added anyway.
 */
static uint64_t ignored_signals(void)
{
	static uint64_t set;
	struct sigaction sa;

	if (set)
		return set;
	set = 1ULL << (SIGPIPE - 1) | 1ULL << (SIGXFSZ - 1);
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
		.flags = SHARE_FLAGS | CLONE_CLEAR_SIGHAND,
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
		.stack = (uintptr_t)stack,
		.stack_size = STACK_SIZE,
	};

	child->reset_signals = ignored_signals();
	child->join_cgroup = false;
	if (child->req->cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)child->req->cgroup_fd;
	}
	return clone3_run(&args, spawn_child_run, child);
}

static long start_clone(struct spawn_child *child, char *stack, int *pidfd)
{
	int pid;

	child->reset_signals = UINT64_MAX;
	child->join_cgroup = child->req->cgroup_fd >= 0;
	pid = clone(spawn_child_run, stack + STACK_SIZE, SHARE_FLAGS | SIGCHLD, child, pidfd);
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

/* A child that is not done after a while: dead without the kernel's telling us, stopped by its
 * user, or just slow. 1 when it is dead. */
static int look_after(int pidfd, int *stops)
{
	siginfo_t info = {0};
	int sig = SIGCONT;

	raw_call(
		SYS_waitid, P_PIDFD, pidfd, (long)&info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT, 0);
	if (info.si_pid == 0)
		return 0;
	if (info.si_code != CLD_STOPPED)
		return 1;
	/* Whoever stops it again and again gets what they want, but not us. */
	if (++*stops == STOPS_MAX)
		sig = SIGKILL;
	raw_call(SYS_pidfd_send_signal, pidfd, sig, 0, 0, 0);
	return 0;
}

/* Until the child has left our memory. errno is not touched: it belongs to the child as well. */
static void wait_for_release(struct spawn_child *child, int pidfd)
{
	struct timespec tick = {0, TICK_MS * 1000000L};
	int stops = 0;

	while (__atomic_load_n(&child->borrowed, __ATOMIC_ACQUIRE)) {
		long r = raw_call(SYS_futex, (long)&child->borrowed, FUTEX_WAIT, 1, (long)&tick, 0);

		if (r == -ETIMEDOUT && look_after(pidfd, &stops))
			break;
	}
}

/* In the child this would reach all who share its memory. Too late for what it forks at once. */
static void reset_oom_score(pid_t pid)
{
	auto_close int fd = -1;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "0", 1) < 0)
		return; /* nothing depends on it */
}

static void reap(int pidfd)
{
	siginfo_t info;

	while (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) < 0 &&
		errno == EINTR)
		;
	close(pidfd);
}

int spawn(const struct spawn_request *req, struct spawn_result *ret)
{
	struct spawn_child child = {.req = req, .borrowed = 1};
	char *argv0 = req->argv[0], *spare = req->argv[-1];
	unsigned char mask[_NSIG / 8];
	char *stack = child_stack();
	int dumpable, pidfd = -1;
	long pid;

	if (!stack) {
		ret->stage = SPAWN_LIMITS;
		return -ENOMEM;
	}
	dumpable = req->set_user ? prctl(PR_GET_DUMPABLE) : 0;
	block_signals(mask);
	pid = start(&child, stack, &pidfd);
	if (pid > 0)
		wait_for_release(&child, pidfd);
	restore_signals(mask);
	if (dumpable == 1)
		prctl(PR_SET_DUMPABLE, 1);
	req->argv[0] = argv0; /* a script without #! changed them */
	req->argv[-1] = spare;
	if (pid < 0) {
		ret->stage = clone_stage(req, (int)-pid);
		return (int)pid;
	}
	if (child.err) {
		reap(pidfd);
		ret->stage = child.stage;
		return -child.err;
	}
	if (req->reset_oom_score)
		reset_oom_score((pid_t)pid);
	ret->pid = (pid_t)pid;
	ret->pidfd = pidfd;
	ret->stage = SPAWN_OK;
	return 0;
}
