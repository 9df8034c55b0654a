#include "init/fdstore.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

/* The pid that a pidfd refers to, or 0. /proc says so; there is no system call for it. */
static pid_t pid_of(int fd)
{
	char path[64], line[64];
	pid_t pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		int n;

		if (sscanf(line, "Pid: %d", &n) == 1 && n > 0)
			pid = n;
	}
	if (f)
		fclose(f);
	return pid;
}

static bool name_valid(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++) {
		if (name[i] <= ' ' || name[i] == 127 || name[i] == ':')
			return false;
	}
	return n >= 1 && n <= FDSTORE_NAME_MAX;
}

static int grow(struct fdstore *s)
{
	size_t cap = s->cap ? s->cap * 2 : 64;
	struct fdstore_entry *p;

	if (s->n < s->cap)
		return 0;
	if (s->n >= FDSTORE_MAX)
		return -ENOSPC;
	p = realloc(s->entries, cap * sizeof(*p));
	if (!p)
		return -ENOMEM;
	s->entries = p;
	s->cap = cap;
	return 0;
}

int fdstore_add(struct fdstore *s, const char *name, int fd)
{
	int r = name_valid(name) ? grow(s) : -EINVAL;

	if (r < 0) {
		close(fd);
		return r;
	}
	s->entries[s->n] = (struct fdstore_entry){.fd = fd, .pid = pid_of(fd)};
	memcpy(s->entries[s->n++].name, name, strlen(name) + 1);
	return 0;
}

void fdstore_remove(struct fdstore *s, const char *name)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (strcmp(s->entries[i].name, name) == 0)
			close(s->entries[i].fd);
		else
			s->entries[kept++] = s->entries[i];
	}
	s->n = kept;
	if (s->n == 0) {
		free(take_ptr(&s->entries));
		s->cap = 0;
	}
}

void fdstore_clear(struct fdstore *s)
{
	for (size_t i = 0; i < s->n; i++)
		close(s->entries[i].fd);
	free(take_ptr(&s->entries));
	s->n = s->cap = 0;
}

bool fdstore_note_exit(struct fdstore *s, const struct child_exit *e)
{
	for (size_t i = 0; i < s->n; i++) {
		/* A pid that was used again belongs to another entry by now: the first has ended.
		 */
		if (s->entries[i].pid != e->pid || s->entries[i].exited)
			continue;
		s->entries[i].exited = true;
		s->entries[i].exit = *e;
		return true;
	}
	return false;
}

const struct child_exit *fdstore_untold(const struct fdstore *s, size_t *at)
{
	for (; *at < s->n; ++*at) {
		if (s->entries[*at].exited && !s->entries[*at].told)
			return &s->entries[*at].exit;
	}
	return NULL;
}

void fdstore_all_told(struct fdstore *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->entries[i].told = s->entries[i].exited;
}

int fdstore_exits(const struct fdstore *s)
{
	auto_close int fd = memfd_create("exits", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < s->n; i++) {
		const struct child_exit *e = &s->entries[i].exit;

		if (s->entries[i].exited && write(fd, e, sizeof(*e)) != sizeof(*e))
			return -ENOSPC;
	}
	lseek(fd, 0, SEEK_SET);
	return take_fd(&fd);
}
