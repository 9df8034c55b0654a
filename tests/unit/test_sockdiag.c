/*
 * test_sockdiag.c - who listens: the kernel's answer against sockets of our own, replies written by
 * hand, and whom a look through /proc finds behind them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include "agentd/portscan.h"

static uint64_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 a = {0};
	socklen_t len = sizeof(a);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return ntohs(a.sin6_port); /* where sin_port is, too */
}

static int listen_on(int family)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(family == AF_INET ? bind(fd, (struct sockaddr *)&v4, sizeof(v4))
					   : bind(fd, (struct sockaddr *)&v6, sizeof(v6)),
		0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

struct wanted {
	uint64_t inode;
	struct sockdiag_entry got;
	unsigned hits, all;
};

static int note(void *ctx, const struct sockdiag_entry *s)
{
	struct wanted *w = ctx;

	w->all++;
	if (s->inode == w->inode) {
		w->got = *s;
		w->hits++;
	}
	return 0;
}

static int stop(void *ctx, const struct sockdiag_entry *s)
{
	(void)s;
	++*(unsigned *)ctx;
	return -EUSERS;
}

static void test_kernel(void **state)
{
	static const uint8_t v4[16] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
	int fds[] = {listen_on(AF_INET), listen_on(AF_INET6)};
	unsigned stopped = 0;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct wanted w = {.inode = inode_of(fds[i])};

		assert_int_equal(sockdiag_listening(note, &w), 0);
		assert_int_equal(w.hits, 1);
		assert_int_equal(w.got.v6, i == 1);
		assert_int_equal(w.got.port, port_of(fds[i]));
		assert_int_equal(w.got.uid, getuid());
		assert_memory_equal(w.got.addr, i ? v6 : v4, 16);
	}
	assert_int_equal(sockdiag_listening(stop, &stopped), -EUSERS);
	assert_int_equal(stopped, 1);
	for (int i = 0; i < 2; i++) {
		struct wanted w = {.inode = inode_of(fds[i])};

		close(fds[i]);
		assert_int_equal(sockdiag_listening(note, &w), 0);
		assert_int_equal(w.hits, 0);
	}
}

/* ---- by hand ---- */

static size_t put(uint8_t *out, uint16_t type, uint32_t seq, const void *data, size_t len)
{
	struct nlmsghdr h = {
		.nlmsg_len = (uint32_t)(sizeof(h) + len), .nlmsg_type = type, .nlmsg_seq = seq};

	memset(out, 0, NLMSG_ALIGN(h.nlmsg_len));
	memcpy(out, &h, sizeof(h));
	if (len > 0)
		memcpy(out + sizeof(h), data, len);
	return NLMSG_ALIGN(h.nlmsg_len);
}

static void test_replies(void **state)
{
	struct inet_diag_msg m = {.idiag_family = AF_INET,
		.idiag_state = TCP_LISTEN,
		.id = {.idiag_sport = htons(80), .idiag_src = {htonl(0x01020304), 1, 2, 3}},
		.idiag_inode = 7,
		.idiag_uid = 5};
	struct wanted w = {.inode = 7};
	uint8_t text[1024];
	int err = -ENOENT;
	size_t n = 0;

	(void)state;
	n += put(text + n, SOCK_DIAG_BY_FAMILY, 3, &m, sizeof(m));
	n += put(text + n, SOCK_DIAG_BY_FAMILY, 2, &m, sizeof(m)); /* of another request */
	m.idiag_state = TCP_ESTABLISHED;
	n += put(text + n, SOCK_DIAG_BY_FAMILY, 3, &m, sizeof(m));
	n += put(text + n, NLMSG_NOOP, 3, "abc", 3);
	assert_int_equal(sockdiag_parse(text, n, 3, note, &w), 0);
	assert_int_equal(w.all, 1);
	assert_int_equal(w.got.port, 80);
	assert_int_equal(w.got.addr[3], 4);
	assert_int_equal(w.got.addr[4], 0); /* what lies behind an IPv4 address is no address */
	for (size_t cut = 1; cut < sizeof(struct nlmsghdr) + sizeof(m); cut++)
		assert_int_equal(sockdiag_parse(text, cut, 3, note, &w), -EBADMSG);
	n += put(text + n, NLMSG_DONE, 3, NULL, 0);
	assert_int_equal(sockdiag_parse(text, n, 3, note, &w), 1);
	n = put(text, NLMSG_ERROR, 3, &err, sizeof(err));
	assert_int_equal(sockdiag_parse(text, n, 3, note, &w), -ENOENT);
	assert_int_equal(sockdiag_parse(text, n, 4, note, &w), 0);
	err = 0;
	n = put(text, NLMSG_ERROR, 3, &err, sizeof(err));
	assert_int_equal(sockdiag_parse(text, n, 3, note, &w), -EBADMSG);
	n = put(text, NLMSG_ERROR, 3, &err, 3);
	assert_int_equal(sockdiag_parse(text, n, 3, note, &w), -EBADMSG);
	n = put(text, SOCK_DIAG_BY_FAMILY, 3, &m, sizeof(m) - 1);
	assert_int_equal(sockdiag_parse(text, n, 3, note, &w), -EBADMSG);
}

/* ---- who holds them ---- */

static const struct portscan_port *find(const struct portscan *s, uint64_t inode)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->ports[i].s.inode == inode)
			return &s->ports[i];
	}
	return NULL;
}

static void test_scan(void **state)
{
	int fds[] = {listen_on(AF_INET), listen_on(AF_INET6)};
	struct portscan s = {0};
	const struct portscan_port *p;

	(void)state;
	portscan_run(&s);
	assert_int_equal(s.error, 0);
	for (size_t i = 1; i < s.n; i++)
		assert_true(portscan_compare(&s.ports[i - 1].s, &s.ports[i].s) < 0);
	for (int i = 0; i < 2; i++) {
		p = find(&s, inode_of(fds[i]));
		assert_non_null(p);
		assert_true(p->looked);
		assert_int_equal(p->pid, getpid());
		assert_int_equal(p->line[0], getpgrp());
		assert_int_equal(p->line[1], getsid(0));
		assert_int_equal(p->line[2], getppid());
		assert_string_equal(p->leaf, "");
		assert_true(p->cmd_len > 0 && p->cmd_len <= PORTSCAN_CMD);
		assert_non_null(memmem(p->cmd, p->cmd_len, "test_sockdiag", 13));
	}
	portscan_fini(&s);
	portscan_fini(&s);
	/* One of them is known. */
	s = (struct portscan){.known = malloc(sizeof(uint64_t)), .n_known = 1};
	s.known[0] = inode_of(fds[0]);
	portscan_run(&s);
	p = find(&s, inode_of(fds[0]));
	assert_false(p->looked);
	assert_int_equal(p->pid, 0);
	assert_int_equal(find(&s, inode_of(fds[1]))->pid, getpid());
	portscan_fini(&s);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_scan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
