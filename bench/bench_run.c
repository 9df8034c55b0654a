/*
 * `run`: /bin/true, one after another, in blocks of 100 that alternate between agentd, the minimal
 * agent and the bare vfork, so that all three meet the same moods of the machine. `many`: 16 at
 * once.
 */
#include <stdio.h>

#include "bench/bench_runs.h"
#include "bench/floor.h"

#define BLOCK       100
#define MAX_SAMPLES 20000

static char *const command[] = {"/bin/true", NULL};

static struct agent agent, minimal;
static struct link l;
static struct runs runs;
static int floor_fd;

static void check(struct runs *r)
{
	if (r->failed)
		table_note("%zu runs of %s did not end well", r->failed, command[0]);
	r->failed = 0;
}

static void begin(unsigned width)
{
	agent_start(&agent, program("agentd"), NULL);
	agent_start_minimal(&minimal, width);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	runs_init(&runs, &l, command, REMOVE_REQUEST);
}

static void end(void)
{
	check(&runs);
	link_finish(&l);
	agent_stop(&agent);
	agent_stop(&minimal);
}

/* ---- run ---- */

/* The messages of floor_agent.c. */
static void minimal_one(void *arg)
{
	static uint32_t id;
	struct {
		uint32_t len, id;
		char text[16];
	} ask = {.len = (uint32_t)strlen(command[0]) + 1, .id = ++id};
	struct {
		uint32_t id;
		int32_t status;
		uint32_t len[2];
	} answer;

	(void)arg;
	memcpy(ask.text, command[0], ask.len);
	if (!floor_send_all(floor_fd, &ask, 8 + ask.len) ||
		!floor_recv_all(floor_fd, &answer, sizeof(answer)) || answer.id != id ||
		answer.status != 0 || answer.len[0] || answer.len[1])
		die("the minimal agent failed");
}

static void bare_one(void *arg)
{
	static struct floor_output out[2];

	(void)arg;
	if (floor_run(command, out) != 0)
		die("%s failed", command[0]);
}

static void agentd_one(void *arg)
{
	runs_one(arg);
}

static struct runs retained;

static struct way {
	void (*one)(void *arg);
	void *arg;
	pid_t *agent;
	uint64_t samples[MAX_SAMPLES];
	size_t n;
	uint64_t cpu;
} ways[] = {
	{bare_one, NULL, NULL, {0}, 0, 0},
	{agentd_one, &runs, &agent.pid, {0}, 0, 0},
	{minimal_one, NULL, &minimal.pid, {0}, 0, 0},
	{agentd_one, &retained, &agent.pid, {0}, 0, 0},
};
enum { BARE, AGENTD, MINIMAL, RETAINED };

static void block(struct way *w)
{
	uint64_t cpu;

	for (int i = 0; i < 3; i++)
		w->one(w->arg);
	cpu = w->agent ? floor_cpu_ns(*w->agent) : 0;
	for (int i = 0; i < BLOCK; i++) {
		uint64_t t0 = floor_now_ns();

		w->one(w->arg);
		w->samples[w->n++] = floor_now_ns() - t0;
	}
	link_flush(&l); /* the last removal: it is not another's work */
	w->cpu += w->agent ? floor_cpu_ns(*w->agent) - cpu : 0;
}

static double p(struct way *w, double percent)
{
	return floor_percentile(w->samples, w->n, percent, 1e3);
}

static double cpu_us(const struct way *w)
{
	return (double)w->cpu / 1e3 / (double)w->n;
}

static void run_round(size_t n)
{
	static const struct line p50 = {"run", "/bin/true, p50", "us", "minimal agent", RATIO_MAX,
					 1.10},
				 p99 = {"run", "/bin/true, p99", "us", "minimal agent", RATIO_MAX,
					 1.30},
				 bare_p50 = {"run", "/bin/true, p50", "us", "bare vfork", BAR_NONE,
					 0},
				 cpu = {"run", "agent CPU per run", "us", "minimal agent", BAR_NONE,
					 0},
				 retain_p50 = {"run", "retain_ms 0 for a remove request, p50", "us",
					 "minimal agent", BAR_NONE, 0},
				 retain_cpu = {"run", "retain_ms 0, agent CPU per run", "us",
					 "minimal agent", BAR_NONE, 0};

	for (size_t i = 0; i < array_size(ways); i++)
		ways[i].n = ways[i].cpu = 0;
	for (size_t done = 0; done < n; done += BLOCK)
		for (size_t i = 0; i < array_size(ways); i++)
			block(&ways[i]);
	table_add(&p50, p(&ways[AGENTD], 50), p(&ways[MINIMAL], 50));
	table_add(&p99, p(&ways[AGENTD], 99), p(&ways[MINIMAL], 99));
	table_add(&bare_p50, p(&ways[AGENTD], 50), p(&ways[BARE], 50));
	table_add(&cpu, cpu_us(&ways[AGENTD]), cpu_us(&ways[MINIMAL]));
	table_add(&retain_p50, p(&ways[RETAINED], 50), p(&ways[MINIMAL], 50));
	table_add(&retain_cpu, cpu_us(&ways[RETAINED]), cpu_us(&ways[MINIMAL]));
}

void bench_run(void)
{
	begin(0);
	runs_init(&retained, &l, command, REMOVE_RETAIN);
	retained.serial = 1000000000; /* other ids */
	floor_fd = floor_connect(minimal.path);
	run_round(BLOCK);
	table_forget("run"); /* that was the warm-up */
	for (unsigned i = 0; i < options.rounds; i++)
		run_round(work(2000));
	close(floor_fd);
	check(&retained);
	end();
}

/* ---- many ---- */

static void many_round(size_t n)
{
	static const struct line rate = {"many", "16 at once", "runs/s", "bare vfork", RATIO_MIN,
					 0.95},
				 rate_agent = {"many", "16 at once", "runs/s", "minimal agent",
					 BAR_NONE, 0},
				 cpu = {"many", "agent CPU per run", "us", "minimal agent",
					 BAR_NONE, 0};
	const char *json, *mode = "16_at_once";
	double bare, mine, mine_cpu;
	uint64_t before, ns;
	char count[32];

	snprintf(count, sizeof(count), "%zu", n);
	json = floor_json("floor_spawn", "--only", "-n", count, "-j", "16", NULL);
	bare = floor_value(json, mode, "runs_per_s");
	runs_many(&runs, n / 20 + RUNS_WIDTH, RUNS_WIDTH);
	before = floor_cpu_ns(agent.pid);
	ns = runs_many(&runs, n, RUNS_WIDTH);
	mine_cpu = (double)(floor_cpu_ns(agent.pid) - before) / 1e3 / (double)n;
	mine = (double)n * 1e9 / (double)ns;
	json = floor_json("floor_agent", "--client", minimal.path, "-n", count, "-j", "16", NULL);
	table_add(&rate, mine, bare);
	table_add(&rate_agent, mine, floor_value(json, mode, "runs_per_s"));
	table_add(&cpu, mine_cpu, floor_value(json, mode, "cpu_us"));
	check(&runs);
}

void bench_many(void)
{
	begin(16);
	for (unsigned i = 0; i < 4 * options.rounds;
		i++) /* short, so that they lie close together */
		many_round(work(1000));
	end();
}
