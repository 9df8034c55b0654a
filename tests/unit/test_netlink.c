/*
 * test_netlink.c - what we write is read back as written; what could be anybody's is refused where
 * it does not fit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <linux/rtnetlink.h>

#include "agentd/netlink.h"

static void test_addresses(void **state)
{
	static const struct {
		const char *text;
		bool prefix;
		int family, bits; /* family 0: refused */
	} cases[] = {
		{"10.0.0.1/24", true, AF_INET, 24},
		{"10.0.0.1/0", true, AF_INET, 0},
		{"10.0.0.1/32", true, AF_INET, 32},
		{"fd00::1/64", true, AF_INET6, 64},
		{"::/128", true, AF_INET6, 128},
		{"10.0.0.1", false, AF_INET, 0},
		{"fe80::1", false, AF_INET6, 0},
		{"10.0.0.1", true, 0, 0},
		{"10.0.0.1/24", false, 0, 0},
		{"10.0.0.1/33", true, 0, 0},
		{"10.0.0.1/", true, 0, 0},
		{"10.0.0.1/+8", true, 0, 0},
		{"10.0.0.1/8x", true, 0, 0},
		{"10.0.0.1/99999999999999999999", true, 0, 0},
		{"10.0.0/8", true, 0, 0},
		{"fd00::1/129", true, 0, 0},
		{"fd00:::1/64", true, 0, 0},
		{"", false, 0, 0},
		{"/8", true, 0, 0},
		{"10.0.0.1\n", false, 0, 0},
		{"1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333:4444:5555", false, 0,
			0},
	};
	struct netlink_address a;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		int r = netlink_parse_address(cases[i].text, cases[i].prefix, &a);

		assert_int_equal(r, cases[i].family ? 0 : -EINVAL);
		if (r == 0) {
			assert_int_equal(a.family, cases[i].family);
			assert_int_equal(a.prefix, cases[i].bits);
			assert_int_equal(a.len, cases[i].family == AF_INET ? 4 : 16);
		}
	}
}

/* One message as the kernel tells of an address. */
static size_t make_address(
	struct netlink_out *o, uint8_t family, const char *local, const char *peer)
{
	struct ifaddrmsg fixed = {.ifa_family = family,
		.ifa_prefixlen = 24,
		.ifa_scope = RT_SCOPE_UNIVERSE,
		.ifa_index = 7};
	struct netlink_address a;

	netlink_begin(o, RTM_NEWADDR, NLM_F_MULTI, 42, &fixed, sizeof(fixed));
	if (peer) {
		netlink_parse_address(peer, false, &a);
		netlink_attr(o, IFA_ADDRESS, a.bytes, a.len);
	}
	netlink_attr(o, IFA_LABEL, "eth0", 5);
	if (local) {
		netlink_parse_address(local, false, &a);
		netlink_attr(o, IFA_LOCAL, a.bytes, a.len);
	}
	netlink_end(o);
	return o->len;
}

static void test_round_trip(void **state)
{
	static const uint8_t one[] = {10, 0, 0, 1};
	struct netlink_out o;
	struct netlink_address a;
	struct netlink_msg m;
	uint8_t two[1024];
	const uint8_t *at = two;
	size_t len;

	(void)state;
	len = make_address(&o, AF_INET, "10.0.0.1", "10.0.0.2");
	assert_int_equal(len % 4, 0);
	memcpy(two, o.data, len);
	memcpy(two + len, o.data, make_address(&o, AF_INET6, NULL, "fd00::9"));
	memcpy(two + len, o.data, o.len);
	len += o.len;
	assert_int_equal(netlink_next(&at, &len, &m), 1);
	assert_int_equal(m.type, RTM_NEWADDR);
	assert_int_equal(m.seq, 42);
	assert_int_equal(m.flags, NLM_F_MULTI);
	assert_int_equal(netlink_read_address(&m, &a), 0);
	assert_int_equal(a.family, AF_INET);
	assert_int_equal(a.index, 7);
	assert_int_equal(a.prefix, 24);
	assert_memory_equal(a.bytes, one, 4);
	assert_int_equal(netlink_next(&at, &len, &m), 1);
	assert_int_equal(netlink_read_address(&m, &a), 0);
	assert_int_equal(a.family, AF_INET6);
	assert_int_equal(a.bytes[15], 9);
	assert_int_equal(netlink_next(&at, &len, &m), 0);
}

/* Every cut of a message is refused, or says so where its address is looked for. */
static void test_cuts(void **state)
{
	struct netlink_out o;
	size_t whole = make_address(&o, AF_INET, "10.0.0.1", "10.0.0.2");

	(void)state;
	for (size_t n = 1; n < whole; n++) {
		uint8_t *copy = malloc(n);
		const uint8_t *at = copy;
		size_t len = n;
		struct netlink_msg m;

		memcpy(copy, o.data, n);
		assert_int_equal(netlink_next(&at, &len, &m), -EBADMSG);
		free(copy);
	}
}

static void test_bad_messages(void **state)
{
	struct netlink_out o;
	struct netlink_address a;
	struct netlink_msg m;
	int32_t error = -ENODEV;
	const uint8_t *at = o.data;
	size_t len = make_address(&o, AF_INET, NULL, NULL);

	(void)state;
	assert_int_equal(netlink_next(&at, &len, &m), 1);
	assert_int_equal(netlink_read_address(&m, &a), -EBADMSG); /* none in it */
	at = o.data;
	len = make_address(&o, AF_PACKET, "10.0.0.1", NULL);
	assert_int_equal(netlink_next(&at, &len, &m), 1);
	assert_int_equal(netlink_read_address(&m, &a), -EBADMSG);
	at = o.data;
	len = make_address(&o, AF_INET, "fd00::1", NULL); /* of the wrong length */
	assert_int_equal(netlink_next(&at, &len, &m), 1);
	assert_int_equal(netlink_read_address(&m, &a), -EBADMSG);
	m.len = 3;
	assert_int_equal(netlink_read_address(&m, &a), -EBADMSG);
	m = (struct netlink_msg){.type = NLMSG_ERROR, .body = (uint8_t *)&error, .len = 4};
	assert_int_equal(netlink_error(&m), -ENODEV);
	error = 0;
	assert_int_equal(netlink_error(&m), 0);
	error = 5;
	assert_int_equal(netlink_error(&m), -EBADMSG);
	error = INT32_MIN;
	assert_int_equal(netlink_error(&m), -EBADMSG);
	m.len = 3;
	assert_int_equal(netlink_error(&m), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_bad_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
