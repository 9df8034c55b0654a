/*
 * Guests that somebody else's control plane has started are told to the bridge here, and become
 * sandboxes like others; what it starts itself needs none of this. Only from this machine: an
 * address is a path on it.
 */
#include <stdio.h>

#include "bridge/api/dispatch.h"
#include "bridge/api/fields.h"
#include "bridge/api/text.h"

#define ADDRESS_MAX (TARGET_PATH_MAX + 32)

/* A call that waits for a sandbox. */
struct wait {
	struct sandbox_op op;
	struct call *call;
};

static void on_end(struct call *c)
{
	struct wait *w = c->state;

	if (w->call)
		sandbox_forget(&w->op);
	free(w);
}

static const struct call_ops wait_ops = {.on_end = on_end};

static struct sandbox_op *wait_for(struct call *c, sandbox_op_fn fn)
{
	struct wait *w = xcalloc(1, sizeof(*w));

	*w = (struct wait){.call = c, .op = {.fn = fn, .owner = w}};
	c->ops = &wait_ops;
	c->state = w;
	return &w->op;
}

/* The call is answered now, the operation is over. NULL: it was a fault and is answered. */
static struct call *answered(struct sandbox_op *op, const struct fault *fault)
{
	struct wait *w = op->owner;
	struct call *c = take_ptr(&w->call);

	if (fault)
		call_fault(c, fault);
	return fault ? NULL : c;
}

/* ---- the routes ---- */

static void put_guest(struct text *t, const struct sandbox *s)
{
	text_open(t, NULL, '{');
	text_str(t, "sandboxID", s->id);
	text_str(t, "id", s->alias);
	text_str(t, "address", s->address);
	text_str(t, "status", sandbox_state_str(s->state));
	text_close(t, '}');
}

static void on_created(struct sandbox_op *op, const struct fault *fault)
{
	struct call *c = answered(op, fault);
	struct text t;

	if (!c)
		return;
	text_init(&t);
	put_guest(&t, op->sandbox);
	text_reply(&t, c, 201);
}

static void on_add(struct call *c)
{
	auto_free char *id = NULL, *address = NULL, *token = NULL;
	struct sandboxes *all = bridge_of(c)->sandboxes;
	const struct sandbox *known;
	struct target target;
	int64_t timeout = 0;
	const char *why;

	if (!field_str(c, "id", BOX_ID_MAX, &id) ||
		!field_str(c, "address", ADDRESS_MAX, &address) ||
		!field_str(c, "token", BOX_TOKEN_MAX, &token) ||
		!field_int(c, "timeout", 0, INT32_MAX, &timeout))
		return;
	if (!address || target_parse(address, &target, &why) < 0) {
		call_error(c, 400, "address must be " TARGET_USAGE);
		return;
	}
	if (id && !bridge_alias_valid(id)) {
		call_error(c, 400, "id must be " BRIDGE_ALIAS_RULE);
		return;
	}
	known = id ? sandboxes_find(all, id) : NULL;
	if (known && known->state != SANDBOX_KILLED) {
		call_error(c, 409, "there is a sandbox %s already", id);
		return;
	}
	sandbox_create(all,
		&(struct sandbox_spec){
			.template = "external",
			.alias = id,
			.timeout_s = timeout,
			.network = true,
			.address = address,
			.token = token,
		},
		wait_for(c, on_created));
}

static bool is_guest(const struct sandbox *s)
{
	return s->address && s->address[0] && s->state != SANDBOX_KILLED;
}

static void on_list(struct call *c)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '[');
	list_for_each (s, sandboxes_list(bridge_of(c)->sandboxes), struct sandbox, node) {
		if (is_guest(s))
			put_guest(&t, s);
	}
	text_close(&t, ']');
	text_reply(&t, c, 200);
}

static void on_removed(struct sandbox_op *op, const struct fault *fault)
{
	struct call *c = answered(op, fault);

	if (c)
		call_empty(c, 204);
}

/* The guest itself goes on: it is not ours. */
static void on_remove(struct call *c)
{
	if (is_guest(c->sandbox))
		sandbox_kill(c->sandbox, wait_for(c, on_removed));
	else
		call_error(c, 404, "%s is no guest that was registered", c->params[0]);
}

const struct route routes_admin[] = {
	{CALL_POST, "/admin/guests", R_ADMIN | R_JSON, on_add, "addGuest"},
	{CALL_GET, "/admin/guests", R_ADMIN, on_list, "listGuests"},
	{CALL_DELETE, "/admin/guests/:id", R_ADMIN | R_SANDBOX, on_remove, "removeGuest"},
	{0},
};
