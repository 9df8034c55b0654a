#include "agentd/keeper.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>

#define FIRST_FD  3 /* SD_LISTEN_FDS_START */
#define EXITS_MAX 65536
#define WAIT_S    1 /* for a keeper whose queue is full; it has nothing else to do */

#define ARENA_NAME "/memfd:agentd-sessions"
#define EXITS_NAME "/memfd:exits"

enum kind { KIND_PIPE = 1, KIND_PIDFD, KIND_MASTER, KIND_SLAVE, KIND_ARENA, KIND_EXITS, KIND_LINK };

static uint64_t identity(enum kind kind, bool writable, uint64_t number)
{
	return (uint64_t)kind << 56 | (uint64_t)writable << 55 | (number & ((1ULL << 55) - 1));
}

/* ---- what a descriptor is ---- */

static bool pid_of(int fd, uint64_t *ret)
{
	char path[64], line[64];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		long long pid;

		found = sscanf(line, "Pid: %lld", &pid) == 1 && pid > 0;
		*ret = found ? (uint64_t)pid : 0;
	}
	if (f)
		fclose(f);
	return found;
}

static bool link_of(int fd, char *out, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, out, size - 1);
	if (n < 0)
		return false;
	out[n] = '\0';
	return true;
}

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

uint64_t keeper_identity(int fd)
{
	char name[PATH_MAX];
	struct stat st;
	uint64_t pid;
	int pts;

	if (fstat(fd, &st) < 0)
		return 0;
	if (S_ISFIFO(st.st_mode))
		return identity(KIND_PIPE, (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY, st.st_ino);
	if (S_ISCHR(st.st_mode))
		return ioctl(fd, TIOCGPTN, &pts) == 0 ? identity(KIND_MASTER, false, (uint64_t)pts)
		       : isatty(fd) ? identity(KIND_SLAVE, false, minor(st.st_rdev))
				    : 0;
	if (S_ISSOCK(st.st_mode))
		return identity(KIND_LINK, false, st.st_ino);
	if (!link_of(fd, name, sizeof(name)))
		return 0;
	if (starts(name, ARENA_NAME))
		return identity(KIND_ARENA, false, 0);
	if (starts(name, EXITS_NAME))
		return identity(KIND_EXITS, false, 0);
	return pid_of(fd, &pid) ? identity(KIND_PIDFD, false, pid) : 0;
}

/* ---- what comes back ---- */

static int by_identity(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	return x->identity < y->identity ? -1 : x->identity > y->identity;
}

/* How many there are for us, by the environment's word. */
static size_t count_given(void)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	long count = pid && n && strtol(pid, NULL, 10) == getpid() ? strtol(n, NULL, 10) : 0;

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return count > 0 && count < INT_MAX / 2 ? (size_t)count : 0;
}

static void collect(struct keeper *k)
{
	size_t n = count_given();

	if (n == 0)
		return;
	k->kept = xcalloc(n, sizeof(*k->kept));
	for (size_t i = 0; i < n; i++) {
		int fd = FIRST_FD + (int)i;

		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			break;
		k->kept[k->n_kept++] = (struct kept){.identity = keeper_identity(fd), .fd = fd};
	}
	qsort(k->kept, k->n_kept, sizeof(*k->kept), by_identity);
}

/* The first of a run of equals that is not claimed yet. */
int keeper_claim(struct keeper *k, uint64_t identity)
{
	size_t lo = 0, hi = k->n_kept;

	if (identity == 0)
		return -1;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (k->kept[mid].identity < identity)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < k->n_kept && k->kept[lo].identity == identity; lo++) {
		if (k->kept[lo].fd >= 0)
			return take_fd(&k->kept[lo].fd);
	}
	return -1;
}

int keeper_claim_arena(struct keeper *k)
{
	return keeper_claim(k, identity(KIND_ARENA, false, 0));
}

void keeper_drop_rest(struct keeper *k)
{
	for (size_t i = 0; i < k->n_kept; i++)
		close_fd(&k->kept[i].fd);
	free(take_ptr(&k->kept));
	k->n_kept = 0;
}

/* ---- ends of processes ---- */

static void add_exit(struct keeper *k, const struct child_exit *e)
{
	struct child_exit *p;

	if (k->n_exits >= EXITS_MAX)
		return;
	p = realloc(k->exits, (k->n_exits + 1) * sizeof(*p));
	if (!p)
		return; /* it will count as not seen */
	k->exits = p;
	k->exits[k->n_exits++] = *e;
}

static void read_exits(struct keeper *k)
{
	auto_close int fd = keeper_claim(k, identity(KIND_EXITS, false, 0));
	struct child_exit e;

	while (fd >= 0 && read(fd, &e, sizeof(e)) == sizeof(e))
		add_exit(k, &e);
}

bool keeper_exit_of(struct keeper *k, pid_t pid, struct child_exit *ret)
{
	for (size_t i = 0; i < k->n_exits; i++) {
		if (k->exits[i].pid != pid)
			continue;
		*ret = k->exits[i];
		k->exits[i] = k->exits[--k->n_exits];
		if (k->n_exits == 0)
			free(take_ptr(&k->exits));
		return true;
	}
	return false;
}

bool keeper_read_link(struct keeper *k)
{
	struct child_exit e;
	ssize_t n;

	while ((n = recv(k->link, &e, sizeof(e), MSG_DONTWAIT)) == sizeof(e))
		add_exit(k, &e);
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* ---- telling ---- */

static int dial(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = WAIT_S};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len < 2 || len >= sizeof(a.sun_path))
		return -1;
	memcpy(a.sun_path, path, len);
	if (path[0] == '@') /* systemd's way to write an abstract address */
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a,
			       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		close_fd(&fd);
	return fd;
}

static int tell(struct keeper *k, const char *text, const int *fds, size_t n)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * 8)];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

	ASSERT(n <= 8);
	if (n > 0) {
		struct cmsghdr *c = &control.align;

		h.msg_control = &control;
		h.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	}
	while (sendmsg(k->fd, &h, MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int keeper_say(struct keeper *k, const char *words)
{
	return keeper_there(k) ? tell(k, words, NULL, 0) : -ENOTCONN;
}

int keeper_keep(struct keeper *k, const char *name, const int *fds, size_t n)
{
	char text[128];

	if (!keeper_there(k))
		return -ENOTCONN;
	/* FDPOLL=0: systemd would else throw away what hangs up, and with it what is still in it.
	 */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return tell(k, text, fds, n);
}

void keeper_forget(struct keeper *k, const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	keeper_say(k, text);
}

void keeper_init(struct keeper *k)
{
	*k = (struct keeper){.fd = dial(getenv("NOTIFY_SOCKET")), .link = -1};
	collect(k);
	read_exits(k);
	/* The only socket among them. */
	for (size_t i = 0; i < k->n_kept; i++) {
		if (k->kept[i].identity >> 56 == KIND_LINK && k->link < 0)
			k->link = take_fd(&k->kept[i].fd);
	}
}

void keeper_fini(struct keeper *k)
{
	keeper_drop_rest(k);
	free(take_ptr(&k->exits));
	close_fd(&k->link);
	close_fd(&k->fd);
}
