/*
 * test_sessions.c - the table of all sessions: starting twice, how many there may be, who goes
 * first when there is no room, the list in pages, an orderly end.
 */
#include "tests/unit/session_rig.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>

static enum error_code refused(struct srig *r, const char *id, const struct msg_start *start)
{
	struct session *s;
	struct error e = {.code = E_NONE};
	bool is_new;

	assert_true(sessions_start(&r->all, id, start, &s, &is_new, &e) < 0);
	return e.code;
}

static void test_start_twice(void **state)
{
	struct srig r;
	struct msg_start *start = srig_sh("sleep 60"), *other = srig_sh("sleep 60");
	struct session *a, *b;
	struct error e;
	bool is_new;

	(void)state;
	srig_up(&r, "none");
	a = srig_start(&r, "a", start);
	assert_int_equal(sessions_start(&r.all, "a", start, &b, &is_new, &e), 0);
	assert_true(a == b && !is_new && r.all.n == 1);
	assert_int_equal(refused(&r, "a", other), E_ID_IN_USE);
	other->ring = STORE_RING_MAX + 1;
	other->has_ring = true;
	assert_int_equal(refused(&r, "b", other), E_BAD_MESSAGE);
	other->ring = STORE_RING_MAX;
	srig_start(&r, "b", other);
	/* Chosen names are names, and each another. */
	for (int i = 0; i < 20; i++) {
		b = srig_start(&r, NULL, start);
		assert_true(msg_name_valid(b->rec->id, MSG_ID_MAX) &&
			    sessions_find(&r.all, b->rec->id) == b);
	}
	assert_int_equal(sessions_live(&r.all), 22);
	session_kill(a, CAUSE_CLIENT, TARGET_GROUP, SIGKILL, false, 0);
	UNTIL(&r, session_ended(a));
	assert_int_equal(sessions_start(&r.all, "a", start, &b, &is_new, &e), 0);
	assert_true(a == b && !is_new); /* also when it has ended */
	srig_down(&r);
}

static void test_retention(void **state)
{
	struct srig r;
	struct msg_start *start = srig_sh("exit 0");
	struct msg_entry entry;

	(void)state;
	srig_up(&r, "none");
	start->has_retain = true;
	start->retain_ms = 60;
	srig_start(&r, "short", start);
	r.config.retain_ms = 120; /* what one gets who does not say */
	srig_start(&r, "default", srig_sh("exit 0"));
	UNTIL(&r, sessions_live(&r.all) == 0);
	session_entry_msg(sessions_find(&r.all, "default"), &entry);
	assert_true(entry.retain_left_ms > 0 && entry.retain_left_ms <= 120);
	UNTIL(&r, !sessions_find(&r.all, "short"));
	assert_non_null(sessions_find(&r.all, "default"));
	UNTIL(&r, r.all.n == 0);
	assert_true(r.all.n_ended == 0 && list_empty(&r.all.ended));
	srig_down(&r);
}

/* Of ended ones so many are kept, the oldest go; those that somebody looks at stay. */
static void test_retain_max(void **state)
{
	struct srig r;
	struct watcher w;
	char id[16];

	(void)state;
	srig_up(&r, "none");
	r.config.retain_max = 3;
	for (int i = 0; i < 8; i++) {
		struct session *s;

		snprintf(id, sizeof(id), "s%d", i);
		s = srig_start(&r, id, srig_sh("exit 0"));
		if (i == 0)
			watch_session(&w, s, ATTACH(.input = false));
		UNTIL(&r, session_ended(s));
		FOR_MS(&r, 2);
	}
	assert_int_equal(r.all.n_ended, 3);
	assert_true(sessions_find(&r.all, "s0") && sessions_find(&r.all, "s6") &&
		    sessions_find(&r.all, "s7"));
	watcher_fini(&w);
	/* Not even one is to be kept: the last one still, somebody is about to be told. */
	r.config.retain_max = 0;
	srig_start(&r, "z", srig_sh("exit 0"));
	UNTIL(&r, sessions_live(&r.all) == 0);
	assert_true(r.all.n == 1 && sessions_find(&r.all, "z"));
	srig_down(&r);
}

static void test_max_sessions(void **state)
{
	struct srig r;
	struct session *first, *s;

	(void)state;
	srig_up(&r, "none");
	r.config.max_sessions = 5;
	first = srig_start(&r, "first", srig_sh("exit 0"));
	UNTIL(&r, session_ended(first));
	for (int i = 0; i < 4; i++)
		srig_start(&r, NULL, srig_sh("sleep 60"));
	s = srig_start(&r, "s", srig_sh("sleep 60")); /* in place of the ended one */
	assert_true(r.all.n == 5 && !sessions_find(&r.all, "first"));
	assert_int_equal(refused(&r, "more", srig_sh("exit 0")), E_TOO_MANY);
	session_kill(s, CAUSE_CLIENT, TARGET_GROUP, SIGKILL, false, 0);
	UNTIL(&r, session_ended(s));
	srig_start(&r, "more", srig_sh("sleep 60"));
	/* One that drains hidden has its slot still. */
	s = sessions_find(&r.all, "more");
	session_kill(s, CAUSE_CLIENT, TARGET_GROUP, SIGKILL, false, 0);
	UNTIL(&r, session_ended(s));
	s = srig_start(&r, "bg", srig_sh("sleep 60 & exit 0"));
	UNTIL(&r, session_ended(s));
	session_remove(s, E_REMOVED);
	assert_int_equal(refused(&r, "again", srig_sh("exit 0")), E_TOO_MANY);
	srig_down(&r);
}

/* The slots of the arena are the hard limit, whatever the configuration says. */
static void test_no_slot(void **state)
{
	struct srig r;

	(void)state;
	srig_up(&r, "none");
	r.config.max_sessions = 1000;
	for (int i = 0; i < 200; i++) {
		struct msg_start *start = srig_sh("");

		start->cwd = "/no/such/directory"; /* ends at once, costs nothing */
		srig_start(&r, NULL, start);
	}
	assert_int_equal(refused(&r, NULL, srig_sh("exit 0")), E_TOO_MANY);
	assert_int_equal(r.all.n, 200);
	srig_down(&r);
}

/* ---- list ---- */

static char page[FRAME_PAYLOAD_MAX];

/* As control.c does it. */
static struct msg_list list(struct srig *r, const char *only, uint64_t after, uint64_t limit)
{
	struct msg_list m;
	struct error e;
	struct jsonw w;

	jsonw_init(&w, page, sizeof(page));
	jsonw_open(&w, NULL, '{');
	sessions_list(&r->all, only, after, limit, &w);
	jsonw_close(&w, '}');
	assert_false(w.overflow);
	if (msg_parse_list((uint8_t *)page, w.len, &m, &e) != 0)
		fail_msg("%s", e.message);
	return m;
}

static void test_list(void **state)
{
	struct srig r;
	struct msg_list m;
	uint64_t after = 0;
	unsigned n = 0, pages = 0;
	char id[16];

	(void)state;
	srig_up(&r, "none");
	for (int i = 0; i < 25; i++) {
		snprintf(id, sizeof(id), "s%d", i);
		srig_start(&r, id, srig_sh(i % 2 ? "exit 0" : "sleep 60"));
	}
	do { /* in order of start */
		m = list(&r, NULL, after, 10);
		for (size_t i = 0; i < m.n; i++) {
			snprintf(id, sizeof(id), "s%u", n++);
			assert_string_equal(m.entries[i].id, id);
			assert_string_equal(m.entries[i].cwd, "/");
			assert_true(m.entries[i].pid > 0);
		}
		after = m.next ? strtoull(m.next, NULL, 10) : 0;
		msg_list_fini(&m);
		pages++;
	} while (after);
	assert_true(n == 25 && pages == 3);
	m = list(&r, "s7", 0, 100);
	assert_true(m.n == 1 && strcmp(m.entries[0].id, "s7") == 0 && !m.next);
	msg_list_fini(&m);
	m = list(&r, "nobody", 0, 100);
	assert_true(m.n == 0 && !m.next);
	msg_list_fini(&m);
	m = list(&r, NULL, UINT64_MAX, UINT64_MAX);
	assert_true(m.n == 0 && !m.next);
	msg_list_fini(&m);
	srig_down(&r);
}

/* Bug: an entry that was too large for a page of its own stopped the list for ever. Control
 * characters and single odd bytes are what grows most when it is written down. */
static void test_largest_entry(void **state)
{
	static char bytes[70000], odd[2000][2], *argv[2003] = {NULL, (char *)"/x"};
	struct msg_start *start;
	struct srig r;
	struct msg_list m;
	unsigned seen = 0;
	uint64_t after = 0;

	(void)state;
	srig_up(&r, "none");
	for (int i = 0; i < 2000; i++)
		argv[i + 2] = memcpy(odd[i], i % 2 ? "\xff" : "\x01", 2);
	for (int k = 0; k < 3; k++) {
		memset(bytes, k == 2 ? 0xff : 1, sizeof(bytes) - 1);
		bytes[k == 0 ? PATH_MAX - 1 : 65000] = '\0';
		start = srig_sh("");
		start->argv = argv + 1;
		start->argc = 2001;
		start->cwd = bytes;
		srig_start(&r, NULL, start);
		start = srig_sh("");
		start->user = bytes;
		srig_start(&r, NULL, start);
		srig_start(&r, NULL, srig_sh(bytes));
	}
	do {
		m = list(&r, NULL, after, 100);
		assert_true(m.n > 0);
		seen += (unsigned)m.n;
		after = m.next ? strtoull(m.next, NULL, 10) : 0;
		msg_list_fini(&m);
	} while (after);
	assert_int_equal(seen, 9);
	srig_down(&r);
}

/* ---- memory ---- */

/* At the limit ended sessions go first, oldest first; then the rings stop growing and nothing waits
 * for ever. */
static void test_store_max(void **state)
{
	struct srig r;
	struct session *s;
	char id[16];

	(void)state;
	srig_up(&r, "none");
	r.all.arena.charge_max = 4 * MIB;
	for (int i = 0; i < 12; i++) {
		snprintf(id, sizeof(id), "s%d", i);
		s = srig_start(&r, id, srig_sh("head -c 1000000 /dev/zero"));
		UNTIL(&r, session_ended(s));
		assert_int_equal(s->rec->end.out, 1000000);
		assert_true(r.all.arena.charged <= 4 * MIB + 12 * STORE_FLOOR);
	}
	assert_null(sessions_find(&r.all, "s0"));
	assert_non_null(sessions_find(&r.all, "s11"));
	for (int i = 0; i < 8; i++)
		srig_start(&r, NULL, srig_sh("head -c 3000000 /dev/zero; sleep 60"));
	list_for_each (live, &r.all.by_age, struct session, by_age)
		UNTIL(&r, session_ended(live) || store_head(&live->store) == 3000000);
	assert_true(r.all.arena.charged <= 4 * MIB + 20 * STORE_FLOOR);
	srig_down(&r);
}

/* ---- stop ---- */

static void test_stop(void **state)
{
	struct srig r;
	struct session *soft, *hard, *ended;
	struct watcher w;

	(void)state;
	srig_up(&r, "auto");
	ended = srig_start(&r, "ended", srig_sh("exit 3"));
	UNTIL(&r, session_ended(ended));
	soft = srig_start(&r, "soft", srig_sh("sleep 60"));
	hard = srig_start(
		&r, "hard", srig_sh("trap '' TERM; echo up; while :; do sleep 0.02; done"));
	watch_session(&w, hard, ATTACH(.input = false));
	UNTIL(&r, watcher_has(&w, STORE_OUT, "up\n"));
	w.asleep = true;
	sessions_stop(&r.all, 100);
	assert_int_equal(refused(&r, NULL, srig_sh("exit 0")), E_STOPPING);
	assert_int_equal(r.idles, 0);
	UNTIL(&r, r.idles == 1);
	assert_string_equal(srig_state(ended), "exited 3");
	assert_string_equal(srig_state(soft), "killed 15 by 3");
	assert_string_equal(srig_state(hard), "killed 9 by 3");
	assert_false(sessions_told(&r.all));
	watcher_wake(&w, UINT64_MAX);
	assert_true(sessions_told(&r.all));
	watcher_fini(&w);
	srig_down(&r);
	/* Nothing lives: at once. */
	srig_up(&r, "none");
	sessions_stop(&r.all, 100);
	assert_int_equal(r.idles, 1);
	srig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_twice),
		cmocka_unit_test(test_retention),
		cmocka_unit_test(test_retain_max),
		cmocka_unit_test(test_max_sessions),
		cmocka_unit_test(test_no_slot),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_largest_entry),
		cmocka_unit_test(test_store_max),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
