/* `stream`: 1 GiB of stdout to one viewer, against a bare pipe-to-socket copy. `echo`: a key on its
 * way to `cat` and back, alone and beside such a transfer on the same link. */
#include <stdio.h>

#include "bench/bench_link.h"
#include "bench/floor.h"

static struct agent agent;
static struct link l;

static void begin(void)
{
	agent_start(&agent, program("agentd"), NULL);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
}

static void end(void)
{
	link_finish(&l);
	agent_stop(&agent);
}

/* ---- stream ---- */

struct rate {
	double mb_per_s, cpu_s_per_gb;
};

/* Starts floor_gen; what ran before under this name is removed first. */
static void open_stream(struct job *j, const char *option, uint64_t bytes, uint64_t window)
{
	static const char remove[] = "{\"op\":\"remove\",\"id\":\"stream\"}";
	static const char *gen;
	char count[32];
	char *argv[] = {NULL, count, (char *)option, NULL};
	struct msg_open m = {.service = "exec",
		.id = "stream",
		.window = window,
		.has_start = true,
		.start = {.argv = argv,
			.argc = option ? 3 : 2,
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB}};

	if (!gen && !(gen = program("floor_gen")))
		die("floor_gen is not built");
	argv[0] = (char *)gen;
	snprintf(count, sizeof(count), "%llu", (unsigned long long)bytes);
	mux_request(&l.wire.mux, 0, 1, remove, sizeof(remove) - 1);
	job_reset(j);
	job_open_msg(j, &l, &m);
}

static struct rate stream(const char *option, uint64_t bytes, uint64_t window)
{
	static struct job j;
	uint64_t total = option ? 2 * bytes : bytes, cpu = floor_cpu_ns(agent.pid);
	uint64_t t0 = floor_now_ns();

	open_stream(&j, option, bytes, window);
	while (!j.closed)
		link_must_step(&l);
	t0 = floor_now_ns() - t0;
	cpu = floor_cpu_ns(agent.pid) - cpu;
	if (!j.good || j.wrong || j.gap || j.bytes != total)
		table_note("a stream did not come whole: %llu of %llu bytes",
			(unsigned long long)j.bytes, (unsigned long long)total);
	return (struct rate){(double)total * 1e3 / (double)t0, (double)cpu / (double)total};
}

#define STREAM_LINES(name, bar, limit)                                                             \
	{                                                                                          \
		{"stream", name, "MB/s", "256 KiB copy", bar, limit},                              \
		{                                                                                  \
			"stream", name ": agent CPU", "s/GB", "256 KiB copy", BAR_NONE, 0          \
		}                                                                                  \
	}

void bench_stream(void)
{
	static const struct kind {
		const char *option;
		uint64_t window;
		struct line line[2];
	} kinds[] = {
		{NULL, MIB, STREAM_LINES("1 GiB stdout, window 1M", RATIO_MIN, 0.70)},
		{NULL, 256 * KIB, STREAM_LINES("1 GiB stdout, window 256K", BAR_NONE, 0)},
		{NULL, 512 * KIB, STREAM_LINES("1 GiB stdout, window 512K", BAR_NONE, 0)},
		{NULL, 4 * MIB, STREAM_LINES("1 GiB stdout, window 4M", BAR_NONE, 0)},
		{"--both", MIB, STREAM_LINES("1 GiB of each stream, window 1M", BAR_NONE, 0)},
	};
	uint64_t bytes = work(GIB);
	char count[32];

	begin();
	snprintf(count, sizeof(count), "%llu", (unsigned long long)bytes);
	stream(NULL, bytes, MIB);
	for (unsigned i = 0; i < options.rounds; i++) {
		for (size_t k = 0; k < array_size(kinds); k++) {
			const struct kind *t = &kinds[k];
			const char *json =
				floor_json("floor_copy", "-n", "1", "--bytes", count, NULL);
			struct rate r = stream(t->option, bytes, t->window);

			table_add(&t->line[0], r.mb_per_s, floor_value(json, NULL, "mb_per_s"));
			table_add(&t->line[1], r.cpu_s_per_gb,
				floor_value(json, NULL, "cpu_s_per_gb"));
		}
	}
	end();
}

/* ---- echo ---- */

#define MAX_KEYS 1000

struct key {
	struct job job;
	bool due; /* pressed, not sent yet */
};

static size_t press(struct job *j, size_t max, const uint8_t **data, bool *fin)
{
	struct key *k = container_of(j, struct key, job);

	(void)fin;
	if (!k->due || max == 0)
		return 0;
	k->due = false;
	*data = (const uint8_t *)"x";
	return 1;
}

static void open_cat(struct key *k)
{
	char *argv[] = {"cat", NULL};
	struct msg_open m = {.service = "exec",
		.window = 64 * KIB,
		.has_start = true,
		.attach = {.input = true},
		.start = {.argv = argv,
			.argc = 1,
			.with_stdin = true,
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB}};

	*k = (struct key){.job = {.parse_opened = true, .input = press}};
	job_open_msg(&k->job, &l, &m);
	while (!k->job.live)
		link_must_step(&l);
}

/* One key there and back, in nanoseconds. Beside a transfer, that is kept going. */
static uint64_t strike(struct key *k, struct job *beside, uint64_t window)
{
	uint64_t expected = k->job.bytes + 1, t0 = floor_now_ns();

	k->due = true;
	channel_ready(&k->job.channel);
	while (k->job.bytes < expected) {
		link_must_step(&l);
		if (k->job.closed)
			die("cat has gone");
		if (beside && beside->closed)
			open_stream(beside, NULL, GIB, window);
	}
	return floor_now_ns() - t0;
}

static double p50(struct key *k, size_t n)
{
	static uint64_t samples[MAX_KEYS];

	for (size_t i = 0; i < n / 20 + 1; i++)
		strike(k, NULL, 0);
	for (size_t i = 0; i < n; i++)
		samples[i] = strike(k, NULL, 0);
	return floor_percentile(samples, n, 50, 1e3);
}

/* Only keys during which the transfer moved count: on a busy machine its producer may wait for a
 * CPU. */
static double p50_beside(struct key *k, size_t n, uint64_t window)
{
	static uint64_t samples[MAX_KEYS];
	static struct job j;
	size_t taken = 0;

	open_stream(&j, NULL, GIB, window);
	for (size_t i = 0; taken < n && i < 100 * n; i++) {
		uint64_t moved = j.bytes, ns = strike(k, &j, window);

		if (j.bytes != moved && i >= n / 20)
			samples[taken++] = ns;
	}
	while (!j.closed)
		link_must_step(&l);
	if (taken < n)
		table_note("echo: the transfer hardly moved, %zu keys", taken);
	return taken ? floor_percentile(samples, taken, 50, 1e3) : 0;
}

void bench_echo(void)
{
	static const struct line quiet = {"echo", "cat, one key, p50", "us", NULL, BAR_NONE, 0},
				 m1 = {"echo", "beside 1 GiB, window 1M, p50", "us", "quiet",
					 RATIO_MAX, 3},
				 k256 = {"echo", "beside 1 GiB, window 256K, p50", "us", "quiet",
					 RATIO_MAX, 3};
	struct key k;
	size_t n = work(MAX_KEYS);

	begin();
	open_cat(&k);
	for (unsigned i = 0; i < options.rounds; i++) {
		double q = p50(&k, n);

		table_add(&quiet, q, 0);
		table_add(&m1, p50_beside(&k, n, MIB), q);
		table_add(&k256, p50_beside(&k, n, 256 * KIB), q);
	}
	end();
}
