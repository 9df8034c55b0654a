/*
 * dispatch.h - what is the same for every route: finding it, credentials, the sandbox, its being
 * up, the body. Handlers are called when all of that is well.
 */
#pragma once

#include "bridge/api/bridge.h"
#include "bridge/api/route.h"

/* front_config.on_call */
void dispatch_call(struct call *c);
/* front_config.on_done: access log (no query, no credentials), metrics. */
void dispatch_done(struct call *c);
/* Answers with a fault. */
void call_fault(struct call *c, const struct fault *f);
