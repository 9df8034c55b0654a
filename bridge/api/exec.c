/*
 * Sessions over HTTP: start, list, kill. What they say goes over WebSockets (attach_exec.c).
 */
#include "bridge/api/dispatch.h"
#include "bridge/api/exec_kill.h"
#include "bridge/api/exec_list.h"
#include "bridge/api/exec_visit.h"
#include "bridge/api/text.h"

static void put_end(struct text *t, const struct roster_entry *e)
{
	text_int(t, "exitCode", roster_exit_code(&e->end));
	text_time(t, "endedAt", e->ended_ms);
	if (e->end.signal)
		text_int(t, "signal", e->end.signal);
	if (e->end.state == END_TIMED_OUT)
		text_bool(t, "timedOut", true);
	if (e->end.state == END_OOM_KILLED)
		text_bool(t, "oomKilled", true);
}

static void put_session(struct text *t, const struct sandbox *s, const struct roster_entry *e)
{
	const char *command = e->kind == ROSTER_AGENT ? EXEC_AGENT_COMMAND : e->cmd;

	text_open(t, NULL, '{');
	text_str(t, "sessionID", e->id);
	text_str(t, "sandboxID", s->id);
	text_bytes(t, "command", command, strlen(command));
	text_open(t, "args", '[');
	for (size_t i = 0; i < e->n_args; i++)
		text_bytes(t, NULL, e->args[i], strlen(e->args[i]));
	text_close(t, ']');
	text_bool(t, "running", e->running);
	text_time(t, "startedAt", e->started_ms);
	text_int(t, "attachedClients", e->attached);
	if (!e->running)
		put_end(t, e);
	text_close(t, '}');
}

static void answer_started(struct call *c, struct roster_entry *e)
{
	struct text t;

	text_init(&t);
	put_session(&t, c->sandbox, e);
	text_reply(&t, c, 201);
}

static void handle_start(struct call *c)
{
	struct exec_start x;

	if (!exec_start_read(c, &x, EXEC_START_CMD | EXEC_START_TIMES))
		return;
	x.start.with_stdin = true;
	exec_visit_start(c, &x, ROSTER_EXEC, NULL, answer_started);
}

/* ---- list ---- */

static void put_listed(struct text *t, const struct sandbox *s, const struct roster_entry *e)
{
	if (e->kind == ROSTER_EXEC || e->kind == ROSTER_AGENT)
		put_session(t, s, e);
}

static void handle_list(struct call *c)
{
	exec_list_answer(c, put_listed);
}

static void handle_kill(struct call *c)
{
	exec_kill(c, c->params[1], TARGET_GROUP);
}

const struct route routes_exec[] = {
	{CALL_POST, "/sandboxes/:id/exec", R_TOKEN | R_DATA | R_JSON, handle_start, "startExec"},
	{CALL_GET, "/sandboxes/:id/exec", R_TOKEN | R_DATA, handle_list, "listExecs"},
	{CALL_POST, "/sandboxes/:id/exec/:sid/kill", R_TOKEN | R_DATA | R_JSON, handle_kill,
		"killExec"},
	{.handle = NULL},
};
