/*
 * The link to a sandbox's agent. Each time it comes up the agent is told what is due and asked for
 * its sessions (sandbox_ask.c), and only then is it `linked`: uses are told.
 */
#include "bridge/sandbox/sandbox_internal.h"

#include <stdio.h>

#define ASK_MS 30000 /* for the first steps of a renewed link */

void link_on_lost(struct sandbox *s, const char *why)
{
	snprintf(s->lost_why, sizeof(s->lost_why), "%s", why);
	s->lost = true;
	s->linked = false;
	sandboxes_turn(s);
}

void link_tell_all(struct sandbox *s)
{
	s->env_due = s->limits_due = true;
	s->env_at = 0;
}

void link_tell_slept(struct sandbox *s, bool identity)
{
	s->resume_due = true;
	s->identity_due |= identity;
}

/* ---- the guest's user ---- */

static void ask_in_time(struct sandbox *s)
{
	if (!s->wait) /* else it has a limit of its own */
		uv_timer_start(&s->patience, life_on_patience, ASK_MS, 0);
	ask_next(s);
}

static void on_up(struct guest_user *u, bool same)
{
	struct sandbox *s = container_of(u, struct sandbox, link);

	/* The last link may have been another guest's: of the box before it was stopped. */
	(void)same;
	if (strcmp(s->instance, s->guest.instance) != 0) {
		roster_lost(&s->roster);
		link_tell_all(s);
	}
	snprintf(s->instance, sizeof(s->instance), "%s", s->guest.instance);
	s->env_at = 0;
	s->list_at[0] = '\0';
	s->listing = true;
	ask_in_time(s);
}

static void on_down(struct guest_user *u)
{
	struct sandbox *s = container_of(u, struct sandbox, link);

	s->linked = false;
	s->asked = 0;
	if (!s->wait)
		uv_timer_stop(&s->patience);
	if (s->resting) {
		s->resting = false;
		life_wait_over(s, NULL);
	}
}

static void on_lost(struct guest_user *u)
{
	struct sandbox *s = container_of(u, struct sandbox, link);

	link_on_lost(s, guest_why(&s->guest));
}

static const struct guest_user_ops user_ops = {
	.on_up = on_up, .on_down = on_down, .on_lost = on_lost};

void link_asked(struct sandbox *s, const char *why)
{
	if (why) {
		link_on_lost(s, why);
		return;
	}
	s->linked = true;
	if (s->all->config.on_listed)
		s->all->config.on_listed(s->all->config.owner, s);
	if (s->preparing) {
		ask_prepare(s, s->freezing);
		return;
	}
	if (s->linking) {
		s->linking = false;
		life_wait_over(s, NULL);
		return;
	}
	if (!s->wait)
		uv_timer_stop(&s->patience);
	if (!s->busy)
		use_up(s);
}

/* ---- opening, closing ---- */

static void on_linking_over(struct sandbox *s, const char *why)
{
	void (*fn)(struct sandbox * s, const char *why) = s->link_fn;

	s->linking = false;
	fn(s, why);
}

static void wait_for_link(
	struct sandbox *s, uint64_t ms, void (*fn)(struct sandbox *s, const char *why))
{
	s->link_fn = fn;
	s->linking = true;
	s->linked = s->lost = false;
	life_wait(s, on_linking_over, ms);
}

void link_open(struct sandbox *s, uint64_t ms, void (*fn)(struct sandbox *s, const char *why))
{
	struct guest_config config = {.target = s->box.target,
		.name = "bridge",
		.token = *s->box.token ? s->box.token : NULL,
		.first_ms = ms,
		.retry_ms = SANDBOX_LINK_MS};

	ASSERT(!s->has_guest);
	guest_init(&s->guest, s->all->loop, &config);
	s->has_guest = true;
	guest_add_user(&s->guest, &s->link, &user_ops);
	wait_for_link(s, ms, fn);
	guest_start(&s->guest);
}

static void on_guest_closed(void *owner)
{
	struct sandbox *s = owner;

	s->has_guest = false;
	if (s->closed)
		s->closed(s);
}

void link_close(struct sandbox *s, const char *why, void (*fn)(struct sandbox *s))
{
	uv_timer_stop(&s->patience);
	s->wait = NULL;
	s->linked = s->linking = s->resting = s->preparing = s->lost = false;
	s->closed = fn;
	if (!s->has_guest) {
		if (fn)
			fn(s);
		return;
	}
	ask_cancel(s);
	guest_remove_user(&s->link);
	guest_give_up(&s->guest, why, on_guest_closed, s);
}

/* ---- before and after a snapshot ---- */

static void on_prepare_over(struct sandbox *s, const char *why)
{
	s->preparing = false;
	ask_cancel(s);
	if (why && guest_is_up(&s->guest) && !s->linked)
		ask_in_time(s); /* it came in between the first steps of a renewed link */
	s->link_fn(s, why);
}

void link_prepare(struct sandbox *s, bool freeze, void (*fn)(struct sandbox *s, const char *why))
{
	s->link_fn = fn;
	s->preparing = true;
	s->freezing = freeze;
	life_wait(s, on_prepare_over, s->all->prepare_ms);
	if (s->linked) /* else it is being renewed */
		ask_prepare(s, freeze);
}

void link_rest(struct sandbox *s, void (*fn)(struct sandbox *s, const char *why))
{
	bool up = guest_is_up(&s->guest);

	life_wait(s, fn, s->all->prepare_ms);
	guest_pause(&s->guest, true);
	if (up)
		s->resting = true;
	else
		life_wait_over(s, NULL);
}

void link_wake(struct sandbox *s, uint64_t ms, void (*fn)(struct sandbox *s, const char *why))
{
	s->resting = false;
	if (s->linked && !s->resume_due) {
		fn(s, NULL);
		return;
	}
	wait_for_link(s, ms, fn);
	if (s->guest.paused)
		guest_pause(&s->guest, false);
	else if (guest_is_up(&s->guest) && s->asked == 0)
		ask_next(s);
}
