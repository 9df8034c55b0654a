/*
 * What is read is found by jsonr.h, so a prompt of many megabytes goes through as it was written.
 * The members of `configure` are a table: reading, comparing and replacing them is the same for
 * all.
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

/* ---- the configuration ---- */

#define DEFAULT_MAX_TURNS 50
#define DEFAULT_STALL_MS  600000
#define STALL_MAX_MS      (366ULL * 24 * 3600 * 1000)

enum kind { KIND_STRING, KIND_LIST, KIND_OBJECT, KIND_ARGS, KIND_NUMBER, KIND_BOOL };

static const struct member {
	const char *name;
	enum kind kind;
	size_t offset;
	unsigned change;
	uint64_t min, max; /* of a number; max of a string's length, 0: MSG_CLAUDE_STRING_MAX */
} members[] = {
#define FIELD(f) offsetof(struct msg_claude_config, f)
	{"model", KIND_STRING, FIELD(model), CLAUDE_CHANGED_MODEL, 0, 0},
	{"permissionMode", KIND_STRING, FIELD(permission_mode), CLAUDE_CHANGED_MODE, 0, 0},
	{"allowedTools", KIND_LIST, FIELD(allowed), CLAUDE_CHANGED_REST, 0, 0},
	{"disallowedTools", KIND_LIST, FIELD(disallowed), CLAUDE_CHANGED_REST, 0, 0},
	{"systemPrompt", KIND_STRING, FIELD(system_prompt), CLAUDE_CHANGED_REST, 0, 0},
	{"appendSystemPrompt", KIND_STRING, FIELD(append_prompt), CLAUDE_CHANGED_REST, 0, 0},
	{"maxTurns", KIND_NUMBER, FIELD(max_turns), CLAUDE_CHANGED_REST, 1, 1000000},
	{"cwd", KIND_STRING, FIELD(cwd), CLAUDE_CHANGED_REST, 0, 0},
	{"mcpServers", KIND_OBJECT, FIELD(mcp_servers), CLAUDE_CHANGED_REST, 0, 0},
	{"resume", KIND_STRING, FIELD(resume), 0, 0, MSG_CLAUDE_SESSION_MAX},
	{"includePartialMessages", KIND_BOOL, FIELD(partial), CLAUDE_CHANGED_REST, 0, 0},
	{"args", KIND_ARGS, FIELD(args), CLAUDE_CHANGED_REST, 0, 0},
	{"stallMs", KIND_NUMBER, FIELD(stall_ms), 0, 0, STALL_MAX_MS},
	{"stallKill", KIND_BOOL, FIELD(stall_kill), 0, 0, 0},
#undef FIELD
};

static void *field(struct msg_claude_config *c, const struct member *m)
{
	return (char *)c + m->offset;
}

static bool owns_text(const struct member *m)
{
	return m->kind != KIND_NUMBER && m->kind != KIND_BOOL;
}

void msg_claude_config_init(struct msg_claude_config *c)
{
	*c = (struct msg_claude_config){
		.max_turns = DEFAULT_MAX_TURNS, .stall_ms = DEFAULT_STALL_MS};
}

void msg_claude_config_fini(struct msg_claude_config *c)
{
	for (size_t i = 0; i < array_size(members); i++) {
		if (owns_text(&members[i]))
			free(take_ptr((char **)field(c, &members[i])));
	}
}

static int read_string(struct jsonr v, size_t max, char **ret)
{
	int r = jsonr_is(v, '"') && v.len > 2 ? jsonr_str(v, ret) : -EINVAL;

	if (r == 0 && strlen(*ret) > (max ? max : MSG_CLAUDE_STRING_MAX)) {
		free(take_ptr(ret));
		r = -E2BIG;
	}
	return r;
}

/* Of strings only; how many, or -EINVAL. */
static int count_strings(struct jsonr v)
{
	struct jsonr_walk w;
	struct jsonr one;
	int n = 0;

	if (!jsonr_is(v, '[') || !jsonr_begin(&w, v))
		return -EINVAL;
	while (jsonr_next(&w, NULL, &one)) {
		if (!jsonr_is(one, '"'))
			return -EINVAL;
		n++;
	}
	return n;
}

static int read_list(struct jsonr v, char **ret)
{
	int n = count_strings(v), r = 0;
	struct jsonr_walk w;
	struct jsonr one;
	char *text, *part;
	size_t len = 0;

	if (n <= 0)
		return n; /* none of them is the default */
	if (v.len > MSG_CLAUDE_STRING_MAX)
		return -E2BIG;
	text = malloc(v.len + 1);
	if (!text)
		return -ENOMEM;
	jsonr_begin(&w, v);
	while (r == 0 && jsonr_next(&w, NULL, &one)) {
		r = read_string(one, 0, &part);
		if (r == 0) {
			len += (size_t)sprintf(text + len, "%s%s", len ? "," : "", part);
			free(part);
		}
	}
	if (r < 0)
		free(text);
	else
		*ret = text;
	return r;
}

static int copy_text(struct jsonr v, char **ret)
{
	if (v.len > MSG_CLAUDE_STRING_MAX)
		return -E2BIG;
	*ret = malloc(v.len + 1);
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, v.p, v.len);
	(*ret)[v.len] = '\0';
	return 0;
}

static int read_args(struct jsonr v, char **ret)
{
	int n = count_strings(v);
	struct jsonr_walk w;
	struct jsonr one;
	char *decoded;

	if (n <= 0)
		return n;
	if (n > MSG_CLAUDE_ARGS_MAX)
		return -E2BIG;
	jsonr_begin(&w, v);
	while (jsonr_next(&w, NULL, &one)) { /* can each be an argument? */
		int r = jsonr_str(one, &decoded);

		if (r < 0)
			return r;
		free(decoded);
	}
	return copy_text(v, ret);
}

static const char *const musts[] = {
	[KIND_STRING] = "a string that is not empty, or null",
	[KIND_LIST] = "an array of strings, or null",
	[KIND_OBJECT] = "an object, or null",
	[KIND_ARGS] = "an array of strings, or null",
	[KIND_NUMBER] = "a whole number in its range, or null",
	[KIND_BOOL] = "true, false or null",
};

/* Into a field that is at its default. */
static int read_member(const struct member *m, struct jsonr v, void *ret, struct error *e)
{
	uint64_t n;
	int r = 0;

	if (jsonr_is(v, 'n'))
		return 0;
	switch (m->kind) {
	case KIND_STRING: r = read_string(v, m->max, ret); break;
	case KIND_LIST: r = read_list(v, ret); break;
	case KIND_OBJECT: r = jsonr_is(v, '{') ? copy_text(v, ret) : -EINVAL; break;
	case KIND_ARGS: r = read_args(v, ret); break;
	case KIND_NUMBER:
		r = jsonr_u64(v, m->max, &n);
		if (r == 0 && n < m->min)
			r = -EINVAL;
		if (r == 0)
			*(uint64_t *)ret = n;
		break;
	case KIND_BOOL:
		r = jsonr_is(v, 't') || jsonr_is(v, 'f') ? 0 : -EINVAL;
		*(bool *)ret = jsonr_is(v, 't');
		break;
	}
	if (r == -ENOMEM)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	return r == -E2BIG ? fail(e, m->name, "shorter")
	       : r < 0     ? fail(e, m->name, musts[m->kind])
			   : 0;
}

static bool same(const struct member *m, void *a, void *b)
{
	const char *x, *y;

	if (m->kind == KIND_NUMBER)
		return *(uint64_t *)a == *(uint64_t *)b;
	if (m->kind == KIND_BOOL)
		return *(bool *)a == *(bool *)b;
	x = *(char **)a;
	y = *(char **)b;
	return x && y ? strcmp(x, y) == 0 : x == y;
}

static void swap(const struct member *m, void *a, void *b)
{
	size_t size = m->kind == KIND_NUMBER ? sizeof(uint64_t)
		      : m->kind == KIND_BOOL ? sizeof(bool)
					     : sizeof(char *);
	uint8_t tmp[sizeof(uint64_t)];

	memcpy(tmp, a, size);
	memcpy(a, b, size);
	memcpy(b, tmp, size);
}

int msg_claude_configure(
	struct msg_claude_config *c, struct jsonr object, unsigned *ret_changed, struct error *e)
{
	struct msg_claude_config fresh;
	bool given[array_size(members)];
	struct jsonr v;
	int r = 0;

	msg_claude_config_init(&fresh);
	for (size_t i = 0; r == 0 && i < array_size(members); i++) {
		given[i] = jsonr_member(object, members[i].name, &v);
		if (given[i])
			r = read_member(&members[i], v, field(&fresh, &members[i]), e);
	}
	*ret_changed = 0;
	for (size_t i = 0; r == 0 && i < array_size(members); i++) {
		void *now = field(c, &members[i]), *then = field(&fresh, &members[i]);

		if (!given[i] || same(&members[i], now, then))
			continue;
		swap(&members[i], now, then);
		*ret_changed |= members[i].change;
	}
	msg_claude_config_fini(&fresh);
	return r;
}

int msg_claude_args(const struct msg_claude_config *c, char *argv[MSG_CLAUDE_ARGS_MAX])
{
	struct jsonr_walk w;
	struct jsonr v;
	int n = 0;

	if (!c->args || !jsonr_begin(&w, (struct jsonr){c->args, strlen(c->args)}))
		return 0;
	while (jsonr_next(&w, NULL, &v)) {
		ASSERT(n < MSG_CLAUDE_ARGS_MAX);
		if (jsonr_str(v, &argv[n]) < 0) {
			while (n > 0)
				free(argv[--n]);
			return -ENOMEM;
		}
		n++;
	}
	return n;
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
