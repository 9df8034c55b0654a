/*
 * test_session_takeover.c - what the next agent makes of the sessions of the one before: the same
 * processes, descriptors and memory, all else new. Streams go on at their byte, input that was
 * accepted arrives, times go on running; what nobody can know any more is said. (Another process
 * and a real exec are the business of tests/e2e/test_upgrade.py.)
 */
#include "tests/unit/session_rig.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static struct session *found(struct srig *r, const char *id)
{
	struct session *s = sessions_find(&r->all, id);

	assert_non_null(s);
	return s;
}

static struct msg_attach named(uint64_t since, bool input)
{
	return ATTACH(.viewer = "me", .since_out = since, .hold_ms = 60000,
		.policy = POLICY_LOSSLESS, .input = input);
}

/* Numbers without end; a named viewer follows them through many agents. */
static void test_stream(void **state)
{
	struct srig r;
	struct watcher w;
	struct buf all = BUF_NULL(GIB);
	unsigned at = 0, epoch;
	char line[16];

	(void)state;
	for (int cgroups = 0; cgroups < 2; cgroups++) {
		srig_up(&r, cgroups ? "auto" : "none");
		srig_start(&r, "a", srig_sh("seq 1 200000; sleep 60"));
		for (int i = 0; i < 12; i++) {
			uint64_t target = buf_len(&all) + 100000;

			watch_session(&w, found(&r, "a"), named(buf_len(&all), false));
			UNTIL(&r, w.next[1] >= min_of(target, 1288895ULL));
			assert_string_equal(watcher_log(&w), "live");
			assert_int_equal(
				buf_append(&all, buf_head(&w.got[1]), buf_len(&w.got[1])), 0);
			viewer_consumed(&w.v, buf_len(&w.got[1]));
			watcher_gone(&w, true);
			watcher_fini(&w);
			epoch = r.all.arena.head->epoch;
			assert_int_equal(srig_take_over(&r, NULL), 1);
			assert_int_equal(r.all.arena.head->epoch, epoch + 1);
		}
		at = 0;
		for (unsigned i = 1; at < buf_len(&all); i++) {
			unsigned n = (unsigned)snprintf(line, sizeof(line), "%u\n", i);

			n = min_of(n, (unsigned)(buf_len(&all) - at));
			assert_memory_equal(buf_head(&all) + at, line, n);
			at += n;
		}
		assert_true(at > 1000000);
		srig_down(&r);
		buf_fini(&all);
	}
}

/* Accepted is safe: it comes to the child once and in order, whoever writes it. */
static void test_stdin(void **state)
{
	struct msg_start *start = srig_sh("while read x; do echo $x; sleep 0.01; done; echo end");
	struct srig r;
	struct watcher w;
	char text[20000];
	size_t len = 0, sent = 0;
	uint64_t out = 0;

	(void)state;
	for (unsigned i = 0; len < 300; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%u\n", i);
	srig_up(&r, "none");
	start->with_stdin = true;
	srig_start(&r, "a", start);
	for (unsigned i = 0; sent < len; i++) {
		size_t n = min_of(len - sent, (size_t)40);

		watch_session(&w, found(&r, "a"), named(out, true));
		assert_int_equal(viewer_input_offset(&w.v), sent);
		assert_int_equal(
			viewer_input(&w.v, sent, (uint8_t *)text + sent, n, sent + n == len), 0);
		sent += n;
		if (i % 2)
			FOR_MS(&r, 20);
		out = w.next[1];
		assert_true(buf_len(&w.got[1]) == 0 ||
			    memcmp(buf_head(&w.got[1]), text + out - buf_len(&w.got[1]),
				    buf_len(&w.got[1])) == 0);
		viewer_consumed(&w.v, buf_len(&w.got[1]));
		watcher_gone(&w, true);
		watcher_fini(&w);
		srig_take_over(&r, NULL);
	}
	watch_session(&w, found(&r, "a"), named(out, true));
	UNTIL(&r, w.closed);
	assert_int_equal(w.next[1], len + 4);
	watcher_fini(&w);
	srig_down(&r);
}

/* A hundred in every state there is. */
static void test_many(void **state)
{
	static const struct {
		const char *script, *end;
	} cases[] = {
		{"exit 4", "exited 4"},
		{"sleep 60", "running"},
		{"sleep 0.2; exit 5", "exited 5"}, /* while nobody looks, or later */
		{"kill -9 $$", "signaled 9"},
		{"sleep 60 & exit 6", "exited 6"},
	};
	struct srig r;
	char id[16];

	(void)state;
	srig_up(&r, "auto");
	for (unsigned i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "s%u", i);
		srig_start(&r, id, srig_sh(cases[i % array_size(cases)].script));
	}
	FOR_MS(&r, 100);
	for (unsigned k = 0; k < 3; k++) {
		assert_int_equal(srig_take_over(&r, NULL), 100);
		assert_int_equal(r.all.n, 100);
		FOR_MS(&r, 30);
	}
	UNTIL(&r, sessions_live(&r.all) == 20);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "s%u", i);
		assert_string_equal(srig_state(found(&r, id)), cases[i % array_size(cases)].end);
	}
	srig_down(&r);
}

/* Times stand in the record: they come as if nothing had been. */
static void test_times(void **state)
{
	struct srig r;
	struct msg_start *start = srig_sh("trap '' TERM; while :; do sleep 0.02; done");
	struct session *s;
	uint64_t began;

	(void)state;
	srig_up(&r, "auto");
	start->timeout_ms = 100;
	start->kill_grace_ms = 150;
	srig_start(&r, "timeout", start);
	start = srig_sh("sleep 60");
	start->disconnect_ms = 100;
	srig_start(&r, "disconnect", start);
	start = srig_sh("exit 0");
	start->has_retain = true;
	start->retain_ms = 300;
	srig_start(&r, "retain", start);
	began = now_ms();
	srig_take_over(&r, NULL);
	FOR_MS(&r, 130); /* TERM was sent, KILL is still to come */
	srig_take_over(&r, NULL);
	UNTIL(&r, session_ended(found(&r, "timeout")));
	assert_string_equal(srig_state(found(&r, "timeout")), "timed_out 9");
	s = found(&r, "timeout");
	assert_true(s->rec->end.wall_ms >= 245 && s->rec->end.wall_ms < 2000);
	assert_string_equal(srig_state(found(&r, "disconnect")), "killed 15 by 2");
	UNTIL(&r, !sessions_find(&r.all, "retain"));
	assert_true(now_ms() - began < 4000);
	srig_down(&r);
}

/* One that left no word behind when the agent went is held, even if it never said it would come
 * back: its link broke with the agent. A held one stays held. */
static void test_places(void **state)
{
	struct srig r;
	struct session *s;
	struct watcher w;
	struct msg_start *start = srig_sh("head -c 3000000 /dev/zero");

	(void)state;
	srig_up(&r, "none");
	start->has_ring = true;
	start->ring = 65536;
	start->disconnect_ms = 60000;
	srig_start(&r, "a", start);
	watch_session(&w, found(&r, "a"), named(0, false));
	UNTIL(&r, found(&r, "a")->paused);
	viewer_consumed(&w.v, 1000);
	/* The agent dies with the viewer attached: the copy is made before it is closed. */
	srig_take_over(&r, NULL);
	assert_int_equal(w.kicked, E_REMOVED);
	watcher_fini(&w);
	s = found(&r, "a");
	assert_int_equal(place_held(s->rec), 1);
	assert_true(s->rec->disconnect_at > 0); /* nobody is there any more */
	FOR_MS(&r, 30);
	assert_false(session_ended(s));
	srig_take_over(&r, NULL);
	s = found(&r, "a");
	watch_session(&w, s, named(1000, false));
	assert_int_equal(s->rec->disconnect_at, 0);
	for (uint64_t have = 0; !w.closed; have = buf_len(&w.got[1])) {
		viewer_consumed(&w.v, have);
		srig_turn(&r);
	}
	assert_string_equal(watcher_log(&w), "live; end exited out=3000000 err=0; close");
	assert_int_equal(buf_len(&w.got[1]), 3000000 - 1000);
	watcher_fini(&w);
	srig_down(&r);
}

/* ---- what is lost ---- */

static void lose_pidfd(struct record *rec)
{
	close_fd(&rec->pidfd);
	rec->pidfd = 999; /* what number it had says nothing */
}

static void reap(struct record *rec)
{
	int status;

	kill(rec->pid, SIGKILL);
	assert_int_equal(waitpid(rec->pid, &status, 0), rec->pid);
}

static void lose_pipes(struct record *rec)
{
	close_fd(&rec->fd[1]);
	close_fd(&rec->fd[2]);
	rec->fd[1] = 999;
	rec->fd[2] = 998;
}

static void die_writing(struct record *rec)
{
	rec->in.writing = 1000;
}

/* Killed between write(2) and its bookkeeping: what may have been given is not given again, and
 * told of. */
static void test_stdin_in_doubt(void **state)
{
	static const uint8_t text[100000];
	struct msg_start *start = srig_sh("sleep 60");
	struct srig r;
	struct watcher w;
	struct msg_entry entry;
	uint64_t written;

	(void)state;
	srig_up(&r, "none");
	start->with_stdin = true;
	srig_start(&r, "a", start);
	watch_session(&w, found(&r, "a"), named(0, true));
	assert_int_equal(viewer_input(&w.v, 0, text, sizeof(text), false), 0);
	written = found(&r, "a")->rec->in.written;
	assert_true(written < sizeof(text) - 1000); /* nobody reads: the pipe is full */
	watcher_gone(&w, true);
	watcher_fini(&w);
	srig_take_over(&r, die_writing);
	session_entry_msg(found(&r, "a"), &entry);
	assert_int_equal(entry.stdin_in_doubt, 1000);
	assert_int_equal(entry.stdin_written, written + 1000);
	assert_int_equal(entry.stdin_accepted, sizeof(text));
	srig_down(&r);
}

/* Nobody can say how it ended; that is what is said. Its output still comes. */
static void test_agent_lost(void **state)
{
	void (*const losses[])(struct record *) = {lose_pidfd, reap};
	struct srig r;
	struct watcher w;
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < array_size(losses); i++) {
		srig_up(&r, "none");
		srig_start(&r, "a", srig_sh("echo before; sleep 0.1; echo after"));
		UNTIL(&r, store_head(&found(&r, "a")->store) == 7);
		pid = found(&r, "a")->rec->pid;
		srig_take_over(&r, losses[i]);
		UNTIL(&r, session_ended(found(&r, "a")));
		assert_string_equal(srig_state(found(&r, "a")), "agent_lost");
		watch_session(&w, found(&r, "a"), ATTACH(.input = false));
		UNTIL(&r, w.closed);
		assert_true(watcher_has(&w, STORE_OUT, i == 0 ? "before\nafter\n" : "before\n"));
		if (i == 0)
			assert_int_equal(waitpid(pid, NULL, 0), pid);
		watcher_fini(&w);
		srig_down(&r);
	}
}

static void test_pipes_lost(void **state)
{
	struct srig r;

	(void)state;
	srig_up(&r, "none");
	srig_start(&r, "a", srig_sh("trap '' PIPE; sleep 0.1; exit 3"));
	srig_take_over(&r, lose_pipes);
	assert_true(session_silent(found(&r, "a")) && !session_ended(found(&r, "a")));
	UNTIL(&r, session_ended(found(&r, "a")));
	assert_string_equal(srig_state(found(&r, "a")), "exited 3");
	srig_down(&r);
}

/* The mark of a read that was under way when the agent died. */
static void in_the_middle(struct record *rec)
{
	rec->store.reading = STORE_OUT;
}

static void test_gap(void **state)
{
	struct srig r;
	struct watcher w;

	(void)state;
	srig_up(&r, "none");
	srig_start(&r, "a", srig_sh("echo one; sleep 0.1; echo two"));
	UNTIL(&r, store_head(&found(&r, "a")->store) == 4);
	srig_take_over(&r, in_the_middle);
	watch_session(&w, found(&r, "a"), ATTACH(.input = false));
	UNTIL(&r, w.closed);
	assert_string_equal(watcher_log(&w), "live; gap 1@4+0; end exited out=8 err=0; close");
	assert_true(watcher_has(&w, STORE_OUT, "one\ntwo\n"));
	watcher_fini(&w);
	srig_down(&r);
}

/* ---- what cannot be taken over, and what went on ---- */

static unsigned broken_at;

static void spoil(struct record *rec)
{
	static unsigned n;

	switch (n++ % 8) {
	case 0: rec->magic++; break;
	case 1: rec->size = 1 << 30; break;
	case 2: rec->id[0] = '/'; break;
	case 3: memset(rec->cgroup, 'x', sizeof(rec->cgroup)); break;
	case 4: rec->cmd_len = UINT32_MAX; break;
	case 5: rec->store.extent = 1; break;
	case 6: rec->end.state = END_LAST; break;
	default: return; /* one is well */
	}
	for (int i = 0; i < 3; i++)
		close_fd(&rec->fd[i]);
	close_fd(&rec->pidfd);
	kill(rec->pid, SIGKILL);
	waitpid(rec->pid, NULL, 0);
	broken_at++;
}

static void test_broken_records(void **state)
{
	struct srig r;

	(void)state;
	srig_up(&r, "none");
	broken_at = 0;
	for (int i = 0; i < 16; i++)
		srig_start(&r, NULL, srig_sh("sleep 60"));
	assert_int_equal(srig_take_over(&r, spoil), 2);
	assert_true(broken_at == 14 && r.all.n == 2);
	for (int i = 0; i < 190; i++) { /* their slots and memory are free */
		struct msg_start *start = srig_sh("");

		start->cwd = "/no/such/directory";
		srig_start(&r, NULL, start);
	}
	srig_down(&r);
}

/* Bug: taking over, sessions ended; for each an older one was forgotten, and when that was the next
 * in line the agent went round in circles. */
static void test_forgets_while_taking_over(void **state)
{
	struct srig r;
	char id[16];

	(void)state;
	srig_up(&r, "none");
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "s%d", i);
		/* In line: one that will have been lost, then one that ended before. */
		srig_start(&r, id,
			srig_sh(i % 4 == 1   ? "exit 0"
				: i % 4 == 3 ? "sleep 0.3 & exit 0"
					     : "sleep 60"));
	}
	UNTIL(&r, sessions_live(&r.all) == 10);
	r.config.retain_max = 4;
	list_for_each (s, &r.all.by_age, struct session, by_age) {
		if (!session_ended(s)) { /* gone and reaped, and this agent has not heard of it */
			kill(-s->rec->pid, SIGKILL);
			waitpid(s->rec->pid, NULL, 0);
			close_fd(&s->rec->pidfd);
			s->process.exit.fd = -1;
		}
	}
	assert_int_equal(srig_take_over(&r, NULL), 20);
	assert_int_equal(sessions_live(&r.all), 0);
	assert_int_equal(r.all.n_ended, 4);
	UNTIL(&r, r.all.n_hidden == 0);
	srig_down(&r);
}

/* Removed ones that still drain are taken along, without a name. */
static void test_hidden(void **state)
{
	struct srig r;
	struct session *s;

	(void)state;
	srig_up(&r, "auto");
	s = srig_start(
		&r, "a", srig_sh("(sleep 0.3; head -c 200000 /dev/zero; sleep 0.1) & exit 0"));
	UNTIL(&r, session_ended(s));
	session_remove(s, E_REMOVED);
	assert_int_equal(srig_take_over(&r, NULL), 1);
	assert_true(r.all.n == 0 && r.all.n_hidden == 1 && !sessions_find(&r.all, "a"));
	assert_int_equal(srig_take_over(&r, NULL), 1);
	srig_start(&r, "a", srig_sh("exit 0"));
	UNTIL(&r, r.all.n_hidden == 0);
	assert_int_equal(srig_take_over(&r, NULL), 1);
	srig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_stdin),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_stdin_in_doubt),
		cmocka_unit_test(test_agent_lost),
		cmocka_unit_test(test_pipes_lost),
		cmocka_unit_test(test_gap),
		cmocka_unit_test(test_broken_records),
		cmocka_unit_test(test_forgets_while_taking_over),
		cmocka_unit_test(test_hidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
