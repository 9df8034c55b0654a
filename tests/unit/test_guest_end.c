/*
 * test_guest_end.c - the link to one agent: more at once than it takes, and its end at any moment,
 * from any callback.
 */
#include "tests/unit/guest_peer.h"

/* ---- flow ---- */

/*
 * The agent neither reads nor writes while more requests are sent than the socket takes; then it
 * answers all, among notices: the guest stops reading while its own control frames wait, keeps what
 * it has read, and loses none of it.
 */
static void test_backlog(void **state)
{
	struct peer p;
	struct fake_conn *c;
	char pad[4000];
	unsigned n = 400;

	(void)state;
	memset(pad, '/', sizeof(pad) - 1);
	pad[sizeof(pad) - 1] = '\0';
	peer_up(&p);
	c = list_first(&p.fake.conns, struct fake_conn, node);
	p.fake.stopped = true;
	uv_poll_stop(&c->poll);
	for (int i = 0; i < 1000; i++)
		mux_send(&c->wire.mux, &(struct frame){.type = FRAME_NOTICE},
			"{\"notice\":\"stopping\"}", 21);
	for (unsigned i = 0; i < n; i++) {
		struct msg_request m = {.op = OP_UPGRADE, .path = pad};

		assert_true(guest_request(&p.guest, &m, on_answer, &p) > 0);
		uv_run(&p.loop, UV_RUN_NOWAIT);
		/* Beyond what the mux keeps the link would break: let the agent read a little. */
		if (i % 50 == 49) {
			p.fake.stopped = false;
			fake_flush(c);
			for (int k = 0; k < 20; k++)
				uv_run(&p.loop, UV_RUN_NOWAIT);
			p.fake.stopped = true;
			uv_poll_stop(&c->poll);
		}
	}
	p.fake.stopped = false;
	fake_flush(c);
	while (p.n_answers < n || p.n_notices < 1000)
		uv_run(&p.loop, UV_RUN_ONCE);
	assert_int_equal(p.n_failed, 0);
	assert_int_equal(p.n_up, 1);
	peer_fini(&p);
}

/* Input that the wire would not take at once: the control queue is filled by hand. */
static void test_held_input(void **state)
{
	struct peer p;
	struct fake_conn *c;
	static char pad[60000];

	(void)state;
	memset(pad, '/', sizeof(pad) - 1);
	peer_up(&p);
	c = list_first(&p.fake.conns, struct fake_conn, node);
	p.fake.stopped = true;
	uv_poll_stop(&c->poll);
	p.guest.blocked = true; /* as if the socket took nothing */
	for (int i = 0; i < 3; i++)
		assert_true(guest_request(&p.guest,
				    &(struct msg_request){.op = OP_UPGRADE, .path = pad}, on_answer,
				    &p) > 0);
	assert_false(wire_wants_input(&p.guest.wire));
	for (int i = 0; i < 100; i++)
		mux_send(&c->wire.mux, &(struct frame){.type = FRAME_NOTICE},
			"{\"notice\":\"stopping\"}", 21);
	p.fake.stopped = false;
	fake_flush(c);
	while (p.n_notices < 100 || p.n_answers < 3)
		uv_run(&p.loop, UV_RUN_ONCE);
	assert_int_equal(p.n_failed, 0);
	assert_int_equal(p.n_up, 1);
	peer_fini(&p);
}

/* ---- ending it from everywhere ---- */

static void close_it(struct peer *p)
{
	p->then = NULL;
	guest_close(&p->guest, on_closed, p);
}

static void test_close_in_callbacks(void **state)
{
	struct peer p;

	(void)state;
	for (int where = 0; where < 6; where++) {
		peer_init(&p);
		if (where == 0)
			p.then = close_it; /* in on_up */
		if (where == 1)
			p.fake.refuse_status = 404;
		if (where == 1)
			p.then = close_it; /* in on_lost */
		peer_start(&p);
		if (where >= 2)
			fake_run_until(&p.loop, &p.up);
		if (where >= 2)
			p.then = close_it;
		if (where == 2)
			ping(&p); /* in the answer */
		if (where == 3) {
			p.fake.mute = true;
			ping(&p); /* in the answer that fails, while the link is taken apart */
			ping(&p);
			fake_cut_all(&p.fake);
		}
		if (where == 4)
			fake_cut_all(&p.fake); /* in on_down */
		if (where == 5) {
			struct fake_conn *c = list_first(&p.fake.conns, struct fake_conn, node);

			for (int i = 0; i < 3; i++)
				mux_send(&c->wire.mux, &(struct frame){.type = FRAME_NOTICE},
					"{\"notice\":\"stopping\"}", 21);
			fake_flush(c);
		}
		fake_run_until(&p.loop, &p.closed);
		peer_fini(&p);
	}
}

/* Closed at every turn of the loop on the way up. */
static void test_close_at_any_time(void **state)
{
	struct peer p;

	(void)state;
	for (int turns = 0; turns < 12; turns++) {
		peer_init(&p);
		peer_start(&p);
		for (int i = 0; i < turns; i++)
			uv_run(&p.loop, UV_RUN_NOWAIT);
		peer_fini(&p);
	}
}

/* What was queued before guest_close() still leaves. */
static void test_last_words(void **state)
{
	struct peer p;

	(void)state;
	peer_up(&p);
	ping(&p);
	guest_close(&p.guest, on_closed, &p);
	fake_run_until(&p.loop, &p.closed);
	assert_int_equal(p.n_failed, 1);
	for (int i = 0; i < 10; i++)
		uv_run(&p.loop, UV_RUN_NOWAIT);
	assert_int_equal(p.fake.requests, 1);
	peer_fini(&p);
}

static void remove_both(struct guest_user *u, bool same);
static const struct guest_user_ops leaver_ops = {.on_up = remove_both, .on_lost = on_lost};
static struct guest_user leavers[3];
static unsigned n_left;

static void remove_both(struct guest_user *u, bool same)
{
	(void)u, (void)same;
	n_left++;
	for (size_t i = 0; i < array_size(leavers); i++)
		guest_remove_user(&leavers[i]);
}

static void test_users_leave_in_callback(void **state)
{
	struct peer p;

	(void)state;
	n_left = 0;
	peer_init(&p);
	assert_int_equal(guest_init(&p.guest, &p.loop, &p.config), 0);
	guest_add_user(&p.guest, &leavers[0], &leaver_ops);
	guest_add_user(&p.guest, &leavers[1], &leaver_ops);
	guest_add_user(&p.guest, &p.user, &user_ops);
	guest_add_user(&p.guest, &leavers[2], &leaver_ops);
	guest_start(&p.guest);
	fake_run_until(&p.loop, &p.up);
	assert_int_equal(n_left, 1);
	peer_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backlog),
		cmocka_unit_test(test_held_input),
		cmocka_unit_test(test_close_in_callbacks),
		cmocka_unit_test(test_close_at_any_time),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_users_leave_in_callback),
	};

	return cmocka_run_group_tests(tests, fake_warm_up, NULL);
}
