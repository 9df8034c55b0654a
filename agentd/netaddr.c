#include "agentd/netaddr.h"

#include <arpa/inet.h>

static void add_v4(struct netaddr *a, struct in_addr ip, uint16_t port)
{
	a->at[a->n].v4 = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr = ip, .sin_port = htons(port)};
	a->at[a->n++].len = sizeof(struct sockaddr_in);
}

static void add_v6(struct netaddr *a, struct in6_addr ip, uint16_t port)
{
	a->at[a->n].v6 = (struct sockaddr_in6){
		.sin6_family = AF_INET6, .sin6_addr = ip, .sin6_port = htons(port)};
	a->at[a->n++].len = sizeof(struct sockaddr_in6);
}

static int parse_port(const char *s, uint16_t *ret)
{
	unsigned long v;
	char *end;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	v = strtoul(s, &end, 10);
	if (*end || v == 0 || v > UINT16_MAX)
		return -EINVAL;
	*ret = (uint16_t)v;
	return 0;
}

static int parse_tcp(const char *s, struct netaddr *a, struct error *e)
{
	const char *colon = strrchr(s, ':');
	char host[INET6_ADDRSTRLEN + 2];
	struct in_addr v4;
	struct in6_addr v6;
	uint16_t port;
	size_t n = colon ? (size_t)(colon - s) : 0;

	if (!colon || parse_port(colon + 1, &port) < 0)
		return error_set(e, E_BAD_MESSAGE, 0, "\"to\" has no port from 1 to 65535");
	if (n >= sizeof(host))
		n = 0;
	memcpy(host, s, n);
	host[n] = '\0';
	if (strcmp(host, "localhost") == 0) {
		add_v4(a, (struct in_addr){htonl(INADDR_LOOPBACK)}, port);
		add_v6(a, in6addr_loopback, port);
		return 0;
	}
	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &v6) == 1) {
			add_v6(a, v6, port);
			return 0;
		}
	} else if (inet_pton(AF_INET, host, &v4) == 1) {
		add_v4(a, v4, port);
		return 0;
	}
	return error_set(e, E_BAD_MESSAGE, 0,
		"the host of \"to\" is none of localhost, an IPv4 address, [an IPv6 address]");
}

static int parse_unix(const char *path, struct netaddr *a, struct error *e)
{
	struct sockaddr_un *un = &a->at[0].un;
	size_t n = strlen(path);

	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (n < 2 || (*path != '/' && *path != '@'))
		return error_set(e, E_BAD_MESSAGE, 0,
			"the path of \"to\" must be absolute, or @ and an abstract name");
	if (n >= sizeof(un->sun_path))
		return error_set(e, E_BAD_MESSAGE, 0,
			"the path of \"to\" is longer than the %zu bytes a socket can have",
			sizeof(un->sun_path) - 1);
	memcpy(un->sun_path, path, n);
	a->at[0].len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	if (*path == '@') {
		un->sun_path[0] = '\0';
		a->at[0].len--; /* the name ends where the address does */
	}
	a->n = 1;
	return 0;
}

int netaddr_parse(const char *text, struct netaddr *ret, struct error *e)
{
	*ret = (struct netaddr){0};
	if (strncmp(text, "tcp:", 4) == 0)
		return parse_tcp(text + 4, ret, e);
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, ret, e);
	return error_set(e, E_BAD_MESSAGE, 0, "\"to\" must be tcp:HOST:PORT or unix:PATH");
}
