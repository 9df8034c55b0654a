/*
 * How much of its memory a sandbox has. It runs on meanwhile: uses do not wait, other procedures
 * do. How much it is knows the driver, which keeps that; the row of the store says it until the
 * driver is asked.
 */
#include "bridge/sandbox/sandbox_internal.h"

static void scaled(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	if (!r->ok) {
		s->failed = true;
		s->fault = r->fault;
		if (r->fault.status == 409)
			s->fault.code = "oom_floor";
	}
	if (r->ok || r->left == BOX_LEFT_RUNNING) {
		life_arrive(s, SANDBOX_RUNNING);
	} else {
		link_on_lost(s, r->fault.text); /* nobody has closed it before */
		settle_examine(s);
	}
}

void scale_begin(struct sandbox *s)
{
	if (life_must_be_there(s) && s->state != SANDBOX_RUNNING)
		life_fail(s, 400, "sandbox is not running");
	if (s->failed)
		life_finish(s);
	else
		box_scale(&s->box, s->want->memory_mb, scaled);
}

void sandbox_scale(struct sandbox *s, unsigned memory_mb, struct sandbox_op *op)
{
	ASSERT(sandbox_can(s, BOX_CAN_SCALE) && memory_mb <= s->memory_mb);
	life_queue(s, &(struct sandbox_want){.goal = GOAL_SCALE, .op = op, .memory_mb = memory_mb});
}

bool sandbox_can_scale(const struct sandbox *s)
{
	return sandbox_can(s, BOX_CAN_SCALE);
}

unsigned sandbox_memory_mb(const struct sandbox *s)
{
	return s->box.scaled_mb ? s->box.scaled_mb : s->memory_mb;
}

/* ---- the lock ---- */

bool sandbox_scaling_locked(const struct sandbox *s)
{
	struct jsonr v;

	return sandbox_more(s, "scaling_locked", &v);
}

static int set_lock(struct sandbox *s, bool locked)
{
	return sandbox_set_more(s, "scaling_locked", locked ? "true" : NULL);
}

int sandbox_lock_scaling(struct sandbox *s, bool locked)
{
	bool was = sandbox_scaling_locked(s);
	int r = set_lock(s, locked);

	if (r == 0)
		r = sandbox_save(s);
	if (r < 0)
		set_lock(s, was);
	return r;
}
