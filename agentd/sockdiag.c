#include "agentd/sockdiag.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

/* Copied out: nothing says how the bytes are aligned, or that they are as long as they claim. */
static int parse_entry(const uint8_t *p, size_t len, sockdiag_fn fn, void *ctx)
{
	struct inet_diag_msg m;
	struct sockdiag_entry s = {0};

	if (len < sizeof(m))
		return -EBADMSG;
	memcpy(&m, p, sizeof(m));
	if ((m.idiag_family != AF_INET && m.idiag_family != AF_INET6) ||
		m.idiag_state != TCP_LISTEN)
		return 0;
	s.v6 = m.idiag_family == AF_INET6;
	memcpy(s.addr, m.id.idiag_src, s.v6 ? 16 : 4);
	s.port = __builtin_bswap16(m.id.idiag_sport);
	s.uid = m.idiag_uid;
	s.inode = m.idiag_inode;
	return fn(ctx, &s);
}

static int parse_error(const uint8_t *p, size_t len)
{
	int err;

	if (len < sizeof(err))
		return -EBADMSG;
	memcpy(&err, p, sizeof(err));
	return err < 0 && err > -4096 ? err : -EBADMSG;
}

int sockdiag_parse(const void *data, size_t len, uint32_t seq, sockdiag_fn fn, void *ctx)
{
	const uint8_t *p = data;
	struct nlmsghdr h;

	while (len >= sizeof(h)) {
		int r = 0;

		memcpy(&h, p, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len)
			return -EBADMSG;
		if (h.nlmsg_seq != seq)
			r = 0; /* of a request before */
		else if (h.nlmsg_type == NLMSG_DONE)
			return 1;
		else if (h.nlmsg_type == NLMSG_ERROR)
			return parse_error(p + sizeof(h), h.nlmsg_len - sizeof(h));
		else if (h.nlmsg_type == SOCK_DIAG_BY_FAMILY)
			r = parse_entry(p + sizeof(h), h.nlmsg_len - sizeof(h), fn, ctx);
		if (r < 0)
			return r;
		p += min_of((size_t)NLMSG_ALIGN(h.nlmsg_len), len);
		len -= min_of((size_t)NLMSG_ALIGN(h.nlmsg_len), len);
	}
	return len == 0 ? 0 : -EBADMSG;
}

static int ask(int fd, uint8_t family, uint32_t seq)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 want;
	} request = {
		.head = {.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			.nlmsg_seq = seq},
		.want = {.sdiag_family = family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_states = 1u << TCP_LISTEN},
	};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t n = sendto(
		fd, &request, sizeof(request), 0, (struct sockaddr *)&kernel, sizeof(kernel));

	return n < 0 ? -errno : 0;
}

static int hear(int fd, uint32_t seq, sockdiag_fn fn, void *ctx)
{
	_Alignas(8) uint8_t reply[SOCKDIAG_REPLY];
	int r = 0;

	while (r == 0) {
		ssize_t n = recv(fd, reply, sizeof(reply), MSG_TRUNC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		r = n > (ssize_t)sizeof(reply) ? -EMSGSIZE
					       : sockdiag_parse(reply, (size_t)n, seq, fn, ctx);
	}
	return min_of(r, 0);
}

int sockdiag_listening(sockdiag_fn fn, void *ctx)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	auto_close int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	int r = fd < 0 ? -errno : 0;

	for (uint32_t i = 0; r == 0 && i < array_size(families); i++) {
		r = ask(fd, families[i], i + 1);
		if (r == 0)
			r = hear(fd, i + 1, fn, ctx);
		if (r == -ENOENT && families[i] == AF_INET6)
			r = 0; /* a kernel without IPv6 */
	}
	return r;
}
