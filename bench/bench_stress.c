/*
 * `stress`: not how fast but whether it is right. Every byte is compared with what it must be as it
 * comes.
 */
#include <stdio.h>

#include "bench/bench_runs.h"
#include "bench/floor.h"

static struct agent agent;

/* ---- 100 000 runs ---- */

static void many_runs(void)
{
	static const struct line line = {
		"stress", "echo ok, 16 at a time: not complete", "runs", NULL, VALUE_MAX, 0};
	static char *const command[] = {"echo", "ok", NULL};
	static struct runs runs;
	size_t n = work(100000);
	struct link l;

	say("stress: runs");
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	runs_init(&runs, &l, command, REMOVE_REQUEST);
	runs.expect = "ok\n";
	runs_many(&runs, n, RUNS_WIDTH);
	link_finish(&l);
	table_add(&line, (double)runs.failed, 0);
	table_note("stress: %zu runs", n);
}

/* ---- three viewers of two streams ---- */

enum pace { FAST, SLOW, STOPPED };

struct watch {
	struct job job;
	struct floor_gen gen[2];
	bool different;
};

static void compare(struct job *j, uint8_t stream, const uint8_t *data, size_t len)
{
	struct watch *w = container_of(j, struct watch, job);

	if (floor_gen_check(&w->gen[stream - STREAM_OUT], data, len) != len)
		w->different = true;
}

static void keep_pace(enum pace pace, struct link *l, uint64_t got, uint64_t total)
{
	static bool stopped;

	l->read_size = pace == SLOW ? 64 * 1024 : LINK_READ;
	if (pace == SLOW)
		usleep(200);
	if (pace == STOPPED && !stopped && got > total / 4) {
		stopped = true;
		sleep(3);
	}
}

/* A process of its own. Tells by a byte that it is attached; exit code 0: all came, byte for byte.
 */
static int viewer(enum pace pace, int attached, uint64_t bytes)
{
	static struct watch w = {.job.on_output = compare};
	struct msg_open m = {.service = "exec", .id = "both", .window = MIB};
	struct link l;
	bool told = false;

	floor_gen_init(&w.gen[0], 1);
	floor_gen_init(&w.gen[1], 2);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	job_open_msg(&w.job, &l, &m);
	while (!w.job.closed && !w.different && !w.job.wrong) {
		link_must_step(&l);
		if (w.job.live && !told)
			told = write(attached, "", 1) == 1;
		keep_pace(pace, &l, w.job.bytes, 2 * bytes);
	}
	link_finish(&l);
	return !w.job.good || w.different || w.job.wrong || w.job.gap ||
	       w.job.next[STREAM_OUT] != bytes || w.job.next[STREAM_ERR] != bytes;
}

/* The one newline that lets the command begin. */
static size_t give_newline(struct job *j, size_t max, const uint8_t **data, bool *fin)
{
	*fin = true;
	*data = (const uint8_t *)"\n";
	return max > 0 && j->in_off == 0;
}

static void open_both(struct link *l, struct job *j, uint64_t bytes)
{
	char count[32], *argv[] = {"sh", "-c", "read go; exec \"$0\" --both \"$1\"",
				(char *)program("floor_gen"), count, NULL};
	struct msg_open m = {.service = "exec",
		.id = "both",
		.has_start = true,
		.start = {.argv = argv,
			.argc = 5,
			.with_stdin = true,
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB},
		.attach = {.policy = POLICY_LIVE, .input = true}};

	snprintf(count, sizeof(count), "%llu", (unsigned long long)bytes);
	link_open(l, agent.path, UINT64_MAX, UINT64_MAX);
	*j = (struct job){.parse_opened = true};
	job_open_msg(j, l, &m);
	while (!j->live)
		link_must_step(l);
	free(argv[3]);
}

static void three_viewers(void)
{
	static const struct line line = {
		"stress", "three viewers, two streams: not equal", "viewers", NULL, VALUE_MAX, 0};
	uint64_t bytes = work(GIB);
	static struct job starter;
	struct link l;
	pid_t pid[3];
	int p[2], bad = 0;
	char byte;

	say("stress: viewers");
	open_both(&l, &starter, bytes);
	if (pipe(p) < 0)
		die("pipe");
	for (int i = 0; i < 3; i++) {
		pid[i] = helper_fork();
		if (pid[i] == 0)
			_exit(viewer((enum pace)i, p[1], bytes));
	}
	close(p[1]);
	for (int i = 0; i < 3; i++)
		if (read(p[0], &byte, 1) != 1)
			die("a viewer did not attach");
	close(p[0]);
	starter.input = give_newline;
	channel_ready(&starter.channel);
	link_flush(&l);
	for (int i = 0; i < 3; i++)
		bad += helper_wait(pid[i]) != 0;
	link_finish(&l);
	table_add(&line, bad, 0);
	table_note("stress: %llu bytes of each stream, a fast, a slow and a stopped viewer",
		(unsigned long long)bytes);
}

/* ---- a link that breaks ---- */

struct torn {
	struct job job;
	struct floor_gen in, out;
	uint64_t total;
	bool different, started;
};

static size_t feed(struct job *j, size_t max, const uint8_t **data, bool *fin)
{
	struct torn *t = container_of(j, struct torn, job);
	uint64_t left = t->total - j->in_off;
	size_t n = 0;

	if (t->in.offset != j->in_off)
		floor_gen_seek(&t->in, j->in_off);
	if (left > 0 && max > 0)
		n = floor_gen_next(&t->in, min_of(max, left), data);
	*fin = n == left;
	return n;
}

static void compare_echo(struct job *j, uint8_t stream, const uint8_t *data, size_t len)
{
	struct torn *t = container_of(j, struct torn, job);

	if (stream != STREAM_OUT || floor_gen_check(&t->out, data, len) != len)
		t->different = true;
}

static void open_torn(struct torn *t, struct link *l)
{
	char *argv[] = {"cat", NULL};
	struct msg_open m = {.service = "exec",
		.id = "torn",
		.window = MIB,
		.has_start = !t->started,
		.start = {.argv = argv,
			.argc = 1,
			.with_stdin = true,
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB},
		.attach = {.viewer = "bench",
			.since_out = t->job.next[STREAM_OUT],
			.since_err = t->job.next[STREAM_ERR],
			.hold_ms = 30000,
			.input = true}};

	job_open_msg(&t->job, l, &m);
}

/* Until it is cut, or all is done. */
static void live(struct torn *t, uint64_t cut_in, uint64_t cut_out)
{
	static char instance[32];
	struct link l;

	if (!link_open(&l, agent.path, cut_in, cut_out))
		return;
	if (instance[0] && strcmp(instance, l.instance) != 0)
		die("the agent is another one");
	memcpy(instance, l.instance, sizeof(instance));
	open_torn(t, &l);
	while (!t->job.closed && !t->different && link_step(&l))
		;
	t->started |= t->job.opened;
	link_finish(&l);
}

/* One direction, anywhere; every eighth time within the handshake or just behind it. */
static void torn_link(void)
{
	static const struct line line = {
		"stress", "a link cut 200 times, both ways: wrong", "", NULL, VALUE_MAX, 0};
	static struct torn t;
	uint64_t seed = floor_now_ns(), cuts = work(200), random = seed, most;
	uint64_t done = 0;

	say("stress: cuts");
	t = (struct torn){.total = work(256 * MIB),
		.job = {.parse_opened = true, .on_output = compare_echo, .input = feed}};
	floor_gen_init(&t.in, 5);
	floor_gen_init(&t.out, 5);
	most = t.total / cuts * 6 / 5;
	while (!t.job.ended && !t.different && !t.job.wrong) {
		uint64_t cut[2] = {UINT64_MAX, UINT64_MAX};

		random = floor_mix(random);
		if (done++ < cuts)
			cut[random & 1] = 1 + (random >> 8) % (random & 14 ? most : 2000);
		live(&t, cut[0], cut[1]);
	}
	table_add(&line,
		!t.job.good || t.different || t.job.wrong || t.job.gap ||
			t.job.next[STREAM_OUT] != t.total,
		0);
	table_note("stress: %llu MiB through cat, %llu links, seed %llu",
		(unsigned long long)(t.total / MIB), (unsigned long long)done,
		(unsigned long long)seed);
}

void bench_stress(void)
{
	agent_start(&agent, program("agentd"), NULL);
	many_runs();
	three_viewers();
	torn_link();
	agent_stop(&agent);
}
