/*
 * test_ws.c - RFC 6455: the document's own examples, the edges of every length, everything a
 * decoder has to refuse, and that none of it depends on how the bytes are cut. The comparison with
 * libwslay is in test_ws_wslay.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/ws_trace.h"

#define MAX 65536

struct bytes {
	const char *p;
	size_t len;
};

#define B(literal)                                                                                 \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

static void decode(struct ws_trace *t, enum ws_role role, const void *data, size_t len, size_t step)
{
	struct ws_decoder d;

	*t = WS_TRACE_NULL;
	ws_decoder_init(&d, role, MAX);
	ws_trace_run(t, &d, data, len, step, 1);
}

/* Decodes whole, in every two pieces, and byte by byte; all agree; the caller has the trace. */
static void decode_all_ways(struct ws_trace *whole, enum ws_role role, const void *data, size_t len)
{
	struct ws_trace t;

	decode(whole, role, data, len, len + 1);
	decode(&t, role, data, len, 1);
	assert_true(ws_trace_equal(whole, &t));
	ws_trace_fini(&t);
	for (size_t at = 0; at <= len; at++) {
		struct ws_decoder d;

		t = WS_TRACE_NULL;
		ws_decoder_init(&d, role, MAX);
		ws_trace_feed(&t, &d, data, at);
		if (t.result == 0)
			ws_trace_feed(&t, &d, (const uint8_t *)data + at, len - at);
		assert_true(ws_trace_equal(whole, &t));
		ws_trace_fini(&t);
	}
}

static void expect_result(enum ws_role role, const struct bytes *in, int result)
{
	struct ws_trace t;

	decode_all_ways(&t, role, in->p, in->len);
	assert_int_equal(t.result, result);
	ws_trace_fini(&t);
}

/* One event from one whole input. */
static struct ws_event decode_one(
	struct ws_decoder *d, enum ws_role role, uint8_t *data, size_t len)
{
	struct ws_event ev, none;

	ws_decoder_init(d, role, MAX);
	assert_int_equal(ws_next(d, &data, &len, &ev), 1);
	assert_int_equal(ws_next(d, &data, &len, &none), 0);
	assert_int_equal(len, 0);
	return ev;
}

/* RFC 6455 section 5.7, with binary where it has text. */
static void test_examples(void **state)
{
	uint8_t bare[] = "\x82\x05Hello", masked[] = "\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
	uint8_t ping[] = "\x89\x05Hello", pong[] = "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
	struct ws_decoder d;
	struct ws_event ev;

	(void)state;
	ev = decode_one(&d, WS_CLIENT, bare, sizeof(bare) - 1);
	assert_true(ev.type == WS_EV_DATA && ev.first && ev.last && ev.len == 5);
	assert_ptr_equal(ev.data, bare + 2); /* in place */
	assert_memory_equal(ev.data, "Hello", 5);
	ev = decode_one(&d, WS_SERVER, masked, sizeof(masked) - 1);
	assert_true(ev.type == WS_EV_DATA && ev.first && ev.last && ev.len == 5);
	assert_ptr_equal(ev.data, masked + 6);
	assert_memory_equal(ev.data, "Hello", 5);
	ev = decode_one(&d, WS_CLIENT, ping, sizeof(ping) - 1);
	assert_true(ev.type == WS_EV_PING && ev.len == 5);
	assert_memory_equal(ev.data, "Hello", 5);
	ev = decode_one(&d, WS_SERVER, pong, sizeof(pong) - 1);
	assert_true(ev.type == WS_EV_PONG && ev.len == 5);
	assert_memory_equal(ev.data, "Hello", 5);
}

/* The place in the key is kept from slice to slice, and anew for each frame. */
static void test_masked_in_pieces(void **state)
{
	static const uint8_t data[] = "\x02\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
				      "\x80\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
	struct ws_trace t, want = WS_TRACE_NULL;

	(void)state;
	ws_trace_add(&want, WS_EV_DATA, 0, "HelloHello", 10);
	decode_all_ways(&t, WS_SERVER, data, sizeof(data) - 1);
	assert_true(ws_trace_equal(&t, &want));
	ws_trace_fini(&t);
	ws_trace_fini(&want);
}

/* A message in three frames, the middle one empty, with a ping between: slices say first and last
 * once, and an empty frame that is not the last is no event. */
static void test_fragments(void **state)
{
	static const enum ws_event_type types[] = {WS_EV_DATA, WS_EV_PING, WS_EV_DATA, WS_EV_DATA};
	static const bool first[] = {true, false, false, true}, last[] = {false, false, true, true};
	static const size_t lens[] = {3, 1, 2, 0};
	uint8_t data[] = "\x02\x03Hel\x00\x00\x89\x01p\x80\x02lo\x82\x00", *p = data;
	size_t len = sizeof(data) - 1;
	struct ws_decoder d;
	struct ws_event ev;

	(void)state;
	ws_decoder_init(&d, WS_CLIENT, MAX);
	for (size_t i = 0; i < array_size(types); i++) {
		assert_int_equal(ws_next(&d, &p, &len, &ev), 1);
		assert_int_equal(ev.type, types[i]);
		assert_int_equal(ev.len, lens[i]);
		if (ev.type == WS_EV_DATA) {
			assert_int_equal(ev.first, first[i]);
			assert_int_equal(ev.last, last[i]);
		}
	}
	assert_int_equal(ws_next(&d, &p, &len, &ev), 0);
}

/* Empty fragments at the start, and an empty end. */
static void test_empty_fragments(void **state)
{
	static const uint8_t data[] = "\x02\x00\x00\x00\x00\x01x\x80\x00\x02\x00\x80\x00";
	struct ws_trace t, want = WS_TRACE_NULL;

	(void)state;
	ws_trace_add(&want, WS_EV_DATA, 0, "x", 1);
	ws_trace_add(&want, WS_EV_DATA, 0, NULL, 0);
	decode_all_ways(&t, WS_CLIENT, data, sizeof(data) - 1);
	assert_true(ws_trace_equal(&t, &want));
	ws_trace_fini(&t);
	ws_trace_fini(&want);
}

static void test_broken(void **state)
{
	/* As a client reads them: not masked. */
	static const struct bytes bare[] = {/* RSV */
		B("\xc2\x00"), B("\xa2\x00"), B("\x92\x00"), B("\xf2\x00"), B("\xc9\x00"),
		B("\x99\x00"), B("\xc8\x00"),
		/* opcodes there are not */
		B("\x83"), B("\x84"), B("\x85"), B("\x86"), B("\x87"), B("\x8b"), B("\x8c"),
		B("\x8d"), B("\x8e"), B("\x8f"), B("\x03"), B("\x0b"),
		/* control frames in fragments, or above 125 bytes */
		B("\x08"), B("\x09"), B("\x0a"), B("\x89\x7e"), B("\x8a\x7f"), B("\x88\x7e"),
		/* masked by a server */
		B("\x82\x80"), B("\x89\x80"), B("\x88\x80"),
		/* nothing to continue */
		B("\x80"), B("\x00"), B("\x82\x00\x80"), B("\x02\x00\x80\x00\x80"),
		/* a new message inside another */
		B("\x02\x00\x82"), B("\x02\x00\x02"), B("\x02\x00\x81"),
		B("\x02\x01x\x00\x01y\x82"), B("\x02\x00\x89\x00\x82"),
		/* lengths that have a shorter form, and the top bit */
		B("\x82\x7e\x00\x00"), B("\x82\x7e\x00\x7d"),
		B("\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x00"),
		B("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"),
		B("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"),
		B("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff")};
	/* As a server reads them. */
	static const struct bytes masked[] = {/* not masked */
		B("\x82\x00"), B("\x82\x05"), B("\x89\x00"), B("\x88\x00"),
		/* the same rules as above */
		B("\x82\x80kkkk\x80\x80"), B("\x89\xfe"), B("\x82\xfe\x00\x7d"),
		/* a close frame of one byte, and a code that is valid only as long as it is masked
		 */
		B("\x88\x81\x00\x00\x00\x00x"),
		B("\x89\x82\x00\x00\x00\x00\x03\xe8\x88\x81\x00\x00\x00\x00\x03"),
		B("\x88\x82\x01\x01\x01\x01\x03\xe9")};

	(void)state;
	for (size_t i = 0; i < array_size(bare); i++)
		expect_result(WS_CLIENT, &bare[i], -WS_CLOSE_PROTOCOL);
	for (size_t i = 0; i < array_size(masked); i++)
		expect_result(WS_SERVER, &masked[i], -WS_CLOSE_PROTOCOL);
}

static void test_text(void **state)
{
	static const struct bytes text[] = {
		B("\x81"), B("\x01"), B("\x81\x05Hello"), B("\x82\x01x\x81"), B("\x89\x00\x81")};

	(void)state;
	for (size_t i = 0; i < array_size(text); i++)
		expect_result(WS_CLIENT, &text[i], -WS_CLOSE_UNSUPPORTED);
}

static void put_frame(struct buf *b, uint8_t first, uint64_t declared, size_t sent)
{
	static const uint8_t zeros[MAX + 1];
	uint8_t header[WS_HEADER_MAX];
	size_t n = ws_encode_header(header, WS_SERVER, first & 0x0f, first >> 7, declared, NULL);

	assert_int_equal(buf_append(b, header, n), 0);
	assert_int_equal(buf_append(b, zeros, sent), 0);
}

static void expect_sized(struct buf *b, int result)
{
	struct ws_trace t;

	decode(&t, WS_CLIENT, buf_head(b), b->len, b->len);
	assert_int_equal(t.result, result);
	ws_trace_fini(&t);
	decode(&t, WS_CLIENT, buf_head(b), b->len, 1);
	assert_int_equal(t.result, result);
	ws_trace_fini(&t);
	buf_fini(b);
}

/* Too big is said on the header alone: no byte of payload is sent. */
static void test_message_max(void **state)
{
	struct buf b = BUF_NULL(GIB);

	(void)state;
	put_frame(&b, 0x82, MAX, MAX);
	expect_sized(&b, 0);
	put_frame(&b, 0x82, MAX + 1, 0);
	expect_sized(&b, -WS_CLOSE_TOO_BIG);
	put_frame(&b, 0x82, INT64_MAX, 0);
	expect_sized(&b, -WS_CLOSE_TOO_BIG);
	put_frame(&b, 0x02, MAX, MAX);
	put_frame(&b, 0x89, 125, 125); /* does not count */
	put_frame(&b, 0x00, 0, 0);
	put_frame(&b, 0x80, 0, 0);
	put_frame(&b, 0x82, MAX, MAX); /* counted anew */
	expect_sized(&b, 0);
	put_frame(&b, 0x02, 1, 1);
	put_frame(&b, 0x89, 0, 0);
	put_frame(&b, 0x80, MAX, 0);
	expect_sized(&b, -WS_CLOSE_TOO_BIG);
	put_frame(&b, 0x02, 1, 1);
	put_frame(&b, 0x00, INT64_MAX, 0);
	expect_sized(&b, -WS_CLOSE_TOO_BIG);
}

static void close_frame(uint8_t out[4], uint16_t code)
{
	out[0] = 0x88;
	out[1] = 2;
	put_u16(out + 2, code);
}

static void test_close_codes(void **state)
{
	(void)state;
	for (uint32_t code = 0; code <= UINT16_MAX; code++) {
		bool want = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
			    (code >= 3000 && code <= 4999);
		uint8_t frame[4], *p = frame;
		struct ws_event ev;
		struct ws_decoder d;
		size_t len = sizeof(frame);

		close_frame(frame, (uint16_t)code);
		ws_decoder_init(&d, WS_CLIENT, MAX);
		assert_int_equal(ws_next(&d, &p, &len, &ev), want ? 1 : -WS_CLOSE_PROTOCOL);
		if (want)
			assert_true(ev.type == WS_EV_CLOSE && ev.code == code && ev.len == 0);
	}
}

static void test_close_reasons(void **state)
{
	static const struct bytes bad[] = {B("\x88\x03\x03\xe8\xff"), B("\x88\x04\x03\xe8\xc0\x80"),
		B("\x88\x04\x03\xe8\xe2\x82"), B("\x88\x05\x03\xe8\xed\xa0\x80")};
	uint8_t none[] = "\x88\x00", reason[] = "\x88\x05\x03\xe8\xe2\x82\xac";
	struct ws_decoder d;
	struct ws_event ev;

	(void)state;
	ev = decode_one(&d, WS_CLIENT, none, 2);
	assert_true(ev.type == WS_EV_CLOSE && ev.code == WS_CLOSE_NO_STATUS && ev.len == 0);
	ev = decode_one(&d, WS_CLIENT, reason, sizeof(reason) - 1);
	assert_true(ev.type == WS_EV_CLOSE && ev.code == WS_CLOSE_NORMAL && ev.len == 3);
	assert_memory_equal(ev.data, "\xe2\x82\xac", 3);
	for (size_t i = 0; i < array_size(bad); i++)
		expect_result(WS_CLIENT, &bad[i], -WS_CLOSE_PROTOCOL);
}

/* After a close frame everything is swallowed, broken or not. */
static void test_after_close(void **state)
{
	static const struct bytes cases[] = {B("\x88\x00\x82\x01x"), B("\x88\x00\xff\xff\xff\xff"),
		B("\x02\x01x\x88\x00\x80\x00")};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++)
		expect_result(WS_CLIENT, &cases[i], 0);
}

static void test_encode_header(void **state)
{
	static const struct {
		uint64_t len;
		struct bytes want;
	} cases[] = {
		{0, B("\x82\x00")},
		{125, B("\x82\x7d")},
		{126, B("\x82\x7e\x00\x7e")},
		{65535, B("\x82\x7e\xff\xff")},
		{65536, B("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00")},
		{INT64_MAX, B("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")},
	};
	const uint8_t key[4] = {1, 2, 3, 4};
	uint8_t out[WS_HEADER_MAX];

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		const struct bytes *want = &cases[i].want;
		size_t n = ws_encode_header(out, WS_SERVER, WS_BINARY, true, cases[i].len, NULL);

		assert_int_equal(n, want->len);
		assert_memory_equal(out, want->p, n);
		n = ws_encode_header(out, WS_CLIENT, WS_BINARY, true, cases[i].len, key);
		assert_int_equal(n, want->len + 4);
		assert_int_equal(out[1], (uint8_t)want->p[1] | 0x80);
		assert_memory_equal(out + 2, want->p + 2, want->len - 2);
		assert_memory_equal(out + want->len, key, 4);
	}
	assert_int_equal(ws_encode_header(out, WS_SERVER, WS_BINARY, false, 0, NULL), 2);
	assert_int_equal(out[0], WS_BINARY);
	assert_int_equal(ws_encode_header(out, WS_SERVER, WS_CONT, true, 0, NULL), 2);
	assert_int_equal(out[0], 0x80);
	assert_int_equal(ws_encode_header(out, WS_SERVER, WS_PING, true, 125, NULL), 2);
	assert_int_equal(out[0], 0x89);
}

/* Every alignment, length, and position in the key, with a guard on both sides. */
static void test_mask(void **state)
{
	static const uint8_t keys[][4] = {{0x37, 0xfa, 0x21, 0x3d}, {0, 0, 0, 0}, {0, 0, 0, 1}};
	uint8_t data[16 + 300 + 16], want[sizeof(data)];

	(void)state;
	for (size_t i = 0; i < array_size(keys) * 16 * 300 * 4; i++) {
		const uint8_t *key = keys[i % array_size(keys)];
		size_t at = i / 3 % 4, start = i / 12 % 16, n = i / 192;

		for (size_t j = 0; j < sizeof(data); j++)
			want[j] = data[j] = (uint8_t)(j * 7 + i);
		for (size_t j = 0; j < n; j++)
			want[start + j] ^= key[(at + j) % 4];
		assert_int_equal(
			ws_mask(data + start, n, key, (unsigned)at), (unsigned)(at + n) % 4);
		assert_memory_equal(data, want, sizeof(data));
	}
}

static void test_handshake(void **state)
{
	static const char *const bad[] = {"", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=A",
		"dGhlIHNhbXBsZSBub25jZQ==x", "dGhlIHNhbXBsZSBub25jZTEy", "dGhlIHNhbXBsZSBub25jZTE=",
		"dGhlIHNhbXBsZSBub25jZR==", "dGhlIHNhbXBs SBub25jZQ==", "dGhlIHNhbXBsZSBub25j"};
	char accept[WS_ACCEPT_LEN + 1], key[WS_KEY_LEN + 1], other[WS_KEY_LEN + 1];

	(void)state;
	assert_true(ws_key_valid("dGhlIHNhbXBsZSBub25jZQ=="));
	ws_accept_for("dGhlIHNhbXBsZSBub25jZQ==", accept); /* RFC 6455 section 1.3 */
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(ws_key_valid(bad[i]));
	ws_key_make(key);
	ws_key_make(other);
	assert_true(ws_key_valid(key));
	assert_string_not_equal(key, other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_masked_in_pieces),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_empty_fragments),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_message_max),
		cmocka_unit_test(test_close_codes),
		cmocka_unit_test(test_close_reasons),
		cmocka_unit_test(test_after_close),
		cmocka_unit_test(test_encode_header),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_handshake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
