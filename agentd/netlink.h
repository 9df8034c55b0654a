/*
 * netlink.h - rtnetlink messages, written and taken apart. Pure: no socket. Answers come from the
 * kernel, and are still read as if anybody had written them.
 */
#pragma once

#include "base/base.h"

#define NETLINK_OUT_MAX 512

struct netlink_out {
	_Alignas(4) uint8_t data[NETLINK_OUT_MAX];
	size_t len;
};

/* One message: begin with its fixed part, attributes, end. */
void netlink_begin(struct netlink_out *o, uint16_t type, uint16_t flags, uint32_t seq,
	const void *fixed, size_t len);
void netlink_attr(struct netlink_out *o, uint16_t type, const void *data, size_t len);
void netlink_end(struct netlink_out *o);

struct netlink_msg {
	uint16_t type, flags;
	uint32_t seq;
	const uint8_t *body; /* behind the header */
	size_t len;
};

/* The next message of a datagram: 1, 0 at the end, -EBADMSG. */
int netlink_next(const uint8_t **at, size_t *len, struct netlink_msg *ret);
/* An answer of type NLMSG_ERROR: 0 or -errno that it says; -EBADMSG. */
int netlink_error(const struct netlink_msg *m);

struct netlink_attr_view {
	uint16_t type;
	const uint8_t *data;
	size_t len;
};
/* The same for attributes behind a fixed part. */
int netlink_next_attr(const uint8_t **at, size_t *len, struct netlink_attr_view *ret);

struct netlink_address {
	int family;
	uint8_t prefix, scope;
	uint32_t index; /* of the interface */
	uint8_t bytes[16];
	size_t len; /* 4 or 16 */
};

/* RTM_NEWADDR: 0, or -EBADMSG: no address of IPv4 or IPv6 in it. */
int netlink_read_address(const struct netlink_msg *m, struct netlink_address *ret);
/* A text "ADDRESS/PREFIX" (or, prefix false, "ADDRESS"); the rest of *ret is zero. -EINVAL. */
int netlink_parse_address(const char *text, bool prefix, struct netlink_address *ret);
