#include "agentd/netlink.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static void append(struct netlink_out *o, const void *data, size_t len)
{
	size_t padded = align_up(len, (size_t)4);

	ASSERT(padded <= sizeof(o->data) - o->len);
	memset(o->data + o->len, 0, padded);
	if (len > 0)
		memcpy(o->data + o->len, data, len);
	o->len += padded;
}

void netlink_begin(struct netlink_out *o, uint16_t type, uint16_t flags, uint32_t seq,
	const void *fixed, size_t len)
{
	struct nlmsghdr h = {.nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = seq};

	o->len = 0;
	append(o, &h, sizeof(h));
	append(o, fixed, len);
}

void netlink_attr(struct netlink_out *o, uint16_t type, const void *data, size_t len)
{
	struct rtattr a = {.rta_type = type, .rta_len = (uint16_t)(sizeof(a) + len)};

	append(o, &a, sizeof(a));
	append(o, data, len);
}

void netlink_end(struct netlink_out *o)
{
	uint32_t len = (uint32_t)o->len;

	memcpy(o->data + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof(len));
}

/* A unit of `size` bytes at *at, the first `header` of them its head. */
static int take(const uint8_t **at, size_t *len, size_t size, size_t header)
{
	size_t padded;

	if (size < header || size > *len)
		return -EBADMSG;
	padded = min_of(align_up(size, (size_t)4), *len);
	*at += padded;
	*len -= padded;
	return 1;
}

int netlink_next(const uint8_t **at, size_t *len, struct netlink_msg *ret)
{
	const uint8_t *start = *at;
	struct nlmsghdr h;

	if (*len == 0)
		return 0;
	if (*len < sizeof(h))
		return -EBADMSG;
	memcpy(&h, start, sizeof(h));
	*ret = (struct netlink_msg){
		.type = h.nlmsg_type, .flags = h.nlmsg_flags, .seq = h.nlmsg_seq};
	if (take(at, len, h.nlmsg_len, sizeof(h)) < 0)
		return -EBADMSG;
	ret->body = start + sizeof(h);
	ret->len = h.nlmsg_len - sizeof(h);
	return 1;
}

int netlink_error(const struct netlink_msg *m)
{
	int32_t v;

	if (m->len < sizeof(v))
		return -EBADMSG;
	memcpy(&v, m->body, sizeof(v));
	return v > 0 || v < -4095 ? -EBADMSG : v;
}

int netlink_next_attr(const uint8_t **at, size_t *len, struct netlink_attr_view *ret)
{
	const uint8_t *start = *at;
	struct rtattr a;

	if (*len == 0)
		return 0;
	if (*len < sizeof(a))
		return -EBADMSG;
	memcpy(&a, start, sizeof(a));
	if (take(at, len, a.rta_len, sizeof(a)) < 0)
		return -EBADMSG;
	*ret = (struct netlink_attr_view){
		.type = a.rta_type, .data = start + sizeof(a), .len = a.rta_len - sizeof(a)};
	return 1;
}

static size_t family_len(int family)
{
	return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
}

int netlink_read_address(const struct netlink_msg *m, struct netlink_address *ret)
{
	struct netlink_attr_view a;
	struct ifaddrmsg fixed;
	const uint8_t *at;
	size_t len;
	bool local = false;
	int r;

	*ret = (struct netlink_address){0};
	if (m->len < sizeof(fixed))
		return -EBADMSG;
	memcpy(&fixed, m->body, sizeof(fixed));
	at = m->body + sizeof(fixed);
	len = m->len - sizeof(fixed);
	while ((r = netlink_next_attr(&at, &len, &a)) > 0) {
		/* Of IPv4 both are there, and differ where the interface goes to one peer: ours is
		 * the local one. */
		if ((a.type != IFA_LOCAL && (a.type != IFA_ADDRESS || local)) ||
			a.len != family_len(fixed.ifa_family) || a.len == 0)
			continue;
		local = a.type == IFA_LOCAL;
		memcpy(ret->bytes, a.data, a.len);
		ret->len = a.len;
	}
	if (r < 0 || ret->len == 0)
		return -EBADMSG;
	ret->family = fixed.ifa_family;
	ret->prefix = fixed.ifa_prefixlen;
	ret->scope = fixed.ifa_scope;
	ret->index = fixed.ifa_index;
	return 0;
}

int netlink_parse_address(const char *text, bool prefix, struct netlink_address *ret)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	char address[64];
	unsigned long bits;
	char *end;

	*ret = (struct netlink_address){0};
	if (n >= sizeof(address) || prefix != (slash != NULL))
		return -EINVAL;
	memcpy(address, text, n);
	address[n] = '\0';
	ret->family = strchr(address, ':') ? AF_INET6 : AF_INET;
	ret->len = family_len(ret->family);
	if (inet_pton(ret->family, address, ret->bytes) != 1)
		return -EINVAL;
	if (!prefix)
		return 0;
	bits = strtoul(slash + 1, &end, 10);
	if (slash[1] < '0' || slash[1] > '9' || *end || bits > ret->len * 8)
		return -EINVAL;
	ret->prefix = (uint8_t)bits;
	return 0;
}
