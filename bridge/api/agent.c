/*
 * Claude sessions over HTTP: a session whose command is the agent's driver (docs/protocol.md
 * section 15), spoken to in lines of JSON. What clients give is passed on as they wrote it; the
 * driver says what is wrong with it, in the session.
 */
#include "bridge/api/agent_turns.h"
#include "bridge/api/dispatch.h"
#include "bridge/api/exec_kill.h"
#include "bridge/api/exec_list.h"
#include "bridge/api/exec_visit.h"
#include "bridge/api/text.h"

#define LINES_MAX (2 * 64 * MIB) /* of what one request makes: it is no longer than its body */

/* ---- lines ---- */

static int put(struct buf *b, const char *text)
{
	return buf_append(b, text, strlen(text));
}

/* A line end between JSON's tokens would end ours; within strings there are none. */
static int put_value(struct buf *b, struct jsonr v)
{
	uint8_t *p = buf_reserve(b, v.len);

	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < v.len; i++)
		p[i] = v.p[i] == '\n' || v.p[i] == '\r' ? ' ' : (uint8_t)v.p[i];
	buf_commit(b, v.len);
	return 0;
}

static int put_member(struct buf *b, const char *name, struct jsonr v)
{
	if (put(b, ",\"") < 0 || put(b, name) < 0 || put(b, "\":") < 0)
		return -ENOMEM;
	return put_value(b, v);
}

/* There and not null. */
static bool has(const struct call *c, const char *name, struct jsonr *ret)
{
	return jsonr_member(c->body, name, ret) && !jsonr_is(*ret, 'n');
}

/* The prompt, if the body has one: `from` of it becomes `text`, unless it is content blocks. */
static int put_prompt(struct call *c, struct buf *b, const char *from, bool *ret_any)
{
	struct jsonr v;
	int r;

	*ret_any = false;
	if (!has(c, from, &v) || (jsonr_is(v, '"') && v.len == 2))
		return 0;
	*ret_any = true;
	r = put(b, "{\"type\":\"prompt\"");
	if (r == 0)
		r = put_member(b, jsonr_is(v, '[') ? "content" : "text", v);
	if (r == 0 && has(c, "resume", &v))
		r = put_member(b, "resume", v);
	return r == 0 ? put(b, "}\n") : r;
}

static const struct {
	const char *name;
	char first; /* of its JSON; '0': a number */
} settings[] = {
	{"model", '"'},
	{"systemPrompt", '"'},
	{"appendSystemPrompt", '"'},
	{"permissionMode", '"'},
	{"cwd", '"'},
	{"resume", '"'},
	{"allowedTools", '['},
	{"disallowedTools", '['},
	{"args", '['},
	{"mcpServers", '{'},
	{"maxTurns", '0'},
	{"includePartialMessages", 't'},
};

static bool is_of(struct jsonr v, char first)
{
	if (first == '0')
		return v.len > 0 && *v.p >= '0' && *v.p <= '9';
	return jsonr_is(v, first) || (first == 't' && jsonr_is(v, 'f'));
}

static bool check_settings(struct call *c)
{
	struct jsonr v;

	for (size_t i = 0; i < array_size(settings); i++) {
		if (!has(c, settings[i].name, &v) || is_of(v, settings[i].first))
			continue;
		call_error(c, 400, "%s is not of the kind that is wanted", settings[i].name);
		return false;
	}
	if (has(c, "prompt", &v) && !jsonr_is(v, '"') && !jsonr_is(v, '[')) {
		call_error(c, 400, "prompt: a text is wanted");
		return false;
	}
	return true;
}

/* The session starts in `cwd`; said again it only counts when it is absolute. */
static bool is_to_say(const char *name, struct jsonr v)
{
	return strcmp(name, "cwd") != 0 || (v.len > 2 && v.p[1] == '/');
}

static int put_configure(struct call *c, struct buf *b)
{
	bool any = false;
	struct jsonr v;
	int r = 0;

	for (size_t i = 0; i < array_size(settings) && r == 0; i++) {
		if (!has(c, settings[i].name, &v) || !is_to_say(settings[i].name, v))
			continue;
		if (!any)
			r = put(b, "{\"type\":\"configure\"");
		any = true;
		if (r == 0)
			r = put_member(b, settings[i].name, v);
	}
	return any && r == 0 ? put(b, "}\n") : r;
}

static void no_memory(struct call *c, struct buf *b)
{
	buf_fini(b);
	call_error(c, 500, "out of memory");
}

/* ---- start, list ---- */

static void put_agent(struct text *t, const struct sandbox *s, const struct roster_entry *e)
{
	text_open(t, NULL, '{');
	text_str(t, "sessionID", e->id);
	text_str(t, "sandboxID", s->id);
	text_bool(t, "running", e->running);
	text_time(t, "startedAt", e->started_ms);
	text_str(t, "claudeSessionID", agent_turns_conversation(e));
	text_int(t, "pendingTurns", agent_turns_pending(e));
	if (!e->running)
		text_int(t, "exitCode", roster_exit_code(&e->end));
	text_close(t, '}');
}

static void answer_started(struct call *c, struct roster_entry *e)
{
	struct text t;

	text_init(&t);
	put_agent(&t, c->sandbox, e);
	text_reply(&t, c, 201);
}

static void handle_start(struct call *c)
{
	struct buf lines = BUF_NULL(LINES_MAX);
	struct exec_start x;
	bool any;

	if (!check_settings(c) || !exec_start_read(c, &x, 0))
		return;
	x.start.agent = x.start.with_stdin = true;
	x.cmd = strdup(EXEC_AGENT_COMMAND);
	if (!x.cmd || put_configure(c, &lines) < 0 || put_prompt(c, &lines, "prompt", &any) < 0) {
		exec_start_fini(&x);
		no_memory(c, &lines);
		return;
	}
	exec_visit_start(c, &x, ROSTER_AGENT, &lines, answer_started);
}

static void put_listed(struct text *t, const struct sandbox *s, const struct roster_entry *e)
{
	if (e->kind == ROSTER_AGENT)
		put_agent(t, s, e);
}

static void handle_list(struct call *c)
{
	exec_list_answer(c, put_listed);
}

/* ---- one of them ---- */

/* NULL: answered. */
static struct roster_entry *find(struct call *c)
{
	struct roster_entry *e = roster_find(&c->sandbox->roster, c->params[1]);

	if (e && e->kind == ROSTER_AGENT)
		return e;
	call_error(c, 404, "session not found");
	return NULL;
}

static void answer_written(struct call *c, struct roster_entry *e)
{
	(void)e;
	call_empty(c, 204);
}

static void handle_prompt(struct call *c)
{
	struct buf lines = BUF_NULL(LINES_MAX);
	struct roster_entry *e = find(c);
	struct jsonr v;
	bool any;

	if (!e)
		return;
	if (has(c, "text", &v) && !jsonr_is(v, '"') && !jsonr_is(v, '[')) {
		call_error(c, 400, "text: a text is wanted");
		return;
	}
	if (put_prompt(c, &lines, "text", &any) < 0) {
		no_memory(c, &lines);
		return;
	}
	if (any)
		exec_visit_write(c, e, &lines, answer_written);
	else
		call_error(c, 400, "text is required");
}

static void handle_interrupt(struct call *c)
{
	struct buf line = BUF_NULL(LINES_MAX);
	struct roster_entry *e = find(c);

	if (!e)
		return;
	if (put(&line, "{\"type\":\"interrupt\"}\n") < 0)
		no_memory(c, &line);
	else
		exec_visit_write(c, e, &line, answer_written);
}

/* Its program is not in the group of the driver. */
static void handle_kill(struct call *c)
{
	struct roster_entry *e = find(c);

	if (e)
		exec_kill(c, e->id, TARGET_TREE);
}

const struct route routes_agent[] = {
	{CALL_POST, "/sandboxes/:id/agent", R_TOKEN | R_DATA | R_JSON | R_LARGE, handle_start,
		"startAgent"},
	{CALL_GET, "/sandboxes/:id/agent", R_TOKEN | R_DATA, handle_list, "listAgents"},
	{CALL_POST, "/sandboxes/:id/agent/:sid/prompt", R_TOKEN | R_DATA | R_JSON | R_LARGE,
		handle_prompt, "promptAgent"},
	{CALL_POST, "/sandboxes/:id/agent/:sid/interrupt", R_TOKEN | R_DATA | R_JSON,
		handle_interrupt, "interruptAgent"},
	{CALL_POST, "/sandboxes/:id/agent/:sid/kill", R_TOKEN | R_DATA | R_JSON, handle_kill,
		"killAgent"},
	{.handle = NULL},
};
