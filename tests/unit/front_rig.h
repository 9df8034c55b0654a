/*
 * front_rig.h - a front on a loop whose calls are answered by a few paths of this file, and clients
 * that are plain sockets.
 */
#pragma once

#include "bridge/api/front.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
// clang-format off
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "bridge/api/call_wire.h"
#include "proto/buf.h"
#include "proto/ws.h"

static uv_loop_t loop;
static struct front *front;
static bool closed;

static struct {
	unsigned calls, ends, dones;
	struct call *last;  /* whose end was not seen yet */
	size_t body, left;  /* bytes of the request's body; of the answer still to come */
	uint8_t first_byte; /* of pulled pieces */
	bool body_end, hold;
	size_t pulled;
	char echo[256 * 1024];
	size_t echo_len, echo_at;
	bool closing;
	unsigned empties;
} seen;

/* ---- calls ---- */

static void on_end(struct call *c)
{
	assert_int_equal(c->call_state, CALL_ENDED);
	seen.ends++;
	seen.last = NULL;
}

static void on_done(struct call *c)
{
	assert_int_equal(c->call_state, CALL_ENDED);
	seen.dones++;
}

/* As many bytes as the query says, pattern 0..250. */
static ssize_t pull_many(struct call *c, uint8_t *out, size_t max)
{
	size_t n = min_of(max, seen.left);

	(void)c;
	if (seen.hold)
		return CALL_NOTHING;
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)((seen.pulled + i) % 251);
	seen.left -= n;
	seen.pulled += n;
	return n > 0 ? (ssize_t)n : CALL_DONE;
}

static ssize_t pull_broken(struct call *c, uint8_t *out, size_t max)
{
	(void)max;
	if (seen.pulled++ > 0)
		return CALL_BROKEN;
	*out = 'x';
	(void)c;
	return 1;
}

static void on_body(struct call *c, const uint8_t *data, size_t len)
{
	(void)c;
	for (size_t i = 0; i < len; i++)
		if (data[i] != (uint8_t)((seen.body + i) % 251))
			fail_msg("byte %zu of the body is wrong", seen.body + i);
	seen.body += len;
	assert_false(c->paused);
	if (seen.hold)
		call_pause(c, true);
}

static void on_body_end(struct call *c)
{
	char text[64];

	seen.body_end = true;
	snprintf(text, sizeof(text), "%zu", seen.body);
	call_reply(c, 200, "text/plain", text, strlen(text));
}

static ssize_t pull_echo(struct call *c, uint8_t *out, size_t max)
{
	size_t n = min_of(max, seen.echo_len - seen.echo_at);

	if (seen.empties > 0) {
		seen.empties--;
		return CALL_EMPTY;
	}
	memcpy(out, seen.echo + seen.echo_at, n);
	seen.echo_at += n;
	if (n == 0 && seen.closing)
		return CALL_DONE;
	if (seen.echo_at == seen.echo_len)
		seen.echo_at = seen.echo_len = 0;
	(void)c;
	return (ssize_t)n;
}

static void on_message(struct call *c, const uint8_t *data, size_t len, bool first, bool last)
{
	(void)first;
	if (seen.echo_len == 0 && len == 3 && !memcmp(data, "end", 3)) {
		seen.closing = true;
		call_close(c, 1000, "exec completed");
		return;
	}
	assert_true(seen.echo_len + len <= sizeof(seen.echo));
	memcpy(seen.echo + seen.echo_len, data, len);
	seen.echo_len += len;
	if (last)
		call_ready(c);
}

/* Messages of 1000 bytes, as many as are taken. */
static ssize_t pull_flood(struct call *c, uint8_t *out, size_t max)
{
	(void)c;
	(void)max;
	if (seen.left == 0)
		return seen.closing ? CALL_DONE : CALL_NOTHING;
	seen.left--;
	memset(out, 'f', 1000);
	return 1000;
}

static const struct call_ops silent_ops = {.on_end = on_end};
static const struct call_ops many_ops = {.pull = pull_many, .on_end = on_end};
static const struct call_ops broken_ops = {.pull = pull_broken, .on_end = on_end};
static const struct call_ops body_ops = {
	.on_body = on_body, .on_body_end = on_body_end, .on_end = on_end};
static const struct call_ops flood_ops = {.pull = pull_flood, .on_end = on_end};
static const struct call_ops echo_ops = {
	.pull = pull_echo, .on_message = on_message, .on_end = on_end};

static void on_call(struct call *c)
{
	uint64_t n = 0;

	seen.calls++;
	seen.last = c;
	call_query_u64(c, "n", &n);
	seen.left = n;
	seen.pulled = 0;
	if (c->websocket) {
		if (!strcmp(c->path, "/flood"))
			call_accept(c, &flood_ops, NULL);
		else if (!strcmp(c->path, "/echo"))
			call_accept(c, &echo_ops, NULL);
		else
			call_error(c, 404, "no such session");
		return;
	}
	c->ops = &silent_ops;
	if (!strcmp(c->path, "/hello"))
		call_reply(c, 200, "text/plain", "hello", 5);
	else if (!strcmp(c->path, "/empty"))
		call_empty(c, 204);
	else if (!strcmp(c->path, "/chunks"))
		c->ops = &many_ops, call_begin(c, 200, "application/octet-stream", -1);
	else if (!strcmp(c->path, "/length"))
		c->ops = &many_ops, call_begin(c, 200, NULL, (int64_t)n);
	else if (!strcmp(c->path, "/broken"))
		c->ops = &broken_ops, call_begin(c, 200, NULL, -1);
	else if (!strcmp(c->path, "/body"))
		c->ops = &body_ops;
	else if (!strcmp(c->path, "/refuse"))
		call_error(c, 413, "too much");
	else if (strcmp(c->path, "/wait") != 0)
		call_error(c, 404, "no such route");
}

/* ---- a client ---- */

struct client {
	int fd;
	char *in; /* all that came, NUL behind it */
	size_t len, size;
	bool eof, read;
	bool reset; /* it did not end, but broke */
};

static void turn(void)
{
	uv_run(&loop, UV_RUN_NOWAIT);
}

static void client_open(struct client *cl)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(front_port(front))};

	*cl = (struct client){.read = true};
	cl->size = 1024;
	cl->in = xcalloc(1, cl->size);
	cl->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(cl->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	fcntl(cl->fd, F_SETFL, O_NONBLOCK);
}

static void client_close(struct client *cl)
{
	close_fd(&cl->fd);
	free(cl->in);
	cl->in = NULL;
}

static void client_read(struct client *cl)
{
	ssize_t n;

	if (cl->size - cl->len < 65537) {
		cl->size = 2 * cl->size + 65537;
		cl->in = realloc(cl->in, cl->size);
	}
	n = read(cl->fd, cl->in + cl->len, 65536);
	if (n > 0)
		cl->len += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		cl->eof = true, cl->reset |= n < 0;
	cl->in[cl->len] = '\0';
}

static void client_send(struct client *cl, const void *data, size_t len)
{
	const char *p = data;

	for (uint64_t until = now_ms() + 10000; len > 0;) {
		ssize_t n = write(cl->fd, p, len);

		assert_true(now_ms() < until);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else {
			assert_int_equal(errno, EAGAIN);
		}
		turn();
		if (cl->read)
			client_read(cl);
	}
}

static void say(struct client *cl, const char *text)
{
	client_send(cl, text, strlen(text));
}

#define WAIT(cl, cond)                                                                             \
	for (uint64_t until_ = now_ms() + 10000; !(cond);) {                                       \
		if (now_ms() > until_)                                                             \
			fail_msg("%s never came; there is: %.300s", #cond, (cl)->in);              \
		turn();                                                                            \
		client_read(cl);                                                                   \
	}

/* The next answer's head and body, taken off; the body must have come whole. */
static int take_answer(struct client *cl, char *ret_head, char *ret_body)
{
	size_t head, body = 0;
	const char *length;
	int status;

	WAIT(cl, strstr(cl->in, "\r\n\r\n"));
	head = (size_t)(strstr(cl->in, "\r\n\r\n") + 4 - cl->in);
	memcpy(ret_head, cl->in, head);
	ret_head[head] = '\0';
	length = strstr(ret_head, "Content-Length: ");
	if (length)
		body = strtoul(length + 16, NULL, 10);
	WAIT(cl, cl->len >= head + body);
	if (ret_body) {
		memcpy(ret_body, cl->in + head, body);
		ret_body[body] = '\0';
	}
	memmove(cl->in, cl->in + head + body, cl->len - head - body + 1);
	cl->len -= head + body;
	assert_int_equal(sscanf(ret_head, "HTTP/1.1 %d ", &status), 1);
	return status;
}

static inline void fill(char *out, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(uint8_t)((from + i) % 251);
}

/* ---- open and close ---- */

static void on_front_closed(void *owner)
{
	(void)owner;
	closed = true;
}

static int open_front(void **state)
{
	struct front_config config = {
		.host = "127.0.0.1", .on_call = on_call, .on_done = on_done, .body_ms = 1000};
	char why[200] = "";

	(void)state;
	memset(&seen, 0, sizeof(seen));
	closed = false;
	uv_loop_init(&loop);
	if (front_open(&front, &loop, NULL, &config, why, sizeof(why)) < 0)
		fail_msg("%s", why);
	return 0;
}

static int close_front(void **state)
{
	(void)state;
	if (!closed)
		front_close(front, 100, on_front_closed, NULL);
	for (uint64_t until = now_ms() + 5000; !closed && now_ms() < until;)
		turn();
	assert_true(closed);
	assert_true(seen.dones >= seen.calls); /* what is no request is done at once */
	assert_int_equal(uv_loop_close(&loop), 0);
	return 0;
}

#define FRONT_TEST(fn) cmocka_unit_test_setup_teardown(fn, open_front, close_front)
