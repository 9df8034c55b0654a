#include "bridge/api/bridge.h"

#include <stdio.h>

#include "proto/msg.h"

bool bridge_alias_valid(const char *alias)
{
	return msg_name_valid(alias, 64) && strncmp(alias, "sb-", 3) != 0 &&
	       strcmp(alias, "from-checkpoint") != 0 && strcmp(alias, "checkpoints") != 0;
}

/* As a name in a URL: a client's Host goes into answers that others may read. */
static bool is_sane(const char *host)
{
	static const char good[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:[]";

	return host && *host && strlen(host) <= 255 && strspn(host, good) == strlen(host);
}

void bridge_url(const struct call *c, char *out, size_t size)
{
	const struct bridge_config *config = &c->bridge->config;
	const char *host = call_get_header(c, "host");
	const char *proto = call_get_header(c, "x-forwarded-proto");
	bool tls = c->encrypted || (proto && !strcmp(proto, "https"));
	bool v6 = strchr(config->host, ':');
	size_t n;

	if (config->public_url) {
		n = strlen(config->public_url);
		while (n > 0 && config->public_url[n - 1] == '/')
			n--;
		if (n >= 4 && !memcmp(config->public_url + n - 4, "/api", 4))
			n -= 4;
		snprintf(out, size, "%.*s/api", (int)n, config->public_url);
	} else if (is_sane(host)) {
		snprintf(out, size, "%s://%s/api", tls ? "https" : "http", host);
	} else {
		snprintf(out, size, "%s://%s%s%s:%u/api", tls ? "https" : "http", v6 ? "[" : "",
			config->host, v6 ? "]" : "", config->port);
	}
}
