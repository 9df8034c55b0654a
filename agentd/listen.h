/*
 * listen.h - listening sockets, and who may come in: on vsock only the host (CID 2), on a unix
 * socket only root and our own uid.
 */
#pragma once

#include "agentd/daemon.h"

/* Opens (or adopts, fd >= 0) the socket of `spec` and begins to accept. A unix socket file that
 * nobody serves is replaced. */
int listen_start(struct daemon *d, struct listener *l, const char *spec, int fd);
/* Stops accepting; unlink: also removes a unix socket's file. */
void listen_stop(struct listener *l, bool unlink_file);
/* 0, or -EPERM: the peer of a connected socket may not in. */
int listen_check_peer(int fd, bool vsock);
