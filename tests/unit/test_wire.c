/*
 * test_wire.c - one end of a link from its first byte to its last: the upgrade and every way to
 * refuse it, the two directions of closing, pings beside blocked bulk, and that nothing depends on
 * how bytes are cut, neither those that come nor those that leave.
 */
#include "tests/unit/wire_rig.h"

#include <stdio.h>

/* ---- upgrade ---- */

static void expect_refusal(struct rig *r, int status)
{
	char line[32];

	assert_string_equal(rig_heard(r), "");
	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	assert_int_equal(buf_append(&r->head, "", 1), 0);
	assert_memory_equal(buf_head(&r->head), line, strlen(line));
	assert_non_null(strstr((char *)buf_head(&r->head), "\r\nConnection: close"));
	assert_int_equal(r->wire.state, WIRE_CLOSED);
	assert_int_equal(r->wire.close_code, status);
	/* Nothing that comes later is looked at. */
	assert_int_equal(rig_bytes(r, RIG_GOOD "\r\n", sizeof(RIG_GOOD) + 1), sizeof(RIG_GOOD) + 1);
	assert_string_equal(rig_heard(r), "");
	rig_fini(r);
}

static void test_refusals(void **state)
{
	static const struct {
		int status, authorize;
		const char *text;
	} cases[] = {{400, 0, "\x16\x03\x01\x02\x00"}, {400, 0, "GET /v1\r\n\r\n"},
		{400, 0, RIG_GOOD "Content-Length: 3\r\n\r\nabc"},
		{400, 0, "GET /v1 HTTP/1.1\r\n" RIG_UPGRADE RIG_REST "\r\n"},
		{404, 0, "GET /v2 HTTP/1.1\r\n" RIG_UPGRADE RIG_KEY RIG_REST "\r\n"},
		{405, 0, "POST /v1 HTTP/1.1\r\n" RIG_UPGRADE RIG_KEY RIG_REST "\r\n"},
		{426, 0, "GET /v1 HTTP/1.1\r\n" RIG_KEY RIG_REST "\r\n"},
		{426, 0,
			"GET /v1 HTTP/1.1\r\n" RIG_UPGRADE RIG_KEY
			"Sec-WebSocket-Version: 13\r\n\r\n"},
		/* Who may not in learns nothing else. */
		{401, 401, RIG_GOOD "\r\n"},
		{401, 401, "GET /v2 HTTP/1.1\r\n" RIG_UPGRADE RIG_KEY RIG_REST "\r\n"},
		{401, 401, "POST /v1 HTTP/1.1\r\n\r\n"}, {503, 503, RIG_GOOD "\r\n"}};
	struct rig r;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		size_t len = strlen(cases[i].text);

		rig_init(&r, WS_SERVER, 0, NULL);
		r.status = cases[i].authorize;
		assert_int_equal(rig_bytes(&r, cases[i].text, len), len);
		assert_string_equal(rig_told(&r), "");
		expect_refusal(&r, cases[i].status);
	}
}

static void test_large_head(void **state)
{
	const size_t len = 2 * HTTP_HEAD_MAX;
	char *text = malloc(len + 1);
	struct rig r;

	(void)state;
	memset(text, 'x', len);
	memcpy(text, RIG_GOOD "X: ", sizeof(RIG_GOOD) + 2);
	rig_init(&r, WS_SERVER, 0, NULL);
	assert_int_equal(rig_bytes(&r, text, len), len);
	expect_refusal(&r, 431);
	rig_init(&r, WS_SERVER, 0, NULL);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(rig_bytes(&r, text + i, 1), 1);
	expect_refusal(&r, 431);
	free(text);
}

static void test_bearer(void **state)
{
	char long_word[5000];
	struct rig server, client;
	struct wire w;

	(void)state;
	rig_init(&server, WS_SERVER, 0, NULL);
	rig_init(&client, WS_CLIENT, 0, "s3cret");
	rig_heard(&client);
	assert_int_equal(rig_bytes(&server, buf_head(&client.head), buf_len(&client.head)),
		buf_len(&client.head));
	assert_string_equal(rig_told(&server), "authorize Bearer s3cret; upgraded");
	assert_string_equal(rig_heard(&server), "HELLO 0 {\"proto\":1}");
	assert_int_equal(rig_bytes(&client, buf_head(&server.head), buf_len(&server.head)),
		buf_len(&server.head));
	assert_string_equal(rig_told(&client), "upgraded");
	rig_fini(&server);
	rig_fini(&client);
	memset(long_word, 'x', sizeof(long_word));
	long_word[sizeof(long_word) - 1] = '\0';
	assert_true(wire_init_client(&w, client.wire.events, &w, long_word) < 0);
}

static void test_client_is_refused(void **state)
{
	static const struct {
		int error, code;
		const char *text;
	} cases[] = {
		{-EACCES, 401, "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n"},
		{-EACCES, 403, "HTTP/1.1 403 Forbidden\r\n\r\n"},
		{-EUSERS, 503, "HTTP/1.1 503 Service Unavailable\r\n\r\n"},
		{-EPROTO, 404, "HTTP/1.1 404 Not Found\r\n\r\n"},
		{-EPROTO, 200, "HTTP/1.1 200 OK\r\n\r\n"},
		{-EPROTO, 101, "HTTP/1.1 101 Switching Protocols\r\n" RIG_UPGRADE "\r\n"},
		{-EPROTO, 101,
			"HTTP/1.1 101 Switching Protocols\r\n" RIG_UPGRADE
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
			"Sec-WebSocket-Protocol: agentd.v1\r\n\r\n"}, /* to another's key */
		{-EPROTO, 400, "SSH-2.0-OpenSSH_9.2\r\n"},
	};
	struct rig r;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		rig_init(&r, WS_CLIENT, 0, NULL);
		rig_heard(&r);
		rig_bytes(&r, cases[i].text, strlen(cases[i].text));
		assert_int_equal(r.wire.state, WIRE_CLOSED);
		assert_int_equal(r.wire.error, cases[i].error);
		assert_int_equal(r.wire.close_code, cases[i].code);
		assert_string_equal(rig_heard(&r), "");
		rig_fini(&r);
	}
}

/* ---- closing ---- */

static void test_close(void **state)
{
	enum ws_role roles[] = {WS_SERVER, WS_CLIENT};
	struct rig r;

	(void)state;
	for (size_t i = 0; i < array_size(roles); i++) {
		void (*make)(struct rig *) = rig_client;

		/* From this side: what was queued before still leaves, the first code counts. */
		roles[i] == WS_SERVER ? rig_server(&r, 0) : make(&r);
		mux_send(&r.wire.mux, &(struct frame){.type = FRAME_NOTICE}, "{}", 2);
		wire_close(&r.wire, WS_CLOSE_GOING_AWAY, "bye");
		wire_close(&r.wire, WS_CLOSE_INTERNAL, "no");
		mux_send(&r.wire.mux, &(struct frame){.type = FRAME_NOTICE}, "{}", 2);
		rig_say(&r, FRAME_REQ, 0, 1, "{}");
		assert_int_equal(r.wire.state, WIRE_CLOSING);
		assert_string_equal(rig_heard(&r), "NOTICE 0 {}; close 1001 bye");
		assert_string_equal(rig_told(&r), "");
		assert_true(
			r.wire.state == WIRE_CLOSED && r.wire.close_code == WS_CLOSE_GOING_AWAY);
		rig_ws(&r, WS_CLOSE, true, "\x03\xe9", 2); /* the answer */
		wire_ping(&r.wire);
		assert_string_equal(rig_heard(&r), "");
		rig_fini(&r);
		/* From the other. */
		roles[i] == WS_SERVER ? rig_server(&r, 0) : make(&r);
		rig_ws(&r, WS_CLOSE, true, "\x03\xf4why", 5);
		rig_say(&r, FRAME_REQ, 0, 1, "{}");
		assert_string_equal(rig_heard(&r), "close 1012");
		assert_true(r.wire.state == WIRE_CLOSED && r.wire.close_code == 1012);
		rig_fini(&r);
		roles[i] == WS_SERVER ? rig_server(&r, 0) : make(&r);
		rig_ws(&r, WS_CLOSE, true, "", 0);
		assert_string_equal(rig_heard(&r), "close 1000");
		assert_int_equal(r.wire.close_code, WS_CLOSE_NORMAL);
		rig_fini(&r);
	}
}

/* Before there is a WebSocket there is nothing to say in it. */
static void test_close_in_http(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, WS_SERVER, 0, NULL);
	rig_bytes(&r, "GET /v1", 7);
	wire_close(&r.wire, WS_CLOSE_POLICY, "too slow");
	assert_true(r.wire.state == WIRE_CLOSED && r.wire.close_code == WS_CLOSE_POLICY);
	assert_string_equal(rig_heard(&r), "");
	rig_fini(&r);
}

/* A close comes behind the frame that has begun, never into it. */
static void test_close_in_bulk(void **state)
{
	struct rig r;
	struct rig_chan *c;

	(void)state;
	rig_server(&r, 0);
	r.send_limit = GIB;
	c = rig_open(&r, 1);
	c->todo = MIB;
	channel_ready(&c->channel);
	r.step = 100;
	assert_true(rig_pump(&r));
	rig_scribble();
	wire_close(&r.wire, WS_CLOSE_RESTART, "");
	r.step = 0;
	assert_string_equal(rig_heard(&r), "DATA 1.1 #65520; close 1012");
	assert_int_equal(r.wire.state, WIRE_CLOSED);
	rig_fini(&r);
}

static void test_broken_rules(void **state)
{
	static const struct {
		int code;
		size_t len;
		const char *bytes;
	} cases[] = {
		{WS_CLOSE_PROTOCOL, 2, "\x82\x10"},                 /* not masked */
		{WS_CLOSE_PROTOCOL, 2, "\xc2\x80"},                 /* RSV */
		{WS_CLOSE_UNSUPPORTED, 2, "\x81\x80"},              /* text */
		{WS_CLOSE_TOO_BIG, 10, "\x82\xff\0\0\0\0\0\1\0\1"}, /* 65537 */
		{WS_CLOSE_PROTOCOL, 6, "\x82\x80zzzz"},             /* no header */
	};
	struct rig r;
	char want[32];

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		rig_server(&r, 0);
		rig_say(&r, FRAME_REQ, 0, 1, "{}");
		rig_bytes(&r, cases[i].bytes, cases[i].len);
		rig_say(&r, FRAME_REQ, 0, 2, "{}");
		snprintf(want, sizeof(want), "RES 0@1 {}; close %d", cases[i].code);
		assert_string_equal(rig_heard(&r), want);
		assert_int_equal(r.wire.state, WIRE_CLOSED);
		rig_fini(&r);
	}
}

/* ---- pings ---- */

static void test_ping(void **state)
{
	char most[WS_CONTROL_MAX];
	struct rig r;
	struct rig_chan *c;

	(void)state;
	rig_server(&r, 0);
	rig_ws(&r, WS_PING, true, "", 0);
	assert_string_equal(rig_heard(&r), "pong");
	memset(most, 'p', sizeof(most));
	rig_ws(&r, WS_PING, true, most, sizeof(most));
	rig_ws(&r, WS_PONG, true, "unasked", 7);
	assert_string_equal(rig_heard(&r), "pong #125");
	/* Beside bulk that is stuck: the latest, once, as soon as bytes move. */
	r.send_limit = GIB;
	c = rig_open(&r, 1);
	c->todo = MIB;
	channel_ready(&c->channel);
	r.step = 10;
	assert_true(rig_pump(&r));
	for (int i = 'a'; i <= 'z'; i++)
		rig_ws(&r, WS_PING, true, &(char){(char)i}, 1);
	r.step = 0;
	assert_true(rig_pump(&r) && rig_pump(&r));
	r.deaf = true;
	assert_string_equal(rig_heard(&r), "DATA 1.1 #65520; pong z; DATA 1.1@65520 #65520");
	/* Between the fragments of a message. */
	r.deaf = false;
	c->todo = 0;
	rig_heard(&r);
	rig_ws(&r, WS_BINARY, false, "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\7{", 17);
	rig_ws(&r, WS_PING, true, "x", 1);
	rig_ws(&r, WS_CONT, true, "}", 1);
	assert_string_equal(rig_told(&r), "request 0@7 {}");
	assert_string_equal(rig_heard(&r), "pong x; RES 0@7 {}");
	rig_fini(&r);
	rig_client(&r);
	wire_ping(&r.wire);
	assert_string_equal(rig_heard(&r), "ping");
	rig_fini(&r);
}

/* What may wait a moment and what may not (wire_urgent). */
static void test_urgent(void **state)
{
	struct rig r;

	(void)state;
	rig_server(&r, 0);
	assert_false(wire_urgent(&r.wire));
	rig_say_data(&r, 5, 0, "for nobody", false);
	assert_false(wire_urgent(&r.wire));
	rig_say(&r, FRAME_REQ, 0, 1, "{}");
	assert_true(wire_urgent(&r.wire));
	rig_heard(&r);
	assert_false(wire_urgent(&r.wire));
	rig_ws(&r, WS_PING, true, "", 0);
	assert_true(wire_urgent(&r.wire));
	rig_heard(&r);
	rig_open(&r, 1);
	channel_grant(&rig_chan(&r, 1)->channel, 100000);
	assert_true(wire_urgent(&r.wire));
	rig_fini(&r);
}

/* What is asked behind the start of a command waits with its answer, in the same piece only. */
static void test_patient(void **state)
{
	struct rig r;

	(void)state;
	rig_server(&r, 0);
	r.patient = true;
	rig_say(&r, FRAME_OPEN, 1, 0, "{}");
	assert_false(wire_urgent(&r.wire));
	mux_respond(&r.wire.mux, 0, 1, "{}", 2);
	assert_false(wire_urgent(&r.wire));
	rig_say(&r, FRAME_REQ, 0, 2, "{}"); /* the next piece */
	assert_true(wire_urgent(&r.wire));
	rig_say(&r, FRAME_OPEN, 2, 0, "{}");
	mux_respond(&r.wire.mux, 0, 3, "{}", 2);
	assert_true(wire_urgent(&r.wire)); /* what came before still is */
	rig_heard(&r);
	rig_told(&r);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_large_head),
		cmocka_unit_test(test_bearer),
		cmocka_unit_test(test_client_is_refused),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_close_in_http),
		cmocka_unit_test(test_close_in_bulk),
		cmocka_unit_test(test_broken_rules),
		cmocka_unit_test(test_ping),
		cmocka_unit_test(test_urgent),
		cmocka_unit_test(test_patient),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
