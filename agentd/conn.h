/*
 * conn.h - one connection: a socket around a wire. It reads into the daemon's one buffer, feeds the
 * wire, and writes what the wire has; everything else is the services' business.
 *
 * Writing happens once per turn of the loop: whoever has something for a connection calls wake, and
 * the daemon flushes all woken connections together. So no callback of a session is ever entered
 * from inside another.
 *
 * Ownership: the daemon's list. conn_close() may be called at any time and any number of times;
 * memory goes in the last close callback.
 */
#pragma once

#include <uv.h>

#include "agentd/service.h"
#include "proto/wire.h"

struct daemon;

enum conn_phase {
	CONN_HANDSHAKE, /* up to the client's HELLO */
	CONN_OPEN,
	CONN_LINGER, /* all is said; waiting for the peer to hang up, so that it can read it */
	CONN_CLOSED,
};

struct conn {
	struct daemon *daemon;
	struct list link, woken;
	enum conn_phase phase;
	unsigned id;
	int fd; /* owned */
	uv_poll_t poll;
	uv_timer_t timer; /* ends a handshake that takes too long, a silence, then a farewell */
	int poll_mask;
	bool want_write;
	bool welcome; /* else its upgrade is refused: too many connections */
	bool ending;  /* the farewell timer runs */
	bool called;  /* asked for a sign of life; the timer runs */
	struct wire wire;
	struct service_link service;
	struct buf pending; /* input the wire would not take yet */
	unsigned open_handles;
};

/* Takes fd over. Not welcome: there are too many, and its request will be answered so. NULL: out of
 * memory (fd is closed). */
struct conn *conn_new(struct daemon *d, int fd, bool welcome);
void conn_close(struct conn *c);
/* Writes what there is; called by the daemon for woken connections. */
void conn_flush(struct conn *c);
/* Asks an open one for a sign of life: nothing heard in 10 s, and it is closed. */
void conn_call(struct conn *c);
/* Orderly: a notice, a close frame, then the linger. */
void conn_bye(struct conn *c, const char *notice, int code);
