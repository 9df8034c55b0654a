/*
 * A snapshot of /proc: who belongs to the session or group by number, then, again and again until
 * nothing is added, whose parent belongs. Between the snapshot and the signal a process can end and
 * its number be given to a stranger. So each is opened as a pidfd first and its start time read
 * after that: when it is still the one of the snapshot, the pidfd is that process, and the signal
 * reaches it or nobody.
 *
 * The number of the whole set can be recycled as well, once all of it is gone. Then a process with
 * that very pid has another start time than the leader had, and nothing is signalled: as long as
 * one member of the set lives, the kernel gives its number to no one.
 *
 * KILL is repeated until a snapshot shows nobody new, as members may fork meanwhile. Other signals
 * are sent once: whom a handler starts to clean up should be left alone.
 */
#include "agentd/proctree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>

#define KILL_ROUNDS 16

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

struct proc {
	pid_t pid, ppid, group, session;
	uint64_t start;
	bool dead; /* a zombie with no thread left */
	bool member;
};

struct snapshot {
	struct proc *procs;
	size_t n, room;
};

/* The fields behind the name, which is in parentheses and may itself hold anything. */
static int parse_stat(const char *text, struct proc *ret)
{
	const char *p = strrchr(text, ')');
	unsigned long long start;
	long threads;
	char state;

	/* state ppid pgrp session, 13 others, num_threads, itrealvalue, starttime */
	if (!p || sscanf(p + 1,
			  " %c %d %d %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld"
			  " %*s %llu",
			  &state, &ret->ppid, &ret->group, &ret->session, &threads, &start) != 6)
		return -EINVAL;
	ret->start = start;
	ret->dead = (state == 'Z' || state == 'X') && threads <= 1;
	ret->member = false;
	return 0;
}

static int read_stat(pid_t pid, char *text, size_t size)
{
	auto_close int fd = -1;
	char path[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? -ESRCH : -errno;
	n = read(fd, text, size - 1);
	if (n <= 0)
		return n < 0 ? -errno : -ESRCH;
	text[n] = '\0';
	return 0;
}

static int read_proc(pid_t pid, struct proc *ret)
{
	char text[1024];
	int r = read_stat(pid, text, sizeof(text));

	ret->pid = pid;
	return r < 0 ? r : parse_stat(text, ret);
}

int proctree_cpu(pid_t pid, uint64_t *ret_user_us, uint64_t *ret_sys_us)
{
	unsigned long long user, sys, tick = (unsigned long long)sysconf(_SC_CLK_TCK);
	char text[1024];
	const char *p;
	int r = read_stat(pid, text, sizeof(text));

	if (r < 0)
		return r;
	p = strrchr(text, ')');
	/* state and ten others, utime, stime */
	if (!p || sscanf(p + 1, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu", &user,
			  &sys) != 2)
		return -EINVAL;
	*ret_user_us = user * 1000000 / tick;
	*ret_sys_us = sys * 1000000 / tick;
	return 0;
}

int proctree_start_time(pid_t pid, uint64_t *ret)
{
	struct proc proc;
	int r = read_proc(pid, &proc);

	if (r < 0)
		return r;
	*ret = proc.start;
	return 0;
}

static int add_proc(struct snapshot *s, const struct proc *proc)
{
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 256;
		struct proc *procs = realloc(s->procs, room * sizeof(*procs));

		if (!procs)
			return -ENOMEM;
		s->procs = procs;
		s->room = room;
	}
	s->procs[s->n++] = *proc;
	return 0;
}

static int take_snapshot(struct snapshot *s)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	struct proc proc;
	int r = 0;

	s->n = 0;
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);

		if (*end || pid <= 0 || read_proc((pid_t)pid, &proc) < 0)
			continue;
		r = add_proc(s, &proc);
	}
	closedir(dir);
	if (r == 0 && s->n == 0)
		r = -ENOENT; /* an empty directory: /proc is not mounted */
	return r;
}

static bool is_recycled(const struct snapshot *s, pid_t id, uint64_t leader_start)
{
	for (size_t i = 0; leader_start && i < s->n; i++) {
		if (s->procs[i].pid == id)
			return s->procs[i].start != leader_start;
	}
	return false;
}

static bool has_member_parent(const struct snapshot *s, const struct proc *proc)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->procs[i].member && s->procs[i].pid == proc->ppid)
			return true;
	}
	return false;
}

static void mark_members(struct snapshot *s, enum proctree_by by, pid_t id, uint64_t started_after)
{
	bool added = false;

	if (is_recycled(s, id, started_after))
		return;
	for (size_t i = 0; i < s->n; i++) {
		struct proc *p = &s->procs[i];

		if (p->pid == 1 || p->pid == getpid())
			continue;
		p->member = (by == PROCTREE_SESSION ? p->session : p->group) == id &&
			    p->start >= started_after;
		added |= p->member;
	}
	while (added) {
		added = false;
		for (size_t i = 0; i < s->n; i++) {
			struct proc *p = &s->procs[i];

			if (p->member || p->pid == getpid() || p->start < started_after ||
				!has_member_parent(s, p))
				continue;
			p->member = true;
			added = true;
		}
	}
}

static bool signal_proc(const struct proc *proc, int sig)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, proc->pid, 0);
	struct proc now;

	if (pidfd < 0 || read_proc(proc->pid, &now) < 0 || now.start != proc->start)
		return false;
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) == 0;
}

static bool was_signalled(const struct snapshot *done, const struct proc *proc)
{
	for (size_t i = 0; i < done->n; i++) {
		if (done->procs[i].pid == proc->pid && done->procs[i].start == proc->start)
			return true;
	}
	return false;
}

/* Signals the members that have not been, and adds to *total how many. False: there were none to
 * signal. */
static bool signal_members(const struct snapshot *s, struct snapshot *done, int sig, int *total)
{
	bool any = false;

	for (size_t i = 0; i < s->n; i++) {
		const struct proc *p = &s->procs[i];

		if (!p->member || p->dead || was_signalled(done, p))
			continue;
		any = true;
		if (!signal_proc(p, sig))
			continue; /* gone, maybe leaving a child */
		++*total;
		if (add_proc(done, p) < 0)
			return false;
	}
	return any;
}

int proctree_signal(enum proctree_by by, pid_t id, uint64_t started_after, int sig)
{
	struct snapshot s = {0}, done = {0};
	int total = 0;

	if (id <= 1)
		return 0;
	for (int round = 0; round < (sig == SIGKILL ? KILL_ROUNDS : 1); round++) {
		if (take_snapshot(&s) < 0) {
			/* Without /proc or memory the group is what the kernel itself can reach. */
			if (round == 0)
				total = kill(-id, sig) == 0 ? 1 : 0;
			break;
		}
		mark_members(&s, by, id, started_after);
		if (!signal_members(&s, &done, sig, &total))
			break;
	}
	free(s.procs);
	free(done.procs);
	return total;
}
