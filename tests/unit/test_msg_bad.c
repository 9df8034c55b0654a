/*
 * test_msg_bad.c - messages that are wrong: every member of every type it must not have, every
 * number beyond its limit, text that is no JSON or no UTF-8, and JSON that is large in one of the
 * ways JSON can be. Each is refused with an error that names the member, and costs no more than its
 * size. All of it lies at the end of a page with nothing behind, because cJSON is not built with
 * the sanitizers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/mman.h>

#include "proto/msg.h"

/* ---- parsing ---- */

enum kind { HELLO, OPEN, REQUEST, OPENED, EVENT, LIST, ERROR, NOTICE, KINDS };

#define EDGE (128 * KIB)

static uint8_t *edge; /* the first byte that is not there */

static int map_edge(void **state)
{
	uint8_t *p =
		mmap(NULL, EDGE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	edge = p + EDGE;
	return p == MAP_FAILED || mprotect(edge, 4096, PROT_NONE) < 0;
}

/* Everything a parser gives is read once. */
static size_t touch(const char *s)
{
	return s ? strlen(s) : 0;
}

static size_t touch_start(const struct msg_start *s)
{
	size_t n = touch(s->cwd) + touch(s->user);

	for (size_t i = 0; i < s->argc; i++)
		n += touch(s->argv[i]);
	for (size_t i = 0; i < s->n_env; i++)
		n += touch(s->env[i].name) + touch(s->env[i].value);
	return n;
}

static int parse_open(const uint8_t *p, size_t len, struct error *e)
{
	struct msg_open m;
	int r = msg_parse_open(p, len, &m, e);

	if (r == 0) {
		touch_start(&m.start);
		touch(m.service);
		touch(m.id);
		touch(m.attach.viewer);
		msg_open_fini(&m);
	}
	return r;
}

static int parse_request(const uint8_t *p, size_t len, struct error *e)
{
	struct msg_request m;
	int r = msg_parse_request(p, len, &m, e);

	if (r == 0) {
		touch_start(&m.start);
		touch(m.op_name);
		touch(m.id);
		touch(m.after);
		touch(m.path);
		msg_request_fini(&m);
	}
	return r;
}

static int parse_hello(const uint8_t *p, size_t len, struct error *e)
{
	struct msg_hello m;
	int r = msg_parse_hello(p, len, &m, e);

	if (r == 0) {
		touch(m.name);
		touch(m.version);
		touch(m.boot_id);
		touch(m.instance);
		msg_hello_fini(&m);
	}
	return r;
}

static int parse_list(const uint8_t *p, size_t len, struct error *e)
{
	struct msg_list m;
	int r = msg_parse_list(p, len, &m, e);

	if (r == 0) {
		for (size_t i = 0; i < m.n; i++)
			touch(m.entries[i].id), touch(m.entries[i].cmd);
		touch(m.next);
		msg_list_fini(&m);
	}
	return r;
}

static int parse(enum kind kind, const void *text, size_t len, struct error *e)
{
	uint8_t *p = edge - len;
	struct msg_opened opened;
	struct msg_event event;
	char word[20];
	int r;

	*e = (struct error){.code = E_NONE};
	if (len > 0)
		memmove(p, text, len);
	switch (kind) {
	case HELLO: return parse_hello(p, len, e);
	case OPEN: return parse_open(p, len, e);
	case REQUEST: return parse_request(p, len, e);
	case OPENED: return msg_parse_opened(p, len, &opened, e);
	case EVENT: return msg_parse_event(p, len, &event, e);
	case LIST: return parse_list(p, len, e);
	case NOTICE: return msg_parse_notice(p, len, word, sizeof(word));
	default: r = msg_parse_error(p, len, e); return r < 0 ? r : 0;
	}
}

static void expect_ok(enum kind kind, const void *text, size_t len)
{
	struct error e;

	if (parse(kind, text, len, &e) != 0)
		fail_msg("%s: %.*s", e.message, (int)min_of(len, (size_t)200), (const char *)text);
}

/* It must say bad_message, and name the member if there is one. */
static void expect_bad(enum kind kind, const void *text, size_t len, const char *member)
{
	char quoted[80];
	struct error e;

	if (parse(kind, text, len, &e) >= 0)
		fail_msg("taken: %.*s", (int)min_of(len, (size_t)200), (const char *)text);
	if (kind == ERROR || kind == NOTICE)
		return;
	assert_string_equal(error_code_str(e.code), "bad_message");
	snprintf(quoted, sizeof(quoted), "\"%s\" must be", member ? member : "");
	if (member && !strstr(e.message, quoted))
		fail_msg("%s does not name %s", e.message, quoted);
}

/* ---- members ---- */

/* A whole message with a hole for the value of one member; and the values it takes, by the letters
 * of values[] below; for an integer its limit. */
static const struct member {
	enum kind kind;
	const char *name, *takes;
	uint64_t max;
	const char *before, *behind;
} members[] = {
#define START    "{\"service\":\"exec\",\"start\":{\"cmd\":[\"a\"],"
#define ATTACH   "{\"service\":\"exec\",\"attach\":{"
#define KILL     "{\"op\":\"kill\",\"id\":\"a\","
#define JSON_MAX (1ULL << 53)
	{HELLO, "proto", "i", INT32_MAX, "{\"proto\":", "}"},
	{HELLO, "agent", "sbg", 0, "{\"proto\":1,\"agent\":", "}"},
	{HELLO, "client", "sbg", 0, "{\"proto\":1,\"client\":", "}"},
	{HELLO, "version", "sbg", 0, "{\"proto\":1,\"version\":", "}"},
	{HELLO, "boot_id", "sbg", 0, "{\"proto\":1,\"boot_id\":", "}"},
	{HELLO, "instance", "sbg", 0, "{\"proto\":1,\"instance\":", "}"},
	{HELLO, "epoch", "i", JSON_MAX, "{\"proto\":1,\"epoch\":", "}"},
	{HELLO, "limits", "obezy", 0, "{\"proto\":1,\"limits\":", "}"},
	{HELLO, "frame", "i", JSON_MAX, "{\"proto\":1,\"limits\":{\"frame\":", "}}"},
	{HELLO, "writers", "i", JSON_MAX, "{\"proto\":1,\"limits\":{\"writers\":", "}}"},
	{OPEN, "service", "sbg", 0, "{\"service\":", "}"},
	{OPEN, "id", "sb", 0, "{\"service\":\"exec\",\"id\":", "}"},
	{OPEN, "window", "i", JSON_MAX, "{\"service\":\"exec\",\"window\":", "}"},
	{OPEN, "attach", "obezy", 0, "{\"service\":\"exec\",\"attach\":", "}"},
	{OPEN, "start", "", 0, "{\"service\":\"exec\",\"start\":", "}"},
	{OPEN, "cmd", "", 0, "{\"service\":\"exec\",\"start\":{\"cmd\":", "}}"},
	{OPEN, "cmd", "sbg", 0, "{\"service\":\"exec\",\"start\":{\"cmd\":[", "]}}"},
	{OPEN, "env", "ebz", 0, START "\"env\":", "}}"},
	{OPEN, "A", "sbgn", 0, START "\"env\":{\"A\":", "}}}"},
	{OPEN, "clear_env", "t", 0, START "\"clear_env\":", "}}"},
	{OPEN, "cwd", "sbg", 0, START "\"cwd\":", "}}"},
	{OPEN, "user", "sbg", 0, START "\"user\":", "}}"},
	{OPEN, "stdin", "t", 0, START "\"stdin\":", "}}"},
	{OPEN, "timeout_ms", "i", MSG_MS_MAX, START "\"timeout_ms\":", "}}"},
	{OPEN, "kill_grace_ms", "i", MSG_MS_MAX, START "\"kill_grace_ms\":", "}}"},
	{OPEN, "disconnect_ms", "i", MSG_MS_MAX, START "\"disconnect_ms\":", "}}"},
	{OPEN, "linger_ms", "i", 60000, START "\"linger_ms\":", "}}"},
	{OPEN, "retain_ms", "i", MSG_MS_MAX, START "\"retain_ms\":", "}}"},
	{OPEN, "ring", "i", JSON_MAX, START "\"ring\":", "}}"},
	{OPEN, "group", "", 0, START "\"group\":", "}}"},
	{OPEN, "rlimits", "e", 0, START "\"rlimits\":", "}}"},
	{OPEN, "nofile", "", 0, START "\"rlimits\":{\"nofile\":", "}}}"},
	{OPEN, "nofile", "im", JSON_MAX, START "\"rlimits\":{\"nofile\":[1,", "]}}}"},
	{OPEN, "nofile", "im", JSON_MAX, START "\"rlimits\":{\"nofile\":[", ",-1]}}}"},
	{OPEN, "since", "", 0, ATTACH "\"since\":", "}}"},
	{OPEN, "since", "i", JSON_MAX, ATTACH "\"since\":[0,", "]}}"},
	{OPEN, "since", "i", JSON_MAX, ATTACH "\"since\":[", ",0]}}"},
	{OPEN, "policy", "", 0, ATTACH "\"policy\":", "}}"},
	{OPEN, "viewer", "sb", 0, ATTACH "\"viewer\":", "}}"},
	{OPEN, "hold_ms", "i", MSG_HOLD_MAX_MS, ATTACH "\"hold_ms\":", "}}"},
	{OPEN, "yield_ms", "i", MSG_HOLD_MAX_MS, ATTACH "\"yield_ms\":", "}}"},
	{OPEN, "input", "t", 0, ATTACH "\"input\":", "}}"},
	{REQUEST, "op", "sbg", 0, "{\"op\":", "}"},
	{REQUEST, "id", "sb", 0, "{\"op\":\"ping\",\"id\":", "}"},
	{REQUEST, "id", "sb", 0, "{\"op\":\"remove\",\"id\":", "}"},
	{REQUEST, "after", "sb", 0, "{\"op\":\"list\",\"after\":", "}"},
	{REQUEST, "limit", "i", JSON_MAX, "{\"op\":\"list\",\"limit\":", "}"},
	{REQUEST, "start", "", 0, "{\"op\":\"start\",\"start\":", "}"},
	{REQUEST, "signal", "i", 64, KILL "\"signal\":", "}"},
	{REQUEST, "to", "", 0, KILL "\"to\":", "}"},
	{REQUEST, "grace_ms", "i", MSG_MS_MAX, KILL "\"grace_ms\":", "}"},
	{REQUEST, "path", "", 0, "{\"op\":\"upgrade\",\"path\":", "}"},
	{OPENED, "id", "sb", 0, "{\"id\":", "}"},
	{OPENED, "new", "t", 0, "{\"new\":", "}"},
	{OPENED, "state", "sbg", 0, "{\"state\":", "}"},
	{OPENED, "pid", "i", INT32_MAX, "{\"pid\":", "}"},
	{OPENED, "out", "obezy", 0, "{\"out\":", "}"},
	{OPENED, "oldest", "i", JSON_MAX, "{\"err\":{\"oldest\":", "}}"},
	{OPENED, "head", "i", JSON_MAX, "{\"out\":{\"head\":", "}}"},
	{OPENED, "stdin", "obezy", 0, "{\"stdin\":", "}"},
	{OPENED, "open", "t", 0, "{\"stdin\":{\"open\":", "}}"},
	{OPENED, "offset", "i", JSON_MAX, "{\"stdin\":{\"offset\":", "}}"},
	{OPENED, "window", "i", JSON_MAX, "{\"window\":", "}"},
	{EVENT, "event", "sbg", 0, "{\"event\":", "}"},
	{EVENT, "offset", "i", JSON_MAX, "{\"event\":\"stdin_closed\",\"offset\":", "}"},
	{EVENT, "code", "im", INT32_MAX, "{\"event\":\"end\",\"code\":", "}"},
	{EVENT, "signal", "im", INT32_MAX, "{\"event\":\"end\",\"signal\":", "}"},
	{EVENT, "core", "t", 0, "{\"event\":\"end\",\"core\":", "}"},
	{EVENT, "stage", "sbg", 0, "{\"event\":\"end\",\"stage\":", "}"},
	{EVENT, "maxrss_kb", "i", JSON_MAX, "{\"event\":\"end\",\"maxrss_kb\":", "}"},
	{LIST, "sessions", "a", 0, "{\"sessions\":", "}"},
	{LIST, "sessions", "obezy", 0, "{\"sessions\":[", "]}"},
	{LIST, "next", "sb", 0, "{\"sessions\":[],\"next\":", "}"},
	{LIST, "id", "sb", 0, "{\"sessions\":[{\"id\":", "}]}"},
	{LIST, "end", "obezy", 0, "{\"sessions\":[{\"end\":", "}]}"},
	{ERROR, "error", "obezy", 0, "{\"error\":", "}"},
	{ERROR, "code", "sbg", 0, "{\"error\":{\"code\":", "}}"},
	{ERROR, "errno", "im", INT32_MAX, "{\"error\":{\"errno\":", "}}"},
	{NOTICE, "notice", "sbg", 0, "{\"notice\":", "}"},
};

static const struct {
	char letter;
	const char *json;
} values[] = {{'n', "null"}, {'t', "true"}, {'t', "false"}, {'i', "1"}, {'m', "-1"}, {'f', "1.5"},
	{'f', "0.1"}, {'h', "1e300"}, {'h', "-1e300"}, {'h', "1e999"}, {'s', "\"x\""}, {'a', "[]"},
	{'e', "{}"}, {'o', "{\"x\":1}"}, {'b', "{\"b64\":\"eA==\"}"},
	{'g', "\" \""}, /* not a name */
	{'z', "{\"b64\":\"AA==\"}"}, {'z', "{\"b64\":\"eA\"}"}, {'y', "{\"b64\":1}"},
	{'z', "{\"b64\":\"e A==\"}"}};

static size_t fill(char *out, size_t size, const struct member *m, const char *value)
{
	return (size_t)snprintf(out, size, "%s%s%s", m->before, value, m->behind);
}

/* An object member that takes objects takes those with unknown members in them. */
static bool takes(const struct member *m, size_t i)
{
	if (strcmp(m->name, "rlimits") == 0)
		return values[i].letter == 'e';
	return strchr(m->takes, values[i].letter) != NULL;
}

/* Of these it is what is in the object that is wrong. */
static bool looks_inside(const struct member *m, size_t i)
{
	static const char *const names[] = {"rlimits", "start", "env"};

	for (size_t k = 0; k < array_size(names); k++) {
		if (strcmp(m->name, names[k]) == 0)
			return strchr("obezy", values[i].letter) != NULL;
	}
	return false;
}

static void test_types(void **state)
{
	char text[300];

	(void)state;
	for (size_t i = 0; i < array_size(members); i++) {
		for (size_t k = 0; k < array_size(values); k++) {
			const struct member *m = &members[i];
			size_t len = fill(text, sizeof(text), m, values[k].json);

			if (takes(m, k))
				expect_ok(m->kind, text, len);
			else
				expect_bad(m->kind, text, len, looks_inside(m, k) ? NULL : m->name);
		}
	}
}

static void test_limits(void **state)
{
	char text[300], number[40];

	(void)state;
	for (size_t i = 0; i < array_size(members); i++) {
		const struct member *m = &members[i];

		if (m->max == 0)
			continue;
		snprintf(number, sizeof(number), "%llu", (unsigned long long)m->max);
		expect_ok(m->kind, text, fill(text, sizeof(text), m, number));
		/* 2^53 + 1 is no number of JSON's: the next one is 2^53 + 2. */
		snprintf(number, sizeof(number), "%llu",
			(unsigned long long)m->max + (m->max == JSON_MAX ? 2 : 1));
		expect_bad(m->kind, text, fill(text, sizeof(text), m, number), m->name);
		expect_bad(m->kind, text, fill(text, sizeof(text), m, "18446744073709551615"),
			m->name);
		expect_bad(m->kind, text, fill(text, sizeof(text), m, "-9223372036854775809"),
			m->name);
		expect_bad(m->kind, text, fill(text, sizeof(text), m, "\"x\""), m->name);
	}
}

static void test_words(void **state)
{
	static const char good[][70] = {KILL "\"signal\":\"sigterm\"}", KILL "\"signal\":\"9\"}",
		KILL "\"to\":\"tree\"}", KILL "\"to\":\"leader\"}",
		KILL "\"to\":{\"b64\":\"Z3JvdXA=\"}}"};
	static const char bad[][70] = {KILL "\"signal\":\"FOO\"}", KILL "\"signal\":\"\"}",
		KILL "\"signal\":0}", KILL "\"signal\":{\"b64\":\"OQ==\"}}", KILL "\"to\":\"all\"}",
		"{\"op\":\"\"}", "{\"op\":\"kill\"}", "{\"op\":\"remove\"}", "{\"op\":\"upgrade\"}",
		"{\"op\":\"upgrade\",\"path\":\"rel\"}", "{\"op\":\"upgrade\",\"path\":\"\"}",
		"{\"op\":\"start\",\"id\":\"a\"}", "{\"op\":\"start\",\"start\":{}}"};
	static const char bad_open[][90] = {"{}", "{\"service\":\"\"}",
		START "\"group\":\"tree\"}}", START "\"rlimits\":{\"files\":[1,1]}}}",
		START "\"rlimits\":{\"cpu\":[1]}}}", START "\"rlimits\":{\"cpu\":[1,1,1]}}}",
		START "\"env\":{\"\":\"\"}}}", START "\"env\":{\"a=b\":\"\"}}}",
		"{\"service\":\"exec\",\"start\":{\"cmd\":[\"\"]}}", ATTACH "\"since\":\"then\"}}",
		ATTACH "\"since\":[1]}}", ATTACH "\"since\":[1,1,1]}}",
		ATTACH "\"policy\":\"lossy\"}}", ATTACH "\"viewer\":\"\"}}",
		ATTACH "\"viewer\":\"123456789012345678901234\"}}"};

	(void)state;
	for (size_t i = 0; i < array_size(good); i++)
		expect_ok(REQUEST, good[i], strlen(good[i]));
	for (size_t i = 0; i < array_size(bad); i++)
		expect_bad(REQUEST, bad[i], strlen(bad[i]), NULL);
	for (size_t i = 0; i < array_size(bad_open); i++)
		expect_bad(OPEN, bad_open[i], strlen(bad_open[i]), NULL);
}

static void test_names(void **state)
{
	char name[80];

	(void)state;
	for (unsigned c = 1; c < 256; c++) {
		name[0] = (char)c;
		name[1] = '\0';
		assert_int_equal(msg_name_valid(name, 1),
			(c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
				(c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-');
	}
	for (size_t n = 0; n < sizeof(name); n++) {
		memset(name, 'a', n);
		name[n] = '\0';
		assert_int_equal(msg_name_valid(name, MSG_ID_MAX), n >= 1 && n <= 64);
	}
}

/* ---- text ---- */

#define V(text)                                                                                    \
	{                                                                                          \
		text, sizeof(text) - 1                                                             \
	}

static const struct {
	const char *p;
	size_t len;
} broken[] = {
	/* no object, or more than one */
	V(""), V(" "), V("\0"), V("null"), V("true"), V("1"), V("\"x\""), V("[]"), V("[{}]"),
	V("{"), V("}"), V("{}}"), V("{}{}"), V("{},"), V("{} x"), V("{}\0"),
	/* not written as JSON is */
	V("{\"a\":1,}"), V("{\"a\"}"), V("{a:1}"), V("{\"a\":}"), V("{\"a\":1"), V("{\"a\":\""),
	V("{\"a\":\"\\\"}"), V("{'a':1}"), V("{\"a\":nul}"), V("{\"a\":tru}"), V("{\"a\":--1}"),
	V("{\"a\":\"\\x\"}"), V("{\"a\":\"\\u12\"}"), V("{\"a\":\"\\ud800\"}"),
	V("{\"a\":\"\\udc00\\ud800\"}"), V("/**/{}"),
	/* no NUL, neither bare nor escaped */
	V("{\"a\":\"\0\"}"), V("{\"a\0\":1}"), V("{\"a\":\"\\u0000\"}"),
	V("{\"a\":\"x\\\\\\u0000y\"}"), V("{\"\\u0000\":1}"), V("{\"x\":{\"b\":[\"\\u0000\"]}}"),
	/* not UTF-8 */
	V("{\"a\":\"\xff\"}"), V("{\"a\":\"\xc0\x80\"}"), V("{\"a\":\"\xe2\x82\"}"),
	V("{\"a\":\"\xed\xa0\x80\"}"), V("{\"a\":\"\xf4\x90\x80\x80\"}"), V("{\"\xc3\":1}"),
	V("{}\xc3"),
	/* ends where cJSON looks one byte further (its CVE-2023-53154) */
	V("{\"1\":1,"), V("{\"1\":1, "), V("{\"1\":"), V("{\"1\""), V("{\"a\":[1,"),
	V("{\"a\":\"\\"), V("{\"a\":\"\\u"), V("{\"a\":n"), V("{\"a\":-"), V("{\"a\":1e"),
	V("\xef\xbb\xbf"), V("\xef\xbb\xbf{")};

static void test_broken_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(broken); i++) {
		for (int kind = 0; kind < KINDS; kind++)
			expect_bad((enum kind)kind, broken[i].p, broken[i].len, NULL);
	}
}

/* A backslash before it: six letters, and no NUL. Blanks around are fine. Of two members the first
 * counts; unknown ones do not. */
static void test_good_text(void **state)
{
	static const char *const good[] = {"{\"proto\":1,\"client\":\"\\\\u0000\"}",
		" \t\r\n{ \"proto\" : 1 } \n", "{\"proto\":1,\"proto\":\"x\"}",
		"{\"proto\":1,\"\":{\"deep\":[[[null]]]}}", "{\"proto\":1.0}", "{\"proto\":1e0}",
		"{\"proto\":1,\"agent\":\"\\ud83d\\ude00\\u000A\\/\"}"};

	(void)state;
	for (size_t i = 0; i < array_size(good); i++)
		expect_ok(HELLO, good[i], strlen(good[i]));
	expect_bad(HELLO, "{\"proto\":\"x\",\"proto\":1}", 23, "proto");
}

/* Every message cut at every byte. */
static void test_cut(void **state)
{
	char text[300];
	struct error e;

	(void)state;
	for (size_t i = 0; i < array_size(members); i++) {
		size_t len = fill(text, sizeof(text), &members[i], "{\"b64\":\"eA==\"}");

		for (size_t n = 0; n < len; n++)
			assert_true(parse(members[i].kind, text, n, &e) < 0);
	}
}

/* ---- size ---- */

static char big[EDGE];

static void put(size_t at, const void *bytes, size_t n)
{
	assert_true(at + n <= sizeof(big));
	memcpy(big + at, bytes, n);
}

/* `before`, then as many of `unit` as fit a frame with `behind`. */
static size_t repeat(const char *before, const char *unit, const char *behind)
{
	size_t n = strlen(before), len = strlen(unit), end = strlen(behind);

	put(0, before, n);
	for (; n + len + end <= FRAME_PAYLOAD_MAX; n += len)
		put(n, unit, len);
	if (big[n - 1] == ',')
		n--;
	put(n, behind, end);
	return n + end;
}

static void test_deep(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		expect_bad((enum kind)kind, big, repeat("", "[", ""), NULL);
		expect_bad((enum kind)kind, big, repeat("", "{\"a\":", ""), NULL);
		expect_bad((enum kind)kind, big, repeat("{\"a\":", "[", "}"), NULL);
		expect_bad((enum kind)kind, big, repeat("{\"a\":[", "[],", "]"), NULL);
	}
}

/* Where the most memory is wanted for the least text: the block is always large enough. */
static void test_wide(void **state)
{
	static const struct {
		enum kind kind;
		bool good;
		const char *before, *unit, *behind;
	} cases[] = {
		{OPEN, true, "{\"service\":\"exec\",\"start\":{\"cmd\":[\"a\",", "\"\",", "]}}"},
		{OPEN, true, "{\"service\":\"exec\",\"start\":{\"cmd\":[", "\"1234567\",", "]}}"},
		{OPEN, true, "{\"service\":\"exec\",\"start\":{\"cmd\":[", "\"12345678\",", "]}}"},
		{OPEN, true, "{\"service\":\"exec\",\"start\":{\"cmd\":[\"a\",", "{\"b64\":\"\"},",
			"]}}"},
		{OPEN, true, "{\"service\":\"exec\",\"start\":{\"cmd\":[\"", "x", "\"]}}"},
		{OPEN, true, "{\"service\":\"exec\",\"start\":{\"cmd\":[\"", "\\u0001", "\"]}}"},
		{OPEN, false, "{\"service\":\"exec\",\"start\":{\"cmd\":[", "0,", "]}}"},
		{OPEN, false, "{\"service\":\"exec\",\"start\":{\"cmd\":[", "[],", "]}}"},
		{OPEN, true, START "\"env\":{", "\"a\":\"\",", "}}}"},
		{OPEN, true, START "\"env\":{", "\"a\":null,", "}}}"},
		{OPEN, false, START "\"env\":{", "\"a\":0,", "}}}"},
		{OPEN, false, START "\"env\":{", "\"\":0,", "}}}"},
		{OPEN, false, START "\"rlimits\":{", "\"cpu\":[1,1],", "}}}"},
		{OPEN, true, START "\"cwd\":\"", "x", "\"}}"},
		{OPEN, true, "{\"service\":\"exec\",", "\"a\":0,", "}"},
		{OPEN, true, "{\"service\":\"exec\",\"x\":[", "0,", "]}"},
		{REQUEST, true, "{\"op\":\"", "x", "\"}"},
		{HELLO, true, "{\"proto\":1,\"client\":\"", "x", "\"}"},
		{LIST, true, "{\"sessions\":[", "{},", "]}"},
		{LIST, false, "{\"sessions\":[", "0,", "]}"},
		{LIST, true, "{\"sessions\":[", "{\"id\":\"a\"},", "]}"},
		{LIST, true, "{\"sessions\":[{\"cmd\":[", "0,", "]}]}"},
		{LIST, true, "{\"sessions\":[{\"cmd\":[", "\"\",", "]}]}"},
		{ERROR, true, "{\"error\":{\"code\":\"", "x", "\"}}"},
		{ERROR, true, "{\"error\":{\"message\":\"", "\xe2\x82\xac", "\"}}"},
		{NOTICE, true, "{\"notice\":\"", "x", "\"}"},
		{EVENT, true, "{\"event\":\"end\",\"stage\":\"", "x", "\"}"},
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		size_t len = repeat(cases[i].before, cases[i].unit, cases[i].behind);

		assert_true(len > FRAME_PAYLOAD_MAX - 20);
		if (cases[i].good)
			expect_ok(cases[i].kind, big, len);
		else
			expect_bad(cases[i].kind, big, len, NULL);
	}
	/* A frame cannot hold more; nobody counts on that. */
	memset(big, ' ', sizeof(big));
	put(0, "{\"proto\":1}", 11);
	expect_ok(HELLO, big, FRAME_PAYLOAD_MAX);
	expect_bad(HELLO, big, FRAME_PAYLOAD_MAX + 1, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_broken_text),
		cmocka_unit_test(test_good_text),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_wide),
	};

	return cmocka_run_group_tests(tests, map_edge, NULL);
}
