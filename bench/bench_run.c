/* `run`: /bin/true, one after another. `many`: 16 at once. Against the minimal agent and the bare vfork. */
#include <stdio.h>

#include "bench/bench_runs.h"
#include "bench/floor.h"

static char *const command[] = {"/bin/true", NULL};

static struct agent agent;
static struct link l;
static struct runs runs;

static void check(void)
{
	if (runs.failed)
		table_note("%zu runs of %s did not end well", runs.failed, command[0]);
	runs.failed = 0;
}

static void begin(const char *const *extra)
{
	agent_start(&agent, program("agentd"), extra);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	runs_init(&runs, &l, command, REMOVE_REQUEST);
}

static void end(void)
{
	check();
	link_finish(&l);
	agent_stop(&agent);
}

/* ---- run ---- */

struct sample {
	double p50, p99, cpu; /* us */
};

static struct sample one_by_one(enum removal removal, size_t n)
{
	static uint64_t samples[100000];
	uint64_t cpu = 0, serial = runs.serial;
	size_t warm = n / 20 + 1;
	struct sample s;

	ASSERT(n <= array_size(samples));
	runs_init(&runs, &l, command, removal);
	runs.serial = serial;
	for (size_t i = 0; i < warm + n; i++) {
		uint64_t t0 = floor_now_ns();

		if (i == warm)
			cpu = floor_cpu_ns(agent.pid);
		runs_one(&runs);
		if (i >= warm)
			samples[i - warm] = floor_now_ns() - t0;
	}
	link_flush(&l);
	cpu = floor_cpu_ns(agent.pid) - cpu;
	s.p50 = floor_percentile(samples, n, 50, 1e3);
	s.p99 = floor_percentile(samples, n, 99, 1e3);
	s.cpu = (double)cpu / 1e3 / (double)n;
	check();
	return s;
}

static struct sample floor_one_by_one(const char *name, const char *count)
{
	const char *json = floor_json(name, "-n", count, "-j", "0", NULL);
	const char *mode = "sequential";

	return (struct sample){floor_value(json, mode, "p50_us"),
		floor_value(json, mode, "p99_us"), floor_value(json, mode, "cpu_us")};
}

static void run_round(size_t n)
{
	static const struct line p50 = {"run", "/bin/true, p50", "us", "minimal agent", RATIO_MAX, 1.10},
		p99 = {"run", "/bin/true, p99", "us", "minimal agent", RATIO_MAX, 1.30},
		spawn_p50 = {"run", "/bin/true, p50", "us", "bare vfork", BAR_NONE, 0},
		cpu = {"run", "agent CPU per run", "us", "minimal agent", BAR_NONE, 0},
		retain_p50 = {"run", "retain_ms 0 instead of remove, p50", "us", "minimal agent", BAR_NONE, 0},
		retain_cpu = {"run", "retain_ms 0, agent CPU per run", "us", "minimal agent", BAR_NONE, 0};
	struct sample a, b, minimal, spawn;
	char count[32];

	snprintf(count, sizeof(count), "%zu", n);
	spawn = floor_one_by_one("floor_spawn", count);
	a = one_by_one(REMOVE_REQUEST, n);
	minimal = floor_one_by_one("floor_agent", count);
	b = one_by_one(REMOVE_RETAIN, n);
	table_add(&p50, a.p50, minimal.p50);
	table_add(&p99, a.p99, minimal.p99);
	table_add(&spawn_p50, a.p50, spawn.p50);
	table_add(&cpu, a.cpu, minimal.cpu);
	table_add(&retain_p50, b.p50, minimal.p50);
	table_add(&retain_cpu, b.cpu, minimal.cpu);
}

void bench_run(void)
{
	begin(NULL);
	for (unsigned i = 0; i < options.rounds; i++)
		run_round(work(2000));
	end();
}

/* ---- many ---- */

static void many_round(size_t n, const char *minimal)
{
	static const struct line rate = {"many", "16 at once", "runs/s", "bare vfork", RATIO_MIN, 0.95},
		rate_agent = {"many", "16 at once", "runs/s", "minimal agent", BAR_NONE, 0},
		cpu = {"many", "agent CPU per run", "us", "minimal agent", BAR_NONE, 0};
	uint64_t before, ns;
	char count[32];
	const char *json, *mode = "16_at_once";
	double bare, mine, mine_cpu;

	snprintf(count, sizeof(count), "%zu", n);
	json = floor_json("floor_spawn", "--only", "-n", count, "-j", "16", NULL);
	bare = floor_value(json, mode, "runs_per_s");
	runs_many(&runs, n / 20 + RUNS_WIDTH, RUNS_WIDTH);
	before = floor_cpu_ns(agent.pid);
	ns = runs_many(&runs, n, RUNS_WIDTH);
	mine_cpu = (double)(floor_cpu_ns(agent.pid) - before) / 1e3 / (double)n;
	mine = (double)n * 1e9 / (double)ns;
	json = floor_json("floor_agent", "--client", minimal, "-n", count, "-j", "16", NULL);
	table_add(&rate, mine, bare);
	table_add(&rate_agent, mine, floor_value(json, mode, "runs_per_s"));
	table_add(&cpu, mine_cpu, floor_value(json, mode, "cpu_us"));
	check();
}

void bench_many(void)
{
	struct agent minimal;

	begin(NULL);
	agent_start_minimal(&minimal);
	for (unsigned i = 0; i < options.rounds; i++)
		many_round(work(4000), minimal.path);
	agent_stop(&minimal);
	end();
}
