/*
 * floor_start - how long from exec until the first successful connect(): starts the command, tries
 * to connect again and again, ends it. The clock starts before vfork, so every command pays for the
 * same fork.
 */
#include "floor.h"

static const char usage[] =
	"usage: floor_start [options] [--] [COMMAND [ARG...]]     default: floor_accept SOCKET\n"
	"  --socket PATH  where the command listens, default a fresh name in $TMPDIR or /tmp\n"
	"  -n N           starts, default 200\n"
	"  --every US     microseconds between two tries, default 5\n"
	"  --stderr       lets the command write to our stdout and stderr\n"
	"  --time S       seconds at most, default 120\n"
	"  --json         one JSON object\n"
	"In an ARG, @SOCKET@ stands for the path: floor_start -- agentd --listen unix:@SOCKET@\n";

static char path[sizeof(floor_socket)];
static uint64_t every_ns = 5000;
static int null = -1;

static void stop(pid_t pid)
{
	uint64_t limit = floor_now_ns() + 2000000000ULL;

	kill(pid, SIGTERM);
	while (!floor_ended(pid)) {
		if (floor_now_ns() > limit)
			kill(pid, SIGKILL);
		usleep(200);
	}
	floor_reap(pid);
	unlink(path);
}

static uint64_t start(char **argv)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int std[3] = {null, null, null};
	struct sockaddr_un sa;
	uint64_t t0, now, tried;
	pid_t pid;

	if (null < 0)
		std[1] = std[2] = -1;
	floor_address(&sa, path);
	t0 = floor_now_ns();
	pid = floor_vfork(argv, std);
	if (pid < 0)
		floor_die("cannot start %s", argv[0]);
	while (tried = floor_now_ns(), connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (errno != ENOENT && errno != ECONNREFUSED)
			floor_die("connect %s", path);
		if (floor_ended(pid))
			errno = 0, floor_die("%s ended without listening on %s", argv[0], path);
		/* Spinning, as a sleep wakes up too late; yielding, as the child may be waiting for
		 * this very CPU. */
		do
			sched_yield();
		while (floor_now_ns() - tried < every_ns);
	}
	now = floor_now_ns();
	close(fd);
	stop(pid);
	return now - t0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, 's'},
		{"every", required_argument, NULL, 'e'}, {"stderr", no_argument, NULL, 'E'},
		{"time", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'J'}, {0}};
	const char *tmp = getenv("TMPDIR"), *at;
	static char args[64][PATH_MAX];
	static char *command[65];
	unsigned int seconds = 120;
	bool json = false, talk = false;
	uint64_t *samples;
	size_t n = 200;
	int opt;

	snprintf(path, sizeof(path), "%s/floor_start-%d.sock", tmp ? tmp : "/tmp", getpid());
	while ((opt = getopt_long(argc, argv, "+n:", options, NULL)) != -1) {
		switch (opt) {
		case 'n': n = floor_number(optarg, 1, 100000); break;
		case 's': snprintf(path, sizeof(path), "%s", optarg); break;
		case 'e': every_ns = 1000 * floor_number(optarg, 0, 1000000); break;
		case 'E': talk = true; break;
		case 't': seconds = (unsigned int)floor_number(optarg, 1, 86400); break;
		case 'J': json = true; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	floor_begin(seconds);
	samples = calloc(n, sizeof(*samples));
	if (!samples)
		floor_die("no memory");
	if (!talk && (null = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
		floor_die("/dev/null");
	if (optind == argc) {
		command[0] = (char *)floor_sibling("floor_accept");
		command[1] = path;
	}
	for (int i = 0; i < argc - optind && i < 64; i++) {
		const char *arg = argv[optind + i];

		command[i] = args[i];
		at = strstr(arg, "@SOCKET@");
		if (at)
			snprintf(args[i], sizeof(args[i]), "%.*s%s%s", (int)(at - arg), arg, path,
				at + 8);
		else
			snprintf(args[i], sizeof(args[i]), "%s", arg);
	}
	unlink(path);
	memcpy(floor_socket, path, sizeof(path));
	for (int i = 0; i < 5; i++)
		start(command);
	for (size_t i = 0; i < n; i++)
		samples[i] = start(command);

	struct floor_field f[] = {
		{"p50_us", "p50", "us", floor_percentile(samples, n, 50, 1e3)},
		{"p99_us", "p99", "us", floor_percentile(samples, n, 99, 1e3)},
		{"min_us", "least", "us", (double)samples[0] / 1e3},
		{"n", "of", "starts", (double)n},
	};
	floor_report(json, "floor_start", "exec_to_connect", f, 4);
	free(samples);
	return 0;
}
