/* Requests "sys.*" (docs/protocol.md sections 17 and 18). */
#include "agentd/sys.h"

#include "proto/msg_sys.h"

/* For what is answered at once. */
static char answer[FRAME_PAYLOAD_MAX];

static int respond(struct service_link *l, uint64_t id, struct jsonw *w)
{
	jsonw_close(w, '}');
	ASSERT(!w->overflow);
	mux_respond(l->mux, 0, id, answer, w->len);
	return 0;
}

static int sys_env(struct service_link *l, uint64_t id, struct json json, struct error *e)
{
	struct environ *env = &l->sessions->environ;
	struct msg_sys_env m;
	struct jsonw w;
	int r = msg_parse_sys_env(json.text, json.len, &m, e);

	if (r == 0 && (m.clear || m.n_set > 0))
		r = environ_set(env, m.clear, m.set, m.n_set, e);
	free(m.mem);
	if (r < 0)
		return r;
	jsonw_init(&w, answer, sizeof(answer));
	jsonw_open(&w, NULL, '{');
	environ_put(env, &w);
	return respond(l, id, &w);
}

static int sys_log(struct service_link *l, uint64_t id, struct json json, struct error *e)
{
	static char text[LOG_RING];
	uint64_t lines;
	struct jsonw w;
	size_t len;
	int r = msg_parse_sys_log(json.text, json.len, &lines, e);

	if (r < 0)
		return r;
	len = log_tail(lines, text);
	jsonw_init(&w, answer, sizeof(answer));
	jsonw_open(&w, NULL, '{');
	jsonw_open(&w, "lines", '[');
	for (char *at = text, *end = text + len; at < end;) {
		char *stop = memchr(at, '\n', (size_t)(end - at));

		jsonw_bytes(&w, NULL, at, (size_t)(stop - at));
		at = stop + 1;
	}
	jsonw_close(&w, ']');
	return respond(l, id, &w);
}

static const struct {
	const char *name;
	sys_op_fn fn;
} ops[] = {
	{"env", sys_env},
	{"stats", sys_stats},
	{"limits", sys_limits},
	{"log", sys_log},
	{"prepare", sys_prepare},
	{"resume", sys_resume},
};

static int request(
	struct service_link *l, uint64_t id, const char *op, struct json json, struct error *e)
{
	for (size_t i = 0; i < array_size(ops); i++) {
		if (strcmp(ops[i].name, op) == 0)
			return ops[i].fn(l, id, json, e);
	}
	return error_set(e, E_UNKNOWN_OP, 0, "there is no operation \"sys.%.64s\"", op);
}

const struct request_family sys_family = {.name = "sys", .request = request};
