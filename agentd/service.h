/*
 * service.h - what a channel can be opened to. A service is one file and one line of the table in
 * service.c; it knows sessions and the mux, and nothing of sockets.
 */
#pragma once

#include <stdatomic.h>

#include "agentd/sessions.h"
#include "agentd/workers.h"
#include "proto/mux.h"

struct watches;

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
	struct workers *workers;
	struct watches *watches;
	struct list replies; /* of requests that are still being worked on */
	const struct service_host *host;
	void *host_ctx;
	bool clean; /* the peer said goodbye: its places need not be held */
	void (*wake)(struct service_link *l); /* there is something to send */
};

/* A frame's JSON; valid only during the call. Each service reads its own members. */
struct json {
	const uint8_t *text;
	size_t len;
};

struct service {
	const char *name;
	/* m holds service and window, and what an exec channel is opened with. 0 after
	 * mux_accept(); or a negative errno with the error filled: refused. */
	int (*open)(struct service_link *l, uint32_t channel, const struct msg_open *m,
		struct json json, struct error *e);
};

extern const struct service exec_service, file_service;

/* Requests on channel 0 whose name is "family.something". 0: answered (mux_respond), or a reply is
 * kept and will be; a negative errno with the error filled. */
struct request_family {
	const char *name;
	int (*request)(struct service_link *l, uint64_t id, const char *op, struct json json,
		struct error *e);
};

extern const struct request_family file_family;

/* NULL: there is no such family. */
const struct request_family *service_family(const char *op_name);

/* An OPEN frame: finds the service, refuses with a reason. */
void service_open(struct service_link *l, uint32_t channel, const uint8_t *json, size_t len);
/* A REQ on channel 0 (control.c). */
void control_request(struct service_link *l, uint64_t id, const uint8_t *json, size_t len);

/*
 * The answer to a request that takes a while. The link may go meanwhile: then the answer goes
 * nowhere, and `link` is NULL.
 */
struct reply {
	struct list node;
	struct service_link *link;
	uint32_t channel;
	uint64_t id;
	atomic_bool gone; /* T: the link is; nobody waits for the answer any more */
};

void reply_init(struct reply *r, struct service_link *l, uint32_t channel, uint64_t id);
/* Exactly one of these, once. */
void reply_send(struct reply *r, const void *json, size_t len);
void reply_error(struct reply *r, const struct error *e);
/* The link is gone. */
void service_link_fini(struct service_link *l);
