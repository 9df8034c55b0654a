/* What `sys.` requests ask for. Addresses are read by who sets them (netconf.c). */
#include "proto/msg_sys.h"

#include "proto/msg_read.h"
#include "proto/text.h"

static const cJSON *member(const cJSON *obj, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(obj, name);
}

/* An array of strings that are not empty; where `one` is set, also a string alone. */
static int read_strings(struct msg_reader *r, const cJSON *obj, const char *name, size_t max,
	bool one, struct msg_strings *ret)
{
	const cJSON *v = member(obj, name), *item;
	int e = 0;

	if (!v)
		return 0;
	if (one && cJSON_IsString(v)) {
		ret->s = msg_reader_alloc(r, sizeof(char *));
		ret->n = 1;
		e = msg_value_str(r, v, name, &ret->s[0]);
	} else {
		if (!cJSON_IsArray(v) || (size_t)cJSON_GetArraySize(v) > max)
			return msg_reader_fail(r, name, "an array of strings, and not so many");
		ret->s = msg_reader_alloc(r, (size_t)cJSON_GetArraySize(v) * sizeof(char *));
		cJSON_ArrayForEach(item, v)
		{
			e = msg_value_str(r, item, name, &ret->s[ret->n++]);
			if (e < 0)
				return e;
		}
	}
	for (size_t i = 0; e == 0 && i < ret->n; i++) {
		if (!ret->s[i][0])
			e = msg_reader_fail(r, name, "strings that are not empty");
	}
	return e;
}

/* One limit: a number, or null for none. */
static int read_limit(struct msg_reader *r, const cJSON *obj, const char *name, int64_t min,
	int64_t max, int64_t *ret)
{
	const cJSON *v = member(obj, name);

	if (cJSON_IsNull(v)) {
		*ret = RESOURCE_NONE;
		return 0;
	}
	return msg_get_i64(r, obj, name, min, max, ret);
}

int msg_read_resources(struct msg_reader *r, const cJSON *obj, struct msg_resources *ret)
{
	int e;

	*ret = (struct msg_resources){0};
	if ((e = read_limit(r, obj, "memory", 65536, MSG_INT_MAX, &ret->memory)) < 0 ||
		(e = read_limit(r, obj, "pids", 1, 1 << 22, &ret->pids)) < 0 ||
		(e = read_limit(r, obj, "cpu_percent", 1, 1000000, &ret->cpu_percent)) < 0)
		return e;
	return 0;
}

/* ---- each request ---- */

static int read_env_request(struct msg_reader *r, void *ret)
{
	struct msg_sys_env *m = ret;
	int e = msg_get_bool(r, r->root, "clear", &m->clear);

	return e < 0 ? e : msg_read_env(r, r->root, "set", &m->set, &m->n_set);
}

static int read_stats(struct msg_reader *r, void *ret)
{
	struct msg_sys_stats *m = ret;
	int e = read_strings(r, r->root, "sessions", MSG_STATS_SESSIONS, false, &m->sessions);

	return e < 0 ? e : read_strings(r, r->root, "mounts", MSG_STATS_MOUNTS, false, &m->mounts);
}

static int read_limits_request(struct msg_reader *r, void *ret)
{
	return msg_read_resources(r, r->root, ret);
}

static int read_log(struct msg_reader *r, void *ret)
{
	return msg_get_u64(r, r->root, "lines", MSG_LOG_LINES, ret);
}

static int read_prepare(struct msg_reader *r, void *ret)
{
	struct msg_sys_prepare *m = ret;
	int e;

	m->sync = true;
	m->thaw_ms = 10000;
	if ((e = msg_get_bool(r, r->root, "sync", &m->sync)) < 0 ||
		(e = msg_get_u64(r, r->root, "thaw_ms", MSG_THAW_MAX_MS, &m->thaw_ms)) < 0)
		return e;
	return read_strings(r, r->root, "freeze", MSG_FREEZE_MAX, false, &m->freeze);
}

/* More than the integers of JSON hold. */
static int read_clock(struct msg_reader *r, struct msg_sys_resume *m)
{
	const char *text = NULL;
	unsigned long long v;
	char *end;
	int e = msg_get_str(r, r->root, "clock_ns", &text);

	if (e < 0 || !text)
		return e;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || v > INT64_MAX)
		return msg_reader_fail(r, "clock_ns", "a string of digits: nanoseconds since 1970");
	m->has_clock = true;
	m->clock_ns = v;
	return 0;
}

static int read_entropy(struct msg_reader *r, struct msg_sys_resume *m)
{
	const char *text = NULL;
	ssize_t n;
	int e = msg_get_str(r, r->root, "entropy", &text);

	if (e < 0 || !text)
		return e;
	if (strlen(text) > BASE64_LEN(MSG_ENTROPY_MAX))
		return msg_reader_fail(r, "entropy", "at most 1024 bytes");
	m->entropy = msg_reader_alloc(r, strlen(text) + 1);
	n = base64_decode(text, strlen(text), m->entropy);
	if (n <= 0 || n > MSG_ENTROPY_MAX)
		return msg_reader_fail(r, "entropy", "base64 of 1 to 1024 bytes");
	m->n_entropy = (size_t)n;
	return 0;
}

static bool all_of(const char *s, size_t min, size_t max, const char *set)
{
	size_t n = strlen(s);

	return n >= min && n <= max && strspn(s, set) == n;
}

#define DIGITS  "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static int read_names(struct msg_reader *r, struct msg_sys_resume *m)
{
	int e;

	if ((e = msg_get_str(r, r->root, "hostname", &m->hostname)) < 0 ||
		(e = msg_get_str(r, r->root, "machine_id", &m->machine_id)) < 0)
		return e;
	if (m->hostname && (!all_of(m->hostname, 1, 64, DIGITS LETTERS ".-") ||
				   m->hostname[0] == '-' || m->hostname[0] == '.'))
		return msg_reader_fail(r, "hostname", "1 to 64 letters, digits, dots and hyphens");
	if (m->machine_id && !all_of(m->machine_id, 32, 32, DIGITS "abcdef"))
		return msg_reader_fail(r, "machine_id", "32 hex digits in lower case");
	return 0;
}

/* They become words of a file. */
static int check_search(struct msg_reader *r, const struct msg_strings *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (!all_of(s->s[i], 1, 253, DIGITS LETTERS ".-_"))
			return msg_reader_fail(r, "search", "names of domains");
	}
	return 0;
}

static int read_network(struct msg_reader *r, struct msg_sys_resume *m)
{
	struct msg_network *n = &m->network;
	const cJSON *obj = NULL;
	int e = msg_get_object(r, r->root, "network", &obj);

	if (e < 0 || !obj)
		return e;
	m->has_network = true;
	n->interface = "eth0";
	if ((e = msg_get_str(r, obj, "interface", &n->interface)) < 0 ||
		(e = read_strings(r, obj, "address", MSG_ADDRESSES_MAX, true, &n->addresses)) < 0 ||
		(e = read_strings(r, obj, "gateway", MSG_ADDRESSES_MAX, true, &n->gateways)) < 0 ||
		(e = read_strings(r, obj, "dns", MSG_DNS_MAX, true, &n->dns)) < 0 ||
		(e = read_strings(r, obj, "search", MSG_DNS_MAX, true, &n->search)) < 0 ||
		(e = msg_get_u64(r, obj, "mtu", 65536, &n->mtu)) < 0)
		return e;
	if (!*n->interface || strlen(n->interface) > 15 || strchr(n->interface, '/'))
		return msg_reader_fail(r, "interface", "the name of a network interface");
	return check_search(r, &n->search);
}

static int read_resume(struct msg_reader *r, void *ret)
{
	struct msg_sys_resume *m = ret;
	int e;

	m->thaw = true;
	if ((e = read_clock(r, m)) < 0 || (e = read_entropy(r, m)) < 0 ||
		(e = read_names(r, m)) < 0 || (e = read_network(r, m)) < 0 ||
		(e = msg_get_bool(r, r->root, "thaw", &m->thaw)) < 0)
		return e;
	m->has_env = msg_has(r->root, "env");
	return msg_read_env(r, r->root, "env", &m->env, &m->n_env);
}

/* `mem`: where the block goes that the strings lie in; NULL: nothing of the message is kept. */
static int parse(const uint8_t *json, size_t len, int (*read)(struct msg_reader *r, void *ret),
	void *ret, size_t size, void **mem, struct error *e)
{
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read(&r, ret);
	if (err == 0 && mem)
		*mem = msg_reader_take(&r);
	if (err < 0)
		memset(ret, 0, size);
	msg_reader_fini(&r);
	return err;
}

int msg_parse_sys_env(const uint8_t *json, size_t len, struct msg_sys_env *ret, struct error *e)
{
	*ret = (struct msg_sys_env){0};
	return parse(json, len, read_env_request, ret, sizeof(*ret), &ret->mem, e);
}

int msg_parse_sys_stats(const uint8_t *json, size_t len, struct msg_sys_stats *ret, struct error *e)
{
	*ret = (struct msg_sys_stats){0};
	return parse(json, len, read_stats, ret, sizeof(*ret), &ret->mem, e);
}

int msg_parse_sys_limits(
	const uint8_t *json, size_t len, struct msg_resources *ret, struct error *e)
{
	return parse(json, len, read_limits_request, ret, sizeof(*ret), NULL, e);
}

int msg_parse_sys_log(const uint8_t *json, size_t len, uint64_t *ret_lines, struct error *e)
{
	*ret_lines = 100;
	return parse(json, len, read_log, ret_lines, sizeof(*ret_lines), NULL, e);
}

int msg_parse_sys_prepare(
	const uint8_t *json, size_t len, struct msg_sys_prepare *ret, struct error *e)
{
	*ret = (struct msg_sys_prepare){0};
	return parse(json, len, read_prepare, ret, sizeof(*ret), &ret->mem, e);
}

int msg_parse_sys_resume(
	const uint8_t *json, size_t len, struct msg_sys_resume *ret, struct error *e)
{
	*ret = (struct msg_sys_resume){0};
	return parse(json, len, read_resume, ret, sizeof(*ret), &ret->mem, e);
}
