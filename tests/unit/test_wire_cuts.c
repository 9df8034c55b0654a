/*
 * test_wire_cuts.c - input and output of a link in pieces of every size: cut at any byte, written
 * short, gathered, ended within; and two of them against each other.
 */
#include "tests/unit/wire_rig.h"

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
	size_t n = sizeof(RIG_GOOD "\r\n") - 1;

	memcpy(out, RIG_GOOD "\r\n", n);
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
		cmocka_unit_test(test_input_cuts),
		cmocka_unit_test(test_short_writes),
		cmocka_unit_test(test_gather),
		cmocka_unit_test(test_break_in_output),
		cmocka_unit_test(test_both_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
