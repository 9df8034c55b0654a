#include "agentd/cgroup_limits.h"

#include <fcntl.h>
#include <stdio.h>

#include "agentd/procfile.h"

#define PERIOD_US 100000 /* of cpu.max */

static const struct controller {
	const char *name, *file;
	size_t offset; /* in struct msg_resources */
	bool per_period;
} controllers[] = {
	{"memory", "memory.max", offsetof(struct msg_resources, memory), false},
	{"pids", "pids.max", offsetof(struct msg_resources, pids), false},
	{"cpu", "cpu.max", offsetof(struct msg_resources, cpu_percent), true},
};

static int64_t value_of(const struct controller *c, const struct msg_resources *r)
{
	return *(const int64_t *)(const void *)((const char *)r + c->offset);
}

static int write_text(int dir, const char *file, const char *text)
{
	auto_close int fd = openat(dir, file, O_WRONLY | O_CLOEXEC | O_TRUNC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static bool has_word(int dir, const char *file, const char *word)
{
	char text[512];
	size_t n = strlen(word);

	if (procfile_read_at(dir, file, text, sizeof(text)) <= 0)
		return false;
	for (const char *at = text; (at = strstr(at, word)); at += n) {
		if ((at == text || at[-1] == ' ') && (!at[n] || at[n] == ' ' || at[n] == '\n'))
			return true;
	}
	return false;
}

static int enable(int dir, bool below, const struct controller *c)
{
	char word[16];

	snprintf(word, sizeof(word), "+%s", c->name);
	if (faccessat(dir, c->file, F_OK, 0) < 0) {
		write_text(dir, "../cgroup.subtree_control", word);
		if (faccessat(dir, c->file, F_OK, 0) < 0)
			return -EOPNOTSUPP;
	}
	if (!below || has_word(dir, "cgroup.subtree_control", c->name))
		return 0;
	write_text(dir, "cgroup.subtree_control", word);
	return has_word(dir, "cgroup.subtree_control", c->name) ? 0 : -EOPNOTSUPP;
}

int cgroup_limits_enable(int dir, bool below, const struct msg_resources *r, struct error *e)
{
	for (size_t i = 0; i < array_size(controllers); i++) {
		const struct controller *c = &controllers[i];

		if (value_of(c, r) && (dir < 0 || enable(dir, below, c) < 0))
			return error_set(e, E_FAILED, EOPNOTSUPP,
				"the %s controller is not available here", c->name);
	}
	return 0;
}

static void format_value(const struct controller *c, int64_t v, char out[48])
{
	if (v == RESOURCE_NONE)
		snprintf(out, 48, "max");
	else if (c->per_period)
		snprintf(out, 48, "%lld %d", (long long)v * PERIOD_US / 100, PERIOD_US);
	else
		snprintf(out, 48, "%lld", (long long)v);
}

int cgroup_limits_set(int dir, const struct msg_resources *r, struct error *e)
{
	for (size_t i = 0; i < array_size(controllers); i++) {
		const struct controller *c = &controllers[i];
		char text[48];
		int err;

		if (!value_of(c, r))
			continue;
		format_value(c, value_of(c, r), text);
		err = write_text(dir, c->file, text);
		if (err < 0)
			return error_set(e, E_FAILED, -err, "%s: %s", c->file, strerror(-err));
	}
	return 0;
}

static void put_value(struct jsonw *w, const struct controller *c, const char *text)
{
	const char *name = c->per_period ? "cpu_percent" : c->name;
	uint64_t v, period = PERIOD_US;
	char *end;

	if (strncmp(text, "max", 3) == 0) {
		jsonw_null(w, name);
		return;
	}
	v = strtoull(text, &end, 10);
	if (c->per_period) {
		period = strtoull(end, NULL, 10);
		v = period ? v * 100 / period : 0;
	}
	jsonw_u64(w, name, v);
}

void cgroup_limits_put(int dir, struct jsonw *w, const char *name)
{
	char text[64];

	if (name)
		jsonw_open(w, name, '{');
	for (size_t i = 0; i < array_size(controllers); i++) {
		if (procfile_read_at(dir, controllers[i].file, text, sizeof(text)) > 0)
			put_value(w, &controllers[i], text);
	}
	if (name)
		jsonw_close(w, '}');
}
