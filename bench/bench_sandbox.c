/*
 * `sandbox`: a VM of the bridge, from the request to the end of its first command, to sleep and
 * back, beside the same steps with nothing around QEMU (floor_sandbox.py), in turn. Without
 * hardware virtualisation the machines are emulated.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "bench/bench_web.h"
#include "bench/floor.h"

#define CREATES 5 /* a round */
#define SLEEPS  3
#define FORKS   4
#define IDLE    20
#define ID_MAX  32
#define SPEC    "{\"templateID\":\"minimal\",\"memoryMB\":256,\"cpuCount\":1,\"timeout\":0}"
#define SMALL   "{\"templateID\":\"minimal\",\"memoryMB\":128,\"cpuCount\":1,\"timeout\":0}"

static struct web web;
static struct agent bridge;
static unsigned port;
static const char *state_dir;
static FILE *ask_floor, *floor_answers;
static double cold_ms;

/* ---- the floor ---- */

static _Noreturn void exec_floor(int in, int out)
{
	const char *agentctl = program("agentctl");
	const char *script = floor_sibling("../../../bench/floor_sandbox.py");

	dup2(in, 0);
	dup2(out, 1);
	execl("/usr/bin/python3", "python3", script, agentctl, (char *)NULL);
	_exit(127);
}

static void floor_line(char *line, size_t size)
{
	if (!fgets(line, (int)size, floor_answers))
		die("floor_sandbox.py ended");
}

static double bare(const char *what)
{
	char line[64];

	fprintf(ask_floor, "%s\n", what);
	fflush(ask_floor);
	floor_line(line, sizeof(line));
	return strtod(line, NULL);
}

static pid_t start_floor(void)
{
	int in[2], out[2];
	char line[256];
	const char *cold;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	pid = helper_fork();
	if (pid == 0)
		exec_floor(in[0], out[1]);
	close(in[0]);
	close(out[1]);
	ask_floor = fdopen(in[1], "w");
	floor_answers = fdopen(out[0], "r");
	if (!ask_floor || !floor_answers)
		die("no memory");
	floor_line(line, sizeof(line));
	cold = strstr(line, "\"cold_ms\":");
	if (!cold)
		die("floor_sandbox.py says %s", line);
	cold_ms = strtod(cold + strlen("\"cold_ms\":"), NULL);
	if (strstr(line, "\"tcg\""))
		table_note("sandbox: the machines are emulated, there is no KVM here");
	return pid;
}

/* ---- the bridge ---- */

static void expect(
	struct web *w, int status, const char *method, const char *path, const char *json)
{
	web_ask(w, method, path, json);
	if (w->status != status)
		die("%s %s: %d %s", method, path, w->status, w->body);
}

static void first_command(struct web *w, const char *id)
{
	char path[128];

	snprintf(path, sizeof(path), "/sandboxes/%s/exec/run", id);
	expect(w, 200, "POST", path, "{\"cmd\":\"/bin/true\"}");
	if (!strstr(w->body, "\"exitCode\":0"))
		die("exec/run: %s", w->body);
}

/* From that path, which answers with a new sandbox. */
static void make(struct web *w, const char *path, const char *json, char id[ID_MAX])
{
	expect(w, 201, "POST", path, json);
	snprintf(id, ID_MAX, "%s", web_member(w, "sandboxID"));
	first_command(w, id);
}

/* Of its own; layers are everybody's. */
static double disk_mib(const char *id)
{
	char path[512];
	struct stat st;
	const struct dirent *e;
	uint64_t blocks = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/boxes/%s", state_dir, id);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode) && st.st_nlink == 1)
			blocks += (uint64_t)st.st_blocks;
	}
	if (d)
		closedir(d);
	return (double)blocks / 2048;
}

static void hibernate(const char *id)
{
	char path[128];

	snprintf(path, sizeof(path), "/sandboxes/%s/hibernate", id);
	expect(&web, 200, "POST", path, NULL);
}

static void end(const char *id)
{
	char path[128];

	snprintf(path, sizeof(path), "/sandboxes/%s", id);
	expect(&web, 204, "DELETE", path, NULL);
}

/* ---- what is measured ---- */

static double ms_since(uint64_t t0)
{
	return (double)(floor_now_ns() - t0) / 1e6;
}

static void creates(size_t n)
{
	static const struct line p50 = {"sandbox", "create, first command, p50", "ms", "bare QEMU",
					 RATIO_MAX, 1.25},
				 p95 = {"sandbox", "create, first command, p95", "ms", "bare QEMU",
					 RATIO_MAX, 1.25},
				 cold = {"sandbox", "create, first command, p50", "ms",
					 "bare cold boot", BAR_NONE, 0};
	uint64_t mine[CREATES], theirs[CREATES];
	double middle;

	for (size_t i = 0; i < n; i++) {
		char id[ID_MAX];
		uint64_t t0;

		theirs[i] = (uint64_t)(bare("create") * 1e6);
		bare("end");
		t0 = floor_now_ns();
		make(&web, "/sandboxes", SPEC, id);
		mine[i] = floor_now_ns() - t0;
		end(id);
	}
	middle = floor_percentile(mine, n, 50, 1e6);
	table_add(&p50, middle, floor_percentile(theirs, n, 50, 1e6));
	table_add(&p95, floor_percentile(mine, n, 95, 1e6), floor_percentile(theirs, n, 95, 1e6));
	table_add(&cold, middle, cold_ms);
}

static void sleeps(size_t n)
{
	static const struct line down = {"sandbox", "hibernate, p50", "ms", "bare QEMU", VALUE_MAX,
					 250},
				 up = {"sandbox", "wake, first command, p50", "ms", "bare QEMU",
					 VALUE_MAX, 400};
	static const struct line left = {
		"sandbox", "processes of a hibernated one", "", NULL, VALUE_MAX, 0};
	static const struct line disk = {
		"sandbox", "disk of a hibernated one of 256 MiB", "MiB", NULL, BAR_NONE, 0};
	uint64_t mine[2][SLEEPS], theirs[2][SLEEPS];
	char id[ID_MAX];
	pid_t pids[16];

	bare("create");
	make(&web, "/sandboxes", SPEC, id);
	for (size_t i = 0; i < n; i++) {
		uint64_t t0;

		theirs[0][i] = (uint64_t)(bare("save") * 1e6);
		theirs[1][i] = (uint64_t)(bare("wake") * 1e6);
		t0 = floor_now_ns();
		hibernate(id);
		mine[0][i] = floor_now_ns() - t0;
		table_add(&left, (double)proc_below(state_dir, pids, array_size(pids)), 0);
		table_add(&disk, disk_mib(id), 0);
		t0 = floor_now_ns();
		first_command(&web, id);
		mine[1][i] = floor_now_ns() - t0;
	}
	bare("end");
	end(id);
	table_add(&down, floor_percentile(mine[0], n, 50, 1e6),
		floor_percentile(theirs[0], n, 50, 1e6));
	table_add(&up, floor_percentile(mine[1], n, 50, 1e6),
		floor_percentile(theirs[1], n, 50, 1e6));
}

static _Noreturn void fork_one(const char *path, int out)
{
	static struct web own;
	char id[ID_MAX] = "";

	web_open(&own, port);
	make(&own, path, "{\"timeout\":0}", id);
	_exit(write(out, id, sizeof(id)) == sizeof(id) ? 0 : 1); /* whole: it is short */
}

/* All at once, from one checkpoint. */
static void forks(const char *path)
{
	static const struct line line = {
		"sandbox", "4 forks at once, first commands", "ms", NULL, BAR_NONE, 0};
	char ids[FORKS][ID_MAX];
	pid_t pids[FORKS];
	int out[2];
	uint64_t t0 = floor_now_ns();

	if (pipe2(out, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	for (size_t i = 0; i < FORKS; i++) {
		pids[i] = helper_fork();
		if (pids[i] == 0)
			fork_one(path, out[1]);
	}
	close(out[1]);
	for (size_t i = 0; i < FORKS; i++) {
		size_t got = 0;

		while (got < ID_MAX) {
			ssize_t r = read(out[0], ids[i] + got, ID_MAX - got);

			if (r <= 0)
				die("a fork did not come up");
			got += (size_t)r;
		}
	}
	table_add(&line, ms_since(t0), 0);
	close(out[0]);
	for (size_t i = 0; i < FORKS; i++) {
		helper_wait(pids[i]);
		end(ids[i]);
	}
}

static void many_forks(unsigned rounds)
{
	char id[ID_MAX], list[128], path[160];
	uint64_t limit = floor_now_ns() + 30000000000ULL;

	make(&web, "/sandboxes", SPEC, id);
	snprintf(list, sizeof(list), "/sandboxes/%s/checkpoints", id);
	expect(&web, 201, "POST", list, "{\"name\":\"bench\"}");
	snprintf(path, sizeof(path), "/sandboxes/from-checkpoint/%s", web_member(&web, "id"));
	do {
		expect(&web, 200, "GET", list, NULL);
		if (floor_now_ns() > limit)
			die("the checkpoint is not made: %s", web.body);
		usleep(5000);
	} while (!strstr(web.body, "\"ready\""));
	end(id);
	for (unsigned i = 0; i < rounds; i++)
		forks(path);
}

/* ---- idle ones ---- */

static void idle(void)
{
	static const struct line memory = {
		"sandbox", "memory of an idle one of 128 MiB", "MiB", NULL, BAR_NONE, 0};
	static const struct line cpu = {
		"sandbox", "bridge CPU, 20 idle ones", "%", NULL, VALUE_MAX, 1};
	char ids[IDLE][ID_MAX];
	unsigned seconds = options.quick ? 5 : 20;
	pid_t pids[IDLE * 4];
	size_t n, kib = 0;
	uint64_t before;

	for (size_t i = 0; i < IDLE; i++)
		make(&web, "/sandboxes", SMALL, ids[i]);
	sleep(options.quick ? 2 : 10); /* until what they did at first is done */
	before = proc_cpu_ns(bridge.pid);
	sleep(seconds);
	table_add(&cpu, (double)(proc_cpu_ns(bridge.pid) - before) / 1e7 / seconds, 0);
	n = proc_below(state_dir, pids, array_size(pids));
	for (size_t i = 0; i < n; i++)
		kib += proc_pss_kib(pids[i]);
	table_add(&memory, (double)kib / 1024 / IDLE, 0);
	for (size_t i = 0; i < IDLE; i++)
		end(ids[i]);
}

void bench_sandbox(void)
{
	const char *binary = program("bridge");
	char images[PATH_MAX], file[PATH_MAX + 16];
	pid_t helper;

	snprintf(images, sizeof(images), "%s", floor_sibling("../../image"));
	snprintf(file, sizeof(file), "%s/minimal.ext4", images);
	if (access(file, R_OK) < 0) {
		table_note("sandbox: left out, there is no image: ./dev image --flavour minimal");
		return;
	}
	if (!binary || !program("agentctl"))
		die("bridge or agentctl is not built");
	helper = start_floor();
	state_dir = proc_state();
	port = server_start(&bridge,
		(const char *const[]){binary, "--port", "0", "--state", state_dir, "--driver", "vm",
			"--image-dir", images, "--no-auth", NULL},
		"listening on http://127.0.0.1:");
	web_open(&web, port);
	creates(1); /* makes the golden snapshot */
	table_forget("sandbox");
	for (unsigned i = 0; i < options.rounds; i++) {
		creates(options.quick ? 2 : CREATES);
		sleeps(options.quick ? 1 : SLEEPS);
	}
	many_forks(options.quick ? 1 : 3);
	idle();
	table_note("sandbox: p95 is of %d a round", options.quick ? 2 : CREATES);
	web_close(&web);
	agent_stop(&bridge);
	fclose(ask_floor);
	fclose(floor_answers);
	helper_wait(helper);
}
