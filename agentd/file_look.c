/* Requests that look at one file: stat, readlink, statfs, sha256. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/vfs.h>

#include "agentd/file_entry.h"
#include "agentd/file_request.h"
#include "proto/sha256.h"

#define HASH_CHUNK (256 * 1024)

/* The name an entry has: the last component of what was asked for. */
static const char *base_name(char *path)
{
	size_t end = strlen(path), from;

	while (end > 1 && path[end - 1] == '/')
		path[--end] = '\0';
	from = end;
	while (from > 0 && path[from - 1] != '/')
		from--;
	return from < end ? path + from : path;
}

int request_stat(struct file_request *q)
{
	const char *path = q->place.path;
	auto_close int fd = place_open(&q->place, path, O_PATH | (q->m.follow ? 0 : O_NOFOLLOW), 0);
	char target[PATH_MAX], name[PATH_MAX];
	ssize_t n = -1;
	struct stat st;

	if (fd < 0)
		return file_request_fail(q, -fd, path);
	if (fstat(fd, &st) < 0)
		return file_request_fail(q, errno, path);
	if (S_ISLNK(st.st_mode))
		n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n >= 0)
		target[n] = '\0';
	memcpy(name, path, strlen(path) + 1); /* place_init() saw to its length */
	file_entry_put(&q->w, base_name(name), &st, n >= 0 ? target : NULL);
	return 0;
}

int request_readlink(struct file_request *q)
{
	const char *path = q->place.path;
	auto_close int fd = place_open(&q->place, path, O_PATH | O_NOFOLLOW, 0);
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return file_request_fail(q, -fd, path);
	if (fstat(fd, &st) < 0)
		return file_request_fail(q, errno, path);
	if (!S_ISLNK(st.st_mode))
		return file_request_fail(q, EINVAL, path);
	n = readlinkat(fd, "", target, sizeof(target));
	if (n < 0)
		return file_request_fail(q, errno, path);
	jsonw_bytes(&q->w, "target", target, (size_t)n);
	return 0;
}

static const struct {
	unsigned long magic;
	const char *name;
} fs_types[] = {
	{0xef53, "ext4"},
	{0x58465342, "xfs"},
	{0x9123683e, "btrfs"},
	{0x01021994, "tmpfs"},
	{0x858458f6, "ramfs"},
	{0x794c7630, "overlay"},
	{0x65735546, "fuse"},
	{0x01021997, "9p"},
	{0x6969, "nfs"},
	{0x4d44, "vfat"},
	{0x2011bab0, "exfat"},
	{0x9660, "iso9660"},
	{0x73717368, "squashfs"},
	{0xe0f5e1e2, "erofs"},
	{0xf2f52010, "f2fs"},
	{0x2fc12fc1, "zfs"},
	{0x9fa0, "proc"},
	{0x62656572, "sysfs"},
	{0x63677270, "cgroup2"},
	{0x1cd1, "devpts"},
};

int request_statfs(struct file_request *q)
{
	const char *path = q->place.path;
	auto_close int fd = place_open(&q->place, path, O_PATH, 0);
	const char *type = NULL;
	struct statfs st;
	uint64_t unit;
	char magic[24];

	if (fd < 0)
		return file_request_fail(q, -fd, path);
	if (fstatfs(fd, &st) < 0)
		return file_request_fail(q, errno, path);
	unit = (uint64_t)(st.f_frsize ? st.f_frsize : st.f_bsize);
	snprintf(magic, sizeof(magic), "0x%lx", (unsigned long)st.f_type);
	for (size_t i = 0; i < array_size(fs_types) && !type; i++) {
		if (fs_types[i].magic == (unsigned long)st.f_type)
			type = fs_types[i].name;
	}
	jsonw_u64(&q->w, "size", st.f_blocks * unit);
	jsonw_u64(&q->w, "free", st.f_bfree * unit);
	jsonw_u64(&q->w, "available", st.f_bavail * unit);
	jsonw_u64(&q->w, "files", st.f_files);
	jsonw_u64(&q->w, "files_free", st.f_ffree);
	jsonw_str(&q->w, "type", type ? type : magic);
	return 0;
}

/* Hashes up to `length` bytes; *ret: how many there were. */
static int hash(struct file_request *q, int fd, uint8_t *chunk, char hex[SHA256_HEX], uint64_t *ret)
{
	uint64_t left = q->m.length, at = q->m.offset;
	struct sha256 s;

	sha256_init(&s);
	while (left > 0) {
		ssize_t n = pread(fd, chunk, min_of(left, (uint64_t)HASH_CHUNK), (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if (file_request_cancelled(q))
			return -ECANCELED;
		sha256_update(&s, chunk, (size_t)n);
		at += (uint64_t)n;
		left -= (uint64_t)n;
	}
	sha256_final(&s, hex);
	*ret = at - q->m.offset;
	return 0;
}

int request_sha256(struct file_request *q)
{
	const char *path = q->place.path;
	char hex[SHA256_HEX];
	uint64_t size = 0;
	struct stat st;
	auto_close int fd = place_open_file(&q->place, path, O_RDONLY, false, &st, &q->error);
	uint8_t *chunk;
	int r;

	if (fd < 0)
		return fd;
	chunk = malloc(HASH_CHUNK);
	r = chunk ? hash(q, fd, chunk, hex, &size) : -ENOMEM;
	free(chunk);
	if (r < 0)
		return file_request_fail(q, -r, path);
	jsonw_str(&q->w, "sha256", hex);
	jsonw_u64(&q->w, "size", size);
	return 0;
}
