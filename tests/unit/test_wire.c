/*
 * test_wire.c - one end of a link from its first byte to its last: the upgrade and every way to
 * refuse it, the two directions of closing, pings beside blocked bulk, and that nothing depends on
 * how bytes are cut, neither those that come nor those that leave.
 */
#include "tests/unit/wire_rig.h"

#include <stdio.h>

#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define REST    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: agentd.v1\r\n"
#define GOOD    "GET /v1 HTTP/1.1\r\nHost: agentd\r\n" UPGRADE KEY REST

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
	assert_int_equal(rig_bytes(r, GOOD "\r\n", sizeof(GOOD) + 1), sizeof(GOOD) + 1);
	assert_string_equal(rig_heard(r), "");
	rig_fini(r);
}

static void test_refusals(void **state)
{
	static const struct {
		int status, authorize;
		const char *text;
	} cases[] = {{400, 0, "\x16\x03\x01\x02\x00"}, {400, 0, "GET /v1\r\n\r\n"},
		{400, 0, GOOD "Content-Length: 3\r\n\r\nabc"},
		{400, 0, "GET /v1 HTTP/1.1\r\n" UPGRADE REST "\r\n"},
		{404, 0, "GET /v2 HTTP/1.1\r\n" UPGRADE KEY REST "\r\n"},
		{405, 0, "POST /v1 HTTP/1.1\r\n" UPGRADE KEY REST "\r\n"},
		{426, 0, "GET /v1 HTTP/1.1\r\n" KEY REST "\r\n"},
		{426, 0, "GET /v1 HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 13\r\n\r\n"},
		/* Who may not in learns nothing else. */
		{401, 401, GOOD "\r\n"}, {401, 401, "GET /v2 HTTP/1.1\r\n" UPGRADE KEY REST "\r\n"},
		{401, 401, "POST /v1 HTTP/1.1\r\n\r\n"}, {503, 503, GOOD "\r\n"}};
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
	memcpy(text, GOOD "X: ", sizeof(GOOD) + 2);
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
		{-EPROTO, 101, "HTTP/1.1 101 Switching Protocols\r\n" UPGRADE "\r\n"},
		{-EPROTO, 101,
			"HTTP/1.1 101 Switching Protocols\r\n" UPGRADE
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

/* ---- cuts ---- */

/* All that a client may say in one breath, as it lies in the stream. */
static size_t conversation(uint8_t *out, size_t size)
{
	static const struct {
		struct frame f;
		const char *payload;
	} frames[] = {
		{{.type = FRAME_HELLO}, "{\"proto\":1}"},
		{{.type = FRAME_OPEN, .channel = 3}, "{\"first\":true}"},
		{{.type = FRAME_DATA, .channel = 3}, "hello"},
		{{.type = FRAME_DATA, .channel = 3, .arg = 5, .flags = FRAME_FIN}, ""},
		{{.type = FRAME_REQ, .arg = 9}, "{\"op\":\"ping\"}"},
		{{.type = FRAME_OPEN, .channel = 3}, "{}"},
		{{.type = 77, .channel = 1}, "??"},
		{{.type = FRAME_WINDOW, .channel = 3, .arg = 5000}, ""},
		{{.type = FRAME_CLOSE, .channel = 3}, ""},
	};
	static const uint8_t key[4] = {1, 2, 3, 4};
	size_t n = sizeof(GOOD "\r\n") - 1;

	memcpy(out, GOOD "\r\n", n);
	for (size_t i = 0; i < array_size(frames); i++) {
		size_t len = strlen(frames[i].payload), at;

		assert_true(n + WS_HEADER_MAX * 2 + FRAME_HEADER + len < size);
		n += ws_encode_header(out + n, WS_CLIENT, WS_PING, true, 0, key);
		n += ws_encode_header(out + n, WS_CLIENT, WS_BINARY, true, FRAME_HEADER + len, key);
		at = n;
		frame_encode(&frames[i].f, out + n);
		memcpy(out + n + FRAME_HEADER, frames[i].payload, len);
		n += FRAME_HEADER + len;
		ws_mask(out + at, n - at, key, 0);
	}
	n += ws_encode_header(out + n, WS_CLIENT, WS_CLOSE, true, 0, key);
	return n;
}

/* Slices of DATA are told as they come, so only their sum is the same. */
static void check_conversation(struct rig *r)
{
	static const char heard[] =
		"pong; HELLO 0 {\"proto\":1}; OPENED 3 {}; RES 0@9 {}; REFUSED 3 !channel_in_use; "
		"REJECT 1@77 !unknown_type; CLOSE 3; close 1000";
	const char *told = rig_told(r);

	assert_memory_equal(
		told, "upgraded; hello {\"proto\":1}; open 3 {\"first\":true}; data 3.0@0", 62);
	assert_non_null(strstr(told, "; data 3.0@5+fin; request 0@9 {\"op\":\"ping\"}; close 3"));
	/* A pong is sent by the latest: when input is whole, one for all. */
	assert_string_equal(rig_heard(r), heard);
	assert_int_equal(r->wire.state, WIRE_CLOSED);
}

static void test_input_cuts(void **state)
{
	uint8_t text[2000];
	size_t len = conversation(text, sizeof(text));
	struct rig r;

	(void)state;
	for (size_t at = 0; at <= len; at++) {
		rig_init(&r, WS_SERVER, 0, NULL);
		assert_int_equal(rig_bytes(&r, text, at), at);
		assert_int_equal(rig_bytes(&r, text + at, len - at), len - at);
		check_conversation(&r);
		rig_fini(&r);
	}
	for (size_t step = 1; step < 40; step++) {
		rig_init(&r, WS_SERVER, 0, NULL);
		for (size_t at = 0; at < len; at += step)
			rig_bytes(&r, text + at, min_of(step, len - at));
		check_conversation(&r);
		rig_fini(&r);
	}
}

/* A control frame, small frames, a large one; of the first offer n bytes are taken, and then what
 * the payload lay in becomes something else. How much was offered at first. */
static size_t short_write(size_t n, struct buf *all)
{
	struct iovec iov[WIRE_IOV_MAX];
	size_t first = 0, taken;
	struct rig r;

	rig_server(&r, 0);
	r.send_limit = GIB;
	for (uint32_t id = 1; id <= 3; id++)
		rig_open(&r, id)->todo = id == 3 ? 70000 : 50;
	for (uint32_t id = 1; id <= 3; id++)
		channel_ready(&rig_chan(&r, id)->channel);
	rig_say(&r, FRAME_REQ, 0, 1, "{}");
	for (int count; (count = wire_output(&r.wire, iov)) > 0;) {
		size_t left = first ? SIZE_MAX : n;

		taken = 0;
		for (int i = 0; i < count; i++) {
			size_t part = min_of(left, iov[i].iov_len);

			assert_int_equal(buf_append(all, iov[i].iov_base, part), 0);
			taken += part;
			left -= part;
		}
		if (!first)
			first = iov[0].iov_len + (count > 1 ? iov[1].iov_len : 0);
		wire_wrote(&r.wire, taken);
		rig_scribble();
	}
	rig_fini(&r);
	return first;
}

static void test_short_writes(void **state)
{
	struct buf whole = BUF_NULL(GIB), cut = BUF_NULL(GIB);
	size_t first;

	(void)state;
	first = short_write(SIZE_MAX, &whole);
	assert_true(first > 65000);
	for (size_t n = 0; n < first; n += n < 300 || n > first - 20 ? 1 : 997) {
		short_write(n, &cut);
		assert_int_equal(buf_len(&cut), buf_len(&whole));
		assert_memory_equal(buf_head(&cut), buf_head(&whole), buf_len(&whole));
		buf_consume(&cut, buf_len(&cut));
	}
	buf_fini(&whole);
	buf_fini(&cut);
}

/* Small frames are gathered up to a bound, large ones are sent from where they lie. */
static void test_gather(void **state)
{
	static const size_t chunks[] = {100, WIRE_SMALL, WIRE_SMALL + 1, FRAME_PAYLOAD_MAX};
	struct iovec iov[WIRE_IOV_MAX];
	struct rig r;
	struct rig_chan *c;

	(void)state;
	for (size_t i = 0; i < array_size(chunks); i++) {
		bool large = chunks[i] > WIRE_SMALL;

		rig_server(&r, 0);
		r.send_limit = GIB;
		c = rig_open(&r, 1);
		c->todo = MIB;
		c->chunk = chunks[i];
		channel_ready(&c->channel);
		assert_int_equal(wire_output(&r.wire, iov), large ? 2 : 1);
		assert_true(iov[0].iov_len <= WIRE_GATHER + WIRE_SMALL + FRAME_PREFIX_MAX);
		if (large)
			assert_int_equal(iov[1].iov_len, chunks[i]);
		else
			assert_true(iov[0].iov_len >= WIRE_GATHER);
		wire_wrote(&r.wire, 0);
		assert_true(buf_len(&r.wire.out) <= WIRE_GATHER + FRAME_MAX + 2 * FRAME_PREFIX_MAX);
		rig_fini(&r);
	}
}

/* The link breaks in the very call that has a large frame on its way: first that, then the end. */
static void overflow(struct rig_chan *c)
{
	static const uint8_t much[60000];

	for (int i = 0; i < 10; i++)
		mux_send(c->channel.mux, &(struct frame){.type = FRAME_NOTICE}, much, sizeof(much));
	c->on_pull = NULL;
}

static void test_break_in_output(void **state)
{
	struct rig r;
	struct rig_chan *c;
	const char *heard;

	(void)state;
	rig_server(&r, 0);
	r.send_limit = GIB;
	c = rig_open(&r, 1);
	c->todo = MIB;
	c->on_pull = overflow;
	channel_ready(&c->channel);
	heard = rig_heard(&r);
	assert_memory_equal(heard, "DATA 1.1 #65520; NOTICE 0 #60000; ", 34);
	assert_string_equal(heard + strlen(heard) - 10, "close 1008");
	assert_int_equal(r.wire.state, WIRE_CLOSED);
	rig_fini(&r);
}

/* ---- both ends ---- */

static uint64_t seed = 88172645463325252u;

static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16) % n;
}

/* One write of a random part of what is offered, then reads of random size at the other end. */
static bool carry(struct rig *from, struct rig *to, struct buf *pipe)
{
	struct iovec iov[WIRE_IOV_MAX];
	int n = buf_len(pipe) < 100000 ? wire_output(&from->wire, iov) : 0;
	size_t taken = 0;

	for (int i = 0; i < n; i++) {
		size_t part = rnd(4) ? iov[i].iov_len : rnd((uint32_t)iov[i].iov_len + 1);

		assert_int_equal(buf_append(pipe, iov[i].iov_base, part), 0);
		taken += part;
		if (part < iov[i].iov_len)
			break;
	}
	if (n > 0)
		wire_wrote(&from->wire, taken);
	while (buf_len(pipe) > 0 && rnd(8)) {
		size_t piece = 1 + rnd(rnd(2) ? 100 : 80000);

		buf_consume(pipe, rig_bytes(to, buf_head(pipe), min_of(buf_len(pipe), piece)));
	}
	return n > 0 || buf_len(pipe) > 0;
}

/* 300 000 bytes each way through windows of 60 000, begun as soon as the link and the channel are
 * there, ended by the server. */
static void talk(struct rig *server, struct rig *client)
{
	struct buf up = BUF_NULL(GIB), down = BUF_NULL(GIB);
	struct rig_chan *near = NULL, *far = NULL;
	unsigned rounds = 0;

	while (!near || client->chans[1]) {
		assert_true(rounds++ < 100000);
		carry(client, server, &up);
		carry(server, client, &down);
		if (!near && client->wire.state == WIRE_OPEN) {
			near = rig_connect(client, 60000);
			near->grants = true;
			near->todo = 300000;
			channel_ready(&near->channel);
		}
		if (!far && server->chans[1]) {
			far = rig_chan(server, 1);
			far->grants = far->ends = true;
			far->todo = 300000;
			channel_ready(&far->channel);
		}
		if (near && far && client->chans[1] && near->channel.received == 300000)
			assert_int_equal(far->sent, 300000);
		if (rnd(20) == 0)
			wire_ping(&client->wire);
	}
	wire_close(&client->wire, WS_CLOSE_NORMAL, "");
	while (carry(client, server, &up) | carry(server, client, &down))
		;
	assert_true(server->wire.state == WIRE_CLOSED && client->wire.state == WIRE_CLOSED);
	assert_int_equal(server->wire.close_code, WS_CLOSE_NORMAL);
	assert_null(server->chans[1]);
	buf_fini(&up);
	buf_fini(&down);
}

static void test_both_ends(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		struct rig server, client;

		rig_init(&server, WS_SERVER, 0, NULL);
		rig_init(&client, WS_CLIENT, 0, NULL);
		server.window = server.send_limit = client.window = client.send_limit = 60000;
		talk(&server, &client);
		rig_fini(&server);
		rig_fini(&client);
	}
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
		cmocka_unit_test(test_input_cuts),
		cmocka_unit_test(test_short_writes),
		cmocka_unit_test(test_gather),
		cmocka_unit_test(test_break_in_output),
		cmocka_unit_test(test_both_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
