/* Checkpoints of a sandbox over HTTP. Forking one is in checkpoint_fork.c. */
#include "bridge/api/checkpoints.h"

#include "bridge/api/bridge.h"
#include "bridge/api/dispatch.h"
#include "bridge/api/fields.h"
#include "bridge/api/route.h"
#include "bridge/api/sandbox_json.h"

/* ---- as JSON ---- */

/* What it was made with, but for what is ours, and its environment, which may have secrets. */
static void put_config(struct text *t, const struct checkpoint *cp)
{
	struct jsonr config, name, value;
	struct jsonr_walk w;
	char word[64];

	text_open(t, "sandboxConfig", '{');
	if (jsonr_parse(cp->config, strlen(cp->config), &config) == 0 && jsonr_begin(&w, config)) {
		while (jsonr_next(&w, &name, &value)) {
			if (name.len >= sizeof(word))
				continue;
			memcpy(word, name.p, name.len);
			word[name.len] = '\0';
			if (strcmp(word, "envs") != 0 && strcmp(word, "patchSequence") != 0)
				text_raw(t, word, value.p, value.len);
		}
	}
	text_close(t, '}');
}

static void put_checkpoint(struct text *t, const struct checkpoint *cp)
{
	char key[128];

	text_open(t, NULL, '{');
	text_str(t, "id", cp->id);
	text_str(t, "sandboxId", cp->sandbox);
	text_str(t, "orgId", "");
	text_str(t, "name", cp->name);
	put_config(t, cp);
	text_str(t, "kind", cp->full ? "full" : "disk_only");
	text_str(t, "status", checkpoint_state_str(cp->state));
	text_int(t, "sizeBytes", (int64_t)cp->bytes);
	text_bool(t, "isPublic", false);
	text_time(t, "createdAt", cp->created_ms);
	if (cp->state == CHECKPOINT_READY) {
		snprintf(key, sizeof(key), "checkpoints/%s/rootfs", cp->id);
		text_str(t, "rootfsS3Key", key);
		snprintf(key, sizeof(key), "checkpoints/%s/workspace", cp->id);
		text_str(t, "workspaceS3Key", key);
	}
	if (*cp->error)
		text_str(t, "errorMsg", cp->error);
	text_close(t, '}');
}

/* ---- which one ---- */

struct checkpoint *checkpoint_of(struct call *c, const char *id)
{
	struct checkpoints *cs = bridge_of(c)->checkpoints;
	struct checkpoint *cp = NULL;

	if (!checkpoint_id_valid(id)) {
		call_error(c, 400, "invalid checkpoint ID");
		return NULL;
	}
	cp = checkpoints_find(cs, id);
	if (!cp)
		call_error(c, 404, "checkpoint not found");
	return cp;
}

static struct checkpoint *own(struct call *c)
{
	struct checkpoint *cp = checkpoint_of(c, c->params[1]);

	if (!cp || strcmp(cp->sandbox, c->sandbox->id) == 0)
		return cp;
	call_error(c, 404, "checkpoint not found");
	return NULL;
}

bool checkpoint_can(struct call *c)
{
	if (checkpoints_supported(bridge_of(c)->checkpoints))
		return true;
	call_error_with(c, 501, ",\"code\":\"not_implemented\"",
		"the driver %s cannot keep checkpoints", bridge_of(c)->config.driver);
	return false;
}

/* ---- making ---- */

static bool read_policy(struct call *c, struct checkpoint_spec *spec)
{
	struct jsonr policy = {0}, mode, max;
	uint64_t n = 0;

	if (!field_raw(c, "retentionPolicy", '{', &policy))
		return false;
	if (policy.len == 0)
		return true;
	if (jsonr_member(policy, "mode", &mode) && !jsonr_is(mode, 'n')) {
		spec->drop_oldest = jsonr_is_str(mode, "delete_oldest");
		if (!spec->drop_oldest && !jsonr_is_str(mode, "none")) {
			call_error(c, 400, "retentionPolicy.mode must be none or delete_oldest");
			return false;
		}
	}
	if (jsonr_member(policy, "maxCount", &max) && !jsonr_is(max, 'n') &&
		(jsonr_u64(max, 1000000, &n) < 0 || n == 0)) {
		call_error(c, 400, "retentionPolicy.maxCount must be a number from 1 on");
		return false;
	}
	spec->max = (unsigned)n;
	return true;
}

static bool read_spec(struct call *c, char **name, char **kind, struct checkpoint_spec *spec)
{
	if (!field_str(c, "name", CHECKPOINT_NAME_MAX, name) || !field_str(c, "kind", 32, kind) ||
		!read_policy(c, spec))
		return false;
	if (!*name || !**name) {
		call_error(c, 400, "name is required");
		return false;
	}
	spec->name = *name;
	spec->full = !*kind || !**kind || strcmp(*kind, "full") == 0;
	if (!spec->full && strcmp(*kind, "disk_only") != 0) {
		call_error(c, 400, "kind must be full or disk_only");
		return false;
	}
	return true;
}

static void on_create(struct call *c)
{
	auto_free char *name = NULL, *kind = NULL;
	struct checkpoint_spec spec = {0};
	struct checkpoint *cp;
	struct fault f;
	struct text t;

	if (!checkpoint_can(c) || !read_spec(c, &name, &kind, &spec))
		return;
	if (c->sandbox->state != SANDBOX_RUNNING && c->sandbox->state != SANDBOX_BUSY) {
		call_error(c, 400, "sandbox is not running");
		return;
	}
	cp = checkpoint_create(bridge_of(c)->checkpoints, c->sandbox, &spec, &f);
	if (!cp) {
		call_fault(c, &f);
		return;
	}
	text_init(&t);
	put_checkpoint(&t, cp);
	text_reply(&t, c, 201);
}

/* ---- looking, dropping ---- */

static void on_list(struct call *c)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '[');
	list_for_each (cp, &bridge_of(c)->checkpoints->list, struct checkpoint, node) {
		if (cp->state != CHECKPOINT_GOING && strcmp(cp->sandbox, c->sandbox->id) == 0)
			put_checkpoint(&t, cp);
	}
	text_close(&t, ']');
	text_reply(&t, c, 200);
}

static void on_drop(struct call *c)
{
	struct checkpoint *cp = own(c);
	struct fault f;

	if (!cp)
		return;
	if (checkpoint_drop(cp, &f))
		call_empty(c, 204);
	else
		call_fault(c, &f);
}

/* ---- going back ---- */

static void restored(struct call *c, struct sandbox_op *op)
{
	struct text t;

	(void)op;
	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "sandboxId", c->sandbox->id);
	text_str(&t, "checkpointId", c->params[1]);
	text_str(&t, "status", "restoring");
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

static void on_restore(struct call *c)
{
	struct checkpoint *cp = own(c);

	if (!cp)
		return;
	if (cp->state != CHECKPOINT_READY) {
		call_error(c, 400, "checkpoint is not ready (status: %s)",
			checkpoint_state_str(cp->state));
		return;
	}
	/* It waits for its sandbox itself: what holds that would keep it waiting. */
	c->use->lasting = true;
	checkpoint_restore(cp, c->sandbox, sandbox_wait(c, restored));
}

#define OF_SANDBOX (R_SANDBOX | R_TOKEN)

const struct route routes_checkpoints[] = {
	{CALL_POST, "/sandboxes/:id/checkpoints", OF_SANDBOX | R_JSON, on_create,
		"createCheckpoint"},
	{CALL_GET, "/sandboxes/:id/checkpoints", OF_SANDBOX, on_list, "listCheckpoints"},
	{CALL_DELETE, "/sandboxes/:id/checkpoints/:cp", OF_SANDBOX, on_drop, "deleteCheckpoint"},
	{CALL_POST, "/sandboxes/:id/checkpoints/:cp/restore", OF_SANDBOX | R_DATA, on_restore,
		"restoreCheckpoint"},
	{CALL_POST, "/sandboxes/from-checkpoint/:cp", R_JSON, checkpoint_on_fork,
		"createFromCheckpoint"},
	{0},
};
