/*
 * test_roster.c - the sessions the bridge knows: made here, taken over from the agent's list, lost,
 * and forgotten when nobody needs them any more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>

#include "bridge/sandbox/roster.h"

static struct msg_end ended(enum end_state state, int code, int signal)
{
	return (struct msg_end){.state = state, .code = code, .signal = signal};
}

static void take(struct roster *r, struct msg_entry *entries, size_t n, bool first, bool last)
{
	roster_take(r, &(struct msg_list){.entries = entries, .n = n}, first, last);
}

static void test_ids(void **state)
{
	static const enum roster_kind kinds[] = {ROSTER_EXEC, ROSTER_RUN, ROSTER_PTY, ROSTER_AGENT};
	char id[ROSTER_ID_MAX + 1], other[ROSTER_ID_MAX + 1];

	(void)state;
	for (size_t i = 0; i < array_size(kinds); i++) {
		roster_new_id(kinds[i], id);
		roster_new_id(kinds[i], other);
		assert_int_equal(strlen(id), 13);
		assert_string_not_equal(id, other);
		assert_int_equal(roster_kind_of(id), kinds[i]);
		assert_true(msg_name_valid(id, MSG_ID_MAX));
	}
	/* Others' names say nothing, whatever they begin with. */
	assert_int_equal(roster_kind_of("agent-1"), ROSTER_EXEC);
	assert_int_equal(roster_kind_of("p00112233445g"), ROSTER_EXEC);
	assert_int_equal(roster_kind_of(""), ROSTER_EXEC);
}

static void test_entries(void **state)
{
	char arg[] = "-c", *args[] = {arg, arg, NULL};
	struct msg_end end = ended(END_EXITED, 3, 0), again = ended(END_EXITED, 4, 0);
	struct roster r;
	struct roster_entry *e;

	(void)state;
	roster_init(&r);
	e = roster_add(&r, "x1", ROSTER_EXEC, "sh", args);
	assert_int_equal(e->n_args, 2);
	assert_string_equal(e->args[1], "-c");
	assert_null(e->args[2]);
	assert_true(e->running && e->started_ms > 0);
	roster_add(&r, "x2", ROSTER_EXEC, "true", NULL);
	assert_ptr_equal(roster_find(&r, "x1"), e);
	assert_null(roster_find(&r, "x"));
	roster_ended(e, &end);
	roster_ended(e, &again); /* the first end is the end */
	assert_int_equal(e->end.code, 3);
	assert_false(e->running);
	roster_remove(&r, e);
	assert_null(roster_find(&r, "x1"));
	assert_int_equal(r.n, 1);
	roster_fini(&r);
	assert_int_equal(r.n, 0);
}

/* What the agent lists is what there is, page by page. */
static void test_take(void **state)
{
	struct msg_entry page[] = {
		{.id = "p0123456789ab", .cmd = "bash", .cmd_len = 4, .has_pty = true},
		{.id = "mine", .cmd = "sleep 9", .cmd_len = 7, .end = {.state = END_RUNNING}},
		{.id = "done", .cmd = "x", .cmd_len = 1, .end = {.state = END_EXITED, .code = 2}},
	};
	struct roster r;
	struct roster_entry *old, *young;

	(void)state;
	roster_init(&r);
	old = roster_add(&r, "old", ROSTER_EXEC, "old", NULL);
	old->known_ms -= 3600 * 1000;
	young = roster_add(&r, "young", ROSTER_EXEC, "young", NULL);
	take(&r, page, 1, true, false);
	assert_false(r.known);
	assert_non_null(roster_find(&r, "old"));
	take(&r, page + 1, 2, false, true);
	assert_true(r.known);
	assert_null(roster_find(&r, "old"));
	/* Started while the list was on its way. */
	assert_ptr_equal(roster_find(&r, "young"), young);
	assert_int_equal(roster_find(&r, "p0123456789ab")->kind, ROSTER_PTY);
	assert_int_equal(roster_find(&r, "mine")->kind, ROSTER_EXEC);
	assert_true(roster_find(&r, "mine")->running);
	assert_string_equal(roster_find(&r, "mine")->cmd, "sleep 9");
	assert_int_equal(roster_find(&r, "done")->end.code, 2);
	assert_false(roster_find(&r, "done")->running);

	page[1].end.state = END_SIGNALED; /* it ended meanwhile */
	page[1].end.signal = SIGTERM;
	take(&r, page, 3, true, true);
	assert_int_equal(r.n, 4);
	assert_int_equal(roster_exit_code(&roster_find(&r, "mine")->end), 128 + SIGTERM);
	roster_fini(&r);
}

/* Nobody saw their end; they are told of for a while all the same. */
static void test_lost(void **state)
{
	struct msg_end end = ended(END_EXITED, 0, 0);
	struct roster r;
	struct roster_entry *e;

	(void)state;
	roster_init(&r);
	e = roster_add(&r, "was-running", ROSTER_EXEC, "a", NULL);
	e->known_ms -= 3600 * 1000;
	e = roster_add(&r, "had-ended", ROSTER_EXEC, "b", NULL);
	e->known_ms -= 3600 * 1000;
	roster_ended(e, &end);
	roster_lost(&r);
	assert_int_equal(roster_exit_code(&roster_find(&r, "was-running")->end), -1);
	assert_int_equal(roster_exit_code(&e->end), 0);
	take(&r, NULL, 0, true, true);
	assert_non_null(roster_find(&r, "was-running"));
	assert_null(roster_find(&r, "had-ended"));
	roster_fini(&r);
}

/* A client that runs one command after the other does not fill the memory. */
static void test_sweep(void **state)
{
	struct msg_end end = ended(END_EXITED, 0, 0);
	struct roster r;
	struct roster_entry *e;
	char id[32];

	(void)state;
	roster_init(&r);
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "x%d", i);
		e = roster_add(&r, id, ROSTER_EXEC, "true", NULL);
		roster_ended(e, &end);
		e->over_ms -= ROSTER_KEEP_MS + 1000;
		e->attached = i == 50;
	}
	r.swept_ms = now_ms() - 60000;
	roster_add(&r, "last", ROSTER_EXEC, "true", NULL);
	assert_int_equal(r.n, 2);
	assert_non_null(roster_find(&r, "x50")); /* somebody looks at it */
	roster_fini(&r);
}

/* The wall clock is set while sessions run and after they ended: nothing goes early, or stays. */
static void test_clock_set(void **state)
{
	struct msg_end end = ended(END_EXITED, 0, 0);
	struct roster r;
	struct roster_entry *early, *late;

	(void)state;
	roster_init(&r);
	early = roster_add(&r, "early", ROSTER_EXEC, "true", NULL);
	roster_ended(early, &end);
	early->started_ms = early->ended_ms = 1; /* it is set forward */
	late = roster_add(&r, "late", ROSTER_EXEC, "true", NULL);
	roster_ended(late, &end);
	late->ended_ms += 24 * 3600 * 1000; /* and back */
	late->over_ms -= ROSTER_KEEP_MS + 1000;
	r.swept_ms = now_ms() - 60000;
	roster_add(&r, "last", ROSTER_EXEC, "true", NULL);
	assert_ptr_equal(roster_find(&r, "early"), early);
	assert_null(roster_find(&r, "late"));
	take(&r, NULL, 0, true, true); /* a list that is older than it */
	assert_ptr_equal(roster_find(&r, "early"), early);
	roster_fini(&r);
}

static void test_exit_codes(void **state)
{
	static const struct {
		struct msg_end end;
		int code;
	} cases[] = {
		{{.state = END_EXITED, .code = 7}, 7},
		{{.state = END_SIGNALED, .signal = 9}, 137},
		{{.state = END_KILLED, .signal = 15}, 143},
		{{.state = END_KILLED, .code = 3}, 3},
		{{.state = END_OOM_KILLED, .signal = 9}, 137},
		{{.state = END_TIMED_OUT, .signal = 9}, -1},
		{{.state = END_AGENT_LOST}, -1},
		{{.state = END_START_FAILED, .err = ENOENT, .stage = "exec"}, 127},
		{{.state = END_START_FAILED, .err = ENOENT, .stage = "cwd"}, 126},
		{{.state = END_START_FAILED, .err = EACCES, .stage = "exec"}, 126},
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++)
		assert_int_equal(roster_exit_code(&cases[i].end), cases[i].code);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_clock_set),
		cmocka_unit_test(test_exit_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
