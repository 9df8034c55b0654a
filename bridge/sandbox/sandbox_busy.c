/*
 * Exclusive operations: see sandbox_internal.h.
 */
#include "bridge/sandbox/sandbox_internal.h"

static void answered(struct box *b, const struct box_result *r);

static void run(struct sandbox *s)
{
	s->want->exclusive->run(s, s->want->owner, answered);
}

/* ---- afterwards ---- */

static void give_up(struct sandbox *s)
{
	const struct sandbox_want *w = s->want;

	if (w->exclusive->done)
		w->exclusive->done(s, w->owner, NULL, &s->fault);
}

static void linked(struct sandbox *s, const char *why)
{
	if (!why)
		life_arrive(s, SANDBOX_RUNNING);
	else if (!life_overtaken(s))
		settle_unreachable(s, why);
}

static void settle_left(struct sandbox *s)
{
	if (s->left == BOX_LEFT_NOTHING)
		settle_examine(s);
	else
		settle(s, s->left);
}

static void answered(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;
	const struct sandbox_want *w = s->want;
	bool runs = r->ok || r->left == BOX_LEFT_RUNNING;

	s->bytes = r->bytes;
	if (!r->ok && !s->failed) {
		s->failed = true;
		s->fault = r->fault;
	}
	if (w->exclusive->done)
		w->exclusive->done(s, w->owner, r, r->ok ? NULL : &s->fault);
	if (!w->exclusive->keep)
		link_tell_all(s);
	link_tell_slept(s, !w->exclusive->keep); /* it may have booted */
	if (life_overtaken(s))
		return;
	s->left = runs ? BOX_LEFT_RUNNING : r->left;
	if (runs && s->has_guest)
		link_wake(s, life_up_ms(s), linked);
	else
		link_close(s, "the sandbox ended", settle_left);
}

/* ---- before ---- */

static void resting(struct sandbox *s, const char *why)
{
	if (!why) {
		run(s);
		return;
	}
	life_fail(s, 502, "the sandbox did not get ready: %s", why);
	give_up(s);
	if (s->want->exclusive->freeze)
		link_tell_slept(s, false);
	if (life_overtaken(s))
		return;
	if (why == s->lost_why)
		settle_examine(s);
	else
		link_wake(s, life_up_ms(s), linked);
}

static void prepared(struct sandbox *s, const char *why)
{
	if (!why)
		link_rest(s, resting);
	else
		resting(s, why);
}

static void drained(struct sandbox *s, const char *why)
{
	const struct sandbox_exclusive *x = s->want->exclusive;

	if (why || life_find(s, GOAL_KILL))
		resting(s, why ? why : "it is being ended");
	else if (x->keep)
		link_prepare(s, x->freeze, prepared);
	else
		link_close(s, "the sandbox goes back to a checkpoint", run);
}

void busy_begin(struct sandbox *s)
{
	if (life_must_be_there(s) && s->state != SANDBOX_RUNNING)
		life_fail(s, 400, "sandbox is not running");
	if (!s->failed && sandbox_set_state(s, SANDBOX_BUSY)) {
		life_drain(s, drained);
		return;
	}
	give_up(s);
	life_finish(s);
}

void sandbox_exclusive(
	struct sandbox *s, const struct sandbox_exclusive *x, void *owner, struct sandbox_op *op)
{
	life_queue(s, &(struct sandbox_want){
			      .goal = GOAL_EXCLUSIVE, .op = op, .exclusive = x, .owner = owner});
}
