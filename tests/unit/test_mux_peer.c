/*
 * test_mux_peer.c - the server end of the channels and a peer that breaks the rules, or never
 * reads.
 */
#include "tests/unit/wire_rig.h"

#include <stdio.h>

/* ---- a peer that breaks the rules ---- */

static void test_rejects(void **state)
{
	static const uint8_t wrong_way[] = {FRAME_RES, FRAME_NOTICE, FRAME_REJECT, FRAME_OPENED,
		FRAME_REFUSED, FRAME_GAP, FRAME_EVENT};
	char want[64];
	struct rig r;

	(void)state;
	rig_server(&r, 0);
	rig_open(&r, 5);
	for (unsigned type = 0; type < 256; type++) {
		if (frame_type_known((uint8_t)type))
			continue;
		rig_say(&r, (enum frame_type)type, 5, 1, "\xff whatever");
		snprintf(want, sizeof(want),
			type ? "REJECT 5@%u !unknown_type" : "REJECT 5 !unknown_type", type);
		assert_string_equal(rig_heard(&r), want);
	}
	for (size_t i = 0; i < array_size(wrong_way); i++) {
		rig_say(&r, (enum frame_type)wrong_way[i], 5, 1, "12345678");
		snprintf(want, sizeof(want), "REJECT 5@%u !unknown_type", wrong_way[i]);
		assert_string_equal(rig_heard(&r), want);
	}
	assert_string_equal(rig_told(&r), "");
	rig_say_data(&r, 5, 0, "still here", false);
	assert_string_equal(rig_told(&r), "data 5.0@0 still here");
	rig_fini(&r);
}

static void expect_close(struct rig *r, int code)
{
	rig_heard(r);
	assert_int_equal(r->closed, code);
	assert_int_equal(r->wire.close_code, code);
	assert_int_equal(r->wire.state, WIRE_CLOSED);
	rig_fini(r);
}

static void test_hello_rules(void **state)
{
	struct rig r;

	(void)state;
	rig_server(&r, 0);
	rig_say(&r, FRAME_HELLO, 0, 0, "{}"); /* a second one */
	expect_close(&r, WS_CLOSE_PROTOCOL);
	for (unsigned type = 0; type < 256; type++) {
		if (type == FRAME_HELLO)
			continue;
		rig_init(&r, WS_SERVER, 0, NULL);
		rig_upgrade(&r);
		rig_say(&r, (enum frame_type)type, 0, 0, "{}");
		assert_string_equal(rig_told(&r), "upgraded");
		expect_close(&r, WS_CLOSE_PROTOCOL);
	}
	rig_init(&r, WS_SERVER, 0, NULL);
	rig_upgrade(&r);
	rig_say(&r, FRAME_HELLO, 5, 0, "{}");
	expect_close(&r, WS_CLOSE_PROTOCOL);
	for (size_t len = 0; len < FRAME_HEADER; len++) {
		rig_server(&r, 0);
		rig_ws(&r, WS_BINARY, true, "\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0", len);
		expect_close(&r, WS_CLOSE_PROTOCOL);
		rig_server(&r, 0);
		rig_ws(&r, WS_BINARY, false, "\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0", len);
		rig_ws(&r, WS_CONT, true, "", 0);
		expect_close(&r, WS_CLOSE_PROTOCOL);
	}
}

/* Asks and never listens: at some point nothing more is taken in. When it listens again, every
 * answer is there, once and in order. */
static void test_flood(void **state)
{
	static const uint8_t ping[] = "\x82\x92\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{}";
	const size_t n = 20000, size = sizeof(ping) - 1;
	uint8_t *all = malloc(n * size);
	size_t at = 0, used, rounds = 0;
	struct rig r;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		memcpy(all + i * size, ping, size);
		put_u64(all + i * size + 14, i);
	}
	rig_server(&r, 0);
	for (; at < n * size; rounds++) {
		r.deaf = true;
		do {
			used = rig_bytes(&r, all + at, min_of(n * size - at, (size_t)200000));
			at += used;
			assert_true(buf_len(&r.wire.mux.control) <= MUX_CONTROL_HIGH + FRAME_MAX);
		} while (wire_wants_input(&r.wire) && at < n * size);
		assert_int_equal(rig_bytes(&r, all + at, 0), 0);
		r.deaf = false;
		rig_told(&r);
		rig_heard(&r);
		assert_true(wire_wants_input(&r.wire));
	}
	assert_true(rounds > 3);
	assert_int_equal(r.heard_frames, n + 1); /* and HELLO */
	assert_int_equal(r.wire.state, WIRE_OPEN);
	free(all);
	rig_fini(&r);
}

/* Bug: so many windows due at once did not fit, and the link was ended as if the peer were to
 * blame.
 */
static void test_very_many_due(void **state)
{
	const uint32_t n = 20000;
	const char *heard;
	struct rig r;

	(void)state;
	rig_server(&r, 65536);
	for (uint32_t id = 1; id <= n; id++)
		rig_say(&r, FRAME_OPEN, id, 0, "{}"), rig_pump(&r);
	rig_heard(&r);
	r.heard_frames = 0;
	for (uint32_t id = 1; id <= n; id++) {
		channel_grant(&rig_chan(&r, id)->channel, 2000);
		channel_ack(&rig_chan(&r, id)->channel, STREAM_IN, 1);
	}
	heard = rig_heard(&r);
	assert_string_equal(heard + strlen(heard) - 30, "ACK 20000@1; WINDOW 20000@2000");
	assert_int_equal(r.heard_frames, 2 * n);
	assert_int_equal(r.wire.state, WIRE_OPEN);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rejects),
		cmocka_unit_test(test_hello_rules),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_very_many_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
