#include "bridge/local_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>

#define NAMES_MAX 16

/* umask(2) can only be asked by setting it. */
static mode_t our_umask(void)
{
	mode_t mask = umask(077);

	umask(mask);
	return mask;
}

static void hidden_name(char name[32])
{
	uint64_t v = now_ns();

	(void)!getrandom(&v, sizeof(v), GRND_NONBLOCK); /* unique will do: O_EXCL decides */
	snprintf(name, 32, ".agentctl%016llx", (unsigned long long)v);
}

static int open_new(struct local_file *f)
{
	f->fd = openat(f->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (f->fd >= 0)
		return 0;
	if (errno == EACCES || errno == ENOSPC || errno == EROFS)
		return -errno;
	for (int i = 0; i < NAMES_MAX; i++) {
		hidden_name(f->temp);
		f->fd = openat(
			f->dir, f->temp, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0600);
		if (f->fd >= 0)
			return 0;
	}
	f->temp[0] = '\0';
	return -errno;
}

static int look_at_target(struct local_file *f)
{
	struct stat st;

	if (fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISREG(st.st_mode))
		f->mode = st.st_mode & 07777;
	return S_ISDIR(st.st_mode) ? -EISDIR : 0;
}

int local_file_begin(struct local_file *f, int dir, const char *name, mode_t mode)
{
	int r;

	*f = LOCAL_FILE_NULL;
	if (strlen(name) >= sizeof(f->name))
		return -ENAMETOOLONG;
	memcpy(f->name, name, strlen(name) + 1);
	f->mode = mode & 0777 & ~our_umask();
	f->dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	r = f->dir < 0 ? -errno : look_at_target(f);
	if (r == 0)
		r = open_new(f);
	if (r < 0)
		local_file_abort(f);
	return r;
}

int local_file_direct(struct local_file *f, const char *path)
{
	*f = LOCAL_FILE_NULL;
	f->direct = true;
	f->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	return f->fd < 0 ? -errno : 0;
}

static int give_hidden_name(struct local_file *f)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	for (int i = 0; i < NAMES_MAX; i++) {
		hidden_name(f->temp);
		if (linkat(AT_FDCWD, path, f->dir, f->temp, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	f->temp[0] = '\0';
	return -errno;
}

int local_file_commit(struct local_file *f, const struct timespec *mtime)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
	int r = 0;

	if (mtime)
		times[1] = *mtime;
	if (!f->direct) {
		r = fchmod(f->fd, f->mode) < 0 || futimens(f->fd, times) < 0 ? -errno : 0;
		if (r == 0 && !f->temp[0])
			r = give_hidden_name(f);
		if (r == 0 && renameat(f->dir, f->temp, f->dir, f->name) < 0)
			r = -errno;
		if (r == 0)
			f->temp[0] = '\0';
	}
	local_file_abort(f);
	return r;
}

void local_file_abort(struct local_file *f)
{
	if (f->temp[0])
		unlinkat(f->dir, f->temp, 0);
	f->temp[0] = '\0';
	close_fd(&f->fd);
	close_fd(&f->dir);
}
