/*
 * test_process.c - the descriptors of one child and what becomes of them: output, its end, a reader
 * of stdin that goes away, an exit that somebody else has reaped; reading off and on; and callbacks
 * that close everything, their own process or another's, in the middle of a batch of events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agentd/process.h"
#include "tests/unit/spawn_run.h"

struct bench;

struct child {
	struct process process;
	struct record rec;
	struct bench *bench;
	char out[3][64];
	unsigned reads, writables, gone, exits;
	bool ended[3];
	struct child *closes; /* in its callbacks */
};

struct bench {
	uv_loop_t loop;
	uv_timer_t tick;
	struct poller poller;
	int fds;
};

static void on_tick(uv_timer_t *t)
{
	(void)t;
}

static void bench_up(struct bench *b)
{
	spawn_reserve();
	*b = (struct bench){.fds = count_fds()};
	assert_int_equal(uv_loop_init(&b->loop), 0);
	uv_timer_init(&b->loop, &b->tick);
	uv_timer_start(&b->tick, on_tick, 5, 5);
	assert_int_equal(poller_init(&b->poller, &b->loop), 0);
}

static void bench_down(struct bench *b)
{
	uv_close((uv_handle_t *)&b->tick, NULL);
	poller_close(&b->poller);
	poller_close(&b->poller);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&b->loop), 0);
	assert_int_equal(count_fds(), b->fds);
	no_children();
}

#define UNTIL(b, condition)                                                                        \
	do {                                                                                       \
		uint64_t until_ = now_ms() + 5000;                                                 \
		while (!(condition)) {                                                             \
			assert_true(now_ms() < until_);                                            \
			uv_run(&(b)->loop, UV_RUN_ONCE);                                           \
		}                                                                                  \
	} while (0)

static void turns(struct bench *b, unsigned ms)
{
	for (uint64_t end = now_ms() + ms; now_ms() < end;)
		uv_run(&b->loop, UV_RUN_ONCE);
}

/* ---- callbacks ---- */

static struct child *of(struct process *p)
{
	assert_non_null(p->rec); /* nothing comes after process_close() */
	return container_of(p, struct child, process);
}

static void on_readable(struct process *p, int stream)
{
	struct child *c = of(p);
	size_t have = strlen(c->out[stream]);
	ssize_t n = read(c->rec.fd[stream], c->out[stream] + have, sizeof(c->out[0]) - 1 - have);

	assert_false(c->ended[stream]);
	c->reads++;
	if (n == 0) {
		c->ended[stream] = true;
		process_close_fd(p, stream);
	}
	if (c->closes)
		process_close(&c->closes->process);
}

static void on_writable(struct process *p)
{
	of(p)->writables++;
}

static void on_stdin_gone(struct process *p)
{
	of(p)->gone++;
	process_close_fd(p, 0);
}

static void on_exit_of(struct process *p)
{
	struct child *c = of(p);

	c->exits++;
	if (c->closes)
		process_close(&c->closes->process);
}

static const struct process_events events = {.on_readable = on_readable,
	.on_writable = on_writable,
	.on_stdin_gone = on_stdin_gone,
	.on_exit = on_exit_of};

/* A shell with three pipes. */
static void start_held(struct bench *b, struct child *c, const char *script, bool hold)
{
	struct spawn_request req = SH(script);
	struct spawn_result res;
	int pipes[3][2];

	*c = (struct child){.bench = b};
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
		req.fd[i] = pipes[i][i != 0];
		c->rec.fd[i] = pipes[i][i == 0];
	}
	assert_int_equal(spawn(&req, &res), 0);
	c->rec.pid = res.pid;
	c->rec.pidfd = res.pidfd;
	process_prepare(&c->process, &b->poller, &c->rec);
	if (hold)
		process_hold(&c->process, (int[2]){pipes[1][1], pipes[2][1]});
	for (int i = 0; i < (hold ? 1 : 3); i++)
		close(pipes[i][i != 0]);
	assert_int_equal(process_watch(&c->process, &events), 0);
}

static void start(struct bench *b, struct child *c, const char *script)
{
	start_held(b, c, script, false);
}

static void reap(struct child *c, int code, int status)
{
	struct rusage ru = {0};

	assert_int_equal(process_reap(&c->process, &ru), 0);
	assert_int_equal(c->rec.wait_code, code);
	assert_int_equal(c->rec.wait_status, status);
	assert_true(ru.ru_maxrss > 0);
	process_forget(&c->process);
	process_forget(&c->process);
	assert_int_equal(c->rec.pidfd, -1);
}

static void finish(struct child *c)
{
	process_close(&c->process);
	process_close(&c->process);
	for (int i = 0; i < 3; i++)
		assert_int_equal(c->rec.fd[i], -1);
	assert_int_equal(c->rec.pidfd, -1);
}

/* ---- tests ---- */

static void test_output_and_exit(void **state)
{
	struct bench b;
	struct child c;

	(void)state;
	bench_up(&b);
	start(&b, &c, "echo out; echo err >&2; exit 3");
	UNTIL(&b, c.ended[1] && c.ended[2] && c.exits > 0);
	assert_string_equal(c.out[1], "out\n");
	assert_string_equal(c.out[2], "err\n");
	assert_true(c.rec.fd[1] == -1 && c.rec.fd[2] == -1);
	assert_int_equal(fcntl(c.rec.fd[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	reap(&c, CLD_EXITED, 3);
	finish(&c);
	start(&b, &c, "kill -9 $$");
	UNTIL(&b, c.exits > 0);
	reap(&c, CLD_KILLED, 9);
	finish(&c);
	bench_down(&b);
}

/* Its exit is all that is heard of it; what it wrote, and the ends, come after that. */
static void test_held(void **state)
{
	struct bench b;
	struct child c;

	(void)state;
	bench_up(&b);
	start_held(&b, &c, "exit 3", true);
	UNTIL(&b, c.exits > 0);
	assert_int_equal(c.reads, 0);
	reap(&c, CLD_EXITED, 3);
	turns(&b, 30);
	assert_int_equal(c.reads, 0);
	process_let_go(&c.process);
	process_let_go(&c.process);
	UNTIL(&b, c.ended[1] && c.ended[2]);
	finish(&c);
	start_held(&b, &c, "exec >&- 2>&-; read x", true);
	turns(&b, 30);
	assert_true(!c.ended[1] && !c.ended[2]);
	close_fd(&c.rec.fd[0]);
	UNTIL(&b, c.exits > 0);
	reap(&c, CLD_EXITED, 1);
	finish(&c); /* lets go, too: bench_down() counts */
	bench_down(&b);
}

static void test_stdin(void **state)
{
	struct bench b;
	struct child c;

	(void)state;
	bench_up(&b);
	start(&b, &c, "read x; echo \"$x\"; exec <&-; sleep 60");
	turns(&b, 30);
	assert_int_equal(c.writables, 0); /* not asked for */
	process_want_write(&c.process, true);
	UNTIL(&b, c.writables > 0);
	assert_int_equal(write(c.rec.fd[0], "hi\n", 3), 3);
	process_want_write(&c.process, false);
	process_want_write(&c.process, false);
	c.writables = 0;
	UNTIL(&b, c.gone > 0);
	assert_true(c.gone == 1 && c.writables == 0 && c.rec.fd[0] == -1);
	assert_string_equal(c.out[1], "hi\n");
	process_want_write(&c.process, true); /* there is nothing to watch */
	assert_int_equal(process_signal_leader(&c.process, SIGKILL), 0);
	UNTIL(&b, c.exits > 0);
	reap(&c, CLD_KILLED, SIGKILL);
	c.rec.exited = true;
	assert_int_equal(process_signal_leader(&c.process, SIGKILL), -ESRCH);
	finish(&c);
	bench_down(&b);
}

/* What is not read stays in the pipe, and its end costs no turn of the loop. */
static void test_reading_off(void **state)
{
	struct bench b;
	struct child c;

	(void)state;
	bench_up(&b);
	start(&b, &c, "echo kept; exit 0");
	process_read(&c.process, STREAM_OUT, false);
	process_read(&c.process, STREAM_OUT, false);
	UNTIL(&b, c.exits > 0 && c.ended[2]);
	reap(&c, CLD_EXITED, 0);
	c.reads = 0;
	turns(&b, 30);
	assert_int_equal(c.reads, 0);
	process_read(&c.process, STREAM_OUT, true);
	process_read(&c.process, STREAM_OUT, true);
	UNTIL(&b, c.ended[1]);
	assert_string_equal(c.out[1], "kept\n");
	process_read(&c.process, STREAM_OUT, true); /* closed: nothing to do */
	finish(&c);
	bench_down(&b);
}

static void test_reaped_by_another(void **state)
{
	struct rusage ru;
	struct bench b;
	struct child c;
	int status;

	(void)state;
	bench_up(&b);
	start(&b, &c, "exec sleep 60");
	assert_int_equal(process_reap(&c.process, &ru), -EAGAIN); /* it lives */
	kill(c.rec.pid, SIGKILL);
	assert_int_equal(waitpid(c.rec.pid, &status, 0), c.rec.pid);
	UNTIL(&b, c.exits > 0);
	assert_int_equal(process_reap(&c.process, &ru), -ECHILD);
	process_forget(&c.process);
	finish(&c);
	bench_down(&b);
}

/* Both have events in one batch; the first one closes the other, or itself. */
static void test_close_in_callback(void **state)
{
	struct bench b;
	struct child a, c;

	(void)state;
	for (int i = 0; i < 4; i++) {
		bench_up(&b);
		start(&b, &a, "echo x; echo y >&2; exit 1");
		start(&b, &c, "echo x; echo y >&2; exit 2");
		waitid(P_PID, (id_t)a.rec.pid, &(siginfo_t){0}, WEXITED | WNOWAIT);
		waitid(P_PID, (id_t)c.rec.pid, &(siginfo_t){0}, WEXITED | WNOWAIT);
		a.closes = i & 1 ? &a : &c;
		c.closes = i & 2 ? &c : &a;
		turns(&b, 20);
		assert_true((a.process.rec == NULL) + (c.process.rec == NULL) >= 1);
		finish(&a);
		finish(&c);
		assert_int_equal(waitpid(a.rec.pid, NULL, 0), a.rec.pid);
		assert_int_equal(waitpid(c.rec.pid, NULL, 0), c.rec.pid);
		bench_down(&b);
	}
}

/* What a record of a former agent may hold: a descriptor less, or one that cannot be watched. */
static void test_odd_records(void **state)
{
	struct bench b;
	struct child c = {.rec = {.pidfd = -1, .fd = {-1, -1, -1}}};
	int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_true(file >= 0);
	bench_up(&b);
	process_prepare(&c.process, &b.poller, &c.rec);
	finish(&c); /* never watched */
	process_prepare(&c.process, &b.poller, &c.rec);
	assert_int_equal(process_watch(&c.process, &events), 0);
	finish(&c);
	c.rec.fd[1] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	process_prepare(&c.process, &b.poller, &c.rec);
	assert_int_equal(process_watch(&c.process, &events), -EPERM);
	finish(&c);
	c.rec.fd[2] = 999;
	process_prepare(&c.process, &b.poller, &c.rec);
	assert_int_equal(process_watch(&c.process, &events), -EBADF);
	finish(&c);
	bench_down(&b);
	close(file);
}

/* More events than one batch holds. */
static void test_many(void **state)
{
	enum { N = 60 };
	static struct child c[N];
	struct bench b;
	unsigned done = 0;

	(void)state;
	bench_up(&b);
	for (int i = 0; i < N; i++)
		start(&b, &c[i], "echo a; echo b >&2; exit 9");
	for (uint64_t end = now_ms() + 5000; done < N;) {
		assert_true(now_ms() < end);
		uv_run(&b.loop, UV_RUN_ONCE);
		for (int i = 0; i < N; i++) {
			if (!c[i].process.rec || !c[i].exits || !c[i].ended[1] || !c[i].ended[2])
				continue;
			reap(&c[i], CLD_EXITED, 9);
			assert_string_equal(c[i].out[1], "a\n");
			assert_string_equal(c[i].out[2], "b\n");
			finish(&c[i]);
			done++;
		}
	}
	bench_down(&b);
}

static int prepare(void **state)
{
	uv_loop_t first; /* libuv keeps two descriptors from its first loop on */

	(void)state;
	return !spawn_run_init() || uv_loop_init(&first) < 0 || uv_loop_close(&first) < 0;
}

static int clean(void **state)
{
	(void)state;
	return spawn_run_fini();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_and_exit),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_stdin),
		cmocka_unit_test(test_reading_off),
		cmocka_unit_test(test_reaped_by_another),
		cmocka_unit_test(test_close_in_callback),
		cmocka_unit_test(test_odd_records),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, prepare, clean);
}
