/*
 * Heads of requests: what is made of them, and those that are refused.
 */
#include "bridge/api/front.h"

#include "tests/unit/front_rig.h"

static void test_query(void **state)
{
	struct client cl;
	char head[4096], *v;

	(void)state;
	client_open(&cl);
	say(&cl,
		"GET /wait?path=%2Ftmp%2Fa%2Bb+c%26d%3D&empty=&bare&n=17 HTTP/1.1\r\nHost: h\r\n\r\n");
	WAIT(&cl, seen.last);
	v = call_query(seen.last, "path");
	assert_string_equal(v, "/tmp/a+b c&d=");
	free(v);
	v = call_query(seen.last, "empty");
	assert_string_equal(v, "");
	free(v);
	v = call_query(seen.last, "bare");
	assert_string_equal(v, "");
	free(v);
	assert_null(call_query(seen.last, "ath"));
	assert_int_equal(seen.left, 17);
	assert_string_equal(seen.last->path, "/wait");
	assert_string_equal(seen.last->peer, "127.0.0.1");
	call_reply(seen.last, 200, NULL, "{}", 2);
	assert_int_equal(take_answer(&cl, head, NULL), 200);
	client_close(&cl);
}

/* Shapes that two readers may understand differently, and heads that are none. */
static void test_refused(void **state)
{
	static const struct {
		int status; /* 0: just closed */
		const char *text;
	} cases[] = {
		{400, "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{400, "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"},
		{400, "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"},
		{400, "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 1e3\r\n\r\n"},
		{400, "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc"},
		{400, "POST /body HTTP/1.1\r\nHost: h\r\n Content-Length: 3\r\n\r\nabc"},
		{501, "POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
		{501, "POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n"},
		{411, "GET /hello HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{400, "GET /hello HTTP/1.1\r\n\r\n"},
		{400, "GET /hello HTTP/1.9\r\nHost: h\r\n\r\n"},
		{0, "BREW /hello HTTP/1.1\r\nHost: h\r\n\r\n"},
		{0, "\x16\x03\x01\x02\x03\x04\r\n\r\n"},
		/* Stayed open for ever, without a request: lws made a tunnel of it. */
		{0, "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"},
	};
	struct client cl;
	char head[4096];

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		client_open(&cl);
		say(&cl, cases[i].text);
		if (cases[i].status && take_answer(&cl, head, NULL) != cases[i].status)
			fail_msg("case %zu: %s", i, head);
		WAIT(&cl, cl.eof);
		client_close(&cl);
	}
}

static void send_long(struct client *cl, const char *begin, size_t len, const char *end)
{
	char *text = malloc(len);

	memset(text, 'a', len);
	say(cl, begin);
	client_send(cl, text, len);
	say(cl, end);
	free(text);
}

/* It was cut without a word. */
static void test_long_head(void **state)
{
	static const struct {
		size_t len;
		const char *begin, *end;
	} cases[] = {
		{20000, "GET /hello HTTP/1.1\r\nHost: h\r\nX-Big: ", "\r\n\r\n"},
		{45000, "GET /hello HTTP/1.1\r\nHost: h\r\nCookie: ", "\r\n\r\n"},
		{20000, "GET /hello?x=", " HTTP/1.1\r\nHost: h\r\n\r\n"},
		{45000, "GET /", " HTTP/1.1\r\nHost: h\r\n\r\n"},
		{20000, "GET /echo HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nX-Big: ",
			"\r\n\r\n"},
	};
	struct client cl;
	char head[4096], body[256];

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		client_open(&cl);
		send_long(&cl, cases[i].begin, cases[i].len, cases[i].end);
		assert_int_equal(take_answer(&cl, head, body), 431);
		assert_non_null(strstr(body, "too long"));
		assert_non_null(strstr(head, "Connection: close"));
		WAIT(&cl, cl.eof);
		client_close(&cl);
	}
	client_open(&cl);
	send_long(&cl, "GET /hello HTTP/1.1\r\nHost: h\r\nX-Big: ", 15000, "\r\n\r\n");
	assert_int_equal(take_answer(&cl, head, body), 200);
	client_close(&cl);
	assert_int_equal(seen.calls, 1);
}

static void test_many_headers(void **state)
{
	char *text = malloc(300 * 16 + 64), head[4096];
	size_t n = (size_t)sprintf(text, "GET /hello HTTP/1.1\r\nHost: h\r\n");
	struct client cl;

	(void)state;
	for (int i = 0; i < 300; i++)
		n += (size_t)sprintf(text + n, "x-%d: y\r\n", i);
	sprintf(text + n, "\r\n");
	client_open(&cl);
	say(&cl, text);
	assert_int_equal(take_answer(&cl, head, NULL), 431);
	client_close(&cl);
	assert_int_equal(seen.calls, 0);
	free(text);
}

/* What does not fit at all costs no more than what is kept of a head. */
static void test_endless_head(void **state)
{
	struct client cl;

	(void)state;
	client_open(&cl);
	send_long(&cl, "GET /hello HTTP/1.1\r\nHost: h\r\nX-Big: ", 3 * FRONT_HEAD_MAX, "");
	WAIT(&cl, cl.eof);
	client_close(&cl);
	assert_int_equal(seen.calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FRONT_TEST(test_query),
		FRONT_TEST(test_refused),
		FRONT_TEST(test_long_head),
		FRONT_TEST(test_many_headers),
		FRONT_TEST(test_endless_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
