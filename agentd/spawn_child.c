/*
 * The child's half of a spawn: from clone to exec in the parent's memory, on a small stack, while
 * the parent's other threads run on. So there is nothing here but system calls and plain stores: no
 * allocation, no locks, no libc wrapper that keeps state (setuid() and friends would signal the
 * parent's threads to change, too), and no sanitizer, whose bookkeeping would be the parent's.
 *
 * The order matters. What needs privileges or our descriptors comes before they are gone. The
 * working directory is entered with the user's rights, yet before the process belongs to the user,
 * who from then on may stop it while the parent waits for it (spawn_guard.h): hence setfsuid for
 * file access, and setresuid last, after the program has been found.
 */
#include "agentd/spawn_child.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define CHILD static __attribute__((noinline, no_sanitize("address"), no_sanitize("undefined")))

/* The unsuffixed calls are the 16-bit ones on old 32-bit architectures. */
#ifdef SYS_setresuid32
#define NR_setgroups SYS_setgroups32
#define NR_getgroups SYS_getgroups32
#define NR_setresgid SYS_setresgid32
#define NR_setresuid SYS_setresuid32
#define NR_setfsuid  SYS_setfsuid32
#else
#define NR_setgroups SYS_setgroups
#define NR_getgroups SYS_getgroups
#define NR_setresgid SYS_setresgid
#define NR_setresuid SYS_setresuid
#define NR_setfsuid  SYS_setfsuid
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2U
#endif

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Each step returns 0 or -1 with errno, like the calls it is made of. errno is the parent thread's:
 * it sleeps. */

/* To the default. All zeros is that, whatever the layout of the kernel's struct. */
CHILD void reset_signals(uint64_t set)
{
	static const unsigned long dfl[16];

	for (int sig = 1; sig <= 64; sig++) {
		if (set >> (sig - 1) & 1)
			syscall(SYS_rt_sigaction, sig, dfl, NULL, (size_t)(_NSIG / 8));
	}
}

CHILD void unblock_signals(void)
{
	static const unsigned char none[_NSIG / 8];

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, sizeof(none));
}

/* The descriptor is closed with all the others. */
CHILD int write_file(int dir, const char *path, const char *text)
{
	int fd = (int)syscall(SYS_openat, dir, path, O_WRONLY | O_CLOEXEC, 0);

	return fd < 0 || syscall(SYS_write, fd, text, strlen(text)) < 0 ? -1 : 0;
}

/*
 * Not left to exec, which closes when the parent runs again already: for a moment more a lock or a
 * file open for writing would be held here, and who executes that file next would get ETXTBSY.
 */
CHILD int close_others(void)
{
	unsigned long end = 1024;
	struct rlimit lim;

	if (syscall(SYS_close_range, 3U, ~0U, 0U) == 0)
		return 0;
	/* Before Linux 5.9: one by one, up to where descriptors can be. */
	if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &lim) == 0)
		end = min_of((unsigned long)lim.rlim_cur, 1UL << 20);
	for (unsigned long fd = 3; fd < end; fd++)
		syscall(SYS_close, (int)fd);
	return 0;
}

/* The three descriptors may themselves be 0 to 2, in any order: those move out of the way first. */
CHILD int place_fds(const int want[3])
{
	int fd[3];

	for (int i = 0; i < 3; i++) {
		fd[i] = want[i];
		if (fd[i] < 3 && fd[i] != i)
			fd[i] = (int)syscall(SYS_fcntl, fd[i], F_DUPFD, 3);
		if (fd[i] < 0)
			return -1;
	}
	for (int i = 0; i < 3; i++) {
		if (fd[i] == i) {
			if (syscall(SYS_fcntl, i, F_SETFD, 0) < 0)
				return -1;
		} else if (syscall(SYS_dup3, fd[i], i, 0) < 0) {
			return -1;
		}
	}
	return close_others();
}

CHILD int enter_session(const struct spawn_child *child)
{
	const struct spawn_request *req = child->req;

	if (req->new_session ? syscall(SYS_setsid) < 0 : syscall(SYS_setpgid, 0, 0) < 0)
		return -1;
	if (place_fds(child->fd) < 0)
		return -1;
	if (req->controlling_tty && syscall(SYS_ioctl, 0, TIOCSCTTY, 0) < 0)
		return -1;
	return 0;
}

CHILD int set_rlimits(const struct spawn_request *req)
{
	for (size_t i = 0; i < req->n_rlimits; i++) {
		const struct rlimit *want = &req->rlimits[i].value;
		/* What the kernel means by prlimit64, on every architecture and libc. */
		uint64_t value[2] = {
			want->rlim_cur == RLIM_INFINITY ? UINT64_MAX : want->rlim_cur,
			want->rlim_max == RLIM_INFINITY ? UINT64_MAX : want->rlim_max,
		};

		if (syscall(SYS_prlimit64, 0, req->rlimits[i].resource, value, NULL) < 0)
			return -1;
	}
	return 0;
}

CHILD bool has_gid(const gid_t *list, size_t n, gid_t gid)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i] == gid)
			return true;
	}
	return false;
}

/* Are the wanted groups those that we have? The kernel's list may leave out the gid of the process
 * itself. */
CHILD bool groups_are_so(const struct spawn_request *req)
{
	gid_t now[1024];
	long n = syscall(NR_getgroups, (int)array_size(now), now);

	for (size_t i = 0; i < req->n_groups; i++) {
		if (req->groups[i] != req->gid &&
			(n < 0 || !has_gid(now, (size_t)n, req->groups[i])))
			return false;
	}
	for (long i = 0; i < n; i++) {
		if (now[i] != req->gid && !has_gid(req->groups, req->n_groups, now[i]))
			return false;
	}
	return n >= 0;
}

/* All of the user but what makes the process theirs: groups, gid, and the rights on files. */
CHILD int take_rights(const struct spawn_request *req)
{
	if (syscall(NR_setgroups, req->n_groups, req->groups) < 0 &&
		(errno != EPERM || !groups_are_so(req)))
		return -1; /* without privileges only what is so already may be asked for */
	if (syscall(NR_setresgid, req->gid, req->gid, req->gid) < 0)
		return -1;
	syscall(NR_setfsuid, req->uid); /* says only what it was before */
	if ((uid_t)syscall(NR_setfsuid, (uid_t)-1) != req->uid) {
		errno = EPERM;
		return -1;
	}
	return 0;
}

/* Writes "element/name" of the PATH at *path and moves *path behind the element; false when it does
 * not fit. */
CHILD bool candidate(const char **path, const char *name, char *buf, size_t size)
{
	const char *end = strchrnul(*path, ':');
	size_t dir_len = (size_t)(end - *path), name_len = strlen(name);
	const char *dir = dir_len ? *path : "."; /* an empty element is the working directory */

	*path = *end ? end + 1 : NULL;
	dir_len = max_of(dir_len, (size_t)1);
	if (dir_len + name_len + 2 > size)
		return false;
	memcpy(buf, dir, dir_len);
	buf[dir_len] = '/';
	memcpy(buf + dir_len + 1, name, name_len + 1);
	return true;
}

/* Skips the elements of the PATH that have no such file, so that between setresuid and exec nothing
 * is searched. */
CHILD const char *skip_absent(const char *path, const char *name, char *buf, size_t size)
{
	for (const char *next = path; next;) {
		path = next;
		if (candidate(&next, name, buf, size) &&
			syscall(SYS_faccessat, AT_FDCWD, buf, F_OK) == 0)
			break;
	}
	return path;
}

CHILD void exec_one(const struct spawn_request *req, char *file)
{
	syscall(SYS_execve, file, req->argv, req->envp);
	if (errno != ENOEXEC)
		return;
	/* A script without #!. Its name takes the place of argv[0]; the parent puts both slots
	 * back. */
	req->argv[0] = file;
	req->argv[-1] = (char *)"/bin/sh";
	syscall(SYS_execve, "/bin/sh", req->argv - 1, req->envp);
}

/* Which errors mean "not there, look on"; as execvp(3) has it. */
CHILD bool is_absent(int err)
{
	return err == ENOENT || err == ENOTDIR || err == ESTALE || err == ENODEV ||
	       err == ETIMEDOUT;
}

CHILD void exec_search(
	const struct spawn_request *req, const char *name, const char *path, char *buf, size_t size)
{
	bool denied = false;

	errno = ENOENT;
	while (path) {
		if (!candidate(&path, name, buf, size))
			continue;
		exec_one(req, buf);
		if (errno == EACCES)
			denied = true;
		else if (!is_absent(errno))
			return;
	}
	if (denied)
		errno = EACCES;
}

CHILD int become_user(const struct spawn_request *req)
{
	unblock_signals();
	return req->set_user ? (int)syscall(NR_setresuid, req->uid, req->uid, req->uid) : 0;
}

CHILD enum spawn_stage run_program(const struct spawn_request *req)
{
	char *name = req->program ? (char *)req->program : req->argv[0];
	const char *path = req->path ? req->path : DEFAULT_PATH;
	char buf[PATH_MAX];

	if (strchr(name, '/')) {
		if (become_user(req) < 0)
			return SPAWN_USER;
		exec_one(req, name);
		return SPAWN_EXEC;
	}
	if (strlen(name) > NAME_MAX) {
		errno = ENAMETOOLONG;
		return SPAWN_EXEC;
	}
	if (!*name) {
		errno = ENOENT;
		return SPAWN_EXEC;
	}
	path = skip_absent(path, name, buf, sizeof(buf));
	if (become_user(req) < 0)
		return SPAWN_USER;
	exec_search(req, name, path, buf, sizeof(buf));
	return SPAWN_EXEC;
}

/* Everything, in order; where it ended. */
CHILD enum spawn_stage run(const struct spawn_child *child)
{
	const struct spawn_request *req = child->req;

	/* Before anything else touches a descriptor: until here they are the parent's as well. */
	if (child->keep_up_to &&
		syscall(SYS_close_range, child->keep_up_to + 1, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		return SPAWN_SESSION;
	reset_signals(child->reset_signals);
	if (child->join_cgroup && write_file(req->cgroup_fd, "cgroup.procs", "0") < 0)
		return SPAWN_CGROUP;
	if (req->reset_oom_score) /* of a vfork child alone; there may be no /proc */
		write_file(AT_FDCWD, "/proc/self/oom_score_adj", "0");
	if (enter_session(child) < 0)
		return SPAWN_SESSION;
	syscall(SYS_umask, 022);
	if (set_rlimits(req) < 0)
		return SPAWN_RLIMIT;
	if (req->set_user && take_rights(req) < 0)
		return SPAWN_USER;
	if (req->cwd && syscall(SYS_chdir, req->cwd) < 0)
		return SPAWN_CWD;
	return run_program(req);
}

__attribute__((no_sanitize("address"), no_sanitize("undefined"))) int spawn_child_run(void *arg)
{
	struct spawn_child *child = arg;

	child->stage = run(child);
	child->err = errno;
	return 127;
}
