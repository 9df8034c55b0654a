#include "agentd/metrics.h"

#include <stdarg.h>
#include <stdio.h>

#include "agentd/lag.h"
#include "agentd/self.h"

static char text[16 * KIB];
static size_t used;

static void __attribute__((format(printf, 1, 2))) put(const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text + used, sizeof(text) - used, fmt, ap);
	va_end(ap);
	ASSERT(n >= 0 && (size_t)n < sizeof(text) - used);
	used += (size_t)n;
}

static void head(const char *name, const char *type, const char *help)
{
	put("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(const char *name, const char *type, const char *help, uint64_t v)
{
	head(name, type, help);
	put("%s %llu\n", name, (unsigned long long)v);
}

static void counter(const char *name, const char *help, uint64_t v)
{
	one(name, "counter", help, v);
}

static void gauge(const char *name, const char *help, uint64_t v)
{
	one(name, "gauge", help, v);
}

static void seconds(const char *name, const char *type, const char *help, double v)
{
	head(name, type, help);
	put("%s %.6f\n", name, v);
}

static void put_sessions(const struct sessions *all)
{
	gauge("agentd_sessions_live", "Sessions whose end is not decided.", sessions_live(all));
	gauge("agentd_sessions_ended", "Ended sessions that are kept.", all->n_ended);
	gauge("agentd_sessions_draining", "Removed sessions whose children still write.",
		all->n_hidden);
	counter("agentd_sessions_started_total", "Sessions started.", all->started);
	head("agentd_sessions_ended_total", "counter", "Sessions that ended, by end state.");
	for (int i = END_RUNNING + 1; i < END_LAST; i++)
		put("agentd_sessions_ended_total{state=\"%s\"} %llu\n",
			end_state_str((enum end_state)i), (unsigned long long)all->ends[i]);
	gauge("agentd_store_bytes", "Memory of kept output.", all->arena.charged);
}

static void put_links(struct daemon *d)
{
	gauge("agentd_connections", "Links that are open.", d->n_conns);
	counter("agentd_connections_total", "Links that were let in.", d->next_conn_id);
	head("agentd_connections_refused_total", "counter", "Links that were not, by reason.");
	put("agentd_connections_refused_total{reason=\"peer\"} %lu\n", d->refused);
	put("agentd_connections_refused_total{reason=\"descriptors\"} %lu\n", d->refused_fds);
	counter("agentd_received_bytes_total", "Bytes read from links.", d->bytes_in);
	counter("agentd_sent_bytes_total", "Bytes written to links.", d->bytes_out);
}

static void put_lag(void)
{
	static const char name[] = "agentd_loop_busy_seconds";
	struct lag_figures f;

	lag_read(&f);
	head(name, "histogram", "Time the loop was busy between two waits.");
	for (size_t i = 0; i < LAG_BUCKETS; i++)
		put("%s_bucket{le=\"%g\"} %llu\n", name, lag_bounds_us[i] / 1e6,
			(unsigned long long)(f.turns - f.over[i]));
	put("%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name,
		(unsigned long long)f.turns, name, (double)f.busy_ns / 1e9, name,
		(unsigned long long)f.turns);
	seconds("agentd_loop_busy_max_seconds", "gauge", "The longest so far.",
		(double)f.max_ns / 1e9);
}

static void put_process(void)
{
	struct self_figures f;

	self_read(&f);
	seconds("process_cpu_seconds_total", "counter", "User and system CPU time.",
		(double)(f.user_us + f.system_us) / 1e6);
	gauge("process_resident_memory_bytes", "Resident memory.", f.rss);
	gauge("process_virtual_memory_bytes", "Virtual memory.", f.vsize);
	gauge("process_open_fds", "Open descriptors.", f.descriptors);
	gauge("process_max_fds", "Most descriptors that may be open.", f.max_descriptors);
	gauge("process_threads", "Threads.", f.threads);
	seconds("process_start_time_seconds", "gauge", "Start of the process since 1970.",
		f.started);
}

const char *metrics_text(struct daemon *d, size_t *ret_len)
{
	used = 0;
	head("agentd_info", "gauge", "Version and life of this agent.");
	put("agentd_info{version=\"%s\",instance=\"%s\"} 1\n", AGENTD_VERSION, d->instance);
	seconds("agentd_uptime_seconds", "gauge", "Since this program began.",
		(double)(now_ms() - d->started_at) / 1e3);
	put_sessions(&d->sessions);
	put_links(d);
	put_lag();
	put_process();
	*ret_len = used;
	return text;
}
