/*
 * test_msg_told.c - what an agent tells of itself and its sessions, there and back: random
 * contents, written, read, and the same.
 */
#include "tests/unit/msg_rig.h"

#include <stdio.h>

static void rnd_end(struct msg_end *m)
{
	*m = (struct msg_end){.state = (enum end_state)(1 + rnd(END_LAST - 1)),
		.out = rnd_u64(INT_MAX_JSON),
		.err_bytes = rnd_u64(INT_MAX_JSON),
		.started_ms = rnd_u64(INT_MAX_JSON),
		.ended_ms = rnd_u64(INT_MAX_JSON),
		.wall_ms = rnd_u64(INT_MAX_JSON),
		.user_us = rnd_u64(INT_MAX_JSON),
		.sys_us = rnd_u64(INT_MAX_JSON),
		.maxrss_kb = rnd_u64(INT_MAX_JSON)};
	if (m->state == END_START_FAILED) {
		m->err = (int)rnd(134);
		strcpy(m->stage, "cgroup");
		return;
	}
	m->by = m->state == END_KILLED ? (enum end_by)(1 + rnd(BY_LAST - 1)) : BY_NONE;
	if (m->state == END_AGENT_LOST)
		return;
	m->signal = m->state == END_EXITED ? 0 : (int)(1 + rnd(64));
	m->code = m->signal ? 0 : (int)rnd(256);
	m->core = m->state == END_SIGNALED && rnd(2);
}

static void same_end(const struct msg_end *a, const struct msg_end *b)
{
	assert_true(a->state == b->state && a->by == b->by && a->core == b->core);
	assert_true(a->code == b->code && a->signal == b->signal && a->err == b->err);
	assert_string_equal(a->stage, b->stage);
	assert_true(a->out == b->out && a->err_bytes == b->err_bytes);
	assert_true(a->started_ms == b->started_ms && a->ended_ms == b->ended_ms);
	assert_true(a->wall_ms == b->wall_ms && a->user_us == b->user_us);
	assert_true(a->sys_us == b->sys_us && a->maxrss_kb == b->maxrss_kb);
}

static void test_events(void **state)
{
	struct msg_event b;
	struct jsonw w;

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct msg_end a;

		rnd_end(&a);
		jsonw_init(&w, json, 600); /* what a viewer has for it (viewer.h) */
		msg_put_end(&w, NULL, &a, true);
		assert_false(w.overflow);
		PARSE(msg_parse_event, w.len, &b);
		assert_int_equal(b.kind, EVENT_END);
		same_end(&a, &b.end);
	}
	/* The longest there can be. */
	struct msg_end most = {.state = END_START_FAILED,
		.by = BY_DISCONNECT,
		.err = -1000000000,
		.stage = "12345678901",
		.out = UINT64_MAX,
		.err_bytes = UINT64_MAX,
		.started_ms = UINT64_MAX,
		.ended_ms = UINT64_MAX,
		.wall_ms = UINT64_MAX,
		.user_us = UINT64_MAX,
		.sys_us = UINT64_MAX,
		.maxrss_kb = UINT64_MAX};

	jsonw_init(&w, json, 600);
	msg_put_end(&w, NULL, &most, true);
	assert_false(w.overflow);
	strcpy(json, "{\"event\":\"live\"}");
	PARSE(msg_parse_event, strlen(json), &b);
	assert_int_equal(b.kind, EVENT_LIVE);
	strcpy(json, "{\"event\":\"stdin_closed\",\"offset\":77}");
	PARSE(msg_parse_event, strlen(json), &b);
	assert_true(b.kind == EVENT_STDIN_CLOSED && b.offset == 77);
	strcpy(json, "{\"event\":\"of a newer agent\",\"offset\":false}");
	PARSE(msg_parse_event, strlen(json), &b);
	assert_int_equal(b.kind, EVENT_UNKNOWN);
	strcpy(json, "{\"event\":\"end\",\"state\":\"of a newer agent\",\"by\":\"it\"}");
	PARSE(msg_parse_event, strlen(json), &b);
	assert_true(b.kind == EVENT_END && b.end.state == END_AGENT_LOST && b.end.by == BY_NONE);
}

static void rnd_span(struct msg_span *s)
{
	s->oldest = rnd_u64(INT_MAX_JSON);
	s->head = rnd_u64(INT_MAX_JSON);
}

static void test_opened(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct msg_opened a = {.is_new = rnd(2),
			.stdin_open = rnd(2),
			.pid = (int64_t)rnd_u64(INT32_MAX),
			.state = (enum end_state)rnd(END_LAST),
			.stdin_offset = rnd_u64(INT_MAX_JSON),
			.window = rnd_u64(INT_MAX_JSON)};
		struct msg_opened b;
		size_t len;

		snprintf(a.id, sizeof(a.id), "%s", rnd_name(MSG_ID_MAX));
		rnd_span(&a.out);
		rnd_span(&a.err);
		len = msg_format_opened(&a, json, 1024); /* what exec.c has for it */
		assert_true(len > 0);
		PARSE(msg_parse_opened, len, &b);
		assert_string_equal(a.id, b.id);
		assert_true(a.is_new == b.is_new && a.stdin_open == b.stdin_open && a.pid == b.pid);
		assert_true(a.state == b.state && a.stdin_offset == b.stdin_offset &&
			    a.window == b.window);
		assert_memory_equal(&a.out, &b.out, sizeof(a.out));
		assert_memory_equal(&a.err, &b.err, sizeof(a.err));
	}
}

static void test_hello(void **state)
{
	struct msg_hello a = {.proto = 1,
		.name = "agentd",
		.version = "0.1.0",
		.boot_id = "b-1",
		.instance = "00ff",
		.epoch = 7,
		.limits = {1, 2, 3, 4, 5, 6, INT_MAX_JSON}};
	struct msg_hello b;
	struct jsonw w;
	size_t len;

	(void)state;
	jsonw_init(&w, json, sizeof(json));
	jsonw_open(&w, NULL, '{');
	msg_put_hello_agent(&w, &a);
	jsonw_close(&w, '}');
	PARSE(msg_parse_hello, w.len, &b);
	assert_true(b.proto == 1 && b.epoch == 7);
	same_str(a.name, b.name);
	same_str(a.version, b.version);
	same_str(a.boot_id, b.boot_id);
	same_str(a.instance, b.instance);
	assert_memory_equal(&a.limits, &b.limits, sizeof(a.limits));
	msg_hello_fini(&b);
	len = msg_format_hello_client("\"me\"", "", json, sizeof(json));
	PARSE(msg_parse_hello, len, &b);
	assert_true(b.proto == PROTO_VERSION && b.epoch == 0);
	same_str(b.name, "\"me\"");
	same_str(b.instance, "");
	msg_hello_fini(&b);
}

static void rnd_entry(struct msg_entry *m, char *cmd, size_t size)
{
	*m = (struct msg_entry){.id = rnd_name(MSG_ID_MAX),
		.cmd = cmd,
		.cwd = rnd_bytes(0),
		.user = rnd_bytes(0),
		.pid = (int64_t)rnd_u64(INT32_MAX),
		.viewers = rnd(64),
		.disconnect_left_ms = rnd(2) ? -1 : 5,
		.retain_left_ms = -1,
		.timeout_left_ms = 0,
		.cmd_cut = rnd(2)};
	for (unsigned n = 1 + rnd(4); n > 0; n--) {
		const char *arg = rnd_bytes(0);

		if (m->cmd_len + strlen(arg) + 1 > size)
			break;
		memcpy(cmd + m->cmd_len, arg, strlen(arg) + 1);
		m->cmd_len += strlen(arg) + 1;
	}
	rnd_end(&m->end);
	if (rnd(2))
		m->end = (struct msg_end){.started_ms = m->end.started_ms};
	rnd_span(&m->out);
	rnd_span(&m->err);
}

static void test_list(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		static char cmds[20][400];
		struct msg_entry a[20];
		size_t n = rnd(20);
		struct msg_list b;
		struct jsonw w;

		jsonw_init(&w, json, sizeof(json));
		jsonw_open(&w, NULL, '{');
		jsonw_open(&w, "sessions", '[');
		for (size_t k = 0; k < n; k++) {
			rnd_entry(&a[k], cmds[k], sizeof(cmds[k]));
			msg_put_entry(&w, &a[k]);
		}
		jsonw_close(&w, ']');
		if (n % 2)
			jsonw_str(&w, "next", "17");
		jsonw_close(&w, '}');
		assert_false(w.overflow);
		PARSE(msg_parse_list, w.len, &b);
		assert_int_equal(b.n, n);
		same_str(b.next, n % 2 ? "17" : NULL);
		for (size_t k = 0; k < n; k++) {
			const struct msg_entry *e = &b.entries[k];

			same_str(a[k].id, e->id);
			same_str(a[k].cwd, e->cwd);
			same_str(a[k].user, e->user);
			assert_true(a[k].pid == e->pid && a[k].viewers == e->viewers);
			assert_memory_equal(&a[k].out, &e->out, sizeof(e->out));
			assert_memory_equal(&a[k].err, &e->err, sizeof(e->err));
			if (a[k].end.state)
				same_end(&a[k].end, &e->end);
			assert_true(a[k].end.state == e->end.state &&
				    a[k].end.started_ms == e->end.started_ms);
			assert_true(strlen(e->cmd) == e->cmd_len);
		}
		msg_list_fini(&b);
		msg_list_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_opened),
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
