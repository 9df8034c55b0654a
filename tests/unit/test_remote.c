/*
 * test_remote.c - one session through broken links: every byte of output once and in order, every
 * byte of input once and in order, no more than the window on the way, one end.
 */
#include "tests/unit/remote_rig.h"

/* ---- whole sessions ---- */

static void test_nothing_to_say(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	viewer_start(&v);
	assert_done(&v);
	assert_int_equal(strlen(v.remote.id), REMOTE_NAME_LEN);
}

static void test_output(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	v.fake.out_len = 3000000;
	v.fake.err_len = 1234567;
	viewer_start(&v);
	assert_done(&v);
	assert_int_equal(v.fake.starts, 1);
}

static void test_input(void **state)
{
	struct viewer v;

	(void)state;
	for (int when = 0; when < 2; when++) {
		viewer_init(&v);
		v.start.with_stdin = v.config.input = true;
		v.in_len = 3000001;
		viewer_start(&v);
		if (when == 1)
			fake_run_until(&v.loop, &v.opened);
		give_input(&v);
		fake_run_until(&v.loop, &v.ended);
		assert_int_equal(session_of(&v)->accepted, 3000001);
		assert_done(&v);
	}
}

static void test_empty_input(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	v.start.with_stdin = v.config.input = true;
	viewer_start(&v);
	remote_input_end(&v.remote);
	assert_done(&v);
}

static void test_tiny_window(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	v.config.window = 1;
	v.fake.out_len = v.fake.err_len = 300;
	viewer_start(&v);
	assert_done(&v);
}

static void test_attach(void **state)
{
	struct viewer v;
	struct fake_session *s;

	(void)state;
	for (int now = 0; now < 2; now++) {
		viewer_init(&v);
		s = xcalloc(1, sizeof(*s));
		snprintf(s->id, sizeof(s->id), "build-7");
		s->out_len[1] = v.fake.out_len = 50000;
		list_append(&v.fake.sessions, &s->node);
		v.config = (struct remote_config){
			.id = "build-7", .window = WINDOW, .since = {20000, 0}};
		v.config.since_now = now;
		v.config.viewer = now ? "" : "b0-me";
		v.next[1] = v.gaps[1] = now ? 50000 : 20000;
		viewer_start(&v);
		assert_done(&v);
		assert_int_equal(v.fake.starts, 0);
		assert_string_equal(v.remote.viewer, now ? "" : "b0-me");
	}
}

/* ---- a consumer that stops ---- */

static void test_stopped_consumer(void **state)
{
	struct viewer v;
	uint64_t seen;

	(void)state;
	viewer_init(&v);
	v.fake.out_len = 1000000;
	v.fake.err_len = 1000000;
	v.stopped = true;
	viewer_start(&v);
	while (v.unconsumed < WINDOW)
		uv_run(&v.loop, UV_RUN_ONCE);
	/* Links come and go: what is not consumed still counts. */
	for (int i = 0; i < 3; i++) {
		seen = v.unconsumed;
		for (int k = 0; k < 50; k++)
			uv_run(&v.loop, UV_RUN_NOWAIT);
		assert_int_equal(v.unconsumed, seen);
		assert_int_equal(v.unconsumed, WINDOW);
		fake_cut_all(&v.fake);
		while (v.guest.state == GUEST_UP)
			uv_run(&v.loop, UV_RUN_ONCE);
		while (v.remote.state != REMOTE_OPEN)
			uv_run(&v.loop, UV_RUN_ONCE);
	}
	/* A little at a time moves the stream by no more than that. */
	v.unconsumed -= 30000;
	remote_consumed(&v.remote, 30000);
	for (int k = 0; k < 50; k++)
		uv_run(&v.loop, UV_RUN_NOWAIT);
	assert_true(v.unconsumed <= WINDOW);
	v.stopped = false;
	consume(&v);
	assert_done(&v);
	assert_int_equal(v.peak, WINDOW);
}

/* All is consumed just between OPEN, which had to ask for a window of 0, and OPENED. */
static void test_consumed_while_opening(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	v.fake.out_len = 1000000;
	v.stopped = true;
	viewer_start(&v);
	while (v.unconsumed < WINDOW)
		uv_run(&v.loop, UV_RUN_ONCE);
	fake_cut_all(&v.fake);
	while (v.remote.state != REMOTE_OPENING)
		uv_run(&v.loop, UV_RUN_ONCE);
	assert_int_equal(v.remote.opened_window, 0);
	v.stopped = false;
	consume(&v);
	assert_done(&v);
}

/* ---- broken links ---- */

static void choose_cut(struct fake *f)
{
	bool in = fake_random(f) % 2;
	uint64_t after = 300 + fake_random(f) % 60000;

	f->cut_in = in ? after : FAKE_NEVER;
	f->cut_out = in ? FAKE_NEVER : after;
	if (f->accepted > 200)
		f->cut_in = f->cut_out = FAKE_NEVER;
}

/* At least 200 links cut at random bytes, in either direction, with all three streams busy. */
static void test_cut_at_random(void **state)
{
	struct viewer v;

	(void)state;
	for (unsigned seed = 1; seed <= 3; seed++) {
		viewer_init(&v);
		v.fake.seed = seed;
		v.fake.choose_cut = choose_cut;
		v.fake.out_len = 20000000;
		v.fake.err_len = 4000000;
		v.start.with_stdin = v.config.input = true;
		v.in_len = 20000000;
		viewer_start(&v);
		give_input(&v);
		while (!v.ended) {
			fake_hurry(&v.guest);
			uv_run(&v.loop, UV_RUN_ONCE);
		}
		assert_int_equal(session_of(&v)->accepted, 20000000);
		if (v.fake.accepted <= 200)
			fail_msg("%u links were not enough", v.fake.accepted);
		assert_int_equal(v.fake.starts, 1);
		assert_done(&v);
	}
}

static void cut_first_only(struct fake *f)
{
	if (f->accepted > 1)
		f->cut_in = f->cut_out = FAKE_NEVER;
}

/* Short sessions, each link cut at another byte: around OPEN, OPENED, DATA, ACK, end and CLOSE. */
static void test_cut_at_every_byte(void **state)
{
	struct viewer v;
	unsigned cuts = 0;

	(void)state;
	for (unsigned i = 0; i < 1400; i++) {
		viewer_init(&v);
		v.fake.choose_cut = cut_first_only;
		v.fake.cut_in = i % 2 ? 200 + i / 2 : FAKE_NEVER;
		v.fake.cut_out = i % 2 ? FAKE_NEVER : 200 + i / 2;
		v.fake.out_len = v.fake.err_len = 20;
		v.start.with_stdin = v.config.input = true;
		v.in_len = 30;
		viewer_start(&v);
		give_input(&v);
		while (!v.over) {
			fake_hurry(&v.guest);
			uv_run(&v.loop, UV_RUN_ONCE);
		}
		cuts += v.fake.accepted > 1;
		assert_int_equal(session_of(&v)->accepted, 30);
		assert_int_equal(v.fake.starts, 1);
		assert_done(&v);
	}
	if (cuts < 700)
		fail_msg("%u cuts were not enough", cuts);
}

/* The link breaks between the end and the CLOSE, while background children hold the pipes. */
static void test_cut_after_end(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	viewer_start(&v);
	fake_run_until(&v.loop, &v.opened);
	v.remote.ended = true; /* as if on_end had come */
	v.ended = true;
	session_of(&v)->holds_end = true;
	fake_remove(&v.fake, v.remote.id);
	fake_cut_all(&v.fake);
	fake_run_until(&v.loop, &v.over); /* not_found now, and that is all right */
	assert_int_equal(v.why, REMOTE_DONE);
	viewer_fini(&v);
}

/* ---- other ends ---- */

static void test_refused(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	v.config = (struct remote_config){.id = "nobody", .window = WINDOW};
	viewer_start(&v);
	assert_over(&v, REMOTE_REFUSED, E_NOT_FOUND);

	viewer_init(&v);
	v.fake.refuse_open = E_TOO_MANY;
	viewer_start(&v);
	assert_over(&v, REMOTE_REFUSED, E_TOO_MANY);
}

/* "stopping" is a matter of the agent: its successor is asked again. */
static void test_refused_while_stopping(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	v.fake.refuse_open = E_STOPPING;
	v.fake.out_len = 100;
	viewer_start(&v);
	while (v.remote.state != REMOTE_OPENING)
		uv_run(&v.loop, UV_RUN_ONCE);
	while (v.remote.state != REMOTE_IDLE)
		uv_run(&v.loop, UV_RUN_ONCE);
	v.fake.refuse_open = E_NONE;
	fake_cut_all(&v.fake);
	assert_done(&v);
}

static void opened_and_holding(struct viewer *v)
{
	viewer_init(v);
	v->start.with_stdin = v->config.input = true; /* it runs until stdin ends */
	viewer_start(v);
	fake_run_until(&v->loop, &v->opened);
}

static void test_new_life(void **state)
{
	struct viewer v;

	(void)state;
	opened_and_holding(&v);
	v.fake.instance = "another";
	fake_cut_all(&v.fake);
	assert_over(&v, REMOTE_LOST, E_NOT_FOUND);
}

static void test_session_gone(void **state)
{
	struct viewer v;

	(void)state;
	opened_and_holding(&v);
	fake_cut_all(&v.fake);
	uv_run(&v.loop, UV_RUN_NOWAIT);
	fake_remove(&v.fake, v.remote.id);
	assert_over(&v, REMOTE_LOST, E_NOT_FOUND);
}

static void test_removed(void **state)
{
	static const char error[] = "{\"error\":{\"code\":\"removed\",\"message\":\"gone\"}}";
	struct viewer v;
	struct fake_conn *c;

	(void)state;
	opened_and_holding(&v);
	c = list_first(&v.fake.conns, struct fake_conn, node);
	channel_close(c->wire.mux.entries[0].channel, error, sizeof(error) - 1);
	fake_flush(c);
	assert_over(&v, REMOTE_LOST, E_REMOVED);
}

static void test_link_given_up(void **state)
{
	struct viewer v;

	(void)state;
	opened_and_holding(&v);
	v.guest.config.retry_ms = 50;
	fake_stop(&v.fake);
	assert_over(&v, REMOTE_LOST, E_FAILED);
}

static void test_gap(void **state)
{
	struct viewer v;
	struct fake_session *s;

	(void)state;
	viewer_init(&v);
	s = xcalloc(1, sizeof(*s));
	snprintf(s->id, sizeof(s->id), "old");
	s->out_len[1] = v.fake.out_len = 50000;
	s->out_len[2] = v.fake.err_len = 10;
	s->oldest[1] = 49990;
	s->oldest[2] = 10;
	list_append(&v.fake.sessions, &s->node);
	v.config = (struct remote_config){.id = "old", .window = WINDOW};
	viewer_start(&v);
	fake_run_until(&v.loop, &v.ended);
	assert_int_equal(v.gaps[1], 49990);
	assert_int_equal(v.gaps[2], 10);
	assert_done(&v);
}

static void test_stdin_closed(void **state)
{
	struct viewer v;

	(void)state;
	opened_and_holding(&v);
	session_of(&v)->closed_stdin = true;
	v.in_len = 5000000; /* more than is ever taken; it must not be waited for */
	channel_ready(
		list_first(&v.fake.conns, struct fake_conn, node)->wire.mux.entries[0].channel);
	fake_flush_all(&v.fake);
	fake_run_until(&v.loop, &v.ended);
	assert_int_equal(v.n_stdin_closed, 1);
	assert_int_equal(remote_input(&v.remote, "x", 1), 1);
	assert_done(&v);
}

/* A viewer with input, of a session that never had stdin. */
static void test_no_stdin_there(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	v.config.input = true;
	v.in_len = 1000;
	viewer_start(&v);
	give_input(&v);
	fake_run_until(&v.loop, &v.ended);
	assert_int_equal(v.n_stdin_closed, 1);
	assert_done(&v);
}

/* ---- leaving from everywhere ---- */

static unsigned leave_at;

static void leave(struct viewer *v)
{
	if (leave_at-- == 0) {
		v->then = NULL;
		remote_close(&v->remote);
		v->opened = v->over = true;
	}
}

static void test_leave_in_callbacks(void **state)
{
	struct viewer v;

	(void)state;
	for (unsigned at = 0; at < 12; at++) {
		viewer_init(&v);
		v.fake.out_len = v.fake.err_len = 100000;
		leave_at = at;
		v.then = leave;
		viewer_start(&v);
		fake_run_until(&v.loop, &v.over);
		viewer_fini(&v);
	}
}

static void test_leave_at_any_time(void **state)
{
	struct viewer v;

	(void)state;
	for (int turns = 0; turns < 20; turns++) {
		viewer_init(&v);
		v.fake.out_len = 1000000;
		viewer_start(&v);
		for (int i = 0; i < turns; i++)
			uv_run(&v.loop, UV_RUN_NOWAIT);
		remote_close(&v.remote);
		for (int i = 0; i < turns; i++)
			uv_run(&v.loop, UV_RUN_NOWAIT);
		assert_int_equal(v.n_over, 0);
		viewer_fini(&v);
	}
}

/* Left while the REFUSED is on its way: the channel's id must not stay taken for ever. */
static void test_leave_before_refusal(void **state)
{
	struct viewer v;

	(void)state;
	viewer_init(&v);
	v.fake.refuse_open = E_TOO_MANY;
	viewer_start(&v);
	while (v.remote.state != REMOTE_OPENING)
		uv_run(&v.loop, UV_RUN_ONCE);
	remote_close(&v.remote);
	assert_int_equal(v.guest.wire.mux.n_entries, 1);
	for (int i = 0; i < 20; i++)
		uv_run(&v.loop, UV_RUN_NOWAIT);
	assert_int_equal(v.guest.wire.mux.n_entries, 0);
	viewer_fini(&v);
}

static void test_bad_arguments(void **state)
{
	struct viewer v;
	struct remote never = {0};
	static char longer[70000];
	char *argv[] = {longer, NULL};

	(void)state;
	remote_close(&never);
	opened_and_holding(&v);
	assert_int_equal(
		remote_open(&never, &v.guest, &events, &(struct remote_config){0}), -EINVAL);
	assert_int_equal(
		remote_open(&never, &v.guest, &events, &(struct remote_config){.id = "a b"}),
		-EINVAL);
	memset(longer, 'x', sizeof(longer) - 1);
	v.start.argv = argv;
	assert_int_equal(
		remote_open(&never, &v.guest, &events, &(struct remote_config){.start = &v.start}),
		-E2BIG);
	remote_close(&never);
	viewer_fini(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_to_say),
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_empty_input),
		cmocka_unit_test(test_tiny_window),
		cmocka_unit_test(test_attach),
		cmocka_unit_test(test_stopped_consumer),
		cmocka_unit_test(test_consumed_while_opening),
		cmocka_unit_test(test_cut_at_random),
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_cut_after_end),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_while_stopping),
		cmocka_unit_test(test_new_life),
		cmocka_unit_test(test_session_gone),
		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_link_given_up),
		cmocka_unit_test(test_gap),
		cmocka_unit_test(test_stdin_closed),
		cmocka_unit_test(test_no_stdin_there),
		cmocka_unit_test(test_leave_in_callbacks),
		cmocka_unit_test(test_leave_at_any_time),
		cmocka_unit_test(test_leave_before_refusal),
		cmocka_unit_test(test_bad_arguments),
	};

	return cmocka_run_group_tests(tests, fake_warm_up, NULL);
}
