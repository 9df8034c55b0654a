/*
 * All checkpoints are in memory, some hundreds of bytes each, and in the store. What the driver has
 * of one is called by its id.
 */
#include "bridge/sandbox/checkpoint.h"

#include <stdio.h>
#include <sys/random.h>

#include "bridge/sandbox/patch.h"
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

/* It is not PROCESSING any more. */
static void reach(struct checkpoint *cp, enum checkpoint_state state)
{
	cp->state = state;
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
	store_drop_patches(cp->all->store, cp->id);
	list_for_each_safe (p, &cp->patches, struct patch, node)
		patch_free(p);
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
	if (cp->state == CHECKPOINT_PROCESSING)
		return fault_set(f, 409, "the checkpoint is still being made");
	if (cp->forks > 0)
		return fault_set(f, 409, "the checkpoint is being used");
	save(cp, CHECKPOINT_GOING); /* if it can be: this makes room on a full disk */
	begin_drop(cp);
	return true;
}

/* ---- how many ---- */

struct census {
	unsigned ready, processing, failed;
	struct checkpoint *oldest, *oldest_failed; /* READY, FAILED; or NULL */
};

static struct census count(const struct checkpoints *cs, const char *sandbox, bool full)
{
	struct census n = {0};

	list_for_each (cp, &cs->list, struct checkpoint, node) {
		if (cp->full != full || strcmp(cp->sandbox, sandbox) != 0)
			continue;
		if (cp->state == CHECKPOINT_READY && n.ready++ == 0)
			n.oldest = cp;
		if (cp->state == CHECKPOINT_FAILED && n.failed++ == 0)
			n.oldest_failed = cp;
		n.processing += cp->state == CHECKPOINT_PROCESSING;
	}
	return n;
}

/* Only now: had the new one failed, the old ones would be what there is. */
static void drop_oldest(struct checkpoint *cp)
{
	struct census n = count(cp->all, cp->sandbox, cp->full);
	struct fault f;

	while (cp->keep > 0 && n.ready > cp->keep && checkpoint_drop(n.oldest, &f))
		n = count(cp->all, cp->sandbox, cp->full);
}

/* They are kept to be looked at, not for ever. */
static void drop_failed(const struct checkpoints *cs, const char *sandbox, bool full)
{
	struct census n = count(cs, sandbox, full);
	struct fault f;

	while (n.failed >= CHECKPOINT_FAILED_MAX && checkpoint_drop(n.oldest_failed, &f))
		n = count(cs, sandbox, full);
}

static unsigned max_of_spec(const struct checkpoint_spec *spec)
{
	unsigned limit = spec->full ? CHECKPOINT_FULL_MAX : CHECKPOINT_DISK_MAX;

	return spec->max > 0 ? min_of(spec->max, limit) : limit;
}

static bool has_room(const struct checkpoints *cs, const char *sandbox,
	const struct checkpoint_spec *spec, struct fault *f)
{
	struct census n = count(cs, sandbox, spec->full);
	unsigned max = max_of_spec(spec);

	list_for_each (cp, &cs->list, struct checkpoint, node) {
		if ((cp->state == CHECKPOINT_READY || cp->state == CHECKPOINT_PROCESSING) &&
			strcmp(cp->sandbox, sandbox) == 0 && strcmp(cp->name, spec->name) == 0)
			return fault_set(
				f, 409, "there is a checkpoint \"%.100s\" already", spec->name);
	}
	if (n.ready + n.processing < max)
		return true;
	if (!spec->drop_oldest)
		return fault_set(f, 400,
			"there are %u %s checkpoints of this sandbox, as many as may be",
			n.ready + n.processing, spec->full ? "full" : "disk-only");
	if (n.processing >= max)
		return fault_set(f, 409, "as many as may be are still being made");
	if (n.oldest->forks > 0)
		return fault_set(f, 409, "the oldest checkpoint is being used");
	return true;
}

/* ---- making ---- */

static void run_create(struct sandbox *s, void *owner, box_fn fn)
{
	const struct checkpoint *cp = owner;

	box_checkpoint(&s->box, cp->id, cp->full, fn);
}

/* What is not stored as READY is dropped by a restart, so it is not. */
static void created(
	struct sandbox *s, void *owner, const struct box_result *r, const struct fault *fault)
{
	struct checkpoint *cp = owner;
	struct fault f;
	int stored;

	(void)s;
	if (!fault) {
		cp->bytes = r->bytes;
		stored = save(cp, CHECKPOINT_READY);
		if (stored < 0) {
			set_store_fault(cp->all, stored, &f);
			fault = &f;
		}
	}
	if (!fault) {
		reach(cp, CHECKPOINT_READY);
		drop_oldest(cp);
		return;
	}
	free(cp->error);
	cp->error = strdup(fault->text);
	ASSERT(cp->error);
	save(cp, CHECKPOINT_FAILED);
	reach(cp, CHECKPOINT_FAILED);
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
	jsonw_u64(&w, "patchSequence", patch_last(s));
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	out[w.len] = '\0';
	return out;
}

struct checkpoint *checkpoint_create(struct checkpoints *cs, struct sandbox *s,
	const struct checkpoint_spec *spec, struct fault *f)
{
	auto_free char *config = print_config(s);
	char id[CHECKPOINT_ID_MAX + 1];
	struct checkpoint *cp = NULL;
	int r;

	if (!sandbox_can(s, BOX_CAN_CHECKPOINT)) {
		fault_set(f, 501, "the driver %s cannot keep checkpoints", s->box.driver->name);
		return NULL;
	}
	if (!has_room(cs, s->id, spec, f))
		return NULL;
	drop_failed(cs, s->id, spec->full);
	checkpoint_new_id(id);
	if (config)
		cp = checkpoint_new(cs, &(struct store_checkpoint){.id = id,
						.sandbox = s->id,
						.name = spec->name,
						.kind = spec->full ? "full" : "disk_only",
						.state = states[CHECKPOINT_PROCESSING],
						.error = "",
						.config = config,
						.created_ms = wall_ms()});
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
	cp->keep = spec->drop_oldest ? max_of_spec(spec) : 0;
	sandbox_exclusive(s, spec->full ? &create_full : &create_disk, cp, NULL);
	return cp;
}

/* ---- going back ---- */

static void run_restore(struct sandbox *s, void *owner, box_fn fn)
{
	const struct checkpoint *cp = owner;

	box_restore(&s->box, cp->id, fn);
}

/* Patches that were run later are not in it any more: they are run again. */
static void take_patches_back(const struct checkpoint *cp, struct sandbox *s)
{
	struct jsonr config, v;
	char n[24];

	if (jsonr_parse(cp->config, strlen(cp->config), &config) < 0 ||
		!jsonr_member(config, "patchSequence", &v) || v.len >= sizeof(n))
		return;
	snprintf(n, sizeof(n), "%.*s", (int)v.len, v.p);
	sandbox_set_more(s, "patchSequence", n);
	sandbox_save(s);
}

static void restored(
	struct sandbox *s, void *owner, const struct box_result *r, const struct fault *fault)
{
	struct checkpoint *cp = owner;

	cp->forks--;
	if (fault)
		return;
	sandbox_note(s, "%s", r->cold ? r->note : "");
	take_patches_back(cp, s);
}

static const struct sandbox_exclusive restore = {.run = run_restore, .done = restored};

void checkpoint_restore(struct checkpoint *cp, struct sandbox *s, struct sandbox_op *op)
{
	cp->forks++;
	sandbox_exclusive(s, &restore, cp, op);
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
