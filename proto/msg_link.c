/* Hello, notices, errors and requests: what concerns the link rather than one session. */
#include <signal.h>
#include <stdio.h>

#include "proto/msg_read.h"
#include "proto/signame.h"

/* ---- hello ---- */

static int read_limits(struct msg_reader *r, const cJSON *obj, struct msg_limits *l)
{
	const struct {
		const char *name;
		uint64_t *ret;
	} numbers[] = {
		{"frame", &l->frame},
		{"channels", &l->channels},
		{"sessions", &l->sessions},
		{"ring_max", &l->ring_max},
		{"stdin_window", &l->stdin_window},
		{"viewers", &l->viewers},
		{"writers", &l->writers},
		{"file_window", &l->file_window},
	};

	for (size_t i = 0; i < array_size(numbers); i++) {
		int e = msg_get_u64(r, obj, numbers[i].name, (uint64_t)MSG_INT_MAX, numbers[i].ret);

		if (e < 0)
			return e;
	}
	return 0;
}

static int read_hello(struct msg_reader *r, struct msg_hello *m)
{
	const cJSON *limits = NULL;
	int e;

	m->name = m->version = m->boot_id = m->instance = "";
	if (!msg_has(r->root, "proto"))
		return msg_reader_fail(r, "proto", "there: it is the protocol's version");
	if ((e = msg_get_u64(r, r->root, "proto", INT32_MAX, &m->proto)) < 0 ||
		(e = msg_get_str(r, r->root, "agent", &m->name)) < 0 ||
		(e = msg_get_str(r, r->root, "client", &m->name)) < 0 ||
		(e = msg_get_str(r, r->root, "version", &m->version)) < 0 ||
		(e = msg_get_str(r, r->root, "boot_id", &m->boot_id)) < 0 ||
		(e = msg_get_str(r, r->root, "instance", &m->instance)) < 0 ||
		(e = msg_get_u64(r, r->root, "epoch", (uint64_t)MSG_INT_MAX, &m->epoch)) < 0 ||
		(e = msg_get_object(r, r->root, "limits", &limits)) < 0)
		return e;
	return limits ? read_limits(r, limits, &m->limits) : 0;
}

int msg_parse_hello(const uint8_t *json, size_t len, struct msg_hello *ret, struct error *e)
{
	struct msg_hello m = {0};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_hello(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_hello_fini(struct msg_hello *m)
{
	free(take_ptr(&m->mem));
}

size_t msg_format_hello_client(const char *name, const char *version, char *out, size_t size)
{
	struct jsonw w;

	jsonw_init(&w, out, size);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "client", name);
	jsonw_str(&w, "version", version);
	jsonw_int(&w, "proto", PROTO_VERSION);
	jsonw_close(&w, '}');
	return w.overflow ? 0 : w.len;
}

void msg_put_hello_agent(struct jsonw *w, const struct msg_hello *m)
{
	jsonw_str(w, "agent", m->name);
	jsonw_str(w, "version", m->version);
	jsonw_u64(w, "proto", m->proto);
	jsonw_open(w, "caps", '[');
	jsonw_str(w, NULL, "exec");
	jsonw_str(w, NULL, "upgrade");
	jsonw_str(w, NULL, "agent");
	jsonw_str(w, NULL, "env");
	jsonw_str(w, NULL, "limits");
	jsonw_str(w, NULL, "stats");
	jsonw_str(w, NULL, "log");
	jsonw_str(w, NULL, "snapshot");
	jsonw_str(w, NULL, "pty");
	jsonw_str(w, NULL, "file");
	jsonw_str(w, NULL, "watch");
	jsonw_str(w, NULL, "search");
	jsonw_str(w, NULL, "dial");
	jsonw_str(w, NULL, "ports");
	jsonw_close(w, ']');
	jsonw_open(w, "limits", '{');
	jsonw_u64(w, "frame", m->limits.frame);
	jsonw_u64(w, "channels", m->limits.channels);
	jsonw_u64(w, "sessions", m->limits.sessions);
	jsonw_u64(w, "ring_max", m->limits.ring_max);
	jsonw_u64(w, "stdin_window", m->limits.stdin_window);
	jsonw_u64(w, "viewers", m->limits.viewers);
	jsonw_u64(w, "writers", m->limits.writers);
	jsonw_u64(w, "file_window", m->limits.file_window);
	jsonw_close(w, '}');
	jsonw_str(w, "boot_id", m->boot_id);
	jsonw_str(w, "instance", m->instance);
	jsonw_u64(w, "epoch", m->epoch);
}

/* ---- errors and notices ---- */

int msg_parse_error(const uint8_t *json, size_t len, struct error *ret)
{
	struct error ignored, m = {.code = E_LAST};
	const cJSON *obj = NULL;
	const char *code = "failed", *message = "";
	struct msg_reader r;
	int e = msg_reader_init(&r, json, len, true, &ignored);

	if (e < 0)
		return e;
	e = msg_get_object(&r, r.root, "error", &obj);
	if (e == 0 && obj) {
		if ((e = msg_get_str(&r, obj, "code", &code)) == 0 &&
			(e = msg_get_str(&r, obj, "message", &message)) == 0)
			e = msg_get_int(&r, obj, "errno", &m.err);
		m.code = error_code_parse(code);
		snprintf(m.message, sizeof(m.message), "%s", message);
		if (e == 0) {
			*ret = m;
			e = 1;
		}
	}
	msg_reader_fini(&r);
	return e;
}

int msg_parse_notice(const uint8_t *json, size_t len, char *word, size_t size)
{
	struct error ignored;
	const char *notice = "";
	struct msg_reader r;
	int e = msg_reader_init(&r, json, len, true, &ignored);

	if (e < 0)
		return e;
	e = msg_get_str(&r, r.root, "notice", &notice);
	if (e == 0)
		snprintf(word, size, "%s", notice);
	msg_reader_fini(&r);
	return e;
}

/* ---- requests ---- */

static const char *const op_words[] = {
	[OP_UNKNOWN] = "",
	[OP_PING] = "ping",
	[OP_INFO] = "info",
	[OP_LIST] = "list",
	[OP_START] = "start",
	[OP_KILL] = "kill",
	[OP_REMOVE] = "remove",
	[OP_UPGRADE] = "upgrade",
	[OP_POWER] = "power",
	[OP_SIGNAL] = "signal",
	[OP_RESIZE] = "resize",
	[OP_OWN] = "own",
	[OP_REPAINT] = "repaint",
};

static const char *const target_words[] = {
	[TARGET_GROUP] = "group", [TARGET_LEADER] = "leader", [TARGET_TREE] = "tree"};

static int read_signal(struct msg_reader *r, struct msg_request *m)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(r->root, "signal");
	const char *to = "group";
	int64_t n = SIGTERM;
	size_t i = 0;
	int e;

	if (cJSON_IsString(v))
		n = signame_parse(v->valuestring);
	else if (v && msg_value_integer(v, 1, 64, &n) < 0)
		n = -EINVAL;
	if (n < 1)
		return msg_reader_fail(r, "signal", "the name or number of a signal");
	m->signal = (int)n;
	if ((e = msg_get_str(r, r->root, "to", &to)) < 0)
		return e;
	while (i < array_size(target_words) && strcmp(target_words[i], to) != 0)
		i++;
	if (i == array_size(target_words))
		return msg_reader_fail(r, "to", "\"leader\", \"group\" or \"tree\"");
	m->to = (enum msg_target)i;
	m->escalate = msg_has(r->root, "grace_ms");
	return msg_get_u64(r, r->root, "grace_ms", MSG_MS_MAX, &m->grace_ms);
}

static int read_request_start(struct msg_reader *r, struct msg_request *m)
{
	const cJSON *start = NULL;
	int e = msg_get_object(r, r->root, "start", &start);

	if (e < 0)
		return e;
	if (!start)
		return msg_reader_fail(r, "start", "an object");
	m->has_start = true;
	return msg_read_start(r, start, &m->start);
}

static int read_power(struct msg_reader *r, struct msg_request *m)
{
	const char *how = "";
	int e = msg_get_str(r, r->root, "how", &how);

	m->reboot = strcmp(how, "reboot") == 0;
	return e == 0 && !m->reboot && strcmp(how, "off") != 0
		       ? msg_reader_fail(r, "how", "\"off\" or \"reboot\"")
		       : e;
}

static int read_request(struct msg_reader *r, struct msg_request *m)
{
	int e;

	m->op_name = "";
	m->limit = 100;
	if ((e = msg_get_str(r, r->root, "op", &m->op_name)) < 0)
		return e;
	if (m->op_name[0] == '\0')
		return msg_reader_fail(r, "op", "the name of an operation");
	for (size_t i = 1; i < array_size(op_words); i++) {
		if (strcmp(op_words[i], m->op_name) == 0)
			m->op = (enum msg_op)i;
	}
	if ((e = msg_get_name(r, r->root, "id", MSG_ID_MAX, &m->id)) < 0)
		return e;
	switch (m->op) {
	case OP_LIST:
		if ((e = msg_get_name(r, r->root, "after", MSG_ID_MAX, &m->after)) < 0)
			return e;
		return msg_get_u64(r, r->root, "limit", (uint64_t)MSG_INT_MAX, &m->limit);
	case OP_START: return read_request_start(r, m);
	case OP_KILL:
	case OP_REMOVE:
		if (!m->id)
			return msg_reader_fail(r, "id", "there");
		return m->op == OP_KILL ? read_signal(r, m) : 0;
	case OP_SIGNAL: return read_signal(r, m);
	case OP_RESIZE: return msg_read_size(r, r->root, true, &m->size);
	case OP_UPGRADE:
		if ((e = msg_get_str(r, r->root, "path", &m->path)) < 0)
			return e;
		return m->path && m->path[0] == '/'
			       ? 0
			       : msg_reader_fail(r, "path", "an absolute path");
	case OP_POWER: return read_power(r, m);
	default: return 0;
	}
}

int msg_parse_request(const uint8_t *json, size_t len, struct msg_request *ret, struct error *e)
{
	struct msg_request m = {0};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_request(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_request_fini(struct msg_request *m)
{
	free(take_ptr(&m->mem));
}

size_t msg_format_request(const struct msg_request *m, char *out, size_t size)
{
	struct jsonw w;

	jsonw_init(&w, out, size);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "op", op_words[m->op]);
	if (m->id)
		jsonw_str(&w, "id", m->id);
	if (m->after)
		jsonw_str(&w, "after", m->after);
	if (m->op == OP_LIST && m->limit)
		jsonw_u64(&w, "limit", m->limit);
	if (m->op == OP_KILL || m->op == OP_SIGNAL) {
		jsonw_int(&w, "signal", m->signal);
		jsonw_str(&w, "to", target_words[m->to]);
		if (m->escalate)
			jsonw_u64(&w, "grace_ms", m->grace_ms);
	}
	if (m->op == OP_RESIZE)
		msg_put_size(&w, &m->size);
	if (m->op == OP_POWER)
		jsonw_str(&w, "how", m->reboot ? "reboot" : "off");
	if (m->path)
		jsonw_bytes(&w, "path", m->path, strlen(m->path));
	if (m->has_start)
		msg_put_start(&w, &m->start);
	jsonw_close(&w, '}');
	return w.overflow ? 0 : w.len;
}
