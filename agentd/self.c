#include "agentd/self.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "agentd/procfile.h"

static uint64_t micros(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_usec;
}

/* Since Linux 6.2 the directory's size is their number. */
static uint64_t count_descriptors(void)
{
	struct stat st;
	uint64_t n = 0;
	DIR *dir;

	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (uint64_t)st.st_size;
	dir = opendir("/proc/self/fd");
	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

/* Fields 20 and 22, threads and start, behind the name in brackets, which may hold anything. */
static void read_stat(struct self_figures *f)
{
	char text[1024];
	const char *at;
	unsigned long long threads, ticks;
	struct timespec real, boot;

	if (procfile_read("/proc/self/stat", text, sizeof(text)) < 0 || !(at = strrchr(text, ')')))
		return;
	if (sscanf(at + 1,
		    " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %llu %*d "
		    "%llu",
		    &threads, &ticks) != 2)
		return;
	f->threads = threads;
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	f->started = (double)(real.tv_sec - boot.tv_sec) +
		     (double)(real.tv_nsec - boot.tv_nsec) / 1e9 +
		     (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void self_read(struct self_figures *ret)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long long size, resident;
	struct rlimit limit;
	struct rusage ru;
	char text[256];

	*ret = (struct self_figures){0};
	if (getrusage(RUSAGE_SELF, &ru) == 0) {
		ret->user_us = micros(&ru.ru_utime);
		ret->system_us = micros(&ru.ru_stime);
	}
	if (procfile_read("/proc/self/statm", text, sizeof(text)) > 0 &&
		sscanf(text, "%llu %llu", &size, &resident) == 2) {
		ret->vsize = size * page;
		ret->rss = resident * page;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		ret->max_descriptors = limit.rlim_cur;
	ret->descriptors = count_descriptors();
	read_stat(ret);
}

uint64_t self_pss(void)
{
	char text[2048];
	uint64_t kib;

	if (procfile_read("/proc/self/smaps_rollup", text, sizeof(text)) < 0 ||
		!procfile_value(text, "Pss:", &kib))
		return 0;
	return kib * 1024;
}
