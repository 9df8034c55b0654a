/*
 * What is known of an agent session is what goes in and what comes out. Each prompt that goes in is
 * a turn to do until `turn_complete` comes, or an error that says it was not taken. A turn that
 * nobody here asked for (somebody else's, or the program's own) is noticed by its first message,
 * and so is one that was under way when the bridge was started: all that the session still has is
 * read from the beginning.
 *
 * Errors do not say what they are about. Other lines than prompts can be wrong as well; as long as
 * one of them has no answer, an error is taken for that.
 */
#include "bridge/api/agent_turns.h"

#include <stdio.h>

#include "bridge/remote.h"
#include "proto/lines.h"

#define LINE_MAX_BYTES (64 * KIB)  /* longer ones are messages, of no interest */
#define INPUT_MAX      (17 * MIB)  /* a little more than a session takes */
#define WINDOW         (256 * KIB) /* how far it may be ahead of us */
#define CONVERSATION   64

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
	struct lines in, out;
	unsigned pending;    /* prompts without an end, and a turn that was found */
	unsigned unanswered; /* other lines */
	char conversation[CONVERSATION];
	uv_idle_t gone; /* only closed: then no callback is on the stack any more */
};

/* ---- the count ---- */

static void on_use(struct sandbox_use *u, const struct fault *fault)
{
	(void)u, (void)fault; /* it is up, or its end will be told by the remote */
}

static void set_pending(struct watcher *w, unsigned n)
{
	if (n > 0 && w->pending == 0)
		sandbox_use(w->sandbox, &w->use, on_use, w);
	else if (n == 0 && w->pending > 0)
		sandbox_unuse(&w->use);
	w->pending = n;
}

static void turn_over(struct watcher *w)
{
	if (w->pending > 0)
		set_pending(w, w->pending - 1);
}

static void on_error(struct watcher *w, struct jsonr line)
{
	struct jsonr code;

	if (!jsonr_member(line, "code", &code))
		return;
	if (jsonr_is_str(code, "too_many"))
		turn_over(w);
	else if (jsonr_is_str(code, "bad_input") && w->unanswered > 0)
		w->unanswered--;
	else if (jsonr_is_str(code, "bad_input"))
		turn_over(w);
}

static void learn_conversation(struct watcher *w, struct jsonr line, const char *member)
{
	struct jsonr v;

	if (jsonr_member(line, member, &v) && jsonr_is(v, '"') && v.len - 2 < CONVERSATION)
		snprintf(w->conversation, sizeof(w->conversation), "%.*s", (int)v.len - 2, v.p + 1);
}

/* Only what is part of a turn; other messages may come between turns. */
static bool is_in_turn(struct jsonr line, struct jsonr type)
{
	struct jsonr subtype;

	if (jsonr_is_str(type, "system"))
		return jsonr_member(line, "subtype", &subtype) && jsonr_is_str(subtype, "init");
	return jsonr_is_str(type, "assistant") || jsonr_is_str(type, "user") ||
	       jsonr_is_str(type, "result") || jsonr_is_str(type, "stream_event");
}

static void on_line(struct watcher *w, struct jsonr line)
{
	struct jsonr type;

	if (!jsonr_member(line, "type", &type))
		return;
	if (jsonr_is_str(type, "configured")) {
		w->unanswered -= w->unanswered > 0;
	} else if (jsonr_is_str(type, "error")) {
		on_error(w, line);
	} else if (jsonr_is_str(type, "turn_complete")) {
		learn_conversation(w, line, "claude_session_id");
		turn_over(w);
	} else if (is_in_turn(line, type)) {
		learn_conversation(w, line, "session_id");
		set_pending(w, max_of(w->pending, 1));
	}
}

static void on_input_line(struct watcher *w, struct jsonr line)
{
	struct jsonr object, type;
	bool known =
		jsonr_parse(line.p, line.len, &object) == 0 && jsonr_member(object, "type", &type);

	if (line.len == 0)
		return;
	if (known && jsonr_is_str(type, "prompt"))
		set_pending(w, w->pending + 1);
	else if (!known || !jsonr_is_str(type, "interrupt"))
		w->unanswered++;
}

/* ---- lines ---- */

static void feed(struct watcher *w, struct lines *l, const uint8_t *data, size_t len,
	void (*fn)(struct watcher *w, struct jsonr line))
{
	struct jsonr line;

	while (len > 0) {
		size_t size, n;
		uint8_t *space = lines_space(l, &size);

		if (!space)
			return;
		n = min_of(len, size);
		memcpy(space, data, n);
		lines_commit(l, n);
		data += n;
		len -= n;
		for (int r; (r = lines_next(l, &line)) != 0;) {
			if (r > 0)
				fn(w, line);
		}
	}
}

static void on_output_line(struct watcher *w, struct jsonr line)
{
	struct jsonr object;

	if (jsonr_parse(line.p, line.len, &object) == 0) /* else its beginning is gone */
		on_line(w, object);
}

/* A line that is too long is dropped by `lines`: it is a message. */
static void on_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	struct watcher *w = r->owner;

	(void)off;
	if (stream == STREAM_OUT)
		feed(w, &w->out, data, len, on_output_line);
	remote_consumed(r, len);
}

/* What was left out may have been the end of a line, and the beginning of another: both are lost.
 */
static void on_gap(struct remote *r, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct watcher *w = r->owner;

	(void)off, (void)missing;
	if (stream == STREAM_OUT)
		feed(w, &w->out, (const uint8_t *)"\n", 1, on_output_line);
}

/* ---- the end ---- */

static void on_gone(uv_handle_t *h)
{
	struct watcher *w = h->data;

	lines_fini(&w->in);
	lines_fini(&w->out);
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
	struct remote_config config = {
		.id = e->id, .policy = POLICY_LIVE, .own = OWN_NEVER, .window = WINDOW};
	struct watcher *w;

	if (e->kind != ROSTER_AGENT || !e->running || e->turns || !s->has_guest)
		return;
	w = xcalloc(1, sizeof(*w));
	w->turns = t;
	w->sandbox = s;
	w->use.lasting = true;
	snprintf(w->id, sizeof(w->id), "%s", e->id);
	lines_init(&w->in, INPUT_MAX);
	lines_init(&w->out, LINE_MAX_BYTES);
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

	if (w)
		feed(w, &w->in, data, len, on_input_line);
}

unsigned agent_turns_pending(const struct roster_entry *e)
{
	const struct watcher *w = e->turns;

	return w ? w->pending : 0;
}

const char *agent_turns_conversation(const struct roster_entry *e)
{
	const struct watcher *w = e->turns;

	return w && w->conversation[0] ? w->conversation : NULL;
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
