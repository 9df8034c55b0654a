/*
 * fuzz_rtnetlink.c - a datagram of rtnetlink. Messages and attributes lie one behind the other inside
 * it, and an address that is read has the length of its family.
 */
#include <sys/socket.h>

#include "agentd/netlink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_attributes(const uint8_t *at, size_t len)
{
	const uint8_t *end = at + len, *last = at;
	struct netlink_attr_view a;

	while (netlink_next_attr(&at, &len, &a) > 0) {
		ASSERT(a.data >= last + 4 && a.data + a.len <= end && at > last && at <= end);
		ASSERT(at + len == end);
		last = at;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	const uint8_t *at = copy, *end = copy + len, *last = copy;
	struct netlink_address a;
	struct netlink_msg m;
	char *text;

	ASSERT(copy);
	if (len > 0)
		memcpy(copy, data, len);
	text = calloc(1, len + 1);
	ASSERT(text);
	if (len > 0)
		memcpy(text, data, len);
	while (netlink_next(&at, &len, &m) > 0) {
		ASSERT(m.body >= last + 16 && m.body + m.len <= end && at > last &&
			at + len == end);
		ASSERT(netlink_error(&m) <= 0);
		check_attributes(m.body, m.len);
		if (netlink_read_address(&m, &a) == 0)
			ASSERT(a.len == (a.family == AF_INET ? 4 : 16));
		last = at;
	}
	for (int prefix = 0; prefix < 2; prefix++) {
		if (netlink_parse_address(text, prefix, &a) == 0)
			ASSERT(a.prefix <= a.len * 8 && (a.prefix == 0 || prefix));
	}
	free(text);
	free(copy);
	return 0;
}
