/*
 * forward_spec.h - what `agentctl forward` is told: LOCAL:REMOTE, from where to where.
 */
#pragma once

#include "bridge/target.h"

enum forward_kind { FORWARD_STDIO, FORWARD_TCP, FORWARD_UNIX };

struct forward_spec {
	enum forward_kind kind;
	char host[64];                /* TCP: an address to listen on, without brackets */
	uint16_t port;                /* TCP; 0: any */
	char path[TARGET_PATH_MAX];   /* UNIX */
	char to[TARGET_PATH_MAX + 8]; /* as the agent wants it: docs/protocol.md section 16 */
};

/* 0, or -EINVAL and why. */
int forward_spec_parse(const char *text, struct forward_spec *ret, const char **ret_why);
