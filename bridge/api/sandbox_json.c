#include "bridge/api/sandbox_json.h"

#include "bridge/api/dispatch.h"
#include "bridge/sandbox/patch_run.h"

/* ---- as JSON ---- */

/* When it ended, or would end if nobody used it from now on. */
static void put_end(struct text *t, const struct sandbox *s)
{
	uint64_t now = now_ms();

	if (s->ended_ms)
		text_time(t, "endAt", s->ended_ms);
	else if (s->idle_at_ms > now)
		text_time(t, "endAt", wall_ms() + (s->idle_at_ms - now));
}

void sandbox_put_tags(struct text *t, const struct sandbox *s)
{
	text_raw(t, "tags", s->tags, strlen(s->tags));
	if (s->tags_ms)
		text_time(t, "tagsLastUpdatedAt", s->tags_ms);
	else
		text_null(t, "tagsLastUpdatedAt");
}

static void put_access(struct text *t, const struct call *c, const struct sandbox *s)
{
	const struct bridge *b = bridge_of(c);
	char token[TOKEN_MAX], url[512];

	if (s->state != SANDBOX_KILLED && s->state != SANDBOX_KILLING) {
		token_make(b->keys, s->id, token);
		text_str(t, "token", token);
	}
	bridge_url(c, url, sizeof(url));
	text_str(t, "connectURL", url);
}

void sandbox_put(struct text *t, const struct call *c, const struct sandbox *s, bool full)
{
	const struct bridge_config *config = &bridge_of(c)->config;
	struct jsonr error;

	text_str(t, "sandboxID", s->id);
	text_str(t, "status", sandbox_state_str(s->state));
	text_str(t, "template", s->template);
	text_str(t, "templateID", s->template);
	text_str(t, "region", config->region);
	text_str(t, "workerID", config->worker);
	text_time(t, "startedAt", s->started_ms ? s->started_ms : s->created_ms);
	put_end(t, s);
	if (*s->alias)
		text_str(t, "alias", s->alias);
	sandbox_put_tags(t, s);
	text_raw(t, "metadata", s->metadata, strlen(s->metadata));
	text_int(t, "timeout", s->timeout_s);
	text_int(t, "cpuCount", s->cpus);
	text_int(t, "memoryMB", sandbox_memory_mb(s));
	text_int(t, "diskMB", s->disk_mb);
	text_bool(t, "networkEnabled", s->network);
	if (*s->note)
		text_str(t, "note", s->note);
	if (patch_error(s, &error))
		text_raw(t, "patchError", error.p, error.len);
	if (config->domain)
		text_str(t, "sandboxDomain", config->domain);
	if (*s->checkpoint)
		text_str(t, "fromCheckpointId", s->checkpoint);
	if (full)
		put_access(t, c, s);
}

void sandbox_reply(struct call *c, const struct sandbox *s, int status)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	sandbox_put(&t, c, s, true);
	text_close(&t, '}');
	text_reply(&t, c, status);
}

void sandbox_reply_store(struct call *c, int r)
{
	if (r == 0)
		call_empty(c, 204);
	else if (r == -EPERM && c->sandbox) /* another driver's */
		call_error(c, 409, "%s", c->sandbox->note);
	else
		call_error(c, r == -ENOSPC ? 507 : 500, "the change cannot be stored: %s",
			r == -ENOMEM ? "no memory" : store_why(bridge_of(c)->store));
}

/* ---- a call that waits ---- */

struct wait {
	struct sandbox_op op;
	struct call *call; /* NULL: it was answered */
	sandbox_wait_fn fn;
	bool kills;
};

static void on_end(struct call *c)
{
	struct wait *w = c->state;

	if (w->call && w->kills && w->op.sandbox)
		sandbox_kill(w->op.sandbox, NULL);
	sandbox_forget(&w->op);
	free(w);
}

static const struct call_ops wait_ops = {.on_end = on_end};

static void on_done(struct sandbox_op *op, const struct fault *fault)
{
	struct wait *w = op->owner;
	struct call *c = take_ptr(&w->call);

	if (!fault) {
		w->fn(c, op);
		return;
	}
	if (fault->code && strcmp(fault->code, "worker_unavailable") == 0) {
		call_header(c, "Retry-After", "2");
		call_error_with(
			c, fault->status, ",\"code\":\"worker_unavailable\"", "%s", fault->text);
	} else {
		call_fault(c, fault);
	}
}

static struct sandbox_op *wait_for(struct call *c, sandbox_wait_fn fn, bool kills)
{
	struct wait *w = xcalloc(1, sizeof(*w));

	*w = (struct wait){.call = c, .fn = fn, .kills = kills};
	w->op.fn = on_done;
	w->op.owner = w;
	c->ops = &wait_ops;
	c->state = w;
	return &w->op;
}

struct sandbox_op *sandbox_wait(struct call *c, sandbox_wait_fn fn)
{
	return wait_for(c, fn, false);
}

struct sandbox_op *sandbox_wait_or_kill(struct call *c, sandbox_wait_fn fn)
{
	return wait_for(c, fn, true);
}
