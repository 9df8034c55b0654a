/*
 * All checkpoints are in memory, some hundreds of bytes each, and in the store. What the driver has
 * of one is called by its id.
 */
#include "bridge/sandbox/checkpoint.h"

#include <stdio.h>
#include <sys/random.h>

#include "bridge/sandbox/sandbox_internal.h"
#include "proto/buf.h"
#include "proto/jsonw.h"

static const char *const states[] = {
	[CHECKPOINT_PROCESSING] = "processing",
	[CHECKPOINT_READY] = "ready",
	[CHECKPOINT_FAILED] = "failed",
	[CHECKPOINT_GOING] = "going",
};

const char *checkpoint_state_str(enum checkpoint_state s)
{
	return states[s];
}

bool checkpoints_supported(const struct checkpoints *cs)
{
	return cs->boxes->driver->can & BOX_CAN_CHECKPOINT;
}

/* ---- ids ---- */

void checkpoint_new_id(char ret[CHECKPOINT_ID_MAX + 1])
{
	uint8_t b[16];

	ASSERT(getrandom(b, sizeof(b), 0) == sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40; /* a random UUID */
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(ret, CHECKPOINT_ID_MAX + 1,
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		b[15]);
}

bool checkpoint_id_valid(const char *id)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (size_t i = 0; i < sizeof(form); i++) {
		bool hex = id[i] && strchr("0123456789abcdef", id[i]);

		if (form[i] == 'x' ? !hex : id[i] != form[i])
			return false;
	}
	return true;
}

/* ---- memory and store ---- */

static void patch_free(struct patch *p)
{
	list_remove(&p->node);
	free(p->script);
	free(p->description);
	free(p);
}

static void checkpoint_free(struct checkpoint *cp)
{
	list_for_each_safe (p, &cp->patches, struct patch, node)
		patch_free(p);
	list_remove(&cp->node);
	free(cp->sandbox);
	free(cp->name);
	free(cp->error);
	free(cp->config);
	free(cp);
}

static struct checkpoint *checkpoint_new(struct checkpoints *cs, const struct store_checkpoint *row)
{
	struct checkpoint *cp = calloc(1, sizeof(*cp));

	if (!cp)
		return NULL;
	cp->all = cs;
	list_init(&cp->patches);
	list_init(&cp->waits);
	list_append(&cs->list, &cp->node);
	snprintf(cp->id, sizeof(cp->id), "%s", row->id);
	cp->sandbox = strdup(row->sandbox);
	cp->name = strdup(row->name);
	cp->error = strdup(row->error);
	cp->config = strdup(row->config);
	cp->full = strcmp(row->kind, "full") == 0;
	cp->created_ms = row->created_ms;
	cp->bytes = row->bytes;
	cp->state = CHECKPOINT_FAILED;
	for (size_t i = 0; i < array_size(states); i++) {
		if (strcmp(row->state, states[i]) == 0)
			cp->state = (enum checkpoint_state)i;
	}
	if (cp->sandbox && cp->name && cp->error && cp->config)
		return cp;
	checkpoint_free(cp);
	return NULL;
}

static int save(const struct checkpoint *cp, enum checkpoint_state state)
{
	return store_put_checkpoint(cp->all->store, &(struct store_checkpoint){.id = cp->id,
							    .sandbox = cp->sandbox,
							    .name = cp->name,
							    .kind = cp->full ? "full" : "disk_only",
							    .state = states[state],
							    .error = cp->error,
							    .config = cp->config,
							    .created_ms = cp->created_ms,
							    .bytes = cp->bytes});
}

/* It is so now, even if that cannot be stored: a restart drops it then. */
static void reach(struct checkpoint *cp, enum checkpoint_state state)
{
	cp->state = state;
	save(cp, state);
	while (!list_empty(&cp->waits)) {
		struct checkpoint_wait *w = list_first(&cp->waits, struct checkpoint_wait, node);

		list_remove(&w->node);
		w->fn(w);
	}
}

void checkpoint_await(
	struct checkpoint *cp, struct checkpoint_wait *w, void (*fn)(struct checkpoint_wait *w))
{
	w->fn = fn;
	list_append(&cp->waits, &w->node);
}

void checkpoint_unwait(struct checkpoint_wait *w)
{
	if (w->node.next)
		list_remove(&w->node);
}

struct checkpoint *checkpoints_find(struct checkpoints *cs, const char *id)
{
	list_for_each (cp, &cs->list, struct checkpoint, node) {
		if (strcmp(cp->id, id) == 0 && cp->state != CHECKPOINT_GOING)
			return cp;
	}
	return NULL;
}

/* ---- dropping ---- */

static void on_dropped(struct box *b, const struct box_result *r)
{
	struct checkpoint *cp = b->owner;

	/* What could not be removed is tried again after a restart. */
	if (r->ok)
		store_drop_checkpoint(cp->all->store, cp->id);
	checkpoint_free(cp);
}

static void begin_drop(struct checkpoint *cp)
{
	cp->state = CHECKPOINT_GOING;
	list_for_each_safe (p, &cp->patches, struct patch, node) {
		store_drop_patch(cp->all->store, p->id);
		patch_free(p);
	}
	if (!checkpoints_supported(cp->all))
		return; /* another driver's */
	box_init(&cp->box, cp->all->boxes, "checkpoint", cp, NULL);
	box_drop(&cp->box, cp->id, on_dropped);
}

static bool set_store_fault(const struct checkpoints *cs, int r, struct fault *f)
{
	return fault_set(f, r == -ENOSPC ? 507 : 500, "the checkpoint cannot be stored: %s",
		store_why(cs->store));
}

bool checkpoint_drop(struct checkpoint *cp, struct fault *f)
{
	int r;

	if (cp->state == CHECKPOINT_PROCESSING)
		return fault_set(f, 409, "the checkpoint is still being made");
	if (cp->forks > 0)
		return fault_set(f, 409, "the checkpoint is being used");
	r = save(cp, CHECKPOINT_GOING);
	if (r < 0)
		return set_store_fault(cp->all, r, f);
	begin_drop(cp);
	return true;
}

/* ---- making ---- */

static void run_create(struct sandbox *s, void *owner, box_fn fn)
{
	const struct checkpoint *cp = owner;

	box_checkpoint(&s->box, cp->id, cp->full, fn);
}

static void created(
	struct sandbox *s, void *owner, const struct box_result *r, const struct fault *fault)
{
	struct checkpoint *cp = owner;

	(void)s;
	if (r && r->ok)
		cp->bytes = r->bytes;
	if (fault) {
		free(cp->error);
		cp->error = strdup(fault->text);
		ASSERT(cp->error);
	}
	reach(cp, fault ? CHECKPOINT_FAILED : CHECKPOINT_READY);
}

/* With memory the file system is as consistent as the machine is. */
static const struct sandbox_exclusive create_full = {
	.keep = true, .run = run_create, .done = created};
static const struct sandbox_exclusive create_disk = {
	.keep = true, .freeze = true, .run = run_create, .done = created};

/* What a fork is made with. */
static char *print_config(const struct sandbox *s)
{
	size_t size = 1024 + strlen(s->template) * 6 + strlen(s->envs) + strlen(s->metadata);
	char *out = malloc(size);
	struct jsonw w;

	if (!out)
		return NULL;
	jsonw_init(&w, out, size - 1);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "template", s->template);
	jsonw_u64(&w, "cpuCount", s->cpus);
	jsonw_u64(&w, "memoryMB", s->memory_mb);
	jsonw_u64(&w, "diskMB", s->disk_mb);
	jsonw_bool(&w, "networkEnabled", s->network);
	jsonw_int(&w, "timeout", s->timeout_s);
	jsonw_raw(&w, "metadata", s->metadata, strlen(s->metadata));
	jsonw_raw(&w, "envs", s->envs, strlen(s->envs));
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	out[w.len] = '\0';
	return out;
}

static bool make_room(struct checkpoints *cs, const struct sandbox *s,
	const struct checkpoint_spec *spec, struct fault *f)
{
	unsigned limit = spec->full ? CHECKPOINT_FULL_MAX : CHECKPOINT_DISK_MAX, n = 0;
	unsigned max = spec->max > 0 ? min_of(spec->max, limit) : limit;
	struct checkpoint *oldest = NULL;

	list_for_each (cp, &cs->list, struct checkpoint, node) {
		if (strcmp(cp->sandbox, s->id) != 0 || cp->state == CHECKPOINT_GOING)
			continue;
		if (cp->state != CHECKPOINT_FAILED && strcmp(cp->name, spec->name) == 0)
			return fault_set(
				f, 409, "there is a checkpoint \"%.100s\" already", spec->name);
		if (cp->full != spec->full || cp->state == CHECKPOINT_FAILED)
			continue;
		n++;
		oldest = oldest ? oldest : cp;
	}
	if (n < max)
		return true;
	if (!spec->drop_oldest)
		return fault_set(f, 400,
			"there are %u %s checkpoints of this sandbox, as many as may be", n,
			spec->full ? "full" : "disk-only");
	return checkpoint_drop(oldest, f) && (n == max || make_room(cs, s, spec, f));
}

struct checkpoint *checkpoint_create(struct checkpoints *cs, struct sandbox *s,
	const struct checkpoint_spec *spec, struct fault *f)
{
	auto_free char *config = print_config(s);
	char id[CHECKPOINT_ID_MAX + 1];
	struct checkpoint *cp = NULL;
	int r;

	if (!make_room(cs, s, spec, f))
		return NULL;
	checkpoint_new_id(id);
	if (config)
		cp = checkpoint_new(cs, &(struct store_checkpoint){.id = id,
						.sandbox = s->id,
						.name = spec->name,
						.kind = spec->full ? "full" : "disk_only",
						.state = states[CHECKPOINT_PROCESSING],
						.error = "",
						.config = config,
						.created_ms = sandbox_wall_ms()});
	if (!cp) {
		fault_set(f, 503, "no memory for another checkpoint");
		return NULL;
	}
	r = save(cp, CHECKPOINT_PROCESSING);
	if (r < 0) {
		set_store_fault(cs, r, f);
		checkpoint_free(cp);
		return NULL;
	}
	sandbox_exclusive(s, spec->full ? &create_full : &create_disk, cp, NULL);
	return cp;
}

/* ---- going back ---- */

static void run_restore(struct sandbox *s, void *owner, box_fn fn)
{
	const struct checkpoint *cp = owner;

	box_restore(&s->box, cp->id, fn);
}

static void restored(
	struct sandbox *s, void *owner, const struct box_result *r, const struct fault *fault)
{
	struct checkpoint *cp = owner;

	(void)fault;
	cp->forks--;
	if (r && r->ok)
		sandbox_note(s, "%s", r->cold ? r->note : "");
}

static const struct sandbox_exclusive restore = {.run = run_restore, .done = restored};

void checkpoint_restore(struct checkpoint *cp, struct sandbox *s, struct sandbox_op *op)
{
	cp->forks++;
	sandbox_exclusive(s, &restore, cp, op);
}

/* ---- patches ---- */

static struct patch *patch_new(struct checkpoint *cp, const struct store_patch *row)
{
	struct patch *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	list_append(&cp->patches, &p->node);
	snprintf(p->id, sizeof(p->id), "%s", row->id);
	p->script = strdup(row->script);
	p->description = strdup(row->description);
	p->sequence = row->sequence;
	p->created_ms = row->created_ms;
	if (p->script && p->description)
		return p;
	patch_free(p);
	return NULL;
}

struct patch *checkpoint_add_patch(
	struct checkpoint *cp, const char *script, const char *description, struct fault *f)
{
	char id[CHECKPOINT_ID_MAX + 1];
	struct store_patch row = {.id = id,
		.checkpoint = cp->id,
		.script = script,
		.description = description,
		.sequence = 1,
		.created_ms = sandbox_wall_ms()};
	size_t n = 0;
	struct patch *p;

	list_for_each (old, &cp->patches, struct patch, node) {
		row.sequence = old->sequence + 1;
		n++;
	}
	if (n >= PATCHES_MAX) {
		fault_set(f, 400, "there are %zu patches of this checkpoint, as many as may be", n);
		return NULL;
	}
	checkpoint_new_id(id);
	p = patch_new(cp, &row);
	if (!p) {
		fault_set(f, 503, "no memory for another patch");
	} else if (store_put_patch(cp->all->store, &row) < 0) {
		set_store_fault(cp->all, -EIO, f);
		patch_free(p);
		p = NULL;
	}
	return p;
}

int checkpoint_drop_patch(struct checkpoint *cp, const char *id)
{
	list_for_each (p, &cp->patches, struct patch, node) {
		int r;

		if (strcmp(p->id, id) != 0)
			continue;
		r = store_drop_patch(cp->all->store, id);
		if (r == 0)
			patch_free(p);
		return r;
	}
	return -ENOENT;
}

/* ---- all of them ---- */

static void load_checkpoint(void *ctx, const struct store_checkpoint *row)
{
	/* No memory so early: it is not known in this life of the bridge. */
	checkpoint_new(ctx, row);
}

static void load_patch(void *ctx, const struct store_patch *row)
{
	struct checkpoint *cp = checkpoints_find(ctx, row->checkpoint);

	if (cp)
		patch_new(cp, row);
}

int checkpoints_open(struct checkpoints **ret, struct sandboxes *ss, struct boxes *boxes,
	struct store *store, char *why, size_t why_size)
{
	struct checkpoints *cs = xcalloc(1, sizeof(*cs));
	int r;

	*ret = cs;
	cs->sandboxes = ss;
	cs->boxes = boxes;
	cs->store = store;
	list_init(&cs->list);
	list_init(&cs->runs);
	r = store_each_checkpoint(store, load_checkpoint, cs);
	if (r == 0)
		r = store_each_patch(store, load_patch, cs);
	if (r < 0) {
		snprintf(why, why_size, "checkpoints cannot be read: %s", store_why(store));
		return r;
	}
	/* What was interrupted is as if it had never been. */
	list_for_each_safe (cp, &cs->list, struct checkpoint, node) {
		if (cp->state == CHECKPOINT_PROCESSING || cp->state == CHECKPOINT_GOING)
			begin_drop(cp);
	}
	return 0;
}

void checkpoints_close(struct checkpoints *cs)
{
	if (!cs)
		return;
	list_for_each_safe (cp, &cs->list, struct checkpoint, node) {
		if (cp->box.fn)
			box_leave(&cp->box);
		checkpoint_free(cp);
	}
	free(cs);
}
