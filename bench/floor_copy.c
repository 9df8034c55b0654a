/*
 * floor_copy - the bare path of a command's output: the command writes to a pipe, the copier reads
 * the pipe and writes to a unix socket, the client reads the socket. Three processes, large reads.
 */
#include "floor.h"
#include <sys/mman.h>
#include <sys/resource.h>

static const char usage[] =
	"usage: floor_copy [options] [--] [COMMAND [ARG...]]     default: floor_gen BYTES\n"
	"  --bytes N[K|M|G]  what the command writes, default 1G\n"
	"  --read N          bytes per read and write of the copier, default 256K\n"
	"  --pipe N          size of the pipe, default 1M\n"
	"  --sndbuf N        SO_SNDBUF of the copier, default 0: the system's\n"
	"  -n N              rounds, default 5; the median is given\n"
	"  --verify          the client compares what comes with the stream (SEED 1)\n"
	"  --time S          seconds at most, default 120\n"
	"  --json            one JSON object\n";

#define MOST ((size_t)1024 * 1024)

static struct settings {
	uint64_t bytes;
	size_t read, pipe, sndbuf;
	char **command;
	bool verify;
} set = {.bytes = 1ULL << 30, .read = 256 * 1024, .pipe = 1024 * 1024};

static struct shared { /* what the copier tells the client */
	uint64_t started, cpu_ns;
} * shared;

static uint8_t buffer[MOST];
static struct floor_gen gen;

static uint64_t cpu_now(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000ULL +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000ULL;
}

static void copy(int sock)
{
	uint64_t cpu;
	int p[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC), bytes = (int)set.sndbuf;
	ssize_t n;
	pid_t pid;

	if (null < 0 || pipe2(p, O_CLOEXEC) < 0 || fcntl(p[1], F_SETPIPE_SZ, (int)set.pipe) < 0)
		floor_die("pipe");
	if (bytes && setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0)
		floor_die("SO_SNDBUF");
	memset(buffer, 1, sizeof(buffer)); /* page faults are not what is measured */
	shared->started = floor_now_ns();
	cpu = cpu_now();
	pid = floor_vfork(set.command, (int[3]){null, p[1], -1});
	if (pid < 0)
		floor_die("cannot start %s", set.command[0]);
	close(p[1]);
	while ((n = read(p[0], buffer, set.read)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || !floor_send_all(sock, buffer, (size_t)n))
			floor_die("copy");
	}
	shared->cpu_ns = cpu_now() - cpu;
	if (floor_reap(pid) != 0)
		errno = 0, floor_die("the command failed");
}

/* Nanoseconds from the start of the command to the end of the stream. */
static uint64_t one_round(void)
{
	uint64_t got = 0, took;
	int pair[2];
	pid_t copier;
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		floor_die("socketpair");
	if (set.verify)
		floor_gen_init(&gen, 1);
	copier = floor_fork();
	if (copier == 0) {
		close(pair[0]);
		copy(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	while ((n = recv(pair[0], buffer, 256 * 1024, 0)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			floor_die("recv");
		if (set.verify && floor_gen_check(&gen, buffer, (size_t)n) != (size_t)n)
			errno = 0, floor_die("wrong data");
		got += (uint64_t)n;
	}
	took = floor_now_ns() - shared->started;
	close(pair[0]);
	errno = 0;
	if (floor_reap(copier) != 0)
		floor_die("the copier failed");
	if (got != set.bytes)
		floor_die("%llu bytes came", (unsigned long long)got);
	return took;
}

static void measure(size_t rounds, bool json)
{
	uint64_t times[1000], cpus[1000];
	double bytes = (double)set.bytes;
	char mode[32];

	one_round();
	for (size_t i = 0; i < rounds; i++) {
		times[i] = one_round();
		cpus[i] = shared->cpu_ns;
	}
	snprintf(mode, sizeof(mode), "%zuk_reads", set.read / 1024);

	double median = floor_percentile(times, rounds, 50, 1e9);
	struct floor_field f[] = {
		{"mb_per_s", "rate", "MB/s", bytes / 1e6 / median},
		{"best_mb_per_s", "best", "MB/s", bytes / 1e6 / ((double)times[0] / 1e9)},
		{"cpu_s_per_gb", "cpu", "s/GB",
			floor_percentile(cpus, rounds, 50, 1e9) / (bytes / 1e9)},
		{"bytes", "of", "bytes", bytes},
		{"n", "of", "rounds", (double)rounds},
	};
	floor_report(json, "floor_copy", mode, f, 5);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"bytes", required_argument, NULL, 'b'},
		{"read", required_argument, NULL, 'r'}, {"pipe", required_argument, NULL, 'p'},
		{"sndbuf", required_argument, NULL, 's'}, {"verify", no_argument, NULL, 'v'},
		{"time", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'J'}, {0}};
	static char number[32];
	static char *generate[] = {NULL, number, NULL};
	unsigned int seconds = 120;
	size_t rounds = 5;
	bool json = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "+n:", options, NULL)) != -1) {
		switch (opt) {
		case 'b': set.bytes = floor_number(optarg, 1, 1ULL << 50); break;
		case 'r': set.read = floor_number(optarg, 1, MOST); break;
		case 'p': set.pipe = floor_number(optarg, 4096, 1 << 30); break;
		case 's': set.sndbuf = floor_number(optarg, 0, 1 << 30); break;
		case 'n': rounds = floor_number(optarg, 1, 1000); break;
		case 'v': set.verify = true; break;
		case 't': seconds = (unsigned int)floor_number(optarg, 1, 86400); break;
		case 'J': json = true; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	floor_begin(seconds);
	set.command = argv + optind;
	if (optind == argc) {
		snprintf(number, sizeof(number), "%llu", (unsigned long long)set.bytes);
		generate[0] = (char *)floor_sibling("floor_gen");
		set.command = generate;
	}
	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		floor_die("mmap");
	measure(rounds, json);
	return 0;
}
