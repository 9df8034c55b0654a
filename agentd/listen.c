#include "agentd/listen.h"

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agentd/lag.h"
#include "proto/frame.h"

#define BACKLOG      512
#define ACCEPT_BATCH 64
#define REFUSED_MAX  16

int listen_check_peer(int fd, bool vsock)
{
	struct sockaddr_vm addr = {0};
	struct ucred cred;
	socklen_t len;

	if (vsock) {
		len = sizeof(addr);
		if (getpeername(fd, (struct sockaddr *)&addr, &len) < 0 ||
			addr.svm_family != AF_VSOCK)
			return -EPERM;
		return addr.svm_cid == VMADDR_CID_HOST ? 0 : -EPERM;
	}
	len = sizeof(cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -EPERM;
	return cred.uid == 0 || cred.uid == geteuid() ? 0 : -EPERM;
}

/* ---- accepting ---- */

static void refuse_stranger(struct listener *l, int fd)
{
	/* Once: somebody who may not in must not be able to fill the log either. */
	if (l->daemon->refused++ == 0)
		log_warn("connection refused listen=%s reason=peer (said once)", l->spec);
	close(fd);
}

/*
 * Room for one more: a client that has not even said hello gives way. Where there is none, it may
 * be that some links are open on our side only (a host can vanish without a word): they are called,
 * and who comes again in a while finds room.
 */
static bool make_room(struct daemon *d)
{
	if (d->n_conns < d->config.max_connections)
		return true;
	list_for_each (c, &d->conns, struct conn, link) {
		if (c->phase == CONN_HANDSHAKE) {
			conn_close(c);
			return true;
		}
	}
	list_for_each (c, &d->conns, struct conn, link)
		conn_call(c);
	return false;
}

/* One too many is still told so, in answer to its request; of those there are only a few at a time.
 */
static void admit(struct daemon *d, int fd)
{
	bool room = make_room(d);

	if (room || d->n_conns < d->config.max_connections + REFUSED_MAX)
		conn_new(d, fd, room);
	else
		close(fd);
}

/* Out of descriptors: without this the pending connection would wake the loop for ever. */
static void refuse_without_fd(struct listener *l)
{
	struct daemon *d = l->daemon;
	int fd;

	if (d->spare_fd < 0)
		return;
	close_fd(&d->spare_fd);
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (d->refused_fds++ == 0)
		log_warn("connection refused listen=%s reason=no-descriptors (said once)", l->spec);
}

static void on_connection(uv_poll_t *h, int status, int events)
{
	struct listener *l = h->data;

	(void)status;
	(void)events;
	lag_begin();
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
			refuse_without_fd(l);
			return;
		}
		if (fd < 0)
			return;
		if (listen_check_peer(fd, l->vsock) < 0)
			refuse_stranger(l, fd);
		else
			admit(l->daemon, fd);
	}
}

/* ---- sockets ---- */

static bool is_socket(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Is somebody serving this socket file? Then it is not ours to replace. */
static bool is_served(const struct sockaddr_un *addr)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0;
}

static int open_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_close int fd = -1;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	if (r < 0 && errno == EADDRINUSE && is_socket(path) && !is_served(&addr)) {
		unlink(path);
		r = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	}
	r = r < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return r;
	return listen(fd, BACKLOG) < 0 ? -errno : take_fd(&fd);
}

static int open_vsock(const char *port)
{
	struct sockaddr_vm addr = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	auto_close int fd = -1;
	unsigned long n;
	char *end;

	n = strtoul(port, &end, 10);
	if (end == port || *end || n >= UINT32_MAX)
		return -EINVAL;
	addr.svm_port = (unsigned)n;
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
		listen(fd, BACKLOG) < 0)
		return -errno;
	return take_fd(&fd);
}

int listen_start(struct daemon *d, struct listener *l, const char *spec, int fd)
{
	size_t len = strlen(spec) + 1;
	int r;

	*l = (struct listener){.daemon = d, .fd = fd, .vsock = strncmp(spec, "vsock:", 6) == 0};
	if (fd < 0)
		l->fd = l->vsock ? open_vsock(spec + 6) : open_unix(spec + 5);
	if (l->fd < 0)
		return l->fd;
	r = uv_poll_init(&d->loop, &l->poll, l->fd);
	if (r < 0) {
		close_fd(&l->fd);
		return r;
	}
	l->spec = memcpy(xcalloc(1, len), spec, len);
	l->poll.data = l;
	l->watching = true;
	return uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

void listen_stop(struct listener *l, bool unlink_file)
{
	if (l->watching) {
		uv_poll_stop(&l->poll);
		uv_close((uv_handle_t *)&l->poll, NULL);
	}
	l->watching = false;
	if (unlink_file && l->fd >= 0 && !l->vsock)
		unlink(l->spec + 5);
	close_fd(&l->fd);
	free(take_ptr(&l->spec));
}
