/*
 * test_msg_pty.c - what messages say about a terminal: there and back, defaults, and what is
 * refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "proto/msg.h"

static char json[FRAME_PAYLOAD_MAX];

static struct msg_open parse_open(const char *text)
{
	struct msg_open m = {0};
	struct error e = {.message = ""};

	if (msg_parse_open((const uint8_t *)text, strlen(text), &m, &e) < 0)
		fail_msg("%s: %s", text, e.message);
	return m;
}

static uint64_t fingerprint(const char *pty)
{
	char text[300];
	struct msg_open m;
	uint64_t f;

	snprintf(text, sizeof(text), "{\"service\":\"exec\",\"start\":{\"pty\":%s}}", pty);
	m = parse_open(text);
	f = m.start.fingerprint;
	msg_open_fini(&m);
	return f;
}

static void test_defaults(void **state)
{
	struct msg_open m = parse_open("{\"service\":\"exec\",\"start\":{\"pty\":{}}}");
	const struct msg_pty *p = &m.start.pty;

	(void)state;
	assert_true(p->on && !p->login && !p->shell && m.start.with_stdin && m.start.argc == 0);
	assert_true(p->size.cols == 80 && p->size.rows == 24 && p->size.xpixel == 0);
	assert_string_equal(p->term, "xterm-256color");
	assert_true(m.attach.own == OWN_IF_FREE && !m.attach.has_size);
	msg_open_fini(&m);
	m = parse_open("{\"service\":\"exec\",\"start\":{\"cmd\":[\"a\"]},\"attach\":{}}");
	assert_true(!m.start.pty.on && !m.start.with_stdin && m.start.argc == 1);
	msg_open_fini(&m);
}

static void test_there_and_back(void **state)
{
	struct msg_open m = {.service = "exec", .window = 5, .has_start = true}, n;

	(void)state;
	m.start.pty = (struct msg_pty){.on = true,
		.login = true,
		.size = {1, 65535, 3, 4},
		.term = "dumb",
		.shell = "/bin/\xff"};
	m.attach = (struct msg_attach){
		.own = OWN_NEVER, .has_size = true, .size = {65535, 1, 65535, 0}};
	assert_true(msg_format_open(&m, json, sizeof(json)) > 0);
	n = parse_open(json);
	assert_memory_equal(&m.start.pty.size, &n.start.pty.size, sizeof(struct msg_size));
	assert_memory_equal(&m.attach.size, &n.attach.size, sizeof(struct msg_size));
	assert_true(n.start.pty.login && n.attach.has_size && n.attach.own == OWN_NEVER);
	assert_string_equal(n.start.pty.term, "dumb");
	assert_string_equal(n.start.pty.shell, "/bin/\xff");
	msg_open_fini(&n);
}

/* Two starts by one name are the same but for the size, which is a matter of the moment. */
static void test_fingerprint(void **state)
{
	uint64_t f = fingerprint("{}");

	(void)state;
	assert_true(f == fingerprint("{\"cols\":9,\"rows\":9,\"xpixel\":1,\"ypixel\":1}"));
	assert_true(f == fingerprint("{\"term\":\"xterm-256color\"}"));
	assert_true(f != fingerprint("{\"term\":\"dumb\"}"));
	assert_true(f != fingerprint("{\"login\":true}"));
	assert_true(f != fingerprint("{\"shell\":\"/bin/sh\"}"));
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"{\"pty\":true}",
		"{\"pty\":{\"cols\":0}}",
		"{\"pty\":{\"rows\":0}}",
		"{\"pty\":{\"cols\":65536}}",
		"{\"pty\":{\"xpixel\":65536}}",
		"{\"pty\":{\"ypixel\":-1}}",
		"{\"pty\":{\"cols\":\"80\"}}",
		"{\"pty\":{\"term\":1}}",
		"{\"pty\":{\"shell\":\"\"}}",
		"{\"pty\":{\"login\":1}}",
		"{\"pty\":{},\"cmd\":[]}",
		"{\"pty\":{},\"cmd\":\"sh\"}",
		"{\"pty\":{},\"cmd\":[\"\"]}",
		"{}",
	};
	static const char *const attach[] = {"{\"owner\":1}", "{\"size\":[]}", "{\"size\":{}}",
		"{\"size\":{\"cols\":80}}", "{\"size\":{\"cols\":80,\"rows\":0}}"};
	static const char *const requests[] = {"{\"op\":\"resize\"}",
		"{\"op\":\"resize\",\"cols\":80}", "{\"op\":\"resize\",\"cols\":0,\"rows\":24}"};
	struct msg_request q;
	struct msg_open m;
	struct error e;
	char text[200];

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		snprintf(text, sizeof(text), "{\"service\":\"exec\",\"start\":%s}", bad[i]);
		assert_int_equal(msg_parse_open((uint8_t *)text, strlen(text), &m, &e), -EINVAL);
		assert_int_equal(e.code, E_BAD_MESSAGE);
	}
	for (size_t i = 0; i < array_size(attach); i++) {
		snprintf(text, sizeof(text), "{\"service\":\"exec\",\"attach\":%s}", attach[i]);
		assert_int_equal(msg_parse_open((uint8_t *)text, strlen(text), &m, &e), -EINVAL);
	}
	for (size_t i = 0; i < array_size(requests); i++)
		assert_int_equal(msg_parse_request(
					 (const uint8_t *)requests[i], strlen(requests[i]), &q, &e),
			-EINVAL);
}

static void test_requests_and_events(void **state)
{
	struct msg_request m = {.op = OP_RESIZE, .size = {7, 8, 9, 10}}, q;
	struct msg_size size = {1, 2, 3, 4};
	struct msg_event ev;
	struct error e;
	size_t len = msg_format_request(&m, json, sizeof(json));

	(void)state;
	assert_int_equal(msg_parse_request((uint8_t *)json, len, &q, &e), 0);
	assert_true(q.op == OP_RESIZE && memcmp(&q.size, &m.size, sizeof(size)) == 0);
	msg_request_fini(&q);
	len = msg_format_size_event(&size, json, sizeof(json));
	assert_int_equal(msg_parse_event((uint8_t *)json, len, &ev, &e), 0);
	assert_true(ev.kind == EVENT_SIZE && memcmp(&ev.size, &size, sizeof(size)) == 0);
	assert_int_equal(msg_format_size_event(&size, json, 10), 0);
	len = (size_t)snprintf(json, sizeof(json), "{\"event\":\"owner\",\"owner\":true}");
	assert_int_equal(msg_parse_event((uint8_t *)json, len, &ev, &e), 0);
	assert_true(ev.kind == EVENT_OWNER && ev.owner);
	len = (size_t)snprintf(json, sizeof(json), "{\"event\":\"size\",\"cols\":1}");
	assert_int_equal(msg_parse_event((uint8_t *)json, len, &ev, &e), -EINVAL);
}

static void test_opened_and_entries(void **state)
{
	struct msg_opened o = {.id = "a", .has_pty = true, .owner = true, .size = {80, 24, 1, 2}},
			  p;
	struct msg_entry entry = {.id = "a",
		.cmd = "",
		.cwd = "/",
		.user = "",
		.has_pty = true,
		.size = {80, 24, 0, 0}};
	struct msg_list list;
	struct jsonw w;
	struct error e;
	size_t len = msg_format_opened(&o, json, sizeof(json));

	(void)state;
	assert_int_equal(msg_parse_opened((uint8_t *)json, len, &p, &e), 0);
	assert_true(p.has_pty && p.owner && memcmp(&p.size, &o.size, sizeof(o.size)) == 0);
	o.has_pty = false;
	len = msg_format_opened(&o, json, sizeof(json));
	assert_int_equal(msg_parse_opened((uint8_t *)json, len, &p, &e), 0);
	assert_true(!p.has_pty && !p.owner);
	jsonw_init(&w, json, sizeof(json));
	jsonw_open(&w, NULL, '{');
	jsonw_open(&w, "sessions", '[');
	msg_put_entry(&w, &entry);
	entry.has_pty = false;
	msg_put_entry(&w, &entry);
	jsonw_close(&w, ']');
	jsonw_close(&w, '}');
	assert_int_equal(msg_parse_list((uint8_t *)json, w.len, &list, &e), 0);
	assert_true(list.n == 2 && list.entries[0].has_pty && list.entries[0].size.cols == 80);
	assert_false(list.entries[1].has_pty);
	msg_list_fini(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_fingerprint),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_requests_and_events),
		cmocka_unit_test(test_opened_and_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
