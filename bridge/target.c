/*
 * A unix connect is over at once (or EAGAIN: the listener's queue is full, which no event
 * announces, so the caller has to come again). A vsock connect goes on in the background.
 *
 * The hybrid answer is one line, and what follows it belongs to the stream: the line is looked at
 * with MSG_PEEK and then exactly its bytes are taken.
 */
#include "bridge/target.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <linux/vm_sockets.h>

/* ---- the text form ---- */

/* A decimal number that takes the whole text. */
static bool parse_u32(const char *s, uint32_t *ret)
{
	char *end;
	unsigned long long v;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *end || v >= UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static int bad(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

static int set_path(struct target *t, const char *path, size_t len, const char **ret_why)
{
	if (len == 0)
		return bad(ret_why, "the path is missing");
	if (len >= TARGET_PATH_MAX)
		return bad(ret_why, "the path is longer than the 107 bytes a unix socket can have");
	memcpy(t->path, path, len);
	t->path[len] = '\0';
	return 0;
}

static int parse_hybrid(struct target *t, const char *rest, const char **ret_why)
{
	const char *colon = strrchr(rest, ':');

	if (!colon)
		return bad(ret_why, "the port is missing (hybrid:PATH:PORT)");
	if (!parse_u32(colon + 1, &t->port))
		return bad(ret_why, "what follows the last ':' is not a port number");
	return set_path(t, rest, (size_t)(colon - rest), ret_why);
}

static int parse_vsock(struct target *t, const char *rest, const char **ret_why)
{
	const char *colon = strchr(rest, ':');
	char cid[16];

	if (!colon)
		return bad(ret_why, "the port is missing (vsock:CID:PORT)");
	if ((size_t)(colon - rest) >= sizeof(cid))
		return bad(ret_why, "the CID is not a number");
	snprintf(cid, sizeof(cid), "%.*s", (int)(colon - rest), rest);
	if (!parse_u32(cid, &t->cid))
		return bad(ret_why, "the CID is not a number");
	if (!parse_u32(colon + 1, &t->port))
		return bad(ret_why, "the port is not a number");
	return 0;
}

int target_parse(const char *text, struct target *ret, const char **ret_why)
{
	struct target t = {0};
	int r;

	if (strncmp(text, "unix:", 5) == 0) {
		t.kind = TARGET_UNIX;
		r = set_path(&t, text + 5, strlen(text + 5), ret_why);
	} else if (strncmp(text, "vsock:", 6) == 0) {
		t.kind = TARGET_VSOCK;
		r = parse_vsock(&t, text + 6, ret_why);
	} else if (strncmp(text, "hybrid:", 7) == 0) {
		t.kind = TARGET_HYBRID;
		r = parse_hybrid(&t, text + 7, ret_why);
	} else {
		r = bad(ret_why, "it must be " TARGET_USAGE);
	}
	if (r == 0)
		*ret = t;
	return r;
}

/* ---- errors in words ---- */

static const char *explain_unix(int err)
{
	switch (err) {
	case -ENOENT: return "no such file. Is agentd running there?";
	case -ECONNREFUSED: return "nobody listens on that socket. Is agentd running?";
	case -EAGAIN: return "too many are waiting to connect there. Try again";
	case -EACCES:
	case -EPERM: return "permission denied. Only root and the user agentd runs as may connect";
	case -ENOTSOCK: return "that file is not a socket";
	case -ELOOP: return "that file is a link. A socket is expected";
	case -EPROTOTYPE: return "that socket is not a stream socket";
	default: return NULL;
	}
}

static const char *explain_vsock(int err)
{
	switch (err) {
	case -ENODEV:
		return "this machine has no such guest. Is the CID right, and the VM running?";
	case -EAFNOSUPPORT:
	case -EADDRNOTAVAIL: return "this machine has no vsock. Is the vhost_vsock module loaded?";
	case -ECONNRESET:
	case -ECONNREFUSED: return "nobody listens on that port. Is agentd running in the guest?";
	case -ETIMEDOUT: return "no answer. Is there a running guest with that CID?";
	default: return NULL;
	}
}

static const char *explain_hybrid(int err)
{
	switch (err) {
	case -ENOENT: return "no such file. Is the VM running?";
	case -ECONNREFUSED: return "nobody listens on that socket. Is the VM running?";
	case -ECONNRESET: return "the VM refused that port. Is agentd running in the guest?";
	case -EPROTO:
		return "the answer to CONNECT is not OK. Is that a hypervisor's vsock socket?";
	default: return explain_unix(err);
	}
}

void target_explain(const struct target *t, int err, char *out, size_t size)
{
	const char *text = t->kind == TARGET_UNIX    ? explain_unix(err)
			   : t->kind == TARGET_VSOCK ? explain_vsock(err)
						     : explain_hybrid(err);

	snprintf(out, size, "%s", text ? text : strerror(-err));
}

/* ---- dialing ---- */

static int open_socket(struct dial *d)
{
	int family = d->target->kind == TARGET_VSOCK ? AF_VSOCK : AF_UNIX;

	d->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return d->fd < 0 ? -errno : 0;
}

static int connect_unix(int fd, const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	return connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0 ? -errno : 0;
}

/* What was looked at is what is connected to, whatever has its name by then. */
static int connect_no_link(int fd, const char *path)
{
	auto_close int file = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char held[32];
	struct stat st;

	if (file < 0 || fstat(file, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return S_ISLNK(st.st_mode) ? -ELOOP : -ENOTSOCK;
	snprintf(held, sizeof(held), "/proc/self/fd/%d", file);
	return connect_unix(fd, held);
}

static int call_connect(struct dial *d)
{
	const struct target *t = d->target;

	if (t->kind == TARGET_VSOCK) {
		struct sockaddr_vm vm = {
			.svm_family = AF_VSOCK, .svm_cid = t->cid, .svm_port = t->port};

		return connect(d->fd, (struct sockaddr *)&vm, sizeof(vm)) < 0 ? -errno : 0;
	}
	return t->no_link ? connect_no_link(d->fd, t->path) : connect_unix(d->fd, t->path);
}

static int say_connect(struct dial *d)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "CONNECT %u\n", d->target->port);
	ssize_t k = send(d->fd, text, (size_t)n, MSG_NOSIGNAL);

	if (k != n) /* a fresh socket takes so little whole, or is broken */
		return k < 0 ? -errno : -EIO;
	d->state = DIAL_ASKED;
	return DIAL_READABLE;
}

static int connected(struct dial *d)
{
	if (d->target->kind == TARGET_HYBRID)
		return say_connect(d);
	d->state = DIAL_CONNECTED;
	return DIAL_DONE;
}

/* The whole line is in d->line, without its end. */
static int judge_answer(struct dial *d)
{
	if (strncmp(d->line, "OK ", 3) != 0 && strcmp(d->line, "OK") != 0)
		return -EPROTO;
	d->state = DIAL_CONNECTED;
	return DIAL_DONE;
}

static int read_answer(struct dial *d)
{
	for (;;) {
		char *at = d->line + d->line_len, *end;
		size_t room = sizeof(d->line) - d->line_len;
		ssize_t n = recv(d->fd, at, room, MSG_PEEK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? DIAL_READABLE : -errno;
		if (n == 0)
			return -ECONNRESET;
		end = memchr(at, '\n', (size_t)n);
		if (end)
			n = end - at + 1;
		n = recv(d->fd, at, (size_t)n, 0);
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		d->line_len += (size_t)n;
		if (end) {
			*end = '\0';
			return judge_answer(d);
		}
		if (d->line_len == sizeof(d->line))
			return -EPROTO;
	}
}

int dial_start(struct dial *d, const struct target *t)
{
	int r;

	*d = DIAL_NULL;
	d->target = t;
	r = open_socket(d);
	if (r < 0)
		return r;
	d->state = DIAL_CONNECTING;
	r = call_connect(d);
	if (r == 0)
		r = connected(d);
	else if (r == -EINPROGRESS)
		r = DIAL_WRITABLE;
	if (r < 0)
		dial_fini(d);
	return r;
}

int dial_step(struct dial *d)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (d->state == DIAL_ASKED)
		return read_answer(d);
	ASSERT(d->state == DIAL_CONNECTING);
	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return err ? -err : connected(d);
}

void dial_fini(struct dial *d)
{
	if (d->state != DIAL_IDLE)
		close_fd(&d->fd);
	*d = DIAL_NULL;
}
