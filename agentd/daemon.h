/*
 * daemon.h - the root object: loop, configuration, listeners, connections, sessions.
 */
#pragma once

#include <uv.h>

#include "agentd/config.h"
#include "agentd/conn.h"
#include "agentd/dial.h"
#include "agentd/ports.h"
#include "agentd/sessions.h"
#include "agentd/watch_tree.h"

#define DAEMON_READ_SIZE (256 * 1024)

struct listener {
	struct daemon *daemon;
	char *spec; /* owned: "unix:PATH" or "vsock:PORT" */
	int fd;     /* owned; -1: not listening */
	bool vsock;
	uv_poll_t poll;
	bool watching;
};

struct daemon {
	uv_loop_t loop;
	struct config config;
	char **argv; /* as started, for an upgrade */
	struct sessions sessions;
	struct workers workers;
	struct keeper keeper;
	struct watches watches;
	struct dials dials;
	struct ports ports;
	struct listener listeners[CONFIG_LISTEN_MAX];
	unsigned n_listeners;
	struct list conns, woken, drowsy; /* all; to be flushed now; to be flushed soon */
	uv_timer_t drowsy_timer;
	unsigned n_conns, next_conn_id;
	uv_prepare_t before_poll;
	uv_check_t after_poll;
	uv_poll_t signals;
	int signal_fd; /* they are blocked and read here: see on_signal() */
	uv_timer_t stop_timer;
	int spare_fd; /* given up for a moment when descriptors run out, so that accept(2) can
			 refuse */
	unsigned long refused,
		refused_fds;          /* strangers turned away; others for want of descriptors */
	uint64_t bytes_in, bytes_out; /* of all links */
	uint64_t started_at;
	/* The machine's start, in milliseconds since the kernel's; 0: not told. */
	uint64_t booted_ms, started_ms, ready_ms;
	char boot_id[40], instance[20];
	bool stopping;
	unsigned stop_rounds;
	uint8_t *read_buf; /* every connection reads into it; nothing in it outlives a callback */
};

/* What a predecessor left, from the command line (takeover.h). */
struct inherited {
	int arena_fd; /* -1: nothing */
	int link_fd;  /* to our init, see keeper.h; -1: none */
	unsigned n_listen;
	struct {
		int fd;
		const char *spec;
	} listen[CONFIG_LISTEN_MAX];
};

extern const struct service_host daemon_host;

int daemon_init(struct daemon *d, struct config *config, char **argv, const struct inherited *in);
int daemon_run(struct daemon *d); /* until stopped; 0 */
void daemon_stop(struct daemon *d);
void daemon_fini(struct daemon *d);
void daemon_put_hello(struct daemon *d, struct jsonw *w);
void daemon_wake(struct daemon *d, struct conn *c);
/* The same in so many milliseconds, or together with what comes earlier. */
void daemon_wake_within(struct daemon *d, struct conn *c, uint64_t ms);
/* Writes what all woken connections have. */
void daemon_flush(struct daemon *d);
