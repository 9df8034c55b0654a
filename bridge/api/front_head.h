/*
 * front_head.h - a request's head, from what web.c made of it to a call, and whether it is
 * one that cannot be misunderstood: what another program between the client and us might read
 * differently is refused (400).
 */
#pragma once

#include "bridge/api/call.h"
#include "bridge/api/front.h"
#include "bridge/api/front_body.h"
#include "bridge/api/web.h"

struct head {
	bool http10;
	bool last;     /* the connection ends after the answer */
	bool oversize; /* over FRONT_HEAD_MAX: nothing of it is looked at */
	bool expects;  /* 100 Continue */
	enum body_kind body;
	uint64_t length;
};

#define HEAD_SCRATCH (96 * 1024)
/* What web.c keeps of a head: more than may be, so that one that is too long can be answered. One
 * that does not fit here either is cut. */
#define HEAD_ROOM (3 * FRONT_HEAD_MAX)

/* NULL when out of memory. scratch: HEAD_SCRATCH bytes. */
struct call *head_call(const struct web_conn *w, struct head *h, char *scratch);
/* NULL, or why it is refused, with *ret_status; then the connection ends with the answer. */
const char *head_read(const struct web_conn *w, struct call *c, struct head *h, int *ret_status);
/* The same of an upgrade to a WebSocket that web.c would carry out. */
const char *head_read_upgrade(
	const struct web_conn *w, struct call *c, struct head *h, int *ret_status);
