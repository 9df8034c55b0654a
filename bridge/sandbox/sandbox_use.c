/*
 * Uses, and the idle timer that they hold. The timer is not stopped and started for every use: it
 * is left to expire, and then asks for the deadline that holds now.
 */
#include "bridge/sandbox/sandbox_internal.h"

#define TIMEOUT_MAX_S (10LL * 366 * 24 * 3600) /* beyond, it might as well be never */

/* ---- the idle timer ---- */

static void start_timer(struct sandbox *s)
{
	uint64_t now = now_ms();

	uv_update_time(s->all->loop);
	uv_timer_start(&s->idle, use_on_idle, s->idle_at_ms > now ? s->idle_at_ms - now : 0, 0);
}

void use_on_idle(uv_timer_t *t)
{
	struct sandbox *s = t->data;

	if (s->idle_at_ms == 0)
		return;
	if (now_ms() < s->idle_at_ms)
		start_timer(s);
	else
		life_want(s, GOAL_IDLE, NULL);
}

static bool is_held(const struct sandbox *s)
{
	return s->state != SANDBOX_RUNNING || !list_empty(&s->uses) || !list_empty(&s->ready);
}

void use_arm(struct sandbox *s)
{
	s->idle_at_ms = 0;
	if (s->timeout_s <= 0 || is_held(s) || s->all->closing)
		return;
	s->idle_at_ms = now_ms() + (uint64_t)min_of(s->timeout_s, TIMEOUT_MAX_S) * 1000;
	if (!uv_is_active((uv_handle_t *)&s->idle) ||
		s->idle_at_ms < now_ms() + uv_timer_get_due_in(&s->idle))
		start_timer(s);
}

bool use_idled_out(const struct sandbox *s)
{
	return !is_held(s) && s->timeout_s > 0 && s->idle_at_ms > 0 && now_ms() >= s->idle_at_ms;
}

/* ---- uses ---- */

static void hold(struct sandbox_use *u)
{
	struct sandbox *s = u->sandbox;

	list_remove(&u->node);
	list_append(&s->uses, &u->node);
	s->idle_at_ms = 0;
	u->waiting = false;
}

static void refuse(struct sandbox_use *u, const struct fault *fault)
{
	list_remove(&u->node);
	u->sandbox = NULL;
	u->waiting = false;
	u->fn(u, fault);
}

/* Is there nothing to wait for? After a restart there is, whatever the store says. */
static bool is_gone(const struct sandbox *s)
{
	if (s->state == SANDBOX_KILLING || s->state == SANDBOX_KILLED || s->all->closing)
		return true;
	return (s->state == SANDBOX_ERROR || s->state == SANDBOX_STOPPED) && !s->busy &&
	       !use_can_rouse(s);
}

/* A link that has just broken is linked until its users are told. */
static bool is_up(const struct sandbox *s)
{
	return s->state == SANDBOX_RUNNING && s->linked && guest_is_up(&s->guest);
}

void sandbox_use(struct sandbox *s, struct sandbox_use *u, sandbox_use_fn fn, void *owner)
{
	struct fault f;

	ASSERT(!u->sandbox);
	*u = (struct sandbox_use){
		.sandbox = s, .waiting = true, .lasting = u->lasting, .fn = fn, .owner = owner};
	list_init(&u->node);
	if (is_gone(s)) {
		sandbox_fault_gone(s, &f);
		refuse(u, &f);
	} else if (is_up(s)) {
		hold(u);
		fn(u, NULL);
	} else {
		list_append(&s->ready, &u->node);
		s->idle_at_ms = 0;
		sandboxes_turn(s);
	}
}

void sandbox_unuse(struct sandbox_use *u)
{
	struct sandbox *s = u->sandbox;

	if (!s)
		return;
	list_remove(&u->node);
	u->sandbox = NULL;
	u->waiting = false;
	if (s->wait)
		sandboxes_turn(s); /* a hibernation may wait for this */
	else
		use_arm(s);
}

struct guest *sandbox_guest(struct sandbox *s)
{
	return &s->guest;
}

bool use_operations(const struct sandbox *s)
{
	list_for_each (u, &s->uses, struct sandbox_use, node) {
		if (!u->lasting)
			return true;
	}
	return false;
}

void use_up(struct sandbox *s)
{
	while (is_up(s) && !list_empty(&s->ready)) {
		struct sandbox_use *u = list_first(&s->ready, struct sandbox_use, node);

		hold(u);
		u->fn(u, NULL);
	}
	use_arm(s);
}

void use_fail(struct sandbox *s, const struct fault *fault)
{
	struct list failed;

	list_init(&failed); /* those that come meanwhile are of another time */
	while (!list_empty(&s->ready)) {
		struct list *first = s->ready.next;

		list_remove(first);
		list_append(&failed, first);
	}
	while (!list_empty(&failed))
		refuse(list_first(&failed, struct sandbox_use, node), fault);
}

/* ---- bringing it up ---- */

/* Of one that is stopped, or will be. */
static bool can_start(const struct sandbox *s)
{
	return sandbox_can(s, BOX_CAN_RESTART | BOX_KEEPS_AGENT);
}

bool use_can_rouse(const struct sandbox *s)
{
	return s->state == SANDBOX_HIBERNATED || (s->state == SANDBOX_STOPPED && can_start(s));
}

/* It goes down, and will come up again when somebody wants that. */
static bool is_going_down(const struct sandbox *s)
{
	return s->state == SANDBOX_HIBERNATING || (s->state == SANDBOX_STOPPING && can_start(s));
}

bool sandbox_sleeps(const struct sandbox *s)
{
	return s->state == SANDBOX_WAKING || s->state == SANDBOX_STARTING || is_going_down(s) ||
	       use_can_rouse(s);
}

void sandbox_rouse(struct sandbox *s)
{
	if (is_going_down(s) || (use_can_rouse(s) && !s->busy)) {
		list_for_each (w, &s->ops, struct sandbox_want, node) {
			if (w->goal == GOAL_WAKE)
				return;
		}
		life_want(s, GOAL_WAKE, NULL);
	}
}
