/*
 * service.h - what a channel can be opened to. A service is one file and one line of the table in
 * service.c; it knows sessions and the mux, and nothing of sockets.
 */
#pragma once

#include "agentd/sessions.h"
#include "proto/mux.h"

/* What only the daemon as a whole can answer. */
struct service_host {
	void (*info)(void *ctx, struct jsonw *w); /* members of `info` that are not the sessions' */
	/* 0: the agent is about to be replaced. -errno with the reason: nothing has changed. */
	int (*upgrade)(void *ctx, const char *path, struct error *e);
};

/* One link as its services see it; embedded in the connection, which outlives its channels. */
struct service_link {
	struct mux *mux;
	struct sessions *sessions;
	const struct service_host *host;
	void *host_ctx;
	bool clean; /* the peer said goodbye: its places need not be held */
	void (*wake)(struct service_link *l); /* there is something to send */
};

struct service {
	const char *name;
	/* 0 after mux_accept(); or a negative errno with the error filled: refused. */
	int (*open)(struct service_link *l, uint32_t channel, const struct msg_open *m,
		struct error *e);
};

extern const struct service exec_service;

/* An OPEN frame: finds the service, refuses with a reason. */
void service_open(struct service_link *l, uint32_t channel, const uint8_t *json, size_t len);
/* A REQ on channel 0 (control.c). */
void control_request(struct service_link *l, uint64_t id, const uint8_t *json, size_t len);
