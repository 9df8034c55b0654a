/* Patches of a checkpoint over HTTP. */
#include "bridge/api/bridge.h"
#include "bridge/api/checkpoints.h"
#include "bridge/api/dispatch.h"
#include "bridge/api/fields.h"
#include "bridge/api/route.h"
#include "bridge/api/sandbox_json.h"
#include "bridge/api/text.h"
#include "bridge/sandbox/patch.h"

static void put_patch(
	struct text *t, const char *name, const struct checkpoint *cp, const struct patch *p)
{
	text_open(t, name, '{');
	text_str(t, "id", p->id);
	text_str(t, "checkpointId", cp->id);
	text_int(t, "sequence", (int64_t)p->sequence);
	text_str(t, "script", p->script);
	text_str(t, "description", p->description);
	text_str(t, "strategy", "on_wake");
	text_time(t, "createdAt", p->created_ms);
	text_close(t, '}');
}

static void on_add(struct call *c)
{
	auto_free char *script = NULL, *description = NULL;
	struct checkpoint *cp = checkpoint_of(c, c->params[0]);
	struct patch *p;
	struct fault f;
	struct text t;

	if (!cp || !field_str(c, "script", PATCH_SCRIPT_MAX, &script) ||
		!field_str(c, "description", PATCH_DESCRIPTION_MAX, &description))
		return;
	if (!script || !*script) {
		call_error(c, 400, "script is required");
		return;
	}
	if (cp->state != CHECKPOINT_READY) {
		call_error(c, 400, "checkpoint is not ready (status: %s)",
			checkpoint_state_str(cp->state));
		return;
	}
	p = patch_add(cp, script, description ? description : "", &f);
	if (!p) {
		call_fault(c, &f);
		return;
	}
	text_init(&t);
	text_open(&t, NULL, '{');
	put_patch(&t, "patch", cp, p);
	text_close(&t, '}');
	text_reply(&t, c, 201);
}

static void on_list(struct call *c)
{
	const struct checkpoint *cp = checkpoint_of(c, c->params[0]);
	struct text t;

	if (!cp)
		return;
	text_init(&t);
	text_open(&t, NULL, '[');
	list_for_each (p, &cp->patches, struct patch, node)
		put_patch(&t, NULL, cp, p);
	text_close(&t, ']');
	text_reply(&t, c, 200);
}

static void on_drop(struct call *c)
{
	struct checkpoint *cp = checkpoint_of(c, c->params[0]);
	int r;

	if (!cp)
		return;
	r = patch_drop(cp, c->params[1]);
	if (r == 0)
		call_empty(c, 204);
	else if (r == -ENOENT)
		call_error(c, 404, "patch not found");
	else
		sandbox_reply_store(c, r);
}

const struct route routes_patches[] = {
	{CALL_POST, "/sandboxes/checkpoints/:cp/patches", R_JSON, on_add, "createPatch"},
	{CALL_GET, "/sandboxes/checkpoints/:cp/patches", 0, on_list, "listPatches"},
	{CALL_DELETE, "/sandboxes/checkpoints/:cp/patches/:patch", 0, on_drop, "deletePatch"},
	{0},
};
