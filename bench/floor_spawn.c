/*
 * floor_spawn - what the kernel asks for running a command: vfork and exec, both output pipes read
 * to their ends, waitpid. One after another, and with -j at once by a single thread.
 */
#include "floor.h"

static const char usage[] =
	"usage: floor_spawn [options] [--] [COMMAND [ARG...]]     default: /bin/true\n"
	"  -n N      runs of each kind, default 2000\n"
	"  -j J      runs in flight in the second part, default 16, 0 leaves it out, at most 64\n"
	"  --only    leaves the first part out\n"
	"  --time S  seconds at most, default 120\n"
	"  --json    one JSON object per line\n";

#define MAX_JOBS 64

struct job {
	struct floor_command command; /* pid 0: free */
	struct floor_output out[2];
};

static struct job jobs[MAX_JOBS];
static size_t failed; /* ended with another status than 0, in the measurement that runs */
static bool any_failed;

static void check(int status)
{
	if (status == -1)
		floor_die("cannot start the command");
	failed += status != 0;
	any_failed |= status != 0;
}

static void one_after_another(char **argv, size_t n, bool json)
{
	uint64_t *samples = calloc(n, sizeof(*samples)), t0, cpu;
	struct floor_field f[5];

	if (!samples)
		floor_die("no memory");
	for (size_t i = 0; i < n / 20 + 1; i++)
		check(floor_run(argv, jobs[0].out));
	failed = 0;
	cpu = floor_cpu_ns(0);
	for (size_t i = 0; i < n; i++) {
		t0 = floor_now_ns();
		check(floor_run(argv, jobs[0].out));
		samples[i] = floor_now_ns() - t0;
	}
	cpu = floor_cpu_ns(0) - cpu;
	f[0] = (struct floor_field){"p50_us", "p50", "us", floor_percentile(samples, n, 50, 1e3)};
	f[1] = (struct floor_field){"p99_us", "p99", "us", floor_percentile(samples, n, 99, 1e3)};
	f[2] = (struct floor_field){"cpu_us", "cpu", "us/run", (double)cpu / 1e3 / (double)n};
	f[3] = (struct floor_field){"n", "of", "runs", (double)n};
	f[4] = (struct floor_field){"failed", "failed", "", (double)failed};
	floor_report(json, "floor_spawn", "sequential", f, failed ? 5 : 4);
	free(samples);
}

static void many_at_once(char **argv, size_t n, size_t width)
{
	struct pollfd fds[2 * MAX_JOBS];
	size_t started = 0, ended = 0;

	for (size_t i = 0; i < 2 * width; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	while (ended < n) {
		for (size_t i = 0; i < width && started < n; i++) {
			struct floor_command *c = &jobs[i].command;

			if (c->pid)
				continue;
			if (!floor_start_command(c, argv))
				floor_die("cannot start the command");
			started++;
			for (int s = 0; s < 2; s++) {
				jobs[i].out[s].len = 0;
				fds[2 * i + (size_t)s].fd = c->fd[s];
			}
		}
		if (poll(fds, 2 * width, -1) < 0 && errno != EINTR)
			floor_die("poll");
		for (size_t i = 0; i < 2 * width; i++) {
			struct job *j = &jobs[i / 2];

			if (fds[i].fd < 0 || !fds[i].revents ||
				floor_read_some(&j->command.fd[i % 2], &j->out[i % 2]))
				continue;
			fds[i].fd = -1;
			if (j->command.fd[0] >= 0 || j->command.fd[1] >= 0)
				continue;
			check(floor_reap(j->command.pid));
			j->command.pid = 0;
			ended++;
		}
	}
}

static void at_once(char **argv, size_t n, size_t width, bool json)
{
	struct floor_field f[5];
	uint64_t t0, cpu;
	char mode[32];

	many_at_once(argv, n / 20 + width, width);
	failed = 0;
	cpu = floor_cpu_ns(0);
	t0 = floor_now_ns();
	many_at_once(argv, n, width);
	t0 = floor_now_ns() - t0;
	cpu = floor_cpu_ns(0) - cpu;
	snprintf(mode, sizeof(mode), "%zu_at_once", width);
	f[0] = (struct floor_field){"runs_per_s", "rate", "runs/s", (double)n * 1e9 / (double)t0};
	f[1] = (struct floor_field){"cpu_us", "cpu", "us/run", (double)cpu / 1e3 / (double)n};
	f[2] = (struct floor_field){"n", "of", "runs", (double)n};
	f[3] = (struct floor_field){"failed", "failed", "", (double)failed};
	floor_report(json, "floor_spawn", mode, f, failed ? 4 : 3);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'J'},
		{"only", no_argument, NULL, 'o'}, {"time", required_argument, NULL, 't'}, {0}};
	static char *const default_command[] = {"/bin/true", NULL};
	size_t n = 2000, width = 16;
	unsigned int seconds = 120;
	bool json = false, only = false;
	char **command;
	int opt;

	while ((opt = getopt_long(argc, argv, "+n:j:", options, NULL)) != -1) {
		switch (opt) {
		case 'n': n = floor_number(optarg, 1, 10000000); break;
		case 'j': width = floor_number(optarg, 0, MAX_JOBS); break;
		case 'o': only = true; break;
		case 't': seconds = (unsigned int)floor_number(optarg, 1, 86400); break;
		case 'J': json = true; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	command = optind < argc ? argv + optind : (char **)default_command;
	floor_begin(seconds);
	if (!only)
		one_after_another(command, n, json);
	if (width > 0)
		at_once(command, n, width, json);
	return any_failed;
}
