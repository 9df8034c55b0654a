/*
 * route.h - which handler answers what. The tables are in routes.c, one line a route; matching,
 * credentials, the sandbox and the body's collection are done once, in dispatch.c, so a handler
 * begins where its own work begins.
 *
 * Every route answers below /api and at the root (docs of the API, "base URL").
 */
#pragma once

#include "bridge/api/call.h"

enum route_flags {
	R_PUBLIC = 1 << 0,  /* no credentials */
	R_SIGNED = 1 << 1,  /* none but the signature, checked before anything is done (signed.h) */
	R_TOKEN = 1 << 2,   /* a sandbox token will do, when it is :id's */
	R_SANDBOX = 1 << 3, /* params[0] is a sandbox: 404 when there is none; c->sandbox */
	R_DATA = 1 << 4, /* needs it up and linked: the handler is called when it is, and it is in
			    use (no idle timer) until the call ends. Implies R_SANDBOX. What cannot
			    be woken is answered 410, 502, 503 before */
	R_JSON =
		1 << 5, /* c->body is the body, an object of at most BODY_JSON_MAX; 400 otherwise */
	R_STREAM = 1 << 6, /* ops->on_body gets the body; nothing comes before the handler ran */
	R_SOCKET =
		1
		<< 7, /* a WebSocket; asked for without an upgrade: 426. With R_DATA the handler
			 is called at once, and must wait for the sandbox itself (sandbox_use()) */
	R_EITHER = 1 << 10, /* with R_SOCKET: without an upgrade it is a request like others */
	R_LARGE = 1 << 8,   /* with R_JSON: up to BODY_LARGE_MAX */
	R_ADMIN =
		1 << 9, /* not in the contract: ours alone, under /admin; only from this machine */
};

#define BODY_JSON_MAX  (1024 * 1024)
#define BODY_LARGE_MAX (64 * 1024 * 1024)

struct route {
	enum call_method method;
	const char *pattern; /* "/sandboxes/:id/exec/:sid"; a static part wins over a parameter */
	unsigned flags;
	void (*handle)(struct call *c);
	const char *name; /* operationId in openapi.json, label in the metrics */
};

/* All tables, in order; ends with a NULL entry. One table per file of handlers. */
extern const struct route *const route_tables[];

/* The tables: each ends with a line without a handler. */
extern const struct route routes_misc[], routes_sandboxes[], routes_exec[], routes_exec_run[],
	routes_agent[], routes_pty[], routes_files[], routes_files_more[], routes_signed[],
	routes_admin[], routes_checkpoints[], routes_patches[], routes_later[];

/* The route of c (fills c->route and c->params), or the status of what is wrong: 404, 405. */
int route_find(struct call *c);
/* The methods that c's path has routes for, a bit each (1 << CALL_GET ...). */
unsigned route_methods(const struct call *c);
