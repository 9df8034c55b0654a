/*
 * test_msg_claude.c - the lines of an agent session: what is read and refused, that a configuration
 * changes as a whole or not at all, and that what is written is JSON on one line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/msg.h"
#include "proto/msg_claude.h"

static int parse_in(const char *line, struct msg_claude_in *m)
{
	struct error e;

	return msg_parse_claude_in(line, strlen(line), m, &e);
}

static void check_slice(struct jsonr v, const char *text)
{
	assert_int_equal(v.len, strlen(text));
	assert_memory_equal(v.p, text, v.len);
}

static void test_in(void **state)
{
	struct msg_claude_in m;

	(void)state;
	assert_int_equal(parse_in("{\"text\":\"a\\nb\",\"type\":\"prompt\"}", &m), 0);
	assert_int_equal(m.kind, CLAUDE_PROMPT);
	check_slice(m.content, "\"a\\nb\"");
	assert_int_equal(m.resume.len, 0);
	assert_int_equal(
		parse_in("{\"type\":\"prompt\",\"content\":[{\"type\":\"text\"}],\"resume\":\"x\"}",
			&m),
		0);
	check_slice(m.content, "[{\"type\":\"text\"}]");
	check_slice(m.resume, "\"x\"");
	assert_int_equal(parse_in("{\"type\":\"interrupt\",\"more\":1}", &m), 0);
	assert_int_equal(m.kind, CLAUDE_INTERRUPT);
	assert_int_equal(parse_in("{\"type\":\"configure\"}", &m), 0);
	assert_int_equal(m.kind, CLAUDE_CONFIGURE);
}

static void test_in_bad(void **state)
{
	static const struct {
		const char *line, *message;
	} cases[] = {{"", "invalid JSON input"}, {"[]", "invalid JSON input"},
		{"{", "invalid JSON input"}, {"{}", "\"type\" must be there"},
		{"{\"type\":\"prompt\"}", "\"text\" must be there"},
		{"{\"type\":\"prompt\",\"text\":\"\"}",
			"\"text\" must be a string that is not empty"},
		{"{\"type\":\"x\"}",
			"\"type\" must be \"configure\", \"prompt\" or \"interrupt\""}};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct msg_claude_in m;
		struct error e;

		assert_int_equal(
			msg_parse_claude_in(cases[i].line, strlen(cases[i].line), &m, &e), -EINVAL);
		assert_string_equal(e.message, cases[i].message);
	}
}

static int configure(struct msg_claude_config *c, const char *object, unsigned *changed)
{
	struct jsonr v;
	struct error e;

	assert_int_equal(jsonr_parse(object, strlen(object), &v), 0);
	return msg_claude_configure(c, v, changed, &e);
}

static void test_configure(void **state)
{
	struct msg_claude_config c;
	unsigned changed;

	(void)state;
	msg_claude_config_init(&c);
	assert_int_equal(c.max_turns, 50);
	assert_int_equal(c.stall_ms, 600000);
	assert_int_equal(configure(&c, "{\"model\":\"m\"}", &changed), 0);
	assert_int_equal(changed, CLAUDE_CHANGED_MODEL);
	assert_int_equal(
		configure(&c, "{\"model\":\"m\",\"permissionMode\":\"plan\"}", &changed), 0);
	assert_int_equal(changed, CLAUDE_CHANGED_MODE);
	assert_int_equal(
		configure(&c, "{\"allowedTools\":[\"A(x, y)\",\"B\"],\"stallMs\":5}", &changed), 0);
	assert_int_equal(changed, CLAUDE_CHANGED_REST);
	assert_string_equal(c.allowed, "A(x, y),B");
	assert_int_equal(c.stall_ms, 5);
	assert_int_equal(configure(&c, "{\"mcpServers\":{ \"a\" : 1.50 }}", &changed), 0);
	assert_string_equal(c.mcp_servers, "{ \"a\" : 1.50 }");
	assert_int_equal(configure(&c, "{\"model\":\"n\",\"maxTurns\":0}", &changed), -EINVAL);
	assert_int_equal(changed, 0);
	assert_string_equal(c.model, "m");
	assert_int_equal(
		configure(&c, "{\"model\":null,\"allowedTools\":[],\"mcpServers\":null}", &changed),
		0);
	assert_int_equal(changed, CLAUDE_CHANGED_MODEL | CLAUDE_CHANGED_REST);
	assert_null(c.model);
	assert_null(c.allowed);
	assert_null(c.mcp_servers);
	msg_claude_config_fini(&c);
	msg_claude_config_fini(&c);
}

static void test_args(void **state)
{
	char *argv[MSG_CLAUDE_ARGS_MAX];
	struct msg_claude_config c;
	unsigned changed;
	int n;

	(void)state;
	msg_claude_config_init(&c);
	assert_int_equal(msg_claude_args(&c, argv), 0);
	assert_int_equal(configure(&c, "{\"args\":[\"--a\",\"b c\\u00e4\",\"\"]}", &changed), 0);
	n = msg_claude_args(&c, argv);
	assert_int_equal(n, 3);
	assert_string_equal(argv[0], "--a");
	assert_string_equal(argv[1], "b c\xc3\xa4");
	assert_string_equal(argv[2], "");
	while (n > 0)
		free(argv[--n]);
	msg_claude_config_fini(&c);
}

static struct msg_claude_out parse_out(const char *line)
{
	struct msg_claude_out m;

	assert_int_equal(msg_parse_claude_out(line, strlen(line), &m), 0);
	return m;
}

static void test_out(void **state)
{
	struct msg_claude_out m;

	(void)state;
	m = parse_out("{\"session_id\":\"s\",\"subtype\":\"init\",\"type\":\"system\"}");
	assert_int_equal(m.kind, CLAUDE_INIT);
	check_slice(m.session_id, "\"s\"");
	assert_int_equal(
		parse_out("{\"type\":\"system\",\"subtype\":\"status\"}").kind, CLAUDE_OTHER);
	m = parse_out(
		"{\"is_error\":true,\"errors\":[\"why\"],\"result\":\"x\",\"type\":\"result\"}");
	assert_int_equal(m.kind, CLAUDE_RESULT);
	assert_true(m.failed);
	check_slice(m.why, "\"why\"");
	m = parse_out("{\"type\":\"result\",\"result\":\"fine\"}");
	assert_false(m.failed);
	m = parse_out("{\"type\":\"control_response\",\"response\":{\"subtype\":\"error\","
		      "\"request_id\":\"agentd-7\",\"error\":\"no\"}}");
	assert_int_equal(m.kind, CLAUDE_RESPONSE);
	assert_true(m.failed);
	check_slice(m.request_id, "\"agentd-7\"");
	m = parse_out("{\"type\":\"control_request\",\"request_id\":5,\"request\":{\"subtype\":"
		      "\"can_use_tool\",\"tool_name\":\"Bash\",\"input\":{\"a\":[1]}}}");
	assert_int_equal(m.kind, CLAUDE_REQUEST);
	check_slice(m.request_id, "5");
	check_slice(m.input, "{\"a\":[1]}");
	assert_int_equal(parse_out("{\"type\":\"keep_alive\"}").kind, CLAUDE_QUIET);
	assert_int_equal(parse_out("{}").kind, CLAUDE_OTHER);
	assert_int_equal(parse_out("{\"type\":\"control_request\"}").request_id.len, 0);
	assert_int_equal(msg_parse_claude_out("[]", 2, &m), -EINVAL);
	assert_int_equal(msg_parse_claude_out("hello", 5, &m), -EINVAL);
}

/* What is in the buffer is one line, and JSON. */
static void check_line(struct buf *b, const char *expected)
{
	struct jsonr v;
	size_t len = buf_len(b);

	assert_true(len > 0 && buf_head(b)[len - 1] == '\n');
	assert_null(memchr(buf_head(b), '\n', len - 1));
	assert_int_equal(jsonr_parse(buf_head(b), len, &v), 0);
	check_slice(v, expected);
	buf_consume(b, len);
}

static void test_put(void **state)
{
	struct buf b = BUF_NULL(1000);
	struct msg_claude_out request = {.request_id = {"\"r\"", 3}, .input = {"{\"a\":1.50}", 10}};

	(void)state;
	assert_int_equal(msg_put_claude_prompt(&b, (struct jsonr){"\"hi\"", 4}), 0);
	check_line(&b, "{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":\"hi\"},"
		       "\"parent_tool_use_id\":null,\"session_id\":\"\"}");
	assert_int_equal(msg_put_claude_control(&b, 3, "interrupt", NULL, NULL), 0);
	check_line(&b, "{\"type\":\"control_request\",\"request_id\":\"agentd-3\",\"request\":{"
		       "\"subtype\":\"interrupt\"}}");
	assert_int_equal(msg_put_claude_control(&b, UINT64_MAX, "set_model", "model", "\"\n"), 0);
	check_line(&b,
		"{\"type\":\"control_request\",\"request_id\":\"agentd-18446744073709551615\","
		"\"request\":{\"subtype\":\"set_model\",\"model\":\"\\\"\\n\"}}");
	assert_int_equal(msg_put_claude_permission(&b, &request, true), 0);
	check_line(&b, "{\"type\":\"control_response\",\"response\":{\"subtype\":\"success\","
		       "\"request_id\":\"r\",\"response\":{\"behavior\":\"allow\",\"updatedInput\":"
		       "{\"a\":1.50}}}}");
	assert_int_equal(msg_put_claude_refusal(&b, &request), 0);
	check_line(&b, "{\"type\":\"control_response\",\"response\":{\"subtype\":\"error\","
		       "\"request_id\":\"r\",\"error\":\"not supported here\"}}");
	assert_int_equal(msg_put_claude_event(&b, "ready"), 0);
	check_line(&b, "{\"type\":\"ready\"}");
	assert_int_equal(msg_put_claude_error(&b, "crashed", "a\x01\xc3\xa4"), 0);
	check_line(
		&b, "{\"type\":\"error\",\"message\":\"a\\u0001\xc3\xa4\",\"code\":\"crashed\"}");
	assert_int_equal(msg_put_claude_complete(&b, NULL), 0);
	check_line(&b, "{\"type\":\"turn_complete\",\"claude_session_id\":null}");
	assert_int_equal(msg_put_claude_complete(&b, "s\"1"), 0);
	check_line(&b, "{\"type\":\"turn_complete\",\"claude_session_id\":\"s\\\"1\"}");
	buf_fini(&b);
}

static void test_put_without_room(void **state)
{
	struct buf b = BUF_NULL(20);

	(void)state;
	assert_int_equal(msg_put_claude_prompt(&b, (struct jsonr){"\"hi\"", 4}), -ENOBUFS);
	assert_int_equal(msg_put_claude_complete(&b, NULL), -ENOBUFS);
	assert_int_equal(buf_len(&b), 0);
	assert_int_equal(msg_put_claude_event(&b, "ready"), 0);
	buf_fini(&b);
}

/* `start` with an agent: read, written again, and told apart from the command it is listed as. */
static void test_start(void **state)
{
	static const char agent[] = "{\"service\":\"exec\",\"start\":{\"agent\":\"claude\"}}";
	static const char command[] =
		"{\"service\":\"exec\",\"start\":{\"cmd\":[\"agentd\",\"claude\"],\"stdin\":true}}";
	struct msg_open m, n;
	char text[1024];
	struct error e;
	size_t len;

	(void)state;
	assert_int_equal(msg_parse_open((const uint8_t *)agent, strlen(agent), &m, &e), 0);
	assert_true(m.start.agent && m.start.with_stdin);
	assert_int_equal(m.start.argc, 2);
	assert_string_equal(m.start.argv[1], "claude");
	assert_null(m.start.argv[2]);
	len = msg_format_open(&m, text, sizeof(text) - 1);
	text[len] = '\0';
	assert_non_null(strstr(text, "\"start\":{\"agent\":\"claude\","));
	assert_null(strstr(text, "\"cmd\""));
	assert_int_equal(msg_parse_open((uint8_t *)text, len, &n, &e), 0);
	assert_true(n.start.fingerprint == m.start.fingerprint);
	msg_open_fini(&n);
	assert_int_equal(msg_parse_open((const uint8_t *)command, strlen(command), &n, &e), 0);
	assert_false(n.start.agent);
	assert_true(n.start.fingerprint != m.start.fingerprint);
	msg_open_fini(&n);
	msg_open_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_in_bad),
		cmocka_unit_test(test_configure),
		cmocka_unit_test(test_args),
		cmocka_unit_test(test_out),
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_put_without_room),
		cmocka_unit_test(test_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
