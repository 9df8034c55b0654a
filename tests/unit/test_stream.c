/*
 * test_stream.c - a thread's bytes, gaps and events arrive in order and at the pace of the credit;
 * a client's bytes reach the thread with their offsets; who goes away wakes the thread, and nothing
 * is left.
 */
#include "tests/unit/stream_rig.h"

/* ---- out ---- */

static void check_out(enum what what, uint64_t window)
{
	struct client k = {.window = window};
	struct rig rig;

	rig_init(&rig, what, 0);
	rig_open(&rig, &k, window);
	until_closed(&rig, &k);
	assert_string_equal(k.error, "");
	if (what == WRITE || what == RESERVE) {
		assert_int_equal(k.sum, TOTAL);
		assert_int_equal(k.events, 1);
		assert_string_equal(k.last, "{\"event\":\"done\"}");
	} else {
		assert_int_equal(k.events, 3001);
	}
	assert_true(what != GAPS || k.gapped == 10 * 3 * (uint64_t)(999 * 1000 / 2));
	rig_fini(&rig);
}

static void test_out(void **state)
{
	static const uint64_t windows[] = {1, 100, 65520, 300000, 1 << 20, 1ULL << 40};

	(void)state;
	for (size_t i = 1; i < array_size(windows); i++) {
		check_out(WRITE, windows[i] < 1000 ? 65536 : windows[i]);
		check_out(RESERVE, windows[i] < 1000 ? 65521 : windows[i]);
		check_out(GAPS, windows[i]);
		check_out(EVENTS, windows[i]);
	}
	check_out(EVENTS, windows[0]);
}

/* A small file is one piece: nothing wakes the loop before the thread has said all. */
static void test_one_piece(void **state)
{
	struct client k = {0};
	struct rig rig;
	uint64_t v;

	(void)state;
	rig_init(&rig, FAIL, 0);
	rig_open(&rig, &k, 1 << 20);
	pair_pump(&rig.pair->end[WS_CLIENT], 9);
	pair_deliver(&rig.pair->end[WS_SERVER], SIZE_MAX);
	assert_false(rig.link.mux->urgent && buf_len(&rig.link.mux->control) == 0);
	uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(rig.wakes, 1);
	v = buf_len(&rig.link.mux->control);
	assert_true(v > 0);
	until_closed(&rig, &k);
	assert_non_null(strstr(k.error, "\"errno\":28"));
	assert_non_null(strstr(k.error, "/x: "));
	rig_fini(&rig);
}

/* What comes in quick succession does not wake the loop each time, and is not kept back while
 * something is waited for. */
static void test_bulk(void **state)
{
	struct client k = {.window = 1 << 20, .to_send = 1, .hold = true};
	struct rig rig;

	(void)state;
	rig_init(&rig, BULK, STREAM_INPUT);
	rig_open(&rig, &k, 1 << 20);
	for (int i = 0; k.sum < 100000 && i < 100000; i++) {
		turn(&rig, 100);
		usleep(20);
	}
	assert_int_equal(k.sum, 100000);
	assert_true(rig.wakes < 10);
	k.hold = false;
	channel_ready(&k.c);
	until_closed(&rig, &k);
	assert_string_equal(k.error, "");
	rig_fini(&rig);
}

/* An error does not wait for credit; what was finished is not undone. */
static void test_fail(void **state)
{
	struct client k = {0}, l = {.window = 1 << 20};
	struct rig rig;

	(void)state;
	rig_init(&rig, FAIL, 0);
	rig_open(&rig, &k, 0);
	until_closed(&rig, &k);
	assert_non_null(strstr(k.error, "ENOSPC") ? k.error : strstr(k.error, "\"failed\""));
	rig.what = FAIL_LATE;
	rig_open(&rig, &l, 1 << 20);
	until_closed(&rig, &l);
	assert_string_equal(l.error, "");
	assert_int_equal(l.sum, 100000);
	rig_fini(&rig);
}

/* ---- in ---- */

static void check_in(enum what what, uint64_t bytes, uint64_t jump, bool early)
{
	struct client k = {.to_send = bytes, .fin = true, .jump_every = jump, .window = 1 << 20};
	struct rig rig;

	rig_init(&rig, what, jump ? STREAM_INPUT | STREAM_SPARSE : STREAM_INPUT);
	rig_open(&rig, &k, 1 << 20);
	if (early) {
		channel_presume(&k.c, STREAM_RING);
		pair_pump(&rig.pair->end[WS_CLIENT], 100);
		assert_true(k.c.sent == min_of(bytes, (uint64_t)STREAM_RING) && !k.opened);
	}
	until_closed(&rig, &k);
	assert_string_equal(k.error, "");
	if (what == BOTH)
		assert_int_equal(k.sum, bytes);
	else
		assert_int_equal(last.got, bytes);
	if (jump) {
		assert_int_equal(last.jumps, k.jumps);
		assert_int_equal(last.last_off, k.at);
	}
	rig_fini(&rig);
}

static void test_in(void **state)
{
	(void)state;
	for (int early = 0; early < 2; early++) {
		check_in(READ, 0, 0, early);
		check_in(READ, 1, 0, early);
		check_in(READ, 16384, 0, early);
		check_in(READ, 16385, 0, early);
		check_in(READ, TOTAL, 0, early);
		check_in(PEEK, TOTAL, 0, early);
		check_in(BOTH, TOTAL, 0, early);
	}
	check_in(PEEK, TOTAL, 60000, false);
	check_in(PEEK, 700000, 333, false);
}

/* A client that breaks the rules: its channel closes, the thread ends. */
static void test_wrong_input(void **state)
{
	struct client back = {.to_send = 10}, jump = {.to_send = 10}, mute = {.fin = true},
		      flood = {.to_send = 400000, .jump_every = 50},
		      over = {.to_send = 2 * STREAM_RING};
	struct rig rig;

	(void)state;
	rig_init(&rig, WAIT_INPUT, STREAM_INPUT | STREAM_SPARSE);
	rig_open(&rig, &back, 0);
	while (back.to_send)
		turn(&rig, 1);
	back.at = 5;
	back.to_send = 1;
	channel_ready(&back.c);
	until_closed(&rig, &back);
	assert_non_null(strstr(back.error, "bad_offset"));

	rig.what = POLL;
	rig_open(&rig, &flood, 0);
	until_closed(&rig, &flood);
	assert_non_null(strstr(flood.error, "too_many"));

	rig.flags = STREAM_INPUT;
	jump.at = 1;
	rig_open(&rig, &jump, 0);
	until_closed(&rig, &jump);
	assert_non_null(strstr(jump.error, "bad_offset"));

	rig_open(&rig, &over, 0);
	channel_presume(&over.c, UINT64_MAX);
	until_closed(&rig, &over);
	assert_non_null(strstr(over.error, "credit_overrun"));

	rig.flags = 0;
	rig_open(&rig, &mute, 0);
	until_closed(&rig, &mute);
	assert_non_null(strstr(mute.error, "not_input"));
	rig_fini(&rig);
}

/* ---- going away ---- */

/* Wherever the thread is, it comes back: waiting for room, for input, for anything, or not begun.
 */
static void test_cancel(void **state)
{
	static const enum what what[] = {FLOOD, WAIT_INPUT, POLL, BOTH, EVENTS};
	struct rig rig;

	(void)state;
	for (unsigned i = 0; i < 120; i++) {
		struct client k = {.to_send = i % 2 ? 1000 : 0, .hold = true, .any = true};

		rig_init(&rig, what[i % array_size(what)], STREAM_INPUT);
		rig_open(&rig, &k, i % 3 ? 0 : 65520 * 3);
		for (unsigned t = 0; t < i % 4; t++)
			turn(&rig, 1);
		if (i % 4 > 1)
			usleep(2000);
		if (i < 60 && !k.closed) {
			channel_close(&k.c, NULL, 0);
		} else {
			mux_fini(&rig.pair->end[WS_SERVER].mux);
			mux_fini(&rig.pair->end[WS_CLIENT].mux);
		}
		assert_true(k.closed);
		rig_fini(&rig);
	}
}

/* One that does not read holds its own thread and no other; beyond the limit they are refused. */
static void test_too_many(void **state)
{
	static struct client k[STREAM_MAX + 20], quick;
	struct rig rig;
	unsigned refused = 0;

	(void)state;
	memset(k, 0, sizeof(k));
	rig_init(&rig, WAIT_INPUT, STREAM_INPUT);
	for (size_t i = 0; i < STREAM_MAX + 10; i++)
		rig_open(&rig, &k[i], 0);
	for (int i = 0; i < 50; i++)
		turn(&rig, 100);
	for (size_t i = 0; i < STREAM_MAX + 10; i++) {
		refused += k[i].closed;
		assert_true(!k[i].closed || strstr(k[i].error, "too_many"));
	}
	assert_int_equal(refused, 10);
	assert_int_equal(rig.workers.streams, STREAM_MAX);
	channel_close(&k[0].c, NULL, 0);
	while (rig.workers.streams == STREAM_MAX)
		turn(&rig, 100);
	rig.what = FAIL;
	rig_open(&rig, &quick, 0);
	while (!quick.closed)
		turn(&rig, 100);
	assert_non_null(
		strstr(quick.error, "ENOSPC") ? quick.error : strstr(quick.error, "failed"));
	for (size_t i = 1; i < STREAM_MAX + 10; i++) {
		if (!k[i].closed)
			channel_close(&k[i].c, NULL, 0);
	}
	rig_fini(&rig);
}

/* A client that never answers CLOSE has its channel, and nothing else. */
static void test_unanswered(void **state)
{
	struct client k = {0};
	struct rig rig;

	(void)state;
	rig_init(&rig, EVENTS, 0);
	rig_open(&rig, &k, 1 << 20);
	pair_pump(&rig.pair->end[WS_CLIENT], 1);
	pair_deliver(&rig.pair->end[WS_SERVER], SIZE_MAX);
	for (int i = 0; i < 20000 && rig.workers.streams > 0; i++) {
		uv_run(&rig.loop, UV_RUN_NOWAIT);
		pair_pump(&rig.pair->end[WS_SERVER], 100);
		usleep(20);
	}
	assert_int_equal(rig.workers.streams, 0);
	assert_int_equal(rig.released, 0);
	pair_deliver(&rig.pair->end[WS_CLIENT], SIZE_MAX);
	until_closed(&rig, &k);
	rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_out),
		cmocka_unit_test(test_one_piece),
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_fail),
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_wrong_input),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_unanswered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
