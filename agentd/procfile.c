#include "agentd/procfile.h"

#include <fcntl.h>

ssize_t procfile_read_at(int dir, const char *name, char *out, size_t size)
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t len = 0;
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (len < size - 1 && (n = read(fd, out + len, size - 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		return -errno;
	out[len] = '\0';
	return (ssize_t)len;
}

ssize_t procfile_read(const char *path, char *out, size_t size)
{
	return procfile_read_at(AT_FDCWD, path, out, size);
}

const char *procfile_next(const char *line)
{
	const char *end = strchr(line, '\n');

	return end && end[1] ? end + 1 : NULL;
}

bool procfile_value(const char *text, const char *key, uint64_t *ret)
{
	size_t n = strlen(key);

	for (const char *at = text; at; at = procfile_next(at)) {
		const char *digits = at + n;

		if (strncmp(at, key, n) != 0 || (*digits != ' ' && *digits != '\t'))
			continue;
		digits += strspn(digits, " \t");
		if (*digits < '0' || *digits > '9')
			return false;
		*ret = strtoull(digits, NULL, 10);
		return true;
	}
	return false;
}
