/*
 * Old addresses go before the new ones come: with the first address of a subnet the kernel drops
 * the others of it. The link is up before the route, which needs it.
 */
#include "agentd/netconf.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "agentd/netlink.h"

#define ANSWER_S  5
#define DUMP_SIZE 16384
#define OLD_MAX   64 /* addresses that are removed */

struct route_link {
	int fd; /* owned */
	uint32_t seq;
};

static int open_socket(void)
{
	auto_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct timeval patience = {.tv_sec = ANSWER_S};

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return take_fd(&fd);
}

static int transmit(int fd, struct netlink_out *o)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	netlink_end(o);
	return sendto(fd, o->data, o->len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0
		       ? -errno
		       : 0;
}

/* Datagrams until the answer to `seq` is over; each message of it goes to fn (may be NULL). */
static int receive(
	int fd, uint32_t seq, void (*fn)(void *ctx, const struct netlink_msg *m), void *ctx)
{
	auto_free uint8_t *buf = malloc(DUMP_SIZE);

	if (!buf)
		return -ENOMEM;
	for (;;) {
		ssize_t n = recv(fd, buf, DUMP_SIZE, 0);
		size_t len = (size_t)n;
		const uint8_t *at = buf;
		struct netlink_msg m;
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		while ((r = netlink_next(&at, &len, &m)) > 0) {
			if (m.seq != seq)
				continue;
			if (m.type == NLMSG_ERROR)
				return netlink_error(&m);
			if (m.type == NLMSG_DONE)
				return 0;
			if (fn)
				fn(ctx, &m);
		}
		if (r < 0)
			return r;
	}
}

static int exchange(struct route_link *l, struct netlink_out *o)
{
	int r = transmit(l->fd, o);

	return r < 0 ? r : receive(l->fd, l->seq, NULL, NULL);
}

/* ---- addresses ---- */

struct old {
	uint32_t index;
	bool family[2]; /* IPv4, IPv6: to be replaced */
	size_t n;
	struct netlink_address address[OLD_MAX];
};

static void note_address(void *ctx, const struct netlink_msg *m)
{
	struct old *old = ctx;
	struct netlink_address a;

	if (m->type != RTM_NEWADDR || netlink_read_address(m, &a) < 0 || a.index != old->index ||
		a.scope != RT_SCOPE_UNIVERSE || !old->family[a.family == AF_INET6] ||
		old->n == OLD_MAX)
		return;
	old->address[old->n++] = a;
}

static int put_address(
	struct route_link *l, uint16_t type, uint32_t index, const struct netlink_address *a)
{
	struct ifaddrmsg fixed = {.ifa_family = (uint8_t)a->family,
		.ifa_prefixlen = a->prefix,
		.ifa_index = index,
		.ifa_scope = RT_SCOPE_UNIVERSE};
	uint16_t flags = NLM_F_REQUEST | NLM_F_ACK;
	struct netlink_out o;
	uint8_t broadcast[4];

	if (type == RTM_NEWADDR)
		flags |= NLM_F_CREATE | NLM_F_REPLACE;
	netlink_begin(&o, type, flags, ++l->seq, &fixed, sizeof(fixed));
	netlink_attr(&o, IFA_LOCAL, a->bytes, a->len);
	netlink_attr(&o, IFA_ADDRESS, a->bytes, a->len);
	if (a->family == AF_INET && a->prefix < 31) {
		uint32_t host = 0xffffffffu >> a->prefix;

		for (int i = 0; i < 4; i++)
			broadcast[i] = a->bytes[i] | (uint8_t)(host >> (24 - 8 * i));
		netlink_attr(&o, IFA_BROADCAST, broadcast, sizeof(broadcast));
	}
	return exchange(l, &o);
}

static bool same_address(const struct netlink_address *a, const struct netlink_address *b)
{
	return a->family == b->family && a->prefix == b->prefix &&
	       memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static int list_addresses(struct route_link *l, struct old *old)
{
	struct ifaddrmsg fixed = {.ifa_family = AF_UNSPEC};
	struct netlink_out o;
	int r;

	netlink_begin(&o, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, ++l->seq, &fixed, sizeof(fixed));
	r = transmit(l->fd, &o);
	return r < 0 ? r : receive(l->fd, l->seq, note_address, old);
}

static int set_addresses(struct route_link *l, uint32_t index, const struct msg_network *n)
{
	struct netlink_address wanted[MSG_ADDRESSES_MAX];
	struct old *old = &(struct old){.index = index};
	int r = 0;

	for (size_t i = 0; i < n->addresses.n; i++) {
		if (netlink_parse_address(n->addresses.s[i], true, &wanted[i]) < 0)
			return -EINVAL;
		old->family[wanted[i].family == AF_INET6] = true;
	}
	r = list_addresses(l, old);
	for (size_t i = 0; i < old->n && r == 0; i++) {
		bool keep = false;

		for (size_t k = 0; k < n->addresses.n; k++)
			keep |= same_address(&old->address[i], &wanted[k]);
		if (!keep)
			r = put_address(l, RTM_DELADDR, index, &old->address[i]);
		/* It went with another. */
		if (r == -EADDRNOTAVAIL)
			r = 0;
	}
	for (size_t i = 0; i < n->addresses.n && r == 0; i++)
		r = put_address(l, RTM_NEWADDR, index, &wanted[i]);
	return r;
}

/* ---- link and route ---- */

static int set_link(struct route_link *l, uint32_t index, uint64_t mtu)
{
	struct ifinfomsg fixed = {.ifi_family = AF_UNSPEC,
		.ifi_index = (int)index,
		.ifi_flags = IFF_UP,
		.ifi_change = IFF_UP};
	uint32_t bytes = (uint32_t)mtu;
	struct netlink_out o;

	netlink_begin(&o, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, ++l->seq, &fixed, sizeof(fixed));
	if (mtu)
		netlink_attr(&o, IFLA_MTU, &bytes, sizeof(bytes));
	return exchange(l, &o);
}

static int set_route(struct route_link *l, uint32_t index, const char *gateway)
{
	struct netlink_address a;
	struct rtmsg fixed = {.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST};
	struct netlink_out o;

	if (netlink_parse_address(gateway, false, &a) < 0)
		return -EINVAL;
	fixed.rtm_family = (uint8_t)a.family;
	netlink_begin(&o, RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
		++l->seq, &fixed, sizeof(fixed));
	netlink_attr(&o, RTA_GATEWAY, a.bytes, a.len);
	netlink_attr(&o, RTA_OIF, &index, sizeof(index));
	return exchange(l, &o);
}

/* ---- the resolver ---- */

int netconf_write_file(const char *path, const char *text, mode_t mode)
{
	auto_close int fd = -1;
	char temporary[256];
	size_t len = strlen(text);

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.agentd-%d", path, (int)getpid()) >=
		sizeof(temporary))
		return -ENAMETOOLONG;
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd >= 0) {
		int r = fchmod(fd, mode) < 0 || write(fd, text, len) != (ssize_t)len ||
					rename(temporary, path) < 0
				? -errno
				: 0;

		if (r < 0)
			unlink(temporary);
		if (r != -EBUSY)
			return r;
	} else if (errno != EROFS && errno != EACCES && errno != EPERM) {
		return -errno;
	}
	/* It is a mount of its own, as in a container, or lies in a directory that is read only. */
	close_fd(&fd);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	return fd < 0 || write(fd, text, len) != (ssize_t)len ? -errno : 0;
}

static int set_dns(const struct msg_network *n)
{
	char text[4096];
	size_t len = 0;

	for (size_t i = 0; i < n->search.n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%s",
			i == 0 ? "search " : " ", n->search.s[i], i + 1 == n->search.n ? "\n" : "");
	for (size_t i = 0; i < n->dns.n; i++) {
		struct netlink_address ignored;

		if (netlink_parse_address(n->dns.s[i], false, &ignored) < 0)
			return -EINVAL;
		len += (size_t)snprintf(
			text + len, sizeof(text) - len, "nameserver %s\n", n->dns.s[i]);
	}
	ASSERT(len < sizeof(text));
	return netconf_write_file(NETCONF_RESOLV, text, 0644);
}

/* ---- all of it ---- */

static void apply_links(const struct msg_network *n, struct steps *s)
{
	struct route_link l = {.fd = open_socket()};
	uint32_t index = if_nametoindex(n->interface);
	int failed = l.fd < 0 ? l.fd : index == 0 ? -ENODEV : 0;

	if (n->addresses.n > 0)
		steps_done(s, "address", NULL, failed < 0 ? failed : set_addresses(&l, index, n),
			n->interface);
	steps_done(
		s, "link", NULL, failed < 0 ? failed : set_link(&l, index, n->mtu), n->interface);
	for (size_t i = 0; i < n->gateways.n; i++)
		steps_done(s, "route", NULL,
			failed < 0 ? failed : set_route(&l, index, n->gateways.s[i]),
			n->gateways.s[i]);
	close_fd(&l.fd);
}

void netconf_apply(const struct msg_network *n, struct steps *s)
{
	steps_begin(s);
	apply_links(n, s);
	if (n->dns.n > 0 || n->search.n > 0)
		steps_done(s, "dns", NULL, set_dns(n), NETCONF_RESOLV);
}
