/*
 * How a sandbox goes down: killed, or put aside because nobody uses it or somebody asked for it.
 */
#include "bridge/sandbox/sandbox_internal.h"

#define DESTROY_TRIES 5
#define DESTROY_MS    1000 /* between them */

/* ---- nothing may be left ---- */

static void destroy_again(struct sandbox *s, const char *why);

static void destroyed(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	if (r->ok || ++s->destroy_tries >= DESTROY_TRIES)
		s->destroyed(b, r);
	else
		life_wait(s, destroy_again, DESTROY_MS);
}

/* Whether the time is over or somebody cannot wait: a try more cannot hurt. */
static void destroy_again(struct sandbox *s, const char *why)
{
	(void)why;
	box_destroy(&s->box, destroyed);
}

void down_destroy(struct sandbox *s, box_fn fn)
{
	s->destroyed = fn;
	s->destroy_tries = 0;
	box_destroy(&s->box, destroyed);
}

/* ---- kill ---- */

static void kill_destroyed(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	if (!r->ok) {
		life_fail(s, 500, "the sandbox cannot be taken apart: %.180s", r->fault.text);
		sandbox_note(s, "%s", s->fault.text);
		life_arrive(s, SANDBOX_ERROR);
		return;
	}
	s->ended_ms = wall_ms();
	roster_fini(&s->roster);
	life_arrive(s, SANDBOX_KILLED);
}

static void kill_closed(struct sandbox *s)
{
	down_destroy(s, kill_destroyed);
}

void down_kill(struct sandbox *s)
{
	struct fault gone;

	if (s->foreign && s->state != SANDBOX_KILLED)
		life_fail(s, 409, "%s", s->note);
	if (s->failed || s->state == SANDBOX_KILLED) {
		life_finish(s);
		return;
	}
	/* Also if that cannot be stored: this is what makes room on a full disk. Half a box is
	 * none, so a restart would find the sandbox in error, and it can be killed again. */
	sandbox_reach(s, SANDBOX_KILLING);
	sandbox_fault_gone(s, &gone);
	use_fail(s, &gone);
	link_close(s, "the sandbox was ended", kill_closed);
}

/* ---- idling ---- */

void down_stopped(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	if (!r->ok)
		life_fail(s, 500, "the sandbox cannot be stopped: %.180s", r->fault.text);
	if (r->ok)
		settle(s, BOX_LEFT_STOPPED);
	else
		settle_failed(s, r);
}

static void stop_closed(struct sandbox *s)
{
	box_stop(&s->box, down_stopped);
}

static void begin_hibernating(struct sandbox *s);

/* A guest that somebody else keeps has no idle timer of ours. */
void down_idle(struct sandbox *s)
{
	if (use_idled_out(s) && !sandbox_can(s, BOX_KEEPS_AGENT)) {
		if (sandbox_can(s, BOX_CAN_HIBERNATE)) {
			begin_hibernating(s);
			return;
		}
		if (!sandbox_can(s, BOX_CAN_RESTART)) {
			down_kill(s);
			return;
		}
		if (sandbox_set_state(s, SANDBOX_STOPPING)) {
			link_close(s, "the sandbox was stopped: nobody used it", stop_closed);
			return;
		}
	}
	life_finish(s);
}

/* ---- hibernate ---- */

static void hibernated(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	if (r->ok) {
		s->bytes = r->bytes;
		sandbox_note(s, "%s", "");
		life_arrive(s, SANDBOX_HIBERNATED);
		return;
	}
	s->fault = r->fault;
	s->failed = true;
	link_tell_slept(s, false);
	settle_failed(s, r);
}

static void hibernate_closed(struct sandbox *s)
{
	box_hibernate(&s->box, hibernated);
}

static void hibernate_prepared(struct sandbox *s, const char *why)
{
	if (!why) {
		link_close(s, "the sandbox was hibernated", hibernate_closed);
	} else if (!life_overtaken(s)) {
		life_fail(s, 502, "the sandbox did not get ready to hibernate: %s", why);
		if (why == s->lost_why)
			settle_examine(s);
		else
			life_arrive(s, SANDBOX_RUNNING);
	}
}

static void hibernate_drained(struct sandbox *s, const char *why)
{
	if (why)
		hibernate_prepared(s, why);
	else if (!life_overtaken(s))
		link_prepare(s, false, hibernate_prepared);
}

static void begin_hibernating(struct sandbox *s)
{
	if (sandbox_set_state(s, SANDBOX_HIBERNATING))
		life_drain(s, hibernate_drained);
	else
		life_finish(s);
}

void down_hibernate(struct sandbox *s)
{
	if (s->state == SANDBOX_RUNNING && sandbox_can(s, BOX_CAN_HIBERNATE)) {
		begin_hibernating(s);
		return;
	}
	if (s->state == SANDBOX_RUNNING)
		life_fail(s, 501, "the driver %s cannot hibernate sandboxes", s->box.driver->name);
	else if (s->state != SANDBOX_HIBERNATED)
		life_fail(s, 400, "sandbox is not running");
	life_finish(s);
}
