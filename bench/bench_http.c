/*
 * `http`: what the bridge adds. Its clients are plain sockets; behind it is an agentd that is also
 * asked directly, over the same unix socket, in turn. Requests a second are compared with a bare
 * libwebsockets server that says hello.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "bench/bench_runs.h"
#include "bench/bench_web.h"
#include "bench/floor.h"

#define CONNECTIONS 16
#define BLOCK       100
#define SLICES      4
#define SAMPLES     20000
#define HEALTH_NS   400000000ULL

static struct agent agent, bridge, hello, hello_uv;
static unsigned port, hello_port, hello_uv_port;
static struct link l;
static struct runs runs;
static struct web web, keys;

/* ---- up and down ---- */

static unsigned start_hello(struct agent *a, const char *extra)
{
	const char *binary = program("floor_lws");
	const char *const argv[] = {binary, "--time", "86400", extra, NULL};

	if (!binary)
		die("floor_lws is not built");
	return server_start(a, argv, "port ");
}

/* ---- requests a second ---- */

/* Every connection has one request under way; an answer is whole when it ends like this. */
static double per_second(unsigned to, const char *end)
{
	static const char ask[] = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
	struct pollfd p[CONNECTIONS];
	size_t len = strlen(end);
	uint64_t t0, n = 0;

	for (size_t i = 0; i < CONNECTIONS; i++) {
		p[i] = (struct pollfd){.fd = web_dial(to), .events = POLLIN};
		floor_send_all(p[i].fd, ask, sizeof(ask) - 1);
	}
	t0 = floor_now_ns();
	while (floor_now_ns() - t0 < HEALTH_NS) {
		if (poll(p, CONNECTIONS, 1000) <= 0)
			die("no answer to /health");
		for (size_t i = 0; i < CONNECTIONS; i++) {
			char answer[4096];
			ssize_t got;

			if (!p[i].revents)
				continue;
			got = recv(p[i].fd, answer, sizeof(answer), 0);
			if (got < (ssize_t)len)
				die("a connection broke on /health");
			if (memcmp(answer + got - len, end, len) != 0)
				continue;
			n++;
			floor_send_all(p[i].fd, ask, sizeof(ask) - 1);
		}
	}
	t0 = floor_now_ns() - t0;
	for (size_t i = 0; i < CONNECTIONS; i++)
		close(p[i].fd);
	return (double)n * 1e9 / (double)t0;
}

static void health_round(void)
{
	static const struct line line_uv = {"http", "health on 16 connections", "/s",
					 "bare libwebsockets on libuv", BAR_NONE, 0},
				 line_poll = {"http", "health on 16 connections", "/s",
					 "bare libwebsockets on poll", RATIO_MIN, 0.7};
	double on_poll = per_second(hello_port, "hello");
	double on_uv = per_second(hello_uv_port, "hello");
	double mine = per_second(port, "{\"status\":\"ok\"}");

	table_add(&line_poll, mine, on_poll);
	table_add(&line_uv, mine, on_uv);
}

/* ---- commands ---- */

static void own_one(void)
{
	runs_one(&runs);
}

static void run_one(void)
{
	web_ask(&web, "POST", "/sandboxes/bench/exec/run", "{\"cmd\":\"/bin/true\"}");
	if (web.status != 200 || !strstr(web.body, "\"exitCode\":0"))
		die("exec/run: %d %s", web.status, web.body);
}

static void async_one(void)
{
	web_ask(&web, "POST", "/sandboxes/bench/exec/run-async", "{\"cmd\":\"/bin/true\"}");
	if (web.status != 200 || !strstr(web.body, "\"exitCode\":0"))
		die("exec/run-async: %d %s", web.status, web.body);
}

static void own_key(void);
static void web_key(void);

static struct way {
	void (*one)(void);
	uint64_t samples[SAMPLES];
	size_t n;
} ways[] = {{own_one, {0}, 0}, {run_one, {0}, 0}, {async_one, {0}, 0}, {own_key, {0}, 0},
	{web_key, {0}, 0}};
enum { OWN, RUN, ASYNC, OWN_KEY, WEB_KEY };

static void block(struct way *w)
{
	for (int i = 0; i < BLOCK / 10; i++)
		w->one();
	for (int i = 0; i < BLOCK; i++) {
		uint64_t t0 = floor_now_ns();

		w->one();
		w->samples[w->n++] = floor_now_ns() - t0;
	}
	link_flush(&l); /* the last removal: it is not another's work */
}

/* Those from `from` to `to`, in turn. */
static void measure(int from, int to, size_t n)
{
	for (int i = from; i <= to; i++)
		ways[i].n = 0;
	for (size_t done = 0; done < n; done += BLOCK)
		for (int i = from; i <= to; i++)
			block(&ways[i]);
}

static double p50(int way)
{
	return floor_percentile(ways[way].samples, ways[way].n, 50, 1e3);
}

static void run_round(size_t n)
{
	static const struct line lines[] = {
		{"http", "exec/run /bin/true, p50", "us", "agentd itself", BAR_NONE, 0},
		{"http", "run-async /bin/true, p50", "us", "agentd itself", BAR_NONE, 0},
	};
	static const struct line above[] = {
		{"http", "exec/run, above agentd itself", "us", NULL, VALUE_MAX, 250},
		{"http", "run-async, above agentd itself", "us", NULL, VALUE_MAX, 250},
	};

	measure(OWN, ASYNC, n);
	for (int i = 0; i < 2; i++) {
		table_add(&lines[i], p50(RUN + i), p50(OWN));
		table_add(&above[i], p50(RUN + i) - p50(OWN), 0);
	}
}

/* ---- keys ---- */

#define ECHO "stty raw -echo; printf R; exec cat"

struct typist {
	struct job job;
	bool due;
};

static struct typist typist;

static size_t press(struct job *j, size_t max, const uint8_t **data, bool *fin)
{
	struct typist *t = container_of(j, struct typist, job);

	(void)fin;
	if (!t->due || max == 0)
		return 0;
	t->due = false;
	*data = (const uint8_t *)"x";
	return 1;
}

static void own_key(void)
{
	uint64_t expected = typist.job.bytes + 1;

	typist.due = true;
	channel_ready(&typist.job.channel);
	while (typist.job.bytes < expected)
		link_must_step(&l);
}

static void web_key(void)
{
	web_message(&keys, "x", 1);
	if (web_listen(&keys) != 1)
		die("one key, and more came back");
}

static void begin_keys(void)
{
	static const char *const argv[] = {"sh", "-c", ECHO, NULL};
	struct msg_open m = {.service = "exec",
		.id = "keys",
		.window = 64 * KIB,
		.has_start = true,
		.attach = {.input = true},
		.start = {.argv = (char **)argv,
			.argc = 3,
			.pty = {.on = true, .size = {.cols = 80, .rows = 24}},
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB}};
	char path[128];

	typist = (struct typist){.job = {.parse_opened = true, .input = press}};
	job_open_msg(&typist.job, &l, &m);
	while (typist.job.bytes < 1)
		link_must_step(&l);
	web_ask(&web, "POST", "/sandboxes/bench/pty",
		"{\"cmd\":\"sh\",\"args\":[\"-c\",\"" ECHO "\"]}");
	if (web.status != 201)
		die("pty: %d %s", web.status, web.body);
	snprintf(path, sizeof(path), "/sandboxes/bench/pty/%s", web_member(&web, "sessionID"));
	web_open(&keys, port);
	web_upgrade(&keys, path);
	do
		web_listen(&keys);
	while (!strchr(keys.body, 'R'));
}

static void keys_round(size_t n)
{
	static const struct line line = {
		"http", "one key on a terminal, p50", "us", "agentd itself", BAR_NONE, 0};
	static const struct line above = {
		"http", "one key, above agentd itself", "us", NULL, VALUE_MAX, 150};

	measure(OWN_KEY, WEB_KEY, n);
	table_add(&line, p50(WEB_KEY), p50(OWN_KEY));
	table_add(&above, p50(WEB_KEY) - p50(OWN_KEY), 0);
}

/* ---- files ---- */

/* Nanoseconds. */
static uint64_t file_through_bridge(const char *path, bool write, uint64_t bytes)
{
	uint64_t t0 = floor_now_ns();

	if (write)
		web_send(&web, "PUT", path, bytes);
	else
		web_ask(&web, "GET", path, NULL);
	if (web.status != (write ? 204 : 200) || (!write && web.len != bytes))
		die("files: %d, %zu bytes, %s", web.status, web.len, web.body);
	return floor_now_ns() - t0;
}

/* In slices, so that both meet the same moods of the machine. */
static void file_round(const char *dir, uint64_t bytes)
{
	static const struct line lines[] = {
		{"http", "read a file", "MB/s", "agentd itself", RATIO_MIN, 0.6},
		{"http", "write a file", "MB/s", "agentd itself", RATIO_MIN, 0.6},
	};
	uint64_t slice = bytes / SLICES, own[2] = {0}, ns[2] = {0};
	char path[128];

	snprintf(path, sizeof(path), "/sandboxes/bench/files?path=%s/0", dir);
	for (unsigned i = 0; i < SLICES; i++) {
		for (int write = 1; write >= 0; write--) {
			own[write] += file_large(&l, dir, write, slice);
			ns[write] += file_through_bridge(path, write, slice);
		}
	}
	for (int write = 1; write >= 0; write--)
		table_add(&lines[write], (double)slice * SLICES * 1e3 / (double)ns[write],
			(double)slice * SLICES * 1e3 / (double)own[write]);
}

void bench_http(void)
{
	static char *const command[] = {"/bin/true", NULL};
	static const struct line memory = {
		"http", "bridge memory, at the end", "KiB", NULL, VALUE_MAX, 32 * 1024};
	const char *dir = proc_shm();

	agent_start(&agent, program("agentd"), NULL);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	runs_init(&runs, &l, command, REMOVE_REQUEST);
	port = bridge_start(&bridge);
	web_open(&web, port);
	bridge_add(&web, "bench", &agent);
	hello_port = start_hello(&hello, NULL);
	hello_uv_port = start_hello(&hello_uv, "--uv");
	begin_keys();
	health_round();
	run_round(BLOCK);
	keys_round(BLOCK);
	table_forget("http"); /* that was the warm-up */
	for (unsigned i = 0; i < options.rounds; i++) {
		health_round();
		run_round(work(2000));
		keys_round(work(2000));
		file_round(dir, work(GIB));
	}
	table_add(&memory, (double)proc_pss_kib(bridge.pid), 0);
	if (runs.failed)
		table_note("http: %zu runs of agentd itself did not end well", runs.failed);
	web_close(&keys);
	web_close(&web);
	agent_stop(&bridge);
	agent_stop(&hello);
	agent_stop(&hello_uv);
	link_finish(&l);
	agent_stop(&agent);
}
