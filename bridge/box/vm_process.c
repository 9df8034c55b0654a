/*
 * A child of ours is a program (program.h); one that is adopted is watched through a pidfd, which
 * becomes readable when it ends. The working directory is looked at again when the pidfd is there:
 * what it names then is the process that was meant.
 */
#include "bridge/box/vm_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* As the kernel cuts them. */
static const char *const names[] = {[VM_QEMU] = "qemu-system-x86", [VM_VSOCK] = "vhost-device-vs"};

void vm_process_init(struct vm_process *p, enum vm_role role, vm_process_fn on_end, void *owner)
{
	*p = (struct vm_process){.role = role, .pidfd = -1, .on_end = on_end, .owner = owner};
}

bool vm_process_idle(const struct vm_process *p)
{
	return !p->running && p->handles == 0;
}

/* ---- in /proc ---- */

static bool reads_as(int pid, const char *what, const char *expected, bool link)
{
	char path[64], text[PATH_MAX];
	auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	if (link) {
		n = readlink(path, text, sizeof(text) - 1);
	} else {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	}
	if (n > 0 && !link && text[n - 1] == '\n')
		n--;
	return n > 0 && (size_t)n == strlen(expected) && memcmp(text, expected, (size_t)n) == 0;
}

/* A pidfd of that process if it is one of the machine in dir, else -1. */
static int open_one(int pid, const char *dir, int role)
{
	auto_close int fd = -1;
	bool named = false;

	if (!reads_as(pid, "cwd", dir, true))
		return -1;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	for (int i = 0; i < VM_ROLES; i++)
		named |= (role < 0 || role == i) && reads_as(pid, "comm", names[i], false);
	if (fd < 0 || !named || !reads_as(pid, "cwd", dir, true))
		return -1;
	return take_fd(&fd);
}

/* Descriptors of up to n processes of the machine; role < 0: any. */
static int find(const char *dir, int role, int *fds, int n)
{
	char real[PATH_MAX];
	DIR *proc;
	const struct dirent *e;
	int found = 0;

	if (!realpath(dir, real))
		return errno == ENOENT ? 0 : -errno;
	proc = opendir("/proc");
	if (!proc)
		return -errno;
	while (found < n && (e = readdir(proc))) {
		int pid = atoi(e->d_name);

		fds[found] = pid > 0 ? open_one(pid, real, role) : -1;
		found += fds[found] >= 0;
	}
	closedir(proc);
	return found;
}

static void send_kill(int pidfd)
{
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

int vm_process_reap(const char *dir, unsigned ms)
{
	uint64_t until = now_ms() + ms;

	for (;;) {
		int fds[16], n = find(dir, -1, fds, (int)array_size(fds));
		bool late = now_ms() >= until;

		for (int i = 0; i < n; i++) {
			struct pollfd p = {.fd = fds[i], .events = POLLIN};

			send_kill(fds[i]);
			poll(&p, 1, late ? 0 : (int)(until - now_ms()));
			close(fds[i]);
		}
		if (n <= 0 || late)
			return n;
	}
}

/* ---- one of them ---- */

static void ended(struct vm_process *p)
{
	p->running = false;
	p->on_end(p->owner, p);
}

static void on_program_end(void *owner, const struct program_result *r)
{
	struct vm_process *p = owner;

	p->killed = r->signal == SIGKILL;
	p->program = NULL;
	ended(p);
}

struct identity {
	uid_t uid;
	gid_t group; /* one more */
};

static int become(void *ctx)
{
	const struct identity *id = ctx;
	const struct rlimit none = {0};

	setrlimit(RLIMIT_CORE, &none);
	if (id->uid == 0)
		return 0;
	if (syscall(SYS_setgroups, id->group ? 1 : 0, &id->group) < 0 ||
		syscall(SYS_setresgid, id->uid, id->uid, id->uid) < 0 ||
		syscall(SYS_setresuid, id->uid, id->uid, id->uid) < 0 ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

int vm_process_start(struct vm_process *p, uv_loop_t *loop, const char *dir,
	const char *const *argv, const char *log, uid_t uid, gid_t group)
{
	struct identity id = {uid, group};
	struct program_spec spec = {.argv = argv, .cwd = dir, .before_exec = become, .ctx = &id};
	auto_close int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int out = -1;
	int r;

	ASSERT(!p->running);
	if (dir_fd >= 0)
		out = openat(dir_fd, log,
			O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	spec.output = &out;
	r = program_run(loop, &spec, on_program_end, p, &p->program);
	p->running = r == 0;
	p->killed = false;
	return r;
}

static void on_readable(uv_poll_t *h, int status, int events);

static void on_handle_closed(uv_handle_t *h)
{
	struct vm_process *p = container_of((uv_poll_t *)h, struct vm_process, poll);

	p->handles--;
	if (p->on_closed)
		p->on_closed(p->owner);
}

static void unwatch(struct vm_process *p)
{
	uv_close((uv_handle_t *)&p->poll, on_handle_closed);
	close_fd(&p->pidfd);
}

static void on_readable(uv_poll_t *h, int status, int events)
{
	struct vm_process *p = container_of(h, struct vm_process, poll);

	(void)status, (void)events;
	unwatch(p);
	ended(p);
}

int vm_process_adopt(struct vm_process *p, uv_loop_t *loop, const char *dir)
{
	int fd = -1, r = find(dir, (int)p->role, &fd, 1);

	ASSERT(vm_process_idle(p));
	if (r <= 0)
		return r < 0 ? r : -ESRCH;
	r = uv_poll_init(loop, &p->poll, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	p->handles = 1;
	p->pidfd = fd;
	p->running = true;
	return uv_poll_start(&p->poll, UV_READABLE, on_readable);
}

void vm_process_kill(struct vm_process *p)
{
	if (p->program)
		program_kill(p->program);
	else if (p->pidfd >= 0)
		send_kill(p->pidfd);
}

void vm_process_leave(struct vm_process *p)
{
	if (!p->running)
		return;
	p->running = false;
	if (p->program)
		program_leave(p->program);
	else
		unwatch(p);
	p->program = NULL;
}
