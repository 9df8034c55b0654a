#include "agentd/config.h"

#include <fcntl.h>
#include <stdio.h>

#define LINE_SIZE 4096 /* line end and NUL included */

enum kind { KIND_NUMBER, KIND_STRING, KIND_LISTEN, KIND_LEVEL };

static const struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	uint64_t min, max;
	const char *help;
} keys[] = {
	{"listen", KIND_LISTEN, 0, 0, 0, "unix:PATH or vsock:PORT; may be given several times"},
	{"token_file", KIND_STRING, offsetof(struct config, token_file), 0, 0,
		"file whose first line a client must present"},
	{"default_user", KIND_STRING, offsetof(struct config, default_user), 0, 0,
		"user of commands that name none"},
	{"claude", KIND_STRING, offsetof(struct config, claude), 0, 0,
		"program of Claude sessions, and arguments (claude)"},
	{"cgroup", KIND_STRING, offsetof(struct config, cgroup), 0, 0,
		"auto, none, or a cgroup v2 directory"},
	{"max_connections", KIND_NUMBER, offsetof(struct config, max_connections), 1, 4096,
		"links at once"},
	{"max_channels", KIND_NUMBER, offsetof(struct config, max_channels), 1, 65536,
		"channels of one link"},
	{"max_sessions", KIND_NUMBER, offsetof(struct config, max_sessions), 1, 65536,
		"sessions, ended ones included"},
	{"retain_max", KIND_NUMBER, offsetof(struct config, retain_max), 0, 65536,
		"ended sessions kept"},
	{"retain_ms", KIND_NUMBER, offsetof(struct config, retain_ms), 0, UINT32_MAX,
		"how long an ended session stays"},
	{"ring_default", KIND_NUMBER, offsetof(struct config, ring_default), 0, 64 * MIB,
		"output kept of a session, bytes"},
	{"store_max", KIND_NUMBER, offsetof(struct config, store_max), 1 * MIB, 64 * GIB,
		"output kept of all sessions, bytes"},
	{"hello_timeout_ms", KIND_NUMBER, offsetof(struct config, hello_timeout_ms), 10, 600000,
		"time for a client to complete its handshake"},
	{"stop_grace_ms", KIND_NUMBER, offsetof(struct config, stop_grace_ms), 0, 600000,
		"time between TERM and KILL when agentd stops"},
	{"log_level", KIND_LEVEL, 0, 0, 0, "err, warn, info or debug"},
};

const char *config_key(unsigned i, const char **ret_help)
{
	if (i >= array_size(keys))
		return NULL;
	*ret_help = keys[i].help;
	return keys[i].name;
}

static char *copy(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(xcalloc(1, n), s, n);
}

void config_init(struct config *c)
{
	*c = (struct config){
		.max_connections = 128,
		.max_channels = 1024,
		.max_sessions = 10240,
		.retain_max = 1024,
		.retain_ms = 300000,
		.ring_default = 1 * MIB,
		.store_max = 256 * MIB,
		.hello_timeout_ms = 10000,
		.stop_grace_ms = 3000,
		.log_level = LOG_INFO,
		.cgroup = copy("auto"),
	};
}

void config_fini(struct config *c)
{
	for (unsigned i = 0; i < c->n_listen; i++)
		free(c->listen[i]);
	c->n_listen = 0;
	free(take_ptr(&c->token_file));
	free(take_ptr(&c->token));
	free(take_ptr(&c->default_user));
	free(take_ptr(&c->claude));
	free(take_ptr(&c->cgroup));
}

static int set_number(
	struct config *c, const struct key *k, const char *value, char *why, size_t size)
{
	uint64_t *field = (uint64_t *)(void *)((char *)c + k->offset);
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || errno || *end || v < k->min || v > k->max) {
		snprintf(why, size, "%s must be a number from %llu to %llu, not \"%s\"", k->name,
			(unsigned long long)k->min, (unsigned long long)k->max, value);
		return -EINVAL;
	}
	*field = v;
	return 0;
}

static int add_listen(struct config *c, const char *value, char *why, size_t size)
{
	if ((strncmp(value, "unix:", 5) != 0 || value[5] == '\0') &&
		strncmp(value, "vsock:", 6) != 0) {
		snprintf(why, size, "listen must be unix:PATH or vsock:PORT, not \"%s\"", value);
		return -EINVAL;
	}
	if (c->n_listen == CONFIG_LISTEN_MAX) {
		snprintf(why, size, "at most %d times listen", CONFIG_LISTEN_MAX);
		return -EINVAL;
	}
	c->listen[c->n_listen++] = copy(value);
	return 0;
}

int config_set(struct config *c, const char *key, const char *value, char *why, size_t why_size)
{
	for (size_t i = 0; i < array_size(keys); i++) {
		const struct key *k = &keys[i];
		char **field = (char **)(void *)((char *)c + k->offset);

		if (strcmp(k->name, key) != 0)
			continue;
		switch (k->kind) {
		case KIND_NUMBER: return set_number(c, k, value, why, why_size);
		case KIND_LISTEN: return add_listen(c, value, why, why_size);
		case KIND_STRING:
			if (value[0] == '\0') {
				snprintf(why, why_size, "%s must not be empty", k->name);
				return -EINVAL;
			}
			free(*field);
			*field = copy(value);
			return 0;
		case KIND_LEVEL:
			if (log_parse_level(value, &c->log_level) == 0)
				return 0;
			snprintf(why, why_size,
				"log_level must be err, warn, info or debug, not \"%s\"", value);
			return -EINVAL;
		}
	}
	snprintf(why, why_size, "there is no setting \"%s\"", key);
	return -EINVAL;
}

static char *trim(char *s)
{
	char *end;

	s += strspn(s, " \t\r\n");
	end = s + strlen(s);
	while (end > s && strchr(" \t\r\n", end[-1]))
		*--end = '\0';
	return s;
}

static int read_line(struct config *c, char *line, char *why, size_t size)
{
	char *value;

	if (strlen(line) == LINE_SIZE - 1 && line[LINE_SIZE - 2] != '\n') {
		snprintf(why, size, "a line of more than %d characters", LINE_SIZE - 2);
		return -EINVAL;
	}
	line = trim(line);
	if (*line == '\0' || *line == '#')
		return 0;
	value = strchr(line, '=');
	if (!value) {
		snprintf(why, size, "\"key = value\" expected");
		return -EINVAL;
	}
	*value++ = '\0';
	return config_set(c, trim(line), trim(value), why, size);
}

int config_read(struct config *c, const char *path, char *why, size_t why_size)
{
	FILE *f = fopen(path, "re");
	char line[LINE_SIZE], reason[256] = "";
	int r = 0;

	if (!f) {
		r = -errno;
		snprintf(why, why_size, "%s: %s", path, strerror(errno));
		return r;
	}
	for (unsigned n = 1; r == 0 && fgets(line, sizeof(line), f); n++) {
		r = read_line(c, line, reason, sizeof(reason));
		if (r < 0)
			snprintf(why, why_size, "%s line %u: %s", path, n, reason);
	}
	if (r == 0 && ferror(f)) {
		r = -errno; /* of the last fgets */
		snprintf(why, why_size, "%s: %s", path, strerror(-r));
	}
	fclose(f);
	return r;
}

/* Up to size-1 bytes of a small file; the length, or -errno. */
static ssize_t read_small(const char *path, char *out, size_t size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, out, size - 1);
	if (n < 0)
		return -errno;
	out[n] = '\0';
	return n;
}

int config_load_token(struct config *c, char *why, size_t why_size)
{
	char text[4096];
	ssize_t n;

	free(take_ptr(&c->token));
	if (c->token_file) {
		n = read_small(c->token_file, text, sizeof(text));
		text[n > 0 ? strcspn(text, "\r\n") : 0] = '\0';
		if (n < 0 || text[0] == '\0') {
			snprintf(why, why_size, "token file %s: %s", c->token_file,
				n < 0 ? strerror((int)-n) : "empty");
			return n < 0 ? (int)n : -EINVAL;
		}
		c->token = copy(text);
		return 0;
	}
	return 0;
}

void config_token_from_kernel(struct config *c)
{
	char text[4096];
	char *at = text;

	if (c->token || read_small("/proc/cmdline", text, sizeof(text)) <= 0)
		return;
	while ((at = strstr(at, "agentd.token=")) != NULL) {
		bool word_start = at == text || at[-1] == ' ';

		at += strlen("agentd.token=");
		if (!word_start)
			continue;
		at[strcspn(at, " \r\n")] = '\0';
		if (*at)
			c->token = copy(at);
		break;
	}
}
