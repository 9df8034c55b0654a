/* What can be set of a sandbox that is there: timeout, limits, memory. */
#include <stdio.h>

#include "bridge/api/bridge.h"
#include "bridge/api/dispatch.h"
#include "bridge/api/fields.h"
#include "bridge/api/sandbox_json.h"

#define LIMIT_MEMORY_MIN_MB 16
#define SCALE_MIN_MB        128

bool sandbox_is_dead(struct call *c)
{
	if (c->sandbox->state != SANDBOX_KILLED && c->sandbox->state != SANDBOX_KILLING)
		return false;
	call_error(c, 410, "sandbox %s has been stopped", c->sandbox->id);
	return true;
}

/* ---- timeout ---- */

void sandbox_on_timeout(struct call *c)
{
	int64_t timeout = -1;

	if (sandbox_is_dead(c) || !field_int(c, "timeout", INT64_MIN, INT64_MAX, &timeout))
		return;
	if (timeout < 0)
		call_error(c, 400, "timeout must be a number of seconds, or 0 for none");
	else
		sandbox_reply_store(c, sandbox_set_timeout(c->sandbox, timeout));
}

/* ---- limits ---- */

struct limits {
	int64_t asked;
	int64_t memory_mb, cpu_percent;
	struct sandbox *sandbox;
};

static void put_limits(struct call *c)
{
	const struct sandbox *s = c->sandbox;
	unsigned memory_mb, cpu_percent;
	struct text t;

	sandbox_limits(s, &memory_mb, &cpu_percent);
	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "sandboxID", s->id);
	text_int(&t, "memoryMB", memory_mb ? memory_mb : s->memory_mb);
	text_int(&t, "cpuPercent", cpu_percent ? cpu_percent : s->cpus * 100);
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

void sandbox_on_get_limits(struct call *c)
{
	put_limits(c);
}

static void on_limits_end(struct call *c)
{
	struct limits *l = c->state;

	if (l->asked > 0)
		guest_cancel(sandbox_guest(l->sandbox), l->asked);
	free(l);
}

static const struct call_ops limits_ops = {.on_end = on_limits_end};

static void on_limited(void *owner, const uint8_t *json, size_t len, const struct error *e)
{
	struct call *c = owner;
	struct limits *l = c->state;
	struct fault f;
	int r;

	(void)json, (void)len;
	l->asked = 0;
	if (e && e->code == E_FAILED && e->err == EOPNOTSUPP) {
		call_error(c, 501, "this sandbox cannot be limited: %s", e->message);
		return;
	}
	if (e) {
		fault_from_error(&f, e, "the limits cannot be set");
		call_fault(c, &f);
		return;
	}
	r = sandbox_set_limits(l->sandbox, (unsigned)l->memory_mb, (unsigned)l->cpu_percent);
	if (r < 0)
		sandbox_reply_store(c, r);
	else
		put_limits(c);
}

static void put_limit(struct jsonw *w, const char *name, int64_t n, uint64_t unit)
{
	if (n > 0)
		jsonw_u64(w, name, (uint64_t)n * unit);
	else
		jsonw_null(w, name);
}

/* 0, and what is not said, is as the sandbox was created. */
void sandbox_on_set_limits(struct call *c)
{
	struct sandbox *s = c->sandbox;
	struct limits *l;
	int64_t memory = 0, cpu = 0;
	char json[256];
	struct jsonw w;

	if (!field_int(c, "memoryMB", 0, s->memory_mb ? s->memory_mb : INT32_MAX, &memory) ||
		!field_int(c, "cpuPercent", 0, s->cpus ? s->cpus * 100 : INT32_MAX, &cpu))
		return;
	if (memory > 0 && memory < LIMIT_MEMORY_MIN_MB) {
		call_error(c, 400, "memoryMB must be at least %d", LIMIT_MEMORY_MIN_MB);
		return;
	}
	l = xcalloc(1, sizeof(*l));
	*l = (struct limits){.sandbox = s, .memory_mb = memory, .cpu_percent = cpu};
	jsonw_init(&w, json, sizeof(json));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "op", "sys.limits");
	put_limit(&w, "memory", memory, MIB);
	put_limit(&w, "cpu_percent", cpu, 1);
	jsonw_close(&w, '}');
	c->state = l;
	c->ops = &limits_ops;
	l->asked = guest_ask(sandbox_guest(s), json, w.len, on_limited, c);
	if (l->asked < 0)
		call_error(c, 502, "the link to the sandbox is lost");
}

/* ---- memory ---- */

static void on_scaled(struct call *c, struct sandbox_op *op)
{
	const struct sandbox *s = op->sandbox;
	unsigned memory_mb, cpu_percent;
	struct text t;

	sandbox_limits(s, &memory_mb, &cpu_percent);
	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "sandboxID", s->id);
	text_str(&t, "workerID", bridge_of(c)->config.worker);
	text_int(&t, "memoryMB", sandbox_memory_mb(s));
	text_int(&t, "cpuPercent", cpu_percent ? cpu_percent : s->cpus * 100);
	text_bool(&t, "migrated", false);
	text_bool(&t, "ok", true);
	text_bool(&t, "autoscaleDisabled", false);
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

void sandbox_on_scale(struct call *c)
{
	struct sandbox *s = c->sandbox;
	int64_t memory = 0;

	if (!field_int(c, "memoryMB", INT64_MIN, INT64_MAX, &memory))
		return;
	if (!sandbox_can_scale(s))
		call_error_with(c, 501, ",\"code\":\"not_implemented\"",
			"the driver %s cannot scale memory; PUT limits can",
			bridge_of(c)->config.driver);
	else if (memory < SCALE_MIN_MB || memory > s->memory_mb)
		call_error(c, 400,
			"memoryMB must be between %d and the %u that the sandbox was created with",
			SCALE_MIN_MB, s->memory_mb);
	else if (sandbox_scaling_locked(s))
		call_error_with(c, 403, ",\"code\":\"scaling_locked\"",
			"scaling of sandbox %s is locked", s->id);
	else
		sandbox_scale(s, (unsigned)memory, sandbox_wait(c, on_scaled));
}

static void put_lock(struct call *c)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "sandboxID", c->sandbox->id);
	text_bool(&t, "locked", sandbox_scaling_locked(c->sandbox));
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

void sandbox_on_get_lock(struct call *c)
{
	put_lock(c);
}

void sandbox_on_set_lock(struct call *c)
{
	bool locked = true;
	int r;

	if (sandbox_is_dead(c) || !field_bool(c, "locked", &locked))
		return;
	r = sandbox_lock_scaling(c->sandbox, locked);
	if (r < 0)
		sandbox_reply_store(c, r);
	else
		put_lock(c);
}
