/*
 * /proc/self/cgroup says "0::/path" for the v2 hierarchy, whatever v1 hierarchies there are
 * besides. A mount of type cgroup2 shows that hierarchy from some root on, usually "/": what
 * follows the root in our path is below the mount point. In a cgroup namespace both are relative to
 * it, and a mount from outside has a root with "..", which matches nothing.
 */
#include "agentd/cgroup_find.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/base.h"

#define TEXT_MAX (256 * KIB)

/* mountinfo writes blanks and backslashes as \ooo. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

/* Our path in the v2 hierarchy. */
static int own_path(const char *self, char *ret, size_t size)
{
	for (const char *line = self; line; line = strchr(line, '\n')) {
		size_t len;

		line += *line == '\n';
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		line += 3;
		len = strcspn(line, "\n");
		if (len >= size)
			return -ENAMETOOLONG;
		memcpy(ret, line, len);
		ret[len] = '\0';
		return 0;
	}
	return -ENOENT;
}

/* What is left of `path` below `root`, with its leading slash, or NULL. */
static const char *below(const char *path, const char *root)
{
	size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);

	if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	path += len;
	return strcmp(path, "/") == 0 ? "" : path;
}

/* "36 35 98:0 /root /mount/point rw,noatime shared:1 - type source options" */
static int from_mount(const char *line, const char *path, char *ret, size_t size)
{
	char root[512], mount[512];
	const char *type = strstr(line, " - "), *end = strchrnul(line, '\n'), *rest;

	if (!type || type > end || strncmp(type, " - cgroup2 ", 11) != 0 ||
		sscanf(line, "%*d %*d %*s %511s %511s ", root, mount) != 2)
		return -ENOENT;
	unescape(root);
	unescape(mount);
	rest = below(path, root);
	if (!rest)
		return -ENOENT;
	if ((size_t)snprintf(ret, size, "%s%s", mount, rest) >= size)
		return -ENAMETOOLONG;
	return 0;
}

int cgroup_find_in(const char *mountinfo, const char *self, char *ret, size_t size)
{
	char path[512];
	int r = own_path(self, path, sizeof(path));

	if (r < 0)
		return r;
	r = -ENOENT;
	for (const char *line = mountinfo; line && *line;) {
		const char *end = strchr(line, '\n');

		r = from_mount(line, path, ret, size);
		if (r != -ENOENT)
			return r;
		line = end ? end + 1 : NULL;
	}
	return r;
}

static int read_text(const char *path, char **ret)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *text = NULL;
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	text = malloc(TEXT_MAX);
	if (!text)
		return -ENOMEM;
	while (len < TEXT_MAX - 1 && (n = read(fd, text + len, TEXT_MAX - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	*ret = take_ptr(&text);
	return 0;
}

int cgroup_find_own(char *ret, size_t size)
{
	auto_free char *mountinfo = NULL, *self = NULL;
	int r = read_text("/proc/self/mountinfo", &mountinfo);

	if (r == 0)
		r = read_text("/proc/self/cgroup", &self);
	return r < 0 ? r : cgroup_find_in(mountinfo, self, ret, size);
}
