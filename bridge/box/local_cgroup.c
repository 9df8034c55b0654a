/*
 * Boxes get cgroups (v2) below our own, so that no process of one can be missed, and limits where
 * the controllers are handed down to us. All of it is optional: where it cannot be had, the
 * processes still end with their PID namespace, and nothing is limited.
 */
#include "bridge/box/local.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define LEAF       "/bridge-main" /* where we ourselves are, in a cgroup that was ours alone */
#define HASH_START 0xcbf29ce484222325ULL /* FNV-1a */
#define HASH_PRIME 0x100000001b3ULL

static int write_at(const char *dir, const char *name, const char *text)
{
	char path[2 * BOX_PATH_MAX + 128];
	auto_close int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* ---- where ---- */

/* "0::/path" of /proc/self/cgroup. */
static bool own_path(char *ret, size_t size)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[1024];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		found = strncmp(line, "0::/", 4) == 0 &&
			(size_t)snprintf(ret, size, "%s", line + 3) < size;
	}
	if (f)
		fclose(f);
	return found;
}

/* The mount of the whole v2 hierarchy (its root is ours or the namespace's). */
static bool mount_point(char *ret, size_t size)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096], root[512], mount[512];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		found = strstr(line, " - cgroup2 ") &&
			sscanf(line, "%*d %*d %*s %511s %511s ", root, mount) == 2 &&
			strcmp(root, "/") == 0 && !strchr(mount, '\\') &&
			(size_t)snprintf(ret, size, "%s", mount) < size;
	}
	if (f)
		fclose(f);
	return found;
}

/* Two bridges may have boxes of the same name; their state directories differ. */
static unsigned long long hash(const char *s)
{
	unsigned long long h = HASH_START;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * HASH_PRIME;
	return h;
}

/* Nobody but us is in it. */
static bool alone_in(const char *group)
{
	char path[2 * BOX_PATH_MAX + 32];
	int first = 0, second = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (fscanf(f, "%d %d", &first, &second) != 1)
		first = 0;
	fclose(f);
	return first == getpid();
}

/*
 * A service's cgroup is its own, but one with processes in it cannot hand controllers down. So we
 * go one below, where the next call finds us too.
 */
static void make_room(char *group)
{
	char leaf[2 * BOX_PATH_MAX + 32];
	size_t len = strlen(group), leaf_len = strlen(LEAF);

	if (len > leaf_len && strcmp(group + len - leaf_len, LEAF) == 0) {
		group[len - leaf_len] = '\0';
		return;
	}
	if (!alone_in(group))
		return;
	snprintf(leaf, sizeof(leaf), "%s" LEAF, group);
	if (mkdir(leaf, 0755) == 0 || errno == EEXIST)
		write_at(leaf, "cgroup.procs", "0");
}

void local_cgroup_find(const char *state_dir, char *ret, size_t size)
{
	char own[BOX_PATH_MAX], mount[BOX_PATH_MAX], group[2 * BOX_PATH_MAX];
	int n;

	ret[0] = '\0';
	if (!own_path(own, sizeof(own)) || !mount_point(mount, sizeof(mount)))
		return;
	snprintf(group, sizeof(group), "%s%s", mount, strcmp(own, "/") == 0 ? "" : own);
	if (strcmp(own, "/") != 0)
		make_room(group);
	n = snprintf(ret, size, "%s/bridge-%016llx", group, hash(state_dir));
	if (n < 0 || (size_t)n >= size || (mkdir(ret, 0755) < 0 && errno != EEXIST) ||
		access(ret, W_OK) < 0)
		ret[0] = '\0';
	else
		rmdir(ret); /* each box makes it, the last one removes it */
}

/* ---- one box ---- */

/* Each controller by itself: one that is not there must not cost the others. */
static void enable_controllers(const char *group)
{
	static const char *const wanted[] = {"+cpu", "+memory", "+pids"};
	char above[BOX_PATH_MAX + 64], *slash;

	snprintf(above, sizeof(above), "%s", group);
	slash = strrchr(above, '/');
	ASSERT(slash);
	*slash = '\0';
	for (size_t i = 0; i < array_size(wanted); i++) {
		if (write_at(above, "cgroup.subtree_control", wanted[i]) == 0)
			write_at(group, "cgroup.subtree_control", wanted[i]);
	}
}

void local_cgroup_make(const struct local_host *h, const char *dir, const char *id,
	const struct local_spec *spec, char *ret_path, size_t size)
{
	char init[BOX_PATH_MAX + 128], text[64];
	bool made = false;

	ret_path[0] = '\0';
	if (!h->cgroup[0] || (size_t)snprintf(init, sizeof(init), "%s/%s", h->cgroup, id) >= size)
		return;
	if (local_write(dir, "cgroup", init) < 0)
		return;
	for (unsigned i = 0; !made && i < 5; i++) { /* another's end may remove the upper one */
		if (mkdir(h->cgroup, 0755) == 0)
			enable_controllers(h->cgroup);
		made = mkdir(init, 0755) == 0 || errno == EEXIST;
	}
	if (!made)
		return;
	snprintf(ret_path, size, "%s", init);
	if (spec->memory_mb > 0) {
		snprintf(text, sizeof(text), "%lluM", (unsigned long long)spec->memory_mb);
		write_at(ret_path, "memory.max", text);
	}
	if (spec->cpus > 0) {
		snprintf(text, sizeof(text), "%u 100000", spec->cpus * 100000);
		write_at(ret_path, "cpu.max", text);
	}
	snprintf(init, sizeof(init), "%s/init", ret_path);
	if (mkdir(init, 0755) < 0 && errno != EEXIST) {
		rmdir(ret_path);
		ret_path[0] = '\0';
	}
}

/* Cgroups only: they have no files that could be removed. Deepest first. */
static void remove_tree(const char *path, unsigned depth)
{
	DIR *d = depth < 8 ? opendir(path) : NULL;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char sub[1024];

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		if ((size_t)snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) < sizeof(sub))
			remove_tree(sub, depth + 1);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

void local_cgroup_end(const char *dir)
{
	char path[BOX_PATH_MAX + 128];
	uint64_t until = now_ms() + 2000;

	if (local_read(dir, "cgroup", path, sizeof(path)) < 0 || path[0] != '/')
		return;
	write_at(path, "cgroup.kill", "1");
	/* A process that was killed leaves its cgroup a moment later. */
	for (;;) {
		remove_tree(path, 0);
		if (access(path, F_OK) < 0 || now_ms() >= until)
			break;
		usleep(2000);
	}
	*strrchr(path, '/') = '\0';
	rmdir(path); /* if this was the last box */
}
