#include "init/modules.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "base/log.h"

static int load(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

int modules_load(const char *list)
{
	size_t dir_len = (size_t)(strrchr(list, '/') - list) + 1;
	FILE *f = fopen(list, "re");
	char line[PATH_MAX], path[PATH_MAX + PATH_MAX];
	int n = 0;

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		int r;

		line[strcspn(line, "\n")] = '\0';
		if (!*line || *line == '#')
			continue;
		snprintf(path, sizeof(path), "%.*s%s", (int)dir_len, list, line);
		r = load(path);
		if (r < 0)
			log_warn("module %s: %s", line, strerror(-r));
		n += r == 0;
	}
	fclose(f);
	return n;
}
