/*
 * test_http.c - heads that are fine, refused, or broken, each fed whole, in every two pieces and
 * byte by byte with the same outcome; the limits to the byte; and what we format read back by our
 * own parser.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/http.h"
#include "proto/ws.h"

#define KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define LINE   "GET /v1 HTTP/1.1\r\nHost: agentd\r\n"
#define UPGRADE                                                                                    \
	"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"               \
	"Sec-WebSocket-Key: " KEY "\r\n"
#define PROTOCOL  "Sec-WebSocket-Protocol: agentd.v1\r\n"
#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\n"
#define ACCEPTING                                                                                  \
	"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " ACCEPT "\r\n"

struct bytes {
	const char *p;
	size_t len;
};

#define B(literal)                                                                                 \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

/* Feeds one piece from memory of exactly its size. Returns what http_feed() does. */
static int feed(struct http *h, const char *p, size_t len, bool *done)
{
	char *copy = malloc(len ? len : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, p, len);
	r = http_feed(h, copy, len, done);
	free(copy);
	return r;
}

/* Feeds the first `split` bytes and then the rest, or, with 0, byte by byte. The status, or where
 * the head ended; -1 when it did not end. */
static int parse(struct http *h, const char *p, size_t len, size_t split)
{
	bool done = false;
	size_t taken = 0;

	while (taken < len && !done) {
		size_t n = split == 0 ? 1 : taken < split ? split - taken : len - taken;
		int r = feed(h, p + taken, min_of(n, len - taken), &done);

		if (r < 0) {
			assert_false(done);
			assert_int_equal(http_feed(h, p, len, &done), r); /* it stays broken */
			return r;
		}
		assert_true(done || (size_t)r == n);
		taken += (size_t)r;
	}
	return done ? (int)taken : -1;
}

static void same_head(const struct http_head *a, const struct http_head *b)
{
	assert_int_equal(a->is_get, b->is_get);
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->upgrade_websocket, b->upgrade_websocket);
	assert_int_equal(a->has_body, b->has_body);
	assert_string_equal(a->target, b->target);
	assert_string_equal(a->ws_key, b->ws_key);
	assert_string_equal(a->ws_version, b->ws_version);
	assert_string_equal(a->ws_protocol, b->ws_protocol);
	assert_string_equal(a->ws_accept, b->ws_accept);
	assert_string_equal(a->authorization, b->authorization);
}

/* Parses in every way; *ret is the parser of the whole, for the caller to free. */
static int parse_all_ways(enum http_role role, const struct bytes *in, struct http **ret)
{
	struct http *whole = http_new(role);
	int want = parse(whole, in->p, in->len, in->len);

	for (size_t split = 0; split < in->len; split++) {
		struct http *h = http_new(role);

		assert_int_equal(parse(h, in->p, in->len, split), want);
		if (want > 0)
			same_head(http_head(whole), http_head(h));
		http_free(h);
	}
	*ret = whole;
	return want;
}

static void test_good(void **state)
{
	static const struct bytes good = B(LINE UPGRADE PROTOCOL
		"Authorization:\t Bearer  sesame \t\r\nX-Other: \xc3\xbc\r\nEmpty:\r\n\r\n\x82\x80");
	const struct http_head *head;
	struct http *h;

	(void)state;
	assert_int_equal(parse_all_ways(HTTP_SERVER, &good, &h), good.len - 2);
	head = http_head(h);
	assert_true(head->is_get && head->upgrade_websocket && !head->has_body);
	assert_string_equal(head->target, "/v1");
	assert_string_equal(head->ws_key, KEY);
	assert_string_equal(head->ws_version, "13");
	assert_string_equal(head->ws_protocol, "agentd.v1");
	assert_string_equal(head->ws_accept, "");
	assert_string_equal(head->authorization, "Bearer  sesame");
	assert_int_equal(http_check_upgrade(head, "/v1", "agentd.v1"), 0);
	http_free(h);
	http_free(NULL);
}

/* Heads that parse, and the status that judging them gives. */
static const struct {
	int status;
	struct bytes head;
} judged[] = {
	{0, B(LINE UPGRADE PROTOCOL "\r\n")},
	{0, B("\r\n" LINE UPGRADE PROTOCOL "\r\n")},
	{0, B("GET /v1?debug=1 HTTP/1.1\r\n" UPGRADE PROTOCOL "\r\n")},
	{0, B(LINE UPGRADE PROTOCOL "Content-Length: 0\r\n\r\n")},
	{0, B(LINE UPGRADE PROTOCOL "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")},
	{0, B(LINE UPGRADE "sec-websocket-protocol: x,\tagentd.v1 , y\r\n\r\n")},
	{0, B(LINE UPGRADE "Sec-WebSocket-Protocol: x\r\n" PROTOCOL "\r\n")},
	{0, B(LINE "Connection: x, UPGRADE\r\nConnection: keep-alive\r\n"
		   "Upgrade: h2c, WebSocket\r\nUpgrade: x\r\n"
		   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n" PROTOCOL "\r\n")},
	/* a body */
	{400, B("POST /v1 HTTP/1.1\r\n" UPGRADE PROTOCOL "Content-Length: 5\r\n\r\nhello")},
	{400, B(LINE UPGRADE PROTOCOL "Content-Length: 1\r\n\r\nx")},
	{400, B(LINE UPGRADE PROTOCOL "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
	{400, B(LINE UPGRADE PROTOCOL "Transfer-Encoding: gzip\r\n\r\n")},
	/* a bad key */
	{400, B(LINE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" PROTOCOL
		     "\r\n")},
	{400, B(LINE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
		     "Sec-WebSocket-Key: c2hvcnQ=\r\n" PROTOCOL "\r\n")},
	/* another path */
	{404, B("GET / HTTP/1.1\r\n" UPGRADE PROTOCOL "\r\n")},
	{404, B("GET /v10 HTTP/1.1\r\n" UPGRADE PROTOCOL "\r\n")},
	{404, B("GET /v HTTP/1.1\r\n" UPGRADE PROTOCOL "\r\n")},
	{404, B("GET /v1/ HTTP/1.1\r\n" UPGRADE PROTOCOL "\r\n")},
	{404, B("POST / HTTP/1.1\r\n\r\n")},
	{404, B("CONNECT host:1 HTTP/1.1\r\n\r\n")},
	/* another method */
	{405, B("POST /v1 HTTP/1.1\r\n" UPGRADE PROTOCOL "\r\n")},
	{405, B("HEAD /v1 HTTP/1.1\r\n\r\n")},
	/* no upgrade, or one to something else */
	{426, B(LINE "\r\n")},
	{426, B(LINE "Upgrade: websocket\r\n\r\n")},
	{426, B(LINE UPGRADE "\r\n")},
	{426, B(LINE UPGRADE "Sec-WebSocket-Protocol: agentd.v2, xagentd.v1, agentd.v1x\r\n\r\n")},
	{426, B(LINE "Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
		     "Sec-WebSocket-Key: " KEY "\r\n" PROTOCOL "\r\n")},
	{426, B(LINE "Upgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n"
		     "Sec-WebSocket-Key: " KEY "\r\n" PROTOCOL "\r\n")},
	{426, B(LINE "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n"
		     "Sec-WebSocket-Key: " KEY "\r\n" PROTOCOL "\r\n")},
};

static void test_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(judged); i++) {
		struct http *h;

		assert_true(parse_all_ways(HTTP_SERVER, &judged[i].head, &h) > 0);
		assert_int_equal(
			http_check_upgrade(http_head(h), "/v1", "agentd.v1"), judged[i].status);
		http_free(h);
	}
}

/* Whatever a head says of a body, parsing stops behind the empty line. */
static void test_stops_at_end(void **state)
{
	static const char *const heads[] = {
		LINE "\r\n",
		LINE UPGRADE "\r\n",
		LINE "Connection: close\r\n\r\n",
		LINE "Content-Length: 7\r\n\r\n",
		LINE UPGRADE "Content-Length: 7\r\n\r\n",
		LINE "Transfer-Encoding: chunked\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < array_size(heads); i++) {
		char text[512];
		struct bytes in = {text, 0};
		struct http *h;
		bool done;

		in.len = (size_t)snprintf(text, sizeof(text), "%s%s", heads[i], LINE "\r\n");
		assert_int_equal(parse_all_ways(HTTP_SERVER, &in, &h), strlen(heads[i]));
		assert_int_equal(http_feed(h, "more", 4, &done), 0);
		assert_true(done);
		http_free(h);
	}
}

static const struct bytes broken[] = {
	/* not HTTP/1.1 */
	B("\x16\x03\x01\x02\x00\x01\x00"), B("hello\r\n"), B("get /v1 HTTP/1.1\r\n\r\n"),
	B("GET /v1\r\n\r\n"), B("GET /v1 HTTP/1.0\r\n\r\n"), B("GET /v1 HTTP/2.0\r\n\r\n"),
	B("GET /v1 HTTP/1.2\r\n\r\n"), B("GET /v1 HTTP/11.1\r\n\r\n"),
	B("GET /v1 HTTQ/1.1\r\n\r\n"), B("GET /v1 HTTP/1.1 \r\n\r\n"),
	B("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), B("\x82\x85\x37\xfa\x21\x3d"),
	/* the target */
	B("GET /v\0 HTTP/1.1\r\n\r\n"), B("GET /v\xff HTTP/1.1\r\n\r\n"),
	B("GET v1 HTTP/1.1\r\n\r\n"), B("GET /v\x01 HTTP/1.1\r\n\r\n"),
	/* line ends */
	B("GET /v1 HTTP/1.1\nHost: a\r\n\r\n"), B(LINE "X: a\n\r\n"), B(LINE "X: a\r\n\n"),
	B(LINE "X: a\rb\r\n\r\n"), B(LINE "X: a\r\n\rX"), B(LINE "Authorization: a\n\r\n"),
	/* folded lines */
	B(LINE "X: a\r\n b\r\n\r\n"), B(LINE "X: \r\n b\r\n\r\n"),
	B(LINE "Authorization: a\r\n\tb\r\n\r\n"), B(LINE "Connection: a,\r\n Upgrade\r\n\r\n"),
	B("GET /v1 HTTP/1.1\r\n X: a\r\n\r\n"),
	/* field names and values */
	B(LINE "X\r\n\r\n"), B(LINE ": a\r\n\r\n"), B(LINE "X : a\r\n\r\n"),
	B(LINE "X\0: a\r\n\r\n"), B(LINE "X\xc3\xbc: a\r\n\r\n"), B(LINE "X: a\0b\r\n\r\n"),
	B(LINE "X: a\x01\r\n\r\n"), B(LINE "X: a\x7f\r\n\r\n"),
	B(LINE "Authorization: a\0b\r\n\r\n"),
	/* bodies that could be read in two ways */
	B(LINE "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
	B(LINE "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
	B(LINE "Content-Length: 1x\r\n\r\n"), B(LINE "Content-Length: -1\r\n\r\n"),
	B(LINE "Content-Length: 99999999999999999999\r\n\r\n"),
	/* fields that may come once */
	B(LINE "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: a\r\n\r\n"),
	B(LINE "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\n\r\n"),
	B(LINE "Authorization: a\r\nAUTHORIZATION: b\r\n\r\n"),
	B(LINE "Authorization:\r\nAuthorization:\r\n\r\n")};

static const struct bytes broken_answers[] = {B("GET /v1 HTTP/1.1\r\n\r\n"),
	B("HTTP/1.0 101 x\r\n\r\n"), B("HTTP/1.1 9999 x\r\n\r\n"), B("HTTP/1.1 abc x\r\n\r\n"),
	B("HTTP/1.1 101 x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
	B("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: a\r\nSec-WebSocket-Accept: a\r\n\r\n")};

static void test_broken(void **state)
{
	struct http *h;

	(void)state;
	for (size_t i = 0; i < array_size(broken); i++) {
		assert_int_equal(parse_all_ways(HTTP_SERVER, &broken[i], &h), -400);
		http_free(h);
	}
	for (size_t i = 0; i < array_size(broken_answers); i++) {
		assert_int_equal(parse_all_ways(HTTP_CLIENT, &broken_answers[i], &h), -400);
		http_free(h);
	}
}

/* Any prefix of a good head is neither done nor broken. */
static void test_incomplete(void **state)
{
	static const char good[] = LINE UPGRADE PROTOCOL "\r\n";

	(void)state;
	for (size_t len = 0; len < sizeof(good) - 1; len++) {
		struct http *h = http_new(HTTP_SERVER);

		assert_int_equal(parse(h, good, len, len), -1);
		http_free(h);
	}
}

/* before, n times 'a', after. */
static int parse_padded(const char *before, size_t n, const char *after, size_t split)
{
	struct http *h = http_new(HTTP_SERVER);
	char *text = NULL, *as = malloc(n + 1);
	int len, r;

	assert_non_null(as);
	memset(as, 'a', n);
	as[n] = '\0';
	len = asprintf(&text, "%s%s%s", before, as, after);
	assert_true(len > 0);
	r = parse(h, text, (size_t)len, split);
	free(as);
	free(text);
	http_free(h);
	return r;
}

static void test_head_max(void **state)
{
	const char *before = LINE "X: ", *after = "\r\n\r\n";
	size_t n = HTTP_HEAD_MAX - strlen(before) - strlen(after);

	(void)state;
	for (size_t split = 0; split <= HTTP_HEAD_MAX; split += 4096) {
		assert_int_equal(parse_padded(before, n, after, split), HTTP_HEAD_MAX);
		assert_int_equal(parse_padded(before, n + 1, after, split), -431);
		assert_int_equal(parse_padded(before, 10 * n, after, split), -431);
		assert_int_equal(parse_padded(before, n + 4, "", split), -431);
		assert_int_equal(parse_padded(LINE, 2 * n, "", split), -431); /* a name */
	}
	/* Empty lines in front count as well. */
	char *text = malloc(2 * HTTP_HEAD_MAX);
	struct http *h = http_new(HTTP_SERVER);

	assert_non_null(text);
	for (size_t i = 0; i < 2 * HTTP_HEAD_MAX; i++)
		text[i] = i % 2 ? '\n' : '\r';
	assert_int_equal(parse(h, text, (size_t)2 * HTTP_HEAD_MAX, 100), -431);
	http_free(h);
	free(text);
}

static void test_value_max(void **state)
{
	static const char *const before[] = {"GET /",
		LINE "Authorization: ", LINE "Connection: ", LINE "Sec-WebSocket-Protocol: ",
		LINE "Sec-WebSocket-Protocol: bb\r\nsec-websocket-protocol: "};
	static const size_t less[] = {1, 0, 0, 0, 4}; /* "/", "bb, " */

	(void)state;
	for (size_t i = 0; i < array_size(before); i++) {
		const char *after = i == 0 ? " HTTP/1.1\r\n\r\n" : "\r\n\r\n";
		size_t n = HTTP_VALUE_MAX - less[i];

		for (size_t split = 0; split < 1100; split += 100) {
			assert_true(parse_padded(before[i], n, after, split) > 0);
			assert_int_equal(parse_padded(before[i], n + 1, after, split), -431);
		}
	}
	assert_true(parse_padded(LINE "Other: ", 5000, "\r\n\r\n", 0) > 0);
}

static void test_list_has(void **state)
{
	(void)state;
	assert_true(http_list_has("a", "a"));
	assert_true(http_list_has("x, y,a", "A"));
	assert_true(http_list_has(",, \t A\t ,", "a"));
	assert_true(http_list_has("a,b", "a"));
	assert_false(http_list_has("", "a"));
	assert_false(http_list_has(" ", "a"));
	assert_false(http_list_has(",", "a"));
	assert_false(http_list_has("ab, ba, b a, a b", "a"));
}

/* Our request read by our parser. */
static void test_format_upgrade(void **state)
{
	static const char *const bearers[] = {NULL, "sesame"};

	(void)state;
	for (size_t i = 0; i < array_size(bearers); i++) {
		char text[512], small[512];
		int n = http_format_upgrade(
			text, sizeof(text), "/v1", KEY, "agentd.v1", bearers[i]);
		struct bytes in = {text, (size_t)n};
		struct http *h;

		assert_true(n > 0);
		assert_int_equal(strlen(text), n);
		assert_int_equal(parse_all_ways(HTTP_SERVER, &in, &h), n);
		assert_int_equal(http_check_upgrade(http_head(h), "/v1", "agentd.v1"), 0);
		assert_string_equal(http_head(h)->authorization, i == 0 ? "" : "Bearer sesame");
		http_free(h);
		assert_int_equal(
			http_format_upgrade(small, (size_t)n, "/v1", KEY, "agentd.v1", bearers[i]),
			-ENOBUFS);
		assert_int_equal(http_format_upgrade(
					 small, (size_t)n + 1, "/v1", KEY, "agentd.v1", bearers[i]),
			n);
	}
}

static int check_answer(const struct bytes *in, const char *key)
{
	struct http *h;
	int r;

	assert_true(parse_all_ways(HTTP_CLIENT, in, &h) > 0);
	r = http_check_switching(http_head(h), key, "agentd.v1");
	http_free(h);
	return r;
}

/* Our answer read by our parser. */
static void test_format_switching(void **state)
{
	char text[512];
	int n = http_format_switching(text, sizeof(text), KEY, "agentd.v1");
	struct bytes in = {text, (size_t)n};

	(void)state;
	assert_true(n > 0);
	assert_int_equal(check_answer(&in, KEY), 0);
	assert_int_equal(check_answer(&in, "AAAAAAAAAAAAAAAAAAAAAA=="), -EPROTO);
	assert_int_equal(http_format_switching(text, (size_t)n, KEY, "agentd.v1"), -ENOBUFS);
}

static void test_check_switching(void **state)
{
	static const struct {
		int want;
		struct bytes head;
	} cases[] = {
		{0, B(SWITCHING ACCEPTING PROTOCOL "\r\n")},
		{0, B("HTTP/1.1 101\r\n" ACCEPTING PROTOCOL "\r\n")},
		{-EPROTO, B(SWITCHING ACCEPTING "\r\n")},
		{-EPROTO, B(SWITCHING ACCEPTING "Sec-WebSocket-Protocol: other\r\n\r\n")},
		{-EPROTO, B(SWITCHING ACCEPTING PROTOCOL PROTOCOL "\r\n")},
		{-EPROTO, B(SWITCHING PROTOCOL "\r\n")},
		{-EPROTO, B(SWITCHING "Sec-WebSocket-Accept: " ACCEPT "\r\n" PROTOCOL "\r\n")},
		{-EPROTO, B("HTTP/1.1 100 Continue\r\n\r\n")},
		{-EPROTO, B("HTTP/1.1 200 OK\r\n" ACCEPTING PROTOCOL "\r\n")},
		{-EPROTO, B("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")},
		{-EACCES, B("HTTP/1.1 401 Unauthorized\r\n\r\n")},
		{-EACCES, B("HTTP/1.1 403 Forbidden\r\n\r\n")},
		{-EUSERS, B("HTTP/1.1 503 Service Unavailable\r\n\r\n")},
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++)
		assert_int_equal(check_answer(&cases[i].head, KEY), cases[i].want);
}

static void test_format_refusal(void **state)
{
	static const int statuses[] = {400, 401, 404, 405, 426, 431, 503};

	(void)state;
	for (size_t i = 0; i < array_size(statuses); i++) {
		char text[512], *body;
		int n = http_format_refusal(text, sizeof(text), statuses[i], "no such thing");
		struct bytes in = {text, (size_t)n};
		struct http *h;

		assert_true(n > 0);
		assert_non_null(strstr(text, "\r\nConnection: close"));
		body = strstr(text, "\r\n\r\n") + 4;
		assert_string_equal(body, "no such thing\n");
		assert_non_null(strstr(text, "\r\nContent-Length: 14\r\n"));
		assert_int_equal(parse_all_ways(HTTP_CLIENT, &in, &h), body - text);
		assert_int_equal(http_head(h)->status, statuses[i]);
		http_free(h);
		assert_string_not_equal(http_status_text(statuses[i]), "Unknown");
		assert_int_equal(http_format_refusal(text, (size_t)n, statuses[i], "no such thing"),
			-ENOBUFS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_judged),
		cmocka_unit_test(test_stops_at_end),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_head_max),
		cmocka_unit_test(test_value_max),
		cmocka_unit_test(test_list_has),
		cmocka_unit_test(test_format_upgrade),
		cmocka_unit_test(test_format_switching),
		cmocka_unit_test(test_check_switching),
		cmocka_unit_test(test_format_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
