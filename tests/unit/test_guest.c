/*
 * test_guest.c - the link to one agent: how it comes up, breaks at any byte, comes back, gives up
 * and closes, against an agent on the same loop. Every test ends with an empty loop and as many
 * descriptors as before.
 */
#include "tests/unit/test_guest_agent.h"

struct peer {
	uv_loop_t loop;
	struct fake fake;
	struct guest guest;
	struct guest_user user;
	struct guest_config config;
	size_t fds;
	bool up, down, lost, closed, answered;
	bool same;
	unsigned n_up, n_down, n_answers, n_failed, n_notices;
	void (*then)(struct peer *p); /* called in every callback of a user or request */
	struct error error;
};

static void then(struct peer *p)
{
	if (p->then)
		p->then(p);
}

static void on_up(struct guest_user *u, bool same)
{
	struct peer *p = container_of(u, struct peer, user);

	assert_true(guest_is_up(&p->guest));
	p->up = true;
	p->down = false;
	p->same = same;
	p->n_up++;
	then(p);
}

static void on_down(struct guest_user *u)
{
	struct peer *p = container_of(u, struct peer, user);

	assert_false(guest_is_up(&p->guest));
	p->down = true;
	p->up = false;
	p->n_down++;
	then(p);
}

static void on_lost(struct guest_user *u)
{
	struct peer *p = container_of(u, struct peer, user);

	p->lost = true;
	then(p);
}

static void on_notice(struct guest_user *u, const char *word)
{
	struct peer *p = container_of(u, struct peer, user);

	assert_string_equal(word, "stopping");
	p->n_notices++;
	then(p);
}

static const struct guest_user_ops user_ops = {
	.on_up = on_up, .on_down = on_down, .on_lost = on_lost, .on_notice = on_notice};

static void on_answer(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct peer *p = owner;

	p->answered = true;
	p->n_answers++;
	p->n_failed += error != NULL;
	if (error) {
		p->error = *error;
		assert_null(json);
	} else {
		assert_int_equal(len, 2);
	}
	then(p);
}

static int64_t ping(struct peer *p)
{
	return guest_request(&p->guest, &(struct msg_request){.op = OP_PING}, on_answer, p);
}

static void on_closed(void *owner)
{
	((struct peer *)owner)->closed = true;
}

static void peer_init(struct peer *p)
{
	*p = (struct peer){.fds = fake_count_fds()};
	assert_int_equal(uv_loop_init(&p->loop), 0);
	fake_init(&p->fake, &p->loop);
	fake_config(&p->fake, &p->config);
}

static void peer_start(struct peer *p)
{
	assert_int_equal(guest_init(&p->guest, &p->loop, &p->config), 0);
	guest_add_user(&p->guest, &p->user, &user_ops);
	guest_start(&p->guest);
}

static void peer_up(struct peer *p)
{
	peer_init(p);
	peer_start(p);
	fake_run_until(&p->loop, &p->up);
}

static void peer_fini(struct peer *p)
{
	guest_close(&p->guest, on_closed, p);
	guest_close(&p->guest, NULL, NULL);
	fake_run_until(&p->loop, &p->closed);
	assert_int_equal(p->guest.state, GUEST_CLOSED);
	fake_stop(&p->fake);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&p->loop), 0);
	fake_fini(&p->fake);
	assert_int_equal(fake_count_fds(), p->fds);
}

/* ---- up and requests ---- */

static void test_up_and_requests(void **state)
{
	struct peer p;
	struct msg_request bad = {.op = OP_REMOVE, .id = "x"};
	int64_t cancelled;

	(void)state;
	peer_up(&p);
	assert_true(p.same);
	assert_string_equal(p.guest.hello.name, "fake");
	for (int i = 0; i < 100; i++)
		assert_true(ping(&p) > 0);
	cancelled = ping(&p);
	guest_cancel(&p.guest, cancelled);
	guest_cancel(&p.guest, cancelled);
	while (p.n_answers < 100)
		uv_run(&p.loop, UV_RUN_ONCE);
	assert_int_equal(p.n_failed, 0);
	p.answered = false;
	assert_true(guest_request(&p.guest, &bad, on_answer, &p) > 0);
	fake_run_until(&p.loop, &p.answered);
	assert_int_equal(p.error.code, E_NOT_FOUND);
	assert_string_equal(p.error.message, "no session x");
	assert_int_equal(p.n_answers, 101);
	peer_fini(&p);
	assert_int_equal(p.n_down, 0); /* after guest_close() users hear nothing */
}

static void test_too_large(void **state)
{
	struct peer p;
	static char path[70000];

	(void)state;
	memset(path, '/', sizeof(path) - 1);
	peer_up(&p);
	assert_int_equal(
		guest_request(&p.guest, &(struct msg_request){.op = OP_UPGRADE, .path = path},
			on_answer, &p),
		-EMSGSIZE);
	peer_fini(&p);
	assert_int_equal(ping(&p), -ENOTCONN);
}

/* ---- what never comes up ---- */

static void assert_lost(struct peer *p, int error, const char *words)
{
	fake_run_until(&p->loop, &p->lost);
	assert_int_equal(p->guest.error, error);
	if (!strstr(guest_why(&p->guest), words))
		fail_msg("'%s' is not in '%s'", words, guest_why(&p->guest));
	assert_int_equal(p->n_up, 0);
	assert_int_equal(p->n_down, 0);
	peer_fini(p);
}

static void test_nobody_there(void **state)
{
	struct peer p;

	(void)state;
	peer_init(&p);
	snprintf(p.config.target.path, sizeof(p.config.target.path), "/nonexistent/socket");
	peer_start(&p);
	assert_lost(&p, -ENOENT, "Is agentd running there?");

	peer_init(&p);
	fake_unlisten(&p.fake);
	uv_run(&p.loop, UV_RUN_NOWAIT);
	snprintf(p.config.target.path, sizeof(p.config.target.path), "/dev/null");
	peer_start(&p);
	assert_lost(&p, -ECONNREFUSED, "nobody listens");
}

static void test_token(void **state)
{
	struct peer p;

	(void)state;
	peer_init(&p);
	p.fake.token = "secret";
	p.config.first_ms = 60000; /* no point in coming again */
	peer_start(&p);
	assert_lost(&p, -EACCES, "token");

	peer_init(&p);
	p.fake.token = p.config.token = "secret";
	peer_start(&p);
	fake_run_until(&p.loop, &p.up);
	peer_fini(&p);
}

static void test_not_an_agent(void **state)
{
	struct peer p;

	(void)state;
	peer_init(&p);
	p.fake.refuse_status = 404;
	peer_start(&p);
	assert_lost(&p, -EPROTO, "does not speak");

	peer_init(&p);
	p.fake.proto = 0;
	p.config.first_ms = 60000;
	peer_start(&p);
	assert_lost(&p, -EPROTO, "protocol 0");
}

static void test_hangs_up(void **state)
{
	struct peer p;

	(void)state;
	peer_init(&p);
	p.fake.hangs_up = true;
	peer_start(&p);
	assert_lost(&p, -ECONNRESET, "Only root");
	assert_int_equal(p.fake.accepted, 1);
}

static void test_gives_up_in_time(void **state)
{
	struct peer p;
	uint64_t begin = now_ms();

	(void)state;
	peer_init(&p);
	p.fake.refuse_status = 503;
	p.config.first_ms = 300;
	peer_start(&p);
	assert_lost(&p, -EUSERS, "too many connections");
	assert_true(now_ms() - begin >= 300 && now_ms() - begin < 3000);
	assert_true(p.fake.accepted >= 4 && p.fake.accepted <= 12);
}

/* ---- links that break ---- */

static void test_comes_back(void **state)
{
	struct peer p;

	(void)state;
	peer_up(&p);
	for (unsigned i = 1; i <= 20; i++) {
		p.fake.mute = true;
		assert_true(ping(&p) > 0);
		assert_true(ping(&p) > 0);
		fake_cut_all(&p.fake);
		fake_run_until(&p.loop, &p.down);
		assert_int_equal(p.n_answers, 2 * i);
		assert_int_equal(p.n_failed, 2 * i);
		assert_int_equal(p.error.err, ECONNRESET);
		assert_int_equal(ping(&p), -ENOTCONN);
		fake_run_until(&p.loop, &p.up);
		assert_int_equal(p.n_up, i + 1);
		assert_true(p.same);
	}
	p.fake.mute = false;
	p.fake.instance = "another life";
	fake_cut_all(&p.fake);
	fake_run_until(&p.loop, &p.down);
	fake_run_until(&p.loop, &p.up);
	assert_false(p.same);
	fake_cut_all(&p.fake);
	fake_run_until(&p.loop, &p.down);
	fake_run_until(&p.loop, &p.up);
	assert_true(p.same);
	peer_fini(&p);
}

static void test_agent_away_for_a_while(void **state)
{
	struct peer p;

	(void)state;
	peer_up(&p);
	fake_stop(&p.fake);
	fake_run_until(&p.loop, &p.down);
	for (uint64_t until = now_ms() + 200; now_ms() < until;)
		uv_run(&p.loop, UV_RUN_ONCE);
	assert_false(p.lost);
	fake_listen(&p.fake);
	fake_run_until(&p.loop, &p.up);
	assert_int_equal(p.n_up, 2);
	peer_fini(&p);
}

static void test_lost_after_up(void **state)
{
	struct peer p;

	(void)state;
	peer_init(&p);
	p.config.retry_ms = 100;
	peer_start(&p);
	fake_run_until(&p.loop, &p.up);
	fake_stop(&p.fake);
	fake_run_until(&p.loop, &p.lost);
	assert_int_equal(p.n_down, 1);
	assert_int_equal(p.guest.error, -ENOENT);
	peer_fini(&p);
}

static void choose_next_byte(struct fake *f)
{
	f->cut_in = f->cut_out = FAKE_NEVER;
	if (f->accepted % 2)
		f->cut_in = f->accepted / 2;
	else
		f->cut_out = f->accepted / 2;
}

static void cut_it(struct peer *p)
{
	if (p->up)
		fake_cut_all(&p->fake);
}

/* Cut at every byte of the beginning, in each direction: request, answer, both HELLOs. */
static void test_cut_at_every_byte(void **state)
{
	struct peer p;

	(void)state;
	peer_init(&p);
	p.config.first_ms = p.config.retry_ms = 60000;
	p.fake.choose_cut = choose_next_byte;
	p.then = cut_it;
	peer_start(&p);
	while (p.fake.accepted < 900) {
		fake_hurry(&p.guest);
		uv_run(&p.loop, UV_RUN_ONCE);
	}
	p.then = NULL;
	p.fake.choose_cut = NULL;
	p.fake.cut_in = p.fake.cut_out = FAKE_NEVER;
	p.up = false;
	fake_cut_all(&p.fake);
	fake_run_until(&p.loop, &p.up);
	assert_false(p.lost);
	peer_fini(&p);
}

static void test_agent_closes_in_order(void **state)
{
	static const int codes[] = {WS_CLOSE_RESTART, WS_CLOSE_GOING_AWAY, WS_CLOSE_POLICY};
	struct peer p;

	(void)state;
	peer_up(&p);
	for (size_t i = 0; i < array_size(codes); i++) {
		struct fake_conn *c = list_first(&p.fake.conns, struct fake_conn, node);

		wire_close(&c->wire, codes[i], "");
		fake_flush_all(&p.fake);
		fake_run_until(&p.loop, &p.down);
		fake_run_until(&p.loop, &p.up);
	}
	wire_close(&list_first(&p.fake.conns, struct fake_conn, node)->wire, WS_CLOSE_PROTOCOL, "");
	fake_flush_all(&p.fake);
	fake_run_until(&p.loop, &p.lost); /* we broke the rules: again would be no better */
	assert_int_equal(p.guest.error, -EPROTO);
	peer_fini(&p);
}

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
		cmocka_unit_test(test_up_and_requests),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_not_an_agent),
		cmocka_unit_test(test_hangs_up),
		cmocka_unit_test(test_gives_up_in_time),
		cmocka_unit_test(test_comes_back),
		cmocka_unit_test(test_agent_away_for_a_while),
		cmocka_unit_test(test_lost_after_up),
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_agent_closes_in_order),
		cmocka_unit_test(test_backlog),
		cmocka_unit_test(test_held_input),
		cmocka_unit_test(test_close_in_callbacks),
		cmocka_unit_test(test_close_at_any_time),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_users_leave_in_callback),
	};

	return cmocka_run_group_tests(tests, fake_warm_up, NULL);
}
