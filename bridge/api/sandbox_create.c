/* POST /sandboxes: from its body to a struct sandbox_spec. */
#include <stdio.h>

#include "bridge/api/bridge.h"
#include "bridge/api/fields.h"
#include "bridge/api/sandbox_json.h"
#include "bridge/sandbox/sandbox_spec.h"

#define TIMEOUT_DEFAULT_S 300
#define MEMORY_DEFAULT_MB 4096
#define MEMORY_MIN_MB     128
#define MEMORY_MAX_MB     16384
#define CPUS_MAX          4
#define DISK_DEFAULT_MB   20480
#define DISK_MAX_MB       262144
#define TEMPLATE_MAX      128

struct body {
	struct sandbox_spec spec;
	char *template, *alias, *envs, *metadata, *tags; /* owned */
};

static void body_fini(struct body *b)
{
	free(b->template);
	free(b->alias);
	free(b->envs);
	free(b->metadata);
	free(b->tags);
}

/* Is the member there, and says something? */
static bool given(const struct call *c, const char *name)
{
	struct jsonr v, first;
	struct jsonr_walk w;

	if (!jsonr_member(c->body, name, &v) || jsonr_is(v, 'n') || jsonr_is(v, 'f') ||
		jsonr_is_str(v, ""))
		return false;
	return !jsonr_begin(&w, v) || jsonr_next(&w, NULL, &first);
}

static bool refuse(struct call *c, int status, const char *why)
{
	call_error(c, status, "%s", why);
	return false;
}

/* ---- what is not built ---- */

static bool check_later(struct call *c)
{
	static const char *const later[][2] = {
		{"image", "images are not built yet"},
		{"snapshot", "snapshots are not built yet"},
		{"previewAuth", "preview URLs are not built yet"},
		{"webhooks", "webhooks are not built yet"},
	};
	auto_free char *store = NULL;

	if (!field_str(c, "secretStore", 256, &store))
		return false;
	if (store && *store) {
		call_error(c, 400, "secret store not found: %s", store);
		return false;
	}
	for (size_t i = 0; i < array_size(later); i++) {
		if (given(c, later[i][0]))
			return refuse(c, 501, later[i][1]);
	}
	return true;
}

/* ---- names ---- */

static bool is_base(const char *name)
{
	return !*name || !strcmp(name, "base") || !strcmp(name, "default") ||
	       !strcmp(name, "ubuntu");
}

/* Names of images are the vm driver's to know; others have the base only. */
static bool read_template(struct call *c, struct body *b)
{
	if (!field_str(c, "templateID", TEMPLATE_MAX, &b->template))
		return false;
	b->spec.template = "base";
	if (!b->template || is_base(b->template))
		return true;
	b->spec.template = b->template;
	if (strcmp(bridge_of(c)->config.driver, "vm") == 0 &&
		msg_name_valid(b->template, TEMPLATE_MAX) && b->template[0] != '.')
		return true;
	call_error(c, 404, "template not found: %s", b->template);
	return false;
}

static bool read_alias(struct call *c, struct body *b)
{
	const struct sandbox *other;

	if (!field_str(c, "alias", 64, &b->alias))
		return false;
	b->spec.alias = b->alias;
	if (!b->alias || !*b->alias)
		return true;
	if (!msg_name_valid(b->alias, 64) || strncmp(b->alias, "sb-", 3) == 0 ||
		!strcmp(b->alias, "from-checkpoint") || !strcmp(b->alias, "checkpoints"))
		return refuse(c, 400,
			"alias must be of letters, digits, '.', '_', '-', and not begin with sb-");
	other = sandboxes_find(bridge_of(c)->sandboxes, b->alias);
	if (other && other->state != SANDBOX_KILLED)
		return refuse(c, 409, "there is a sandbox of that alias already");
	return true;
}

/* ---- size ---- */

static bool read_size(struct call *c, struct sandbox_spec *s)
{
	int64_t cpus = 0, memory = 0, disk = 0;

	if (!field_int(c, "cpuCount", 0, INT32_MAX, &cpus) ||
		!field_int(c, "memoryMB", 0, INT32_MAX, &memory) ||
		!field_int(c, "diskMB", 0, INT32_MAX, &disk))
		return false;
	if (cpus > CPUS_MAX || memory > MEMORY_MAX_MB)
		return refuse(
			c, 400, "the most is 4 cpuCount and 16384 memoryMB; contact us for more");
	if (memory > 0 && memory < MEMORY_MIN_MB)
		return refuse(c, 400, "memoryMB must be at least 128");
	if (disk > 0 && (disk < DISK_DEFAULT_MB || disk > DISK_MAX_MB))
		return refuse(c, 400, "diskMB must be from 20480 to 262144");
	if (cpus == 0 && memory == 0)
		memory = MEMORY_DEFAULT_MB;
	if (memory == 0)
		memory = cpus == 1 ? 1024 : cpus == 2 ? 8192 : cpus == 3 ? 12288 : 16384;
	if (cpus == 0)
		cpus = memory <= 4096 ? 1 : memory <= 8192 ? 2 : 4;
	s->cpus = (unsigned)cpus;
	s->memory_mb = (unsigned)memory;
	s->disk_mb = disk ? (unsigned)disk : DISK_DEFAULT_MB;
	return true;
}

/* ---- maps ---- */

/* A map of strings, written anew (so that it is what we understood); NULL: answered. */
static char *read_map(struct call *c, const char *name, size_t max, char ***ret_pairs)
{
	size_t n = 0, bytes = 0, len;
	struct text t;
	char *json;

	if (!field_map(c, name, SANDBOX_PAIRS_MAX, ret_pairs, &n))
		return NULL;
	text_init(&t);
	text_open(&t, NULL, '{');
	for (char **p = *ret_pairs; p && *p; p += 2) {
		bytes += strlen(p[0]) + strlen(p[1]);
		text_str(&t, p[0], p[1]);
	}
	text_close(&t, '}');
	json = text_take(&t, &len);
	if (!json) {
		call_error(c, 503, "out of memory");
	} else if (bytes > max) {
		call_error(c, 400, "%s must be at most %zu bytes together", name, max);
		free(take_ptr(&json));
	}
	return json;
}

static bool read_envs(struct call *c, struct body *b)
{
	auto_free char **pairs = NULL;

	b->envs = read_map(c, "envs", SANDBOX_ENVS_MAX, &pairs);
	if (!b->envs)
		return false;
	b->spec.envs = b->envs;
	for (char **p = pairs; p && *p; p += 2) {
		if (!sandbox_env_name_valid(*p)) {
			call_error(c, 400,
				"envs: '%.100s' is no name: letters, digits and '_', at most %d",
				*p, SANDBOX_ENV_NAME_MAX);
			return false;
		}
	}
	if (!sandbox_envs_fit(b->envs))
		return refuse(c, 400, "envs: a value is too long");
	return true;
}

static bool read_maps(struct call *c, struct body *b)
{
	auto_free char **pairs = NULL;
	struct jsonr tags = {0};

	if (!read_envs(c, b))
		return false;
	b->metadata = read_map(c, "metadata", SANDBOX_METADATA_MAX, &pairs);
	b->spec.metadata = b->metadata;
	if (!b->metadata || !field_raw(c, "tags", '{', &tags))
		return false;
	if (tags.len > 0) {
		b->tags = sandbox_read_tags(c, tags);
		b->spec.tags = b->tags;
		return b->tags != NULL;
	}
	return true;
}

/* ---- the route ---- */

static bool read_body(struct call *c, struct body *b)
{
	struct sandbox_spec *s = &b->spec;

	s->network = true;
	s->timeout_s = TIMEOUT_DEFAULT_S;
	if (!check_later(c) || !read_template(c, b) || !read_alias(c, b) ||
		!field_int(c, "timeout", INT64_MIN, INT64_MAX, &s->timeout_s) || !read_size(c, s) ||
		!field_bool(c, "networkEnabled", &s->network) || !read_maps(c, b))
		return false;
	s->timeout_s = max_of(s->timeout_s, (int64_t)0);
	return true;
}

static void on_created(struct call *c, struct sandbox_op *op)
{
	sandbox_reply(c, op->sandbox, 201);
}

void sandbox_on_create(struct call *c)
{
	struct body b = {0};

	if (read_body(c, &b))
		sandbox_create(
			bridge_of(c)->sandboxes, &b.spec, sandbox_wait_or_kill(c, on_created));
	body_fini(&b);
}
