/* What a session tells: end states, OPENED, events, list entries (docs/protocol.md sections 6, 7,
 * 10). */
#include <stdio.h>

#include "proto/msg_read.h"

static const char *const state_words[END_LAST] = {
	[END_RUNNING] = "running",
	[END_EXITED] = "exited",
	[END_SIGNALED] = "signaled",
	[END_TIMED_OUT] = "timed_out",
	[END_KILLED] = "killed",
	[END_OOM_KILLED] = "oom_killed",
	[END_START_FAILED] = "start_failed",
	[END_AGENT_LOST] = "agent_lost",
};

static const char *const by_words[BY_LAST] = {
	[BY_NONE] = "",
	[BY_CLIENT] = "client",
	[BY_DISCONNECT] = "disconnect",
	[BY_SHUTDOWN] = "shutdown",
};

const char *end_state_str(enum end_state s)
{
	ASSERT(s < END_LAST);
	return state_words[s];
}

void msg_put_end(struct jsonw *w, const char *name, const struct msg_end *m, bool event)
{
	bool has_cause = m->state != END_START_FAILED && m->state != END_AGENT_LOST;

	jsonw_open(w, name, '{');
	if (event)
		jsonw_str(w, "event", "end");
	jsonw_str(w, "state", end_state_str(m->state));
	if (m->by != BY_NONE)
		jsonw_str(w, "by", by_words[m->by]);
	if (has_cause && m->signal)
		jsonw_int(w, "signal", m->signal);
	else if (has_cause)
		jsonw_int(w, "code", m->code);
	if (m->state == END_SIGNALED)
		jsonw_bool(w, "core", m->core);
	if (m->state == END_START_FAILED) {
		jsonw_int(w, "errno", m->err);
		jsonw_str(w, "error", errno_name(m->err));
		jsonw_str(w, "stage", m->stage);
	}
	jsonw_u64(w, "out", m->out);
	jsonw_u64(w, "err", m->err_bytes);
	jsonw_u64(w, "started_ms", m->started_ms);
	jsonw_u64(w, "ended_ms", m->ended_ms);
	jsonw_u64(w, "wall_ms", m->wall_ms);
	jsonw_u64(w, "user_us", m->user_us);
	jsonw_u64(w, "sys_us", m->sys_us);
	jsonw_u64(w, "maxrss_kb", m->maxrss_kb);
	jsonw_close(w, '}');
}

/* Index of a word in a table; `unknown` when it is not there (a newer agent may have more). */
static int find_word(const char *const *words, int n, const char *word, int unknown)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(words[i], word) == 0)
			return i;
	}
	return unknown;
}

int msg_read_end(struct msg_reader *r, const cJSON *obj, struct msg_end *m)
{
	const char *state = "", *by = "", *stage = "";
	const struct {
		const char *name;
		uint64_t *ret;
	} numbers[] = {
		{"out", &m->out},
		{"err", &m->err_bytes},
		{"started_ms", &m->started_ms},
		{"ended_ms", &m->ended_ms},
		{"wall_ms", &m->wall_ms},
		{"user_us", &m->user_us},
		{"sys_us", &m->sys_us},
		{"maxrss_kb", &m->maxrss_kb},
	};
	int e;

	*m = (struct msg_end){0};
	if ((e = msg_get_str(r, obj, "state", &state)) < 0 ||
		(e = msg_get_str(r, obj, "by", &by)) < 0 ||
		(e = msg_get_str(r, obj, "stage", &stage)) < 0 ||
		(e = msg_get_int(r, obj, "code", &m->code)) < 0 ||
		(e = msg_get_int(r, obj, "signal", &m->signal)) < 0 ||
		(e = msg_get_int(r, obj, "errno", &m->err)) < 0 ||
		(e = msg_get_bool(r, obj, "core", &m->core)) < 0)
		return e;
	m->state = (enum end_state)find_word(state_words, END_LAST, state, END_AGENT_LOST);
	m->by = (enum end_by)find_word(by_words, BY_LAST, by, BY_NONE);
	snprintf(m->stage, sizeof(m->stage), "%s", stage);
	for (size_t i = 0; i < array_size(numbers); i++) {
		e = msg_get_u64(r, obj, numbers[i].name, (uint64_t)MSG_INT_MAX, numbers[i].ret);
		if (e < 0)
			return e;
	}
	return 0;
}

/* ---- OPENED ---- */

static void put_span(struct jsonw *w, const char *name, const struct msg_span *s)
{
	jsonw_open(w, name, '{');
	jsonw_u64(w, "oldest", s->oldest);
	jsonw_u64(w, "head", s->head);
	jsonw_close(w, '}');
}

static int get_span(struct msg_reader *r, const cJSON *obj, const char *name, struct msg_span *s)
{
	const cJSON *v = NULL;
	int e = msg_get_object(r, obj, name, &v);

	if (e < 0 || !v)
		return e;
	e = msg_get_u64(r, v, "oldest", (uint64_t)MSG_INT_MAX, &s->oldest);
	return e < 0 ? e : msg_get_u64(r, v, "head", (uint64_t)MSG_INT_MAX, &s->head);
}

size_t msg_format_opened(const struct msg_opened *m, char *out, size_t size)
{
	struct jsonw w;

	jsonw_init(&w, out, size);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "id", m->id);
	jsonw_bool(&w, "new", m->is_new);
	jsonw_str(&w, "state", end_state_str(m->state));
	jsonw_int(&w, "pid", m->pid);
	put_span(&w, "out", &m->out);
	put_span(&w, "err", &m->err);
	jsonw_open(&w, "stdin", '{');
	jsonw_bool(&w, "open", m->stdin_open);
	jsonw_u64(&w, "offset", m->stdin_offset);
	jsonw_close(&w, '}');
	jsonw_u64(&w, "window", m->window);
	if (m->has_pty) {
		jsonw_open(&w, "pty", '{');
		msg_put_size(&w, &m->size);
		jsonw_bool(&w, "owner", m->owner);
		jsonw_close(&w, '}');
	}
	jsonw_close(&w, '}');
	return w.overflow ? 0 : w.len;
}

static int read_opened(struct msg_reader *r, struct msg_opened *m)
{
	const cJSON *in = NULL, *pty = NULL;
	const char *id = "", *state = "";
	int e;

	if ((e = msg_get_name(r, r->root, "id", MSG_ID_MAX, &id)) < 0 ||
		(e = msg_get_str(r, r->root, "state", &state)) < 0 ||
		(e = msg_get_bool(r, r->root, "new", &m->is_new)) < 0 ||
		(e = msg_get_i64(r, r->root, "pid", 0, INT32_MAX, &m->pid)) < 0 ||
		(e = get_span(r, r->root, "out", &m->out)) < 0 ||
		(e = get_span(r, r->root, "err", &m->err)) < 0 ||
		(e = msg_get_u64(r, r->root, "window", (uint64_t)MSG_INT_MAX, &m->window)) < 0 ||
		(e = msg_get_object(r, r->root, "stdin", &in)) < 0 ||
		(e = msg_get_object(r, r->root, "pty", &pty)) < 0)
		return e;
	m->has_pty = pty != NULL;
	if (pty && ((e = msg_read_size(r, pty, true, &m->size)) < 0 ||
			   (e = msg_get_bool(r, pty, "owner", &m->owner)) < 0))
		return e;
	if (in && ((e = msg_get_bool(r, in, "open", &m->stdin_open)) < 0 ||
			  (e = msg_get_u64(
				   r, in, "offset", (uint64_t)MSG_INT_MAX, &m->stdin_offset)) < 0))
		return e;
	snprintf(m->id, sizeof(m->id), "%s", id);
	m->state = (enum end_state)find_word(state_words, END_LAST, state, END_AGENT_LOST);
	return 0;
}

int msg_parse_opened(const uint8_t *json, size_t len, struct msg_opened *ret, struct error *e)
{
	struct msg_opened m = {0};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_opened(&r, &m);
	if (err == 0)
		*ret = m;
	msg_reader_fini(&r);
	return err;
}

/* ---- events ---- */

int msg_parse_event(const uint8_t *json, size_t len, struct msg_event *ret, struct error *e)
{
	struct msg_event m = {0};
	const char *word = "";
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = msg_get_str(&r, r.root, "event", &word);
	if (err == 0 && strcmp(word, "live") == 0) {
		m.kind = EVENT_LIVE;
	} else if (err == 0 && strcmp(word, "end") == 0) {
		m.kind = EVENT_END;
		err = msg_read_end(&r, r.root, &m.end);
	} else if (err == 0 && strcmp(word, "stdin_closed") == 0) {
		m.kind = EVENT_STDIN_CLOSED;
		err = msg_get_u64(&r, r.root, "offset", (uint64_t)MSG_INT_MAX, &m.offset);
	} else if (err == 0 && strcmp(word, "owner") == 0) {
		m.kind = EVENT_OWNER;
		err = msg_get_bool(&r, r.root, "owner", &m.owner);
	} else if (err == 0 && strcmp(word, "size") == 0) {
		m.kind = EVENT_SIZE;
		err = msg_read_size(&r, r.root, true, &m.size);
	}
	if (err == 0)
		*ret = m;
	msg_reader_fini(&r);
	return err;
}

/* ---- list ---- */

static void put_entry_numbers(struct jsonw *w, const struct msg_entry *m)
{
	put_span(w, "out", &m->out);
	put_span(w, "err", &m->err);
	jsonw_open(w, "stdin", '{');
	jsonw_bool(w, "open", m->stdin_open);
	jsonw_u64(w, "accepted", m->stdin_accepted);
	jsonw_u64(w, "written", m->stdin_written);
	if (m->stdin_in_doubt)
		jsonw_u64(w, "in_doubt", m->stdin_in_doubt);
	jsonw_close(w, '}');
	jsonw_u64(w, "viewers", m->viewers);
	jsonw_u64(w, "held", m->held);
	if (m->disconnect_left_ms >= 0)
		jsonw_int(w, "disconnect_left_ms", m->disconnect_left_ms);
	if (m->retain_left_ms >= 0)
		jsonw_int(w, "retain_left_ms", m->retain_left_ms);
	if (m->timeout_left_ms >= 0)
		jsonw_int(w, "timeout_left_ms", m->timeout_left_ms);
	jsonw_open(w, "ring", '{');
	jsonw_u64(w, "size", m->ring_size);
	jsonw_u64(w, "used", m->ring_used);
	jsonw_close(w, '}');
	if (m->has_pty) {
		jsonw_open(w, "pty", '{');
		jsonw_u64(w, "cols", m->size.cols);
		jsonw_u64(w, "rows", m->size.rows);
		jsonw_close(w, '}');
	}
}

void msg_put_entry(struct jsonw *w, const struct msg_entry *m)
{
	jsonw_open(w, NULL, '{');
	jsonw_str(w, "id", m->id);
	jsonw_str(w, "state", end_state_str(m->end.state));
	jsonw_open(w, "cmd", '[');
	for (size_t at = 0; at < m->cmd_len; at += strnlen(m->cmd + at, m->cmd_len - at) + 1)
		jsonw_bytes(w, NULL, m->cmd + at, strnlen(m->cmd + at, m->cmd_len - at));
	jsonw_close(w, ']');
	if (m->cmd_cut)
		jsonw_bool(w, "cmd_cut", true);
	jsonw_bytes(w, "cwd", m->cwd, strlen(m->cwd));
	jsonw_bytes(w, "user", m->user, strlen(m->user));
	jsonw_int(w, "pid", m->pid);
	jsonw_u64(w, "started_ms", m->end.started_ms);
	if (m->end.state != END_RUNNING) {
		jsonw_u64(w, "ended_ms", m->end.ended_ms);
		msg_put_end(w, "end", &m->end, false);
	}
	jsonw_u64(w, "user_us", m->end.user_us);
	jsonw_u64(w, "sys_us", m->end.sys_us);
	put_entry_numbers(w, m);
	jsonw_close(w, '}');
}

static int read_entry(struct msg_reader *r, const cJSON *obj, void *ret)
{
	struct msg_entry *m = ret;
	const cJSON *end = NULL, *pty = NULL;
	const char *state = "";
	int e;

	*m = (struct msg_entry){.id = "",
		.cwd = "",
		.user = "",
		.disconnect_left_ms = -1,
		.retain_left_ms = -1,
		.timeout_left_ms = -1};
	if (!cJSON_IsObject(obj))
		return msg_reader_fail(r, "sessions", "an array of objects");
	if ((e = msg_get_name(r, obj, "id", MSG_ID_MAX, &m->id)) < 0 ||
		(e = msg_get_str(r, obj, "state", &state)) < 0 ||
		(e = msg_get_str(r, obj, "cwd", &m->cwd)) < 0 ||
		(e = msg_get_str(r, obj, "user", &m->user)) < 0 ||
		(e = msg_get_i64(r, obj, "pid", 0, INT32_MAX, &m->pid)) < 0 ||
		(e = get_span(r, obj, "out", &m->out)) < 0 ||
		(e = get_span(r, obj, "err", &m->err)) < 0 ||
		(e = msg_get_u64(r, obj, "viewers", (uint64_t)MSG_INT_MAX, &m->viewers)) < 0 ||
		(e = msg_get_object(r, obj, "end", &end)) < 0 ||
		(e = msg_get_object(r, obj, "pty", &pty)) < 0)
		return e;
	msg_get_cmd_line(r, obj, &m->cmd, &m->cmd_len);
	m->has_pty = pty != NULL;
	if (pty && (e = msg_read_size(r, pty, true, &m->size)) < 0)
		return e;
	if (end)
		return msg_read_end(r, end, &m->end);
	m->end.state = (enum end_state)find_word(state_words, END_LAST, state, END_AGENT_LOST);
	return msg_get_u64(r, obj, "started_ms", (uint64_t)MSG_INT_MAX, &m->end.started_ms);
}

static int read_list(struct msg_reader *r, struct msg_list *m)
{
	int e = msg_get_array(
		r, "sessions", sizeof(*m->entries), read_entry, (void **)&m->entries, &m->n);

	return e < 0 ? e : msg_get_name(r, r->root, "next", MSG_ID_MAX, &m->next);
}

int msg_parse_list(const uint8_t *json, size_t len, struct msg_list *ret, struct error *e)
{
	struct msg_list m = {0};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_list(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	} else {
		msg_list_fini(&m);
	}
	msg_reader_fini(&r);
	return err;
}

void msg_list_fini(struct msg_list *m)
{
	free(take_ptr(&m->mem));
	free(take_ptr(&m->entries));
	m->n = 0;
}
