/*
 * After a restart: the rows say what was intended, each box is asked what it is, and both together
 * are one answer (the table in docs/bridge.md). Until then the sandbox is busy, and uses wait.
 */
#include "bridge/sandbox/sandbox_internal.h"

#include <stdio.h>

static void adopt_next(struct sandboxes *ss);

/* ---- what follows ---- */

static void gone(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	if (r->ok)
		store_drop_sandbox(s->all->store, s->id);
	sandbox_vanish(s);
	life_finish(s);
}

static void killed(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;

	s->ended_ms = wall_ms();
	if (!r->ok)
		sandbox_note(s, "%s", r->fault.text);
	life_arrive(s, r->ok ? SANDBOX_KILLED : SANDBOX_ERROR);
}

static void stopped(struct box *b, const struct box_result *r)
{
	if (r->ok)
		settle(b->owner, BOX_LEFT_STOPPED);
	else
		settle_failed(b->owner, r);
}

/* The last bridge was killed while a machine came up: it may not have told it who it is. */
static bool may_be_nobody(const struct sandbox *s)
{
	return s->state == SANDBOX_WAKING || s->state == SANDBOX_STARTING ||
	       s->state == SANDBOX_BUSY || s->state == SANDBOX_ERROR;
}

static void follow(struct sandbox *s, const struct box_result *r)
{
	enum box_left left = r->ok ? r->left : BOX_LEFT_NOTHING;

	if (s->state == SANDBOX_CREATING) {
		down_destroy(s, gone);
		return;
	}
	if (s->state == SANDBOX_KILLING) {
		down_destroy(s, killed);
		return;
	}
	if (left == BOX_LEFT_RUNNING &&
		(s->state == SANDBOX_STOPPING || s->state == SANDBOX_STOPPED) &&
		sandbox_can(s, BOX_CAN_RESTART)) {
		box_stop(&s->box, stopped);
		return;
	}
	if (left == BOX_LEFT_STOPPED &&
		(s->state == SANDBOX_HIBERNATING || s->state == SANDBOX_HIBERNATED))
		sandbox_note(s, "its memory was lost: it starts cold");
	else if (!r->ok)
		sandbox_note(s, "%s", r->fault.text);
	else if (left != BOX_LEFT_NOTHING)
		sandbox_note(s, "%s", "");
	link_tell_all(s);
	if (sandbox_can(s, BOX_CAN_HIBERNATE))
		link_tell_slept(s, may_be_nobody(s));
	settle(s, left);
}

static void adopted(struct box *b, const struct box_result *r)
{
	struct sandbox *s = b->owner;
	struct sandboxes *ss = s->all;

	s->bytes = r->bytes;
	follow(s, r);
	ss->adopting--;
	adopt_next(ss);
}

static void adopt_next(struct sandboxes *ss)
{
	while (ss->adopting < SANDBOX_ADOPT_MAX && !list_empty(&ss->adopts)) {
		struct sandbox *s = list_first(&ss->adopts, struct sandbox, turn);

		list_remove(&s->turn);
		ss->adopting++;
		box_adopt(&s->box, adopted);
	}
}

/* ---- rows ---- */

struct load {
	struct sandboxes *ss;
	bool no_memory;
};

static bool is_old(const struct store_sandbox *row)
{
	return row->ended_ms + SANDBOX_KEEP_MS < wall_ms();
}

static bool is_draft(const struct sandbox *s)
{
	struct jsonr v;

	return s->state != SANDBOX_KILLING && s->state != SANDBOX_KILLED &&
	       sandbox_more(s, "draft", &v);
}

static void on_row(void *ctx, const struct store_sandbox *row)
{
	struct load *l = ctx;
	struct sandboxes *ss = l->ss;
	struct sandbox *s = sandbox_new(ss, row, sandbox_state_parse(row->state));

	if (!s) {
		l->no_memory = true;
		return;
	}
	if (is_draft(s))
		s->state = SANDBOX_CREATING;
	sandboxes_add(ss, s);
	if (s->state == SANDBOX_KILLED) {
		s->dead_ms = now_ms();
		if (is_old(row)) /* swept away at once */
			s->dead_ms -= SANDBOX_KEEP_MS;
	} else if (s->foreign) {
		sandbox_note(s, "it was made by the driver %s, which this bridge does not run",
			row->driver);
		ss->n[s->state]--;
		ss->n[s->state = SANDBOX_ERROR]++;
	} else {
		s->busy = true;
		list_append(&ss->adopts, &s->turn);
	}
}

int load_all(struct sandboxes *ss, char *why, size_t why_size)
{
	struct load l = {.ss = ss};
	int r = store_each_sandbox(ss->store, on_row, &l);

	if (r == 0 && l.no_memory)
		r = -ENOMEM;
	if (r < 0)
		snprintf(why, why_size, "the sandboxes cannot be read: %s",
			r == -ENOMEM ? "no memory" : store_why(ss->store));
	else
		adopt_next(ss);
	return r;
}
