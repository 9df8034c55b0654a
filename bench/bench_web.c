#include "bench/bench_web.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/base.h"
#include "bench/floor.h"

#define PATIENCE_S 60

static uint8_t block[256 * 1024];

int web_dial(unsigned port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect to port %u: %s", port, strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd;
}

void web_open(struct web *w, unsigned port)
{
	w->fd = web_dial(port);
	w->in_at = w->in_len = 0;
}

void web_close(struct web *w)
{
	close_fd(&w->fd);
}

unsigned bridge_start(struct agent *bridge)
{
	const char *binary = program("bridge");
	const char *const argv[] = {binary, "--port", "0", "--state", proc_state(), "--driver",
		"external", "--no-auth", NULL};

	if (!binary)
		die("bridge is not built");
	return server_start(bridge, argv, "listening on http://127.0.0.1:");
}

void bridge_add(struct web *w, const char *name, const struct agent *agent)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"id\":\"%s\",\"address\":\"unix:%s\"}", name, agent->path);
	web_ask(w, "POST", "/admin/guests", text);
	if (w->status != 201)
		die("the guest is not taken: %s", w->body);
}

const char *web_member(const struct web *w, const char *name)
{
	static char value[128];
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":\"", name);
	at = strstr(w->body, quoted);
	if (!at)
		die("no %s in %s", name, w->body);
	at += strlen(quoted);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\""), at);
	return value;
}

/* ---- in ---- */

static void fill(struct web *w)
{
	ssize_t n;

	if (w->in_at > 0) {
		memmove(w->in, w->in + w->in_at, w->in_len - w->in_at);
		w->in_len -= w->in_at;
		w->in_at = 0;
	}
	n = recv(w->fd, w->in + w->in_len, WEB_READ - w->in_len, 0);
	if (n <= 0)
		die("a connection broke: %s", n < 0 ? strerror(errno) : "hung up");
	w->in_len += (size_t)n;
	w->in[w->in_len] = '\0';
}

/* Up to and with `end`; what is before it lies at the returned place. */
static char *take_until(struct web *w, const char *end)
{
	char *found;

	while (w->in_at == w->in_len ||
		!(found = memmem(w->in + w->in_at, w->in_len - w->in_at, end, strlen(end))))
		fill(w);
	*found = '\0';
	char *begin = (char *)w->in + w->in_at;

	w->in_at = (size_t)((uint8_t *)found - w->in) + strlen(end);
	return begin;
}

static void keep(struct web *w, const uint8_t *data, size_t n)
{
	size_t room = w->len < WEB_BODY - 1 ? WEB_BODY - 1 - w->len : 0;

	memcpy(w->body + min_of(w->len, (size_t)WEB_BODY - 1), data, min_of(n, room));
	w->len += n;
	w->body[min_of(w->len, (size_t)WEB_BODY - 1)] = '\0';
}

static void take_bytes(struct web *w, uint64_t n)
{
	while (n > 0) {
		size_t part;

		if (w->in_at == w->in_len)
			fill(w);
		part = (size_t)min_of(n, (uint64_t)(w->in_len - w->in_at));
		keep(w, w->in + w->in_at, part);
		w->in_at += part;
		n -= part;
	}
}

static void take_answer(struct web *w)
{
	char *head = take_until(w, "\r\n\r\n"), *at;
	uint64_t n;

	w->status = atoi(head + strcspn(head, " "));
	w->len = 0;
	w->body[0] = '\0';
	if ((at = strcasestr(head, "\r\ncontent-length:"))) {
		take_bytes(w, strtoull(at + 17, NULL, 10));
	} else if (strcasestr(head, "\r\ntransfer-encoding:")) {
		do {
			n = strtoull(take_until(w, "\r\n"), NULL, 16);
			take_bytes(w, n);
			take_until(w, "\r\n");
		} while (n > 0);
	}
}

/* ---- out ---- */

static void put(struct web *w, const void *data, size_t len)
{
	if (!floor_send_all(w->fd, data, len))
		die("a connection broke: %s", strerror(errno));
}

void web_ask(struct web *w, const char *method, const char *path, const char *json)
{
	char text[4096];
	int n = snprintf(text, sizeof(text),
		"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n%s", method, path,
		json ? strlen(json) : 0, json ? json : "");

	ASSERT((size_t)n < sizeof(text));
	put(w, text, (size_t)n);
	take_answer(w);
}

void web_send(struct web *w, const char *method, const char *path, uint64_t bytes)
{
	char text[1024];
	int n = snprintf(text, sizeof(text),
		"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %llu\r\n\r\n", method, path,
		(unsigned long long)bytes);

	put(w, text, (size_t)n);
	for (; bytes > 0; bytes -= min_of(bytes, (uint64_t)sizeof(block)))
		put(w, block, (size_t)min_of(bytes, (uint64_t)sizeof(block)));
	take_answer(w);
}

/* ---- WebSocket ---- */

void web_upgrade(struct web *w, const char *path)
{
	char text[1024];
	int n = snprintf(text, sizeof(text),
		"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
		"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
		"Sec-WebSocket-Version: 13\r\n\r\n",
		path);
	const char *head;

	put(w, text, (size_t)n);
	head = take_until(w, "\r\n\r\n");
	if (atoi(head + strcspn(head, " ")) != 101)
		die("no WebSocket: %.100s", head);
}

/* The mask is zero. */
void web_message(struct web *w, const void *data, size_t len)
{
	uint8_t frame[6 + 125] = {0x82, (uint8_t)(0x80 | len)};

	ASSERT(len <= 125);
	memcpy(frame + 6, data, len);
	put(w, frame, 6 + len);
}

size_t web_listen(struct web *w)
{
	for (;;) {
		uint64_t len;
		uint8_t kind;

		while (w->in_len - w->in_at < 10 &&
			(w->in_len - w->in_at < 2 ||
				(w->in[w->in_at + 1] & 127) + 2U > w->in_len - w->in_at))
			fill(w);
		kind = w->in[w->in_at] & 15;
		len = w->in[w->in_at + 1] & 127;
		w->in_at += 2;
		if (len == 126) {
			len = (uint64_t)w->in[w->in_at] << 8 | w->in[w->in_at + 1];
			w->in_at += 2;
		} else if (len == 127) {
			memcpy(&len, w->in + w->in_at, 8);
			len = __builtin_bswap64(len);
			w->in_at += 8;
		}
		w->len = 0;
		take_bytes(w, len);
		if (kind == 8)
			die("a WebSocket was closed: %s", w->body + 2);
		if (kind == 2 && len > 0)
			return w->len;
	}
}
