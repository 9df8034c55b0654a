#include "agentd/figures.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <time.h>

#include "agentd/procfile.h"

#define TEXT_MAX (64 * KIB)

/* ---- texts ---- */

/* Up to n numbers that follow one another; how many there were. */
static size_t read_numbers(const char *at, uint64_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		at += strspn(at, " \t");
		if (*at < '0' || *at > '9')
			return i;
		v[i] = strtoull(at, (char **)&at, 10);
	}
	return n;
}

/* "12.34" as 12340; the place behind it. */
static uint64_t read_milli(const char *at, const char **ret_end)
{
	uint64_t v = strtoull(at, (char **)&at, 10) * 1000, digit = 100;

	if (*at == '.') {
		for (at++; *at >= '0' && *at <= '9'; at++, digit /= 10)
			v += digit * (uint64_t)(*at - '0');
	}
	*ret_end = at;
	return v;
}

void figures_put_cpu(struct jsonw *w, const char *stat, long count)
{
	/* user nice system idle iowait irq softirq steal */
	uint64_t v[8] = {0}, ms = 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	size_t n = strncmp(stat, "cpu ", 4) == 0 ? read_numbers(stat + 4, v, array_size(v)) : 0;

	if (n < 4)
		return;
	jsonw_open(w, "cpu", '{');
	if (count > 0)
		jsonw_int(w, "count", count);
	jsonw_u64(w, "user_ms", (v[0] + v[1]) * ms);
	jsonw_u64(w, "system_ms", (v[2] + v[5] + v[6]) * ms);
	jsonw_u64(w, "idle_ms", v[3] * ms);
	if (n > 4)
		jsonw_u64(w, "iowait_ms", v[4] * ms);
	if (n > 7)
		jsonw_u64(w, "steal_ms", v[7] * ms);
	jsonw_close(w, '}');
}

/* "0.20 0.18 0.12 1/80 11206" */
void figures_put_load(struct jsonw *w, const char *loadavg)
{
	if (*loadavg < '0' || *loadavg > '9')
		return;
	jsonw_open(w, "load", '[');
	for (int i = 0; i < 3; i++) {
		jsonw_milli(w, NULL, read_milli(loadavg, &loadavg));
		loadavg += strspn(loadavg, " ");
	}
	jsonw_close(w, ']');
}

void figures_put_tasks(struct jsonw *w, const char *loadavg, uint64_t processes, uint64_t max)
{
	unsigned long long running, threads;

	jsonw_open(w, "tasks", '{');
	if (sscanf(loadavg, "%*s %*s %*s %llu/%llu", &running, &threads) == 2) {
		jsonw_u64(w, "running", running);
		jsonw_u64(w, "threads", threads);
	}
	if (processes)
		jsonw_u64(w, "processes", processes);
	if (max)
		jsonw_u64(w, "max", max);
	jsonw_close(w, '}');
}

void figures_put_memory(struct jsonw *w, const char *meminfo)
{
	uint64_t total, available, cached, swap, free_swap;

	if (!procfile_value(meminfo, "MemTotal:", &total))
		return;
	jsonw_open(w, "memory", '{');
	jsonw_u64(w, "total", total * 1024);
	if (procfile_value(meminfo, "MemAvailable:", &available)) {
		jsonw_u64(w, "available", available * 1024);
		jsonw_u64(w, "used", (total - min_of(available, total)) * 1024);
	}
	if (procfile_value(meminfo, "Cached:", &cached))
		jsonw_u64(w, "cached", cached * 1024);
	if (procfile_value(meminfo, "SwapTotal:", &swap) &&
		procfile_value(meminfo, "SwapFree:", &free_swap)) {
		jsonw_u64(w, "swap_total", swap * 1024);
		jsonw_u64(w, "swap_used", (swap - min_of(free_swap, swap)) * 1024);
	}
	jsonw_close(w, '}');
}

/* "  eth0: 123 4 0 0 0 0 0 0 567 8 0 0 0 0 0 0", below two lines of titles. */
void figures_put_net(struct jsonw *w, const char *dev)
{
	unsigned n = 0;

	jsonw_open(w, "net", '[');
	for (const char *at = dev; at && n < FIGURES_INTERFACES; at = procfile_next(at)) {
		const char *name = at + strspn(at, " "), *colon = name + strcspn(name, ":\n");
		uint64_t v[16];

		if (*colon != ':' || read_numbers(colon + 1, v, array_size(v)) < array_size(v))
			continue;
		n++;
		jsonw_open(w, NULL, '{');
		jsonw_bytes(w, "name", name, (size_t)(colon - name));
		jsonw_u64(w, "rx_bytes", v[0]);
		jsonw_u64(w, "rx_packets", v[1]);
		jsonw_u64(w, "rx_errors", v[2]);
		jsonw_u64(w, "rx_dropped", v[3]);
		jsonw_u64(w, "tx_bytes", v[8]);
		jsonw_u64(w, "tx_packets", v[9]);
		jsonw_u64(w, "tx_errors", v[10]);
		jsonw_u64(w, "tx_dropped", v[11]);
		jsonw_close(w, '}');
	}
	jsonw_close(w, ']');
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" */
static void put_pressure_line(struct jsonw *w, const char *line)
{
	static const char *const averages[] = {"avg10", "avg60", "avg300"};
	const char *at = line + strcspn(line, " \n");

	for (size_t i = 0; i < array_size(averages); i++) {
		size_t n = strlen(averages[i]);

		at += *at == ' ';
		if (strncmp(at, averages[i], n) != 0 || at[n] != '=')
			return;
		jsonw_milli(w, averages[i], read_milli(at + n + 1, &at));
	}
	if (strncmp(at, " total=", 7) == 0)
		jsonw_u64(w, "total_us", strtoull(at + 7, NULL, 10));
}

void figures_put_pressure(struct jsonw *w, const char *name, const char *text)
{
	jsonw_open(w, name, '{');
	for (const char *at = text; at; at = procfile_next(at)) {
		bool some = strncmp(at, "some ", 5) == 0;

		if (!some && strncmp(at, "full ", 5) != 0)
			continue;
		jsonw_open(w, some ? "some" : "full", '{');
		put_pressure_line(w, at);
		jsonw_close(w, '}');
	}
	jsonw_close(w, '}');
}

/* ---- /proc ---- */

void figures_put_pressures(struct jsonw *w, int dir, const char *suffix)
{
	static const char *const names[] = {"cpu", "memory", "io"};
	bool any = false;

	for (size_t i = 0; i < array_size(names); i++) {
		char file[32], text[512];

		snprintf(file, sizeof(file), "%s%s", names[i], suffix);
		/* Reading it fails as well where it is switched off. */
		if (procfile_read_at(dir, file, text, sizeof(text)) <= 0)
			continue;
		if (!any)
			jsonw_open(w, "pressure", '{');
		any = true;
		figures_put_pressure(w, names[i], text);
	}
	if (any)
		jsonw_close(w, '}');
}

static uint64_t count_processes(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	uint64_t n = 0;

	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
	if (dir)
		closedir(dir);
	return n;
}

static void put_disk(struct jsonw *w, const char *path)
{
	struct statvfs fs;

	jsonw_open(w, NULL, '{');
	jsonw_bytes(w, "path", path, strlen(path));
	if (statvfs(path, &fs) < 0) {
		jsonw_str(w, "error", strerror(errno));
	} else {
		jsonw_u64(w, "size", (uint64_t)fs.f_blocks * fs.f_frsize);
		jsonw_u64(w, "free", (uint64_t)fs.f_bfree * fs.f_frsize);
		jsonw_u64(w, "available", (uint64_t)fs.f_bavail * fs.f_frsize);
		jsonw_u64(w, "files", fs.f_files);
		jsonw_u64(w, "files_free", fs.f_ffree);
	}
	jsonw_close(w, '}');
}

static void put_times(struct jsonw *w)
{
	struct timespec real, boot;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	jsonw_u64(w, "time_ms", (uint64_t)real.tv_sec * 1000 + (uint64_t)real.tv_nsec / 1000000);
	jsonw_u64(w, "uptime_ms", (uint64_t)boot.tv_sec * 1000 + (uint64_t)boot.tv_nsec / 1000000);
}

void figures_put_machine(struct jsonw *w, const char *const *mounts, size_t n_mounts)
{
	auto_close int pressure =
		open("/proc/pressure", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY);
	auto_free char *text = malloc(TEXT_MAX);
	char number[32];
	uint64_t v;

	if (!text)
		return;
	put_times(w);
	if (procfile_read("/proc/stat", text, TEXT_MAX) > 0)
		figures_put_cpu(w, text, sysconf(_SC_NPROCESSORS_ONLN));
	if (procfile_read("/proc/loadavg", text, TEXT_MAX) > 0) {
		v = procfile_read("/proc/sys/kernel/pid_max", number, sizeof(number)) > 0
			    ? strtoull(number, NULL, 10)
			    : 0;
		figures_put_load(w, text);
		figures_put_tasks(w, text, count_processes(), v);
	}
	if (procfile_read("/proc/meminfo", text, TEXT_MAX) > 0)
		figures_put_memory(w, text);
	jsonw_open(w, "disk", '[');
	put_disk(w, "/");
	for (size_t i = 0; i < n_mounts; i++)
		put_disk(w, mounts[i]);
	jsonw_close(w, ']');
	if (procfile_read("/proc/net/dev", text, TEXT_MAX) > 0)
		figures_put_net(w, text);
	if (pressure >= 0)
		figures_put_pressures(w, pressure, "");
	if (procfile_read("/proc/vmstat", text, TEXT_MAX) > 0 &&
		procfile_value(text, "oom_kill", &v))
		jsonw_u64(w, "oom_kills", v);
}
