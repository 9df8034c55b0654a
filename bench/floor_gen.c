/*
 * floor_gen - writes the stream of floor_gen.h, as fast as write() takes it; tells its hash; checks
 * that a stream on stdin is the right one. The command that runs under agentd and under floor_copy
 * when streams are measured.
 */
#include "floor.h"

static const char usage[] =
	"usage: floor_gen [options] BYTES[K|M|G] [SEED]     SEED is 1 unless given\n"
	"  writes the stream of SEED to stdout\n"
	"  --stderr      the stream of SEED + 1 to stderr instead\n"
	"  --both        both, a block of each in turn\n"
	"  --hash        writes nothing but the XXH64 of what would be written\n"
	"  --check       compares stdin with the stream; exit 1 and the offset when it differs\n"
	"  --write N     bytes per write(), default 256K\n"
	"  --time S      seconds at most, default 600\n"
	"  --json        hash or check as one JSON object\n";

static struct floor_gen gen[2];
static bool json;

static void write_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EAGAIN) /* somebody shares the file and made it so */
			poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
		else if (n < 0 && errno != EINTR)
			floor_die("write to fd %d", fd);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

static void generate(uint64_t bytes, const bool want[2], size_t piece)
{
	for (uint64_t done = 0, n; done < bytes; done += n) {
		n = 0;
		for (int i = 0; i < 2; i++) {
			const uint8_t *p;
			size_t most = bytes - done < piece ? (size_t)(bytes - done) : piece;

			if (!want[i])
				continue;
			n = floor_gen_next(&gen[i], most, &p);
			write_all(1 + i, p, n);
		}
	}
}

static void hash(struct floor_gen *g, const char *stream, uint64_t bytes)
{
	struct floor_hash h;
	const uint8_t *p;

	floor_hash_init(&h);
	for (uint64_t done = 0; done < bytes;) {
		size_t most =
			bytes - done < FLOOR_GEN_BLOCK ? (size_t)(bytes - done) : FLOOR_GEN_BLOCK;
		size_t n = floor_gen_next(g, most, &p);

		floor_hash_add(&h, p, n);
		done += n;
	}
	printf(json ? "{\"name\":\"floor_gen\",\"xxh64\":\"%016llx\",\"stream\":\"%s\","
		      "\"bytes\":%llu}\n"
		    : "%016llx %s %llu\n",
		(unsigned long long)floor_hash_value(&h), stream, (unsigned long long)bytes);
}

static int check(struct floor_gen *g, uint64_t bytes)
{
	static uint8_t buf[FLOOR_GEN_BLOCK];
	const char *what = "equal";
	ssize_t n;
	uint64_t at = 0;

	while ((n = read(0, buf, sizeof(buf))) > 0) {
		uint64_t left = bytes - at;
		size_t most = (uint64_t)n < left ? (size_t)n : (size_t)left;
		size_t good = floor_gen_check(g, buf, most);

		at += good;
		if (good < (size_t)n) {
			what = good < most ? "different" : "too long";
			break;
		}
	}
	if (n < 0)
		floor_die("read stdin");
	if (n == 0 && at < bytes)
		what = "too short";
	printf(json ? "{\"name\":\"floor_gen\",\"check\":\"%s\",\"offset\":%llu}\n"
		    : "%s at offset %llu\n",
		what, (unsigned long long)at);
	return strcmp(what, "equal") != 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"stderr", no_argument, NULL, 'e'},
		{"both", no_argument, NULL, 'b'}, {"hash", no_argument, NULL, 'h'},
		{"check", no_argument, NULL, 'c'}, {"write", required_argument, NULL, 'w'},
		{"time", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'}, {0}};
	bool want[2] = {true, false}, do_hash = false, do_check = false;
	size_t piece = FLOOR_GEN_BLOCK;
	unsigned int seconds = 600;
	uint64_t bytes, seed = 1;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'e':
			want[0] = false;
			want[1] = true;
			break;
		case 'b': want[0] = want[1] = true; break;
		case 'h': do_hash = true; break;
		case 'c': do_check = true; break;
		case 'w': piece = floor_number(optarg, 1, FLOOR_GEN_BLOCK); break;
		case 't': seconds = (unsigned int)floor_number(optarg, 1, 86400); break;
		case 'j': json = true; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (argc - optind < 1 || argc - optind > 2 || (do_check && want[0] && want[1])) {
		fputs(usage, stderr);
		return 2;
	}
	bytes = floor_number(argv[optind], 0, UINT64_MAX);
	if (argc - optind == 2)
		seed = floor_number(argv[optind + 1], 0, UINT64_MAX);
	floor_begin(seconds);

	for (int i = 0; i < 2; i++)
		if (want[i])
			floor_gen_init(&gen[i], seed + (uint64_t)i);
	if (do_check)
		return check(&gen[want[1]], bytes);
	if (!do_hash)
		generate(bytes, want, piece);
	for (int i = 0; i < 2; i++)
		if (do_hash && want[i])
			hash(&gen[i], i ? "stderr" : "stdout", bytes);
	return 0;
}
