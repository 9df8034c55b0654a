/*
 * fuzz_msg.c - all parsers of JSON messages, the same text to each. What is taken can be written
 * again and means the same; what is refused is refused with an error that can be sent. The text
 * ends where a page does, since cJSON is not built with sanitizers.
 */
#include <sys/mman.h>

#include "proto/msg_search.h"
#include "proto/msg.h"
#include "proto/msg_net.h"
#include "proto/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char again[FRAME_PAYLOAD_MAX];

static void check_error(int r, const struct error *e)
{
	char json[ERROR_JSON_MAX];
	struct error back;
	size_t len;

	ASSERT(r < 0 && e->code > E_NONE && e->code < E_LAST);
	len = error_json(e, json);
	ASSERT(utf8_valid(json, len));
	ASSERT(msg_parse_error((uint8_t *)json, len, &back) == 1);
	ASSERT(back.code == e->code && strcmp(back.message, e->message) == 0);
}

static bool same_str(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_start(const struct msg_start *s)
{
	ASSERT(s->fingerprint && (s->argc > 0 || s->pty.on));
	if (s->argc > 0) {
		ASSERT(s->argv[0][0] && !s->argv[s->argc]);
		s->argv[-1] = s->argv[0]; /* the spare slot is there */
	}
	ASSERT(!s->pty.on ||
		(s->pty.size.cols > 0 && s->pty.size.rows > 0 && s->pty.term && s->with_stdin));
	for (size_t i = 0; i < s->argc; i++)
		ASSERT(strlen(s->argv[i]) <= FRAME_PAYLOAD_MAX);
	for (size_t i = 0; i < s->n_env; i++)
		ASSERT(s->env[i].name[0] && !strchr(s->env[i].name, '='));
	ASSERT(s->n_rlimits <= MSG_RLIMITS_MAX && s->linger_ms <= 60000);
	ASSERT(s->timeout_ms <= MSG_MS_MAX && s->ring <= 1ULL << 53);
}

static void test_open(const uint8_t *p, size_t len)
{
	struct msg_open m, n;
	struct error e;
	int r = msg_parse_open(p, len, &m, &e);
	size_t size;

	if (r < 0) {
		check_error(r, &e);
		return;
	}
	ASSERT(m.service[0] && (!m.id || msg_name_valid(m.id, MSG_ID_MAX)));
	ASSERT(m.attach.hold_ms <= MSG_HOLD_MAX_MS && m.attach.yield_ms <= MSG_HOLD_MAX_MS);
	if (m.has_start)
		check_start(&m.start);
	size = utf8_valid(m.service, strlen(m.service)) ? msg_format_open(&m, again, sizeof(again))
							: 0;
	if (size > 0) {
		ASSERT(msg_parse_open((uint8_t *)again, size, &n, &e) == 0);
		ASSERT(m.start.fingerprint == n.start.fingerprint && m.window == n.window);
		ASSERT(same_str(m.id, n.id) && same_str(m.attach.viewer, n.attach.viewer));
		ASSERT(m.attach.since_now == n.attach.since_now &&
			m.attach.policy == n.attach.policy);
		ASSERT(memcmp(&m.start.pty.size, &n.start.pty.size, sizeof(struct msg_size)) == 0);
		ASSERT(m.attach.own == n.attach.own && m.attach.has_size == n.attach.has_size &&
			memcmp(&m.attach.size, &n.attach.size, sizeof(struct msg_size)) == 0);
		msg_open_fini(&n);
	}
	msg_open_fini(&m);
}

static void test_request(const uint8_t *p, size_t len)
{
	struct msg_request m, n;
	struct error e;
	int r = msg_parse_request(p, len, &m, &e);
	size_t size;

	if (r < 0) {
		check_error(r, &e);
		return;
	}
	ASSERT(m.op_name[0]);
	ASSERT((m.op != OP_KILL && m.op != OP_REMOVE) || m.id);
	ASSERT((m.op != OP_KILL && m.op != OP_SIGNAL) || (m.signal >= 1 && m.signal <= 64));
	if (m.has_start)
		check_start(&m.start);
	size = m.op == OP_UNKNOWN ? 0 : msg_format_request(&m, again, sizeof(again));
	if (size > 0) {
		ASSERT(msg_parse_request((uint8_t *)again, size, &n, &e) == 0);
		ASSERT(m.op == n.op && m.signal == n.signal && m.to == n.to &&
			m.grace_ms == n.grace_ms);
		ASSERT(same_str(m.id, n.id) && same_str(m.after, n.after) &&
			same_str(m.path, n.path));
		ASSERT(m.start.fingerprint == n.start.fingerprint);
		msg_request_fini(&n);
	}
	msg_request_fini(&m);
}

static void test_told(const uint8_t *p, size_t len)
{
	struct msg_opened opened, opened2;
	struct msg_event event, event2;
	struct error e;
	struct jsonw w;
	int r = msg_parse_opened(p, len, &opened, &e);

	if (r < 0) {
		check_error(r, &e);
	} else {
		size_t size = msg_format_opened(&opened, again, 1024);

		ASSERT(size > 0);
		if (opened.id[0]) {
			ASSERT(msg_parse_opened((uint8_t *)again, size, &opened2, &e) == 0);
			ASSERT(opened.window == opened2.window &&
				strcmp(opened.id, opened2.id) == 0);
		}
	}
	r = msg_parse_event(p, len, &event, &e);
	if (r < 0) {
		check_error(r, &e);
	} else if (event.kind == EVENT_END &&
		   utf8_valid(event.end.stage, strlen(event.end.stage))) {
		jsonw_init(&w, again, 700);
		msg_put_end(&w, NULL, &event.end, true);
		ASSERT(!w.overflow && msg_parse_event((uint8_t *)again, w.len, &event2, &e) == 0);
		ASSERT(event2.kind == EVENT_END && event2.end.state == event.end.state);
	}
}

static void test_rest(const uint8_t *p, size_t len)
{
	struct msg_hello hello;
	struct msg_list list;
	struct error e;
	char word[16];
	int r = msg_parse_hello(p, len, &hello, &e);

	if (r < 0)
		check_error(r, &e);
	else
		msg_hello_fini(&hello);
	r = msg_parse_list(p, len, &list, &e);
	if (r < 0) {
		check_error(r, &e);
	} else {
		for (size_t i = 0; i < list.n; i++)
			ASSERT(strlen(list.entries[i].cmd) == list.entries[i].cmd_len &&
				list.entries[i].id);
		msg_list_fini(&list);
	}
	if (msg_parse_notice(p, len, word, sizeof(word)) == 0)
		ASSERT(strlen(word) < sizeof(word));
	r = msg_parse_error(p, len, &e);
	ASSERT(r <= 1 && (r < 1 || e.code <= E_LAST));
}

static void test_search(const uint8_t *p, size_t len)
{
	struct msg_glob glob;
	struct msg_grep grep;
	struct msg_watch watch;
	struct error e;

	if (msg_parse_glob(p, len, &glob, &e) == 0) {
		ASSERT(glob.where.path && glob.pattern && glob.limit > 0);
		msg_glob_fini(&glob);
	}
	if (msg_parse_grep(p, len, &grep, &e) == 0) {
		ASSERT(grep.max_line <= MSG_LINE_MAX && grep.context <= MSG_CONTEXT_MAX);
		for (size_t i = 0; i < grep.n_globs; i++)
			ASSERT(strlen(grep.globs[i]) < len);
		msg_grep_fini(&grep);
	}
	if (msg_parse_watch(p, len, &watch, &e) == 0) {
		ASSERT(watch.n_exclude <= MSG_GLOBS_MAX);
		msg_watch_fini(&watch);
	}
}

static void test_net(const uint8_t *p, size_t len)
{
	struct msg_port_event event;
	struct msg_ports ports;
	struct msg_dial dial, back;
	struct error e;
	uint64_t number = 0;
	uint16_t port = 0;
	size_t size;
	int r = msg_parse_dial(p, len, &dial, &e);

	if (r < 0) {
		check_error(r, &e);
	} else {
		ASSERT(dial.timeout_ms > 0 && dial.timeout_ms <= MSG_DIAL_TIMEOUT_MAX_MS);
		size = msg_format_dial(&dial, 5, again, sizeof(again));
		if (size > 0) {
			ASSERT(msg_parse_dial((uint8_t *)again, size, &back, &e) == 0);
			ASSERT(same_str(dial.to, back.to) && dial.timeout_ms == back.timeout_ms);
			msg_dial_fini(&back);
		}
		msg_dial_fini(&dial);
	}
	r = msg_parse_ports(p, len, &ports, &e);
	if (r == 0) {
		for (size_t i = 0; i < ports.n; i++)
			ASSERT(strlen(ports.ports[i].cmd) == ports.ports[i].cmd_len);
		msg_ports_fini(&ports);
	} else {
		check_error(r, &e);
	}
	r = msg_parse_port_event(p, len, &event, &e);
	if (r == 0)
		msg_port_event_fini(&event);
	else
		check_error(r, &e);
	r = msg_parse_ports_request(p, len, &port, &number, &e);
	if (r < 0)
		check_error(r, &e);
	r = msg_parse_window(p, len, &number, &e);
	ASSERT(r < 0 || number <= 1ULL << 53);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum { SIZE = 128 * 1024, PAGE = 4096 };
	static uint8_t *edge;
	uint8_t *p;

	if (!edge) {
		p = mmap(NULL, SIZE + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
		ASSERT(p != MAP_FAILED && mprotect(p + SIZE, PAGE, PROT_NONE) == 0);
		edge = p + SIZE;
	}
	len = min_of(len, (size_t)SIZE);
	p = edge - len;
	if (len > 0)
		memcpy(p, data, len);
	test_open(p, len);
	test_request(p, len);
	test_told(p, len);
	test_rest(p, len);
	test_search(p, len);
	test_net(p, len);
	return 0;
}
