#include "bridge/api/metrics.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "bridge/api/front.h"
#include "bridge/api/route.h"

#define CLASSES 5 /* 1xx (WebSockets) to 5xx */

static const double bounds_s[] = {
	0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
#define BOUNDS array_size(bounds_s)

struct metrics {
	size_t n; /* routes; behind them one for what has none */
	uint64_t buckets[BOUNDS];
	uint64_t answered, bytes_in, bytes_out, cut;
	double seconds;
	int sockets;
	uint64_t (*counts)[CLASSES]; /* owned; by route in the order of the tables */
};

static size_t table_len(const struct route *table)
{
	size_t n = 0;

	while (table[n].handle)
		n++;
	return n;
}

/* Its place in the order of all tables. */
static size_t place_of(const struct metrics *m, const struct route *r)
{
	size_t at = 0;

	for (const struct route *const *t = route_tables; r && *t; t++) {
		size_t n = table_len(*t);

		if ((uintptr_t)r >= (uintptr_t)*t && (uintptr_t)r < (uintptr_t)(*t + n))
			return at + (size_t)(r - *t);
		at += n;
	}
	return m->n;
}

struct metrics *metrics_new(void)
{
	struct metrics *m = xcalloc(1, sizeof(*m));

	for (const struct route *const *t = route_tables; *t; t++)
		m->n += table_len(*t);
	m->counts = xcalloc(m->n + 1, sizeof(*m->counts));
	return m;
}

void metrics_free(struct metrics *m)
{
	if (m)
		free(m->counts);
	free(m);
}

void metrics_count(struct metrics *m, const struct call *c)
{
	double took = (double)(now_ns() - c->began_ns) / 1e9;

	m->bytes_in += c->bytes_in;
	m->bytes_out += c->bytes_out;
	if (c->status < 100 || c->status > 599) {
		m->cut++;
		return;
	}
	m->counts[place_of(m, c->route)][c->status / 100 - 1]++;
	if (c->status < 200)
		return; /* how long a WebSocket is open says nothing of us */
	m->answered++;
	m->seconds += took;
	for (size_t i = 0; i < BOUNDS; i++)
		m->buckets[i] += took <= bounds_s[i];
}

void metrics_socket(struct metrics *m, int change)
{
	m->sockets += change;
}

/* ---- the text ---- */

static void __attribute__((format(printf, 2, 3))) put(struct buf *out, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	ASSERT(n >= 0 && (size_t)n < sizeof(line));
	buf_append(out, line, (size_t)n); /* what does not fit shows at the end */
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
	put(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct buf *out, const char *name, const char *type, const char *help, double v)
{
	head(out, name, type, help);
	put(out, "%s %.15g\n", name, v);
}

static void put_route(struct buf *out, const char *name, const uint64_t counts[CLASSES])
{
	for (int k = 0; k < CLASSES; k++)
		if (counts[k])
			put(out, "bridge_requests_total{route=\"%s\",class=\"%dxx\"} %llu\n", name,
				k + 1, (unsigned long long)counts[k]);
}

static void put_requests(const struct metrics *m, struct buf *out)
{
	size_t at = 0;

	head(out, "bridge_requests_total", "counter", "Requests by route and class of the answer.");
	for (const struct route *const *t = route_tables; *t; t++)
		for (const struct route *r = *t; r->handle; r++)
			put_route(out, r->name, m->counts[at++]);
	put_route(out, "none", m->counts[at]);
}

static void put_durations(const struct metrics *m, struct buf *out)
{
	static const char name[] = "bridge_request_seconds";

	head(out, name, "histogram", "From a request's head to its answer's last byte.");
	for (size_t i = 0; i < BOUNDS; i++)
		put(out, "%s_bucket{le=\"%g\"} %llu\n", name, bounds_s[i],
			(unsigned long long)m->buckets[i]);
	put(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name,
		(unsigned long long)m->answered, name, m->seconds, name,
		(unsigned long long)m->answered);
}

static void put_sandboxes(const struct bridge *b, struct buf *out)
{
	static const struct {
		enum sandbox_state state;
		const char *name;
	} states[] = {
		{SANDBOX_CREATING, "creating"},
		{SANDBOX_RUNNING, "running"},
		{SANDBOX_STOPPING, "stopping"},
		{SANDBOX_STOPPED, "stopped"},
		{SANDBOX_STARTING, "starting"},
		{SANDBOX_HIBERNATING, "hibernating"},
		{SANDBOX_HIBERNATED, "hibernated"},
		{SANDBOX_WAKING, "waking"},
		{SANDBOX_BUSY, "busy"},
		{SANDBOX_KILLING, "killing"},
		{SANDBOX_KILLED, "killed"},
		{SANDBOX_ERROR, "error"},
	};

	head(out, "bridge_sandboxes", "gauge", "Sandboxes by state.");
	for (size_t i = 0; i < array_size(states); i++)
		put(out, "bridge_sandboxes{state=\"%s\"} %zu\n", states[i].name,
			sandboxes_count(b->sandboxes, states[i].state));
}

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ".", ".." and the directory itself */
}

/* Field 22 of stat, in ticks since the machine's start, as seconds since 1970. */
static double start_time(void)
{
	unsigned long long ticks = 0;
	struct timespec real, boot;
	char text[1024];
	const char *at;
	FILE *f = fopen("/proc/self/stat", "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (f)
		fclose(f);
	text[n] = '\0';
	at = strrchr(text, ')');
	if (!at ||
		sscanf(at + 1,
			" %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
			"%*d %llu",
			&ticks) != 1)
		return 0;
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	return (double)(real.tv_sec - boot.tv_sec) + (double)(real.tv_nsec - boot.tv_nsec) / 1e9 +
	       (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void put_process(struct buf *out)
{
	size_t resident = 0;
	struct rlimit limit = {0};
	struct rusage ru = {0};

	getrusage(RUSAGE_SELF, &ru);
	getrlimit(RLIMIT_NOFILE, &limit);
	uv_resident_set_memory(&resident);
	one(out, "process_cpu_seconds_total", "counter", "User and system CPU time.",
		(double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
			(double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
	one(out, "process_resident_memory_bytes", "gauge", "Resident memory.", (double)resident);
	one(out, "process_open_fds", "gauge", "Open descriptors.", count_descriptors());
	one(out, "process_max_fds", "gauge", "Most descriptors that may be open.",
		(double)limit.rlim_cur);
	one(out, "process_start_time_seconds", "gauge", "Start of the process since 1970.",
		start_time());
}

char *metrics_text(const struct bridge *b, size_t *ret_len)
{
	const struct metrics *m = b->metrics;
	struct buf out = BUF_NULL(1 * MIB);
	char *text = NULL;

	head(&out, "bridge_info", "gauge", "Version and driver.");
	put(&out, "bridge_info{version=\"%s\",driver=\"%s\"} 1\n", AGENTD_VERSION,
		b->config.driver);
	put_requests(m, &out);
	put_durations(m, &out);
	one(&out, "bridge_requests_cut_total", "counter",
		"Requests whose client left before an answer.", (double)m->cut);
	one(&out, "bridge_received_bytes_total", "counter",
		"Bytes of bodies and messages received.", (double)m->bytes_in);
	one(&out, "bridge_sent_bytes_total", "counter", "Bytes of bodies and messages sent.",
		(double)m->bytes_out);
	one(&out, "bridge_connections", "gauge", "Clients that are connected.",
		(double)front_connections(b->front));
	one(&out, "bridge_websockets", "gauge", "WebSockets that are open.", m->sockets);
	put_sandboxes(b, &out);
	put_process(&out);
	*ret_len = buf_len(&out);
	text = malloc(*ret_len + 1);
	if (text)
		memcpy(text, buf_head(&out), *ret_len);
	buf_fini(&out);
	return text;
}
