/*
 * test_frame.c - the 16-byte header: each field in its place, every value there and back, and the
 * WebSocket header in front of it for both roles. The examples of docs/protocol.md are checked by
 * test_vectors.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/frame.h"

static void assert_same(const struct frame *a, const struct frame *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->stream, b->stream);
	assert_int_equal(a->channel, b->channel);
	assert_int_equal(a->arg, b->arg);
}

static void test_layout(void **state)
{
	static const uint8_t want[FRAME_HEADER] = {32, 1, 2, 0, 0xa1, 0xa2, 0xa3, 0xa4, 0xb1, 0xb2,
		0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8};
	const struct frame f = {FRAME_DATA, FRAME_FIN, STREAM_ERR, 0xa1a2a3a4, 0xb1b2b3b4b5b6b7b8};
	uint8_t out[FRAME_HEADER + 2];
	struct frame back;

	(void)state;
	/* At an odd address, with a guard on both sides. */
	memset(out, 0xee, sizeof(out));
	frame_encode(&f, out + 1);
	assert_memory_equal(out + 1, want, FRAME_HEADER);
	assert_true(out[0] == 0xee && out[FRAME_HEADER + 1] == 0xee);
	frame_decode(&back, out + 1);
	assert_same(&f, &back);
}

/* Every bit of every field alone, and both ends of each. */
static void test_there_and_back(void **state)
{
	uint8_t out[FRAME_HEADER], again[FRAME_HEADER];

	(void)state;
	for (unsigned bit = 0; bit < FRAME_HEADER * 8; bit++) {
		uint8_t in[FRAME_HEADER] = {0};
		struct frame f;

		in[bit / 8] = (uint8_t)(1u << bit % 8);
		frame_decode(&f, in);
		frame_encode(&f, out);
		in[3] = 0; /* the reserved byte is ignored and sent as 0 */
		assert_memory_equal(in, out, FRAME_HEADER);
	}
	memset(out, 0xff, sizeof(out));
	for (int i = 0; i < 2; i++) {
		struct frame f;

		frame_decode(&f, out);
		assert_int_equal(f.channel, UINT32_MAX);
		assert_int_equal(f.arg, UINT64_MAX);
		frame_encode(&f, again);
		memcpy(out, again, sizeof(out));
	}
}

/* The prefix is a WebSocket header for header and payload together, then the frame's header. */
static void check_prefix(enum ws_role role, size_t len)
{
	const struct frame f = {.type = FRAME_DATA, .stream = STREAM_OUT, .channel = 7, .arg = len};
	static uint8_t message[FRAME_PREFIX_MAX + FRAME_PAYLOAD_MAX];
	size_t n = frame_prefix(message, role, &f, len), left = n + len;
	uint8_t *at = message;
	struct ws_decoder d;
	struct ws_event ev;
	struct frame back;

	assert_true(n <= FRAME_PREFIX_MAX);
	/* The zero key of our own client: a payload goes out as it lies in memory. */
	memset(message + n, 0x5a, len);
	ws_decoder_init(&d, role == WS_SERVER ? WS_CLIENT : WS_SERVER, FRAME_MAX);
	assert_int_equal(ws_next(&d, &at, &left, &ev), 1);
	assert_true(ev.type == WS_EV_DATA && ev.first && ev.last && left == 0);
	assert_int_equal(ev.len, FRAME_HEADER + len);
	frame_decode(&back, ev.data);
	assert_same(&f, &back);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(ev.data[FRAME_HEADER + i], 0x5a);
}

static void test_prefix(void **state)
{
	static const size_t lens[] = {0, 1, 109, 110, 111, 4096, 65519, FRAME_PAYLOAD_MAX};

	(void)state;
	for (size_t i = 0; i < array_size(lens); i++) {
		check_prefix(WS_SERVER, lens[i]);
		check_prefix(WS_CLIENT, lens[i]);
	}
}

/* The numbers of the document: they can never change. */
static void test_numbers(void **state)
{
	static const uint8_t known[] = {1, 2, 3, 4, 5, 16, 17, 18, 19, 32, 33, 34, 35, 48};
	static const uint8_t types[] = {FRAME_HELLO, FRAME_REQ, FRAME_RES, FRAME_NOTICE,
		FRAME_REJECT, FRAME_OPEN, FRAME_OPENED, FRAME_REFUSED, FRAME_CLOSE, FRAME_DATA,
		FRAME_GAP, FRAME_WINDOW, FRAME_ACK, FRAME_EVENT};
	unsigned n = 0;

	(void)state;
	assert_memory_equal(known, types, sizeof(known));
	for (unsigned t = 0; t < 256; t++)
		n += frame_type_known((uint8_t)t);
	assert_int_equal(n, sizeof(known));
	for (size_t i = 0; i < sizeof(known); i++)
		assert_true(frame_type_known(known[i]));
	assert_int_equal(FRAME_PAYLOAD_MAX, 65520);
	assert_true(STREAM_IN == 0 && STREAM_OUT == 1 && STREAM_ERR == 2 && FRAME_FIN == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
