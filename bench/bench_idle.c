/*
 * `idle`: what agentd costs while nothing happens, and what a viewer that stops reading costs.
 * `start`: from exec to the first accept. `flat`: what grows with use. `size`: the binary. All with
 * the static build, as in a guest.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "bench/bench_runs.h"
#include "bench/floor.h"

#define SESSIONS      100
#define MANY_SESSIONS 10000

static struct agent agent;
static struct link l;

static bool begin(void)
{
	const char *binary = static_program("agentd");

	if (!binary) {
		table_note("no static agentd: AGENTD_STATIC says where");
		return false;
	}
	agent_start(&agent, binary, NULL);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	usleep(200000);
	return true;
}

static void end(void)
{
	link_finish(&l);
	agent_stop(&agent);
}

/* ---- idle ---- */

static void start_sleeper(unsigned i)
{
	char id[16], *argv[] = {"sleep", "1000", NULL};
	struct msg_request m = {.op = OP_START,
		.op_name = "start",
		.id = id,
		.has_start = true,
		.start = {.argv = argv,
			.argc = 2,
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB}};
	const char *answer;

	snprintf(id, sizeof(id), "s%u", i);
	answer = link_ask(&l, &m);
	if (strstr(answer, "\"error\""))
		die("start: %s", answer);
}

static double wakeups(pid_t pid)
{
	unsigned seconds = options.quick ? 1 : 5;
	uint64_t before = proc_switches(pid);

	sleep(seconds);
	return (double)(proc_switches(pid) - before) / seconds;
}

static void measure_sleepers(void)
{
	static const struct line pss = {"idle", "Pss, one connection", "KiB", NULL, VALUE_MAX,
					 1024},
				 more = {"idle", "Pss more for 100 idle sessions", "KiB", NULL,
					 VALUE_MAX, 614.4},
				 wake = {"idle", "wakeups when idle", "/s", NULL, VALUE_MAX, 0},
				 wake_100 = {"idle", "wakeups with 100 idle sessions", "/s", NULL,
					 VALUE_MAX, 0},
				 many = {"idle", "Pss more for 10 000 idle sessions", "KiB", NULL,
					 VALUE_MAX, 102400};
	double alone;

	if (!begin())
		return;
	alone = (double)proc_pss_kib(agent.pid);
	table_add(&pss, alone, 0);
	table_add(&wake, wakeups(agent.pid), 0);
	for (unsigned i = 0; i < SESSIONS; i++)
		start_sleeper(i);
	usleep(200000);
	table_add(&more, (double)proc_pss_kib(agent.pid) - alone, 0);
	table_add(&wake_100, wakeups(agent.pid), 0);
	for (unsigned i = SESSIONS; i < MANY_SESSIONS && !options.quick; i++)
		start_sleeper(i);
	usleep(200000);
	if (!options.quick)
		table_add(&many, (double)proc_pss_kib(agent.pid) - alone, 0);
	end();
}

/* How far the session's stdout is; waits until it has stood still for half a second. */
static uint64_t settled_head(struct link *watch, const char *id)
{
	struct msg_request m = {.op = OP_LIST, .op_name = "list", .id = id, .limit = 1};
	uint64_t head = 0, before;
	int still = 0;

	for (int tries = 0; still < 5 && tries < 600; tries++) {
		before = head;
		usleep(100000);
		head = link_number(link_ask(watch, &m), "\"out\":{", "head");
		still = head == before ? still + 1 : 0;
	}
	return head;
}

static void measure_stopped_viewer(enum msg_policy policy)
{
	static const struct line lines[] = {
		[POLICY_LOSSLESS] = {"idle", "Pss more for a stopped lossless viewer", "KiB", NULL,
			VALUE_MAX, 2048},
		[POLICY_LIVE] = {"idle", "Pss more for a stopped live viewer", "KiB", NULL,
			VALUE_MAX, 2048}};
	static struct job job;
	uint64_t bytes = 200000000, head;
	char count[16], *argv[] = {(char *)program("floor_gen"), count, NULL};
	struct msg_open m = {.service = "exec",
		.id = "stopped",
		.window = MIB,
		.has_start = true,
		.start = {.argv = argv,
			.argc = 2,
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB},
		.attach = {.policy = policy}};
	struct link watch;
	double before;

	if (!begin())
		return;
	link_open(&watch, agent.path, UINT64_MAX, UINT64_MAX);
	snprintf(count, sizeof(count), "%llu", (unsigned long long)bytes);
	before = (double)proc_pss_kib(agent.pid);
	job_reset(&job);
	job_open_msg(&job, &l, &m);
	link_flush(&l); /* and nothing is read from here on */
	head = settled_head(&watch, "stopped");
	table_add(&lines[policy], (double)proc_pss_kib(agent.pid) - before, 0);
	if ((policy == POLICY_LIVE) != (head == bytes))
		table_note("a stopped %s viewer: %llu of %llu bytes produced",
			policy == POLICY_LIVE ? "live" : "lossless", (unsigned long long)head,
			(unsigned long long)bytes);
	while (!job.closed)
		link_must_step(&l);
	if (!job.good || job.wrong || job.next[STREAM_OUT] != bytes ||
		(policy == POLICY_LOSSLESS && job.gap))
		table_note("the stopped viewer did not get what it should afterwards");
	link_finish(&watch);
	free(argv[0]);
	end();
}

void bench_idle(void)
{
	measure_sleepers();
	measure_stopped_viewer(POLICY_LIVE);
	measure_stopped_viewer(POLICY_LOSSLESS);
}

/* ---- start ---- */

void bench_start(void)
{
	static const struct line p50 = {
		"start", "exec to first accept, p50", "us", "static accept", RATIO_MAX, 2};
	const char *binary = static_program("agentd"), *floor = static_program("floor_accept");
	const char *listen = "unix:@SOCKET@", *n = options.quick ? "20" : "50";

	if (!binary || !floor) {
		table_note("start needs the static agentd and floor_accept");
		return;
	}
	for (unsigned i = 0; i < 2 * options.rounds; i++) {
		double least = floor_value(
			floor_json("floor_start", "-n", n, "--", floor, "@SOCKET@", NULL), NULL,
			"p50_us");
		double mine = floor_value(
			floor_json("floor_start", "-n", n, "--", binary, "--listen", listen, NULL),
			NULL, "p50_us");

		table_add(&p50, mine, least);
	}
}

/* ---- flat ---- */

struct weight {
	double pss;
	size_t fds;
};

static struct weight weigh(void)
{
	usleep(300000);
	return (struct weight){(double)proc_pss_kib(agent.pid), proc_fds(agent.pid)};
}

static void add_growth(const struct line line[2], struct weight before)
{
	struct weight now = weigh();

	table_add(&line[0], now.pss - before.pss, 0);
	table_add(&line[1], (double)now.fds - (double)before.fds, 0);
}

static void run_a_lot(void)
{
	static const struct line line[] = {
		{"flat", "Pss more after 100 000 runs", "KiB", NULL, VALUE_MAX, 64},
		{"flat", "descriptors more", "", NULL, VALUE_MAX, 0}};
	static char *const command[] = {"/bin/true", NULL};
	static struct runs runs;
	struct weight before;

	runs_init(&runs, &l, command, REMOVE_REQUEST);
	runs_many(&runs, 2000, RUNS_WIDTH);
	before = weigh();
	runs_many(&runs, work(100000), RUNS_WIDTH);
	add_growth(line, before);
	if (runs.failed)
		table_note("flat: %zu runs did not end well", runs.failed);
}

static void attach_once(struct link *on, struct job *j)
{
	struct msg_open m = {.service = "exec", .id = "s0", .window = 64 * KIB};

	job_reset(j);
	job_open_msg(j, on, &m);
	while (!j->live)
		link_must_step(on);
	channel_close(&j->channel, NULL, 0);
}

/* Half of them on one link, half on a new one each. */
static void attach_a_lot(void)
{
	static const struct line line[] = {
		{"flat", "Pss more after 10 000 attach/detach", "KiB", NULL, VALUE_MAX, 64},
		{"flat", "descriptors more", "", NULL, VALUE_MAX, 0}};
	static struct job j;
	struct weight before = {0};
	size_t n = work(5000), warm = 200;
	struct link other;

	start_sleeper(0);
	for (size_t i = 0; i < warm + n; i++) {
		if (i == warm)
			before = weigh();
		attach_once(&l, &j);
		link_open(&other, agent.path, UINT64_MAX, UINT64_MAX);
		attach_once(&other, &j);
		if (i % 2)
			link_finish(&other);
		link_cut(&other);
	}
	link_flush(&l);
	add_growth(line, before);
}

void bench_flat(void)
{
	if (!begin())
		return;
	run_a_lot();
	attach_a_lot();
	end();
}

/* ---- size ---- */

void bench_size(void)
{
	static const struct line size = {"size", "static agentd", "KiB", NULL, VALUE_MAX, 1024};
	const char *binary = static_program("agentd");
	struct stat st;

	if (binary && stat(binary, &st) == 0)
		table_add(&size, (double)st.st_size / 1024, 0);
	else
		table_note("no static agentd: AGENTD_STATIC says where");
}
