/*
 * `crowd`: what one request waits for when many others are connected: 500 sandboxes (links to one
 * agent) and 2000 WebSockets to commands in them, which are open and say nothing.
 */
#include <stdio.h>
#include <sys/resource.h>

#include "bench/bench_web.h"
#include "bench/floor.h"

#define SANDBOXES 500
#define SOCKETS   4 /* a sandbox */
#define ASKED     2000

static struct agent agent, bridge;
static struct web web;

static double p99(size_t n)
{
	static uint64_t samples[ASKED];

	for (size_t i = 0; i < n; i++) {
		uint64_t t0 = floor_now_ns();

		web_ask(&web, "GET", "/health", NULL);
		samples[i] = floor_now_ns() - t0;
	}
	return floor_percentile(samples, n, 99, 1e6);
}

static void raise_descriptors(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void connect_all(unsigned port, unsigned sandboxes, struct web *sockets)
{
	char name[32], path[128];

	for (unsigned i = 0; i < sandboxes; i++) {
		snprintf(name, sizeof(name), "crowd-%u", i);
		bridge_add(&web, name, &agent);
		snprintf(path, sizeof(path), "/sandboxes/%s/exec", name);
		web_ask(&web, "POST", path, "{\"cmd\":\"cat\"}");
		if (web.status != 201)
			die("exec: %d %s", web.status, web.body);
		snprintf(path, sizeof(path), "/sandboxes/%s/exec/%s", name,
			web_member(&web, "sessionID"));
		for (unsigned k = 0; k < SOCKETS; k++) {
			struct web *w = &sockets[i * SOCKETS + k];

			web_open(w, port);
			web_upgrade(w, path);
			if (web_listen(w) != 1 || w->body[0] != 4)
				die("no end of the replay");
		}
	}
}

void bench_crowd(void)
{
	static const char *const limits[] = {"--max-connections", "1024", NULL};
	static const struct line line = {
		"crowd", "health, 2000 WebSockets open, p99", "ms", "nobody else", VALUE_MAX, 10};
	static const struct line memory = {
		"crowd", "bridge memory, a sandbox with 4 of them", "KiB", NULL, BAR_NONE, 0};
	static const struct line cpu = {
		"crowd", "bridge CPU, all of them silent", "%", NULL, VALUE_MAX, 1};
	unsigned sandboxes = (unsigned)work(SANDBOXES), port;
	struct web *sockets = calloc((size_t)sandboxes * SOCKETS, sizeof(*sockets));
	size_t before, asked = work(ASKED);
	double alone;
	uint64_t used;

	raise_descriptors();
	agent_start(&agent, program("agentd"), limits);
	port = bridge_start(&bridge);
	web_open(&web, port);
	p99(asked / 10);
	alone = p99(asked);
	before = proc_pss_kib(bridge.pid);
	connect_all(port, sandboxes, sockets);
	table_add(&memory, (double)(proc_pss_kib(bridge.pid) - before) / sandboxes, 0);
	for (unsigned i = 0; i < options.rounds; i++)
		table_add(&line, p99(asked), alone);
	used = proc_cpu_ns(bridge.pid);
	sleep(2);
	table_add(&cpu, (double)(proc_cpu_ns(bridge.pid) - used) / 2e9 * 100, 0);
	for (unsigned i = 0; i < sandboxes * SOCKETS; i++)
		web_close(&sockets[i]);
	free(sockets);
	web_close(&web);
	agent_stop(&bridge);
	agent_stop(&agent);
}
