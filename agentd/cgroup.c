/*
 * Finding or making the directory that holds the leaves, and leaving it behind in order.
 *
 * An agent holds a lock (flock) on its directory as long as it lives, so another one that starts
 * can tell what is in use from what was left: in mode "auto" it clears its dead siblings away, and
 * for a configured path it refuses to share. During an upgrade the lock is gone for a moment, but
 * the pid in the name is alive.
 */
#include "agentd/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "agentd/cgroup_find.h"
#include "agentd/cgroup_pool.h"

#define CGROUP2_MAGIC 0x63677270
#define AUTO_PREFIX   "agentd-"

/* The directory, locked, or -EBUSY. */
static int open_locked(int at, const char *path)
{
	auto_close int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return take_fd(&fd);
}

static void write_file(int dir, const char *name, const char *text)
{
	auto_close int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		return; /* only ever an improvement */
}

/* "domain" is what can hold processes; below a threaded cgroup that is not so. */
static bool can_hold_processes(int dir)
{
	auto_close int fd = openat(dir, "cgroup.type", O_RDONLY | O_CLOEXEC);
	char type[16] = "";

	return fd >= 0 && read(fd, type, sizeof(type) - 1) > 0 && strcmp(type, "domain\n") == 0;
}

/* Takes over `dir` and the leaves in it. */
static void adopt(struct cgroup *cg, int dir, const char *path, bool remove_empty)
{
	cg->dir = dir;
	snprintf(cg->path, sizeof(cg->path), "%s", path);
	cg->pool = cgroup_pool_new();
	cgroup_pool_adopt(cg, remove_empty);
}

static int remove_stale(int own, const char *name)
{
	struct cgroup left = {.dir = -1};
	char *end;
	long pid = strtol(name + strlen(AUTO_PREFIX), &end, 10);

	if (*end || pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
		return -EBUSY;
	left.dir = open_locked(own, name);
	if (left.dir < 0)
		return left.dir;
	left.pool = cgroup_pool_new();
	cgroup_pool_adopt(&left, true);
	cgroup_pool_free(&left, true);
	close_fd(&left.dir);
	return unlinkat(own, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static void remove_stale_siblings(int own)
{
	int fd = openat(own, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, AUTO_PREFIX, strlen(AUTO_PREFIX)) == 0)
			remove_stale(own, entry->d_name);
	}
	closedir(dir);
}

/* Whatever is in the way: then there are no cgroups. */
static void init_auto(struct cgroup *cg)
{
	auto_close int own = -1, dir = -1;
	char own_path[sizeof(cg->path)], path[sizeof(cg->path)];

	if (cgroup_find_own(own_path, sizeof(own_path)) < 0 ||
		(size_t)snprintf(path, sizeof(path), "%s/" AUTO_PREFIX "%d", own_path, getpid()) >=
			sizeof(path))
		return;
	own = open(own_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (own < 0)
		return;
	remove_stale_siblings(own);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return;
	dir = open_locked(AT_FDCWD, path);
	if (dir < 0 || !can_hold_processes(dir)) {
		rmdir(path);
		return;
	}
	/* For memory.events in the leaves. Refused where our own cgroup is not the root and we are
	 * in it. */
	write_file(own, "cgroup.subtree_control", "+memory");
	write_file(dir, "cgroup.subtree_control", "+memory");
	adopt(cg, take_fd(&dir), path, true);
	cg->made = true;
}

static int init_path(struct cgroup *cg, const char *path)
{
	auto_close int dir = -1;
	struct statfs fs;
	bool made;

	if (strlen(path) >= sizeof(cg->path))
		return -ENAMETOOLONG;
	made = mkdir(path, 0755) == 0;
	if (!made && errno != EEXIST)
		return -errno;
	dir = open_locked(AT_FDCWD, path);
	if (dir < 0)
		return dir;
	if (fstatfs(dir, &fs) < 0 || fs.f_type != CGROUP2_MAGIC || !can_hold_processes(dir)) {
		if (made)
			rmdir(path);
		return -EINVAL;
	}
	write_file(dir, "cgroup.subtree_control", "+memory");
	adopt(cg, take_fd(&dir), path, true);
	cg->made = made;
	return 0;
}

int cgroup_init(struct cgroup *cg, const char *mode, const char *existing)
{
	*cg = (struct cgroup){.dir = -1};
	if (strcmp(mode, "none") == 0)
		return 0;
	if (*mode != '/' && strcmp(mode, "auto") != 0)
		return -EINVAL;
	if (existing && *existing && strlen(existing) < sizeof(cg->path)) {
		int dir = open(existing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (dir >= 0) {
			/* Ours by what the record says, whoever may still hold the lock. */
			flock(dir, LOCK_EX | LOCK_NB);
			adopt(cg, dir, existing, false);
			cg->made = *mode != '/';
			return 0;
		}
		/* It is gone, and the leaves with it: begin anew. */
	}
	if (*mode == '/')
		return init_path(cg, mode);
	init_auto(cg);
	return 0;
}

void cgroup_fini(struct cgroup *cg, bool remove)
{
	if (cg->pool)
		cgroup_pool_free(cg, remove);
	if (cg->dir >= 0)
		flock(cg->dir, LOCK_UN);
	close_fd(&cg->dir);
	if (remove && cg->made)
		rmdir(cg->path);
	*cg = (struct cgroup){.dir = -1};
}
