/*
 * What an agent session has to do is counted from what goes in and what comes out (turn_count.c).
 * All that the session still has is read from the beginning, so a turn that was under way when the
 * bridge was started is found again.
 */
#include "bridge/api/agent_turns.h"

#include <stdio.h>

#include "bridge/api/turn_count.h"
#include "bridge/remote.h"

#define WINDOW (256 * KIB) /* how far it may be ahead of us */

struct agent_turns {
	uv_loop_t *loop;
	struct list watchers;
};

struct watcher {
	struct list node;
	struct agent_turns *turns;
	struct sandbox *sandbox;
	char id[ROSTER_ID_MAX + 1];
	struct sandbox_use use; /* while there is a turn to do */
	struct remote remote;
	struct turn_count count;
	uv_idle_t gone; /* only closed: then no callback is on the stack any more */
};

/* ---- the count ---- */

static void on_use(struct sandbox_use *u, const struct fault *fault)
{
	(void)u, (void)fault; /* it is up, or its end will be told by the remote */
}

/* After the count may have changed. */
static void hold(struct watcher *w)
{
	if (w->count.pending > 0 && !w->use.sandbox)
		sandbox_use(w->sandbox, &w->use, on_use, w);
	else if (w->count.pending == 0)
		sandbox_unuse(&w->use);
}

static void on_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	struct watcher *w = r->owner;

	(void)off;
	if (stream == STREAM_OUT)
		turn_count_out(&w->count, data, len);
	hold(w);
	remote_consumed(r, len);
}

static void on_gap(struct remote *r, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct watcher *w = r->owner;

	(void)off, (void)missing;
	if (stream == STREAM_OUT)
		turn_count_gap(&w->count);
}

/* ---- the end ---- */

static void on_gone(uv_handle_t *h)
{
	struct watcher *w = h->data;

	turn_count_fini(&w->count);
	free(w);
}

static void end_watch(struct watcher *w, const struct msg_end *end)
{
	struct roster_entry *e = roster_find(&w->sandbox->roster, w->id);

	remote_close(&w->remote);
	sandbox_unuse(&w->use);
	list_remove(&w->node);
	if (e && e->turns == w)
		e->turns = NULL;
	if (e && end)
		roster_ended(e, end);
	uv_close((uv_handle_t *)&w->gone, on_gone);
}

static void on_end(struct remote *r, const struct msg_end *end)
{
	end_watch(r->owner, end);
}

static void on_close(struct remote *r, enum remote_why why, const struct error *error)
{
	(void)why, (void)error;
	end_watch(r->owner, NULL);
}

static void on_opened(struct remote *r, const struct msg_opened *o)
{
	(void)r, (void)o;
}

static const struct remote_events events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_gap = on_gap,
	.on_end = on_end,
	.on_close = on_close,
};

/* ---- beginning ---- */

void agent_turns_watch(struct agent_turns *t, struct sandbox *s, struct roster_entry *e)
{
	struct remote_config config = {.id = e->id,
		.viewer = "",
		.policy = POLICY_LIVE,
		.own = OWN_NEVER,
		.window = WINDOW};
	struct watcher *w;

	if (!t || e->kind != ROSTER_AGENT || !e->running || e->turns || !s->has_guest)
		return;
	w = xcalloc(1, sizeof(*w));
	w->turns = t;
	w->sandbox = s;
	w->use.lasting = true;
	snprintf(w->id, sizeof(w->id), "%s", e->id);
	turn_count_init(&w->count);
	uv_idle_init(t->loop, &w->gone);
	w->gone.data = w;
	list_append(&t->watchers, &w->node);
	e->turns = w;
	w->remote.owner = w;
	if (remote_open(&w->remote, &s->guest, &events, &config) < 0)
		end_watch(w, NULL);
}

void agent_turns_listed(struct agent_turns *t, struct sandbox *s)
{
	list_for_each (e, &s->roster.entries, struct roster_entry, node)
		agent_turns_watch(t, s, e);
}

void agent_turns_input(struct roster_entry *e, const void *data, size_t len)
{
	struct watcher *w = e->turns;

	if (!w)
		return;
	turn_count_in(&w->count, data, len);
	hold(w);
}

unsigned agent_turns_pending(const struct roster_entry *e)
{
	const struct watcher *w = e->turns;

	return w ? w->count.pending : 0;
}

const char *agent_turns_conversation(const struct roster_entry *e)
{
	const struct watcher *w = e->turns;

	return w && w->count.conversation[0] ? w->count.conversation : NULL;
}

void agent_turns_open(struct agent_turns **ret, uv_loop_t *loop)
{
	struct agent_turns *t = xcalloc(1, sizeof(*t));

	t->loop = loop;
	list_init(&t->watchers);
	*ret = t;
}

void agent_turns_close(struct agent_turns *t)
{
	while (!list_empty(&t->watchers))
		end_watch(list_first(&t->watchers, struct watcher, node), NULL);
	free(t);
}
