/*
 * floor_rtt - the round trip of a small message over a unix socket between two processes that do
 * nothing else: blocking send, blocking receive.
 */
#include "floor.h"

static const char usage[] =
	"usage: floor_rtt [options]               both ends, joined by a socketpair\n"
	"       floor_rtt [options] --server PATH echoes until it is ended, one peer at a time\n"
	"       floor_rtt [options] --client PATH\n"
	"  -n N      round trips, default 50000\n"
	"  --cpu C   pinned to one CPU; without it both ends measure twice: on CPU 0 and free\n"
	"  --size B  bytes of a message, default 64\n"
	"  --time S  seconds at most, default 60\n"
	"  --json    one JSON object\n";

static uint8_t message[65536];
static bool json;

static void echo(int fd, size_t size)
{
	while (floor_recv_all(fd, message, size) && floor_send_all(fd, message, size))
		;
	close(fd);
}

static void round_trip(int fd, size_t size)
{
	if (!floor_send_all(fd, message, size) || !floor_recv_all(fd, message, size))
		floor_die("the link broke");
}

static void measure(const char *mode, int fd, size_t size, size_t n)
{
	uint64_t *samples = calloc(n, sizeof(*samples)), t0;

	if (!samples)
		floor_die("no memory");
	for (size_t i = 0; i < n / 20 + 1; i++)
		round_trip(fd, size);
	for (size_t i = 0; i < n; i++) {
		t0 = floor_now_ns();
		round_trip(fd, size);
		samples[i] = floor_now_ns() - t0;
	}

	struct floor_field f[] = {
		{"p50_us", "p50", "us", floor_percentile(samples, n, 50, 1e3)},
		{"p99_us", "p99", "us", floor_percentile(samples, n, 99, 1e3)},
		{"size", "of", "bytes", (double)size},
		{"n", "of", "round trips", (double)n},
	};
	floor_report(json, "floor_rtt", mode, f, 4);
	free(samples);
}

static void both_ends(int cpu, size_t size, size_t n)
{
	int pair[2];
	pid_t server;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		floor_die("socketpair");
	server = floor_fork();
	floor_pin(cpu);
	if (server == 0) {
		close(pair[0]);
		echo(pair[1], size);
		_exit(0);
	}
	close(pair[1]);
	measure(cpu < 0 ? "any_cpu" : "one_cpu", pair[0], size, n);
	close(pair[0]);
	floor_reap(server);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"server", required_argument, NULL, 's'},
		{"client", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 'z'},
		{"time", required_argument, NULL, 't'}, {"cpu", required_argument, NULL, 'C'},
		{"json", no_argument, NULL, 'J'}, {0}};
	const char *server = NULL, *client = NULL;
	size_t n = 50000, size = 64;
	unsigned int seconds = 60;
	int cpu = -1, opt, fd;

	while ((opt = getopt_long(argc, argv, "n:", options, NULL)) != -1) {
		switch (opt) {
		case 'n': n = floor_number(optarg, 1, 10000000); break;
		case 's': server = optarg; break;
		case 'c': client = optarg; break;
		case 'z': size = floor_number(optarg, 1, sizeof(message)); break;
		case 't': seconds = (unsigned int)floor_number(optarg, 1, 86400); break;
		case 'J': json = true; break;
		case 'C': cpu = (int)floor_number(optarg, 0, CPU_SETSIZE - 1); break;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (optind < argc || (server && client)) {
		fputs(usage, stderr);
		return 2;
	}
	floor_begin(seconds);
	if (server || client)
		floor_pin(cpu);
	if (server) {
		floor_term_code = 0;
		fd = floor_listen(server);
		for (;;)
			echo(accept4(fd, NULL, NULL, SOCK_CLOEXEC), size);
	} else if (client) {
		fd = floor_connect(client);
		measure(cpu < 0 ? "any_cpu" : "one_cpu", fd, size, n);
		close(fd);
	} else {
		if (cpu < 0)
			both_ends(-1, size, n);
		both_ends(cpu < 0 ? 0 : cpu, size, n);
	}
	return 0;
}
