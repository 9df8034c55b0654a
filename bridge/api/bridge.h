/*
 * bridge.h - the daemon's parts, for the handlers: one of each, made in main.c, gone after its
 * loop. Handlers reach it by bridge_of(call).
 */
#pragma once

#include "bridge/api/call.h"
#include "bridge/sandbox/keys.h"
#include "bridge/sandbox/sandbox.h"

struct bridge_config {
	const char *host; /* to listen on; 127.0.0.1 */
	uint16_t port;
	const char *state_dir;
	const char *driver;
	const char *public_url;      /* what clients are told; NULL: from the request's Host */
	const char *domain;          /* of preview names */
	const char *cert, *cert_key; /* TLS, or NULL */
	bool open;                   /* no key is asked for */
	const char *region, *worker;
	uint64_t inline_hold_ms, result_hold_ms; /* run-async: 400, its result: 500 */
	uint64_t ping_s;
	size_t max_calls;
	bool access_log;
	struct box_config box;
};

struct bridge {
	struct bridge_config config;
	uv_loop_t *loop;
	struct store *store;
	struct keys *keys;
	struct sandboxes *sandboxes;
	struct front *front;
	struct metrics *metrics;
	struct list visits;              /* exec_visit.c */
	struct exec_runs *runs;          /* exec_runs.h */
	struct agent_turns *turns;       /* agent_turns.h */
	struct checkpoints *checkpoints; /* checkpoint.h */
	bool stopping;
};

static inline struct bridge *bridge_of(const struct call *c)
{
	return c->bridge;
}
/* May a client call a sandbox so? Neither an id nor a word of a route. */
bool bridge_alias_valid(const char *alias);
#define BRIDGE_ALIAS_RULE "of letters, digits, '.', '_', '-', and not begin with sb-"
/* "http://host:port/api" as this client sees it, for connectURL. */
void bridge_url(const struct call *c, char *out, size_t size);
