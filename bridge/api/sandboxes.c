/* A sandbox's life over HTTP. Making one is in sandbox_create.c, what can be set in
 * sandbox_settings.c. */
#include "bridge/api/bridge.h"
#include "bridge/api/fields.h"
#include "bridge/api/route.h"
#include "bridge/api/sandbox_json.h"

#define LIST_DEFAULT 100
#define LIST_MAX     10000

/* ---- looking ---- */

static void on_get(struct call *c)
{
	sandbox_reply(c, c->sandbox, 200);
}

static bool is_listed(const struct sandbox *s, const char *status)
{
	if (status && strcmp(status, "all") == 0)
		return true;
	return strcmp(sandbox_state_str(s->state), status ? status : "running") == 0;
}

/* The newest first. */
static void on_list(struct call *c)
{
	struct list *all = sandboxes_list(bridge_of(c)->sandboxes);
	auto_free char *status = call_query(c, "status");
	uint64_t limit = LIST_DEFAULT;
	struct text t;

	if (call_query_u64(c, "limit", &limit) && (limit < 1 || limit > LIST_MAX)) {
		call_error(c, 400, "limit must be from 1 to %d", LIST_MAX);
		return;
	}
	text_init(&t);
	text_open(&t, NULL, '[');
	for (struct list *at = all->prev; at != all && limit > 0; at = at->prev) {
		const struct sandbox *s = list_entry(at, struct sandbox, node);

		if (!is_listed(s, status && *status ? status : NULL))
			continue;
		limit--;
		text_open(&t, NULL, '{');
		sandbox_put(&t, c, s, false);
		text_close(&t, '}');
	}
	text_close(&t, ']');
	text_reply(&t, c, 200);
}

/* ---- going ---- */

static void reply_empty(struct call *c, struct sandbox_op *op)
{
	(void)op;
	call_empty(c, 204);
}

static void on_kill(struct call *c)
{
	sandbox_kill(c->sandbox, sandbox_wait(c, reply_empty));
}

static void reply_hibernated(struct call *c, struct sandbox_op *op)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "sandboxID", c->sandbox->id);
	text_str(&t, "status", "hibernated");
	text_str(&t, "hibernationKey", c->sandbox->id);
	text_int(&t, "sizeBytes", (int64_t)op->bytes);
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

static void on_hibernate(struct call *c)
{
	sandbox_hibernate(c->sandbox, sandbox_wait(c, reply_hibernated));
}

static void reply_woken(struct call *c, struct sandbox_op *op)
{
	(void)op;
	sandbox_reply(c, c->sandbox, 200);
}

static void on_wake(struct call *c)
{
	int64_t timeout = -1;

	if (!field_int(c, "timeout", INT64_MIN, INT64_MAX, &timeout))
		return;
	if (timeout < 0 && jsonr_member(c->body, "timeout", &(struct jsonr){0}))
		timeout = 0;
	if (c->sandbox->state == SANDBOX_RUNNING)
		call_error(c, 400, "sandbox is not hibernated");
	else
		sandbox_wake(c->sandbox, timeout, sandbox_wait(c, reply_woken));
}

static void on_reboot(struct call *c)
{
	sandbox_reboot(c->sandbox, sandbox_wait(c, reply_empty));
}

/* ---- its token ---- */

static void on_refresh(struct call *c)
{
	char token[TOKEN_MAX];
	struct text t;

	if (sandbox_is_dead(c))
		return;
	token_make(bridge_of(c)->keys, c->sandbox->id, token);
	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "token", token);
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

#define OF_SANDBOX (R_SANDBOX | R_TOKEN)

const struct route routes_sandboxes[] = {
	{CALL_POST, "/sandboxes", R_JSON, sandbox_on_create, "createSandbox"},
	{CALL_GET, "/sandboxes", 0, on_list, "listSandboxes"},
	{CALL_GET, "/sandboxes/:id", OF_SANDBOX, on_get, "getSandbox"},
	{CALL_DELETE, "/sandboxes/:id", OF_SANDBOX, on_kill, "killSandbox"},
	{CALL_POST, "/sandboxes/:id/hibernate", OF_SANDBOX, on_hibernate, "hibernateSandbox"},
	{CALL_POST, "/sandboxes/:id/wake", OF_SANDBOX | R_JSON, on_wake, "wakeSandbox"},
	{CALL_POST, "/sandboxes/:id/reboot", OF_SANDBOX, on_reboot, "rebootSandbox"},
	{CALL_POST, "/sandboxes/:id/power-cycle", OF_SANDBOX, on_reboot, "powerCycleSandbox"},
	{CALL_POST, "/sandboxes/:id/timeout", OF_SANDBOX | R_JSON, sandbox_on_timeout,
		"setTimeout"},
	{CALL_POST, "/sandboxes/:id/token/refresh", OF_SANDBOX, on_refresh, "refreshToken"},
	{CALL_GET, "/sandboxes/:id/limits", OF_SANDBOX, sandbox_on_get_limits, "getLimits"},
	{CALL_POST, "/sandboxes/:id/scale", OF_SANDBOX | R_DATA | R_JSON, sandbox_on_scale,
		"scaleSandbox"},
	{CALL_PUT, "/sandboxes/:id/scaling-lock", OF_SANDBOX | R_JSON, sandbox_on_set_lock,
		"setScalingLock"},
	{CALL_GET, "/sandboxes/:id/scaling-lock", OF_SANDBOX, sandbox_on_get_lock,
		"getScalingLock"},
	{CALL_PUT, "/sandboxes/:id/limits", OF_SANDBOX | R_DATA | R_JSON, sandbox_on_set_limits,
		"setLimits"},
	{CALL_GET, "/sandboxes/:id/tags", OF_SANDBOX, sandbox_on_get_tags, "getTags"},
	{CALL_PUT, "/sandboxes/:id/tags", OF_SANDBOX | R_JSON, sandbox_on_set_tags, "setTags"},
	{CALL_GET, "/tags", 0, sandbox_on_all_tags, "listTags"},
	{0},
};
