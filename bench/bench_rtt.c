/* `rtt`: a ping request and its answer, against a bare message there and back; pinned alike, as two
 * processes that wait for each other are several times faster on one CPU. */
#include <stdio.h>

#include "bench/bench_link.h"
#include "bench/floor.h"

struct sample {
	double p50, p99; /* us */
};

static struct sample ping(struct link *l, size_t n)
{
	static const char text[] = "{\"op\":\"ping\"}";
	static uint64_t samples[100000];
	static uint64_t id;

	ASSERT(n <= array_size(samples));
	for (size_t i = 0, warm = n / 20 + 1; i < warm + n; i++) {
		uint64_t t0 = floor_now_ns();

		mux_request(&l->wire.mux, 0, ++id, text, sizeof(text) - 1);
		while (l->answered != id)
			link_must_step(l);
		if (i >= warm)
			samples[i - warm] = floor_now_ns() - t0;
	}
	return (struct sample){
		floor_percentile(samples, n, 50, 1e3), floor_percentile(samples, n, 99, 1e3)};
}

void bench_rtt(void)
{
	static const struct line one_p50 = {"rtt", "ping on one CPU, p50", "us", "bare round trip",
					 RATIO_MAX, 2},
				 one_p99 = {"rtt", "ping on one CPU, p99", "us", "bare round trip",
					 BAR_NONE, 0},
				 any_p50 = {"rtt", "ping on any CPU, p50", "us", "bare round trip",
					 RATIO_MAX, 2},
				 any_p99 = {"rtt", "ping on any CPU, p99", "us", "bare round trip",
					 BAR_NONE, 0};
	struct agent agent;
	struct link l;
	char count[32];
	size_t n = work(20000);

	agent_start(&agent, program("agentd"), NULL);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	snprintf(count, sizeof(count), "%zu", n);
	for (unsigned i = 0; i < options.rounds; i++) {
		const char *json = floor_json("floor_rtt", "-n", count, NULL);
		struct sample one, any = ping(&l, n);

		proc_pin(0, 0);
		proc_pin(agent.pid, 0);
		one = ping(&l, n);
		proc_pin(0, -1);
		proc_pin(agent.pid, -1);
		table_add(&one_p50, one.p50, floor_value(json, "one_cpu", "p50_us"));
		table_add(&one_p99, one.p99, floor_value(json, "one_cpu", "p99_us"));
		table_add(&any_p50, any.p50, floor_value(json, "any_cpu", "p50_us"));
		table_add(&any_p99, any.p99, floor_value(json, "any_cpu", "p99_us"));
	}
	link_finish(&l);
	agent_stop(&agent);
}
