/*
 * test_session_kill.c - how a session is ended, with real processes: signals to the leader, its
 * group and its tree, time-outs, clients that leave, and what it is said to have ended by.
 */
#include "tests/unit/session_rig.h"

#include <signal.h>
#include <stdio.h>

static void test_kill(void **state)
{
	static const struct {
		const char *script;
		enum msg_target to;
		int sig;
		bool escalate;
		const char *end;
	} cases[] = {
		{"echo up; sleep 60", TARGET_GROUP, SIGTERM, false, "killed 15 by 1"},
		{"echo up; sleep 60", TARGET_LEADER, SIGKILL, false, "killed 9 by 1"},
		{"echo up; sleep 60", TARGET_TREE, SIGUSR1, false, "killed 10 by 1"},
		{"trap 'exit 4' TERM; echo up; while :; do sleep 0.02; done", TARGET_GROUP, SIGTERM,
			false, "exited 4"},
		{"trap '' TERM; echo up; while :; do sleep 1; done", TARGET_GROUP, SIGTERM, true,
			"killed 9 by 1"},
		{"trap '' TERM; echo up; while :; do sleep 1; done", TARGET_TREE, SIGTERM, true,
			"killed 9 by 1"},
		/* It dies of something else than what was sent. */
		{"trap 'kill -9 $$' TERM; echo up; while :; do sleep 0.02; done", TARGET_GROUP,
			SIGTERM, false, "signaled 9"},
	};
	struct srig r;

	(void)state;
	for (size_t i = 0; i < 2 * array_size(cases); i++) {
		size_t k = i / 2;
		struct session *s;
		struct watcher w;

		srig_up(&r, i % 2 ? "auto" : "none");
		s = srig_start(&r, "a", srig_sh(cases[k].script));
		watch_session(&w, s, ATTACH(.input = false));
		UNTIL(&r, watcher_has(&w, STORE_OUT, "up\n"));
		session_kill(s, CAUSE_CLIENT, cases[k].to, cases[k].sig, cases[k].escalate, 50);
		UNTIL(&r, session_ended(s));
		assert_string_equal(srig_state(s), cases[k].end);
		watcher_fini(&w);
		srig_down(&r);
	}
}

/* A grandchild in a session of its own is out of the group's reach, not out of the tree's; also
 * when the leader is gone, and when TERM is not enough. */
static void test_kill_tree(void **state)
{
	static const char text[] =
		"trap '' TERM; setsid sh -c 'echo up; while :; do sleep 0.05; done' & %s";
	struct srig r;

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct msg_start *start;
		struct session *s;
		struct watcher w;
		char full[300];

		srig_up(&r, i & 1 ? "auto" : "none");
		/* Without a cgroup it is found by its parent, so that one stays. */
		snprintf(full, sizeof(full), text, i == 3 ? "exit 0" : "while :; do wait; done");
		start = srig_sh(full);
		s = srig_start(&r, "a", start);
		watch_session(&w, s, ATTACH(.input = false));
		UNTIL(&r, watcher_has(&w, STORE_OUT, "up\n"));
		if (i == 3)
			UNTIL(&r, session_ended(s));
		session_kill(s, CAUSE_CLIENT, TARGET_TREE, SIGTERM, true, 100);
		UNTIL(&r, w.closed);
		watcher_fini(&w);
		srig_down(&r);
	}
}

static void test_timeout(void **state)
{
	struct srig r;
	struct session *soft, *hard, *late;
	struct msg_start *start;

	(void)state;
	srig_up(&r, "auto");
	start = srig_sh("sleep 60");
	start->timeout_ms = 50;
	soft = srig_start(&r, "soft", start);
	start = srig_sh("trap '' TERM; while :; do sleep 0.02; done");
	start->timeout_ms = 50;
	start->kill_grace_ms = 100;
	hard = srig_start(&r, "hard", start);
	start = srig_sh("trap 'exit 3' TERM; while :; do sleep 0.02; done");
	start->timeout_ms = 50;
	late = srig_start(&r, "late", start);
	UNTIL(&r, sessions_live(&r.all) == 0);
	assert_string_equal(srig_state(soft), "timed_out 15");
	assert_string_equal(srig_state(hard), "timed_out 9");
	assert_string_equal(srig_state(late), "timed_out 3");
	assert_true(hard->rec->end.wall_ms >= 150);
	assert_true(soft->rec->end.wall_ms >= 50 && soft->rec->end.wall_ms < 1900);
	srig_down(&r);
}

/* It counts from the last viewer's leave, not while anybody is there, and after a start without. */
static void test_disconnect(void **state)
{
	struct srig r;
	struct session *s, *alone;
	struct msg_start *start = srig_sh("sleep 60");
	struct msg_entry entry;
	struct watcher w, v;

	(void)state;
	srig_up(&r, "none");
	start->disconnect_ms = 150;
	alone = srig_start(&r, "alone", start);
	start->fingerprint++;
	s = srig_start(&r, "a", start);
	watch_session(&w, s, ATTACH(.input = false));
	watch_session(&v, s, ATTACH(.input = false));
	UNTIL(&r, session_ended(alone));
	assert_string_equal(srig_state(alone), "killed 15 by 2");
	FOR_MS(&r, 100);
	watcher_fini(&w);
	FOR_MS(&r, 200);
	session_entry_msg(s, &entry);
	assert_true(entry.disconnect_left_ms == -1 && entry.viewers == 1);
	assert_string_equal(srig_state(s), "running");
	watcher_fini(&v);
	session_entry_msg(s, &entry);
	assert_true(entry.disconnect_left_ms >= 0 && entry.disconnect_left_ms <= 150 &&
		    entry.viewers == 0);
	watch_session(&w, s, ATTACH(.input = false)); /* back in time */
	FOR_MS(&r, 200);
	assert_string_equal(srig_state(s), "running");
	watcher_fini(&w);
	UNTIL(&r, session_ended(s));
	assert_string_equal(srig_state(s), "killed 15 by 2");
	srig_down(&r);
}

/* Bug: TERM and then CONT, as one does with what may be stopped, and it was not our kill any more.
 * What is asked for after the end changes nothing. */
static void test_causes(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a", srig_sh("trap '' INT; echo up; sleep 60"));
	watch_session(&w, s, ATTACH(.input = false));
	UNTIL(&r, watcher_has(&w, STORE_OUT, "up\n"));
	session_kill(s, CAUSE_CLIENT, TARGET_LEADER, SIGINT, false, 0);
	session_kill(s, CAUSE_CLIENT, TARGET_LEADER, SIGTERM, false, 0);
	session_kill(s, CAUSE_CLIENT, TARGET_LEADER, SIGCONT, false, 0);
	UNTIL(&r, session_ended(s));
	assert_string_equal(srig_state(s), "killed 15 by 1");
	session_kill(s, CAUSE_SHUTDOWN, TARGET_GROUP, SIGKILL, true, 0);
	FOR_MS(&r, 20);
	assert_string_equal(srig_state(s), "killed 15 by 1");
	watcher_fini(&w);
	srig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill),
		cmocka_unit_test(test_kill_tree),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_disconnect),
		cmocka_unit_test(test_causes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
