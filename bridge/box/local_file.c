#include "bridge/box/local.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>

int local_write(const char *dir, const char *name, const char *text)
{
	char path[BOX_PATH_MAX + 32], temp[BOX_PATH_MAX + 32];
	size_t len = strlen(text);
	auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(temp, sizeof(temp), "%s/%s.new", dir, name);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	if (n < 0 || (size_t)n != len)
		return n < 0 ? -errno : -ENOSPC;
	return rename(temp, path) < 0 ? -errno : 0;
}

int local_read(const char *dir, const char *name, char *ret, size_t size)
{
	char path[BOX_PATH_MAX + 32];
	auto_close int fd = -1;
	ssize_t n;

	ret[0] = '\0';
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = read(fd, ret, size - 1);
	ret[n > 0 ? n : 0] = '\0';
	return n < 0 ? -errno : 0;
}

int local_save_pids(const char *dir, const struct local_pids *p)
{
	char text[192];

	snprintf(text, sizeof(text), "%d %" PRIu64 " %d %" PRIu64 " %d %" PRIu64 "\n",
		(int)p->outer.pid, p->outer.start, (int)p->inner.pid, p->inner.start,
		(int)p->agent.pid, p->agent.start);
	return local_write(dir, "pids", text);
}

int local_load_pids(const char *dir, struct local_pids *ret)
{
	char text[192];
	int r = local_read(dir, "pids", text, sizeof(text));

	if (r == 0 && sscanf(text, "%d %" SCNu64 " %d %" SCNu64 " %d %" SCNu64, &ret->outer.pid,
			      &ret->outer.start, &ret->inner.pid, &ret->inner.start,
			      &ret->agent.pid, &ret->agent.start) == 6)
		return 0;
	*ret = (struct local_pids){0};
	return r < 0 ? r : -ENOENT;
}

int local_save_spec(const char *dir, const struct local_spec *s)
{
	char text[64];

	snprintf(text, sizeof(text), "%u %u\n", s->cpus, s->memory_mb);
	return local_write(dir, "spec", text);
}

void local_load_spec(const char *dir, struct local_spec *ret)
{
	char text[64];

	*ret = (struct local_spec){0};
	if (local_read(dir, "spec", text, sizeof(text)) < 0 ||
		sscanf(text, "%u %u", &ret->cpus, &ret->memory_mb) != 2)
		*ret = (struct local_spec){0};
}

int local_lock(const char *dir, bool make, int timeout_ms)
{
	char path[BOX_PATH_MAX + 32];
	uint64_t until = now_ms() + (uint64_t)timeout_ms;
	auto_close int fd = -1;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CLOEXEC | (make ? O_CREAT : 0), 0600);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (now_ms() >= until)
			return -ETIMEDOUT;
		usleep(2000);
	}
	return take_fd(&fd);
}
