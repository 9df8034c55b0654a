/*
 * Signals to all of a leaf. KILL is the kernel's own (cgroup.kill, atomic against forks). Other
 * signals go to one process after the other, and a number read from cgroup.procs may be somebody
 * else's by the time it is used. So a batch is opened as pidfds first and the list read again: a
 * number that still stands there belongs to the process we opened, or that one is gone and the
 * signal reaches nobody.
 */
#include "agentd/cgroup_pool.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define BATCH       128
#define KILL_ROUNDS 16 /* where there is no cgroup.kill */

struct pids {
	pid_t *pid;
	size_t n, room;
};

static int add_pid(struct pids *list, pid_t pid)
{
	if (list->n == list->room) {
		size_t room = list->room ? list->room * 2 : 64;
		pid_t *more = realloc(list->pid, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		list->pid = more;
		list->room = room;
	}
	list->pid[list->n++] = pid;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

/* The leaf's processes in ascending order. */
static int read_pids(const struct cgroup *cg, const char *name, struct pids *list)
{
	int fd = cgroup_leaf_file(cg, name, "cgroup.procs", O_RDONLY), pid, r = 0;
	FILE *file;

	list->n = 0;
	if (fd < 0)
		return fd;
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	while (r == 0 && fscanf(file, "%d", &pid) == 1) {
		if (pid > 0 && pid != getpid()) /* 0: not in our pid namespace */
			r = add_pid(list, pid);
	}
	fclose(file);
	if (list->n)
		qsort(list->pid, list->n, sizeof(*list->pid), by_number);
	return r;
}

static bool has_pid(const struct pids *list, pid_t pid)
{
	return list->n && bsearch(&pid, list->pid, list->n, sizeof(pid), by_number);
}

/* Signals those of the batch that `again`, read after they were opened, still has. Closes them. */
static int signal_opened(const pid_t *pid, int *pidfd, size_t n, const struct pids *again, int sig)
{
	int done = 0;

	for (size_t i = 0; i < n; i++) {
		if (has_pid(again, pid[i]) &&
			syscall(SYS_pidfd_send_signal, pidfd[i], sig, NULL, 0) == 0)
			done++;
		close(pidfd[i]);
	}
	return done;
}

int cgroup_leaf_signal(struct cgroup *cg, const char *name, int sig)
{
	struct pids list = {0}, again = {0};
	int r = read_pids(cg, name, &list), total = 0;
	size_t i = 0;

	while (r == 0 && i < list.n) {
		pid_t pid[BATCH];
		int pidfd[BATCH], fd = 0;
		size_t n = 0;

		for (; i < list.n && n < BATCH; i++) {
			fd = (int)syscall(SYS_pidfd_open, list.pid[i], 0);
			if (fd < 0 && errno == ESRCH)
				continue;
			if (fd < 0)
				break; /* no more descriptors: what is open goes first */
			pid[n] = list.pid[i];
			pidfd[n++] = fd;
		}
		if (fd < 0 && n == 0 && i < list.n)
			r = -errno;
		else
			r = read_pids(cg, name, &again);
		total += signal_opened(pid, pidfd, n, &again, sig);
	}
	free(list.pid);
	free(again.pid);
	return r < 0 ? r : total;
}

int cgroup_leaf_kill(struct cgroup *cg, const char *name)
{
	auto_close int fd = cgroup_leaf_file(cg, name, "cgroup.kill", O_WRONLY);
	int n = 1;

	cgroup_pool_spoil(cg, name);
	if (fd >= 0)
		return write(fd, "1", 1) == 1 ? 0 : -errno;
	/* Before Linux 5.14: until nobody is left that was not killed already. */
	for (int i = 0; i < KILL_ROUNDS && n > 0; i++)
		n = cgroup_leaf_signal(cg, name, SIGKILL);
	return n < 0 ? n : 0;
}
