/*
 * sockdiag.h - which TCP sockets listen, from the kernel's sock_diag. Asking is a few system calls
 * whatever else there is; the kernel does the choosing.
 */
#pragma once

#include "base/base.h"

/* The largest reply the kernel makes of a dump. */
#define SOCKDIAG_REPLY (32 * 1024)

struct sockdiag_entry {
	bool v6;
	uint8_t addr[16]; /* 4 of them unless v6; network order */
	uint16_t port;
	uint32_t uid;
	uint64_t inode;
};

typedef int (*sockdiag_fn)(void *ctx, const struct sockdiag_entry *s); /* 0, or -errno to stop */

/* One datagram of replies to request `seq`. 0: more will follow; 1: that was the last; -errno: the
 * kernel's, fn's, or -EBADMSG. What does not belong to the request is left out. */
int sockdiag_parse(const void *data, size_t len, uint32_t seq, sockdiag_fn fn, void *ctx);

/* All of them, IPv4 and IPv6, of our network namespace. 0 or -errno. */
int sockdiag_listening(sockdiag_fn fn, void *ctx);
