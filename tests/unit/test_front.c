/*
 * The front's HTTP: framing of answers and bodies, back-pressure both ways, ends of every kind seen
 * exactly once.
 */
#include "bridge/api/front.h"

#include <netinet/tcp.h>

#include "tests/unit/front_rig.h"

static void test_keep_alive(void **state)
{
	struct client cl;
	char head[4096], body[64];

	(void)state;
	client_open(&cl);
	for (int i = 0; i < 3; i++) {
		say(&cl, "GET /hello HTTP/1.1\r\nHost: h\r\nX-Request-Id: me-1\r\n\r\n");
		assert_int_equal(take_answer(&cl, head, body), 200);
		assert_string_equal(body, "hello");
		assert_non_null(strstr(head, "X-Request-Id: me-1\r\n"));
		assert_non_null(strstr(head, "Access-Control-Allow-Origin: *\r\n"));
		assert_non_null(strstr(head, "Connection: keep-alive\r\n"));
	}
	say(&cl, "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 200);
	WAIT(&cl, cl.eof);
	assert_int_equal(cl.len, 0);
	client_close(&cl);
	assert_int_equal(seen.calls, 4);
	assert_int_equal(seen.dones, 4);
}

static void test_pipelined(void **state)
{
	struct client cl;
	char head[4096], body[64];

	(void)state;
	client_open(&cl);
	say(&cl, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\nGET /length?n=3 HTTP/1.1\r\nHost: h\r\n\r\n"
		 "HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\nGET /empty HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 200);
	assert_int_equal(take_answer(&cl, head, body), 200);
	assert_non_null(strstr(head, "Content-Length: 3\r\n"));
	WAIT(&cl, strstr(cl.in, "204"));
	assert_non_null(strstr(cl.in, "Content-Length: 5\r\n"));
	assert_null(strstr(cl.in, "\r\n\r\nhello"));
	client_close(&cl);
}

/* Byte by byte nothing is different. */
static void test_slow_request(void **state)
{
	static const char text[] =
		"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n\0\1\2";
	struct client cl;
	char head[4096], body[64];

	(void)state;
	client_open(&cl);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		client_send(&cl, text + i, 1);
		for (int k = 0; k < 3; k++)
			turn();
	}
	assert_int_equal(take_answer(&cl, head, body), 200);
	assert_string_equal(body, "3");
	assert_non_null(strstr(head, "keep-alive"));
	say(&cl, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 200);
	client_close(&cl);
}

#define BIG (8 * 1024 * 1024)

static void test_length_in(void **state)
{
	char *data = malloc(BIG), head[4096], body[64], want[32];
	struct client cl;

	(void)state;
	fill(data, 0, BIG);
	client_open(&cl);
	snprintf(head, sizeof(head), "PUT /body HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
		BIG);
	say(&cl, head);
	client_send(&cl, data, BIG);
	assert_int_equal(take_answer(&cl, head, body), 200);
	snprintf(want, sizeof(want), "%d", BIG);
	assert_string_equal(body, want);
	assert_non_null(strstr(head, "keep-alive"));
	client_close(&cl);
	free(data);
}

static void test_chunked_in(void **state)
{
	static const size_t sizes[] = {1, 5, 4096, 70000, 3};
	char *data = malloc(70000 + 32), head[4096], body[64];
	struct client cl;
	size_t at = 0;

	(void)state;
	client_open(&cl);
	say(&cl, "POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (size_t i = 0; i < array_size(sizes); i++) {
		int n = sprintf(data, "%zx;x=y\r\n", sizes[i]);

		fill(data + n, at, sizes[i]);
		data[(size_t)n + sizes[i]] = '\r';
		data[(size_t)n + sizes[i] + 1] = '\n';
		client_send(&cl, data, (size_t)n + sizes[i] + 2);
		at += sizes[i];
	}
	say(&cl, "0\r\nTrailer: t\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 200);
	assert_string_equal(body, "74105");
	assert_non_null(strstr(head, "Connection: close"));
	WAIT(&cl, cl.eof);
	client_close(&cl);
	free(data);
}

static void test_bad_chunks(void **state)
{
	struct client cl;
	char head[4096];

	(void)state;
	client_open(&cl);
	say(&cl, "POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\nx");
	assert_int_equal(take_answer(&cl, head, NULL), 400);
	WAIT(&cl, cl.eof);
	client_close(&cl);
	assert_false(seen.body_end);
}

/* `curl -X POST`: neither a length nor chunks. */
static void test_no_body(void **state)
{
	struct client cl;
	char head[4096], body[64];

	(void)state;
	client_open(&cl);
	say(&cl, "POST /body HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 200);
	assert_string_equal(body, "0");
	WAIT(&cl, cl.eof);
	client_close(&cl);

	client_open(&cl);
	say(&cl, "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 200);
	say(&cl, "DELETE /hello HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 200);
	say(&cl, "DELETE /body HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n");
	client_send(&cl, "", 1);
	assert_int_equal(take_answer(&cl, head, body), 200);
	assert_string_equal(body, "1");
	say(&cl, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 200);
	client_close(&cl);
}

static void test_continue(void **state)
{
	struct client cl;
	char head[4096], body[64];

	(void)state;
	client_open(&cl);
	say(&cl,
		"PUT /body HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, NULL), 100);
	client_send(&cl, "", 1);
	assert_int_equal(take_answer(&cl, head, body), 200);
	say(&cl,
		"PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 413);
	assert_non_null(strstr(head, "Connection: close"));
	client_close(&cl);
}

static void test_chunked_out(void **state)
{
	struct client cl;
	size_t got = 0;
	char *p;

	(void)state;
	client_open(&cl);
	say(&cl, "GET /chunks?n=200000 HTTP/1.1\r\nHost: h\r\n\r\n");
	WAIT(&cl, cl.len > 5 && !memcmp(cl.in + cl.len - 5, "0\r\n\r\n", 5));
	p = strstr(cl.in, "\r\n\r\n") + 4;
	for (;;) {
		size_t n = strtoul(p, &p, 16);

		assert_memory_equal(p, "\r\n", 2);
		if (n == 0)
			break;
		for (size_t i = 0; i < n; i++)
			assert_int_equal((uint8_t)p[2 + i], (got + i) % 251);
		got += n;
		p += 2 + n + 2;
	}
	assert_int_equal(got, 200000);
	assert_int_equal(seen.ends, 1);
	client_close(&cl);

	client_open(&cl);
	say(&cl, "GET /chunks?n=70000 HTTP/1.0\r\n\r\n");
	WAIT(&cl, cl.eof);
	p = strstr(cl.in, "\r\n\r\n") + 4;
	assert_int_equal(cl.in + cl.len - p, 70000);
	assert_null(strstr(cl.in, "chunked"));
	client_close(&cl);
}

/* What the client does not read is not pulled. */
static void test_slow_reader(void **state)
{
	struct client cl;
	size_t before;

	(void)state;
	client_open(&cl);
	cl.read = false;
	say(&cl, "GET /length?n=67108864 HTTP/1.1\r\nHost: h\r\n\r\n");
	for (uint64_t until = now_ms() + 300; now_ms() < until;)
		turn();
	before = seen.pulled;
	assert_in_range(before, 1, 16 * 1024 * 1024);
	for (uint64_t until = now_ms() + 300; now_ms() < until;)
		turn();
	assert_int_equal(seen.pulled, before);
	assert_int_equal(seen.ends, 0);
	WAIT(&cl, seen.ends == 1);
	WAIT(&cl, cl.len >= 67108864 + 100);
	assert_int_equal((uint8_t)cl.in[cl.len - 1], (67108864 - 1) % 251);
	client_close(&cl);
}

/* A body whose handler pauses stops the client; when it goes on nothing is missing. */
static void test_paused_body(void **state)
{
	char *data = malloc(BIG), head[4096], body[64];
	struct client cl;
	size_t sent = 0, before;

	(void)state;
	fill(data, 0, BIG);
	client_open(&cl);
	snprintf(head, sizeof(head), "PUT /body HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
		BIG);
	say(&cl, head);
	seen.hold = true;
	while (sent < BIG) {
		bool stuck = true;

		for (uint64_t until = now_ms() + 200; stuck && sent < BIG && now_ms() < until;) {
			ssize_t n = write(cl.fd, data + sent, BIG - sent);

			turn();
			if (n > 0) {
				sent += (size_t)n;
				stuck = false;
			}
		}
		if (!stuck)
			continue;
		before = seen.body;
		assert_true(seen.last->paused);
		turn();
		assert_int_equal(seen.body, before);
		assert_true(before <= 2 * CALL_PIECE);
		seen.hold = false;
		call_pause(seen.last, false);
	}
	assert_false(seen.hold); /* it did get stuck */
	assert_int_equal(take_answer(&cl, head, body), 200);
	assert_int_equal(seen.body, BIG);
	client_close(&cl);
	free(data);
}

/* The end of a call whose client hung up is seen, whatever the call was doing. */
static void test_hang_up(void **state)
{
	static const char *const texts[] = {
		"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
		"POST /wait HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n",
		"GET /length?n=10000000000 HTTP/1.1\r\nHost: h\r\n\r\n",
	};
	struct client cl;

	(void)state;
	for (unsigned i = 0; i < array_size(texts); i++) {
		client_open(&cl);
		say(&cl, texts[i]);
		WAIT(&cl, seen.calls == i + 1);
		for (int k = 0; k < 10; k++)
			turn();
		assert_int_equal(seen.ends, i);
		client_close(&cl);
		for (uint64_t until = now_ms() + 5000; seen.ends == i && now_ms() < until;)
			turn();
		assert_int_equal(seen.ends, i + 1);
		assert_int_equal(seen.dones, i + 1);
	}
}

/* The same while its body is paused, and the socket is not read. */
static void test_hang_up_paused(void **state)
{
	char *data = malloc(BIG);
	struct client cl;

	(void)state;
	fill(data, 0, BIG);
	client_open(&cl);
	say(&cl, "PUT /body HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n");
	seen.hold = true;
	client_send(&cl, data, CALL_PIECE);
	WAIT(&cl, seen.last->paused);
	client_close(&cl);
	for (uint64_t until = now_ms() + 6000; seen.ends == 0 && now_ms() < until;)
		turn();
	assert_int_equal(seen.ends, 1);
	free(data);
}

/* A body that stops coming is given up, and the client told. */
static void test_body_that_stops(void **state)
{
	struct client cl;
	char head[4096], body[256];

	(void)state;
	client_open(&cl);
	say(&cl, "PUT /body HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
	client_send(&cl, "", 1);
	assert_int_equal(take_answer(&cl, head, body), 408);
	assert_string_equal(body, "{\"error\":\"nothing came of the body for 1 s\"}");
	assert_non_null(strstr(head, "Connection: close"));
	WAIT(&cl, cl.eof);
	client_close(&cl);
	assert_int_equal(seen.ends, 1);
	assert_false(seen.body_end);
}

static void test_broken(void **state)
{
	struct client cl;

	(void)state;
	client_open(&cl);
	say(&cl, "GET /broken HTTP/1.1\r\nHost: h\r\n\r\n");
	WAIT(&cl, cl.eof);
	assert_null(strstr(cl.in, "\r\n0\r\n"));
	assert_int_equal(seen.ends, 1);
	client_close(&cl);
	client_open(&cl);
	say(&cl, "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
	WAIT(&cl, seen.last);
	call_abort(seen.last);
	WAIT(&cl, cl.eof);
	assert_int_equal(seen.ends, 2);
	client_close(&cl);
}

/* Where the end of the connection is the end of the body, one that is cut must not end so. */
static void test_broken_to_the_end(void **state)
{
	struct client cl;

	(void)state;
	client_open(&cl);
	say(&cl, "GET /broken HTTP/1.0\r\n\r\n");
	WAIT(&cl, cl.eof);
	assert_true(cl.reset);
	client_close(&cl);
	client_open(&cl);
	seen.hold = true;
	say(&cl, "GET /chunks?n=10 HTTP/1.0\r\n\r\n");
	WAIT(&cl, strstr(cl.in, "\r\n\r\n"));
	call_abort(seen.last);
	WAIT(&cl, cl.eof);
	assert_true(cl.reset);
	client_close(&cl);
	client_open(&cl);
	say(&cl, "GET /chunks?n=10 HTTP/1.0\r\n\r\n");
	WAIT(&cl, strstr(cl.in, "\r\n\r\n"));
	front_close(front, 10, on_front_closed, NULL);
	WAIT(&cl, cl.eof && closed);
	assert_true(cl.reset);
	client_close(&cl);
}

/* An answer that comes before the body ends it; the client is let finish, and sees why. */
static void test_early_answer(void **state)
{
	char *data = xcalloc(1, 1024 * 1024), head[4096], body[256];
	struct client cl;

	(void)state;
	client_open(&cl);
	say(&cl, "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n");
	client_send(&cl, data, 1024 * 1024);
	assert_int_equal(take_answer(&cl, head, body), 413);
	assert_string_equal(body, "{\"error\":\"too much\"}");
	WAIT(&cl, cl.eof);
	client_close(&cl);
	free(data);
}

/* The other end of a client's connection: it is in this process. */
static int server_end(const struct client *cl)
{
	struct sockaddr_in want = {0}, a = {0};
	socklen_t len = sizeof(want);

	getsockname(cl->fd, (struct sockaddr *)&want, &len);
	for (int fd = 3; fd < 1024; fd++) {
		len = sizeof(a);
		if (getpeername(fd, (struct sockaddr *)&a, &len) == 0 && len == sizeof(want) &&
			a.sin_family == AF_INET && a.sin_port == want.sin_port)
			return fd;
	}
	fail_msg("it is not there");
	return -1;
}

static int option(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	getsockopt(fd, level, name, &value, &len);
	return value;
}

/* Clients that are gone without a word, or take nothing, are cut after FRONT_STUCK_MS: by TCP. */
static void test_patience_with_the_dead(void **state)
{
	struct client cl;
	char head[4096];
	int fd;

	(void)state;
	client_open(&cl);
	say(&cl, "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, NULL), 200);
	fd = server_end(&cl);
	assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), FRONT_STUCK_MS);
	assert_int_equal(1000 * (option(fd, IPPROTO_TCP, TCP_KEEPIDLE) +
					option(fd, IPPROTO_TCP, TCP_KEEPINTVL) *
						option(fd, IPPROTO_TCP, TCP_KEEPCNT)),
		FRONT_STUCK_MS);
	client_close(&cl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FRONT_TEST(test_keep_alive),
		FRONT_TEST(test_pipelined),
		FRONT_TEST(test_slow_request),
		FRONT_TEST(test_length_in),
		FRONT_TEST(test_chunked_in),
		FRONT_TEST(test_bad_chunks),
		FRONT_TEST(test_no_body),
		FRONT_TEST(test_continue),
		FRONT_TEST(test_chunked_out),
		FRONT_TEST(test_slow_reader),
		FRONT_TEST(test_paused_body),
		FRONT_TEST(test_hang_up),
		FRONT_TEST(test_hang_up_paused),
		FRONT_TEST(test_body_that_stops),
		FRONT_TEST(test_broken),
		FRONT_TEST(test_early_answer),
		FRONT_TEST(test_broken_to_the_end),
		FRONT_TEST(test_patience_with_the_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
