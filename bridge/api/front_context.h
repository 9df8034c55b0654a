/*
 * front_context.h - the context of libwebsockets: its settings.
 */
#pragma once

#include "bridge/api/front.h"
#include "bridge/api/front_loop.h"

struct lws_protocols;
struct lws_vhost;

/* How many connections there are descriptors for. */
size_t context_max(const struct front_config *config);
/* Sets l->cx, also when it fails after that. user: lws_context_user(). ret: what sockets are given
 * to. */
int context_open(struct front_loop *l, const struct front_config *config,
	const struct lws_protocols *protocols, void *user, size_t max, struct lws_vhost **ret,
	char *why, size_t why_size);
