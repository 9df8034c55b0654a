/*
 * test_msg.c - every message there and back: random contents, written, read, and the same; strings
 * that are no UTF-8 included. What writers do without room, and what a reader hands over. Input
 * that is wrong is in test_msg_bad.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "proto/msg.h"
#include "proto/signame.h"

#define ROUNDS 400

static char json[FRAME_PAYLOAD_MAX];

/* ---- random values ---- */

static uint64_t seed = 88172645463325252u;

static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16) % n;
}

/* Small, large, or at an edge. */
static uint64_t rnd_u64(uint64_t max)
{
	switch (rnd(4)) {
	case 0: return min_of(max, (uint64_t)rnd(10));
	case 1: return max;
	case 2: return max - min_of(max, (uint64_t)rnd(10));
	default: return ((uint64_t)rnd(UINT32_MAX) << 32 | rnd(UINT32_MAX)) % (max + 1);
	}
}

#define INT_MAX_JSON (1ULL << 53)

/* Text; any bytes but NUL; words that need escapes. Good until the ring comes round. */
static char *rnd_bytes(size_t min)
{
	static char ring[256][48];
	static unsigned at;
	char *s = ring[at++ % array_size(ring)];
	size_t n = min + rnd(rnd(8) ? 6 : 40);
	unsigned kind = rnd(3);

	for (size_t i = 0; i < n; i++)
		s[i] = kind == 0   ? (char)('a' + rnd(26))
		       : kind == 1 ? "\"\\/\n\t\x01 {}[]:,"[rnd(13)]
				   : (char)(1 + rnd(255));
	s[n] = '\0';
	return s;
}

static char *rnd_name(size_t max)
{
	static const char letters[] = "ABCXYZabcxyz0189._-";
	static char ring[64][MSG_ID_MAX + 1];
	static unsigned at;
	char *s = ring[at++ % array_size(ring)];
	size_t n = 1 + rnd((uint32_t)(rnd(4) ? 8 : max));

	for (size_t i = 0; i < n; i++)
		s[i] = letters[rnd(sizeof(letters) - 1)];
	s[n] = '\0';
	return s;
}

static void same_str(const char *a, const char *b)
{
	if (!a || !b)
		assert_ptr_equal(a, b);
	else
		assert_string_equal(a, b);
}

/* From memory of exactly its size. */
/* Exactly as large, so that reading on is found. */
static uint8_t *test_block(size_t len)
{
	uint8_t *p = len ? malloc(len) : NULL;

	assert_non_null(p);
	return p;
}

#define PARSE(how, len, ret)                                                                       \
	do {                                                                                       \
		struct error e_ = {.message = ""};                                                 \
		uint8_t *copy_ = test_block(len);                                                  \
		memcpy(copy_, json, len);                                                          \
		if (how(copy_, len, ret, &e_) != 0)                                                \
			fail_msg("%s: %.*s", e_.message, (int)(len), json);                        \
		free(copy_);                                                                       \
	} while (0)

/* ---- start, attach, open ---- */

struct parts {
	char *argv[42];
	char names[12][48];
	struct msg_env env[12];
};

static void rnd_start(struct msg_start *s, struct parts *p)
{
	static const int resources[] = {
		RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_NOFILE, RLIMIT_RTTIME};

	*s = (struct msg_start){.argv = p->argv + 1, .argc = 1 + rnd(40), .env = p->env};
	for (size_t i = 0; i < s->argc; i++)
		s->argv[i] = rnd_bytes(i == 0);
	s->n_env = rnd(12);
	for (size_t i = 0; i < s->n_env; i++) {
		snprintf(p->names[i], sizeof(p->names[i]), "V%zu \"%u", i, rnd(100));
		p->env[i] = (struct msg_env){p->names[i], rnd(4) ? rnd_bytes(0) : NULL};
	}
	s->clear_env = rnd(2);
	s->with_stdin = rnd(2);
	s->group = (enum msg_group)rnd(3);
	s->cwd = rnd(2) ? rnd_bytes(0) : NULL;
	s->user = rnd(2) ? rnd_bytes(0) : NULL;
	s->timeout_ms = rnd_u64(MSG_MS_MAX);
	s->kill_grace_ms = rnd_u64(MSG_MS_MAX);
	s->disconnect_ms = rnd_u64(MSG_MS_MAX);
	s->linger_ms = rnd_u64(60000);
	s->has_retain = rnd(2);
	s->retain_ms = s->has_retain ? rnd_u64(MSG_MS_MAX) : 300000;
	s->has_ring = rnd(2);
	s->ring = s->has_ring ? rnd_u64(INT_MAX_JSON) : 1 << 20;
	s->n_rlimits = rnd(array_size(resources) + 1);
	for (size_t i = 0; i < s->n_rlimits; i++)
		s->rlimits[i] = (struct msg_rlimit){resources[i],
			rnd(2) ? -1 : (int64_t)rnd_u64(INT_MAX_JSON),
			(int64_t)rnd_u64(INT_MAX_JSON)};
}

static void same_start(const struct msg_start *a, const struct msg_start *b)
{
	assert_int_equal(a->argc, b->argc);
	for (size_t i = 0; i < a->argc; i++)
		same_str(a->argv[i], b->argv[i]);
	assert_null(b->argv[b->argc]);
	b->argv[-1] = (char *)"the spare slot";
	assert_int_equal(a->n_env, b->n_env);
	for (size_t i = 0; i < a->n_env; i++) {
		same_str(a->env[i].name, b->env[i].name);
		same_str(a->env[i].value, b->env[i].value);
	}
	assert_int_equal(a->n_rlimits, b->n_rlimits);
	for (size_t i = 0; i < a->n_rlimits; i++)
		assert_memory_equal(&a->rlimits[i], &b->rlimits[i], sizeof(a->rlimits[i]));
	assert_true(a->clear_env == b->clear_env && a->with_stdin == b->with_stdin);
	assert_true(a->group == b->group);
	same_str(a->cwd, b->cwd);
	same_str(a->user, b->user);
	assert_int_equal(a->timeout_ms, b->timeout_ms);
	assert_int_equal(a->kill_grace_ms, b->kill_grace_ms);
	assert_int_equal(a->disconnect_ms, b->disconnect_ms);
	assert_int_equal(a->linger_ms, b->linger_ms);
	assert_true(a->has_retain == b->has_retain && a->has_ring == b->has_ring);
	assert_int_equal(a->retain_ms, b->retain_ms);
	assert_int_equal(a->ring, b->ring);
	assert_true(b->fingerprint != 0);
}

static void rnd_open(struct msg_open *m, struct parts *p)
{
	*m = (struct msg_open){.service = "exec", .window = rnd_u64(INT_MAX_JSON)};
	m->id = rnd(2) ? rnd_name(MSG_ID_MAX) : NULL;
	m->has_start = rnd(4);
	if (m->has_start)
		rnd_start(&m->start, p);
	m->attach.viewer = rnd(2) ? rnd_name(MSG_VIEWER_MAX) : NULL;
	m->attach.since_now = rnd(2);
	m->attach.input = rnd(2);
	m->attach.policy = rnd(2) ? POLICY_LIVE : POLICY_LOSSLESS;
	m->attach.hold_ms = rnd_u64(MSG_HOLD_MAX_MS);
	m->attach.yield_ms = rnd_u64(MSG_HOLD_MAX_MS);
	if (!m->attach.since_now) {
		m->attach.since_out = rnd_u64(INT_MAX_JSON);
		m->attach.since_err = rnd_u64(INT_MAX_JSON);
	}
}

static void test_open(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct msg_open a, b;
		struct parts p = {0};
		size_t len;

		rnd_open(&a, &p);
		len = msg_format_open(&a, json, sizeof(json));
		assert_true(len > 0);
		PARSE(msg_parse_open, len, &b);
		same_str(a.service, b.service);
		same_str(a.id, b.id);
		assert_int_equal(a.window, b.window);
		assert_int_equal(a.has_start, b.has_start);
		if (a.has_start)
			same_start(&a.start, &b.start);
		same_str(a.attach.viewer, b.attach.viewer);
		assert_true(a.attach.since_now == b.attach.since_now &&
			    a.attach.input == b.attach.input);
		assert_true(a.attach.since_out == b.attach.since_out &&
			    a.attach.since_err == b.attach.since_err);
		assert_true(a.attach.policy == b.attach.policy &&
			    a.attach.hold_ms == b.attach.hold_ms &&
			    a.attach.yield_ms == b.attach.yield_ms);
		msg_open_fini(&b);
		msg_open_fini(&b);
	}
}

/* Two starts are the same exactly when every value is. */
static void test_fingerprint(void **state)
{
	static const char *const starts[] = {"{\"cmd\":[\"a\"]}", "{\"cmd\":[\"a\",\"\"]}",
		"{\"cmd\":[\"ab\"]}", "{\"cmd\":[\"a\",\"b\"]}",
		"{\"cmd\":[\"a\"],\"env\":{\"b\":\"\"}}", "{\"cmd\":[\"a\"],\"env\":{\"b\":null}}",
		"{\"cmd\":[\"a\"],\"env\":{\"\xc3\xbe\":\"\"}}", "{\"cmd\":[\"a\"],\"cwd\":\"b\"}",
		"{\"cmd\":[\"a\"],\"user\":\"b\"}", "{\"cmd\":[\"a\"],\"cwd\":\"\"}",
		"{\"cmd\":[\"a\"],\"user\":\"\"}", "{\"cmd\":[\"a\"],\"stdin\":true}",
		"{\"cmd\":[\"a\"],\"clear_env\":true}", "{\"cmd\":[\"a\"],\"group\":\"process\"}",
		"{\"cmd\":[\"a\"],\"timeout_ms\":1}", "{\"cmd\":[\"a\"],\"kill_grace_ms\":1}",
		"{\"cmd\":[\"a\"],\"disconnect_ms\":1}", "{\"cmd\":[\"a\"],\"linger_ms\":1}",
		"{\"cmd\":[\"a\"],\"retain_ms\":1}", "{\"cmd\":[\"a\"],\"ring\":1}",
		"{\"cmd\":[\"a\"],\"rlimits\":{\"cpu\":[1,1]}}",
		"{\"cmd\":[\"a\"],\"rlimits\":{\"cpu\":[1,2]}}",
		"{\"cmd\":[\"a\"],\"rlimits\":{\"core\":[1,1]}}"};
	uint64_t seen[array_size(starts)];

	(void)state;
	for (size_t i = 0; i < array_size(starts); i++) {
		struct msg_open m;
		size_t len = (size_t)snprintf(
			json, sizeof(json), "{ \"service\":\"exec\", \"start\": %s}", starts[i]);

		PARSE(msg_parse_open, len, &m);
		seen[i] = m.start.fingerprint;
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(seen[k], seen[i]);
		msg_open_fini(&m);
	}
	/* Order of members, blanks and spelling do not count. */
	struct msg_open m;
	size_t len = (size_t)snprintf(json, sizeof(json),
		"{\"start\":{\"linger_ms\":5e1, \"cmd\":[{\"b64\":\"YQ==\"}] },\"x\":[1],\"service\":\"exec\"}");

	PARSE(msg_parse_open, len, &m);
	assert_int_equal(m.start.fingerprint, seen[0]);
	msg_open_fini(&m);
}

/* ---- requests ---- */

static void rnd_request(struct msg_request *m, struct parts *p)
{
	*m = (struct msg_request){.op = (enum msg_op)(1 + rnd(OP_SIGNAL)), .limit = 100};
	switch (m->op) {
	case OP_LIST:
		m->id = rnd(2) ? rnd_name(MSG_ID_MAX) : NULL;
		m->after = rnd(2) ? rnd_name(MSG_ID_MAX) : NULL;
		m->limit = 1 + rnd_u64(INT_MAX_JSON - 1);
		break;
	case OP_START:
		m->id = rnd(2) ? rnd_name(MSG_ID_MAX) : NULL;
		m->has_start = true;
		rnd_start(&m->start, p);
		break;
	case OP_REMOVE: m->id = rnd_name(MSG_ID_MAX); break;
	case OP_KILL: m->id = rnd_name(MSG_ID_MAX); /* fall through */
	case OP_SIGNAL:
		m->signal = (int)(1 + rnd(64));
		m->to = (enum msg_target)rnd(3);
		m->escalate = rnd(2);
		m->grace_ms = m->escalate ? rnd_u64(MSG_MS_MAX) : 0;
		break;
	case OP_POWER: m->reboot = rnd(2); break;
	case OP_UPGRADE:
		m->path = rnd_bytes(1);
		*(char *)m->path = '/';
		break;
	default: break;
	}
}

static void test_request(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct msg_request a, b;
		struct parts p = {0};
		size_t len;

		rnd_request(&a, &p);
		len = msg_format_request(&a, json, sizeof(json));
		assert_true(len > 0);
		PARSE(msg_parse_request, len, &b);
		assert_true(a.op == b.op && a.signal == b.signal && a.to == b.to &&
			    a.escalate == b.escalate);
		assert_true(a.grace_ms == b.grace_ms && a.limit == b.limit &&
			    a.has_start == b.has_start);
		same_str(a.id, b.id);
		same_str(a.after, b.after);
		same_str(a.path, b.path);
		if (a.has_start)
			same_start(&a.start, &b.start);
		msg_request_fini(&b);
		msg_request_fini(&b);
	}
}

static void test_signal_names(void **state)
{
	static const char *const bad[] = {
		"", "SIG", "TERMI", "-1", "0", "65", "15x", " 15", "99999999999999999999", "?"};

	(void)state;
	for (int sig = 1; sig <= 64; sig++) {
		const char *name = signame_str(sig);
		char number[16], with_sig[32];

		snprintf(number, sizeof(number), "%d", sig);
		snprintf(with_sig, sizeof(with_sig), "sig%s", name);
		assert_int_equal(signame_parse(number), sig);
		if (name[0] == '?')
			continue;
		assert_int_equal(signame_parse(name), sig);
		assert_int_equal(signame_parse(with_sig), sig);
	}
	assert_string_equal(signame_str(SIGTERM), "TERM");
	assert_string_equal(signame_str(0), "?");
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(signame_parse(bad[i]), -EINVAL);
}

/* ---- what an agent tells ---- */

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

/* ---- no room ---- */

static void test_no_room(void **state)
{
	struct msg_request q = {.op = OP_KILL, .id = "abc", .signal = 9, .escalate = true};
	struct msg_opened o = {.id = "x"};
	struct msg_open m;
	struct parts p = {0};
	const size_t opened = msg_format_opened(&o, json, sizeof(json));
	const size_t request = msg_format_request(&q, json, sizeof(json));
	const size_t hello = msg_format_hello_client("a", "b", json, sizeof(json));
	size_t whole;

	(void)state;
	do
		rnd_open(&m, &p);
	while (!m.has_start || (whole = msg_format_open(&m, json, sizeof(json))) > 2000);
	for (size_t size = 0; size <= whole; size++) {
		char *out = malloc(size + 1);

		out[size] = 0x55;
		assert_int_equal(msg_format_open(&m, out, size) != 0, size == whole);
		assert_int_equal(msg_format_opened(&o, out, size) != 0, size >= opened);
		assert_int_equal(msg_format_request(&q, out, size) != 0, size >= request);
		assert_int_equal(msg_format_hello_client("a", "b", out, size) != 0, size >= hello);
		assert_int_equal(out[size], 0x55);
		free(out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_fingerprint),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_signal_names),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_opened),
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
