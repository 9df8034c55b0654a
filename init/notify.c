#include "init/notify.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"

#define TEXT_MAX 4096
#define FDS_MAX  253 /* the kernel's limit for one message */

int notify_open(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, size = 8 * 1024 * 1024;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path) + 1);
	unlink(path);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
		bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(path, 0600) < 0)
		return -errno;
	return take_fd(&fd);
}

struct message {
	char text[TEXT_MAX];
	int fds[FDS_MAX];
	size_t n_fds;
	pid_t sender;
};

/* 1: one was read; 0: there is none, or it was cut and dropped. */
static int receive(int fd, struct message *m)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * FDS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = m->text, .iov_len = sizeof(m->text) - 1};
	struct msghdr h = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n;

	m->n_fds = 0;
	m->sender = 0;
	n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return 0;
	m->text[n] = '\0';
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS) {
			m->n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(m->fds, CMSG_DATA(c), m->n_fds * sizeof(int));
		} else if (c->cmsg_type == SCM_CREDENTIALS) {
			struct ucred cred;

			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			m->sender = cred.pid;
		}
	}
	if (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		m->text[0] = '\0';
	return 1;
}

static void keep(struct message *m, struct fdstore *s, const char *name)
{
	for (size_t i = 0; i < m->n_fds; i++) {
		int r = fdstore_add(s, name, m->fds[i]);

		if (r < 0)
			log_warn("a descriptor is not kept: %s", strerror(-r));
	}
	m->n_fds = 0;
}

static void obey(
	struct message *m, struct fdstore *s, const struct notify_events *events, void *owner)
{
	bool add = false, forget = false;
	const char *name = "stored";
	char *save = NULL;

	for (char *l = strtok_r(m->text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (strcmp(l, "READY=1") == 0)
			events->on_ready(owner);
		else if (strcmp(l, "FDSTORE=1") == 0)
			add = true;
		else if (strcmp(l, "FDSTOREREMOVE=1") == 0)
			forget = true;
		else if (strncmp(l, "FDNAME=", 7) == 0)
			name = l + 7;
		else if (strcmp(l, "X_AGENTD_POWER=off") == 0)
			events->on_power(owner, false);
		else if (strcmp(l, "X_AGENTD_POWER=reboot") == 0)
			events->on_power(owner, true);
	}
	if (forget)
		fdstore_remove(s, name);
	else if (add)
		keep(m, s, name);
}

void notify_read(
	int fd, pid_t sender, struct fdstore *s, const struct notify_events *events, void *owner)
{
	static struct message m; /* large, and one is read at a time */

	while (receive(fd, &m)) {
		if (m.sender == sender && sender > 0)
			obey(&m, s, events, owner);
		for (size_t i = 0; i < m.n_fds; i++)
			close(m.fds[i]);
	}
}
