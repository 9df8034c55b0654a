/*
 * ports.h - who listens on TCP: request `net.ports` and service `ports` (docs/protocol.md section
 * 16). The daemon's one struct ports holds the table, as long as somebody asks or watches; nothing
 * is done and nothing is kept otherwise.
 */
#pragma once

#include "agentd/portscan.h"
#include "agentd/service.h"

#define PORTS_PERIOD_MS 500
#define PORTS_ASKED_MAX 256 /* requests that wait for a scan */

struct port;
struct ports_scan;

struct ports {
	struct workers *workers;
	struct sessions *sessions;
	uv_timer_t timer;
	struct list asked, served; /* requests: for the next scan; for the one under way */
	unsigned n_asked;          /* in both */
	struct list watchers;
	struct port *table; /* by port, then inode; owned */
	size_t n;
	unsigned version;        /* of the table */
	struct ports_scan *scan; /* under way; it belongs to the workers meanwhile */
	bool closing;
};

int ports_init(
	struct ports *p, uv_loop_t *loop, struct workers *workers, struct sessions *sessions);
/* After the last link, before the workers; the handle closes with the loop's next turn. */
void ports_close(struct ports *p);
