#include "agentd/frozen.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define PATHS_MAX 16
#define TEXT_SIZE 65536
#define EXTENT    (TEXT_SIZE + ARENA_PAGE)

struct note {
	uint32_t n, len; /* paths, bytes of them */
	char text[];
};

int frozen_note(struct arena *a, const char *const *paths, size_t n)
{
	struct note *note;
	size_t len = 0;
	uint64_t off;

	for (size_t i = 0; i < n; i++)
		len += strlen(paths[i]) + 1;
	if (n > PATHS_MAX || len > TEXT_SIZE)
		return -E2BIG;
	frozen_forget(a);
	off = arena_alloc_extent(a, EXTENT);
	if (off == 0)
		return -ENOMEM;
	note = arena_at(a, off);
	note->n = (uint32_t)n;
	note->len = (uint32_t)len;
	len = 0;
	for (size_t i = 0; i < n; i++)
		len += (size_t)sprintf(note->text + len, "%s", paths[i]) + 1;
	__atomic_store_n(&a->head->frozen, off, __ATOMIC_RELEASE);
	return 0;
}

void frozen_forget(struct arena *a)
{
	uint64_t off = a->head->frozen;

	if (off == 0)
		return;
	__atomic_store_n(&a->head->frozen, 0, __ATOMIC_RELEASE);
	arena_free_extent(a, off, EXTENT, sizeof(struct note) + TEXT_SIZE);
}

static bool thaw(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY);

	return fd >= 0 && ioctl(fd, FITHAW, 0) == 0;
}

unsigned frozen_recover(struct arena *a)
{
	uint64_t off = a->head->frozen;
	const struct note *note;
	unsigned thawed = 0;
	size_t at = 0;

	a->head->frozen = 0;
	if (off == 0 || !arena_extent_valid(a, off, EXTENT))
		return 0;
	note = arena_at(a, off);
	for (uint32_t i = 0; i < note->n && i < PATHS_MAX; i++) {
		size_t room = TEXT_SIZE - at, len = strnlen(note->text + at, room);

		if (len == room)
			break;
		thawed += thaw(note->text + at);
		at += len + 1;
	}
	return thawed;
}
