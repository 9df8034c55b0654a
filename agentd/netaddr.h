/*
 * netaddr.h - where a connection goes, from the text form of docs/protocol.md section 16. Nothing
 * is looked up: an address, or localhost, which is two.
 */
#pragma once

#include <netinet/in.h>
#include <sys/un.h>

#include "proto/error.h"

#define NETADDR_MAX 2

struct netaddr {
	unsigned n; /* to be tried in this order */
	struct {
		union {
			struct sockaddr any;
			struct sockaddr_in v4;
			struct sockaddr_in6 v6;
			struct sockaddr_un un;
		};
		socklen_t len;
	} at[NETADDR_MAX];
};

/* 0, or -EINVAL with the error filled. */
int netaddr_parse(const char *text, struct netaddr *ret, struct error *e);
