/*
 * test_guest.c - the link to one agent: how it comes up, breaks at any byte, comes back and gives
 * up.
 */
#include "tests/unit/guest_peer.h"

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

static void ask_late(uv_prepare_t *h)
{
	struct peer *p = h->data;

	uv_prepare_stop(h);
	p->answered = false;
	assert_true(ping(p) > 0);
}

/* Somebody else's prepare callback asks: the request waited for whatever woke the loop next. */
static void test_asked_just_before_the_loop_sleeps(void **state)
{
	struct peer p;
	uv_prepare_t prepare;

	(void)state;
	peer_up(&p);
	uv_prepare_init(&p.loop, &prepare);
	prepare.data = &p;
	for (int i = 0; i < 3; i++) {
		while (uv_backend_timeout(&p.loop) == 0)
			uv_run(&p.loop, UV_RUN_NOWAIT);
		uv_prepare_start(&prepare, ask_late);
		uv_run(&p.loop, UV_RUN_NOWAIT);
		assert_int_equal(uv_backend_timeout(&p.loop), 0); /* it will not sleep on it */
		fake_run_until(&p.loop, &p.answered);
	}
	uv_close((uv_handle_t *)&prepare, NULL);
	peer_fini(&p);
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
	assert_true(now_ms() - begin >= 300);
	assert_in_range(p.fake.accepted, 2, 12);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up_and_requests),
		cmocka_unit_test(test_asked_just_before_the_loop_sleeps),
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
	};

	return cmocka_run_group_tests(tests, fake_warm_up, NULL);
}
