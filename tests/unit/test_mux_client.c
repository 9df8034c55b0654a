/*
 * test_mux_client.c - the client end of the channels: ids it chooses, what it takes from an agent
 * and in which state, what it ignores. And both ends together: random talk with a model beside it
 * (tests/unit/mux_pair.h), of which tests/fuzz/fuzz_mux.c is the thorough form.
 */
#include "tests/unit/mux_pair.h"
#include "tests/unit/wire_rig.h"

static void test_open(void **state)
{
	struct rig r;
	struct rig_chan *c;

	(void)state;
	rig_client(&r);
	for (uint32_t id = 1; id <= 3; id++) {
		c = rig_connect(&r, 100);
		assert_int_equal(c->channel.id, id);
		c->todo = 5;
		channel_ready(&c->channel); /* not before it is opened */
	}
	assert_string_equal(rig_heard(&r), "OPEN 1 {}; OPEN 2 {}; OPEN 3 {}");
	r.send_limit = 3;
	rig_say(&r, FRAME_OPENED, 2, 0, "{\"window\":3}");
	rig_say(&r, FRAME_OPENED, 2, 0, "{}"); /* once is enough */
	rig_say(&r, FRAME_REFUSED, 2, 0, "{}");
	assert_string_equal(rig_told(&r), "opened 2 {\"window\":3}");
	assert_string_equal(rig_heard(&r), "DATA 2.1 xxx");
	rig_say(&r, FRAME_WINDOW, 2, 10, "");
	assert_string_equal(rig_heard(&r), "DATA 2.1@3 xx");
	rig_say(&r, FRAME_REFUSED, 3, 0, "{\"error\":{\"code\":\"not_found\"}}");
	assert_string_equal(rig_told(&r), "close 3 !not_found");
	assert_int_equal(rig_connect(&r, 0)->channel.id, 3); /* free again */
	rig_fini(&r);
	assert_int_equal(r.closes, 4);
}

/* Every frame an agent may send, to a channel that is open, not open yet, closed, and never was. */
static void test_takes(void **state)
{
	static const char all[] = "data 1.1@7 abc; gap 1.2@9 +5; ack 1.0@4; event 1 {\"e\":1}; "
				  "response 1@3 {}; close 1 !removed";
	struct rig r;

	(void)state;
	rig_client(&r);
	rig_connect(&r, 100);
	rig_connect(&r, 100);
	channel_close(&rig_connect(&r, 100)->channel, NULL, 0);
	rig_heard(&r);
	rig_say(&r, FRAME_OPENED, 1, 0, "{}");
	rig_told(&r);
	for (uint32_t id = 4; id >= 1; id--) {
		struct frame data = {
			.type = FRAME_DATA, .stream = STREAM_OUT, .channel = id, .arg = 7};
		struct frame gap = {
			.type = FRAME_GAP, .stream = STREAM_ERR, .channel = id, .arg = 9};

		rig_frame(&r, &data, "abc", 3);
		rig_frame(&r, &gap, "\0\0\0\0\0\0\0\5", 8);
		rig_frame(&r, &gap, "\0\0\0\0\0\0\5", 7); /* not a number */
		rig_say(&r, FRAME_ACK, id, 4, "");
		rig_say(&r, FRAME_EVENT, id, 0, "{\"e\":1}");
		rig_say(&r, FRAME_RES, id, 3, "{}");
		assert_string_equal(rig_heard(&r), "");
		if (id == 1)
			rig_say(&r, FRAME_CLOSE, id, 0, "{\"error\":{\"code\":\"removed\"}}");
		assert_string_equal(rig_told(&r), id == 1 ? all : "");
	}
	assert_string_equal(rig_heard(&r), "CLOSE 1");
	rig_fini(&r);
}

static void test_link(void **state)
{
	struct rig r;

	(void)state;
	rig_client(&r);
	rig_say(&r, FRAME_NOTICE, 0, 0, "{\"notice\":\"stopping\"}");
	rig_say(&r, FRAME_RES, 0, 12, "{}");
	rig_say(&r, (enum frame_type)99, 0, 0, "of a newer agent");
	rig_say(&r, FRAME_OPEN, 1, 0, "{}");
	rig_say(&r, FRAME_REQ, 0, 0, "{}");
	rig_say(&r, FRAME_REJECT, 0, 99, "{}");
	assert_string_equal(rig_told(&r), "notice {\"notice\":\"stopping\"}; response 0@12 {}");
	assert_string_equal(rig_heard(&r), "");
	mux_request(&r.wire.mux, 0, 7, "{\"op\":\"ping\"}", 13);
	mux_request(&r.wire.mux, 5, 8, "{}", 2);
	assert_string_equal(rig_heard(&r), "REQ 0@7 {\"op\":\"ping\"}; REQ 5@8 {}");
	rig_fini(&r);
}

/* Bug: an OPEN that was closed before it was refused left its id in the table for ever. */
static void test_refused_after_close(void **state)
{
	struct rig r;

	(void)state;
	rig_client(&r);
	for (unsigned i = 0; i < 10; i++) {
		channel_close(&rig_connect(&r, 0)->channel, NULL, 0);
		assert_string_equal(rig_heard(&r), "OPEN 1 {}; CLOSE 1");
		rig_say(&r, FRAME_REFUSED, 1, 0, "{}");
		assert_int_equal(r.wire.mux.n_entries, 0);
	}
	/* Opened after all: the agent answers the CLOSE. */
	channel_close(&rig_connect(&r, 0)->channel, NULL, 0);
	rig_say(&r, FRAME_OPENED, 1, 0, "{}");
	assert_int_equal(rig_connect(&r, 0)->channel.id, 2);
	rig_say(&r, FRAME_CLOSE, 1, 0, "");
	assert_int_equal(r.wire.mux.n_entries, 1);
	rig_fini(&r);
	assert_int_equal(r.closes, 12);
}

static void test_max_channels(void **state)
{
	static struct channel one_more;
	static const struct channel_ops no_ops;
	struct rig r;

	(void)state;
	rig_client(&r);
	for (unsigned i = 0; i < UINT16_MAX; i++) {
		rig_connect(&r, 0);
		rig_pump(&r);
	}
	assert_int_equal(mux_open(&r.wire.mux, &one_more, &no_ops, 0, "{}", 2), -EMFILE);
	rig_heard(&r);
	rig_fini(&r);
}

static void test_server_rules(void **state)
{
	struct rig r;

	(void)state;
	rig_client(&r);
	rig_connect(&r, 10);
	rig_say(&r, FRAME_OPENED, 1, 0, "{}");
	rig_heard(&r);
	rig_told(&r);
	rig_say_data(&r, 1, 0, "01234567890", false); /* an agent overruns */
	assert_string_equal(rig_told(&r), "close 1 !credit_overrun");
	assert_string_equal(rig_heard(&r), "CLOSE 1 !credit_overrun");
	rig_say(&r, FRAME_HELLO, 0, 0, "{}");
	assert_string_equal(rig_heard(&r), "close 1002");
	rig_fini(&r);
}

/* ---- both ends ---- */

static void test_random_talk(void **state)
{
	uint64_t seed = 88172645463325252u;
	struct pair *p;

	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		p = pair_new(round % 3 == 2);
		for (unsigned i = 0; i < 1500; i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			pair_op(p, (uint8_t)(seed >> 16), (uint16_t)(seed >> 32));
		}
		pair_free(p, round % 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_takes),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_refused_after_close),
		cmocka_unit_test(test_max_channels),
		cmocka_unit_test(test_server_rules),
		cmocka_unit_test(test_random_talk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
