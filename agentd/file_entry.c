#include "agentd/file_entry.h"

#include <fcntl.h>
#include <limits.h>

const char *file_type_str(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "file";
	case S_IFDIR: return "dir";
	case S_IFLNK: return "link";
	case S_IFIFO: return "fifo";
	case S_IFSOCK: return "socket";
	case S_IFCHR: return "char";
	default: return "block";
	}
}

/* Before 1678 or after 2261: the last that readers of doubles take. */
static int64_t in_ns(struct timespec t)
{
	const int64_t max = INT64_MAX - 1023;
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)t.tv_sec, 1000000000, &ns) ||
		__builtin_add_overflow(ns, t.tv_nsec, &ns))
		return t.tv_sec < 0 ? -max : max;
	return max_of(min_of(ns, max), -max);
}

void file_entry_put(struct jsonw *w, const char *name, const struct stat *st, const char *target)
{
	jsonw_bytes(w, "name", name, strlen(name));
	jsonw_str(w, "type", file_type_str(st->st_mode));
	jsonw_u64(w, "size", (uint64_t)st->st_size);
	jsonw_u64(w, "mode", st->st_mode & 07777);
	jsonw_u64(w, "uid", st->st_uid);
	jsonw_u64(w, "gid", st->st_gid);
	jsonw_int(w, "mtime_ns", in_ns(st->st_mtim));
	jsonw_int(w, "atime_ns", in_ns(st->st_atim));
	jsonw_int(w, "ctime_ns", in_ns(st->st_ctim));
	jsonw_u64(w, "ino", st->st_ino);
	jsonw_u64(w, "dev", st->st_dev);
	jsonw_u64(w, "nlink", st->st_nlink);
	jsonw_u64(w, "blocks", (uint64_t)st->st_blocks);
	if (target)
		jsonw_bytes(w, "target", target, strlen(target));
}

int file_entry_at(struct jsonw *w, const char *key, int dir, const char *name, bool follow)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t n = -1;

	if ((!follow || fstatat(dir, name, &st, 0) < 0) &&
		fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		n = readlinkat(dir, name, target, sizeof(target) - 1);
	if (n >= 0)
		target[n] = '\0';
	jsonw_open(w, key, '{');
	file_entry_put(w, name, &st, n >= 0 ? target : NULL);
	jsonw_close(w, '}');
	return 0;
}
