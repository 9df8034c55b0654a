/*
 * test_viewer_places.c - places, which keep what a viewer has when its link breaks. Real processes
 * write; each byte is checked for its offset by the watcher that takes it.
 */
#include "tests/unit/session_rig.h"

#include <signal.h>
#include <stdio.h>

#define RING        (64 * KIB)
#define MUCH        3000000u
#define MUCH_SCRIPT "head -c 3000000 /dev/zero"

/* What was sent is not what arrived: the place stands where the viewer says it has consumed to. */
static void test_hold(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;
	uint64_t have = 0;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", MUCH_SCRIPT, RING);
	for (unsigned round = 0; have < MUCH; round++) {
		watch_session(&w, s, srig_named("me", have, 60000));
		assert_true(w.kicked == E_NONE && place_held(s->rec) == 0);
		UNTIL(&r, s->paused || w.closed);
		assert_true(w.next[1] > have); /* sent */
		assert_null(strstr(watcher_log(&w), "gap"));
		have += (w.next[1] - have) / (round % 2 ? 1 : 3); /* arrived */
		viewer_consumed(&w.v, have - (w.next[1] - buf_len(&w.got[1])));
		if (round % 3 == 2)
			viewer_consumed(&w.v, 0); /* never back */
		watcher_gone(&w, true);
		assert_int_equal(place_held(s->rec), 1);
		srig_turn(&r);
		assert_true(store_head(&s->store) - have <= RING + STORE_SLACK);
		watcher_fini(&w);
	}
	UNTIL(&r, session_ended(s));
	watch_session(&w, s, srig_named("me", have, 60000));
	assert_string_equal(watcher_log(&w), "live; end exited out=3000000 err=0; close");
	watcher_gone(&w, false);
	assert_int_equal(place_held(s->rec), 0);
	watcher_fini(&w);
	srig_down(&r);
}

static void test_hold_ends(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;
	struct msg_entry entry;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", MUCH_SCRIPT, RING);
	watch_session(&w, s, srig_named("me", 0, 150));
	UNTIL(&r, s->paused);
	watcher_gone(&w, true);
	session_entry_msg(s, &entry);
	assert_true(entry.held == 1 && entry.viewers == 0);
	FOR_MS(&r, 60);
	assert_true(s->paused && !session_ended(s));
	UNTIL(&r, session_ended(s));
	assert_int_equal(place_held(s->rec), 0);
	watcher_fini(&w);
	/* Too late: it is told what it missed. */
	watch_session(&w, s, srig_named("me", 0, 0));
	assert_non_null(strstr(watcher_log(&w), "gap 1@0+"));
	watcher_fini(&w);
	srig_down(&r);
}

/* A goodbye gives the place up; a live or unnamed viewer never had one. */
static void test_no_hold(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", "cat", RING);
	watch_session(&w, s, srig_named("me", 0, 60000));
	watcher_gone(&w, false);
	assert_int_equal(place_held(s->rec), 0);
	watcher_fini(&w);
	watch_session(&w, s, ATTACH(.viewer = "me", .hold_ms = 60000, .policy = POLICY_LIVE));
	watcher_gone(&w, true);
	assert_int_equal(place_held(s->rec), 0);
	watcher_fini(&w);
	watch_session(&w, s, srig_named("me", 0, 0));
	watcher_gone(&w, true);
	assert_int_equal(place_held(s->rec), 0);
	watcher_fini(&w);
	srig_down(&r);
}

/* Gaps are positions without payload: totals of payload are still understood. */
static void test_hold_behind_gap(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", "head -c 1000000 /dev/zero; read x; " MUCH_SCRIPT, RING);
	UNTIL(&r, store_head(&s->store) == 1000000);
	watch_session(&w, s, srig_named("me", 0, 60000));
	assert_int_equal(w.next[1], 1000000);
	assert_true(buf_len(&w.got[1]) <= RING + STORE_SLACK);
	viewer_input(&w.v, 0, (const uint8_t *)"\n", 1, false);
	UNTIL(&r, s->paused);
	assert_true(store_head(&s->store) <= 1000000 + RING + STORE_SLACK);
	viewer_consumed(&w.v, buf_len(&w.got[1]) - 5);
	assert_int_equal(w.v.place->pos, w.next[1] - 5);
	viewer_consumed(&w.v, UINT64_MAX); /* nobody has more than was sent */
	assert_int_equal(w.v.place->pos, w.next[1]);
	watcher_fini(&w);
	srig_down(&r);
}

static void test_taken_over(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher a, b;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", "cat >/dev/null; " MUCH_SCRIPT, RING);
	watch_session(&a, s, srig_named("me", 0, 60000));
	assert_int_equal(viewer_input(&a.v, 0, (const uint8_t *)"12345", 5, false), 0);
	watch_session(&b, s, srig_named("me", 0, 60000));
	assert_int_equal(a.kicked, E_TAKEN_OVER);
	assert_true(s->n_viewers == 1 && s->n_writers == 1 && place_held(s->rec) == 0);
	/* Its input goes on where the other's was accepted to; what comes again is dropped. */
	assert_int_equal(viewer_input_offset(&b.v), 5);
	assert_int_equal(viewer_input(&b.v, 0, (const uint8_t *)"12345678", 8, true), 0);
	assert_int_equal(viewer_input_offset(&b.v), 8);
	assert_int_equal(s->rec->in.accepted, 8);
	UNTIL(&r, s->paused);
	/* Bug: between the two nobody held the store, and what the old one had not taken was lost.
	 */
	watcher_fini(&a);
	watch_session(&a, s, srig_named("me", 0, 60000));
	assert_int_equal(b.kicked, E_TAKEN_OVER);
	assert_null(strstr(watcher_log(&a), "gap"));
	watcher_fini(&a);
	watcher_fini(&b);
	srig_down(&r);
}

/* The place that nobody used for the longest time goes to a new name; one that is held does not. */
static void test_places_are_reused(void **state)
{
	char name[16];
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	s = srig_start_ring(&r, "a", "cat", RING);
	for (int i = 0; i < RECORD_PLACES; i++) {
		snprintf(name, sizeof(name), "v%d", i);
		watch_session(&w, s,
			ATTACH(.viewer = name, .input = true, .hold_ms = i == 0 ? 60000 : 0));
		assert_int_equal(viewer_input(&w.v, 0, (const uint8_t *)"x", 1, false), 0);
		watcher_gone(&w, true);
		watcher_fini(&w);
		FOR_MS(&r, 2);
	}
	assert_int_equal(place_held(s->rec), 1);
	watch_session(&w, s, ATTACH(.viewer = "new", .input = true));
	assert_int_equal(viewer_input_offset(&w.v), 0);
	watcher_fini(&w);
	for (int i = 0; i < RECORD_PLACES; i++) {
		if (i == 1) /* that one went */
			continue;
		snprintf(name, sizeof(name), "v%d", i);
		watch_session(&w, s, ATTACH(.viewer = name, .input = true));
		assert_int_equal(viewer_input_offset(&w.v), 1);
		watcher_fini(&w);
	}
	srig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places_are_reused),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_hold_ends),
		cmocka_unit_test(test_no_hold),
		cmocka_unit_test(test_hold_behind_gap),
		cmocka_unit_test(test_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
