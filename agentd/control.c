/* Requests on channel 0 (docs/protocol.md section 10). */
#include "agentd/service.h"

/* An answer is a whole frame at most; one buffer serves all, as a request is answered at once. */
static char answer[FRAME_PAYLOAD_MAX];

static int do_info(struct service_link *l, struct jsonw *w)
{
	const struct sessions *all = l->sessions;

	jsonw_open(w, "sessions", '{');
	jsonw_u64(w, "live", sessions_live(all));
	jsonw_u64(w, "ended", all->n_ended);
	jsonw_u64(w, "draining", all->n_hidden);
	jsonw_close(w, '}');
	jsonw_u64(w, "store_bytes", all->arena.charged);
	if (all->cgroup.path[0])
		jsonw_bytes(w, "cgroup", all->cgroup.path, strlen(all->cgroup.path));
	else
		jsonw_null(w, "cgroup");
	l->host->info(l->host_ctx, w);
	return 0;
}

static int do_list(
	struct service_link *l, const struct msg_request *m, struct jsonw *w, struct error *e)
{
	unsigned long long after = 0;
	char *end;

	if (m->after) {
		after = strtoull(m->after, &end, 10);
		if (*end)
			return error_set(e, E_BAD_MESSAGE, 0,
				"\"after\" must be the \"next\" of the page before");
	}
	sessions_list(l->sessions, m->id, after, m->limit, w);
	return 0;
}

static int do_start(
	struct service_link *l, const struct msg_request *m, struct jsonw *w, struct error *e)
{
	struct session *s;
	struct msg_opened o = {0};
	int r = sessions_start(l->sessions, m->id, &m->start, &s, &o.is_new, e);

	if (r < 0)
		return r;
	session_opened_msg(s, &o);
	w->len = msg_format_opened(&o, w->out, w->size);
	return 1;
}

static struct session *find(struct service_link *l, const char *id, struct error *e)
{
	struct session *s = sessions_find(l->sessions, id);

	if (!s)
		error_set(e, E_NOT_FOUND, ENOENT, "there is no session %s", id);
	return s;
}

static int do_kill(
	struct service_link *l, const struct msg_request *m, struct jsonw *w, struct error *e)
{
	struct session *s = find(l, m->id, e);

	if (!s)
		return -ENOENT;
	session_kill(s, CAUSE_CLIENT, m->to, m->signal, m->escalate, m->grace_ms);
	if (session_ended(s))
		jsonw_bool(w, "ended", true);
	return 0;
}

static int do_remove(struct service_link *l, const struct msg_request *m, struct error *e)
{
	struct session *s = find(l, m->id, e);

	if (!s)
		return -ENOENT;
	if (!session_ended(s))
		return error_set(e, E_STILL_RUNNING, EBUSY, "session %s is still running", m->id);
	session_remove(s, E_REMOVED);
	return 0;
}

/* 0: members of the answer are in w; 1: the whole answer is; negative: the error is filled. */
static int dispatch(
	struct service_link *l, const struct msg_request *m, struct jsonw *w, struct error *e)
{
	switch (m->op) {
	case OP_PING: return 0;
	case OP_INFO: return do_info(l, w);
	case OP_LIST: return do_list(l, m, w, e);
	case OP_START: return do_start(l, m, w, e);
	case OP_KILL: return do_kill(l, m, w, e);
	case OP_REMOVE: return do_remove(l, m, e);
	case OP_POWER: return l->host->power(l->host_ctx, m->reboot, e);
	case OP_UPGRADE: return l->host->upgrade(l->host_ctx, m->path, e);
	default:
		return error_set(e, E_UNKNOWN_OP, 0, "there is no operation \"%.64s\"", m->op_name);
	}
}

/* 1: the answer comes from there, now or later. */
static int to_family(struct service_link *l, uint64_t id, const struct msg_request *m,
	struct json json, struct error *e)
{
	const struct request_family *f = service_family(m->op_name);
	int r;

	if (!f)
		return 0;
	r = f->request(l, id, strchr(m->op_name, '.') + 1, json, e);
	return r < 0 ? r : 1;
}

void control_request(struct service_link *l, uint64_t id, const uint8_t *json, size_t len)
{
	struct msg_request m = {0};
	struct jsonw w;
	struct error e;
	int r;

	jsonw_init(&w, answer, sizeof(answer));
	r = msg_parse_request(json, len, &m, &e);
	if (r == 0 && m.op == OP_UNKNOWN)
		r = to_family(l, id, &m, (struct json){json, len}, &e);
	if (r > 0) {
		msg_request_fini(&m);
		return;
	}
	if (r == 0) {
		jsonw_open(&w, NULL, '{');
		r = dispatch(l, &m, &w, &e);
		if (r == 0)
			jsonw_close(&w, '}');
	}
	if (r < 0)
		w.len = error_json(&e, answer);
	ASSERT(!w.overflow);
	mux_respond(l->mux, 0, id, answer, w.len);
	msg_request_fini(&m);
}
