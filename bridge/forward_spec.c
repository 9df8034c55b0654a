/*
 *	-:REMOTE  PORT  PORT:REMOTE  BIND:PORT:REMOTE  LPATH:REMOTE
 *	REMOTE is PORT, HOST:PORT, or a path (or @NAME)
 *
 * Of three parts the first is a bind address unless it is a number. A path of ours begins with '/'
 * or '.', and a remote one with '/' or '@', which nothing else does.
 */
#include "bridge/forward_spec.h"

#include <arpa/inet.h>
#include <stdio.h>

#define PARTS 4

static int bad(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EINVAL;
}

static bool parse_port(const char *s, unsigned min, uint16_t *ret)
{
	unsigned long v;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	v = strtoul(s, &end, 10);
	if (*end || v > UINT16_MAX || v < min)
		return false;
	*ret = (uint16_t)v;
	return true;
}

/* Cuts at every ':' that is not in brackets, in place; brackets stay. How many parts, or
 * 0; those that are not there are empty. */
static size_t split(char *text, char *parts[PARTS])
{
	size_t n = 0;

	for (size_t i = 0; i < PARTS; i++)
		parts[i] = text + strlen(text);
	while (n < PARTS) {
		char *at = text;

		parts[n++] = at;
		if (*at == '[')
			at += strcspn(at, "]");
		at += strcspn(at, ":");
		if (!*at)
			return n;
		*at = '\0';
		text = at + 1;
	}
	return 0;
}

static bool is_v6(const char *s, char out[64])
{
	size_t n = strlen(s);
	struct in6_addr ip;

	if (n < 3 || n > 60 || s[0] != '[' || s[n - 1] != ']')
		return false;
	snprintf(out, 64, "%.*s", (int)(n - 2), s + 1);
	return inet_pton(AF_INET6, out, &ip) == 1;
}

static bool is_v4(const char *s)
{
	struct in_addr ip;

	return inet_pton(AF_INET, s, &ip) == 1;
}

static int set_local(struct forward_spec *f, const char *bind, const char *port, const char **why)
{
	f->kind = FORWARD_TCP;
	if (!parse_port(port, 0, &f->port))
		return bad(why, "the local port is not a number up to 65535");
	if (strcmp(bind, "localhost") == 0)
		bind = "127.0.0.1";
	if (strcmp(bind, "*") == 0)
		bind = "0.0.0.0";
	if (is_v6(bind, f->host))
		return 0;
	snprintf(f->host, sizeof(f->host), "%.63s", bind);
	return is_v4(bind) ? 0
			   : bad(why, "the address to listen on is none of localhost, *, an IPv4 "
				      "address, [an IPv6 address]");
}

static int set_remote(struct forward_spec *f, const char *host, const char *port, const char **why)
{
	uint16_t number;
	char v6[64];

	if (!parse_port(port, 1, &number))
		return bad(why, "the remote port is not a number from 1 to 65535");
	if (strcmp(host, "localhost") != 0 && !is_v4(host) && !is_v6(host, v6))
		return bad(why, "the remote host is none of localhost, an IPv4 address, [an IPv6 "
				"address]");
	snprintf(f->to, sizeof(f->to), "tcp:%.64s:%u", host, number);
	return 0;
}

static int set_remote_path(struct forward_spec *f, const char *path, const char **why)
{
	if (strlen(path) < 2 || strlen(path) >= TARGET_PATH_MAX)
		return bad(why, "the remote path must have 2 to 107 bytes");
	snprintf(f->to, sizeof(f->to), "unix:%s", path);
	return 0;
}

static int parse_remote(struct forward_spec *f, char *text, const char **why)
{
	char *parts[PARTS];
	size_t n;

	if (*text == '/' || *text == '@')
		return set_remote_path(f, text, why);
	n = split(text, parts);
	if (n < 1 || n > 2)
		return bad(why, "the remote side must be [HOST:]PORT, /PATH or @NAME");
	return n == 1 ? set_remote(f, "localhost", parts[0], why)
		      : set_remote(f, parts[0], parts[1], why);
}

/* [BIND:]PORT up to the remote side; `all` is cut at its ':'s. */
static int parse_tcp(struct forward_spec *f, char *all, const char **why)
{
	char *path = all, *parts[PARTS];
	uint16_t number;
	size_t n, local;
	int r;

	/* A remote path first: it may have any ':' in it. */
	while (*path && *path != '/' && *path != '@')
		path++;
	if (*path && (path == all || path[-1] != ':'))
		return bad(why, "a remote path follows the ':' of a local port");
	if (*path)
		path[-1] = '\0';
	n = split(all, parts);
	if (n == 0)
		return bad(why, "there are too many ':' in it (IPv6 addresses want brackets)");
	if (*path)
		local = n;
	else
		local = n == 1 || n == 2 || (n == 3 && parse_port(parts[0], 0, &number)) ? 1 : 2;
	if (local > 2)
		return bad(why, "there are too many ':' in front of the path");
	r = local == 1 ? set_local(f, "127.0.0.1", parts[0], why)
		       : set_local(f, parts[0], parts[1], why);
	if (r < 0)
		return r;
	if (*path)
		return set_remote_path(f, path, why);
	if (n == 1)
		return set_remote(f, "localhost", parts[0], why);
	return n - local == 1 ? set_remote(f, "localhost", parts[local], why)
			      : set_remote(f, parts[local], parts[local + 1], why);
}

int forward_spec_parse(const char *text, struct forward_spec *ret, const char **ret_why)
{
	char all[2 * TARGET_PATH_MAX + 80];
	struct forward_spec f = {0};
	char *colon;
	int r;

	if (strlen(text) >= sizeof(all))
		return bad(ret_why, "it is too long");
	memcpy(all, text, strlen(text) + 1);
	if (strncmp(all, "-:", 2) == 0) {
		f.kind = FORWARD_STDIO;
		r = parse_remote(&f, all + 2, ret_why);
	} else if (*all == '/' || *all == '.') {
		f.kind = FORWARD_UNIX;
		colon = strchr(all, ':');
		if (!colon)
			return bad(ret_why, "the remote side is missing");
		*colon = '\0';
		if (strlen(all) >= sizeof(f.path))
			return bad(ret_why, "the local path is longer than 107 bytes");
		memcpy(f.path, all, strlen(all) + 1);
		r = parse_remote(&f, colon + 1, ret_why);
	} else {
		r = parse_tcp(&f, all, ret_why);
	}
	if (r == 0)
		*ret = f;
	return r;
}
