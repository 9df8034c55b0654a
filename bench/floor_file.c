/*
 * floor_file - the bare path of a file: a server on a unix socket that writes what it receives to a
 * file, or sends one; large reads and writes. Then small files, one after another over one
 * connection: a request and an answer each, made and closed by plain open(2).
 */
#include "floor.h"

#include <sys/stat.h>

static const char usage[] =
	"usage: floor_file [options] DIR        what is written there is removed\n"
	"  --bytes N[K|M|G]  of the one large file, default 1G\n"
	"  --block N         bytes per read and write, default 256K\n"
	"  --files N         how many small ones, default 2000; 0: none\n"
	"  --size N          of a small file, default 4K\n"
	"  --time S          seconds at most, default 120\n"
	"  --json            one JSON object per line\n";

#define MOST ((size_t)1024 * 1024)

enum op { WRITE = 1, READ = 2 };

struct request {
	uint32_t op, file;
	uint64_t size;
};

static struct settings {
	uint64_t bytes;
	size_t block, files, size;
	const char *dir;
	bool json;
} set = {.bytes = 1ULL << 30, .block = 256 * 1024, .files = 2000, .size = 4096};

static uint8_t buffer[MOST + sizeof(struct request)];

static void name_of(char path[PATH_MAX], uint32_t file)
{
	snprintf(path, PATH_MAX, "%s/%u", set.dir, file);
}

/* ---- the server ---- */

static void take_file(int sock, const struct request *r)
{
	uint64_t left = r->size;
	char path[PATH_MAX];
	int fd;

	name_of(path, r->file);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		floor_die("%s", path);
	while (left > 0) {
		ssize_t n = recv(sock, buffer, left < set.block ? left : set.block, 0);

		if (n <= 0 || write(fd, buffer, (size_t)n) != n)
			floor_die("take");
		left -= (uint64_t)n;
	}
	close(fd);
	if (!floor_send_all(sock, r, sizeof(*r)))
		floor_die("answer");
}

/* The size and the first of the bytes in one piece. */
static void give_file(int sock, struct request *r)
{
	char path[PATH_MAX];
	struct stat st;
	ssize_t n;
	int fd;

	name_of(path, r->file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		floor_die("%s", path);
	r->size = (uint64_t)st.st_size;
	memcpy(buffer, r, sizeof(*r));
	n = read(fd, buffer + sizeof(*r), set.block);
	if (n < 0 || !floor_send_all(sock, buffer, sizeof(*r) + (size_t)n))
		floor_die("give");
	for (uint64_t at = (uint64_t)n; at < r->size; at += (uint64_t)n) {
		n = read(fd, buffer, set.block);
		if (n <= 0 || !floor_send_all(sock, buffer, (size_t)n))
			floor_die("give");
	}
	close(fd);
}

static void serve(int sock)
{
	struct request r;

	while (floor_recv_all(sock, &r, sizeof(r))) {
		if (r.op == WRITE)
			take_file(sock, &r);
		else
			give_file(sock, &r);
	}
}

/* ---- the client ---- */

static void put_file(int sock, uint32_t file, uint64_t size)
{
	struct request r = {.op = WRITE, .file = file, .size = size};
	size_t n = size < set.block ? size : set.block;

	memcpy(buffer, &r, sizeof(r));
	if (!floor_send_all(sock, buffer, sizeof(r) + n))
		floor_die("put");
	for (uint64_t at = n; at < size; at += n) {
		n = size - at < set.block ? size - at : set.block;
		if (!floor_send_all(sock, buffer + sizeof(r), n))
			floor_die("put");
	}
	if (!floor_recv_all(sock, &r, sizeof(r)))
		floor_die("no answer");
}

static void get_file(int sock, uint32_t file)
{
	struct request r = {.op = READ, .file = file};
	uint64_t got = 0;

	if (!floor_send_all(sock, &r, sizeof(r)) || !floor_recv_all(sock, &r, sizeof(r)))
		floor_die("get");
	while (got < r.size) {
		size_t most = r.size - got < set.block ? r.size - got : set.block;
		ssize_t n = recv(sock, buffer, most, 0);

		if (n <= 0)
			floor_die("get");
		got += (uint64_t)n;
	}
}

/* ---- measuring ---- */

static void remove_files(void)
{
	char path[PATH_MAX];

	for (uint32_t i = 0; i <= set.files; i++) {
		name_of(path, i);
		unlink(path);
	}
}

static void report(const char *mode, const char *key, double value, uint64_t ns)
{
	struct floor_field f[] = {
		{key, "rate", key, value},
		{"seconds", "in", "s", (double)ns / 1e9},
	};

	floor_report(set.json, "floor_file", mode, f, 2);
}

static void measure(int sock)
{
	uint64_t t0 = floor_now_ns();

	put_file(sock, 0, set.bytes);
	t0 = floor_now_ns() - t0;
	report("write", "mb_per_s", (double)set.bytes * 1e3 / (double)t0, t0);
	t0 = floor_now_ns();
	get_file(sock, 0);
	t0 = floor_now_ns() - t0;
	report("read", "mb_per_s", (double)set.bytes * 1e3 / (double)t0, t0);
	if (set.files == 0)
		return;
	t0 = floor_now_ns();
	for (uint32_t i = 1; i <= set.files; i++)
		put_file(sock, i, set.size);
	t0 = floor_now_ns() - t0;
	report("write_small", "per_s", (double)set.files * 1e9 / (double)t0, t0);
	t0 = floor_now_ns();
	for (uint32_t i = 1; i <= set.files; i++)
		get_file(sock, i);
	t0 = floor_now_ns() - t0;
	report("read_small", "per_s", (double)set.files * 1e9 / (double)t0, t0);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"bytes", required_argument, NULL, 'b'},
		{"block", required_argument, NULL, 'k'}, {"files", required_argument, NULL, 'f'},
		{"size", required_argument, NULL, 's'}, {"time", required_argument, NULL, 't'},
		{"json", no_argument, NULL, 'J'}, {0}};
	unsigned int seconds = 120;
	int opt, pair[2];
	pid_t server;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'b': set.bytes = floor_number(optarg, 1, 1ULL << 40); break;
		case 'k': set.block = floor_number(optarg, 1, MOST); break;
		case 'f': set.files = floor_number(optarg, 0, 1000000); break;
		case 's': set.size = floor_number(optarg, 0, MOST); break;
		case 't': seconds = (unsigned int)floor_number(optarg, 1, 86400); break;
		case 'J': set.json = true; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		return 2;
	}
	set.dir = argv[optind];
	floor_begin(seconds);
	memset(buffer, 1, sizeof(buffer)); /* page faults are not what is measured */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		floor_die("socketpair");
	server = floor_fork();
	if (server == 0) {
		close(pair[0]);
		serve(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	measure(pair[0]);
	close(pair[0]);
	errno = 0;
	if (floor_reap(server) != 0)
		floor_die("the server failed");
	remove_files();
	return 0;
}
