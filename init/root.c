/*
 * Which init runs on the root: the one named by init=; the image's own agentd-init; the image's
 * /sbin/init where agentd is a unit of it; and else ourselves, taken along: init and agentd of the
 * initramfs are copied to /run/agentd, so that an image which knows nothing of us works too.
 */
#include "init/root.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/log.h"
#include "init/agent.h"

#define NEW_ROOT "/newroot"
#define WAIT_MS  10000
#define LOOK_MS  20

bool root_in_initramfs(void)
{
	return access("/etc/initrd-release", F_OK) == 0;
}

/* ---- which disk ---- */

/* ext2, 3 and 4: a superblock at 1024 with a magic number, an uuid and a label. */
struct ext_super {
	char label[17];
	char uuid[37];
};

static bool read_super(const char *dev, struct ext_super *ret)
{
	auto_close int fd = open(dev, O_RDONLY | O_CLOEXEC);
	unsigned char b[136], *u = b + 104;

	if (fd < 0 || pread(fd, b, sizeof(b), 1024) != sizeof(b) || b[56] != 0x53 || b[57] != 0xef)
		return false;
	memcpy(ret->label, b + 120, 16);
	ret->label[16] = '\0';
	snprintf(ret->uuid, sizeof(ret->uuid),
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
		u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
		u[15]);
	return true;
}

static bool is_it(const char *dev, const char *label, const char *uuid)
{
	struct ext_super s;

	return read_super(dev, &s) &&
	       ((label && strcmp(s.label, label) == 0) || (uuid && strcasecmp(s.uuid, uuid) == 0));
}

/* Any block device that is it. */
static bool look(const char *label, const char *uuid, char *dev, size_t size)
{
	DIR *dir = opendir("/sys/class/block");
	struct dirent *e;
	bool found = false;

	while (dir && !found && (e = readdir(dir))) {
		if (e->d_name[0] == '.' ||
			(size_t)snprintf(dev, size, "/dev/%s", e->d_name) >= size)
			continue;
		found = is_it(dev, label, uuid);
	}
	if (dir)
		closedir(dir);
	return found;
}

static int find(const char *spec, char *dev, size_t size)
{
	const char *label = strncmp(spec, "LABEL=", 6) == 0 ? spec + 6 : NULL;
	const char *uuid = strncmp(spec, "UUID=", 5) == 0 ? spec + 5 : NULL;
	uint64_t until = now_ms() + WAIT_MS;

	if (!label && !uuid && strncmp(spec, "/dev/", 5) != 0) {
		log_err("root=%s: only LABEL=, UUID= and /dev/ are understood", spec);
		return -EINVAL;
	}
	do {
		if (label || uuid) {
			if (look(label, uuid, dev, size))
				return 0;
		} else if (access(spec, F_OK) == 0 &&
			   (size_t)snprintf(dev, size, "%s", spec) < size) {
			return 0;
		}
		usleep(LOOK_MS * 1000);
	} while (now_ms() < until);
	log_err("root=%s: no such disk after %d s", spec, WAIT_MS / 1000);
	return -ENODEV;
}

int root_mount(const struct cmdline *c)
{
	const char *spec = cmdline_get(c, "root"), *type = cmdline_get(c, "rootfstype");
	const char *data = cmdline_get(c, "rootflags");
	bool read_only = cmdline_get(c, "ro") && !cmdline_get(c, "rw");
	char dev[PATH_MAX];
	int r = find(spec && *spec ? spec : "LABEL=root", dev, sizeof(dev));

	if (r < 0)
		return r;
	mkdir(NEW_ROOT, 0755);
	if (mount(dev, NEW_ROOT, type && *type ? type : "ext4",
		    MS_NOATIME | (read_only ? MS_RDONLY : 0), data) < 0) {
		r = -errno;
		log_err("cannot mount %s: %s", dev, strerror(-r));
	}
	return r;
}

/* ---- moving there ---- */

static int copy(const char *from, const char *to)
{
	auto_close int in = open(from, O_RDONLY | O_CLOEXEC);
	auto_close int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	ssize_t n;

	if (in < 0 || out < 0)
		return -errno;
	while ((n = sendfile(out, in, NULL, 1 << 20)) > 0)
		;
	return n < 0 ? -errno : 0;
}

static bool is_program(const char *path)
{
	char full[PATH_MAX];
	struct stat st;

	/* A link may be absolute, and mean the new root. Whether it leads somewhere is seen later.
	 */
	return (size_t)snprintf(full, sizeof(full), NEW_ROOT "%s", path) < sizeof(full) &&
	       lstat(full, &st) == 0 && !S_ISDIR(st.st_mode);
}

static bool agent_is_a_unit(void)
{
	static const char *const where[] = {
		"/etc/systemd/system/multi-user.target.wants/agentd.service",
		"/etc/runlevels/default/agentd",
		"/etc/s6-overlay/s6-rc.d/user/contents.d/agentd",
		"/etc/init.d/S99agentd",
	};

	for (size_t i = 0; i < array_size(where); i++) {
		if (is_program(where[i]))
			return true;
	}
	return false;
}

/* The path on the new root. `ours`: it is our own copy, which wants to know where agentd is. */
static const char *choose_init(const struct cmdline *c, bool *ours)
{
	const char *given = cmdline_get(c, "init");

	*ours = false;
	if (given && *given)
		return given;
	if (is_program("/usr/sbin/agentd-init"))
		return "/usr/sbin/agentd-init";
	if (is_program("/sbin/init") && agent_is_a_unit())
		return "/sbin/init";
	*ours = true;
	return "/run/agentd/init";
}

static int take_along(void)
{
	int r;

	mkdir("/run/agentd", 0700);
	r = copy("/init", "/run/agentd/init");
	return r < 0 ? r : copy(AGENT_PATH, "/run/agentd/agentd");
}

/* The initramfs is memory: what is not needed any more is given back. One file system only. */
static void empty_dir(int fd, dev_t dev)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		close(fd);
		return;
	}
	while ((e = readdir(dir))) {
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			st.st_dev != dev)
			continue;
		if (S_ISDIR(st.st_mode)) {
			int sub = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

			if (sub >= 0)
				empty_dir(sub, dev);
			unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
		} else {
			unlinkat(dirfd(dir), e->d_name, 0);
		}
	}
	closedir(dir);
}

static int move_mounts(void)
{
	static const char *const dirs[] = {"/dev", "/proc", "/sys", "/run"};

	for (size_t i = 0; i < array_size(dirs); i++) {
		char to[64];

		snprintf(to, sizeof(to), NEW_ROOT "%s", dirs[i]);
		mkdir(to, 0755);
		if (mount(dirs[i], to, NULL, MS_MOVE, NULL) < 0 && errno != EINVAL) {
			log_err("cannot move %s: %s", dirs[i], strerror(errno));
			return -errno;
		}
	}
	return 0;
}

int root_switch(const struct cmdline *c, char **argv)
{
	bool ours;
	const char *path = choose_init(c, &ours);
	char with_agent[] = "agentd.path=/run/agentd/agentd";
	char *own_argv[] = {(char *)path, ours ? with_agent : NULL, NULL};
	struct stat root;
	int old, r = ours ? take_along() : 0;

	if (r < 0) {
		log_err("init and agentd cannot be taken along: %s", strerror(-r));
		return r;
	}
	r = move_mounts();
	old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r < 0 || old < 0 || fstat(old, &root) < 0)
		return r < 0 ? r : -errno;
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0) {
		r = -errno;
		log_err("cannot switch root: %s", strerror(-r));
		return r;
	}
	empty_dir(old, root.st_dev);
	argv[0] = (char *)path;
	execv(path, ours ? own_argv : argv);
	r = -errno;
	log_err("cannot run %s: %s", path, strerror(-r));
	return r;
}
