/*
 * Commands are small and few, so they are written at once: a socket that does not take one is a
 * QEMU that hangs, and the connection is given up.
 */
#include "bridge/box/qmp.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/jsonw.h"

/* ---- what a line is ---- */

static int parse_error(struct jsonr error, struct qmp_message *ret)
{
	struct jsonr desc;
	auto_free char *text = NULL;

	if (!jsonr_member(error, "desc", &desc) || jsonr_str(desc, &text) < 0)
		return -EBADMSG;
	snprintf(ret->desc, sizeof(ret->desc), "%s", text);
	return 0;
}

int qmp_parse(const char *line, size_t len, struct qmp_message *ret)
{
	struct jsonr all, v;

	*ret = (struct qmp_message){0};
	if (jsonr_parse(line, len, &all) < 0 || !jsonr_is(all, '{'))
		return -EBADMSG;
	if (jsonr_member(all, "id", &v) && jsonr_u64(v, UINT64_MAX, &ret->id) < 0)
		return -EBADMSG;
	if (jsonr_member(all, "return", &ret->value)) {
		ret->kind = QMP_RETURN;
		return 0;
	}
	if (jsonr_member(all, "error", &v)) {
		ret->kind = QMP_ERROR;
		return parse_error(v, ret);
	}
	if (jsonr_member(all, "event", &v)) {
		ret->kind = QMP_EVENT;
		if (!jsonr_is(v, '"'))
			return -EBADMSG;
		ret->name = (struct jsonr){v.p + 1, v.len - 2};
		jsonr_member(all, "data", &ret->value);
		return 0;
	}
	ret->kind = QMP_GREETING;
	return jsonr_member(all, "QMP", &ret->value) ? 0 : -EBADMSG;
}

/* ---- the end ---- */

static void down(struct qmp *q, int err)
{
	if (q->fd < 0)
		return;
	uv_poll_stop(&q->poll);
	close_fd(&q->fd);
	q->up = false;
	q->ops->on_down(q, err);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct qmp *q = h->data;

	lines_fini(&q->lines);
	q->open = false;
	if (q->on_closed)
		q->on_closed(q);
}

void qmp_close(struct qmp *q, void (*on_closed)(struct qmp *q))
{
	ASSERT(q->open && !uv_is_closing((uv_handle_t *)&q->poll));
	q->on_closed = on_closed;
	q->poll.data = q;
	q->up = false;
	uv_close((uv_handle_t *)&q->poll, on_handle_closed);
	close_fd(&q->fd);
}

/* ---- what comes ---- */

static void on_capable(void *owner, struct jsonr value, const char *error)
{
	struct qmp *q = owner;

	(void)value;
	if (error) {
		down(q, -EPROTO);
		return;
	}
	q->up = true;
	q->ops->on_up(q);
}

static int answer(struct qmp *q, const struct qmp_message *m)
{
	for (size_t i = 0; i < QMP_PENDING_MAX; i++) {
		struct qmp_pending p = q->pending[i];

		if (p.id == 0 || p.id != m->id)
			continue;
		q->pending[i].id = 0;
		p.fn(p.owner, m->value, m->kind == QMP_ERROR ? m->desc : NULL);
		return 0;
	}
	return -EPROTO;
}

static int take_line(struct qmp *q, struct jsonr line)
{
	struct qmp_message m;
	int r = qmp_parse(line.p, line.len, &m);

	if (r < 0)
		return r;
	switch (m.kind) {
	case QMP_GREETING:
		if (q->last_id > 0)
			return -EPROTO;
		return qmp_ask(q, "qmp_capabilities", NULL, -1, on_capable, q);
	case QMP_EVENT:
		if (q->up)
			q->ops->on_event(q, m.name, m.value);
		return 0;
	case QMP_RETURN:
	case QMP_ERROR: return answer(q, &m);
	}
	return 0;
}

/* 1: there is more. */
static int read_some(struct qmp *q)
{
	size_t size;
	uint8_t *space = lines_space(&q->lines, &size);
	ssize_t n;

	if (!space)
		return -ENOMEM;
	n = recv(q->fd, space, size, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	lines_commit(&q->lines, (size_t)n);
	return 1;
}

static void on_readable(uv_poll_t *h, int status, int events)
{
	struct qmp *q = container_of(h, struct qmp, poll);
	int r = status < 0 ? status : read_some(q);

	(void)events;
	while (r > 0 && q->fd >= 0) {
		struct jsonr line;

		r = lines_next(&q->lines, &line);
		if (r > 0 && line.len > 0) {
			int taken = take_line(q, line);

			r = taken < 0 ? taken : r;
		}
	}
	if (r < 0)
		down(q, r);
}

/* ---- what goes ---- */

static int send_line(struct qmp *q, const char *line, size_t len, int fd)
{
	struct iovec iov = {.iov_base = (void *)line, .iov_len = len};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	n = sendmsg(q->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EAGAIN;
}

static struct qmp_pending *free_pending(struct qmp *q)
{
	for (size_t i = 0; i < QMP_PENDING_MAX; i++) {
		if (q->pending[i].id == 0)
			return &q->pending[i];
	}
	return NULL;
}

bool qmp_busy(const struct qmp *q)
{
	for (size_t i = 0; i < QMP_PENDING_MAX; i++) {
		if (q->pending[i].id != 0)
			return true;
	}
	return false;
}

int qmp_ask(struct qmp *q, const char *command, const char *args, int fd, qmp_fn fn, void *owner)
{
	struct qmp_pending *p = free_pending(q);
	char line[QMP_COMMAND_MAX];
	struct jsonw w;
	int r;

	if (q->fd < 0)
		return -ENOTCONN;
	if (!p)
		return -EBUSY;
	jsonw_init(&w, line, sizeof(line) - 1);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "execute", command);
	jsonw_u64(&w, "id", q->last_id + 1);
	if (args)
		jsonw_raw(&w, "arguments", args, strlen(args));
	jsonw_close(&w, '}');
	if (w.overflow)
		return -EMSGSIZE;
	line[w.len] = '\n';
	r = send_line(q, line, w.len + 1, fd);
	if (r < 0)
		return r;
	*p = (struct qmp_pending){.id = ++q->last_id, .fn = fn, .owner = owner};
	return 0;
}

int qmp_open(
	struct qmp *q, uv_loop_t *loop, const char *path, const struct qmp_ops *ops, void *owner)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_close int fd = -1;
	int r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	*q = (struct qmp){.ops = ops, .owner = owner, .fd = -1};
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	r = uv_poll_init(loop, &q->poll, fd);
	if (r < 0)
		return r;
	lines_init(&q->lines, QMP_LINE_MAX);
	q->fd = take_fd(&fd);
	q->open = true;
	return uv_poll_start(&q->poll, UV_READABLE, on_readable);
}
