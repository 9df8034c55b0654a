/*
 * test_session.c - the life of one session, with real processes: what it ends with and when, what
 * children that outlive the leader may do, and its input. How it is killed is in
 * test_session_kill.c, viewers and their places in test_viewer.c, the table of all in
 * test_sessions.c, the next agent in test_session_takeover.c.
 */
#include "tests/unit/session_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#define SECOND 1000

static char scratch[64]; /* a file that scripts write to */

static bool scratch_has(const char *text)
{
	char got[100] = "";
	auto_close int fd = open(scratch, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	assert_true(read(fd, got, sizeof(got) - 1) >= 0);
	return strcmp(got, text) == 0;
}

static char *script(const char *format)
{
	static char text[4][600];
	static unsigned n;
	char *at = text[n++ % 4];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(at, sizeof(text[0]), format, scratch);
#pragma GCC diagnostic pop
	unlink(scratch);
	return at;
}

/* ---- the end ---- */

static void test_ends(void **state)
{
	static const struct {
		const char *script, *end;
	} cases[] = {
		{"exit 0", "exited 0"}, {"exit 7", "exited 7"}, {"exit 255", "exited 255"},
		{"kill -9 $$", "signaled 9"}, {"kill -SEGV $$", "signaled 11"},
		{"kill $$", "signaled 15"},
		{"exec </dev/null >/dev/null 2>&1; sleep 0.05; exit 3",
			"exited 3"}, /* pipes end first */
	};
	struct session *s[array_size(cases)];
	struct srig r;

	(void)state;
	for (int cgroups = 0; cgroups < 2; cgroups++) {
		srig_up(&r, cgroups ? "auto" : "none");
		for (size_t i = 0; i < array_size(cases); i++)
			s[i] = srig_start(&r, NULL, srig_sh(cases[i].script));
		UNTIL(&r, sessions_live(&r.all) == 0);
		for (size_t i = 0; i < array_size(cases); i++) {
			assert_string_equal(srig_state(s[i]), cases[i].end);
			assert_true(s[i]->rec->end.ended_ms >= s[i]->rec->end.started_ms);
		}
		srig_down(&r);
	}
}

static void test_start_fails(void **state)
{
	static char big[200000];
	struct msg_start *start;
	struct session *s;
	struct srig r;
	char *missing[] = {NULL, (char *)"/no/such/program", NULL},
	     *large[] = {NULL, (char *)"true", big, NULL};

	(void)state;
	srig_up(&r, "auto");
	start = srig_sh("");
	start->argv = missing + 1;
	start->argc = 1;
	s = srig_start(&r, "a", start);
	assert_string_equal(srig_state(s), "start_failed 2 exec");
	start->fingerprint++;
	start->argv = large + 1;
	start->argc = 2;
	memset(big, 'x', sizeof(big) - 1);
	assert_string_equal(srig_state(srig_start(&r, "b", start)), "start_failed 7 exec");
	start = srig_sh("");
	start->cwd = "/no/such/directory";
	assert_string_equal(srig_state(srig_start(&r, "c", start)), "start_failed 2 cwd");
	start = srig_sh("");
	start->user = "no-such-user";
	assert_string_equal(srig_state(srig_start(&r, "d", start)), "start_failed 2 user");
	start = srig_sh("");
	start->rlimits[0] = (struct msg_rlimit){RLIMIT_NOFILE, 10, 5};
	start->n_rlimits = 1;
	assert_string_equal(srig_state(srig_start(&r, "e", start)), "start_failed 22 rlimit");
	/* It has all that a session has: a viewer is told, a signal hits nobody. */
	struct watcher w;

	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS));
	assert_string_equal(watcher_log(&w), "live; end start_failed out=0 err=0; close");
	assert_int_equal(session_kill(s, CAUSE_CLIENT, TARGET_GROUP, SIGTERM, true, 0), 0);
	assert_int_equal(session_kill(s, CAUSE_CLIENT, TARGET_TREE, SIGKILL, false, 0), 0);
	FOR_MS(&r, 10);
	watcher_fini(&w);
	srig_down(&r);
}

/* A process whose end could not be seen is not left running. */
static void test_cannot_watch(void **state)
{
	struct srig r;
	struct session *s;
	int poller;

	(void)state;
	srig_up(&r, "none");
	poller = r.all.poller.fd;
	r.all.poller.fd = -1;
	s = srig_start(&r, "a", srig_sh("sleep 60"));
	r.all.poller.fd = poller;
	assert_string_equal(srig_state(s), "start_failed 9 limits");
	assert_int_equal(s->rec->pidfd, -1);
	srig_down(&r);
}

/* The end comes behind the leader's last byte, however much of it lies in the pipes. */
static void test_drain(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	for (int i = 0; i < 10; i++) {
		s = srig_start(&r, NULL,
			srig_sh("head -c 60000 /dev/zero; head -c 50000 /dev/zero >&2; exit 1"));
		watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS));
		w.asleep = i % 2;
		UNTIL(&r, session_ended(s));
		watcher_wake(&w, UINT64_MAX);
		UNTIL(&r, w.closed);
		assert_string_equal(watcher_log(&w), "live; end exited out=60000 err=50000; close");
		assert_true(buf_len(&w.got[1]) == 60000 && buf_len(&w.got[2]) == 50000);
		watcher_fini(&w);
	}
	srig_down(&r);
}

/* ---- children that stay ---- */

/* Silence for linger_ms after the leader's exit is its end; what comes later still comes. */
static void test_background(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;
	uint64_t wall;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a",
		srig_sh("echo now; (sleep 0.4; echo late; sleep 0.1; echo err >&2) & exit 5"));
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS));
	UNTIL(&r, w.ended);
	wall = s->rec->end.wall_ms;
	assert_true(wall >= 45 && wall < 350);
	assert_true(watcher_has(&w, STORE_OUT, "now\n") && !session_silent(s));
	assert_string_equal(srig_state(s), "exited 5");
	UNTIL(&r, w.closed);
	assert_string_equal(watcher_log(&w), "live; end exited out=4 err=0; close");
	assert_true(
		watcher_has(&w, STORE_OUT, "now\nlate\n") && watcher_has(&w, STORE_ERR, "err\n"));
	watcher_fini(&w);
	srig_down(&r);
}

/* Output of children does not put the end off for ever: eight times linger_ms. */
static void test_noisy_background(void **state)
{
	struct srig r;
	struct session *s;

	(void)state;
	srig_up(&r, "auto");
	s = srig_start(&r, "a", srig_sh("(while echo x; do sleep 0.01; done) & exit 0"));
	UNTIL(&r, session_ended(s));
	assert_true(s->rec->end.wall_ms >= 395 && s->rec->end.wall_ms < 2 * SECOND);
	assert_false(session_silent(s));
	session_kill(s, CAUSE_CLIENT, TARGET_TREE, SIGKILL, false, 0);
	UNTIL(&r, session_silent(s));
	assert_string_equal(srig_state(s), "exited 0"); /* the end does not change any more */
	srig_down(&r);
}

static void test_linger_0(void **state)
{
	struct msg_start *start = srig_sh("sleep 0.3 & echo x");
	struct srig r;
	struct session *s;

	(void)state;
	srig_up(&r, "none");
	start->linger_ms = 0;
	s = srig_start(&r, "a", start);
	UNTIL(&r, session_ended(s));
	assert_int_equal(s->rec->end.out, 2);
	assert_true(s->rec->end.wall_ms < 250);
	srig_down(&r);
}

/* Removed while children write: nobody sees it any more, but they never get SIGPIPE. */
static void test_hidden(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a",
		srig_sh(script(
			"exec 5>%s; (sleep 0.2; head -c 300000 /dev/zero && echo fine >&5) & exit 0")));
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS));
	w.asleep = true;
	UNTIL(&r, session_ended(s));
	session_remove(s, E_REMOVED);
	session_remove(s, E_REMOVED);
	assert_int_equal(w.kicked, E_REMOVED);
	assert_null(sessions_find(&r.all, "a"));
	assert_true(r.all.n == 0 && r.all.n_hidden == 1 && r.all.n_ended == 0);
	srig_start(&r, "a", srig_sh("exit 0")); /* the name is free */
	UNTIL(&r, r.all.n_hidden == 0);
	UNTIL(&r, scratch_has("fine\n"));
	watcher_fini(&w);
	srig_down(&r);
}

/* Nobody attached: all is drained, the ring keeps the last of it. */
static void test_nobody_attached(void **state)
{
	struct msg_start *start = srig_sh(script("head -c 3000000 /dev/zero && echo fine >%s"));
	struct srig r;
	struct session *s;
	struct msg_opened o;

	(void)state;
	srig_up(&r, "none");
	start->ring = 65536;
	start->has_ring = true;
	s = srig_start(&r, "a", start);
	UNTIL(&r, session_ended(s));
	assert_true(scratch_has("fine\n"));
	session_opened_msg(s, &o);
	assert_true(o.out.head == 3000000 && o.out.oldest == 3000000 - 65536);
	srig_down(&r);
}

/* ---- input ---- */

static struct session *start_cat(struct srig *r, const char *id, const char *text)
{
	struct msg_start *start = srig_sh(text);

	start->with_stdin = true;
	return srig_start(r, id, start);
}

static int type(struct watcher *w, const char *text, bool fin)
{
	return viewer_input(
		&w->v, viewer_input_offset(&w->v), (const uint8_t *)text, strlen(text), fin);
}

static void test_stdin(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w, idle;

	(void)state;
	srig_up(&r, "none");
	s = start_cat(&r, "a", "cat");
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS, .input = true));
	watch_session(&idle, s, ATTACH(.policy = POLICY_LIVE));
	assert_int_equal(viewer_input_space(&w.v), SESSION_STDIN_WINDOW);
	assert_int_equal(viewer_input_space(&idle.v), 0);
	assert_int_equal(type(&idle, "x", false), -EPERM);
	assert_int_equal(type(&w, "hello ", false), 0);
	assert_int_equal(
		viewer_input(&w.v, 7, (const uint8_t *)"x", 1, false), -ERANGE); /* a hole */
	assert_int_equal(
		viewer_input(&w.v, 3, (const uint8_t *)"lo world", 8, false), 0); /* overlap */
	assert_int_equal(
		viewer_input(&w.v, 0, (const uint8_t *)"hel", 3, true), 0); /* and its end: old */
	assert_int_equal(viewer_input_offset(&w.v), 11);
	UNTIL(&r, watcher_has(&w, STORE_OUT, "hello world"));
	assert_true(w.spaces > 0);
	assert_int_equal(type(&w, "!\n", true), 0);
	assert_int_equal(viewer_input_space(&w.v), 0);
	assert_int_equal(type(&w, "behind the end", false), 0); /* dropped */
	UNTIL(&r, w.closed);
	assert_true(watcher_has(&w, STORE_OUT, "hello world!\n"));
	assert_string_equal(srig_state(s), "exited 0");
	assert_false(w.stdin_closed); /* it was not the child's doing */
	watcher_fini(&w);
	watcher_fini(&idle);
	srig_down(&r);
}

/* More than pipe and queue hold, both ways at once; a child that does not read blocks only itself.
 */
static void test_stdin_flow(void **state)
{
	static uint8_t data[1000];
	struct srig r;
	struct session *s, *blocked;
	struct watcher w, b;
	uint64_t sent = 0;

	(void)state;
	srig_up(&r, "none");
	memset(data, 'd', sizeof(data));
	blocked = start_cat(&r, "b", "sleep 60");
	watch_session(&b, blocked, ATTACH(.input = true));
	while (viewer_input_space(&b.v) > 0) {
		size_t n = (size_t)min_of(viewer_input_space(&b.v), (uint64_t)sizeof(data));

		assert_int_equal(viewer_input(&b.v, viewer_input_offset(&b.v), data, n, false), 0);
		assert_true(inq_len(&blocked->in) <= SESSION_STDIN_WINDOW);
	}
	s = start_cat(&r, "a", "cat");
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS, .input = true));
	while (sent < 2000000) {
		size_t n = (size_t)min_of(viewer_input_space(&w.v), (uint64_t)sizeof(data));

		assert_int_equal(viewer_input(&w.v, sent, data, n, false), 0);
		sent += n;
		if (n == 0)
			srig_turn(&r);
	}
	type(&w, "", true);
	UNTIL(&r, w.closed);
	assert_int_equal(buf_len(&w.got[1]), sent);
	for (size_t i = 0; i < sent; i++)
		assert_int_equal(buf_head(&w.got[1])[i], 'd');
	assert_string_equal(srig_state(blocked), "running");
	watcher_fini(&w);
	watcher_fini(&b);
	srig_down(&r);
}

static void test_stdin_closed_by_child(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w, v;

	(void)state;
	srig_up(&r, "none");
	s = start_cat(&r, "a", "head -c 3; exec <&-; sleep 60");
	watch_session(&w, s, ATTACH(.input = true));
	watch_session(&v, s, ATTACH(.input = true));
	type(&w, "abc", false);
	UNTIL(&r, w.stdin_closed && v.stdin_closed);
	assert_true(w.stdin_offset == 3 && v.stdin_offset == 0);
	assert_int_equal(type(&w, "dropped", false), 0);
	assert_int_equal(viewer_input_space(&w.v), 0);
	assert_int_equal(viewer_input_offset(&w.v), 3);
	assert_string_equal(srig_state(s), "running");
	watcher_fini(&w);
	watcher_fini(&v);
	srig_down(&r);
}

/* The end of stdin waits for what is before it, also when the child reads late. */
static void test_stdin_late_reader(void **state)
{
	static uint8_t data[200000];
	struct srig r;
	struct session *s;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	s = start_cat(&r, "a", "sleep 0.1; wc -c");
	watch_session(&w, s, ATTACH(.input = true));
	assert_int_equal(viewer_input(&w.v, 0, data, sizeof(data), true), 0);
	UNTIL(&r, w.closed);
	assert_true(watcher_has(&w, STORE_OUT, "200000\n"));
	watcher_fini(&w);
	srig_down(&r);
}

static int make_scratch(void **state)
{
	(void)state;
	snprintf(scratch, sizeof(scratch), "/tmp/test_session.%d", getpid());
	return 0;
}

static int remove_scratch(void **state)
{
	(void)state;
	unlink(scratch);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_start_fails),
		cmocka_unit_test(test_cannot_watch),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_background),
		cmocka_unit_test(test_noisy_background),
		cmocka_unit_test(test_linger_0),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_nobody_attached),
		cmocka_unit_test(test_stdin),
		cmocka_unit_test(test_stdin_flow),
		cmocka_unit_test(test_stdin_closed_by_child),
		cmocka_unit_test(test_stdin_late_reader),
	};

	return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
