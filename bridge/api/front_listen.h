/*
 * front_listen.h - where clients come in: one address and port, IPv4 or IPv6.
 *
 * (libwebsockets could listen itself. Its sentence for an address that cannot be had is "failed",
 * IPv6 depends on how it was built, and when there are no descriptors left it asks for the next
 * client again and again.)
 */
#pragma once

#include <uv.h>

#include "base/base.h"

struct listener {
	uv_poll_t poll;
	uv_timer_t again; /* active: there are no descriptors for the next client, wait a little */
	int fd;           /* owned */
	unsigned open;    /* handles */
	/* A client's socket, non-blocking; its owner is who is called. */
	void (*on_client)(void *owner, int fd);
	void (*on_closed)(void *owner);
	void *owner;
};

/* host: numbers, as "127.0.0.1", "::1", "::" (everybody, by IPv4 as well). port 0: any that is
 * free; *ret_port is which. -errno and why. */
int listener_open(struct listener *l, uv_loop_t *loop, const char *host, uint16_t port,
	void (*on_client)(void *owner, int fd), void *owner, uint16_t *ret_port, char *why,
	size_t why_size);
/* Nobody comes in from now on, and the port is free. */
void listener_stop(struct listener *l);
/* fn when nothing of it is left on the loop; stopped before. */
void listener_close(struct listener *l, void (*fn)(void *owner), void *owner);

#define LISTEN_PEER_MAX 64
/* Who is at the other end of a socket, in numbers; an IPv4 address looks the same in both worlds.
 */
void listen_peer(int fd, char ret[LISTEN_PEER_MAX]);
