/*
 * Children are found by /proc/PID/task/TID/children. A process that ends while we look is left out;
 * a number that is recycled meanwhile puts a stranger in, for this one answer.
 */
#include "agentd/usage.h"

#include <dirent.h>
#include <stdio.h>

#include "agentd/procfile.h"

struct set {
	pid_t pid[USAGE_PROCESSES];
	size_t n;
};

static void add_numbers(struct set *s, const char *text)
{
	char *end;

	for (const char *at = text; s->n < USAGE_PROCESSES; at = end) {
		long pid = strtol(at, &end, 10);

		if (end == at)
			return;
		if (pid > 0)
			s->pid[s->n++] = (pid_t)pid;
	}
}

static void add_children(struct set *s, pid_t pid)
{
	char path[64], text[8192];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", (int)pid,
			entry->d_name);
		if (procfile_read(path, text, sizeof(text)) > 0)
			add_numbers(s, text);
	}
	if (dir)
		closedir(dir);
}

static void add_process(struct usage *u, pid_t pid)
{
	unsigned long long user, system, child_user, child_system, rss;
	uint64_t tick = (uint64_t)sysconf(_SC_CLK_TCK);
	char path[32], text[1024];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (procfile_read(path, text, sizeof(text)) <= 0 || !(at = strrchr(text, ')')))
		return;
	/* state and ten others, the four times, six others, rss */
	if (sscanf(at + 1,
		    " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu %llu %llu %*s %*s "
		    "%*s %*s %*s %*s %llu",
		    &user, &system, &child_user, &child_system, &rss) != 5)
		return;
	u->processes++;
	u->rss += rss * (uint64_t)sysconf(_SC_PAGESIZE);
	u->user_us += (user + child_user) * 1000000 / tick;
	u->system_us += (system + child_system) * 1000000 / tick;
}

static void add_up(const struct set *s, struct usage *ret)
{
	for (size_t i = 0; i < s->n; i++)
		add_process(ret, s->pid[i]);
}

void usage_of_cgroup(int dir, struct usage *ret)
{
	char *text = malloc(64 * KIB);
	struct set *s = calloc(1, sizeof(*s));

	*ret = (struct usage){0};
	if (text && s && procfile_read_at(dir, "cgroup.procs", text, 64 * KIB) > 0) {
		add_numbers(s, text);
		add_up(s, ret);
	}
	free(s);
	free(text);
}

void usage_of_tree(pid_t pid, struct usage *ret)
{
	struct set *s = calloc(1, sizeof(*s));

	*ret = (struct usage){0};
	if (!s)
		return;
	s->pid[s->n++] = pid;
	for (size_t i = 0; i < s->n; i++)
		add_children(s, s->pid[i]);
	add_up(s, ret);
	free(s);
}
