/*
 * What is read is found by jsonr.h, so a prompt of many megabytes goes through as it was written.
 */
#include "proto/msg_claude.h"

#include <stdio.h>

#include "proto/jsonw.h"
#include "proto/text.h"

static int fail(struct error *e, const char *name, const char *what)
{
	return error_set(e, E_BAD_MESSAGE, 0, "\"%.64s\" must be %s", name, what);
}

/* ---- from the client ---- */

static int read_prompt(struct msg_claude_in *m, struct error *e)
{
	struct jsonr_walk w;
	struct jsonr first;

	if (jsonr_member(m->object, "text", &m->content)) {
		if (!jsonr_is(m->content, '"') || m->content.len == 2)
			return fail(e, "text", "a string that is not empty");
	} else if (!jsonr_member(m->object, "content", &m->content)) {
		return fail(e, "text", "there");
	} else if (!jsonr_is(m->content, '[') || !jsonr_begin(&w, m->content) ||
		   !jsonr_next(&w, NULL, &first)) {
		return fail(e, "content", "an array that is not empty");
	}
	if (jsonr_member(m->object, "resume", &m->resume) && jsonr_is(m->resume, 'n'))
		m->resume.len = 0;
	if (m->resume.len == 0)
		return 0;
	if (!jsonr_is(m->resume, '"') || m->resume.len == 2 ||
		m->resume.len > MSG_CLAUDE_STRING_MAX)
		return fail(e, "resume", "a string that is not empty, or null");
	return 0;
}

int msg_parse_claude_in(const void *line, size_t len, struct msg_claude_in *ret, struct error *e)
{
	struct msg_claude_in m = {0};
	struct jsonr type;
	int r = 0;

	if (jsonr_parse(line, len, &m.object) < 0 || !jsonr_is(m.object, '{'))
		return error_set(e, E_BAD_MESSAGE, 0, "invalid JSON input");
	if (!jsonr_member(m.object, "type", &type))
		return fail(e, "type", "there");
	if (jsonr_is_str(type, "prompt")) {
		m.kind = CLAUDE_PROMPT;
		r = read_prompt(&m, e);
	} else if (jsonr_is_str(type, "configure")) {
		m.kind = CLAUDE_CONFIGURE;
	} else if (jsonr_is_str(type, "interrupt")) {
		m.kind = CLAUDE_INTERRUPT;
	} else {
		r = fail(e, "type", "\"configure\", \"prompt\" or \"interrupt\"");
	}
	if (r == 0)
		*ret = m;
	return r;
}

/* ---- from the program ---- */

static void find_str(struct jsonr object, const char *name, struct jsonr *ret)
{
	if (!jsonr_member(object, name, ret) || !jsonr_is(*ret, '"'))
		ret->len = 0;
}

static void read_result(struct jsonr object, struct msg_claude_out *m)
{
	struct jsonr v, first;
	struct jsonr_walk w;

	m->kind = CLAUDE_RESULT;
	m->failed = jsonr_member(object, "is_error", &v) && jsonr_is(v, 't');
	if (jsonr_member(object, "errors", &v) && jsonr_begin(&w, v) &&
		jsonr_next(&w, NULL, &first) && jsonr_is(first, '"'))
		m->why = first;
	else
		find_str(object, "result", &m->why);
}

static void read_response(struct jsonr object, struct msg_claude_out *m)
{
	struct jsonr response, subtype;

	m->kind = CLAUDE_RESPONSE;
	if (!jsonr_member(object, "response", &response))
		return;
	if (!jsonr_member(response, "request_id", &m->request_id))
		m->request_id.len = 0;
	m->failed =
		!jsonr_member(response, "subtype", &subtype) || !jsonr_is_str(subtype, "success");
	find_str(response, "error", &m->why);
}

static void read_claude_request(struct jsonr object, struct msg_claude_out *m)
{
	struct jsonr request;

	m->kind = CLAUDE_REQUEST;
	if (!jsonr_member(object, "request_id", &m->request_id))
		m->request_id.len = 0;
	if (!jsonr_member(object, "request", &request))
		return;
	find_str(request, "subtype", &m->subtype);
	find_str(request, "tool_name", &m->tool);
	if (!jsonr_member(request, "input", &m->input))
		m->input.len = 0;
}

int msg_parse_claude_out(const void *line, size_t len, struct msg_claude_out *ret)
{
	struct msg_claude_out m = {0};
	struct jsonr object, type, subtype;

	if (jsonr_parse(line, len, &object) < 0 || !jsonr_is(object, '{'))
		return -EINVAL;
	find_str(object, "type", &type);
	find_str(object, "subtype", &subtype);
	find_str(object, "session_id", &m.session_id);
	if (jsonr_is_str(type, "result"))
		read_result(object, &m);
	else if (jsonr_is_str(type, "control_response"))
		read_response(object, &m);
	else if (jsonr_is_str(type, "control_request"))
		read_claude_request(object, &m);
	else if (jsonr_is_str(type, "control_cancel_request") || jsonr_is_str(type, "keep_alive"))
		m.kind = CLAUDE_QUIET;
	else if (jsonr_is_str(type, "system") && jsonr_is_str(subtype, "init"))
		m.kind = CLAUDE_INIT;
	*ret = m;
	return 0;
}

/* ---- writing ---- */

#define TEXT(literal)                                                                              \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

static int put_parts(struct buf *b, const struct jsonr *parts, size_t n)
{
	size_t len = 0;
	uint8_t *at;

	for (size_t i = 0; i < n; i++)
		len += parts[i].len;
	at = buf_reserve(b, len);
	if (!at)
		return len > b->max || buf_len(b) > b->max - len ? -ENOBUFS : -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		memcpy(at, parts[i].p, parts[i].len);
		at += parts[i].len;
	}
	buf_commit(b, len);
	return 0;
}

int msg_put_claude_prompt(struct buf *b, struct jsonr content)
{
	const struct jsonr parts[] = {TEXT("{\"type\":\"user\",\"message\":{\"role\":\"user\","
					   "\"content\":"),
		content, TEXT("},\"parent_tool_use_id\":null,\"session_id\":\"\"}\n")};

	return put_parts(b, parts, array_size(parts));
}

int msg_put_claude_control(
	struct buf *b, uint64_t id, const char *subtype, const char *key, const char *value)
{
	size_t size = 200 + (value ? 6 * strlen(value) : 0);
	auto_free char *text = malloc(size);
	struct jsonw w;
	char name[32];

	if (!text)
		return -ENOMEM;
	snprintf(name, sizeof(name), "agentd-%llu", (unsigned long long)id);
	jsonw_init(&w, text, size - 1);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "type", "control_request");
	jsonw_str(&w, "request_id", name);
	jsonw_open(&w, "request", '{');
	jsonw_str(&w, "subtype", subtype);
	if (key)
		jsonw_str(&w, key, value);
	jsonw_close(&w, '}');
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	text[w.len++] = '\n';
	return buf_append(b, text, w.len);
}

int msg_put_claude_permission(struct buf *b, const struct msg_claude_out *request, bool allow)
{
	static const struct jsonr none = TEXT("{}");
	const struct jsonr input = request->input.len ? request->input : none;
	const struct jsonr head = TEXT("{\"type\":\"control_response\",\"response\":{\"subtype\":"
				       "\"success\",\"request_id\":");
	const struct jsonr yes[] = {head, request->request_id,
		TEXT(",\"response\":{\"behavior\":\"allow\",\"updatedInput\":"), input,
		TEXT("}}}\n")};
	const struct jsonr no[] = {head, request->request_id,
		TEXT(",\"response\":{\"behavior\":\"deny\",\"message\":\"Nobody can be asked here: "
		     "this permission mode does not allow it.\"}}}\n")};

	return allow ? put_parts(b, yes, array_size(yes)) : put_parts(b, no, array_size(no));
}

int msg_put_claude_refusal(struct buf *b, const struct msg_claude_out *request)
{
	const struct jsonr parts[] = {TEXT("{\"type\":\"control_response\",\"response\":{"
					   "\"subtype\":\"error\",\"request_id\":"),
		request->request_id, TEXT(",\"error\":\"not supported here\"}}\n")};

	return put_parts(b, parts, array_size(parts));
}

static int put_line(struct buf *b, struct jsonw *w)
{
	jsonw_close(w, '}');
	ASSERT(!w->overflow);
	w->out[w->len++] = '\n';
	return buf_append(b, w->out, w->len);
}

int msg_put_claude_event(struct buf *b, const char *type)
{
	char text[64];
	struct jsonw w;

	jsonw_init(&w, text, sizeof(text) - 1);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "type", type);
	return put_line(b, &w);
}

int msg_put_claude_error(struct buf *b, const char *code, const char *message)
{
	size_t size = 100 + 6 * strlen(message);
	auto_free char *text = malloc(size);
	struct jsonw w;

	if (!text)
		return -ENOMEM;
	ASSERT(utf8_valid(message, strlen(message)));
	jsonw_init(&w, text, size - 1);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "type", "error");
	jsonw_str(&w, "message", message);
	jsonw_str(&w, "code", code);
	return put_line(b, &w);
}

int msg_put_claude_complete(struct buf *b, const char *session_id)
{
	size_t size = 100 + (session_id ? 6 * strlen(session_id) : 0);
	auto_free char *text = malloc(size);
	struct jsonw w;

	if (!text)
		return -ENOMEM;
	jsonw_init(&w, text, size - 1);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "type", "turn_complete");
	if (session_id)
		jsonw_str(&w, "claude_session_id", session_id);
	else
		jsonw_null(&w, "claude_session_id");
	return put_line(b, &w);
}
