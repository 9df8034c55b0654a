/*
 * PID 1 of the namespace ends: then the kernel ends everything in it, whatever it is. Should its
 * number not be known, because whoever made it was killed in the middle, it is found by its
 * arguments: no other process has this box's directory there.
 */
#include "bridge/box/local.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#define LOCK_MS 25000 /* longer than the making of a nest may take */
#define KILL_MS 5000

/* 1 or 0, or -errno: it cannot be looked at now. */
static int has_argument(pid_t pid, const char *arg)
{
	char path[48], text[4096];
	auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) /* gone, or nobody's of ours */
		return errno == ENOENT || errno == EACCES ? 0 : -errno;
	n = read(fd, text, sizeof(text) - 1);
	text[max_of(n, 0)] = '\0';
	for (const char *p = text; p < text + n; p += strlen(p) + 1) {
		if (strcmp(p, arg) == 0)
			return 1;
	}
	return 0;
}

static int kill_proc(const struct proc_id *id)
{
	auto_close int fd = proc_open(id);

	if (fd < 0)
		return fd == -ESRCH ? 0 : fd;
	proc_signal(fd, SIGKILL);
	return proc_wait(fd, KILL_MS);
}

static int kill_known(const struct local_pids *p)
{
	/* Held before anything dies: one that is about to end cannot be opened any more. */
	auto_close int outer = proc_open(&p->outer);
	int r = outer < 0 && outer != -ESRCH ? outer : kill_proc(&p->inner);

	if (r == 0)
		r = kill_proc(&p->agent);
	if (r == 0 && outer >= 0) {
		proc_signal(outer, SIGKILL);
		r = proc_wait(outer, KILL_MS);
	}
	return r;
}

static int kill_strays(const char *dir)
{
	char arg[BOX_PATH_MAX + 16];
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int r = 0;

	if (!proc)
		return -errno;
	snprintf(arg, sizeof(arg), "%s/root", dir);
	while (r == 0 && (e = readdir(proc))) {
		pid_t pid = (pid_t)atoi(e->d_name);
		struct proc_id id;
		int has = pid > 1 ? has_argument(pid, arg) : 0;

		if (has > 0)
			has = proc_id_of(pid, &id);
		else if (has == 0)
			continue;
		r = has == 0 ? kill_proc(&id) : has == -ESRCH ? 0 : has;
	}
	closedir(proc);
	return r;
}

/* Has a nest been begun since the last end? */
static bool began(const char *dir)
{
	char text[8];

	return local_read(dir, "nest", text, sizeof(text)) < 0 || text[0];
}

int local_end(const char *dir)
{
	/* "nest" goes last: as long as it is there it is looked for strays. */
	static const char *const names[] = {"pids", ("link/" LOCAL_SOCKET), "nest"};
	char path[BOX_PATH_MAX + 32];
	struct local_pids pids;
	auto_close int lock = local_lock(dir, false, LOCK_MS);
	int r;

	if (lock < 0 && lock != -ENOENT)
		return lock;
	r = local_load_pids(dir, &pids);
	if (r == 0)
		r = kill_known(&pids);
	else if (r == -ENOENT)
		r = began(dir) ? kill_strays(dir) : 0;
	if (r < 0)
		return r;
	local_cgroup_end(dir);
	for (size_t i = 0; i < array_size(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	return 0;
}
