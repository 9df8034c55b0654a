/*
 * test_viewer.c - who looks at a session: policies, credit, offsets, limits. Real processes write;
 * each byte is checked for its offset by the watcher that takes it.
 */
#include "tests/unit/session_rig.h"

#include <signal.h>
#include <stdio.h>

#define RING        (64 * KIB)
#define MUCH        3000000u
#define MUCH_SCRIPT "head -c 3000000 /dev/zero"
/* ---- policies ---- */

/* The producer stands still rather than a lossless viewer miss a byte. */
static void test_lossless(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher slow, fast, live;
	uint64_t head;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", MUCH_SCRIPT, RING);
	watch_session(&slow, s, ATTACH(.policy = POLICY_LOSSLESS));
	watch_session(&fast, s, ATTACH(.policy = POLICY_LOSSLESS));
	watch_session(&live, s, ATTACH(.policy = POLICY_LIVE));
	slow.asleep = true;
	UNTIL(&r, s->paused);
	head = store_head(&s->store);
	assert_true(head >= RING && head <= RING + STORE_SLACK);
	FOR_MS(&r, 30);
	assert_int_equal(store_head(&s->store), head);
	UNTIL(&r, fast.next[1] == head && live.next[1] == head);
	assert_false(session_ended(s));
	for (unsigned i = 0; i < 100 && s->paused;
		i++) { /* a little at a time lets it on a little */
		watcher_wake(&slow, 5000);
		srig_turn(&r);
	}
	assert_true(slow.next[1] > 0 && store_head(&s->store) - slow.next[1] <= RING + STORE_SLACK);
	watcher_wake(&slow, UINT64_MAX);
	UNTIL(&r, slow.closed && fast.closed && live.closed);
	assert_string_equal(watcher_log(&slow), "live; end exited out=3000000 err=0; close");
	assert_string_equal(watcher_log(&fast), watcher_log(&slow));
	assert_true(buf_len(&slow.got[1]) == MUCH && buf_len(&fast.got[1]) == MUCH);
	watcher_fini(&slow);
	watcher_fini(&fast);
	watcher_fini(&live);
	srig_down(&r);
}

/*
 * One that takes nothing while another waits is waited for only so long; then it misses what the
 * store cannot hold, and is told so once, however much that becomes. As soon as it takes something
 * it counts again. (Before, a client that had stopped stood in everybody's way for ever.)
 */
static void yield_once(bool held)
{
	struct srig r;
	struct session *s;
	struct watcher slow, fast;
	char want[100];
	uint64_t gap;

	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", MUCH_SCRIPT "; read x; " MUCH_SCRIPT, RING);
	watch_session(&slow, s,
		ATTACH(.policy = POLICY_LOSSLESS, .viewer = held ? "me" : NULL,
			.hold_ms = held ? 60000 : 0, .yield_ms = 300));
	watch_session(&fast, s, ATTACH(.policy = POLICY_LOSSLESS, .input = true));
	slow.credit = 1000;
	UNTIL(&r, fast.next[1] == MUCH);
	assert_true(slow.v.yields && slow.next[1] == 1000);
	assert_string_equal(watcher_log(&slow), "live");
	viewer_consumed(&slow.v, 1000);
	watcher_wake(&slow, RING + STORE_SLACK);
	assert_true(!slow.v.yields && slow.next[1] == MUCH);
	gap = MUCH - buf_len(&slow.got[1]);
	viewer_consumed(&slow.v, buf_len(&slow.got[1]));
	slow.asleep = true;
	viewer_input(&fast.v, 0, (const uint8_t *)"\n", 1, false);
	UNTIL(&r, s->paused);
	assert_true(store_head(&s->store) <= MUCH + RING + STORE_SLACK);
	watcher_wake(&slow, UINT64_MAX);
	while (!slow.closed || !fast.closed) {
		viewer_consumed(&slow.v, buf_len(&slow.got[1]));
		srig_turn(&r);
	}
	snprintf(want, sizeof(want), "live; gap 1@1000+%llu; end exited out=6000000 err=0; close",
		(unsigned long long)gap);
	assert_string_equal(watcher_log(&slow), want);
	assert_string_equal(watcher_log(&fast), "live; end exited out=6000000 err=0; close");
	watcher_fini(&slow);
	watcher_fini(&fast);
	srig_down(&r);
}

static void test_yield(void **state)
{
	(void)state;
	yield_once(false);
	yield_once(true);
}

/* Nobody waits: then it is waited for. And what has been passed over has no claim to be held. */
static void test_yield_to_somebody(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher slow, other;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", MUCH_SCRIPT, RING);
	watch_session(&slow, s,
		ATTACH(.policy = POLICY_LOSSLESS, .viewer = "me", .hold_ms = 60000, .yield_ms = 5));
	watch_session(&other, s, ATTACH(.policy = POLICY_LIVE));
	slow.asleep = true;
	UNTIL(&r, s->paused);
	FOR_MS(&r, 50);
	assert_true(s->paused && !slow.v.yields);
	watcher_gone(&other, false);
	watcher_fini(&other);
	watch_session(&other, s, ATTACH(.policy = POLICY_LOSSLESS, .since_now = true));
	UNTIL(&r, slow.v.yields);
	watcher_gone(&slow, true);
	assert_int_equal(place_held(s->rec), 0);
	UNTIL(&r, other.closed);
	watcher_fini(&slow);
	watcher_fini(&other);
	srig_down(&r);
}

static void test_live(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;
	char want[100];

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", MUCH_SCRIPT, RING);
	watch_session(&w, s, ATTACH(.policy = POLICY_LIVE));
	w.asleep = true;
	UNTIL(&r, session_ended(s)); /* it holds nobody up */
	watcher_wake(&w, UINT64_MAX);
	UNTIL(&r, w.closed);
	assert_true(buf_len(&w.got[1]) >= RING && buf_len(&w.got[1]) <= RING + STORE_SLACK);
	snprintf(want, sizeof(want), "live; gap 1@0+%llu; end exited out=3000000 err=0; close",
		(unsigned long long)(MUCH - buf_len(&w.got[1])));
	assert_string_equal(watcher_log(&w), want);
	assert_int_equal(w.next[1], MUCH);
	watcher_fini(&w);
	srig_down(&r);
}

/* Detaching lets the producer go on. */
static void test_detach_resumes(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;
	struct mux_item it;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", MUCH_SCRIPT, 0);
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS));
	w.asleep = true;
	UNTIL(&r, s->paused);
	watcher_gone(&w, true); /* no name: there is nothing to hold */
	assert_false(viewer_next(&w.v, 1000, &it));
	assert_int_equal(viewer_input_space(&w.v), 0);
	assert_int_equal(viewer_input(&w.v, 0, NULL, 0, true), 0);
	assert_int_equal(place_held(s->rec), 0);
	UNTIL(&r, session_ended(s));
	watcher_fini(&w);
	srig_down(&r);
}

/* ---- what it gets ---- */

static void test_ended_already(void **state)
{
	struct srig r;
	struct session *s, *silent;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", "printf 0123456789", RING);
	silent = srig_start_ring(&r, "b", "exit 0", RING);
	UNTIL(&r, sessions_live(&r.all) == 0);
	watch_session(&w, s, ATTACH(.policy = POLICY_LIVE, .since_out = 1));
	assert_string_equal(watcher_log(&w), "live; end exited out=10 err=0; close");
	assert_true(watcher_has(&w, STORE_OUT, "123456789"));
	watcher_fini(&w);
	watch_session(&w, s, ATTACH(.since_now = true)); /* nothing of what was */
	assert_string_equal(watcher_log(&w), "live; end exited out=10 err=0; close");
	assert_int_equal(buf_len(&w.got[1]), 0);
	watcher_fini(&w);
	watch_session(&w, silent, ATTACH(.policy = POLICY_LIVE));
	assert_string_equal(watcher_log(&w), "live; end exited out=0 err=0; close");
	watcher_fini(&w);
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS, .since_out = 10));
	assert_true(w.closed);
	watcher_fini(&w);
	srig_down(&r);
}

static void test_credit_exact(void **state)
{
	static const uint64_t grants[] = {0, 1, 4, 0, 5, 7};
	struct srig r;
	struct session *s;
	struct watcher w;
	uint64_t sum = 0;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", "read x; printf 0123456789", RING);
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS, .input = true));
	w.credit = 0;
	viewer_input(&w.v, 0, (const uint8_t *)"\n", 1, false);
	UNTIL(&r, session_ended(s));
	for (size_t i = 0; i < array_size(grants); i++) {
		watcher_wake(&w, grants[i]);
		sum = min_of(sum + grants[i], 10ULL);
		assert_int_equal(w.next[1], sum);
		assert_int_equal(w.closed, sum == 10);
	}
	assert_true(watcher_has(&w, STORE_OUT, "0123456789"));
	watcher_fini(&w);
	srig_down(&r);
}

static void test_since(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a",
		"printf abc; sleep 0.05; printf ABCD >&2; sleep 0.05; printf def; cat", RING);
	UNTIL(&r, store_head(&s->store) == 10);
	for (unsigned out = 0; out <= 6; out++) {
		for (unsigned err = 0; err <= 4; err++) {
			watch_session(&w, s, ATTACH(.since_out = out, .since_err = err));
			assert_true(watcher_has(&w, STORE_OUT, "abcdef" + out));
			assert_true(watcher_has(&w, STORE_ERR, "ABCD" + err));
			assert_string_equal(watcher_log(&w), "live");
			watcher_fini(&w);
		}
	}
	assert_int_equal(watch_refused(s, ATTACH(.since_out = 7)), E_BAD_OFFSET);
	assert_int_equal(watch_refused(s, ATTACH(.since_err = 5)), E_BAD_OFFSET);
	assert_int_equal(watch_refused(s, ATTACH(.since_out = 1ULL << 53)), E_BAD_OFFSET);
	assert_int_equal(s->n_viewers, 0);
	watch_session(&w, s, ATTACH(.since_now = true));
	assert_string_equal(watcher_log(&w), "live");
	session_kill(s, CAUSE_CLIENT, TARGET_GROUP, SIGKILL, false, 0);
	UNTIL(&r, w.closed);
	assert_string_equal(watcher_log(&w), "live; end killed out=6 err=4; close");
	watcher_fini(&w);
	srig_down(&r);
}

/* What the ring has given up is said, at the start too. */
static void test_late(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", MUCH_SCRIPT "; sleep 0.1; echo end >&2", 1000);
	UNTIL(&r, session_ended(s));
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS));
	assert_string_equal(
		watcher_log(&w), "gap 1@0+2999004; live; end exited out=3000000 err=4; close");
	assert_true(buf_len(&w.got[1]) == 996 && watcher_has(&w, STORE_ERR, "end\n"));
	watcher_fini(&w);
	srig_down(&r);
}

/* ---- limits ---- */

static void test_limits(void **state)
{
	static struct watcher w[SESSION_VIEWERS];
	char name[16];
	struct srig r;
	struct session *s;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", "cat", RING);
	for (int i = 0; i < SESSION_VIEWERS; i++) {
		snprintf(name, sizeof(name), "v%d", i);
		watch_session(&w[i], s,
			ATTACH(.viewer = i < RECORD_PLACES ? name : NULL,
				.input = i >= 4 && i < 4 + SESSION_WRITERS));
	}
	assert_int_equal(watch_refused(s, ATTACH(.viewer = NULL)), E_TOO_MANY);
	watcher_gone(&w[63], true);
	watcher_fini(&w[63]);
	assert_int_equal(watch_refused(s, ATTACH(.viewer = "v8")), E_TOO_MANY); /* names */
	assert_int_equal(watch_refused(s, ATTACH(.input = true)), E_TOO_MANY);
	/* Bug: one that may not come must not have driven out the one whose name it has. */
	assert_int_equal(watch_refused(s, ATTACH(.viewer = "v0", .input = true)), E_TOO_MANY);
	assert_true(w[0].kicked == E_NONE && w[0].v.session == s);
	watch_session(&w[63], s, ATTACH(.viewer = NULL));
	/* A take-over needs no more than there was. */
	struct watcher again;
	watch_session(&again, s, ATTACH(.viewer = "v5", .input = true));
	assert_true(w[5].kicked == E_TAKEN_OVER && s->n_viewers == SESSION_VIEWERS &&
		    s->n_writers == SESSION_WRITERS);
	watcher_fini(&again);
	for (int i = 0; i < SESSION_VIEWERS; i++)
		watcher_fini(&w[i]);
	assert_true(s->n_viewers == 0 && s->n_writers == 0);
	srig_down(&r);
}

/* ---- the end of a session with viewers ---- */

/* retain_ms 0: it stays as long as somebody has not confirmed the end, and no longer. */
static void test_retain_0(void **state)
{
	struct msg_start *start = srig_sh("echo x");
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	start->has_retain = true;
	start->retain_ms = 0;
	s = srig_start(&r, "a", start);
	watch_session(&w, s, srig_named("me", 0, 60000));
	UNTIL(&r, w.closed);
	watcher_gone(&w, true); /* before it has confirmed */
	assert_non_null(sessions_find(&r.all, "a"));
	watcher_fini(&w);
	watch_session(&w, s, srig_named("me", 2, 60000));
	assert_true(w.closed);
	watcher_gone(&w, false);
	assert_null(sessions_find(&r.all, "a"));
	watcher_fini(&w);
	/* Bug: removed by hand while such a viewer was there, it was looked at after it was gone.
	 */
	start->fingerprint++;
	s = srig_start(&r, "a", start);
	watch_session(&w, s, ATTACH(.input = false));
	UNTIL(&r, w.closed);
	session_remove(s, E_REMOVED);
	assert_int_equal(w.kicked, E_REMOVED);
	assert_null(sessions_find(&r.all, "a"));
	watcher_fini(&w);
	srig_down(&r);
}

/* Bug: when a hold ended, room was made for the session by forgetting that very session. */
static void test_unpin_at_the_limit(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "auto");
	r.all.arena.charge_max = 1 * MIB;
	s = srig_start_ring(
		&r, "a", "(sleep 0.1; " MUCH_SCRIPT "; exec sleep 60) & exit 0", 4 * MIB);
	watch_session(&w, s, srig_named("me", 0, 400));
	UNTIL(&r, session_ended(s));
	watcher_gone(&w, true);
	UNTIL(&r, s->paused);
	assert_int_equal(place_held(s->rec), 1);
	UNTIL(&r, place_held(s->rec) == 0 && !s->paused);
	UNTIL(&r, store_head(&s->store) == MUCH);
	assert_non_null(sessions_find(&r.all, "a"));
	watcher_fini(&w);
	srig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lossless),
		cmocka_unit_test(test_yield),
		cmocka_unit_test(test_yield_to_somebody),
		cmocka_unit_test(test_live),
		cmocka_unit_test(test_detach_resumes),
		cmocka_unit_test(test_ended_already),
		cmocka_unit_test(test_credit_exact),
		cmocka_unit_test(test_since),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_retain_0),
		cmocka_unit_test(test_unpin_at_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
