/*
 * The front's WebSockets: messages of any shape, refusals before the upgrade, closes with code and
 * reason, and slow or silent clients.
 */
#include "bridge/api/front.h"

#include "tests/unit/front_rig.h"

static void upgrade(struct client *cl, const char *path)
{
	char text[512];

	snprintf(text, sizeof(text),
		"GET %s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		path);
	say(cl, text);
}

static void send_frame(struct client *cl, enum ws_opcode op, bool fin, const void *data, size_t len)
{
	uint8_t key[4] = {0}, *frame = malloc(WS_HEADER_MAX + len);
	size_t n = ws_encode_header(frame, WS_CLIENT, op, fin, len, key);

	memcpy(frame + n, data, len);
	client_send(cl, frame, n + len);
	free(frame);
}

static void open_echo(struct client *cl)
{
	char head[4096];

	client_open(cl);
	upgrade(cl, "/echo");
	assert_int_equal(take_answer(cl, head, NULL), 101);
}

static void test_echo(void **state)
{
	struct client cl;

	(void)state;
	open_echo(&cl);
	send_frame(&cl, WS_BINARY, true, "hi there", 8);
	WAIT(&cl, cl.len >= 10);
	assert_memory_equal(cl.in, "\x82\x08hi there", 10);
	client_close(&cl);
	for (uint64_t until = now_ms() + 5000; seen.ends == 0 && now_ms() < until;)
		turn();
	assert_int_equal(seen.ends, 1);
	assert_int_equal(seen.dones, 1);
}

/* Messages of many frames and of more than a frame's worth come back whole. */
static void test_fragments(void **state)
{
	char *data = malloc(100000);
	struct client cl;
	size_t got = 0, at = 0;

	(void)state;
	fill(data, 0, 100000);
	open_echo(&cl);
	send_frame(&cl, WS_BINARY, false, data, 10);
	send_frame(&cl, WS_PING, true, "?", 1);
	send_frame(&cl, WS_CONT, false, data + 10, 69990);
	send_frame(&cl, WS_CONT, true, data + 70000, 30000);
	WAIT(&cl, cl.len >= 3 && !memcmp(cl.in, "\x8a\x01?", 3));
	at = 3;
	while (got < 100000) {
		size_t n, skip = 2;

		WAIT(&cl, cl.len >= at + 10);
		assert_int_equal((uint8_t)cl.in[at], 0x82);
		n = (uint8_t)cl.in[at + 1];
		if (n == 126)
			skip = 4, n = get_u16((uint8_t *)cl.in + at + 2);
		else if (n == 127)
			skip = 10, n = get_u64((uint8_t *)cl.in + at + 2);
		assert_in_range(n, 1, CALL_PIECE);
		WAIT(&cl, cl.len >= at + skip + n);
		assert_memory_equal(cl.in + at + skip, data + got, n);
		got += n;
		at += skip + n;
	}
	assert_int_equal(at, cl.len);
	client_close(&cl);
	free(data);
}

static void test_socket_refused(void **state)
{
	struct client cl;
	char head[4096], body[256];

	(void)state;
	client_open(&cl);
	upgrade(&cl, "/nothing");
	assert_int_equal(take_answer(&cl, head, body), 404);
	assert_string_equal(body, "{\"error\":\"no such session\"}");
	WAIT(&cl, cl.eof);
	client_close(&cl);
	assert_int_equal(seen.dones, 1);
	client_open(&cl);
	say(&cl,
		"GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		"Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 426);
	assert_non_null(strstr(head, "Sec-WebSocket-Version: 13"));
	client_close(&cl);
	client_open(&cl);
	say(&cl, "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 400);
	client_close(&cl);
}

static void test_close_code(void **state)
{
	struct client cl;

	(void)state;
	open_echo(&cl);
	seen.empties = 1;
	send_frame(&cl, WS_BINARY, true, "x", 1);
	WAIT(&cl, cl.len >= 5);
	assert_memory_equal(cl.in, "\x82\x00\x82\x01x", 5);
	send_frame(&cl, WS_BINARY, true, "end", 3);
	WAIT(&cl, cl.len >= 5 + 18);
	assert_memory_equal(cl.in + 5,
		"\x88\x10\x03\xe8"
		"exec completed",
		18);
	assert_int_equal(seen.ends, 1);
	send_frame(&cl, WS_CLOSE, true, "\x03\xe8", 2);
	WAIT(&cl, cl.eof);
	client_close(&cl);
}

/* A reader that stopped is waited for; its ping is answered between two messages. */
static void test_socket_slow_reader(void **state)
{
	enum { MESSAGES = 20000, EACH = 1004 };
	struct client cl;
	char head[4096];
	size_t before, at = 0, n = 0;

	(void)state;
	client_open(&cl);
	upgrade(&cl, "/flood?n=20000");
	assert_int_equal(take_answer(&cl, head, NULL), 101);
	for (uint64_t until = now_ms() + 300; now_ms() < until;)
		turn();
	before = seen.left;
	assert_in_range(before, 1, MESSAGES);
	cl.read = false;
	send_frame(&cl, WS_PING, true, "?", 1);
	for (uint64_t until = now_ms() + 100; now_ms() < until;)
		turn();
	assert_true(before - seen.left < 500); /* what the one read made room for */
	WAIT(&cl, cl.len >= MESSAGES * EACH + 3);
	for (; at < cl.len && (uint8_t)cl.in[at] == 0x82; n++)
		at += EACH;
	assert_memory_equal(cl.in + at, "\x8a\x01?", 3);
	assert_in_range(n, 1, MESSAGES - 1);
	assert_int_equal(cl.len, MESSAGES * EACH + 3);
	client_close(&cl);
}

/* Paused, a WebSocket still sends; going on it has lost nothing. */
static void test_socket_paused(void **state)
{
	struct client cl;

	(void)state;
	open_echo(&cl);
	send_frame(&cl, WS_BINARY, true, "a", 1);
	WAIT(&cl, cl.len == 3);
	call_pause(seen.last, true);
	send_frame(&cl, WS_BINARY, true, "b", 1);
	send_frame(&cl, WS_BINARY, true, "c", 1);
	seen.empties = 1;
	call_ready(seen.last);
	WAIT(&cl, cl.len == 5);
	assert_memory_equal(cl.in, "\x82\1a\x82\0", 5);
	call_pause(seen.last, false);
	WAIT(&cl, cl.len >= 9);
	assert_memory_equal(cl.in + 5, "\x82", 1);
	client_close(&cl);
	call_pause(seen.last, true);
	for (uint64_t until = now_ms() + 6000; seen.ends == 0 && now_ms() < until;)
		turn();
	assert_int_equal(seen.ends, 1);
}

/* Who reads slowly, and talks meanwhile, still gets all that was sent before the close. */
static void test_late_reader(void **state)
{
	enum { MESSAGES = 2000, EACH = 1004 };
	struct client cl;
	char head[4096];
	int small = 32768;

	(void)state;
	client_open(&cl);
	setsockopt(cl.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	seen.closing = true;
	upgrade(&cl, "/flood?n=2000");
	assert_int_equal(take_answer(&cl, head, NULL), 101);
	cl.read = false;
	WAIT(&cl, seen.ends == 1 || cl.len > 0);
	for (uint64_t until = now_ms() + 8000; now_ms() < until; usleep(1000))
		turn();
	send_frame(&cl, WS_PING, true, "?", 1);
	for (uint64_t until = now_ms() + 100; now_ms() < until;)
		turn();
	WAIT(&cl, cl.len >= MESSAGES * EACH + 4);
	assert_int_equal(seen.ends, 1);
	assert_memory_equal(cl.in + MESSAGES * EACH, "\x88\x02\x03\xe8", 4);
	send_frame(&cl, WS_CLOSE, true, "\x03\xe8", 2);
	WAIT(&cl, cl.eof);
	client_close(&cl);
}

static void test_restart(void **state)
{
	struct client cl;

	(void)state;
	open_echo(&cl);
	front_close(front, 2000, on_front_closed, NULL);
	WAIT(&cl, cl.len >= 4);
	assert_memory_equal(cl.in + 2, "\x03\xf4", 2);
	send_frame(&cl, WS_CLOSE, true, "\x03\xf4", 2);
	WAIT(&cl, cl.eof);
	client_close(&cl);
	for (uint64_t until = now_ms() + 5000; !closed && now_ms() < until;)
		turn();
	assert_true(closed);
	assert_int_equal(seen.ends, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FRONT_TEST(test_echo),
		FRONT_TEST(test_fragments),
		FRONT_TEST(test_socket_refused),
		FRONT_TEST(test_close_code),
		FRONT_TEST(test_socket_slow_reader),
		FRONT_TEST(test_socket_paused),
		FRONT_TEST(test_late_reader),
		FRONT_TEST(test_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
