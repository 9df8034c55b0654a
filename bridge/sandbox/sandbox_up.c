/*
 * How a sandbox comes up: created, woken, started again.
 */
#include "bridge/sandbox/sandbox_internal.h"

/* ---- create ---- */

static void undo_destroyed(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	/* A row that stays says "creating": what is left is destroyed after a restart. */
	if (r->ok)
		store_drop_sandbox(s->all->store, s->id);
	sandbox_vanish(s);
	life_finish(s);
}

static void undo_closed(struct sandbox *s)
{
	down_destroy(s, undo_destroyed);
}

static void create_linked(struct sandbox *s, const char *why)
{
	if (life_find(s, GOAL_KILL)) {
		why = "";
		life_fail(s, 410, "sandbox %s has been stopped", s->id);
	} else if (why) {
		life_fail(s, 503, "the sandbox did not come up: %s", why);
		s->fault.code = "worker_unavailable";
	} else {
		s->started_ms = wall_ms();
	}
	if (!why && sandbox_set_state(s, SANDBOX_RUNNING))
		life_finish(s);
	else
		link_close(s, "the sandbox was not created", undo_closed);
}

static void create_started(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	if (!r->ok || life_find(s, GOAL_KILL)) {
		life_fail(s, 410, "sandbox %s has been stopped", s->id);
		if (!r->ok)
			s->fault = r->fault;
		undo_closed(s);
		return;
	}
	sandbox_note(s, "%s", r->cold ? r->note : "");
	link_tell_all(s);
	if (sandbox_can(s, BOX_CAN_HIBERNATE))
		link_tell_slept(s, true);
	link_open(s, life_up_ms(s), create_linked);
}

void up_create(struct sandbox *s)
{
	struct box_spec spec = {.template = s->template,
		.cpus = s->cpus,
		.memory_mb = s->memory_mb,
		.disk_mb = s->disk_mb,
		.network = s->network,
		.checkpoint = *s->checkpoint ? s->checkpoint : NULL,
		.address = *s->address ? s->address : NULL,
		.token = *s->token ? s->token : NULL};

	if (!life_must_be_there(s)) { /* it was killed before it began */
		life_finish(s);
		return;
	}
	s->rising = true;
	if (sandbox_set_state(s, SANDBOX_CREATING)) {
		box_start(&s->box, &spec, create_started);
		return;
	}
	sandbox_vanish(s);
	life_finish(s);
}

/* ---- up ---- */

static void up_linked(struct sandbox *s, const char *why)
{
	if (!why)
		life_arrive(s, SANDBOX_RUNNING);
	else if (!life_overtaken(s))
		settle_unreachable(s, why);
}

static void up_done(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	if (!r->ok) {
		life_fail(s, 502, "the sandbox cannot be brought up: %.180s", r->fault.text);
		settle_failed(s, r);
		return;
	}
	if (life_overtaken(s))
		return;
	sandbox_note(s, "%s", r->cold ? r->note : "");
	if (r->cold || s->state == SANDBOX_STARTING)
		link_tell_all(s);
	if (sandbox_can(s, BOX_CAN_HIBERNATE))
		link_tell_slept(s, r->cold || s->state == SANDBOX_STARTING);
	link_open(s, life_up_ms(s), up_linked);
}

void up_begin(struct sandbox *s)
{
	bool asleep = s->state == SANDBOX_HIBERNATED;

	s->rising = true;
	if (!sandbox_set_state(s, asleep ? SANDBOX_WAKING : SANDBOX_STARTING))
		life_finish(s);
	else if (asleep)
		box_wake(&s->box, up_done);
	else if (sandbox_can(s, BOX_KEEPS_AGENT))
		settle_examine(s);
	else
		box_restart(&s->box, up_done);
}

void up_wake(struct sandbox *s)
{
	int64_t was = s->timeout_s, timeout_s = s->want->timeout_s;
	int r = 0;

	if (!life_must_be_there(s)) {
		life_finish(s);
		return;
	}
	if (use_can_rouse(s)) {
		s->timeout_s = timeout_s >= 0 ? timeout_s : was;
		up_begin(s);
		if (s->failed) /* not stored */
			s->timeout_s = was;
		return;
	}
	if (s->state != SANDBOX_RUNNING)
		life_fail(
			s, 409, "the driver %s cannot start a sandbox again", s->box.driver->name);
	else if (timeout_s >= 0)
		r = sandbox_set_timeout(s, timeout_s);
	if (r < 0)
		sandbox_not_stored(s, r);
	life_finish(s);
}

/* ---- reboot ---- */

static void reboot_stopped(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	if (!r->ok)
		down_stopped(b, r);
	else if (!life_overtaken(s))
		box_restart(b, up_done);
}

static void reboot_closed(struct sandbox *s)
{
	box_stop(&s->box, reboot_stopped);
}

void up_reboot(struct sandbox *s)
{
	if (life_must_be_there(s) && !sandbox_can(s, BOX_CAN_RESTART))
		life_fail(s, 501, "the driver %s cannot restart sandboxes", s->box.driver->name);
	if (!s->failed && s->state == SANDBOX_STOPPED) {
		up_begin(s);
		return;
	}
	if (!s->failed && s->state != SANDBOX_RUNNING)
		life_fail(s, 400, "sandbox is not running");
	if (s->failed || !sandbox_set_state(s, SANDBOX_STARTING)) {
		life_finish(s);
		return;
	}
	s->rising = true;
	link_close(s, "the sandbox is being restarted", reboot_closed);
}

void sandbox_create(struct sandboxes *ss, const struct sandbox_spec *spec, struct sandbox_op *op)
{
	char id[BOX_ID_MAX + 1];
	struct boxes *boxes = spec->address ? ss->external : ss->boxes;
	struct store_sandbox row = {.id = id,
		.driver = boxes ? boxes->driver->name : "",
		.template = spec->template,
		.alias = spec->alias,
		.envs = spec->envs,
		.metadata = spec->metadata,
		.tags = spec->tags,
		.checkpoint = spec->checkpoint,
		.address = spec->address,
		.token = spec->token,
		.more = spec->draft ? "{\"draft\":true}" : NULL,
		.created_ms = wall_ms(),
		.timeout_s = spec->timeout_s,
		.cpus = spec->cpus,
		.memory_mb = spec->memory_mb,
		.disk_mb = spec->disk_mb,
		.network = spec->network};
	struct sandbox *s = NULL;
	size_t live = sandboxes_live(ss);
	struct fault f = {.status = 503, .text = "no memory for another sandbox"};

	if (spec->tags)
		row.tags_ms = row.created_ms;
	op->all = ss;
	op->sandbox = NULL;
	list_init(&op->node);
	if (!boxes) {
		fault_set(&f, 501, "this bridge takes no external sandboxes");
	} else if (live >= ss->config.max) {
		fault_set(&f, 429, "there are %zu sandboxes, as many as may be", live);
	} else {
		sandboxes_new_id(ss, id);
		s = sandbox_new(ss, &row, SANDBOX_CREATING);
	}
	if (!s) {
		sandboxes_answer(op, &f);
		return;
	}
	sandboxes_add(ss, s);
	life_want(s, GOAL_CREATE, op);
}
