/*
 * One sandbox as the store knows it, and its state.
 */
#include "bridge/sandbox/sandbox_internal.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const words[SANDBOX_STATES] = {
	[SANDBOX_CREATING] = "creating",
	[SANDBOX_RUNNING] = "running",
	[SANDBOX_STOPPING] = "stopping",
	[SANDBOX_STOPPED] = "stopped",
	[SANDBOX_STARTING] = "starting",
	[SANDBOX_HIBERNATING] = "hibernating",
	[SANDBOX_HIBERNATED] = "hibernated",
	[SANDBOX_WAKING] = "waking",
	[SANDBOX_BUSY] = "busy",
	[SANDBOX_KILLING] = "killing",
	[SANDBOX_KILLED] = "killed",
	[SANDBOX_ERROR] = "error",
};

const char *sandbox_state_word(enum sandbox_state s)
{
	return words[s];
}

enum sandbox_state sandbox_state_parse(const char *word)
{
	for (enum sandbox_state s = 0; s < SANDBOX_STATES; s++) {
		if (strcmp(words[s], word) == 0)
			return s;
	}
	return SANDBOX_ERROR;
}

const char *sandbox_state_str(enum sandbox_state s)
{
	switch (s) {
	case SANDBOX_CREATING: return "creating";
	case SANDBOX_RUNNING:
	case SANDBOX_STARTING:
	case SANDBOX_BUSY: return "running";
	case SANDBOX_HIBERNATING:
	case SANDBOX_HIBERNATED:
	case SANDBOX_WAKING: return "hibernated";
	case SANDBOX_ERROR: return "error";
	default: return "stopped";
	}
}

void sandbox_note(struct sandbox *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->note, sizeof(s->note), fmt, ap);
	va_end(ap);
}

void sandbox_fault_gone(const struct sandbox *s, struct fault *f)
{
	if (s->state == SANDBOX_ERROR)
		fault_set(f, 410, "sandbox %s cannot run: %.150s", s->id, s->note);
	else
		fault_set(f, 410, "sandbox %s has been stopped", s->id);
}

/* ---- the row ---- */

static char *copy(const char *text, const char *otherwise, bool *ok)
{
	char *p = strdup(text && *text ? text : otherwise);

	*ok &= p != NULL;
	return p;
}

static void free_texts(struct sandbox *s)
{
	free(s->template);
	free(s->alias);
	free(s->envs);
	free(s->metadata);
	free(s->tags);
	free(s->checkpoint);
	free(s->address);
	free(s->token);
	free(s->more);
}

static void number(const struct sandbox *s, const char *name, unsigned *ret)
{
	struct jsonr v;
	uint64_t n;

	if (sandbox_more(s, name, &v) && jsonr_u64(v, UINT32_MAX, &n) == 0)
		*ret = (unsigned)n;
}

static int set_number(struct sandbox *s, const char *name, unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	return sandbox_set_more(s, name, n ? text : NULL);
}

static void on_box_gone(struct box *b, const char *why)
{
	link_on_lost(b->owner, why);
}

void sandbox_init_box(struct sandbox *s)
{
	unsigned scaled_mb = s->box.scaled_mb;

	box_init(&s->box, s->box.boxes, s->id, s, on_box_gone);
	s->box.scaled_mb = scaled_mb; /* until the driver says how much it is */
}

void sandbox_leave_box(struct sandbox *s)
{
	if (s->box.state || s->box.fn)
		box_leave(&s->box);
}

struct sandbox *sandbox_new(
	struct sandboxes *ss, const struct store_sandbox *row, enum sandbox_state state)
{
	struct sandbox *s = calloc(1, sizeof(*s));
	struct boxes *boxes = row->address && *row->address ? ss->external : ss->boxes;
	bool ok = true;

	if (!s)
		return NULL;
	s->all = ss;
	s->state = state;
	snprintf(s->id, sizeof(s->id), "%s", row->id);
	snprintf(s->note, sizeof(s->note), "%s", row->note ? row->note : "");
	s->template = copy(row->template, "base", &ok);
	s->alias = copy(row->alias, "", &ok);
	s->envs = copy(row->envs, "{}", &ok);
	s->metadata = copy(row->metadata, "{}", &ok);
	s->tags = copy(row->tags, "{}", &ok);
	s->checkpoint = copy(row->checkpoint, "", &ok);
	s->address = copy(row->address, "", &ok);
	s->token = copy(row->token, "", &ok);
	s->more = copy(row->more, "{}", &ok);
	if (!ok) {
		free_texts(s);
		free(s);
		return NULL;
	}
	s->created_ms = row->created_ms;
	s->started_ms = row->started_ms;
	s->ended_ms = row->ended_ms;
	s->tags_ms = row->tags_ms;
	s->timeout_s = row->timeout_s;
	s->cpus = row->cpus;
	s->memory_mb = row->memory_mb;
	s->disk_mb = row->disk_mb;
	s->network = row->network;
	s->foreign = !boxes || strcmp(boxes->driver->name, row->driver) != 0;
	s->box.boxes = boxes;
	number(s, "scaled_mb", &s->box.scaled_mb);
	if (!s->foreign)
		sandbox_init_box(s);
	roster_init(&s->roster);
	list_init(&s->node);
	list_init(&s->uses);
	list_init(&s->ready);
	list_init(&s->ops);
	list_init(&s->turn);
	uv_timer_init(ss->loop, &s->idle);
	uv_timer_init(ss->loop, &s->patience);
	s->idle.data = s->patience.data = s;
	s->open_handles = 2;
	return s;
}

static void on_handle_closed(uv_handle_t *h)
{
	struct sandbox *s = h->data;

	if (--s->open_handles > 0)
		return;
	roster_fini(&s->roster);
	free_texts(s);
	sandboxes_forget(s);
}

void sandbox_free(struct sandbox *s)
{
	ASSERT(!s->has_guest);
	list_remove(&s->turn);
	uv_close((uv_handle_t *)&s->idle, on_handle_closed);
	uv_close((uv_handle_t *)&s->patience, on_handle_closed);
}

int sandbox_save(struct sandbox *s)
{
	struct store_sandbox row = {.id = s->id,
		.state = words[s->state],
		.template = s->template,
		.alias = s->alias,
		.note = s->note,
		.created_ms = s->created_ms,
		.started_ms = s->started_ms,
		.ended_ms = s->ended_ms,
		.tags_ms = s->tags_ms,
		.timeout_s = s->timeout_s,
		.cpus = s->cpus,
		.memory_mb = s->memory_mb,
		.disk_mb = s->disk_mb,
		.network = s->network,
		.envs = s->envs,
		.metadata = s->metadata,
		.tags = s->tags,
		.checkpoint = s->checkpoint,
		.address = s->address,
		.token = s->token};
	int r;

	if (s->foreign)
		return -EPERM;
	r = set_number(s, "scaled_mb", s->box.scaled_mb);
	if (r < 0)
		return r;
	row.more = s->more;
	row.driver = s->box.driver->name;
	return store_put_sandbox(s->all->store, &row);
}

/* ---- the state ---- */

static void enter(struct sandbox *s, enum sandbox_state state)
{
	size_t *n = s->all->n;

	n[s->state]--;
	n[state]++;
	s->state = state;
	if (state != SANDBOX_RUNNING) {
		s->idle_at_ms = 0;
		uv_timer_stop(&s->idle);
	}
	if (state == SANDBOX_KILLED)
		s->dead_ms = now_ms();
}

bool sandbox_not_stored(struct sandbox *s, int r)
{
	return life_fail(s, r == -ENOSPC ? 507 : 500, "the sandbox's state cannot be stored: %s",
		r == -ENOMEM ? "no memory" : store_why(s->all->store));
}

bool sandbox_set_state(struct sandbox *s, enum sandbox_state state)
{
	enum sandbox_state was = s->state;
	int r;

	enter(s, state);
	r = sandbox_save(s);
	if (r == 0)
		return true;
	enter(s, was);
	return sandbox_not_stored(s, r);
}

void sandbox_reach(struct sandbox *s, enum sandbox_state state)
{
	enter(s, state);
	sandbox_save(s);
}

void sandbox_vanish(struct sandbox *s)
{
	enter(s, SANDBOX_KILLED);
	sandboxes_bury(s);
}

/* ---- what clients change ---- */

int sandbox_set_timeout(struct sandbox *s, int64_t timeout_s)
{
	int64_t was = s->timeout_s;
	int r;

	s->timeout_s = timeout_s;
	r = sandbox_save(s);
	if (r < 0)
		s->timeout_s = was;
	use_arm(s);
	return r;
}

int sandbox_set_tags(struct sandbox *s, const char *json)
{
	char *tags = strdup(json), *was = s->tags;
	uint64_t was_ms = s->tags_ms;
	int r;

	if (!tags)
		return -ENOMEM;
	s->tags = tags;
	s->tags_ms = wall_ms();
	r = sandbox_save(s);
	if (r < 0) {
		s->tags = was;
		s->tags_ms = was_ms;
		was = tags;
	}
	free(was);
	return r;
}

bool sandbox_more(const struct sandbox *s, const char *name, struct jsonr *ret)
{
	struct jsonr more;

	return jsonr_parse(s->more, strlen(s->more), &more) == 0 && jsonr_member(more, name, ret);
}

int sandbox_set_more(struct sandbox *s, const char *name, const char *json)
{
	size_t size = strlen(s->more) + strlen(name) + (json ? strlen(json) : 0) + 8;
	struct jsonr more, key, value;
	struct jsonr_walk walk;
	struct jsonw w;
	char *text = malloc(size), word[64];

	if (!text)
		return -ENOMEM;
	jsonw_init(&w, text, size);
	jsonw_open(&w, NULL, '{');
	if (jsonr_parse(s->more, strlen(s->more), &more) == 0 && jsonr_begin(&walk, more)) {
		while (jsonr_next(&walk, &key, &value)) {
			snprintf(word, sizeof(word), "%.*s", (int)key.len, key.p);
			if (strcmp(word, name) != 0)
				jsonw_raw(&w, word, value.p, value.len);
		}
	}
	if (json)
		jsonw_raw(&w, name, json, strlen(json));
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	text[w.len] = '\0';
	free(s->more);
	s->more = text;
	return 0;
}

int sandbox_confirm(struct sandbox *s)
{
	int r = sandbox_set_more(s, "draft", NULL);

	return r < 0 ? r : sandbox_save(s);
}

void sandbox_limits(const struct sandbox *s, unsigned *memory_mb, unsigned *cpu_percent)
{
	*memory_mb = *cpu_percent = 0;
	number(s, "limit_memory_mb", memory_mb);
	number(s, "limit_cpu_percent", cpu_percent);
}

static int set_limits(struct sandbox *s, unsigned memory_mb, unsigned cpu_percent)
{
	int r = set_number(s, "limit_memory_mb", memory_mb);

	return r < 0 ? r : set_number(s, "limit_cpu_percent", cpu_percent);
}

int sandbox_set_limits(struct sandbox *s, unsigned memory_mb, unsigned cpu_percent)
{
	unsigned was_memory, was_cpu;
	int r;

	sandbox_limits(s, &was_memory, &was_cpu);
	r = set_limits(s, memory_mb, cpu_percent);
	if (r == 0)
		r = sandbox_save(s);
	if (r < 0)
		set_limits(s, was_memory, was_cpu);
	return r;
}
