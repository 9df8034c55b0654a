#include "bridge/main.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static int fail(char *why, size_t why_size, const char *what, const char *path)
{
	int err = errno;

	snprintf(why, why_size, "%s %s: %s", what, path, strerror(err));
	return -err;
}

/* ---- the directory ---- */

static int make_parents(char *path)
{
	for (char *slash = path + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
		int r;

		*slash = '\0';
		r = mkdir(path, 0755);
		*slash = '/';
		if (r < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

int state_open(struct config *c, char *why, size_t why_size)
{
	auto_free char *real = NULL;
	char path[BOX_PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s", c->bridge.state_dir) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return fail(why, why_size, "state directory", c->bridge.state_dir);
	}
	if (make_parents(path) < 0 || (mkdir(path, 0700) < 0 && errno != EEXIST))
		return fail(why, why_size, "cannot make the state directory", path);
	real = realpath(path, NULL);
	if (!real)
		return fail(why, why_size, "state directory", path);
	if (strlen(real) >= sizeof(c->state)) {
		errno = ENAMETOOLONG;
		return fail(why, why_size, "state directory", real);
	}
	if (access(real, R_OK | W_OK | X_OK) < 0)
		return fail(why, why_size, "cannot use the state directory", real);
	memcpy(c->state, real, strlen(real) + 1);
	c->bridge.state_dir = c->bridge.box.state_dir = c->state;
	return 0;
}

/* A record lock: the kernel knows whose it is, and it goes with the process, not with children. */
int state_lock(const char *dir, int *ret_fd, char *why, size_t why_size)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[BOX_PATH_MAX + 16];
	auto_close int fd = -1;

	snprintf(path, sizeof(path), "%s/bridge.lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(why, why_size, "cannot open", path);
	if (fcntl(fd, F_SETLK, &lock) < 0) {
		if (errno != EAGAIN && errno != EACCES)
			return fail(why, why_size, "cannot lock", path);
		if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
			lock.l_pid = 0;
		snprintf(why, why_size, "another bridge uses %s: process %d", dir, (int)lock.l_pid);
		return -EBUSY;
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

/* ---- the first key ---- */

static int write_all(int fd, const char *text)
{
	size_t len = strlen(text), done = 0;

	while (done < len) {
		ssize_t n = write(fd, text + done, len - done);

		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* Whole or not at all. */
static int write_key(const char *dir, const char *key, char *why, size_t why_size)
{
	char path[BOX_PATH_MAX + 16], next[BOX_PATH_MAX + 16], line[KEY_LEN + 2];
	auto_close int fd = -1, dir_fd = -1;

	snprintf(path, sizeof(path), "%s/api-key", dir);
	snprintf(next, sizeof(next), "%s/api-key.new", dir);
	snprintf(line, sizeof(line), "%s\n", key);
	unlink(next);
	fd = open(next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(why, why_size, "cannot write", next);
	if (write_all(fd, line) < 0 || rename(next, path) < 0) {
		int r = fail(why, why_size, "cannot write", path);

		unlink(next);
		return r;
	}
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 || fsync(dir_fd) < 0)
		return fail(why, why_size, "cannot write", dir);
	return 0;
}

/* "making" stays in the store if we die between the key and its file; then another is made. */
int state_first_key(
	const char *dir, struct store *store, struct keys *keys, char *why, size_t why_size)
{
	auto_free char *mark = NULL;
	char key[KEY_LEN + 1], id[16];
	int r;

	if (keys_any(keys) &&
		(store_get(store, "first-key", &mark) < 0 || strcmp(mark, "made") == 0))
		return 0;
	r = store_set(store, "first-key", "making");
	if (r == 0)
		r = keys_add(keys, "first", key, id);
	if (r < 0) {
		snprintf(why, why_size, "cannot make a key: %s", store_why(store));
		return r;
	}
	r = write_key(dir, key, why, why_size);
	explicit_bzero(key, sizeof(key));
	if (r < 0)
		return r;
	if (store_set(store, "first-key", "made") < 0) {
		snprintf(why, why_size, "cannot make a key: %s", store_why(store));
		return -EIO;
	}
	log_info("a new API key is in %s/api-key", dir);
	return 0;
}
