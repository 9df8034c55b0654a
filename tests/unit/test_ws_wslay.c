/*
 * test_ws_wslay.c - ours against libwslay, in both roles: the same frames encoded by both give the
 * same bytes, and both decode them to the same messages, however they are cut; of damaged streams
 * both say the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/ws_oracle.h"

#define MESSAGE_MAX 200000
#define FRAMES_MAX  64

struct stream {
	enum ws_role to;   /* the role of the reader */
	struct buf bytes;  /* as ours encodes it */
	struct buf theirs; /* as wslay encodes it */
	struct ws_trace want;
	size_t frame_at[FRAMES_MAX];
	size_t n_frames;
	uint8_t key[4]; /* of the current frame */
};

static uint64_t random_state = 88172645463325252ULL;

static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % n;
}

static void random_bytes(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)random_below(256);
}

static ssize_t on_send(const uint8_t *data, size_t len, int flags, void *user)
{
	struct stream *s = user;

	(void)flags;
	assert_int_equal(buf_append(&s->theirs, data, len), 0);
	return (ssize_t)len;
}

static int on_genmask(uint8_t *out, size_t len, void *user)
{
	struct stream *s = user;

	assert_int_equal(len, 4);
	memcpy(out, s->key, len);
	return 0;
}

static void encode_theirs(
	struct stream *s, enum ws_opcode op, bool fin, const uint8_t *payload, size_t len)
{
	const struct wslay_frame_callbacks callbacks = {
		.send_callback = on_send, .genmask_callback = on_genmask};
	struct wslay_frame_iocb frame = {
		.fin = fin,
		.opcode = (uint8_t)op,
		.mask = s->to == WS_SERVER,
		.payload_length = len,
		.data = payload,
		.data_length = len,
	};
	wslay_frame_context_ptr ctx;

	assert_int_equal(wslay_frame_context_init(&ctx, &callbacks, s), 0);
	assert_int_equal(wslay_frame_send(ctx, &frame), len);
	wslay_frame_context_free(ctx);
}

static void add_frame(
	struct stream *s, enum ws_opcode op, bool fin, const uint8_t *payload, size_t len)
{
	enum ws_role from = s->to == WS_SERVER ? WS_CLIENT : WS_SERVER;
	uint8_t header[WS_HEADER_MAX];
	size_t n;

	assert_true(s->n_frames < FRAMES_MAX);
	s->frame_at[s->n_frames++] = s->bytes.len;
	random_bytes(s->key, sizeof(s->key));
	if (random_below(4) == 0)
		memset(s->key, 0, sizeof(s->key));
	n = ws_encode_header(header, from, op, fin, len, s->key);
	assert_int_equal(buf_append(&s->bytes, header, n), 0);
	assert_int_equal(buf_append(&s->bytes, payload, len), 0);
	if (s->to == WS_SERVER && len > 0)
		ws_mask(buf_head(&s->bytes) + s->bytes.len - len, len, s->key, 0);
	encode_theirs(s, op, fin, payload, len);
}

static void add_control(struct stream *s)
{
	enum ws_opcode op = random_below(2) ? WS_PING : WS_PONG;
	size_t len = random_below(3) ? random_below(WS_CONTROL_MAX + 1) : WS_CONTROL_MAX;
	uint8_t payload[WS_CONTROL_MAX];

	random_bytes(payload, len);
	add_frame(s, op, true, payload, len);
	ws_trace_add(&s->want, op == WS_PING ? WS_EV_PING : WS_EV_PONG, 0, payload, len);
}

static size_t random_len(bool large)
{
	static const uint32_t edges[] = {0, 1, 2, 125, 126, 127, 128, 65535, 65536, 65537};
	uint32_t n = large ? array_size(edges) : array_size(edges) - 3;

	return random_below(2) ? edges[random_below(n)] : random_below(large ? 5000 : 300);
}

/* One message in one to five frames, with control frames between them. */
static void add_message(struct stream *s, bool large)
{
	size_t total = random_len(large), fragments = random_below(2) ? 1 : 1 + random_below(5),
	       at = 0;
	uint8_t *message = malloc(total + 1);

	assert_non_null(message);
	random_bytes(message, total);
	for (size_t i = 0; i < fragments; i++) {
		bool fin = i + 1 == fragments;
		size_t len = fin ? total - at : random_below((uint32_t)(total - at) + 1);

		if (i > 0 && random_below(3) == 0)
			add_control(s);
		add_frame(s, i == 0 ? WS_BINARY : WS_CONT, fin, message + at, len);
		at += len;
	}
	ws_trace_add(&s->want, WS_EV_DATA, 0, message, total);
	free(message);
}

static void add_close(struct stream *s)
{
	static const uint16_t codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1011, 3000, 4999};
	static const char reason[] = "gr\xc3\xbc\xc3\x9f dich \xe2\x82\xac \xf0\x9f\x98\x80";
	uint8_t payload[2 + sizeof(reason) - 1];
	uint16_t code = codes[random_below(array_size(codes))];
	size_t reason_len = random_below(2) ? sizeof(reason) - 1 : 0;

	if (random_below(3) == 0) {
		add_frame(s, WS_CLOSE, true, NULL, 0);
		ws_trace_add(&s->want, WS_EV_CLOSE, WS_CLOSE_NO_STATUS, NULL, 0);
		return;
	}
	put_u16(payload, code);
	memcpy(payload + 2, reason, reason_len);
	add_frame(s, WS_CLOSE, true, payload, 2 + reason_len);
	ws_trace_add(&s->want, WS_EV_CLOSE, code, reason, reason_len);
}

static void make_stream(struct stream *s, enum ws_role to, bool large)
{
	uint32_t messages = random_below(5);

	*s = (struct stream){.to = to, .bytes = BUF_NULL(GIB), .theirs = BUF_NULL(GIB)};
	s->want = WS_TRACE_NULL;
	for (uint32_t i = 0; i < messages; i++) {
		if (random_below(4) == 0)
			add_control(s);
		add_message(s, large);
	}
	if (random_below(2))
		add_close(s);
}

static void drop_stream(struct stream *s)
{
	buf_fini(&s->bytes);
	buf_fini(&s->theirs);
	ws_trace_fini(&s->want);
}

static const uint8_t *bytes_of(const struct stream *s)
{
	return s->bytes.len > 0 ? buf_head(&s->bytes) : (const uint8_t *)"";
}

static void expect_ours(const struct stream *s, size_t step)
{
	struct ws_trace got = WS_TRACE_NULL;
	struct ws_decoder d;

	ws_decoder_init(&d, s->to, MESSAGE_MAX);
	ws_trace_run(&got, &d, bytes_of(s), s->bytes.len, step, random_below(1U << 31));
	assert_true(ws_trace_equal(&got, &s->want));
	assert_true(ws_oracle_agrees(&d, &got, bytes_of(s), s->bytes.len, step));
	ws_trace_fini(&got);
}

static void test_same_bytes_same_messages(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1500; i++) {
		struct stream s;

		make_stream(&s, i & 1 ? WS_SERVER : WS_CLIENT, i % 50 < 2);
		assert_true(buf_equal(&s.bytes, &s.theirs));
		expect_ours(&s, s.bytes.len + 1);
		if (s.bytes.len < 5000)
			expect_ours(&s, 1);
		expect_ours(&s, 1 + random_below(300));
		expect_ours(&s, 0);
		drop_stream(&s);
	}
}

/* Both decoders are stopped and gone on with at every byte. */
static void test_split_at_every_byte(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 40; i++) {
		struct stream s;

		make_stream(&s, i & 1 ? WS_SERVER : WS_CLIENT, false);
		for (size_t at = 0; at <= s.bytes.len; at++) {
			struct ws_trace got = WS_TRACE_NULL;
			struct ws_decoder d;

			ws_decoder_init(&d, s.to, MESSAGE_MAX);
			ws_trace_feed(&got, &d, bytes_of(&s), at);
			ws_trace_feed(&got, &d, bytes_of(&s) + at, s.bytes.len - at);
			assert_true(ws_trace_equal(&got, &s.want));
			ws_trace_fini(&got);
		}
		drop_stream(&s);
	}
}

static void damage(struct stream *s)
{
	uint32_t times = 1 + random_below(3);

	for (uint32_t i = 0; i < times && s->bytes.len > 0; i++) {
		size_t at = random_below((uint32_t)s->bytes.len);

		/* Headers are what can be broken; payloads only in a close frame. */
		if (random_below(4) > 0)
			at = s->frame_at[random_below((uint32_t)s->n_frames)] + random_below(4);
		if (at < s->bytes.len)
			buf_head(&s->bytes)[at] ^= (uint8_t)(1U << random_below(8));
	}
	if (random_below(4) == 0 && s->bytes.len > 0)
		s->bytes.len = random_below((uint32_t)s->bytes.len);
}

static void test_damaged(void **state)
{
	unsigned refused = 0, n = 20000;

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		struct ws_trace got = WS_TRACE_NULL;
		struct ws_decoder d;
		struct stream s;

		make_stream(&s, i & 1 ? WS_SERVER : WS_CLIENT, false);
		damage(&s);
		ws_decoder_init(&d, s.to, random_below(2) ? 1000 : MESSAGE_MAX);
		ws_trace_run(&got, &d, bytes_of(&s), s.bytes.len, 0, i);
		assert_true(ws_oracle_agrees(&d, &got, bytes_of(&s), s.bytes.len, 0));
		refused += got.result < 0;
		ws_trace_fini(&got);
		drop_stream(&s);
	}
	assert_in_range(refused, n / 4, n - n / 10); /* or the damage is not what it should be */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_bytes_same_messages),
		cmocka_unit_test(test_split_at_every_byte),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
