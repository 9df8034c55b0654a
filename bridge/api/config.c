#include "bridge/api/config.h"

#include <limits.h>
#include <stdio.h>

#include "bridge/api/front.h"

enum kind { KIND_TEXT, KIND_NUMBER, KIND_YES, KIND_LEVEL };

#define AT(member) offsetof(struct config, member)

static const struct option {
	const char *name;
	enum kind kind;
	size_t offset;
	uint64_t min, max;
	const char *value, *help;
} options[] = {
	{"port", KIND_NUMBER, AT(port), 0, 65535, "N",
		"port to listen on (8080); 0: any, it is logged"},
	{"host", KIND_TEXT, AT(bridge.host), 0, 0, "ADDRESS", "address to listen on (127.0.0.1)"},
	{"state", KIND_TEXT, AT(bridge.state_dir), 0, 0, "DIR", "where everything is kept"},
	{"driver", KIND_TEXT, AT(bridge.driver), 0, 0, "NAME", "local (default), vm or external"},
	{"agentd", KIND_TEXT, AT(bridge.box.agentd), 0, 0, "PATH", "static agentd for sandboxes"},
	{"root", KIND_TEXT, AT(bridge.box.root), 0, 0, "DIR",
		"local: root directory of sandboxes (the host's own)"},
	{"image-dir", KIND_TEXT, AT(bridge.box.image_dir), 0, 0, "DIR", "vm: kernel and disks"},
	{"tls-cert", KIND_TEXT, AT(bridge.cert), 0, 0, "FILE",
		"certificate chain, PEM: serve HTTPS"},
	{"tls-key", KIND_TEXT, AT(bridge.cert_key), 0, 0, "FILE", "its key, PEM"},
	{"public-url", KIND_TEXT, AT(bridge.public_url), 0, 0, "URL",
		"how clients reach this (from their request)"},
	{"domain", KIND_TEXT, AT(bridge.domain), 0, 0, "NAME",
		"domain of preview names (localhost)"},
	{"no-auth", KIND_YES, AT(bridge.open), 0, 0, NULL, "ask for no key; on loopback only"},
	{"i-know", KIND_YES, AT(i_know), 0, 0, NULL, "--no-auth on other addresses too"},
	{"guests", KIND_TEXT, AT(guests), 0, 0, "FILE",
		"guests of others to register, a JSON object {id,address,token} a line"},
	{"region", KIND_TEXT, AT(bridge.region), 0, 0, "NAME", "told to clients (local)"},
	{"worker", KIND_TEXT, AT(bridge.worker), 0, 0, "NAME", "told to clients (the host's name)"},
	{"inline-hold-ms", KIND_NUMBER, AT(bridge.inline_hold_ms), 0, 60000, "N",
		"how long run-async waits for a quick command (400)"},
	{"result-hold-ms", KIND_NUMBER, AT(bridge.result_hold_ms), 0, 60000, "N",
		"how long asking for a result waits for it (500)"},
	{"max-sandboxes", KIND_NUMBER, AT(max_sandboxes), 1, 100000, "N",
		"sandboxes at once (10000)"},
	{"max-connections", KIND_NUMBER, AT(max_connections), 1, 1000000, "N",
		"clients at once (as many as descriptors allow)"},
	{"ping-interval", KIND_NUMBER, AT(bridge.ping_s), 1, 3600, "N",
		"seconds of silence after which a WebSocket is pinged (30)"},
	{"access-log", KIND_YES, AT(bridge.access_log), 0, 0, NULL, "a line for every request"},
	{"log-level", KIND_LEVEL, AT(log_level), 0, 0, "LEVEL",
		"err, warn, info (default) or debug"},
	{"version", KIND_YES, AT(version), 0, 0, NULL, "print the version"},
	{"help", KIND_YES, AT(help), 0, 0, NULL, "print this text"},
};

const char *config_option(unsigned i, const char **ret_value, const char **ret_help)
{
	if (i >= array_size(options))
		return NULL;
	*ret_value = options[i].value;
	*ret_help = options[i].help;
	return options[i].name;
}

/* ---- one setting ---- */

static int set_number(const char *name, const char *value, uint64_t min, uint64_t max,
	uint64_t *ret, char *why, size_t why_size)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || errno || *end || v < min || v > max) {
		snprintf(why, why_size, "%s must be a number from %llu to %llu, not \"%.40s\"",
			name, (unsigned long long)min, (unsigned long long)max, value);
		return -EINVAL;
	}
	*ret = v;
	return 0;
}

static int set(struct config *c, const struct option *o, const char *value, char *why, size_t size)
{
	char *at = (char *)c + o->offset;
	char name[64];

	snprintf(name, sizeof(name), "--%s", o->name);
	switch (o->kind) {
	case KIND_YES: *(bool *)(void *)at = true; return 0;
	case KIND_NUMBER:
		return set_number(name, value, o->min, o->max, (uint64_t *)(void *)at, why, size);
	case KIND_LEVEL:
		if (log_parse_level(value, &c->log_level) == 0)
			return 0;
		snprintf(why, size, "%s must be err, warn, info or debug, not \"%.40s\"", name,
			value);
		return -EINVAL;
	case KIND_TEXT:
		if (value[0] == '\0') {
			snprintf(why, size, "%s must not be empty", name);
			return -EINVAL;
		}
		*(const char **)(void *)at = value;
		return 0;
	}
	return -EINVAL;
}

/* "--name", "--name=value", "--name value". Returns how many words it took, or -EINVAL. */
static int parse_one(struct config *c, const char *word, const char *next, char *why, size_t size)
{
	size_t len = strcspn(word + 2, "=");
	const char *value = word[2 + len] == '=' ? word + 3 + len : NULL;

	for (size_t i = 0; i < array_size(options); i++) {
		const struct option *o = &options[i];

		if (strlen(o->name) != len || memcmp(o->name, word + 2, len) != 0)
			continue;
		if (!o->value && value) {
			snprintf(why, size, "--%s takes no value", o->name);
			return -EINVAL;
		}
		if (!o->value)
			return set(c, o, "", why, size) < 0 ? -EINVAL : 1;
		if (!value && !next) {
			snprintf(why, size, "--%s needs a value", o->name);
			return -EINVAL;
		}
		if (set(c, o, value ? value : next, why, size) < 0)
			return -EINVAL;
		return value ? 1 : 2;
	}
	snprintf(why, size, "there is no option %.100s", word);
	return -EINVAL;
}

int config_parse(struct config *c, int argc, char **argv, int i, char *why, size_t why_size)
{
	int n;

	while (i < argc && strncmp(argv[i], "--", 2) == 0) {
		n = parse_one(c, argv[i], i + 1 < argc ? argv[i + 1] : NULL, why, why_size);
		if (n < 0)
			return n;
		i += n;
	}
	c->bridge.port = (uint16_t)c->port;
	c->bridge.max_calls = c->max_connections;
	return i;
}

/* ---- defaults ---- */

static void default_state(struct config *c)
{
	const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (geteuid() == 0)
		snprintf(c->state, sizeof(c->state), "/var/lib/agentd-bridge");
	else if (base && base[0] == '/')
		snprintf(c->state, sizeof(c->state), "%s/agentd-bridge", base);
	else
		snprintf(c->state, sizeof(c->state), "%s/.local/state/agentd-bridge",
			home ? home : "");
}

/* The static one of the tree this was built in, else the one beside us. */
static void default_agentd(struct config *c)
{
	static const char *const places[] = {"/../../static/bin/agentd", "/agentd"};
	char self[PATH_MAX], path[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return;
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	for (size_t i = 0; i < array_size(places); i++) {
		auto_free char *real = NULL;

		snprintf(path, sizeof(path), "%s%s", self, places[i]);
		real = access(path, X_OK) == 0 ? realpath(path, NULL) : NULL;
		if (real && strlen(real) < sizeof(c->agentd)) {
			memcpy(c->agentd, real, strlen(real) + 1);
			return;
		}
	}
}

static int take_environment(struct config *c, char *why, size_t why_size)
{
	static const struct {
		const char *name;
		size_t offset;
	} known[] = {
		{"OPENSANDBOX_EXEC_INLINE_HOLD_MS", AT(bridge.inline_hold_ms)},
		{"OPENSANDBOX_EXEC_RESULT_HOLD_MS", AT(bridge.result_hold_ms)},
	};

	for (size_t i = 0; i < array_size(known); i++) {
		const char *value = getenv(known[i].name);
		uint64_t *at = (uint64_t *)(void *)((char *)c + known[i].offset);

		if (value && set_number(known[i].name, value, 0, 60000, at, why, why_size) < 0)
			return -EINVAL;
	}
	return 0;
}

int config_init(struct config *c, char *why, size_t why_size)
{
	*c = (struct config){
		.bridge =
			{
				.host = "127.0.0.1",
				.driver = "local",
				.domain = "localhost",
				.region = "local",
				.inline_hold_ms = 400,
				.result_hold_ms = 500,
				.ping_s = FRONT_PING_S,
			},
		.port = 8080,
		.max_sandboxes = 10000,
		.log_level = LOG_INFO,
	};
	default_state(c);
	c->bridge.state_dir = c->state;
	default_agentd(c);
	if (c->agentd[0])
		c->bridge.box.agentd = c->agentd;
	if (gethostname(c->worker, sizeof(c->worker) - 1) < 0 || !c->worker[0])
		memcpy(c->worker, "worker", sizeof("worker"));
	c->bridge.worker = c->worker;
	return take_environment(c, why, why_size);
}

/* ---- all together ---- */

static bool is_loopback(const char *host)
{
	bool numbers = host[strspn(host, "0123456789.")] == '\0';

	return (numbers && strncmp(host, "127.", 4) == 0) || strcmp(host, "::1") == 0;
}

/* The driver's programs are started elsewhere. What is not there the driver says. */
static int make_absolute(const char **path, char room[BOX_PATH_MAX], char *why, size_t why_size)
{
	auto_free char *real = *path ? realpath(*path, NULL) : NULL;

	if (!real)
		return 0;
	if (strlen(real) >= BOX_PATH_MAX) {
		snprintf(why, why_size, "the path %.100s... is too long", real);
		return -ENAMETOOLONG;
	}
	*path = memcpy(room, real, strlen(real) + 1);
	return 0;
}

int config_check(struct config *c, char *why, size_t why_size)
{
	struct box_config *box = &c->bridge.box;

	if (strcmp(c->bridge.host, "localhost") == 0)
		c->bridge.host = "127.0.0.1";
	if (make_absolute(&box->agentd, c->agentd, why, why_size) < 0 ||
		make_absolute(&box->root, c->root, why, why_size) < 0 ||
		make_absolute(&box->image_dir, c->images, why, why_size) < 0)
		return -EINVAL;
	if (!c->bridge.cert != !c->bridge.cert_key) {
		snprintf(why, why_size, "--tls-cert and --tls-key belong together");
		return -EINVAL;
	}
	if (c->bridge.open && !is_loopback(c->bridge.host) && !c->i_know) {
		snprintf(why, why_size,
			"--no-auth on %s would let everybody in who reaches it; add --i-know if so",
			c->bridge.host);
		return -EINVAL;
	}
	return 0;
}
