/*
 * The box is not what was wanted: it went, its agent is silent, an operation with it failed. What
 * it is says the driver, and that becomes the sandbox's state.
 */
#include "bridge/sandbox/sandbox_internal.h"

static void linked(struct sandbox *s, const char *why)
{
	if (!why)
		life_arrive(s, SANDBOX_RUNNING);
	else if (!life_overtaken(s))
		settle_unreachable(s, why);
}

void settle(struct sandbox *s, enum box_left left)
{
	if (left != BOX_LEFT_RUNNING && s->failed && !*s->note)
		sandbox_note(s, "%s", s->fault.text);
	switch (left) {
	case BOX_LEFT_RUNNING:
		if (!life_overtaken(s))
			link_open(s, life_up_ms(s), linked);
		break;
	case BOX_LEFT_STOPPED: life_arrive(s, SANDBOX_STOPPED); break;
	case BOX_LEFT_ASLEEP: life_arrive(s, SANDBOX_HIBERNATED); break;
	case BOX_LEFT_NOTHING:
		if (!*s->note)
			sandbox_note(s, "what it ran in is gone");
		life_arrive(s, SANDBOX_ERROR);
		break;
	}
}

void settle_failed(struct sandbox *s, const struct box_result *r)
{
	if (r->left == BOX_LEFT_NOTHING)
		settle_examine(s);
	else
		settle(s, r->left);
}

/* ---- an agent that is silent ---- */

static void unreachable_stopped(struct box *b, const struct box_result *r)
{
	life_arrive(b->owner, r->ok ? SANDBOX_STOPPED : SANDBOX_ERROR);
}

/* What cannot be used is not left running; where it is not ours, it is asked again at its next use.
 */
static void unreachable_closed(struct sandbox *s)
{
	if (sandbox_can(s, BOX_CAN_RESTART))
		box_stop(&s->box, unreachable_stopped);
	else if (sandbox_can(s, BOX_KEEPS_AGENT))
		life_arrive(s, SANDBOX_STOPPED);
	else
		life_arrive(s, SANDBOX_ERROR);
}

void settle_unreachable(struct sandbox *s, const char *why)
{
	life_fail(s, 502, "the agent cannot be reached: %.180s", why);
	sandbox_note(s, "the agent cannot be reached: %.180s", why);
	link_close(s, why, unreachable_closed);
}

/* ---- asking ---- */

static void examined(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;
	enum box_left left = r->ok ? r->left : BOX_LEFT_NOTHING;

	if (!r->ok)
		sandbox_note(s, "%s", r->fault.text);
	else if (left == BOX_LEFT_RUNNING)
		sandbox_note(s, "%s", "");
	else
		sandbox_note(s, "%s", s->failed ? s->fault.text : s->lost_why);
	if (left != BOX_LEFT_RUNNING && s->rising)
		life_fail(s, 502, "the sandbox does not run: %.180s", s->note);
	link_tell_all(s);
	settle(s, left);
}

static void examine(struct sandbox *s, const char *why)
{
	(void)why;
	if (life_overtaken(s))
		return;
	sandbox_leave_box(s);
	sandbox_init_box(s);
	box_adopt(&s->box, examined);
}

/* Soon: a driver's own answer may be what brought us here. */
static void examine_closed(struct sandbox *s)
{
	life_wait(s, examine, 0);
}

void settle_examine(struct sandbox *s)
{
	link_close(s, s->lost_why, examine_closed);
}
