/*
 * front_listen.h - the context and the port of libwebsockets: its settings, and words for what it
 * only fails at.
 */
#pragma once

#include "bridge/api/front.h"
#include "bridge/api/front_loop.h"

struct lws_protocols;

/* How many connections there are descriptors for. */
size_t listen_max(const struct front_config *config);
/* Sets l->cx, also when it fails after that. user: lws_context_user(). */
int listen_open(struct front_loop *l, const struct front_config *config,
	const struct lws_protocols *protocols, void *user, size_t max, uint16_t *ret_port,
	char *why, size_t why_size);
