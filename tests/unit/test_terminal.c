/*
 * test_terminal.c - sessions on a terminal, with real programs: all output comes before the end,
 * who owns the size and who is told of it, repaints, hang-ups, slow viewers, and the next agent.
 */
#include "tests/unit/session_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agentd/pty.h"
#include "agentd/terminal.h"

static struct msg_start *tty(const char *script)
{
	struct msg_start *start = srig_sh(script);

	start->pty =
		(struct msg_pty){.on = true, .size = {.cols = 80, .rows = 24}, .term = "vt100"};
	start->with_stdin = true;
	return start;
}

static bool has(const struct watcher *w, const char *text)
{
	return buf_len(&w->got[1]) > 0 &&
	       memmem(buf_head(&w->got[1]), buf_len(&w->got[1]), text, strlen(text)) != NULL;
}

static void type(struct watcher *w, const char *text)
{
	assert_int_equal(viewer_input(&w->v, viewer_input_offset(&w->v), (const uint8_t *)text,
				 strlen(text), false),
		0);
}

static struct msg_size size_of(const struct session *s)
{
	struct msg_size size;

	terminal_size(s, &size);
	return size;
}

static enum error_code resize(struct watcher *w, uint16_t cols, uint16_t rows)
{
	struct msg_size size = {.cols = cols, .rows = rows};
	struct error e = {.code = E_NONE};

	terminal_resize(w->v.session, &w->v, &size, &e);
	return e.code;
}

/* ---- the end ---- */

/* What a program writes and then exits comes whole, though the kernel hands it over by a thread. */
static void test_all_output_before_the_end(void **state)
{
	static const char *const scripts[] = {
		"exec head -c 65536 /dev/zero", "exec printf %s the-last-words",
		"head -c 20000 /dev/zero; exit 3",
		"(sleep 5)& exec head -c 65536 /dev/zero", /* the terminal stays open */
	};
	static const uint64_t sizes[] = {65536, 14, 20000, 65536};
	struct srig r;
	struct session *s[8];

	(void)state;
	srig_up(&r, "none");
	for (size_t i = 0; i < array_size(scripts); i++) {
		for (int round = 0; round < 40; round++) {
			for (size_t k = 0; k < array_size(s); k++)
				s[k] = srig_start(&r, NULL, tty(scripts[i]));
			UNTIL(&r, sessions_live(&r.all) == 0);
			for (size_t k = 0; k < array_size(s); k++) {
				assert_int_equal(s[k]->rec->end.out, sizes[i]);
				session_kill(s[k], CAUSE_CLIENT, TARGET_TREE, SIGKILL, false, 0);
				session_remove(s[k], E_REMOVED);
			}
		}
	}
	srig_down(&r);
}

/* A lossless viewer that has stopped holds the end back, not the bytes; then all of them come. */
static void test_end_waits_for_lossless(void **state)
{
	struct msg_start *start = tty("head -c 1000000 /dev/zero; kill -9 $$");
	struct watcher slow, live;
	struct session *s;
	struct srig r;

	(void)state;
	srig_up(&r, "none");
	start->ring = 64 * KIB;
	start->has_ring = true;
	s = srig_start(&r, "a", start);
	watch_session(&slow, s, ATTACH(.policy = POLICY_LOSSLESS));
	watch_session(&live, s, ATTACH(.policy = POLICY_LIVE));
	slow.asleep = true;
	UNTIL(&r, s->paused);
	FOR_MS(&r, 30);
	assert_false(session_ended(s));
	watcher_wake(&slow, UINT64_MAX);
	UNTIL(&r, slow.closed && live.closed);
	assert_string_equal(watcher_log(&slow), "live; end signaled out=1000000 err=0; close");
	assert_int_equal(buf_len(&slow.got[1]), 1000000);
	watcher_fini(&slow);
	watcher_fini(&live);
	srig_down(&r);
}

/* The leader exits while reading is paused and nothing more is in the terminal. */
static void test_paused_at_the_end(void **state)
{
	struct msg_start *start;
	struct watcher slow;
	struct session *s;
	struct srig r;

	(void)state;
	srig_up(&r, "none");
	start = tty("read x");
	start->ring = 0;
	start->has_ring = true;
	s = srig_start(&r, "a", start);
	watch_session(&slow, s, ATTACH(.policy = POLICY_LOSSLESS));
	slow.asleep = true;
	for (unsigned i = 0; i < 2; i++) { /* first so, then paused by hand as a pin would */
		s->paused = true;
		process_read(&s->process, STORE_OUT, false);
	}
	session_kill(s, CAUSE_CLIENT, TARGET_TREE, SIGKILL, false, 0);
	UNTIL(&r, s->rec->exited);
	FOR_MS(&r, 20);
	assert_false(session_ended(s));
	session_unpin(s);
	UNTIL(&r, session_ended(s));
	watcher_fini(&slow);
	srig_down(&r);
}

/* Nobody attached: a terminal is drained all the same. */
static void test_drained_when_detached(void **state)
{
	struct session *s;
	struct srig r;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a", tty("head -c 3000000 /dev/zero; exit 4"));
	UNTIL(&r, session_ended(s));
	assert_string_equal(srig_state(s), "exited 4");
	assert_int_equal(s->rec->end.out, 3000000);
	srig_down(&r);
}

/* A program may close its terminal and open it again; only its exit ends the session. */
static void test_closed_and_opened_again(void **state)
{
	struct watcher w;
	struct session *s;
	struct srig r;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a",
		tty("exec </dev/null >/dev/null 2>&1; sleep 0.1; exec >/dev/tty; echo back"));
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS));
	UNTIL(&r, w.closed);
	assert_true(watcher_has(&w, 1, "back\r\n"));
	watcher_fini(&w);
	srig_down(&r);
}

/* Children that keep the terminal: the end is reported after the silence, their output after it. */
static void test_children_keep_it(void **state)
{
	struct watcher w;
	struct session *s;
	struct srig r;
	pid_t pid;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a", tty("trap '' HUP; (sleep 0.5; echo late) & echo done"));
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS));
	UNTIL(&r, w.closed);
	assert_string_equal(watcher_log(&w), "live; end exited out=6 err=0; close");
	assert_true(watcher_has(&w, 1, "done\r\nlate\r\n"));
	watcher_fini(&w);
	/* Removing hangs them up. */
	s = srig_start(&r, "b", tty("trap '' HUP; (while echo x; do sleep 0.01; done)& exit 0"));
	UNTIL(&r, session_ended(s));
	assert_false(session_silent(s));
	pid = s->rec->pid;
	session_remove(s, E_REMOVED);
	assert_int_equal(r.all.n_hidden, 0);
	UNTIL(&r, kill(-pid, 0) < 0); /* its write failed */
	srig_down(&r);
}

/* TERM would not end a shell: a terminal is hung up. */
static void test_hang_up(void **state)
{
	struct msg_start *start;
	struct session *s;
	struct srig r;

	(void)state;
	srig_up(&r, "none");
	start = tty("sleep 60");
	start->timeout_ms = 30;
	s = srig_start(&r, "a", start);
	UNTIL(&r, session_ended(s));
	assert_string_equal(srig_state(s), "timed_out 1");
	start = tty("trap '' HUP TERM; sleep 60");
	start->disconnect_ms = 30;
	start->kill_grace_ms = 50;
	s = srig_start(&r, "b", start);
	UNTIL(&r, session_ended(s));
	assert_string_equal(srig_state(s), "killed 9 by 2");
	srig_down(&r);
}

/* ---- the device ---- */

static void test_device(void **state)
{
	struct msg_size size = {.cols = 132, .rows = 50, .xpixel = 1320, .ypixel = 1000}, got;
	struct stat st;
	int master, slave;

	(void)state;
	assert_int_equal(pty_open(&size, getuid(), &master, &slave), 0);
	assert_true(fcntl(master, F_GETFD) & FD_CLOEXEC && fcntl(slave, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(pty_get_size(slave, &got), 0);
	assert_memory_equal(&got, &size, sizeof(size));
	assert_int_equal(fstat(slave, &st), 0);
	assert_int_equal(st.st_uid, getuid());
	assert_int_equal(st.st_mode & 07077, 0020);
	if (getuid() == 0) { /* somebody else's */
		close(master);
		close(slave);
		assert_int_equal(pty_open(&size, 12345, &master, &slave), 0);
		assert_int_equal(fstat(slave, &st), 0);
		assert_int_equal(st.st_uid, 12345);
	}
	close(master);
	close(slave);
	assert_true(pty_get_size(-1, &got) < 0 && pty_set_size(-1, &got) < 0);
}

/* What the program finds: a terminal of its own, sane, and nothing that freezes its size. */
static void test_what_it_finds(void **state)
{
	struct watcher w;
	struct session *s;
	struct srig r;
	const char *script =
		"stty size; stty -a | grep -o ' *-*iutf8'; echo \"$TERM<$COLUMNS$LINES>\";"
		"test -t 0 && test -t 1 && test -t 2 && echo three;"
		"exec 3</dev/tty && echo controlling; ls /proc/self/fd | wc -w";

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a", tty(script));
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS));
	UNTIL(&r, w.closed);
	/* 0 to 3 and the one that ls reads the directory by */
	assert_true(
		watcher_has(&w, 1, "24 80\r\n iutf8\r\nvt100<>\r\nthree\r\ncontrolling\r\n5\r\n"));
	watcher_fini(&w);
	srig_down(&r);
}

static void check_shell(struct srig *r, const char *shell, bool login, const char *expect)
{
	struct msg_start *start = tty("");
	struct watcher w;
	struct session *s;

	start->argv = NULL;
	start->argc = 0;
	start->pty.shell = shell;
	start->pty.login = login;
	s = srig_start(r, NULL, start);
	watch_session(&w, s, ATTACH(.policy = POLICY_LOSSLESS, .input = true));
	type(&w, "echo \"<$0>\"; exit 5\n");
	UNTIL(r, w.closed);
	assert_string_equal(srig_state(s), "exited 5");
	assert_true(has(&w, expect));
	assert_string_equal(s->rec->text, shell ? shell : "/bin/bash");
	watcher_fini(&w);
}

static void test_shells(void **state)
{
	struct msg_start *start = tty("");
	struct session *s;
	struct srig r;

	(void)state;
	srig_up(&r, "none");
	check_shell(&r, NULL, false, "</bin/bash>");
	check_shell(&r, "/bin/sh", false, "</bin/sh>");
	check_shell(&r, "/bin/sh", true, "<-sh>");
	start->argc = 0;
	start->pty.shell = "/no/such/shell";
	s = srig_start(&r, NULL, start);
	assert_string_equal(srig_state(s), "start_failed 2 exec");
	assert_true(session_silent(s) && s->rec->fd[0] < 0);
	srig_down(&r);
}

/* ---- size and owner ---- */

#define OWNER(is)  "{\"event\":\"owner\",\"owner\":" is "}"
#define SIZE(c, r) "{\"event\":\"size\",\"cols\":" c ",\"rows\":" r ",\"xpixel\":0,\"ypixel\":0}"

static void test_owner(void **state)
{
	struct watcher a, b, c, d;
	struct session *s;
	struct srig r;
	struct error e;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a", tty("sleep 60"));
	watch_session(&a, s, ATTACH(.policy = POLICY_LIVE)); /* types nothing: no owner */
	assert_null(s->owner);
	assert_int_equal(resize(&a, 1, 1), E_NOT_OWNER);
	watch_session(&b, s,
		ATTACH(.policy = POLICY_LIVE, .input = true, .has_size = true,
			.size = {90, 30, 0, 0}));
	assert_ptr_equal(s->owner, &b.v);
	assert_int_equal(size_of(s).cols, 90);
	watch_session(&c, s,
		ATTACH(.policy = POLICY_LIVE, .input = true, .has_size = true,
			.size = {50, 50, 0, 0}));
	assert_ptr_equal(s->owner, &b.v);
	assert_int_equal(size_of(s).cols, 90);
	assert_int_equal(resize(&c, 50, 50), E_NOT_OWNER);
	srig_turn(&r);
	assert_int_equal(resize(&b, 91, 31), E_NONE);
	srig_turn(&r);
	assert_int_equal(resize(&b, 91, 31), E_NONE); /* no change: nobody is told */
	watch_session(&d, s,
		ATTACH(.policy = POLICY_LIVE, .input = true, .own = OWN_TAKE, .has_size = true,
			.size = {60, 20, 0, 0}));
	assert_ptr_equal(s->owner, &d.v);
	srig_turn(&r);
	assert_int_equal(terminal_own(s, &a.v, &e), 0);
	srig_turn(&r);
	assert_ptr_equal(s->owner, &a.v);
	watcher_gone(&a, false); /* the longest attached that types */
	assert_ptr_equal(s->owner, &b.v);
	srig_turn(&r);
	watcher_gone(&b, true); /* no name, no place */
	assert_ptr_equal(s->owner, &c.v);
	srig_turn(&r);
	assert_string_equal(
		watcher_log(&a), "live; " SIZE("90", "30") "; " SIZE("91", "31") "; " SIZE(
					 "60", "20") "; " OWNER("true"));
	assert_string_equal(
		watcher_log(&b), "live; " SIZE("91", "31") "; " OWNER("false") "; " SIZE(
					 "60", "20") "; " OWNER("true"));
	assert_string_equal(watcher_log(&c),
		"live; " SIZE("91", "31") "; " SIZE("60", "20") "; " OWNER("true"));
	assert_string_equal(watcher_log(&d), "live; " OWNER("false"));
	watcher_fini(&a);
	watcher_fini(&b);
	watcher_fini(&c);
	watcher_fini(&d);
	srig_down(&r);
}

static struct msg_attach named(const char *name, enum msg_own own)
{
	return ATTACH(.viewer = name, .hold_ms = 100, .policy = POLICY_LOSSLESS, .input = true,
		.own = own);
}

/* While its place is held the ownership waits; then it goes to who is there. */
static void test_owner_is_awaited(void **state)
{
	struct watcher a, a2, b;
	struct session *s;
	struct srig r;
	struct error e;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a", tty("sleep 60"));
	watch_session(&a, s, named("A", OWN_IF_FREE));
	watch_session(&b, s, named("B", OWN_IF_FREE));
	watcher_gone(&a, true);
	assert_null(s->owner);
	watcher_fini(&a);
	watch_session(&a, s, named("A", OWN_IF_FREE));
	assert_ptr_equal(s->owner, &a.v);
	/* Taken over by its own name. */
	watch_session(&a2, s, named("A", OWN_IF_FREE));
	assert_ptr_equal(s->owner, &a2.v);
	assert_int_equal(a.kicked, E_TAKEN_OVER);
	watcher_gone(&a2, true);
	UNTIL(&r, s->owner == &b.v && !b.v.owner_news);
	assert_true(strstr(watcher_log(&b), OWNER("true")));
	/* Taken by somebody while it is away: it does not come back as the owner. */
	watcher_fini(&a);
	watch_session(&a, s, named("A", OWN_TAKE));
	watcher_gone(&a, true);
	assert_null(s->owner);
	assert_int_equal(terminal_own(s, &b.v, &e), 0);
	watcher_fini(&a);
	watch_session(&a, s, named("A", OWN_IF_FREE));
	assert_ptr_equal(s->owner, &b.v);
	/* Who comes back and does not want to be the owner leaves it to another. */
	watcher_gone(&b, true);
	watcher_fini(&b);
	watch_session(&b, s, named("B", OWN_NEVER));
	assert_ptr_equal(s->owner, &a.v);
	watcher_fini(&a);
	assert_null(s->owner);
	watcher_fini(&a2);
	watcher_fini(&b);
	srig_down(&r);
}

static const char winch[] = "trap 'stty size' WINCH; echo go; while :; do sleep 0.01; done";

/* A program that looks at its size is told twice, and viewers never. */
static void test_repaint(void **state)
{
	struct watcher a, b;
	struct session *s;
	struct srig r;
	struct error e;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a", tty(winch));
	watch_session(&a, s, ATTACH(.policy = POLICY_LIVE, .input = true));
	assert_int_equal(s->rec->repaint_at, 0); /* it has only begun */
	UNTIL(&r, has(&a, "go"));
	assert_int_equal(terminal_repaint(s, &e), 0);
	assert_int_equal(size_of(s).rows, 24);
	UNTIL(&r, has(&a, "go\r\n23 80\r\n24 80\r\n"));
	watch_session(&b, s,
		ATTACH(.policy = POLICY_LIVE, .own = OWN_TAKE, .has_size = true,
			.size = {80, 24, 0, 0}));
	UNTIL(&r, has(&a, "24 80\r\n23 80\r\n24 80\r\n"));
	/* A size that comes in between is the one that stays. */
	assert_int_equal(terminal_repaint(s, &e), 0);
	assert_int_equal(resize(&b, 80, 10), E_NONE);
	FOR_MS(&r, 80);
	assert_int_equal(size_of(s).rows, 10);
	assert_string_equal(watcher_log(&a), "live; " OWNER("false") "; " SIZE("80", "10"));
	watcher_fini(&a);
	watcher_fini(&b);
	srig_down(&r);
}

/* Requests where there is no terminal, or none any more. */
static void test_no_terminal(void **state)
{
	struct watcher w;
	struct session *s;
	struct srig r;
	struct error e;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a", srig_sh("sleep 60"));
	watch_session(&w, s,
		ATTACH(.policy = POLICY_LIVE, .own = OWN_TAKE, .has_size = true,
			.size = {1, 1, 0, 0}));
	assert_null(s->owner);
	assert_true(resize(&w, 2, 2) == E_FAILED && terminal_own(s, &w.v, &e) == -ENOTTY &&
		    terminal_repaint(s, &e) == -ENOTTY);
	watcher_fini(&w);
	s = srig_start(&r, "b", tty("exit 0"));
	watch_session(&w, s, ATTACH(.policy = POLICY_LIVE, .input = true));
	assert_int_equal(resize(&w, 77, 33), E_NONE);
	UNTIL(&r, w.closed);
	assert_int_equal(terminal_repaint(s, &e), -EIO);
	assert_int_equal(size_of(s).cols, 77); /* as it was last */
	watcher_fini(&w);
	srig_down(&r);
}

/* ---- the next agent ---- */

static void test_takeover(void **state)
{
	struct watcher w;
	struct session *s;
	struct srig r;
	struct error e;

	(void)state;
	srig_up(&r, "none");
	s = srig_start(&r, "a", tty("stty -echo; echo go; while read x; do echo \"<$x>\"; done"));
	watch_session(&w, s, named("me", OWN_IF_FREE));
	UNTIL(&r, has(&w, "go"));
	assert_int_equal(resize(&w, 99, 44), E_NONE);
	assert_int_equal(terminal_repaint(s, &e), 0);
	viewer_consumed(&w.v, buf_len(&w.got[1]));
	watcher_gone(&w, true);
	watcher_fini(&w);
	assert_int_equal(srig_take_over(&r, NULL), 1);
	s = sessions_find(&r.all, "a");
	assert_true(s->rec->pty && s->rec->repaint_at);
	assert_int_equal(size_of(s).rows, 44);
	UNTIL(&r, s->rec->repaint_at == 0);
	assert_int_equal(size_of(s).rows, 44);
	assert_null(s->owner);
	watch_session(&w, s, ATTACH(.viewer = "other", .input = true)); /* the owner is awaited */
	assert_null(s->owner);
	watcher_fini(&w);
	watch_session(&w, s, named("me", OWN_IF_FREE));
	assert_ptr_equal(s->owner, &w.v);
	type(&w, "one\n");
	UNTIL(&r, has(&w, "<one>\r\n"));
	type(&w, "\x04"); /* its EOF; ours would mean nothing */
	UNTIL(&r, w.closed);
	assert_string_equal(srig_state(s), "exited 0");
	watcher_fini(&w);
	srig_down(&r);
}

/* The leader ends between two agents, and what it wrote last is still in the terminal. */
static void test_takeover_at_the_end(void **state)
{
	struct session *s;
	struct srig r;

	(void)state;
	for (int i = 0; i < 20; i++) {
		srig_up(&r, "none");
		srig_start(&r, "a", tty("head -c 9000 /dev/zero"));
		usleep((useconds_t)i * 500);
		assert_int_equal(srig_take_over(&r, NULL), 1);
		s = sessions_find(&r.all, "a");
		UNTIL(&r, session_ended(s));
		assert_string_equal(srig_state(s), "exited 0");
		assert_int_equal(s->rec->end.out, 9000);
		srig_down(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_output_before_the_end),
		cmocka_unit_test(test_end_waits_for_lossless),
		cmocka_unit_test(test_paused_at_the_end),
		cmocka_unit_test(test_drained_when_detached),
		cmocka_unit_test(test_closed_and_opened_again),
		cmocka_unit_test(test_children_keep_it),
		cmocka_unit_test(test_hang_up),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_what_it_finds),
		cmocka_unit_test(test_shells),
		cmocka_unit_test(test_owner),
		cmocka_unit_test(test_owner_is_awaited),
		cmocka_unit_test(test_repaint),
		cmocka_unit_test(test_no_terminal),
		cmocka_unit_test(test_takeover),
		cmocka_unit_test(test_takeover_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
