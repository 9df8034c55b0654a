#include "bridge/box/vm_queues.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/base.h"

/* Is there an epoll in it ("tfd: ... events: ... data: N", one line for each descriptor) that has
 * receiving (0) and sending (1)? */
static bool has_both(int dir, const char *name)
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	char text[8192];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	unsigned queues = 0;

	text[max_of(n, 0)] = '\0';
	for (const char *at = text; (at = strstr(at, "data:")); at++) {
		unsigned long long data = strtoull(at + strlen("data:"), NULL, 16);

		if (data < 2)
			queues |= 1U << data;
	}
	return queues == 3;
}

int vm_queues_taken(pid_t pid)
{
	char path[64];
	DIR *d;
	const struct dirent *e;
	bool taken = false;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while (!taken && (e = readdir(d)))
		taken = e->d_name[0] != '.' && has_both(dirfd(d), e->d_name);
	closedir(d);
	return taken;
}
