/* test_msg_net.c - the messages of streams and ports, there and back, and what is wrong with
 * others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "proto/msg_net.h"

static char json[FRAME_PAYLOAD_MAX];

static void test_dial(void **state)
{
	static const char *const wrong[] = {"{}", "{\"to\":5}", "{\"to\":null}", "[]",
		"{\"to\":\"x\",\"timeout_ms\":0}", "{\"to\":\"x\",\"timeout_ms\":600001}",
		"{\"to\":\"x\",\"timeout_ms\":-1}", "{\"to\":\"x\",\"timeout_ms\":1.5}",
		"{\"to\":\"x\",\"timeout_ms\":\"1\"}", "{\"to\":\"a\\u0000b\"}"};
	struct msg_dial m = {.to = "unix:/\xff\"", .timeout_ms = 600000}, back;
	char small[16], longer[200];
	struct error e;
	size_t n;

	(void)state;
	n = msg_format_dial(&m, 5, json, sizeof(json));
	assert_true(n > 0);
	assert_int_equal(msg_parse_dial((uint8_t *)json, n, &back, &e), 0);
	assert_string_equal(back.to, m.to);
	assert_int_equal(back.timeout_ms, 600000);
	msg_dial_fini(&back);
	m.timeout_ms = 0; /* the agent's default */
	n = msg_format_dial(&m, 5, json, sizeof(json));
	assert_int_equal(msg_parse_dial((uint8_t *)json, n, &back, &e), 0);
	assert_int_equal(back.timeout_ms, MSG_DIAL_TIMEOUT_MS);
	msg_dial_fini(&back);
	assert_int_equal(msg_format_dial(&m, 5, small, sizeof(small)), 0);
	for (size_t i = 0; i < array_size(wrong); i++) {
		snprintf(longer, sizeof(longer), "%s", wrong[i]);
		assert_true(msg_parse_dial((uint8_t *)longer, strlen(longer), &back, &e) < 0);
		assert_int_equal(e.code, E_BAD_MESSAGE);
	}
}

static void test_window(void **state)
{
	uint64_t window = 7;
	struct error e;

	(void)state;
	assert_int_equal(msg_parse_window((uint8_t *)"{}", 2, &window, &e), 0);
	assert_int_equal(window, 0);
	assert_int_equal(msg_parse_window((uint8_t *)"{\"window\":262144}", 17, &window, &e), 0);
	assert_int_equal(window, 262144);
	assert_true(msg_parse_window((uint8_t *)"{\"window\":-1}", 13, &window, &e) < 0);
	assert_true(msg_parse_window((uint8_t *)"x", 1, &window, &e) < 0);
}

static const struct msg_port full = {.v6 = true,
	.address = "fe80::1",
	.port = 65535,
	.inode = UINT32_MAX,
	.uid = UINT32_MAX,
	.user = "\"me\"",
	.pid = INT32_MAX,
	.cmd = "node\0a b\0\xff\0",
	.cmd_len = 11,
	.cmd_cut = true,
	.session = "s-1"};

static size_t put(const struct msg_port *m, const char *event, bool brief)
{
	struct jsonw w;

	jsonw_init(&w, json, sizeof(json));
	jsonw_open(&w, NULL, '{');
	if (event)
		jsonw_str(&w, "event", event);
	msg_put_port(&w, m, brief);
	jsonw_close(&w, '}');
	assert_false(w.overflow);
	json[w.len] = '\0';
	return w.len;
}

static void test_port(void **state)
{
	struct msg_port bare = {.address = "0.0.0.0", .port = 1, .inode = 2};
	struct msg_port_event m;
	struct error e;
	size_t n = put(&full, "open", false);

	(void)state;
	assert_int_equal(msg_parse_port_event((uint8_t *)json, n, &m, &e), 0);
	assert_int_equal(m.kind, PORT_EVENT_OPEN);
	assert_true(m.port.v6);
	assert_string_equal(m.port.address, full.address);
	assert_int_equal(m.port.port, full.port);
	assert_int_equal(m.port.inode, full.inode);
	assert_int_equal(m.port.uid, full.uid);
	assert_string_equal(m.port.user, full.user);
	assert_int_equal(m.port.pid, full.pid);
	assert_string_equal(m.port.cmd, "node a b ?");
	assert_string_equal(m.port.session, "s-1");
	msg_port_event_fini(&m);
	/* Only what names the socket. */
	n = put(&full, "close", true);
	assert_string_equal(json, "{\"event\":\"close\",\"proto\":\"tcp6\",\"address\":\"fe80::1\","
				  "\"port\":65535,\"inode\":4294967295}");
	assert_int_equal(msg_parse_port_event((uint8_t *)json, n, &m, &e), 0);
	assert_int_equal(m.kind, PORT_EVENT_CLOSE);
	msg_port_event_fini(&m);
	/* What is not known is not there. */
	put(&bare, NULL, false);
	assert_string_equal(json,
		"{\"proto\":\"tcp\",\"address\":\"0.0.0.0\",\"port\":1,\"inode\":2,\"uid\":0}");
	n = (size_t)sprintf(json, "{\"event\":\"live\"}");
	assert_int_equal(msg_parse_port_event((uint8_t *)json, n, &m, &e), 0);
	assert_int_equal(m.kind, PORT_EVENT_LIVE);
	msg_port_event_fini(&m);
	n = (size_t)sprintf(json, "{\"event\":\"newer\",\"port\":\"x\"}");
	assert_int_equal(msg_parse_port_event((uint8_t *)json, n, &m, &e), 0);
	assert_int_equal(m.kind, PORT_EVENT_UNKNOWN);
	msg_port_event_fini(&m);
}

static void test_ports(void **state)
{
	static const char *const wrong[] = {"{}", "{\"ports\":{}}", "{\"ports\":[5]}",
		"{\"ports\":[{\"port\":65536}]}", "{\"ports\":[{\"port\":\"80\"}]}",
		"{\"ports\":[{\"address\":5}]}", "{\"ports\":[{\"pid\":-1}]}",
		"{\"ports\":[{\"session\":\"a b\"}]}", "{\"ports\":[],\"next\":\"a b\"}",
		"{\"ports\":[{\"address\":\"1111111111111111111111111111111111111111111111\"}]}"};
	static const char text[] = "{\"ports\":[{},{\"port\":80,\"cmd\":[]}],\"next\":\"80.7\"}";
	struct msg_ports m;
	struct error e;
	char copy[200];

	(void)state;
	assert_int_equal(msg_parse_ports((const uint8_t *)text, strlen(text), &m, &e), 0);
	assert_int_equal(m.n, 2);
	assert_int_equal(m.ports[1].port, 80);
	assert_string_equal(m.ports[1].cmd, "");
	assert_string_equal(m.next, "80.7");
	msg_ports_fini(&m);
	msg_ports_fini(&m);
	for (size_t i = 0; i < array_size(wrong); i++) {
		snprintf(copy, sizeof(copy), "%s", wrong[i]);
		assert_true(msg_parse_ports((uint8_t *)copy, strlen(copy), &m, &e) < 0);
		assert_int_equal(e.code, E_BAD_MESSAGE);
	}
}

static void test_request(void **state)
{
	static const struct {
		const char *after;
		bool good;
		unsigned port;
		uint64_t inode;
	} cases[] = {
		{"0.0", true, 0, 0},
		{"65535.9999999999999999999", true, 65535, 9999999999999999999u},
		{"80.7", true, 80, 7},
		{"65536.1", false, 0, 0},
		{"80", false, 0, 0},
		{"80.", false, 0, 0},
		{".7", false, 0, 0},
		{"80.7.", false, 0, 0},
		{"80.7x", false, 0, 0},
		{"-1.7", false, 0, 0},
	};
	uint16_t port;
	uint64_t inode;
	struct error e;
	size_t n;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		port = 0;
		inode = 0;
		n = msg_format_ports_request(cases[i].after, json, sizeof(json));
		assert_int_equal(
			msg_parse_ports_request((uint8_t *)json, n, &port, &inode, &e) == 0,
			cases[i].good);
		assert_int_equal(port, cases[i].port);
		assert_true(inode == cases[i].inode);
	}
	n = msg_format_ports_request(NULL, json, sizeof(json));
	assert_int_equal(msg_parse_ports_request((uint8_t *)json, n, &port, &inode, &e), 0);
	assert_int_equal(port, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dial),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_port),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
