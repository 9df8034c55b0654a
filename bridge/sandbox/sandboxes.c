/*
 * All sandboxes: in a list by age, and in buckets by id. What is to be done soon (answers to
 * operations, sandboxes that want to be looked at) waits for one idle handle, so that nothing ever
 * happens inside of a call that only asked for it.
 */
#include "bridge/sandbox/sandbox_internal.h"

#include <stdio.h>
#include <sys/random.h>

#define SWEEP_MS        (30 * 1000)
#define DEFAULT_MAX     10000
#define DEFAULT_UP_MS   (60 * 1000)
#define DEFAULT_UP_VM_S 120

static struct sandbox **bucket_of(struct sandboxes *ss, const char *id)
{
	return &ss->buckets[hash_text(id) % SANDBOX_BUCKETS];
}

static struct sandbox *find_id(struct sandboxes *ss, const char *id)
{
	struct sandbox *s = *bucket_of(ss, id);

	while (s && strcmp(s->id, id) != 0)
		s = s->next_in_bucket;
	return s;
}

struct sandbox *sandboxes_find(struct sandboxes *ss, const char *id)
{
	struct sandbox *s = find_id(ss, id), *dead = NULL;

	if (s)
		return s;
	list_for_each (o, &ss->list, struct sandbox, node) {
		if (!o->alias || strcmp(o->alias, id) != 0)
			continue;
		if (o->state != SANDBOX_KILLED)
			return o;
		dead = o;
	}
	return dead;
}

struct list *sandboxes_list(struct sandboxes *ss)
{
	return &ss->list;
}

size_t sandboxes_count(const struct sandboxes *ss, enum sandbox_state state)
{
	return ss->n[state];
}

size_t sandboxes_live(const struct sandboxes *ss)
{
	size_t n = 0;

	for (enum sandbox_state s = 0; s < SANDBOX_STATES; s++)
		n += s == SANDBOX_KILLED ? 0 : ss->n[s];
	return n;
}

void sandboxes_new_id(const struct sandboxes *ss, char ret[BOX_ID_MAX + 1])
{
	uint32_t r;

	do {
		ASSERT(getrandom(&r, sizeof(r), 0) == sizeof(r));
		snprintf(ret, BOX_ID_MAX + 1, "sb-%08x", r);
	} while (find_id((struct sandboxes *)ss, ret));
}

void sandboxes_add(struct sandboxes *ss, struct sandbox *s)
{
	struct sandbox **bucket = bucket_of(ss, s->id);

	s->next_in_bucket = *bucket;
	*bucket = s;
	list_append(&ss->list, &s->node);
	ss->n[s->state]++;
}

static void unfind(struct sandbox *s)
{
	struct sandbox **at = bucket_of(s->all, s->id);

	for (; *at; at = &(*at)->next_in_bucket) {
		if (*at == s) {
			*at = s->next_in_bucket;
			return;
		}
	}
}

void sandboxes_bury(struct sandbox *s)
{
	ASSERT(s->state == SANDBOX_KILLED);
	unfind(s);
	list_remove(&s->node);
	list_append(&s->all->buried, &s->node);
	s->buried = true;
	s->all->n[s->state]--;
}

/* ---- soon ---- */

static void on_turning(uv_idle_t *h)
{
	struct sandboxes *ss = h->data;

	while (!list_empty(&ss->answers)) {
		struct sandbox_op *op = list_first(&ss->answers, struct sandbox_op, node);

		list_remove(&op->node);
		op->all = NULL;
		op->fn(op, op->failed ? &op->fault : NULL);
	}
	if (!list_empty(&ss->turns)) {
		struct sandbox *s = list_first(&ss->turns, struct sandbox, turn);

		list_remove(&s->turn);
		life_turn(s);
	}
	if (list_empty(&ss->answers) && list_empty(&ss->turns))
		uv_idle_stop(h);
}

void sandboxes_turn(struct sandbox *s)
{
	if (s->all->closing || !list_empty(&s->turn))
		return;
	list_append(&s->all->turns, &s->turn);
	uv_idle_start(&s->all->turning, on_turning);
}

void sandboxes_answer(struct sandbox_op *op, const struct fault *fault)
{
	op->want = NULL;
	op->failed = fault;
	if (fault)
		op->fault = *fault;
	list_append(&op->all->answers, &op->node);
	uv_idle_start(&op->all->turning, on_turning);
}

void sandbox_forget(struct sandbox_op *op)
{
	if (!op->all)
		return;
	if (op->want)
		op->want->op = NULL;
	else
		list_remove(&op->node);
	op->all = NULL;
	op->want = NULL;
}

/* ---- the dead ---- */

/* Its handles are being closed. */
static bool is_going(const struct sandbox *s)
{
	return uv_is_closing((const uv_handle_t *)&s->idle);
}

static bool is_forgettable(const struct sandbox *s, uint64_t after_ms)
{
	return s->state == SANDBOX_KILLED && !is_going(s) && !s->busy && !s->has_guest &&
	       list_empty(&s->ops) && list_empty(&s->uses) && list_empty(&s->ready) &&
	       list_empty(&s->turn) && now_ms() - s->dead_ms >= after_ms;
}

static void on_sweep(uv_timer_t *t)
{
	struct sandboxes *ss = t->data;

	list_for_each_safe (s, &ss->list, struct sandbox, node) {
		if (!is_forgettable(s, SANDBOX_KEEP_MS) || store_drop_sandbox(ss->store, s->id) < 0)
			continue;
		sandboxes_bury(s);
		sandbox_free(s);
	}
	list_for_each_safe (s, &ss->buried, struct sandbox, node) {
		if (is_forgettable(s, SANDBOX_BURIED_MS))
			sandbox_free(s);
	}
}

/* ---- all of it ---- */

int sandboxes_open(struct sandboxes **ret, uv_loop_t *loop, struct store *store,
	struct boxes *boxes, struct boxes *external, const struct sandboxes_config *config,
	char *why, size_t why_size)
{
	struct sandboxes *ss = xcalloc(1, sizeof(*ss));
	bool vm = strcmp(boxes->driver->name, "vm") == 0;

	*ss = (struct sandboxes){.loop = loop,
		.store = store,
		.boxes = boxes,
		.external = external,
		.config = *config};
	if (ss->config.max == 0)
		ss->config.max = DEFAULT_MAX;
	if (ss->config.create_ms == 0)
		ss->config.create_ms = vm ? DEFAULT_UP_VM_S * 1000 : DEFAULT_UP_MS;
	list_init(&ss->list);
	list_init(&ss->buried);
	list_init(&ss->answers);
	list_init(&ss->turns);
	list_init(&ss->adopts);
	uv_idle_init(loop, &ss->turning);
	uv_timer_init(loop, &ss->sweep);
	ss->turning.data = ss->sweep.data = ss;
	ss->open_handles = 2;
	ss->prepare_ms = SANDBOX_PREPARE_MS;
	ss->drain_ms = SANDBOX_DRAIN_MS;
	uv_timer_start(&ss->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
	uv_unref((uv_handle_t *)&ss->sweep);
	*ret = ss;
	return load_all(ss, why, why_size);
}

static void maybe_closed(struct sandboxes *ss)
{
	if (ss->open_handles > 0 || !list_empty(&ss->list) || !list_empty(&ss->buried))
		return;
	if (ss->on_closed)
		ss->on_closed(ss->on_closed_owner);
	free(ss);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct sandboxes *ss = h->data;

	ss->open_handles--;
	maybe_closed(ss);
}

void sandboxes_forget(struct sandbox *s)
{
	struct sandboxes *ss = s->all;

	list_remove(&s->node);
	free(s);
	if (ss->closing)
		maybe_closed(ss);
}

static void on_link_closed(struct sandbox *s)
{
	sandbox_free(s);
}

/* Whoever still has a use or an operation of it finds both over. */
static void leave(struct sandbox *s)
{
	static const struct fault stopping = {.status = 503, .text = "the bridge is stopping"};

	use_fail(s, &stopping);
	while (!list_empty(&s->uses))
		sandbox_unuse(list_first(&s->uses, struct sandbox_use, node));
	life_drop_wants(s);
	sandbox_leave_box(s);
	link_close(s, "the bridge is stopping", on_link_closed);
}

void sandboxes_close(struct sandboxes *ss, void (*fn)(void *owner), void *owner)
{
	ss->closing = true;
	ss->on_closed = fn;
	ss->on_closed_owner = owner;
	while (!list_empty(&ss->answers))
		sandbox_forget(list_first(&ss->answers, struct sandbox_op, node));
	list_for_each_safe (s, &ss->list, struct sandbox, node)
		leave(s);
	list_for_each_safe (s, &ss->buried, struct sandbox, node) {
		if (!is_going(s))
			leave(s);
	}
	uv_close((uv_handle_t *)&ss->turning, on_handle_closed);
	uv_close((uv_handle_t *)&ss->sweep, on_handle_closed);
}
