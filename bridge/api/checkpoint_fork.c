/*
 * POST /sandboxes/from-checkpoint/:cp - a new sandbox that is what another was. One that is still
 * being made is waited for; the checkpoint's patches have been run when the answer is given.
 */
#include "bridge/api/bridge.h"
#include "bridge/api/checkpoints.h"
#include "bridge/api/dispatch.h"
#include "bridge/api/fields.h"
#include "bridge/api/sandbox_json.h"
#include "bridge/sandbox/patch_run.h"
#include "bridge/sandbox/sandbox_spec.h"

#define AWAIT_MS 30000

struct fork {
	struct call *call;             /* NULL: it was answered */
	struct checkpoint *checkpoint; /* held while it is needed */
	struct checkpoint_wait ready;
	struct patch_wait patches;
	struct sandbox_op op;
	bool creating;
	uv_timer_t patience;
	/* What the request says. */
	bool has_timeout;
	int64_t timeout_s, memory_mb;
	char **envs, **metadata; /* pairs; NULL: none */
};

/* ---- its end ---- */

static void on_timer_closed(uv_handle_t *h)
{
	struct fork *f = h->data;

	free(f->envs);
	free(f->metadata);
	free(f);
}

static void let_go(struct fork *f)
{
	if (f->checkpoint)
		f->checkpoint->forks--;
	f->checkpoint = NULL;
}

/* A client that hangs up would not know the id. */
static void on_end(struct call *c)
{
	struct fork *f = c->state;

	if (f->call && f->op.sandbox)
		sandbox_kill(f->op.sandbox, NULL);
	checkpoint_unwait(&f->ready);
	patch_unwait(&f->patches);
	if (f->creating)
		sandbox_forget(&f->op);
	let_go(f);
	uv_close((uv_handle_t *)&f->patience, on_timer_closed);
}

static const struct call_ops fork_ops = {.on_end = on_end};

static struct call *answered(struct fork *f)
{
	let_go(f);
	uv_timer_stop(&f->patience);
	return take_ptr(&f->call);
}

/* ---- what it is made with ---- */

static char *copy_str(struct jsonr config, const char *name)
{
	struct jsonr v;
	char *s = NULL;

	if (jsonr_member(config, name, &v))
		jsonr_str(v, &s);
	return s;
}

static unsigned copy_number(struct jsonr config, const char *name)
{
	struct jsonr v;
	uint64_t n = 0;

	if (jsonr_member(config, name, &v))
		jsonr_u64(v, UINT32_MAX, &n);
	return (unsigned)n;
}

static bool has_pair(char **pairs, const char *name)
{
	for (; pairs && *pairs; pairs += 2) {
		if (strcmp(*pairs, name) == 0)
			return true;
	}
	return false;
}

struct map {
	struct text text;
	size_t n, bytes;
};

static void put_pair(struct map *m, char *const pair[2])
{
	m->n++;
	m->bytes += strlen(pair[0]) + strlen(pair[1]);
	text_str(&m->text, pair[0], pair[1]);
}

/* The checkpoint's pairs overlaid by the request's, and both together no more than a sandbox may
 * have. NULL: answered. */
static char *overlay(struct fork *f, struct jsonr config, const char *name, char **over, size_t max)
{
	auto_free char **under = NULL;
	struct map m = {0};
	struct jsonr v;
	size_t n = 0;
	char *json;

	if (jsonr_member(config, name, &v))
		under = fields_map_of(v, SANDBOX_PAIRS_MAX, &n);
	text_init(&m.text);
	text_open(&m.text, NULL, '{');
	for (char **p = under; p && *p; p += 2) {
		if (!has_pair(over, p[0]))
			put_pair(&m, p);
	}
	for (char **p = over; p && *p; p += 2)
		put_pair(&m, p);
	text_close(&m.text, '}');
	json = text_take(&m.text, &n);
	if (json && m.n <= SANDBOX_PAIRS_MAX && m.bytes <= max)
		return json;
	if (json)
		call_error(answered(f), 400, "%s: at most %d, and %zu bytes together", name,
			SANDBOX_PAIRS_MAX, max);
	else
		call_error(answered(f), 503, "out of memory");
	free(json);
	return NULL;
}

static bool read_envs(struct call *c, struct fork *f)
{
	size_t n = 0;

	if (!field_map(c, "envs", SANDBOX_PAIRS_MAX, &f->envs, &n) ||
		!field_map(c, "metadata", SANDBOX_PAIRS_MAX, &f->metadata, &n))
		return false;
	for (char **p = f->envs; p && *p; p += 2) {
		if (!sandbox_env_name_valid(*p)) {
			call_error(c, 400, "envs: '%.100s' is no name", *p);
			return false;
		}
	}
	return true;
}

static bool read_body(struct call *c, struct fork *f)
{
	auto_free char *store = NULL;
	struct jsonr v;

	if (!field_str(c, "secretStore", 256, &store) || !read_envs(c, f) ||
		!field_int(c, "timeout", INT64_MIN, INT64_MAX, &f->timeout_s) ||
		!field_int(c, "memoryMB", 0, INT32_MAX, &f->memory_mb))
		return false;
	f->has_timeout = jsonr_member(c->body, "timeout", &v) && !jsonr_is(v, 'n');
	if (store && *store) {
		call_error(c, 400, "secret store not found: %s", store);
		return false;
	}
	return true;
}

/* ---- making it ---- */

static void on_patched(struct patch_wait *w)
{
	struct fork *f = w->owner;
	struct sandbox *s = f->op.sandbox;
	struct call *c = answered(f);
	int r = sandbox_confirm(s);

	if (r == 0) {
		sandbox_reply(c, s, 201);
		return;
	}
	sandbox_kill(s, NULL);
	sandbox_reply_store(c, r);
}

static void on_created(struct sandbox_op *op, const struct fault *fault)
{
	struct fork *f = op->owner;

	f->creating = false;
	if (!fault) {
		f->patches.owner = f;
		patch_run(f->checkpoint->all, op->sandbox, &f->patches, on_patched);
		return;
	}
	f->op.sandbox = NULL;
	call_fault(answered(f), fault);
}

/* A memory that was kept has its size; a disk boots with more, if that is wanted. */
static unsigned memory_of(const struct fork *f, unsigned kept)
{
	unsigned wanted = (unsigned)min_of(f->memory_mb, (int64_t)16384);

	return f->checkpoint->full ? kept : max_of(kept, wanted);
}

static void create(struct fork *f)
{
	const struct checkpoint *cp = f->checkpoint;
	auto_free char *template = NULL, *envs = NULL, *metadata = NULL;
	struct jsonr config, v;
	struct sandbox_spec spec = {.checkpoint = cp->id, .timeout_s = 300, .draft = true};
	uint64_t timeout;

	if (jsonr_parse(cp->config, strlen(cp->config), &config) < 0) {
		call_error(answered(f), 500, "the checkpoint's description cannot be read");
		return;
	}
	template = copy_str(config, "template");
	if (!template) {
		call_error(answered(f), 503, "out of memory");
		return;
	}
	envs = overlay(f, config, "envs", f->envs, SANDBOX_ENVS_MAX);
	if (envs)
		metadata = overlay(f, config, "metadata", f->metadata, SANDBOX_METADATA_MAX);
	if (!metadata)
		return;
	if (!sandbox_envs_fit(envs)) {
		call_error(answered(f), 400, "envs: a value is too long");
		return;
	}
	spec.template = template;
	spec.envs = envs;
	spec.metadata = metadata;
	spec.cpus = copy_number(config, "cpuCount");
	spec.memory_mb = memory_of(f, copy_number(config, "memoryMB"));
	spec.disk_mb = copy_number(config, "diskMB");
	spec.network = jsonr_member(config, "networkEnabled", &v) && jsonr_is(v, 't');
	if (jsonr_member(config, "timeout", &v) && jsonr_u64(v, INT64_MAX, &timeout) == 0)
		spec.timeout_s = (int64_t)timeout;
	if (f->has_timeout)
		spec.timeout_s = max_of(f->timeout_s, (int64_t)0);
	f->op = (struct sandbox_op){.fn = on_created, .owner = f};
	f->creating = true;
	sandbox_create(cp->all->sandboxes, &spec, &f->op);
}

static void go_on(struct fork *f)
{
	const struct checkpoint *cp = f->checkpoint;

	if (cp->state == CHECKPOINT_READY)
		create(f);
	else
		call_error(answered(f), 400, "checkpoint is not ready (status: %s)",
			checkpoint_state_str(cp->state));
}

static void on_ready(struct checkpoint_wait *w)
{
	struct fork *f = container_of(w, struct fork, ready);

	uv_timer_stop(&f->patience);
	go_on(f);
}

static void on_patience(uv_timer_t *t)
{
	struct fork *f = t->data;

	checkpoint_unwait(&f->ready);
	go_on(f);
}

void checkpoint_on_fork(struct call *c)
{
	struct checkpoint *cp;
	struct fork *f;

	if (!checkpoint_can(c))
		return;
	cp = checkpoint_of(c, c->params[0]);
	if (!cp)
		return;
	f = xcalloc(1, sizeof(*f));
	f->call = c;
	uv_timer_init(bridge_of(c)->loop, &f->patience);
	f->patience.data = f;
	c->ops = &fork_ops;
	c->state = f;
	if (!read_body(c, f)) {
		f->call = NULL;
		return;
	}
	f->checkpoint = cp;
	cp->forks++;
	if (cp->state == CHECKPOINT_PROCESSING) {
		checkpoint_await(cp, &f->ready, on_ready);
		uv_timer_start(&f->patience, on_patience, AWAIT_MS, 0);
	} else {
		go_on(f);
	}
}
