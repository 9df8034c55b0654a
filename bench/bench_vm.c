/*
 * `vm`: agentd in a VM, over real vsock, beside bare programs in the same guest: floor_vsock,
 * which the agent itself brings there. The machine is that of packaging/image/vm.py;
 * without hardware virtualisation it is emulated, and even more than elsewhere only ratios count.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bench/bench_runs.h"
#include "bench/floor.h"
#include "bench/floor_vsock.h"

#define FLOOR_PORT 1025
#define GUEST_DIR  "/tmp/bench"
#define BOOT_MS    120000
#define BLOCK      50
#define PINGS      2000
#define RUNS       200
#define MESSAGE    64

#define REPLAY       "replay"
#define REPLAY_BYTES (16 * MIB)

static struct {
	pid_t pid;
	int hold; /* its stdin: closed, it ends */
	char about[512];
	char target[160], floor[160];
} vm;

static struct link l;

/* ---- the machine ---- */

static const char *image_file(const char *name)
{
	static char path[PATH_MAX + 64];
	char *slash;

	snprintf(path, sizeof(path), "%s", floor_sibling("../../image/"));
	slash = strrchr(path, '/');
	snprintf(slash + 1, 64, "%s", name);
	return path;
}

static bool there_is_an_image(void)
{
	static const char *const needed[] = {"vmlinuz", "initramfs.img", "minimal.ext4"};

	for (size_t i = 0; i < array_size(needed); i++)
		if (access(image_file(needed[i]), R_OK) < 0)
			return false;
	return true;
}

static _Noreturn void exec_vm(int in, int out)
{
	const char *program = floor_sibling("../../../packaging/image/vm.py");

	dup2(in, 0);
	dup2(out, 1);
	execl("/usr/bin/python3", "python3", program, "--wait-only", "--memory", "256", NULL);
	_exit(127);
}

static void read_line(int fd, char *line, size_t size)
{
	size_t len = 0;

	while (len < size - 1) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, BOOT_MS) <= 0 || read(fd, line + len, 1) <= 0)
			die("the VM does not start");
		if (line[len] == '\n')
			break;
		len++;
	}
	line[len] = '\0';
}

static void text_member(const char *json, const char *key, char *out, size_t size)
{
	char quoted[32];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":\"", key);
	at = strstr(json, quoted);
	if (!at)
		die("no %s in %s", key, json);
	at += strlen(quoted);
	snprintf(out, size, "%.*s", (int)strcspn(at, "\""), at);
}

static void vm_start(void)
{
	int in[2], out[2];
	char *colon;

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	vm.pid = helper_fork();
	if (vm.pid == 0)
		exec_vm(in[0], out[1]);
	close(in[0]);
	close(out[1]);
	vm.hold = in[1];
	read_line(out[0], vm.about, sizeof(vm.about));
	close(out[0]);
	text_member(vm.about, "target", vm.target, sizeof(vm.target));
	snprintf(vm.floor, sizeof(vm.floor), "%s", vm.target);
	colon = strrchr(vm.floor, ':');
	ASSERT(colon);
	snprintf(colon, sizeof(vm.floor) - (size_t)(colon - vm.floor), ":%d", FLOOR_PORT);
}

static void vm_stop(void)
{
	close(vm.hold);
	helper_wait(vm.pid);
}

/* ---- programs in it ---- */

struct guest_job {
	struct job job;
	const uint8_t *input;
	size_t left;
	char out[4096];
	size_t n;
};

static size_t feed(struct job *j, size_t max, const uint8_t **data, bool *fin)
{
	struct guest_job *g = container_of(j, struct guest_job, job);
	size_t n = min_of(max, g->left);

	*data = g->input;
	g->input += n;
	g->left -= n;
	*fin = g->left == 0;
	return n;
}

static void collect(struct job *j, uint8_t stream, const uint8_t *data, size_t len)
{
	struct guest_job *g = container_of(j, struct guest_job, job);
	size_t n = min_of(len, sizeof(g->out) - 1 - g->n);

	(void)stream;
	memcpy(g->out + g->n, data, n);
	g->n += n;
	g->out[g->n] = '\0';
}

static void guest_open(struct guest_job *g, char **argv, const uint8_t *input, size_t len)
{
	struct msg_open m = {.service = "exec",
		.window = 4 * MIB,
		.has_start = true,
		.attach = {.input = input},
		.start = {.argv = argv,
			.with_stdin = input,
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB}};

	*g = (struct guest_job){.input = input, .left = len};
	g->job.on_output = collect;
	g->job.parse_opened = input;
	g->job.input = input ? feed : NULL;
	while (argv[m.start.argc])
		m.start.argc++;
	job_open_msg(&g->job, &l, &m);
}

/* What it printed, until the next call. */
static const char *guest_run(char **argv, const uint8_t *input, size_t len)
{
	static struct guest_job g;

	guest_open(&g, argv, input, len);
	while (!g.job.closed)
		link_must_step(&l);
	if (!g.job.good)
		die("%s failed in the guest: %s", argv[0], g.out);
	return g.out;
}

static void bring(const char *name)
{
	const char *path = static_program(name);
	char script[] = "mkdir -p " GUEST_DIR " && cat >$0 && chmod 755 $0", to[64];
	char *argv[] = {"/bin/sh", "-c", script, to, NULL};
	auto_close int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	auto_free uint8_t *bytes = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die("no static %s: ./dev static", name);
	bytes = xcalloc(1, (size_t)st.st_size);
	if (read(fd, bytes, (size_t)st.st_size) != st.st_size)
		die("%s: %s", path, strerror(errno));
	snprintf(to, sizeof(to), GUEST_DIR "/%s", name);
	guest_run(argv, bytes, (size_t)st.st_size);
}

static void start_floor(void)
{
	static struct guest_job g;
	static char path[] = GUEST_DIR "/floor_vsock", port[16];
	char *argv[] = {path, "--time", "3600", port, NULL};

	snprintf(port, sizeof(port), "%d", FLOOR_PORT);
	guest_open(&g, argv, NULL, 0);
	while (g.n == 0 && !g.job.ended)
		link_must_step(&l);
	if (strncmp(g.out, "listening", 9) != 0)
		die("floor_vsock in the guest: %s", g.out);
}

/* A session that has ended and whose whole output is there. */
static void fill_replay(void)
{
	static struct guest_job g;
	char count[32], *argv[] = {GUEST_DIR "/floor_gen", count, NULL};
	struct msg_open m = {.service = "exec",
		.id = REPLAY,
		.window = 4 * MIB,
		.has_start = true,
		.start = {.argv = argv,
			.argc = 2,
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.retain_ms = 3600000,
			.has_retain = true,
			.has_ring = true,
			.ring = REPLAY_BYTES}};

	snprintf(count, sizeof(count), "%llu", (unsigned long long)REPLAY_BYTES);
	job_open_msg(&g.job, &l, &m);
	while (!g.job.closed)
		link_must_step(&l);
	if (!g.job.good)
		die("floor_gen failed in the guest");
}

/* A connection to the floor program, asked for this. */
static int ask_floor(uint32_t what, uint32_t size, uint64_t bytes)
{
	struct floor_vsock_request r = {what, size, bytes};
	int fd = link_dial(vm.floor);

	if (!floor_send_all(fd, &r, sizeof(r)))
		die("floor_vsock: %s", strerror(errno));
	return fd;
}

/* ---- start ---- */

static void boot(void)
{
	static const struct line ready = {"vm", "kernel start to agentd ready", "ms", NULL,
					 BAR_NONE, 0},
				 init = {"vm", "of it init on the root", "ms", NULL, BAR_NONE, 0},
				 agent = {"vm", "of it agentd", "ms", NULL, VALUE_MAX, 20},
				 size = {"vm", "initramfs", "MiB", NULL, VALUE_MAX, 4};
	const struct msg_request info = {.op = OP_INFO, .op_name = "info"};
	const char *json = link_ask(&l, &info);
	uint64_t at[3] = {link_number(json, "\"boot\"", "init_ms"),
		link_number(json, "\"boot\"", "agent_ms"),
		link_number(json, "\"boot\"", "ready_ms")};

	table_add(&ready, (double)at[2], 0);
	table_add(&init, (double)(at[1] - at[0]), 0);
	table_add(&agent, (double)(at[2] - at[1]), 0);
	table_add(&size, (double)link_number(vm.about, NULL, "initramfs_bytes") / (double)MIB, 0);
}

/* ---- round trips ---- */

static void ping(void)
{
	static const char text[] = "{\"op\":\"ping\"}";
	static uint64_t id;

	mux_request(&l.wire.mux, 0, ++id, text, sizeof(text) - 1);
	while (l.answered != id)
		link_must_step(&l);
}

static void bare_round_trip(int fd)
{
	static uint8_t message[MESSAGE];

	if (!floor_send_all(fd, message, MESSAGE) || !floor_recv_all(fd, message, MESSAGE))
		die("floor_vsock: %s", strerror(errno));
}

/* Returns the bare p50. */
static double round_trips(int fd, size_t n)
{
	static const struct line p50 = {"vm", "ping, p50", "us", "bare echo", RATIO_MAX, 1.30},
				 p99 = {"vm", "ping, p99", "us", "bare echo", BAR_NONE, 0};
	static uint64_t samples[2][PINGS + BLOCK];
	size_t done = 0;
	double bare;

	while (done < n) {
		for (size_t i = 0; i < 2 * BLOCK; i++) {
			uint64_t t0 = floor_now_ns();

			if (i < BLOCK)
				ping();
			else
				bare_round_trip(fd);
			samples[i / BLOCK][done + i % BLOCK] = floor_now_ns() - t0;
		}
		done += BLOCK;
	}
	bare = floor_percentile(samples[1], done, 50, 1e3);
	table_add(&p50, floor_percentile(samples[0], done, 50, 1e3), bare);
	table_add(&p99, floor_percentile(samples[0], done, 99, 1e3),
		floor_percentile(samples[1], done, 99, 1e3));
	return bare;
}

/* ---- bytes ---- */

static double rate(uint64_t bytes, uint64_t t0)
{
	return (double)bytes * 1e3 / (double)(floor_now_ns() - t0);
}

static double bare_bytes(uint32_t what, uint64_t bytes)
{
	static uint8_t buf[LINK_READ];
	uint64_t t0 = floor_now_ns(), got = 0;
	int fd = ask_floor(what, FLOOR_VSOCK_MAX, bytes);
	double r;

	while (got < bytes) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n <= 0)
			die("floor_vsock: %s", n < 0 ? strerror(errno) : "it hung up");
		got += (uint64_t)n;
	}
	r = rate(bytes, t0);
	close(fd);
	return r;
}

static double agent_bytes(uint64_t bytes)
{
	static struct guest_job g;
	char count[32], *argv[] = {GUEST_DIR "/floor_gen", count, NULL};
	uint64_t t0 = floor_now_ns();

	snprintf(count, sizeof(count), "%llu", (unsigned long long)bytes);
	guest_open(&g, argv, NULL, 0);
	while (!g.job.closed)
		link_must_step(&l);
	if (!g.job.good || g.job.wrong || g.job.gap || g.job.bytes != bytes)
		table_note("vm: a stream did not come whole");
	return rate(bytes, t0);
}

/* What a session has printed before, from its ring: the link alone. */
static double agent_replay(void)
{
	static struct guest_job g;
	struct msg_open m = {.service = "exec", .id = REPLAY, .window = 4 * MIB};
	uint64_t t0 = floor_now_ns();

	g = (struct guest_job){0};
	job_open_msg(&g.job, &l, &m);
	while (!g.job.closed)
		link_must_step(&l);
	if (!g.job.good || g.job.wrong || g.job.gap || g.job.bytes != REPLAY_BYTES)
		table_note("vm: a replay did not come whole: %llu bytes, %llu missing%s",
			(unsigned long long)g.job.bytes, (unsigned long long)g.job.gap,
			g.job.wrong ? ", wrong" : "");
	return rate(REPLAY_BYTES, t0);
}

static void throughput(uint64_t bytes)
{
	static const struct line replay = {"vm", "replay of 16 MiB", "MB/s", "bare send", RATIO_MIN,
					 0.85},
				 copied = {"vm", "64 MiB stdout", "MB/s", "bare pipe copy",
					 RATIO_MIN, 0.85},
				 sent = {"vm", "64 MiB stdout", "MB/s", "bare send, no pipe",
					 BAR_NONE, 0};
	double bare_send = bare_bytes(FLOOR_VSOCK_SEND, bytes);
	double mine = agent_bytes(bytes), bare_copy = bare_bytes(FLOOR_VSOCK_COPY, bytes);

	table_add(&copied, mine, bare_copy);
	table_add(&sent, mine, bare_send);
	bare_send = bare_bytes(FLOOR_VSOCK_SEND, REPLAY_BYTES);
	table_add(&replay, agent_replay(), bare_send);
}

/* ---- commands ---- */

/* n at once, as one answer. */
static void bare_runs(int fd, uint64_t *samples, size_t n)
{
	uint8_t go = 0;

	if (!floor_send_all(fd, &go, 1) || !floor_recv_all(fd, samples, n * sizeof(*samples)))
		die("floor_vsock: %s", strerror(errno));
}

/* loop: runs without us in between; asked: each of them asked for and answered. */
static void commands(struct runs *r, int loop, int asked, size_t n, double round_trip)
{
	static const struct line p50 = {"vm", "/bin/true less a round trip, p50", "us",
					 "bare spawn loop", RATIO_MAX, 1.25},
				 whole = {"vm", "/bin/true, p50", "us", "bare spawn, asked",
					 BAR_NONE, 0};
	static uint64_t mine[RUNS + FLOOR_VSOCK_RUNS], bare[2][RUNS + FLOOR_VSOCK_RUNS];
	double mine_p50;
	size_t done;

	for (done = 0; done < n; done += FLOOR_VSOCK_RUNS) {
		bare_runs(loop, bare[0] + done, FLOOR_VSOCK_RUNS);
		for (size_t i = 0; i < 2 * FLOOR_VSOCK_RUNS; i++) {
			uint64_t t0 = floor_now_ns(), unused;

			if (i < FLOOR_VSOCK_RUNS) {
				runs_one(r);
				mine[done + i] = floor_now_ns() - t0;
			} else {
				bare_runs(asked, &unused, 1);
				bare[1][done + i - FLOOR_VSOCK_RUNS] = floor_now_ns() - t0;
			}
		}
		link_flush(&l);
	}
	mine_p50 = floor_percentile(mine, done, 50, 1e3);
	table_add(&p50, mine_p50 - round_trip, floor_percentile(bare[0], done, 50, 1e3));
	table_add(&whole, mine_p50, floor_percentile(bare[1], done, 50, 1e3));
}

void bench_vm(void)
{
	static char *const command[] = {"/bin/true", NULL};
	static const char *const programs[] = {"floor_vsock", "floor_gen"};
	static struct runs runs;
	char accel[16];
	int echo, loop, asked;

	if (!there_is_an_image()) {
		table_note("vm: left out, there is no image: ./dev image --flavour minimal");
		return;
	}
	vm_start();
	link_open(&l, vm.target, UINT64_MAX, UINT64_MAX);
	boot();
	for (size_t i = 0; i < array_size(programs); i++)
		bring(programs[i]);
	start_floor();
	fill_replay();
	runs_init(&runs, &l, command, REMOVE_REQUEST);
	echo = ask_floor(FLOOR_VSOCK_ECHO, MESSAGE, 0);
	loop = ask_floor(FLOOR_VSOCK_SPAWN, FLOOR_VSOCK_RUNS, 0);
	asked = ask_floor(FLOOR_VSOCK_SPAWN, 1, 0);
	for (size_t i = 0; i < BLOCK; i++) {
		ping();
		bare_round_trip(echo);
	}
	for (size_t i = 0; i < 100;
		i++) /* until malloc keeps what it is asked for again and again */
		runs_one(&runs);
	for (unsigned i = 0; i < options.rounds; i++) {
		double bare = round_trips(echo, work(PINGS));

		throughput(work(64 * MIB));
		commands(&runs, loop, asked, work(RUNS), bare);
	}
	if (runs.failed)
		table_note("vm: %zu runs of %s did not end well", runs.failed, command[0]);
	text_member(vm.about, "accel", accel, sizeof(accel));
	if (strcmp(accel, "tcg") == 0)
		table_note("vm: the machine is emulated, there is no KVM here");
	close(echo);
	close(loop);
	close(asked);
	link_finish(&l);
	vm_stop();
}
