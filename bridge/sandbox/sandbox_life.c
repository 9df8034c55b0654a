/*
 * The procedures. Each is a chain of steps that reads from top to bottom, and has one way out,
 * life_finish(). A kill does not wait for the steps that can be given up: those that life_wait()
 * for something; before it begins the others come to their end, and look with life_overtaken()
 * whether to go on.
 */
#include "bridge/sandbox/sandbox_internal.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- what is wanted ---- */

void life_queue(struct sandbox *s, const struct sandbox_want *want)
{
	struct sandbox_want *w = xcalloc(1, sizeof(*w));

	*w = *want;
	list_append(&s->ops, &w->node);
	if (w->op) {
		w->op->sandbox = s;
		w->op->all = s->all;
		w->op->want = w;
		list_init(&w->op->node);
	}
	sandboxes_turn(s);
}

void life_want(struct sandbox *s, enum sandbox_goal goal, struct sandbox_op *op)
{
	life_queue(s, &(struct sandbox_want){.goal = goal, .op = op, .timeout_s = -1});
}

static void drop_want(struct sandbox_want *w)
{
	if (w && w->op)
		sandbox_forget(w->op);
	free(w);
}

void life_drop_wants(struct sandbox *s)
{
	drop_want(take_ptr(&s->want));
	list_for_each_safe (w, &s->ops, struct sandbox_want, node) {
		list_remove(&w->node);
		drop_want(w);
	}
}

struct sandbox_want *life_find(struct sandbox *s, enum sandbox_goal goal)
{
	list_for_each (w, &s->ops, struct sandbox_want, node) {
		if (w->goal == goal)
			return w;
	}
	return NULL;
}

/* ---- how a procedure goes on, and ends ---- */

bool life_fail(struct sandbox *s, int status, const char *fmt, ...)
{
	va_list ap;

	if (s->failed)
		return false;
	s->failed = true;
	s->fault = (struct fault){.status = status};
	va_start(ap, fmt);
	vsnprintf(s->fault.text, sizeof(s->fault.text), fmt, ap);
	va_end(ap);
	return false;
}

void life_finish(struct sandbox *s)
{
	struct sandbox_want *w = take_ptr(&s->want);
	bool rising = s->rising;
	struct fault fault = s->fault;

	ASSERT(s->busy && !s->wait);
	s->busy = s->rising = false;
	if (w && w->op) {
		w->op->bytes = s->bytes;
		sandboxes_answer(w->op, s->failed ? &fault : NULL);
	}
	free(w);
	if (s->state == SANDBOX_RUNNING) {
		use_up(s);
	} else if (s->failed && rising) {
		use_fail(s, &fault);
	} else if (!use_can_rouse(s)) {
		sandbox_fault_gone(s, &fault);
		use_fail(s, &fault);
	}
	sandboxes_turn(s);
}

void life_arrive(struct sandbox *s, enum sandbox_state state)
{
	sandbox_reach(s, state);
	life_finish(s);
}

bool life_overtaken(struct sandbox *s)
{
	if (!life_find(s, GOAL_KILL))
		return false;
	life_fail(s, 410, "sandbox %s has been stopped", s->id);
	life_finish(s);
	return true;
}

void life_on_patience(uv_timer_t *t)
{
	struct sandbox *s = t->data;

	if (s->wait)
		life_wait_over(s, "it took too long");
	else
		link_on_lost(s, "the agent does not answer");
}

void life_wait(struct sandbox *s, void (*fn)(struct sandbox *s, const char *why), uint64_t ms)
{
	ASSERT(!s->wait);
	s->wait = fn;
	uv_update_time(s->all->loop);
	uv_timer_start(&s->patience, life_on_patience, ms, 0);
}

void life_wait_over(struct sandbox *s, const char *why)
{
	void (*fn)(struct sandbox * s, const char *why) = s->wait;

	s->wait = NULL;
	uv_timer_stop(&s->patience);
	fn(s, why);
}

static void drained(struct sandbox *s, const char *why)
{
	void (*fn)(struct sandbox * s, const char *why) = s->drained;

	fn(s, why == s->lost_why ? why : NULL);
}

void life_drain(struct sandbox *s, void (*fn)(struct sandbox *s, const char *why))
{
	s->drained = fn;
	life_wait(s, drained, s->all->drain_ms);
	sandboxes_turn(s);
}

uint64_t life_up_ms(const struct sandbox *s)
{
	uint64_t ms = s->all->config.create_ms;

	/* Somebody else has started it: it is there, or it is not. */
	return s->box.driver->can & BOX_KEEPS_AGENT ? min_of(ms, SANDBOX_GUEST_MS) : ms;
}

bool life_must_be_there(struct sandbox *s)
{
	if (s->state != SANDBOX_KILLED && s->state != SANDBOX_ERROR)
		return true;
	sandbox_fault_gone(s, &s->fault);
	s->failed = true;
	return false;
}

/* ---- what is next ---- */

static void (*const begin[])(struct sandbox *s) = {
	[GOAL_CREATE] = up_create,
	[GOAL_KILL] = down_kill,
	[GOAL_IDLE] = down_idle,
	[GOAL_HIBERNATE] = down_hibernate,
	[GOAL_WAKE] = up_wake,
	[GOAL_REBOOT] = up_reboot,
	[GOAL_EXCLUSIVE] = busy_begin,
	[GOAL_SCALE] = scale_begin,
};

static struct sandbox_want *next_want(struct sandbox *s)
{
	struct sandbox_want *w = life_find(s, GOAL_KILL);

	if (list_empty(&s->ops))
		return NULL;
	if (!w || s->state == SANDBOX_KILLED)
		w = list_first(&s->ops, struct sandbox_want, node);
	list_remove(&w->node);
	return w;
}

/* A link or a box that is lost, a wait that is over. */
static void look(struct sandbox *s)
{
	bool lost = s->lost;

	if (s->wait && life_find(s, GOAL_KILL)) {
		life_wait_over(s, "the sandbox is being ended");
	} else if (s->wait && lost) {
		s->lost = false;
		life_wait_over(s, s->lost_why);
	} else if (s->wait == drained && !use_operations(s)) {
		life_wait_over(s, NULL);
	} else if (!s->busy) {
		s->lost = false;
		if (lost && s->state == SANDBOX_RUNNING) {
			s->busy = true;
			s->failed = false;
			settle_examine(s);
		}
	}
}

void life_turn(struct sandbox *s)
{
	look(s);
	while (!s->busy) {
		s->want = next_want(s);
		if (!s->want && (list_empty(&s->ready) || !use_can_rouse(s)))
			return;
		s->busy = true;
		s->failed = false;
		if (s->want)
			begin[s->want->goal](s);
		else
			up_begin(s);
	}
}

/* ---- asked for ---- */

void sandbox_kill(struct sandbox *s, struct sandbox_op *op)
{
	life_want(s, GOAL_KILL, op);
}

void sandbox_hibernate(struct sandbox *s, struct sandbox_op *op)
{
	life_want(s, GOAL_HIBERNATE, op);
}

void sandbox_wake(struct sandbox *s, int64_t timeout_s, struct sandbox_op *op)
{
	life_queue(s, &(struct sandbox_want){.goal = GOAL_WAKE, .op = op, .timeout_s = timeout_s});
}

void sandbox_reboot(struct sandbox *s, struct sandbox_op *op)
{
	life_want(s, GOAL_REBOOT, op);
}
