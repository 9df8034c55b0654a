/*
 * front_body.h - the body of a request, from the bytes behind its head to the call's ops: how long
 * it is, what is no part of it, and what waits while the call is paused (at most one read of the
 * socket).
 */
#pragma once

#include "bridge/api/call.h"
#include "bridge/api/chunked.h"
#include "proto/buf.h"

#define BODY_READ_MAX (256 * 1024 - 64) /* of the socket at once */

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED };

struct body {
	enum body_kind kind;
	uint64_t left;
	struct chunked chunks;
	struct buf held; /* what came while the call was paused */
	bool complete;   /* all of it came */
	bool told;       /* on_body_end was called */
	bool excess;     /* bytes came behind it */
	bool broken;     /* it is not in chunks as it should be */
};

void body_init(struct body *b, enum body_kind kind, uint64_t length);
void body_reset(struct body *b);
/* Bytes from the client: to the call, or kept while it is paused; dropped when there is none or it
 * is answered. -EPROTO, -ENOBUFS. */
int body_take(struct body *b, struct call *c, const uint8_t *data, size_t len);
/* Gives the call what was kept, and tells it the end, unless it is paused. */
void body_deliver(struct body *b, struct call *c);
