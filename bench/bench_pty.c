/*
 * `pty`: a key on its way to a program on a terminal and back, and the output of one, through
 * agentd and through the minimal relay, in turn. The program of the keys is cat on a raw terminal:
 * as in a shell, it is the program that echoes.
 */
#include <stdio.h>

#include "bench/bench_link.h"
#include "bench/floor.h"

#define KEYS   1000
#define BLOCK  100 /* keys at a time, so that both meet the same moods of the machine */
#define SLICES 16  /* of the output, in turn, for the same reason */

static char *const echo_command[] = {
	(char *)"sh", (char *)"-c", (char *)"stty raw -echo; printf R; exec cat", NULL};

static struct agent agent, minimal;
static struct link l;

/* ---- the relay's client ---- */

static int relay_start(char *const argv[])
{
	char text[512];
	uint32_t len = 0;
	int fd = floor_connect(minimal.path);

	for (; *argv; argv++)
		len += (uint32_t)snprintf(text + len, sizeof(text) - len, "%s", *argv) + 1;
	if (!floor_send_all(fd, &len, sizeof(len)) || !floor_send_all(fd, text, len))
		die("the relay takes no command");
	return fd;
}

static int relay_keys = -1;

static uint64_t relay_strike(void)
{
	uint64_t t0 = floor_now_ns();
	char key = 'x';

	if (!floor_send_all(relay_keys, &key, 1) || !floor_recv_all(relay_keys, &key, 1))
		die("the relay broke");
	return floor_now_ns() - t0;
}

/* ---- agentd's ---- */

struct keys {
	struct job job;
	bool due; /* pressed, not sent yet */
};

static size_t press(struct job *j, size_t max, const uint8_t **data, bool *fin)
{
	struct keys *k = container_of(j, struct keys, job);

	(void)fin;
	if (!k->due || max == 0)
		return 0;
	k->due = false;
	*data = (const uint8_t *)"x";
	return 1;
}

static void open_terminal(struct job *j, const char *id, char *const argv[], uint64_t window)
{
	struct msg_open m = {.service = "exec",
		.id = id,
		.window = window,
		.has_start = true,
		.attach = {.input = true},
		.start = {.argv = (char **)argv,
			.pty = {.on = true, .size = {.cols = 80, .rows = 24}},
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB}};

	while (argv[m.start.argc])
		m.start.argc++;
	job_open_msg(j, &l, &m);
}

static uint64_t agent_strike(struct keys *k)
{
	uint64_t expected = k->job.bytes + 1, t0 = floor_now_ns();

	k->due = true;
	channel_ready(&k->job.channel);
	while (k->job.bytes < expected) {
		link_must_step(&l);
		if (k->job.closed)
			die("cat has gone");
	}
	return floor_now_ns() - t0;
}

/* ---- keys ---- */

static struct keys keys;

static void begin_keys(void)
{
	char ready;

	relay_keys = relay_start(echo_command);
	if (!floor_recv_all(relay_keys, &ready, 1))
		die("no cat on the relay");
	keys = (struct keys){.job = {.parse_opened = true, .input = press}};
	open_terminal(&keys.job, "keys", echo_command, 64 * KIB);
	while (keys.job.bytes < 1)
		link_must_step(&l);
}

static void keys_round(size_t n)
{
	static const struct line line = {
		"pty", "one key, p50", "us", "minimal relay", RATIO_MAX, 1.15};
	static const struct line p99 = {"pty", "one key, p99", "us", "minimal relay", BAR_NONE, 0};
	static uint64_t mine[KEYS], floor[KEYS];
	size_t taken = 0;

	while (taken < n) {
		for (size_t i = 0; i < BLOCK / 10; i++)
			relay_strike();
		for (size_t i = 0; i < BLOCK; i++)
			floor[taken + i] = relay_strike();
		for (size_t i = 0; i < BLOCK / 10; i++)
			agent_strike(&keys);
		for (size_t i = 0; i < BLOCK; i++)
			mine[taken + i] = agent_strike(&keys);
		taken += BLOCK;
	}
	table_add(&line, floor_percentile(mine, n, 50, 1e3), floor_percentile(floor, n, 50, 1e3));
	table_add(&p99, floor_percentile(mine, n, 99, 1e3), floor_percentile(floor, n, 99, 1e3));
}

/* ---- output ---- */

/* What came of one side's output in a round. */
struct flow {
	uint64_t bytes, ns;
};

static double mb_per_s(const struct flow *f)
{
	return (double)f->bytes * 1e3 / (double)f->ns;
}

static uint64_t relay_output(char *const argv[], struct flow *f)
{
	static uint8_t buffer[LINK_READ];
	uint64_t t0 = floor_now_ns(), bytes = 0;
	int fd = relay_start(argv);
	ssize_t n;

	while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0)
		bytes += (uint64_t)n;
	f->ns += floor_now_ns() - t0;
	f->bytes += bytes;
	close(fd);
	return bytes;
}

static uint64_t agent_output(char *const argv[], struct flow *f)
{
	static const char remove[] = "{\"op\":\"remove\",\"id\":\"output\"}";
	static struct job j;
	uint64_t t0 = floor_now_ns();

	mux_request(&l.wire.mux, 0, 1, remove, sizeof(remove) - 1);
	job_reset(&j);
	open_terminal(&j, "output", argv, MIB);
	while (!j.closed)
		link_must_step(&l);
	f->ns += floor_now_ns() - t0;
	f->bytes += j.bytes;
	if (!j.good || j.wrong || j.gap)
		table_note("pty: output did not come whole");
	return j.bytes;
}

static void output_round(uint64_t bytes)
{
	static const struct line line = {"pty", "output", "MB/s", "minimal relay", RATIO_MIN, 0.97};
	static const char *gen;
	char count[32];
	char *argv[] = {NULL, count, NULL};
	struct flow mine = {0}, floor = {0};

	if (!gen && !(gen = program("floor_gen")))
		die("floor_gen is not built");
	argv[0] = (char *)gen;
	snprintf(count, sizeof(count), "%llu", (unsigned long long)bytes / SLICES);
	for (unsigned i = 0; i < SLICES; i++) {
		uint64_t relayed = relay_output(argv, &floor), came = agent_output(argv, &mine);

		/* A relay may lose the end (it closes when the peer does), agentd may not. */
		if (came < relayed)
			table_note("pty: %llu bytes of %llu came", (unsigned long long)came,
				(unsigned long long)relayed);
	}
	table_add(&line, mb_per_s(&mine), mb_per_s(&floor));
}

void bench_pty(void)
{
	agent_start(&agent, program("agentd"), NULL);
	agent_start_relay(&minimal);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	begin_keys();
	keys_round(BLOCK);
	table_forget("pty"); /* that was the warm-up */
	for (unsigned i = 0; i < options.rounds; i++)
		keys_round(work(KEYS));
	close(relay_keys);
	for (unsigned i = 0; i < options.rounds; i++)
		output_round(work(192 * MIB));
	link_finish(&l);
	agent_stop(&agent);
	agent_stop(&minimal);
}
