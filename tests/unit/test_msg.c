/*
 * test_msg.c - what a client says there and back: random contents, written, read, and the same;
 * strings that are no UTF-8 included. What writers do without room. What an agent tells is in
 * test_msg_told.c, input that is wrong in test_msg_bad.c.
 */
#include "tests/unit/msg_rig.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "proto/signame.h"

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
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
