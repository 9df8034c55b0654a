/*
 * `local`: a sandbox without a VM, from the request to the end of its first command and to its
 * removal, beside bubblewrap alone with a program that does nothing, in the same namespaces.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench_web.h"
#include "bench/floor.h"

#define BOXES 10

enum { BARE, CREATE, FIRST, KILL, STEPS };

static uint64_t samples[STEPS][BOXES];

static void exec_bwrap(void)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, 1);
	execlp("bwrap", "bwrap", "--bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs",
		"/run", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "true", (char *)NULL);
	_exit(127);
}

static uint64_t bare_one(void)
{
	uint64_t t0 = floor_now_ns();
	pid_t pid = helper_fork();
	int code;

	if (pid == 0)
		exec_bwrap();
	code = helper_wait(pid);
	if (code != 0)
		die("bwrap ended with %d", code);
	return floor_now_ns() - t0;
}

static void box_one(struct web *w, size_t i)
{
	uint64_t t0 = floor_now_ns();
	char id[64], path[128];

	web_ask(w, "POST", "/sandboxes", "{}");
	if (w->status != 201)
		die("create: %d %s", w->status, w->body);
	samples[CREATE][i] = floor_now_ns() - t0;
	snprintf(id, sizeof(id), "%s", web_member(w, "sandboxID"));
	snprintf(path, sizeof(path), "/sandboxes/%s/exec/run", id);
	web_ask(w, "POST", path, "{\"cmd\":\"/bin/true\"}");
	if (w->status != 200 || !strstr(w->body, "\"exitCode\":0"))
		die("exec/run: %d %s", w->status, w->body);
	samples[FIRST][i] = floor_now_ns() - t0;
	t0 = floor_now_ns();
	snprintf(path, sizeof(path), "/sandboxes/%s", id);
	web_ask(w, "DELETE", path, NULL);
	if (w->status != 204)
		die("kill: %d %s", w->status, w->body);
	samples[KILL][i] = floor_now_ns() - t0;
}

static void round_of(struct web *w, size_t n)
{
	static const struct line lines[] = {
		{"local", "create, p50", "ms", "bwrap true", BAR_NONE, 0},
		{"local", "create and first command, p50", "ms", NULL, VALUE_MAX, 50},
		{"local", "kill, p50", "ms", NULL, BAR_NONE, 0},
	};
	double p50[STEPS];

	for (size_t i = 0; i < n; i++) {
		samples[BARE][i] = bare_one();
		box_one(w, i);
	}
	for (size_t s = 0; s < STEPS; s++)
		p50[s] = floor_percentile(samples[s], n, 50, 1e6);
	for (size_t s = CREATE; s < STEPS; s++)
		table_add(&lines[s - CREATE], p50[s], p50[BARE]);
}

void bench_local(void)
{
	const char *binary = program("bridge"), *agentd = static_program("agentd");
	const char *const argv[] = {binary, "--port", "0", "--state", proc_state(), "--driver",
		"local", "--agentd", agentd, "--no-auth", NULL};
	static struct web web;
	struct agent bridge;

	if (!binary || !agentd)
		die("bridge or the static agentd is not built");
	web_open(&web, server_start(&bridge, argv, "listening on http://127.0.0.1:"));
	round_of(&web, 2);
	table_forget("local");
	for (unsigned i = 0; i < options.rounds; i++)
		round_of(&web, BOXES);
	web_close(&web);
	agent_stop(&bridge);
}
