#include "init/mounts.h"

#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/log.h"

#define SAFE (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static const struct {
	const char *type, *where;
	unsigned long flags;
	const char *data;
	mode_t mode;
	bool needed;
} table[] = {
	{"proc", "/proc", SAFE, NULL, 0555, true},
	{"sysfs", "/sys", SAFE, NULL, 0555, false},
	{"devtmpfs", "/dev", MS_NOSUID, "mode=0755", 0755, true},
	{"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666", 0755, false},
	{"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", 01777, false},
	{"mqueue", "/dev/mqueue", SAFE, NULL, 01777, false},
	{"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755", 0755, false},
	{"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777", 01777, false},
	{"tracefs", "/sys/kernel/tracing", SAFE, NULL, 0, false},
	{"debugfs", "/sys/kernel/debug", SAFE, NULL, 0, false},
	{"securityfs", "/sys/kernel/security", SAFE, NULL, 0, false},
	{"bpf", "/sys/fs/bpf", SAFE, "mode=0700", 0, false},
};

static const struct {
	const char *target, *link;
} links[] = {
	{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"},
	{"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"},
	{"pts/ptmx", "/dev/ptmx"}, /* where devtmpfs has not made one */
};

static bool is_mount_point(const char *path)
{
	char parent[256];
	struct stat a, b;

	snprintf(parent, sizeof(parent), "%s/..", path);
	return stat(path, &a) == 0 && stat(parent, &b) == 0 && a.st_dev != b.st_dev;
}

void mounts_make(void)
{
	for (size_t i = 0; i < array_size(table); i++) {
		if (is_mount_point(table[i].where))
			continue;
		if (table[i].mode) /* else the kernel makes it, or it is not there */
			mkdir(table[i].where, table[i].mode);
		if (mount(table[i].type, table[i].where, table[i].type, table[i].flags,
			    table[i].data) < 0 &&
			table[i].needed)
			log_err("cannot mount %s: %s", table[i].where, strerror(errno));
	}
	for (size_t i = 0; i < array_size(links); i++) {
		if (symlink(links[i].target, links[i].link) < 0 && errno != EEXIST)
			log_warn("no %s: %s", links[i].link, strerror(errno));
	}
}

/* ---- cgroups ---- */

static int write_text(const char *path, const char *text)
{
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* One controller at a time: a refusal of one must not cost the others. */
static void hand_down(const char *dir)
{
	char path[256], names[512], *save = NULL;
	auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/cgroup.controllers", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, names, sizeof(names) - 1);
	if (n <= 0)
		return;
	names[n] = '\0';
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	for (char *c = strtok_r(names, " \n", &save); c; c = strtok_r(NULL, " \n", &save)) {
		char text[64];

		if ((size_t)snprintf(text, sizeof(text), "+%s", c) < sizeof(text))
			write_text(path, text);
	}
}

bool mounts_cgroup(void)
{
	const char *root = "/sys/fs/cgroup";

	if (!is_mount_point(root) &&
		mount("cgroup2", root, "cgroup2", SAFE, "nsdelegate,memory_recursiveprot") < 0 &&
		mount("cgroup2", root, "cgroup2", SAFE, NULL) < 0)
		return false;
	if (access("/sys/fs/cgroup/cgroup.procs", F_OK) < 0)
		return false; /* somebody's v1 */
	hand_down(root);
	mkdir(MOUNTS_CGROUP_AGENT, 0755);
	if (mkdir(MOUNTS_CGROUP_SANDBOX, 0755) < 0 && errno != EEXIST)
		return false;
	hand_down(MOUNTS_CGROUP_SANDBOX);
	return true;
}

/* ---- the end ---- */

#define MOUNTS_MAX 1024

/* Mount points, the latest first. Those we still need for the work itself are left out. */
static size_t list_mounts(char *out[MOUNTS_MAX])
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	size_t n = 0;

	while (f && n < MOUNTS_MAX && (m = getmntent(f))) {
		const char *d = m->mnt_dir;

		if (strcmp(d, "/") == 0 || strcmp(d, "/proc") == 0 || strcmp(d, "/dev") == 0 ||
			strcmp(d, "/sys") == 0)
			continue;
		out[n++] = strdup(d);
	}
	if (f)
		endmntent(f);
	for (size_t i = 0; i < n / 2; i++) {
		char *t = out[i];

		out[i] = out[n - 1 - i];
		out[n - 1 - i] = t;
	}
	return n;
}

static bool make_harmless(const char *dir)
{
	if (umount2(dir, 0) == 0)
		return true;
	if (mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0)
		return true;
	log_warn("%s stays mounted: %s", dir, strerror(errno));
	return false;
}

bool mounts_end(void)
{
	static char *dirs[MOUNTS_MAX];
	size_t n = list_mounts(dirs);
	bool clean = true;

	for (size_t i = 0; i < n; i++) {
		clean &= !dirs[i] || make_harmless(dirs[i]);
		free(dirs[i]);
	}
	sync();
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0) {
		log_warn("/ stays writable: %s", strerror(errno));
		clean = false;
	}
	return clean;
}
