/*
 * A run uses its sandbox like any operation, so it waits until that is up, and holds the idle
 * timer. A script is a session that nobody lists; its last words are kept for the error. The
 * session's id follows from the patch's, and its end waits at the agent until it is seen: so the
 * bridge that comes after us attaches to a script that runs, or has run, and does not start it
 * again.
 */
#include "bridge/sandbox/patch_run.h"

#include <stdio.h>

#include "bridge/remote.h"
#include "bridge/sandbox/sandbox_internal.h"
#include "proto/jsonw.h"

#define LAST_MAX 1500

struct run {
	struct list node; /* in checkpoints.runs */
	struct checkpoints *all;
	struct sandbox *sandbox;
	struct sandbox_use use;
	struct list waits;
	uv_timer_t timer; /* the next step comes from the loop */
	struct remote remote;
	/* The script that runs, and its session. The link may have to ask for it again. */
	uint64_t sequence;
	char id[ROSTER_ID_MAX + 1], *script, *words[6];
	struct msg_start start;
	char last[LAST_MAX + 1]; /* of its stderr */
	size_t n_last;
	struct msg_end end;
	bool ended;
};

static void next(uv_timer_t *t);

bool patch_error(const struct sandbox *s, struct jsonr *ret)
{
	return sandbox_more(s, "patchError", ret);
}

/* ---- the end ---- */

static void on_closed(uv_handle_t *h)
{
	struct run *r = h->data;

	free(r->script);
	free(r);
}

static void finish(struct run *r)
{
	list_remove(&r->node);
	remote_close(&r->remote);
	sandbox_unuse(&r->use);
	while (!list_empty(&r->waits)) {
		struct patch_wait *w = list_first(&r->waits, struct patch_wait, node);

		list_remove(&w->node);
		w->fn(w);
	}
	uv_close((uv_handle_t *)&r->timer, on_closed);
}

static void fail(struct run *r, const char *why)
{
	char text[LAST_MAX * 6 + 600], json[LAST_MAX * 6 + 700];
	struct jsonw w;

	snprintf(text, sizeof(text), "patch %llu: %s%s%s", (unsigned long long)r->sequence, why,
		r->n_last ? ": " : "", r->last);
	jsonw_init(&w, json, sizeof(json) - 1);
	jsonw_bytes(&w, NULL, text, strlen(text));
	json[w.len] = '\0';
	/* What is not UTF-8 is an object then, and not told. */
	sandbox_set_more(r->sandbox, "patchError", *json == '"' ? json : "\"a patch failed\"");
	sandbox_save(r->sandbox);
	finish(r);
}

/* ---- a script ---- */

static void keep_last(struct run *r, const uint8_t *data, size_t len)
{
	size_t n = min_of(len, (size_t)LAST_MAX);

	data += len - n;
	if (r->n_last + n > LAST_MAX) {
		size_t cut = r->n_last + n - LAST_MAX;

		memmove(r->last, r->last + cut, r->n_last - cut);
		r->n_last -= cut;
	}
	memcpy(r->last + r->n_last, data, n);
	r->n_last += n;
	r->last[r->n_last] = '\0';
}

static void on_output(
	struct remote *remote, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	(void)off;
	if (stream == STREAM_ERR)
		keep_last(remote->owner, data, len);
	remote_consumed(remote, len);
}

static void on_gap(struct remote *remote, uint8_t stream, uint64_t off, uint64_t missing)
{
	(void)remote, (void)stream, (void)off, (void)missing;
}

static void on_opened(struct remote *remote, const struct msg_opened *o)
{
	(void)remote, (void)o;
}

static void on_input(struct remote *remote)
{
	(void)remote;
}

static void on_end(struct remote *remote, const struct msg_end *end)
{
	struct run *r = remote->owner;

	r->end = *end;
	r->ended = true;
}

static void forgotten(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	(void)owner, (void)json, (void)len, (void)error;
}

/* Its end was seen. */
static void forget_session(const struct run *r)
{
	struct msg_request m = {.op = OP_REMOVE, .id = r->id};

	if (guest_is_up(r->remote.guest))
		guest_request(r->remote.guest, &m, forgotten, NULL);
}

static void passed(struct run *r)
{
	char json[24];

	snprintf(json, sizeof(json), "%llu", (unsigned long long)r->sequence);
	sandbox_set_more(r->sandbox, "patchSequence", json);
	sandbox_set_more(r->sandbox, "patchError", NULL);
	sandbox_save(r->sandbox);
	uv_timer_start(&r->timer, next, 0, 0);
}

static void on_close(struct remote *remote, enum remote_why why, const struct error *error)
{
	struct run *r = remote->owner;
	char text[300];

	if (why != REMOTE_DONE || !r->ended) {
		fail(r, error ? error->message : "the link to the sandbox was lost");
		return;
	}
	forget_session(r);
	if (r->end.state == END_EXITED && r->end.code == 0) {
		passed(r);
	} else {
		if (r->end.state == END_EXITED)
			snprintf(text, sizeof(text), "exit code %d", r->end.code);
		else
			snprintf(text, sizeof(text), "%s", end_state_str(r->end.state));
		fail(r, text);
	}
}

static const struct remote_events events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_gap = on_gap,
	.on_input_room = on_input,
	.on_stdin_closed = on_input,
	.on_end = on_end,
	.on_close = on_close,
};

/* An image without bash gets along with what it has. */
static const char shell[] =
	"if command -v bash >/dev/null; then exec bash -c \"$0\"; fi; exec sh -c \"$0\"";

static bool take_script(struct run *r, const struct patch *p)
{
	free(r->script);
	r->script = strdup(p->script);
	r->sequence = p->sequence;
	/* Like that of a run: 12 digits of the patch's id, and the letter of those not listed. */
	snprintf(r->id, sizeof(r->id), "r%.8s%.4s", p->id, p->id + 9);
	r->words[1] = (char *)"/bin/sh";
	r->words[2] = (char *)"-c";
	r->words[3] = (char *)shell;
	r->words[4] = r->script;
	r->start = (struct msg_start){.argv = r->words + 1,
		.argc = 4,
		.user = "root",
		.timeout_ms = PATCH_RUN_MS,
		.kill_grace_ms = 1000,
		.has_retain = true,
		.retain_ms = PATCH_KEEP_MS};
	return r->script;
}

static void start(struct run *r, const struct patch *p)
{
	struct remote_config config = {.id = r->id, .start = &r->start, .viewer = ""};
	int err = -ENOMEM;

	r->n_last = 0;
	r->last[0] = '\0';
	r->ended = false;
	remote_close(&r->remote);
	r->remote = (struct remote){.owner = r};
	if (take_script(r, p))
		err = remote_open(&r->remote, sandbox_guest(r->sandbox), &events, &config);
	if (err < 0)
		fail(r, strerror(-err));
}

/* ---- the run ---- */

static const struct patch *due(struct checkpoints *cs, const struct sandbox *s)
{
	struct checkpoint *cp = *s->checkpoint ? checkpoints_find(cs, s->checkpoint) : NULL;
	uint64_t last = patch_last(s);

	if (!cp)
		return NULL;
	list_for_each (p, &cp->patches, struct patch, node) {
		if (p->sequence > last)
			return p;
	}
	return NULL;
}

static void next(uv_timer_t *t)
{
	struct run *r = t->data;
	const struct patch *p = due(r->all, r->sandbox);

	if (!p)
		finish(r);
	else
		start(r, p);
}

static void on_use(struct sandbox_use *u, const struct fault *fault)
{
	struct run *r = u->owner;

	if (fault)
		finish(r);
	else
		next(&r->timer);
}

static void begin(uv_timer_t *t)
{
	struct run *r = t->data;

	if (due(r->all, r->sandbox))
		sandbox_use(r->sandbox, &r->use, on_use, r);
	else
		finish(r);
}

static struct run *find(struct checkpoints *cs, const struct sandbox *s)
{
	list_for_each (r, &cs->runs, struct run, node) {
		if (r->sandbox == s)
			return r;
	}
	return NULL;
}

void patch_run(struct checkpoints *cs, struct sandbox *s, struct patch_wait *w,
	void (*fn)(struct patch_wait *w))
{
	struct run *r = find(cs, s);

	if (!r && !w && !due(cs, s))
		return;
	if (!r) {
		r = xcalloc(1, sizeof(*r));
		r->all = cs;
		r->sandbox = s;
		list_init(&r->waits);
		list_append(&cs->runs, &r->node);
		uv_timer_init(cs->boxes->loop, &r->timer);
		r->timer.data = r;
		uv_timer_start(&r->timer, begin, 0, 0);
	}
	if (w) {
		w->fn = fn;
		list_append(&r->waits, &w->node);
	}
}

void patch_unwait(struct patch_wait *w)
{
	if (w->node.next)
		list_remove(&w->node);
}

void patch_runs_close(struct checkpoints *cs)
{
	while (cs && !list_empty(&cs->runs))
		finish(list_first(&cs->runs, struct run, node));
}
