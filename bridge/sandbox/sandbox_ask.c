/*
 * What an agent is told and asked at the beginning of a link: that its machine slept, the sandbox's
 * environment and limits, its sessions. One request at a time, in this order; what is due stays due
 * until it was answered, so a link that breaks in between costs nothing.
 */
#include "bridge/sandbox/sandbox_internal.h"

#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "bridge/sandbox/sandbox_spec.h"
#include "proto/sha256.h"
#include "proto/text.h"

#define ENV_ROOM (FRAME_PAYLOAD_MAX - 256) /* of a request, what is left for variables */

static void ask(struct sandbox *s, struct jsonw *w, guest_response_fn fn)
{
	int64_t r;

	jsonw_close(w, '}');
	ASSERT(!w->overflow);
	r = guest_ask(&s->guest, w->out, w->len, fn, s);
	s->asked = max_of(r, 0);
}

static void begin(struct jsonw *w, char *out, size_t size, const char *op)
{
	jsonw_init(w, out, size);
	jsonw_open(w, NULL, '{');
	jsonw_str(w, "op", op);
}

void ask_cancel(struct sandbox *s)
{
	if (s->asked)
		guest_cancel(&s->guest, s->asked);
	s->asked = 0;
}

/* The link broke: the next one begins anew. */
static bool is_broken(struct sandbox *s, const struct error *e)
{
	s->asked = 0;
	return e && e->code == E_FAILED && e->err == ECONNRESET;
}

/* ---- resume ---- */

/* Any step may fail in a guest that lacks something; it goes on as it is then. */
static void on_resumed(void *owner, const uint8_t *json, size_t len, const struct error *e)
{
	struct sandbox *s = owner;

	(void)json, (void)len;
	if (is_broken(s, e))
		return;
	s->resume_due = s->identity_due = false;
	ask_next(s);
}

/* The same for the sandbox's life, and nobody else's. */
static void put_machine_id(struct sandbox *s, struct jsonw *w)
{
	struct sha256 h;
	char hex[SHA256_HEX], text[64];

	snprintf(text, sizeof(text), "%s %llu", s->id, (unsigned long long)s->created_ms);
	sha256_init(&h);
	sha256_update(&h, text, strlen(text));
	sha256_final(&h, hex);
	hex[32] = '\0';
	jsonw_str(w, "machine_id", hex);
}

static void ask_resume(struct sandbox *s)
{
	char json[1024], text[BASE64_LEN(32) + 1];
	uint8_t random[32];
	struct timespec now;
	struct jsonw w;

	begin(&w, json, sizeof(json), "sys.resume");
	ASSERT(getrandom(random, sizeof(random), 0) == sizeof(random));
	base64_encode(random, sizeof(random), text);
	jsonw_str(&w, "entropy", text);
	if (s->identity_due) {
		jsonw_str(&w, "hostname", s->id);
		put_machine_id(s, &w);
		if (s->box.network)
			jsonw_raw(&w, "network", s->box.network, strlen(s->box.network));
	}
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(text, sizeof(text), "%lld%09ld", (long long)now.tv_sec, now.tv_nsec);
	jsonw_str(&w, "clock_ns", text);
	ask(s, &w, on_resumed);
}

/* ---- environment ---- */

/* Adds the variables from the s->env_at'th on, as many as fit; returns the number behind the last.
 */
static size_t put_envs(struct jsonw *w, struct jsonr envs, size_t from, bool *ret_all)
{
	struct jsonr name, value;
	struct jsonr_walk walk;
	struct jsonw mark;
	size_t at = 0;

	*ret_all = true;
	if (!jsonr_begin(&walk, envs))
		return 0;
	for (; jsonr_next(&walk, &name, &value); at++) {
		char text[SANDBOX_ENV_NAME_MAX + 1];

		if (at < from || name.len >= sizeof(text))
			continue;
		snprintf(text, sizeof(text), "%.*s", (int)name.len, name.p);
		mark = jsonw_mark(w);
		jsonw_raw(w, text, value.p, value.len);
		if (w->overflow || w->len > ENV_ROOM) {
			jsonw_rewind(w, mark);
			*ret_all = false;
			return at;
		}
	}
	return at;
}

bool sandbox_env_name_valid(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

	return n > 0 && n <= SANDBOX_ENV_NAME_MAX && !name[n] && (*name < '0' || *name > '9');
}

bool sandbox_envs_fit(const char *envs)
{
	char json[FRAME_PAYLOAD_MAX];
	struct jsonr object;
	struct jsonw w;
	size_t at = 0, next;
	bool all = false;

	if (jsonr_parse(envs, strlen(envs), &object) < 0)
		return false;
	while (!all) {
		jsonw_init(&w, json, sizeof(json));
		next = put_envs(&w, object, at, &all);
		if (!all && next == at)
			return false;
		at = next;
	}
	return true;
}

static void on_env(void *owner, const uint8_t *json, size_t len, const struct error *e)
{
	struct sandbox *s = owner;
	char why[160];

	(void)json, (void)len;
	if (is_broken(s, e))
		return;
	if (!e) {
		ask_next(s);
		return;
	}
	snprintf(why, sizeof(why), "its environment cannot be set: %.100s", e->message);
	link_asked(s, why);
}

static void ask_env(struct sandbox *s)
{
	char json[FRAME_PAYLOAD_MAX];
	struct jsonr envs;
	struct jsonw w;
	bool all;

	if (jsonr_parse(s->envs, strlen(s->envs), &envs) < 0)
		envs = (struct jsonr){"{}", 2};
	begin(&w, json, sizeof(json), "sys.env");
	jsonw_open(&w, "set", '{');
	s->env_at = put_envs(&w, envs, s->env_at, &all);
	jsonw_close(&w, '}');
	s->env_due = !all;
	ask(s, &w, on_env);
}

/* ---- limits ---- */

/* Where cgroups are missing there are none: whoever set them was told then. */
static void on_limits(void *owner, const uint8_t *json, size_t len, const struct error *e)
{
	struct sandbox *s = owner;

	(void)json, (void)len;
	if (is_broken(s, e))
		return;
	s->limits_due = false;
	ask_next(s);
}

static bool ask_limits(struct sandbox *s)
{
	unsigned memory_mb, cpu_percent;
	char json[256];
	struct jsonw w;

	sandbox_limits(s, &memory_mb, &cpu_percent);
	if (!memory_mb && !cpu_percent)
		return false;
	begin(&w, json, sizeof(json), "sys.limits");
	if (memory_mb)
		jsonw_u64(&w, "memory", memory_mb * MIB);
	if (cpu_percent)
		jsonw_u64(&w, "cpu_percent", cpu_percent);
	ask(s, &w, on_limits);
	return true;
}

/* ---- sessions ---- */

static void on_list(void *owner, const uint8_t *json, size_t len, const struct error *e)
{
	struct sandbox *s = owner;
	struct msg_list m = {0};
	struct error bad;
	bool first = !s->list_at[0];

	if (is_broken(s, e))
		return;
	if (e || msg_parse_list(json, len, &m, &bad) < 0) {
		link_asked(s, e ? e->message : bad.message);
		return;
	}
	roster_take(&s->roster, &m, first, !m.next);
	s->listing = m.next != NULL;
	snprintf(s->list_at, sizeof(s->list_at), "%s", m.next ? m.next : "");
	msg_list_fini(&m);
	ask_next(s);
}

static void ask_list(struct sandbox *s)
{
	struct msg_request m = {
		.op = OP_LIST, .limit = 256, .after = s->list_at[0] ? s->list_at : NULL};
	int64_t r = guest_request(&s->guest, &m, on_list, s);

	s->asked = max_of(r, 0);
}

/* ---- in order ---- */

void ask_next(struct sandbox *s)
{
	if (s->limits_due && !s->resume_due && !s->env_due && !ask_limits(s))
		s->limits_due = false;
	if (s->asked)
		return;
	if (s->resume_due)
		ask_resume(s);
	else if (s->env_due)
		ask_env(s);
	else if (s->listing)
		ask_list(s);
	else
		link_asked(s, NULL);
}

/* ---- prepare ---- */

static void on_prepared(void *owner, const uint8_t *json, size_t len, const struct error *e)
{
	struct sandbox *s = owner;

	s->asked = 0;
	if (e)
		life_wait_over(s, e->message);
	else if (memmem(json, len, "\"ok\":false", 10))
		life_wait_over(s, "a file system cannot be frozen");
	else
		life_wait_over(s, NULL);
}

void ask_prepare(struct sandbox *s, bool freeze)
{
	char json[256];
	struct jsonw w;

	begin(&w, json, sizeof(json), "sys.prepare");
	jsonw_bool(&w, "sync", true);
	if (freeze) {
		jsonw_open(&w, "freeze", '[');
		jsonw_str(&w, NULL, "/");
		jsonw_close(&w, ']');
		jsonw_u64(&w, "thaw_ms", 60000);
	}
	ask(s, &w, on_prepared);
}
