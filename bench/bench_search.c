/*
 * `grep`: patterns over a tree of 500 MB of text, agentd beside the real `grep -r`, both from the
 * page cache. (Where they print: agentd into a socket that is read, grep into a pipe that is read.)
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench_link.h"
#include "bench/floor.h"

#define BYTES  (500 * 1000 * 1000ULL)
#define WINDOW (1 * MIB)
#define LINES  20000 /* to choose from */

struct search {
	struct channel channel;
	uint64_t lines;
	bool closed;
};

static const struct pattern {
	const char *text, *kind; /* for grep: -F or -E */
	struct line line;
} patterns[] = {
	{"needle_in_haystack", "-F", {"grep", "literal", "ms", "grep -r", RATIO_MAX, 2}},
	{"needle_[a-z]+_hay", "-E", {"grep", "with a fixed part", "ms", "grep -r", RATIO_MAX, 2}},
	{"(int|void) needle", "-E", {"grep", "alternatives", "ms", "grep -r", RATIO_MAX, 2}},
	{"[A-Z][0-9]+x", "-E", {"grep", "classes only", "ms", "grep -r", RATIO_MAX, 2}},
	{"zq", "-F", {"grep", "many hits", "ms", "grep -r", RATIO_MAX, 2}},
};

static struct agent agent;
static struct link l;
static char dir[64];

/* ---- the tree ---- */

static uint32_t random_u32(void)
{
	static uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static size_t make_line(char *out)
{
	size_t n = 0;

	for (unsigned tabs = random_u32() % 4; tabs > 0; tabs--)
		out[n++] = '\t';
	for (unsigned words = 1 + random_u32() % 10; words > 0; words--) {
		for (unsigned len = 2 + random_u32() % 9; len > 0; len--)
			out[n++] = "etaoinshrdlucmfwypvbgkjqxz"[random_u32() %
								(4 + random_u32() % 23)];
		out[n++] = words > 1 ? ' ' : ';';
	}
	out[n++] = '\n';
	return n;
}

static void make_file(const char *path, char (*lines)[160], const uint8_t *lens, unsigned number)
{
	static const unsigned sizes[] = {20, 50, 100, 300, 600, 1000, 3000};
	FILE *f = fopen(path, "w");

	if (!f)
		die("%s: cannot be made", path);
	for (unsigned i = sizes[random_u32() % array_size(sizes)]; i > 0; i--) {
		unsigned n = random_u32() % LINES;

		fwrite(lines[n], 1, lens[n], f);
	}
	if (number % 97 == 0)
		fputs("int needle_in_haystack(void)\n", f);
	fclose(f);
}

static void make_tree(void)
{
	static char lines[LINES][160];
	static uint8_t lens[LINES];
	uint64_t bytes = 0;

	for (unsigned i = 0; i < LINES; i++)
		lens[i] = (uint8_t)make_line(lines[i]);
	for (unsigned n = 0; bytes < work(BYTES); n++) {
		char path[128];
		struct stat st;

		snprintf(path, sizeof(path), "%s/d%u", dir, n / 400);
		mkdir(path, 0700);
		snprintf(path, sizeof(path), "%s/d%u/s%u", dir, n / 400, n / 20);
		mkdir(path, 0700);
		snprintf(path, sizeof(path), "%s/d%u/s%u/f%u.c", dir, n / 400, n / 20, n);
		make_file(path, lines, lens, n);
		if (stat(path, &st) == 0)
			bytes += (uint64_t)st.st_size;
	}
}

static void remove_tree(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (system(command) != 0)
		table_note("%s could not be removed", dir);
}

/* ---- agentd ---- */

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct search *s = container_of(c, struct search, channel);

	(void)stream;
	(void)off;
	(void)fin;
	for (const uint8_t *p = data; (p = memchr(p, '\n', len - (size_t)(p - data))); p++)
		s->lines++;
	channel_grant(c, c->received + WINDOW);
}

static void on_text(struct channel *c, const uint8_t *json, size_t len)
{
	(void)c;
	(void)json;
	(void)len;
}

static void on_number(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	(void)c;
	(void)stream;
	(void)off;
	(void)missing;
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	on_number(c, stream, off, 0);
}

static void on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	(void)id;
	on_text(c, json, len);
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	(void)c;
	(void)max;
	(void)ret;
	return false;
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	if (len > 0)
		die("grep: %.*s", (int)len, (const char *)error);
	container_of(c, struct search, channel)->closed = true;
}

static const struct channel_ops ops = {
	.pull = pull,
	.on_data = on_data,
	.on_opened = on_text,
	.on_gap = on_number,
	.on_ack = on_ack,
	.on_event = on_text,
	.on_response = on_response,
	.on_close = on_close,
};

static uint64_t ours(const struct pattern *p)
{
	struct search s = {0};
	char text[256];
	int n = snprintf(text, sizeof(text),
		"{\"service\":\"file\",\"op\":\"grep\",\"path\":\"%s\",\"hidden\":true,"
		"\"pattern\":\"%s\",\"limit\":100000000,\"window\":%llu}",
		dir, p->text, (unsigned long long)WINDOW);

	if (mux_open(&l.wire.mux, &s.channel, &ops, WINDOW, text, (size_t)n) < 0)
		die("no channel");
	while (!s.closed)
		link_must_step(&l);
	return s.lines;
}

/* ---- the real one ---- */

static uint64_t theirs(const struct pattern *p)
{
	static char buf[65536];
	uint64_t lines = 0;
	pid_t pid;
	ssize_t n;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		die("no pipe");
	pid = helper_fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		execlp("grep", "grep", "-rnI", p->kind, "-e", p->text, dir, NULL);
		_exit(127);
	}
	close(fds[1]);
	while ((n = read(fds[0], buf, sizeof(buf))) > 0) {
		for (char *at = buf; (at = memchr(at, '\n', (size_t)(buf + n - at))); at++)
			lines++;
	}
	close(fds[0]);
	if (helper_wait(pid) > 1)
		die("grep failed");
	return lines;
}

static void compare(const struct pattern *p)
{
	uint64_t t0 = floor_now_ns(), found = ours(p), t1 = floor_now_ns(), expected = theirs(p);
	uint64_t t2 = floor_now_ns();

	if (found != expected)
		die("%s: %llu lines, grep has %llu", p->text, (unsigned long long)found,
			(unsigned long long)expected);
	table_add(&p->line, (double)(t1 - t0) / 1e6, (double)(t2 - t1) / 1e6);
}

void bench_grep(void)
{
	snprintf(dir, sizeof(dir), "/tmp/bench-grep-XXXXXX");
	if (!mkdtemp(dir))
		die("no directory in /tmp");
	make_tree();
	agent_start(&agent, program("agentd"), NULL);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	for (unsigned round = 0; round <= options.rounds; round++) {
		for (size_t i = 0; i < array_size(patterns); i++)
			compare(&patterns[i]);
		if (round == 0) /* the page cache is warm now */
			table_forget("grep");
	}
	link_finish(&l);
	agent_stop(&agent);
	remove_tree();
}
