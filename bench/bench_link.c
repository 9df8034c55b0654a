#include "bench/bench_link.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "bridge/target.h"

#define PATIENCE_S 60

/* ---- what the wire tells ---- */

static void on_upgraded(void *owner)
{
	struct link *l = owner;
	char text[128];
	size_t n = msg_format_hello_client("bench", AGENTD_VERSION, text, sizeof(text));

	mux_hello(&l->wire.mux, text, n);
}

static void on_hello(void *owner, const uint8_t *json, size_t len)
{
	struct link *l = owner;
	struct msg_hello m;
	struct error e;

	if (msg_parse_hello(json, len, &m, &e) < 0)
		die("HELLO: %s", e.message);
	snprintf(l->instance, sizeof(l->instance), "%s", m.instance);
	l->file_window = m.limits.file_window;
	l->up = true;
	msg_hello_fini(&m);
}

static void on_response(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	struct link *l = owner;

	l->answered = id;
	if (!l->keep_replies)
		return;
	if (!l->reply)
		l->reply = xcalloc(1, FRAME_MAX);
	memcpy(l->reply, json, len);
	l->reply[len] = '\0';
}

static void on_notice(void *owner, const uint8_t *json, size_t len)
{
	(void)owner;
	die("notice: %.*s", (int)len, (const char *)json);
}

static const struct wire_events wire_events = {
	.on_upgraded = on_upgraded,
	.mux = {.on_hello = on_hello, .on_response = on_response, .on_notice = on_notice},
};

/* ---- the socket ---- */

int link_dial(const char *target)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};
	struct target t;
	struct dial d;
	const char *why;
	int r = target_parse(target, &t, &why), fd;

	if (r < 0)
		die("%s: %s", target, why);
	r = dial_start(&d, &t);
	while (r > DIAL_DONE) {
		struct pollfd p = {.fd = d.fd, .events = r == DIAL_READABLE ? POLLIN : POLLOUT};

		if (poll(&p, 1, PATIENCE_S * 1000) == 0)
			die("connect %s: no answer", target);
		r = dial_step(&d);
	}
	if (r < 0)
		die("connect %s: %s", target, strerror(-r));
	fd = take_fd(&d.fd);
	fcntl(fd, F_SETFL, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd;
}

static int dial_path(const char *path)
{
	char text[TARGET_PATH_MAX + 8];

	snprintf(text, sizeof(text), "%s%s", *path == '/' ? "unix:" : "", path);
	return link_dial(text);
}

bool link_open(struct link *l, const char *path, uint64_t cut_in, uint64_t cut_out)
{
	*l = (struct link){.fd = dial_path(path),
		.read_size = LINK_READ,
		.cut_in = cut_in,
		.cut_out = cut_out,
		.buf = xcalloc(1, LINK_READ)};
	if (wire_init_client(&l->wire, &wire_events, l, NULL) < 0)
		die("no memory");
	while (!l->up && link_step(l))
		;
	if (!l->up && cut_in == UINT64_MAX && cut_out == UINT64_MAX)
		die("no HELLO from %s", path);
	return l->up;
}

void link_cut(struct link *l)
{
	if (l->fd < 0)
		return;
	close_fd(&l->fd);
	wire_fini(&l->wire);
	free(take_ptr(&l->buf));
	free(take_ptr(&l->reply));
}

void link_finish(struct link *l)
{
	if (l->fd < 0)
		return;
	wire_close(&l->wire, WS_CLOSE_NORMAL, "");
	link_flush(l);
	link_cut(l);
}

static void fail(struct link *l, const char *what)
{
	if (errno == EAGAIN)
		die("%s: nothing moves for %d s", what, PATIENCE_S);
	link_cut(l);
}

static bool link_write(struct link *l, struct iovec *iov, int n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	uint64_t room = l->cut_out;
	ssize_t sent;

	for (int i = 0; i < n; i++) {
		iov[i].iov_len = min_of(iov[i].iov_len, room);
		room -= iov[i].iov_len;
	}
	sent = sendmsg(l->fd, &m, MSG_NOSIGNAL);
	wire_wrote(&l->wire, sent > 0 ? (size_t)sent : 0);
	if (l->cut_out != UINT64_MAX)
		l->cut_out -= sent > 0 ? (size_t)sent : 0;
	if (l->cut_out == 0) {
		link_cut(l);
		return false;
	}
	if (sent < 0 && errno != EINTR) {
		fail(l, "send");
		return false;
	}
	return true;
}

bool link_flush(struct link *l)
{
	struct iovec iov[WIRE_IOV_MAX];
	int n;

	while (l->fd >= 0 && (n = wire_output(&l->wire, iov)) > 0)
		if (!link_write(l, iov, n))
			return false;
	return l->fd >= 0;
}

bool link_step(struct link *l)
{
	size_t most;
	ssize_t n;

	if (!link_flush(l))
		return false;
	most = min_of(min_of(l->read_size, (size_t)LINK_READ), l->cut_in);
	n = recv(l->fd, l->buf, most, 0);
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		errno = n < 0 ? errno : 0;
		fail(l, "receive");
		return false;
	}
	if (wire_input(&l->wire, l->buf, (size_t)n) != (size_t)n)
		die("the link takes no input");
	if (l->cut_in != UINT64_MAX)
		l->cut_in -= (size_t)n;
	if (l->cut_in == 0 || l->wire.state == WIRE_CLOSED) {
		link_cut(l);
		return false;
	}
	return true;
}

void link_must_step(struct link *l)
{
	if (!link_step(l))
		die("the link broke, code %d", l->wire.close_code);
}

const char *link_ask(struct link *l, const struct msg_request *m)
{
	static uint64_t serial = 1ULL << 32;
	char text[FRAME_PAYLOAD_MAX];
	size_t n = msg_format_request(m, text, sizeof(text));

	ASSERT(n > 0);
	l->keep_replies = true;
	mux_request(&l->wire.mux, 0, ++serial, text, n);
	while (l->answered != serial)
		link_must_step(l);
	l->keep_replies = false;
	return l->reply;
}

uint64_t link_number(const char *json, const char *after, const char *key)
{
	const char *at = after ? strstr(json, after) : json;
	char quoted[64];

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = at ? strstr(at, quoted) : NULL;
	if (!at)
		die("no %s in %s", key, json);
	return strtoull(at + strlen(quoted), NULL, 10);
}
