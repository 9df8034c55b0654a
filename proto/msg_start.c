/* OPEN: what to start, how to attach (docs/protocol.md section 6). */
#include <sys/resource.h>

#include "proto/msg_read.h"

static const struct {
	const char *name;
	int resource;
} rlimit_names[] = {
	{"as", RLIMIT_AS},
	{"core", RLIMIT_CORE},
	{"cpu", RLIMIT_CPU},
	{"data", RLIMIT_DATA},
	{"fsize", RLIMIT_FSIZE},
	{"locks", RLIMIT_LOCKS},
	{"memlock", RLIMIT_MEMLOCK},
	{"msgqueue", RLIMIT_MSGQUEUE},
	{"nice", RLIMIT_NICE},
	{"nofile", RLIMIT_NOFILE},
	{"nproc", RLIMIT_NPROC},
	{"rss", RLIMIT_RSS},
	{"rtprio", RLIMIT_RTPRIO},
	{"rttime", RLIMIT_RTTIME},
	{"sigpending", RLIMIT_SIGPENDING},
	{"stack", RLIMIT_STACK},
};

static int read_cmd(struct msg_reader *r, const cJSON *obj, struct msg_start *s)
{
	const cJSON *cmd = cJSON_GetObjectItemCaseSensitive(obj, "cmd"), *v;
	int n = cJSON_IsArray(cmd) ? cJSON_GetArraySize(cmd) : 0;

	if (!cmd && s->pty.on)
		return 0; /* a shell */
	if (n == 0)
		return msg_reader_fail(r, "cmd", "an array of at least one string");
	s->argv = (char **)msg_reader_alloc(r, ((size_t)n + 2) * sizeof(char *)) + 1;
	cJSON_ArrayForEach(v, cmd)
	{
		const char *arg = NULL;
		int e = msg_value_str(r, v, "cmd", &arg);

		if (e < 0)
			return e;
		s->argv[s->argc++] = (char *)arg;
	}
	if (s->argv[0][0] == '\0')
		return msg_reader_fail(r, "cmd", "an array whose first string is not empty");
	return 0;
}

/* The other way to say what runs. */
static int read_agent(
	struct msg_reader *r, const cJSON *obj, const char *agent, struct msg_start *s)
{
	if (strcmp(agent, "claude") != 0)
		return msg_reader_fail(r, "agent", "\"claude\"");
	if (msg_has(obj, "cmd"))
		return msg_reader_fail(r, "cmd", "absent where \"agent\" is given");
	if (s->pty.on)
		return msg_reader_fail(r, "pty", "absent where \"agent\" is given");
	s->argv = (char **)msg_reader_alloc(r, 4 * sizeof(char *)) + 1;
	s->argv[s->argc++] = (char *)"agentd";
	s->argv[s->argc++] = (char *)"claude";
	s->agent = s->with_stdin = true;
	return 0;
}

static int read_what(struct msg_reader *r, const cJSON *obj, struct msg_start *s)
{
	const char *agent = NULL;
	int e = msg_get_str(r, obj, "agent", &agent);

	if (e < 0)
		return e;
	return agent ? read_agent(r, obj, agent, s) : read_cmd(r, obj, s);
}

int msg_read_env(struct msg_reader *r, const cJSON *obj, const char *name, struct msg_env **ret,
	size_t *ret_n)
{
	const cJSON *env = NULL, *v;
	int e = msg_get_object(r, obj, name, &env);

	if (e < 0 || !env)
		return e;
	*ret = msg_reader_alloc(r, (size_t)cJSON_GetArraySize(env) * sizeof(**ret));
	cJSON_ArrayForEach(v, env)
	{
		struct msg_env *var = &(*ret)[(*ret_n)++];
		size_t len = strlen(v->string) + 1;

		if (len == 1 || strchr(v->string, '='))
			return msg_reader_fail(
				r, name, "an object whose names are not empty and have no '='");
		var->name = memcpy(msg_reader_alloc(r, len), v->string, len);
		if (!cJSON_IsNull(v)) {
			e = msg_value_str(r, v, var->name, &var->value);
			if (e < 0)
				return e;
		}
	}
	return 0;
}

static int read_rlimits(struct msg_reader *r, const cJSON *obj, struct msg_start *s)
{
	const cJSON *limits = NULL, *v;
	int e = msg_get_object(r, obj, "rlimits", &limits);

	if (e < 0 || !limits)
		return e;
	cJSON_ArrayForEach(v, limits)
	{
		struct msg_rlimit *l = &s->rlimits[s->n_rlimits];
		size_t i = 0;

		while (i < array_size(rlimit_names) && strcmp(rlimit_names[i].name, v->string) != 0)
			i++;
		if (i == array_size(rlimit_names) || s->n_rlimits == MSG_RLIMITS_MAX)
			return msg_reader_fail(
				r, "rlimits", "an object with names as in getrlimit(2), each once");
		l->resource = rlimit_names[i].resource;
		if (!cJSON_IsArray(v) || cJSON_GetArraySize(v) != 2 ||
			msg_value_integer(cJSON_GetArrayItem(v, 0), -1, MSG_INT_MAX, &l->soft) <
				0 ||
			msg_value_integer(cJSON_GetArrayItem(v, 1), -1, MSG_INT_MAX, &l->hard) < 0)
			return msg_reader_fail(r, v->string, "[soft, hard], -1 for unlimited");
		s->n_rlimits++;
	}
	return 0;
}

static int read_limits(struct msg_reader *r, const cJSON *obj, struct msg_start *s)
{
	const cJSON *limits = NULL;
	int e = msg_get_object(r, obj, "limits", &limits);

	return e < 0 || !limits ? e : msg_read_resources(r, limits, &s->limits);
}

static const char *const group_words[] = {
	[GROUP_AUTO] = "auto", [GROUP_SESSION] = "session", [GROUP_PROCESS] = "process"};

static int read_group(struct msg_reader *r, const cJSON *obj, struct msg_start *s)
{
	const char *word = group_words[GROUP_AUTO];
	size_t i = 0;
	int e = msg_get_str(r, obj, "group", &word);

	if (e < 0)
		return e;
	while (i < array_size(group_words) && strcmp(group_words[i], word) != 0)
		i++;
	if (i == array_size(group_words))
		return msg_reader_fail(r, "group", "\"auto\", \"session\" or \"process\"");
	s->group = (enum msg_group)i;
	return 0;
}

static int read_numbers(struct msg_reader *r, const cJSON *obj, struct msg_start *s)
{
	const struct {
		const char *name;
		uint64_t *ret, max;
	} numbers[] = {
		{"timeout_ms", &s->timeout_ms, MSG_MS_MAX},
		{"kill_grace_ms", &s->kill_grace_ms, MSG_MS_MAX},
		{"disconnect_ms", &s->disconnect_ms, MSG_MS_MAX},
		{"linger_ms", &s->linger_ms, 60000},
		{"retain_ms", &s->retain_ms, MSG_MS_MAX},
		{"ring", &s->ring, (uint64_t)MSG_INT_MAX},
	};

	for (size_t i = 0; i < array_size(numbers); i++) {
		int e = msg_get_u64(r, obj, numbers[i].name, numbers[i].max, numbers[i].ret);

		if (e < 0)
			return e;
	}
	s->has_retain = msg_has(obj, "retain_ms");
	s->has_ring = msg_has(obj, "ring");
	return 0;
}

static void mix_byte(uint64_t *h, uint8_t byte)
{
	*h = (*h ^ byte) * 0x100000001b3ULL;
}

static void mix_u64(uint64_t *h, uint64_t v)
{
	for (int i = 0; i < 64; i += 8)
		mix_byte(h, (uint8_t)(v >> i));
}

/* With its end, and told apart from none at all. */
static void mix_str(uint64_t *h, const char *s)
{
	mix_byte(h, s != NULL);
	for (; s && *s; s++)
		mix_byte(h, (uint8_t)*s);
	mix_byte(h, 0);
}

/* FNV-1a of the values: two starts with the same id must mean the same thing. */
static uint64_t fingerprint(const struct msg_start *s)
{
	uint64_t h = 0xcbf29ce484222325ULL;
	uint64_t numbers[] = {s->timeout_ms, s->kill_grace_ms, s->disconnect_ms, s->linger_ms,
		s->retain_ms, s->ring, s->clear_env, s->with_stdin, s->group, s->argc, s->n_env,
		s->n_rlimits, (uint64_t)s->limits.memory, (uint64_t)s->limits.pids,
		(uint64_t)s->limits.cpu_percent, s->pty.on, s->pty.login};

	for (size_t i = 0; i < array_size(numbers); i++)
		mix_u64(&h, numbers[i]);
	for (size_t i = 0; i < s->argc; i++)
		mix_str(&h, s->argv[i]);
	for (size_t i = 0; i < s->n_env; i++) {
		mix_str(&h, s->env[i].name);
		mix_str(&h, s->env[i].value);
	}
	for (size_t i = 0; i < s->n_rlimits; i++) {
		mix_u64(&h, (uint64_t)s->rlimits[i].resource);
		mix_u64(&h, (uint64_t)s->rlimits[i].soft);
		mix_u64(&h, (uint64_t)s->rlimits[i].hard);
	}
	mix_str(&h, s->cwd);
	mix_str(&h, s->user);
	mix_str(&h, s->pty.term);
	mix_str(&h, s->pty.shell);
	if (s->agent) /* so that commands have the fingerprint they had before there were agents */
		mix_byte(&h, 1);
	return h ? h : 1;
}

int msg_read_start(struct msg_reader *r, const cJSON *obj, struct msg_start *s)
{
	int e;

	*s = (struct msg_start){
		.kill_grace_ms = 2000, .linger_ms = 50, .retain_ms = 300000, .ring = 1 << 20};
	if ((e = msg_get_bool(r, obj, "stdin", &s->with_stdin)) < 0 ||
		(e = msg_read_pty(r, obj, s)) < 0 || (e = read_what(r, obj, s)) < 0 ||
		(e = msg_read_env(r, obj, "env", &s->env, &s->n_env)) < 0 ||
		(e = read_limits(r, obj, s)) < 0 || (e = read_rlimits(r, obj, s)) < 0 ||
		(e = read_group(r, obj, s)) < 0 || (e = read_numbers(r, obj, s)) < 0 ||
		(e = msg_get_bool(r, obj, "clear_env", &s->clear_env)) < 0 ||
		(e = msg_get_str(r, obj, "cwd", &s->cwd)) < 0 ||
		(e = msg_get_str(r, obj, "user", &s->user)) < 0)
		return e;
	s->fingerprint = fingerprint(s);
	return 0;
}

static int read_since(struct msg_reader *r, const cJSON *obj, struct msg_attach *a)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, "since");
	const char *word = cJSON_GetStringValue(v);
	int64_t out, err;

	if (!v)
		return 0;
	if (word && strcmp(word, "now") == 0) {
		a->since_now = true;
		return 0;
	}
	if (!cJSON_IsArray(v) || cJSON_GetArraySize(v) != 2 ||
		msg_value_integer(cJSON_GetArrayItem(v, 0), 0, MSG_INT_MAX, &out) < 0 ||
		msg_value_integer(cJSON_GetArrayItem(v, 1), 0, MSG_INT_MAX, &err) < 0)
		return msg_reader_fail(r, "since", "[stdout offset, stderr offset] or \"now\"");
	a->since_out = (uint64_t)out;
	a->since_err = (uint64_t)err;
	return 0;
}

static int read_attach(struct msg_reader *r, const cJSON *obj, struct msg_attach *a)
{
	const char *policy = "lossless";
	int e;

	if ((e = read_since(r, obj, a)) < 0 || (e = msg_get_bool(r, obj, "input", &a->input)) < 0 ||
		(e = msg_get_name(r, obj, "viewer", MSG_VIEWER_MAX, &a->viewer)) < 0 ||
		(e = msg_get_u64(r, obj, "hold_ms", MSG_HOLD_MAX_MS, &a->hold_ms)) < 0 ||
		(e = msg_get_u64(r, obj, "yield_ms", MSG_HOLD_MAX_MS, &a->yield_ms)) < 0 ||
		(e = msg_get_str(r, obj, "policy", &policy)) < 0 ||
		(e = msg_read_attach_pty(r, obj, a)) < 0)
		return e;
	if (strcmp(policy, "live") == 0)
		a->policy = POLICY_LIVE;
	else if (strcmp(policy, "lossless") != 0)
		return msg_reader_fail(r, "policy", "\"lossless\" or \"live\"");
	return 0;
}

static int read_open(struct msg_reader *r, struct msg_open *m)
{
	const cJSON *start = NULL, *attach = NULL;
	int e;

	m->service = "";
	if ((e = msg_get_str(r, r->root, "service", &m->service)) < 0 ||
		(e = msg_get_u64(r, r->root, "window", (uint64_t)MSG_INT_MAX, &m->window)) < 0)
		return e;
	if (m->service[0] == '\0')
		return msg_reader_fail(r, "service", "the name of a service");
	if (strcmp(m->service, "exec") != 0)
		return 0; /* its service reads the rest */
	if ((e = msg_get_name(r, r->root, "id", MSG_ID_MAX, &m->id)) < 0 ||
		(e = msg_get_object(r, r->root, "start", &start)) < 0 ||
		(e = msg_get_object(r, r->root, "attach", &attach)) < 0)
		return e;
	if (start && (e = msg_read_start(r, start, &m->start)) < 0)
		return e;
	if (attach && (e = read_attach(r, attach, &m->attach)) < 0)
		return e;
	m->has_start = start != NULL;
	return 0;
}

int msg_parse_open(const uint8_t *json, size_t len, struct msg_open *ret, struct error *e)
{
	struct msg_open m = {0};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_open(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_open_fini(struct msg_open *m)
{
	free(take_ptr(&m->mem));
}

/* ---- writing, for the client ---- */

static void put_env(struct jsonw *w, const struct msg_start *s)
{
	jsonw_open(w, "env", '{');
	for (size_t i = 0; i < s->n_env; i++) {
		if (s->env[i].value)
			jsonw_bytes(w, s->env[i].name, s->env[i].value, strlen(s->env[i].value));
		else
			jsonw_null(w, s->env[i].name);
	}
	jsonw_close(w, '}');
}

static void put_rlimits(struct jsonw *w, const struct msg_start *s)
{
	jsonw_open(w, "rlimits", '{');
	for (size_t i = 0; i < s->n_rlimits; i++) {
		size_t k = 0;

		while (rlimit_names[k].resource != s->rlimits[i].resource)
			k++;
		jsonw_open(w, rlimit_names[k].name, '[');
		jsonw_int(w, NULL, s->rlimits[i].soft);
		jsonw_int(w, NULL, s->rlimits[i].hard);
		jsonw_close(w, ']');
	}
	jsonw_close(w, '}');
}

static void put_limit(struct jsonw *w, const char *name, int64_t v)
{
	if (v == RESOURCE_NONE)
		jsonw_null(w, name);
	else if (v)
		jsonw_int(w, name, v);
}

void msg_put_resources(struct jsonw *w, const char *name, const struct msg_resources *l)
{
	jsonw_open(w, name, '{');
	put_limit(w, "memory", l->memory);
	put_limit(w, "pids", l->pids);
	put_limit(w, "cpu_percent", l->cpu_percent);
	jsonw_close(w, '}');
}

static void put_cmd(struct jsonw *w, const struct msg_start *s)
{
	jsonw_open(w, "cmd", '[');
	for (size_t i = 0; i < s->argc; i++)
		jsonw_bytes(w, NULL, s->argv[i], strlen(s->argv[i]));
	jsonw_close(w, ']');
}

void msg_put_start(struct jsonw *w, const struct msg_start *s)
{
	jsonw_open(w, "start", '{');
	if (s->agent)
		jsonw_str(w, "agent", "claude");
	else if (s->argc > 0 || !s->pty.on)
		put_cmd(w, s);
	if (s->pty.on)
		msg_put_pty(w, &s->pty);
	if (s->n_env > 0)
		put_env(w, s);
	if (s->n_rlimits > 0)
		put_rlimits(w, s);
	if (msg_resources_any(&s->limits))
		msg_put_resources(w, "limits", &s->limits);
	if (s->clear_env)
		jsonw_bool(w, "clear_env", true);
	if (s->with_stdin && !s->agent)
		jsonw_bool(w, "stdin", true);
	if (s->group != GROUP_AUTO)
		jsonw_str(w, "group", group_words[s->group]);
	if (s->cwd)
		jsonw_bytes(w, "cwd", s->cwd, strlen(s->cwd));
	if (s->user)
		jsonw_bytes(w, "user", s->user, strlen(s->user));
	if (s->timeout_ms)
		jsonw_u64(w, "timeout_ms", s->timeout_ms);
	if (s->disconnect_ms)
		jsonw_u64(w, "disconnect_ms", s->disconnect_ms);
	jsonw_u64(w, "kill_grace_ms", s->kill_grace_ms);
	jsonw_u64(w, "linger_ms", s->linger_ms);
	if (s->has_retain)
		jsonw_u64(w, "retain_ms", s->retain_ms);
	if (s->has_ring)
		jsonw_u64(w, "ring", s->ring);
	jsonw_close(w, '}');
}

static void put_attach(struct jsonw *w, const struct msg_attach *a)
{
	jsonw_open(w, "attach", '{');
	if (a->viewer)
		jsonw_str(w, "viewer", a->viewer);
	if (a->since_now) {
		jsonw_str(w, "since", "now");
	} else {
		jsonw_open(w, "since", '[');
		jsonw_u64(w, NULL, a->since_out);
		jsonw_u64(w, NULL, a->since_err);
		jsonw_close(w, ']');
	}
	jsonw_str(w, "policy", a->policy == POLICY_LIVE ? "live" : "lossless");
	if (a->hold_ms)
		jsonw_u64(w, "hold_ms", a->hold_ms);
	if (a->yield_ms)
		jsonw_u64(w, "yield_ms", a->yield_ms);
	if (a->input)
		jsonw_bool(w, "input", true);
	msg_put_attach_pty(w, a);
	jsonw_close(w, '}');
}

size_t msg_format_open(const struct msg_open *m, char *out, size_t size)
{
	struct jsonw w;

	jsonw_init(&w, out, size);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "service", m->service);
	if (m->id)
		jsonw_str(&w, "id", m->id);
	jsonw_u64(&w, "window", m->window);
	if (m->has_start)
		msg_put_start(&w, &m->start);
	put_attach(&w, &m->attach);
	jsonw_close(&w, '}');
	return w.overflow ? 0 : w.len;
}
