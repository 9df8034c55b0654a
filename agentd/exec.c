/*
 * Service "exec": a channel is one viewer of one session (docs/protocol.md section 6). This file
 * only translates: frames to viewer calls, the viewer's callbacks to frames.
 */
#include <stdio.h>

#include "agentd/service.h"
#include "agentd/terminal.h"
#include "agentd/viewer.h"

struct exec {
	struct channel channel;
	struct service_link *link;
	struct viewer viewer;
	uint64_t window; /* the client's first grant; what it grants beyond it, it has taken in */
	bool typing;     /* a key is being passed on, see on_data() */
};

#define KEYS_MAX 256 /* what somebody types comes in pieces of at most this */

static struct exec *of_channel(struct channel *c)
{
	return container_of(c, struct exec, channel);
}

static struct exec *of_viewer(struct viewer *v)
{
	return container_of(v, struct exec, viewer);
}

/* ---- the viewer speaks ---- */

static void on_ready(struct viewer *v)
{
	struct exec *x = of_viewer(v);

	channel_ready(&x->channel);
	x->link->wake(x->link);
}

static void on_kicked(struct viewer *v, enum error_code why)
{
	struct exec *x = of_viewer(v);
	struct error e;
	char text[ERROR_JSON_MAX];

	error_set(&e, why, 0,
		why == E_TAKEN_OVER ? "another link attached with this viewer's name"
				    : "the session was removed");
	x->link->wake(x->link);
	channel_close(&x->channel, text, error_json(&e, text));
}

static void on_stdin_closed(struct viewer *v, uint64_t accepted)
{
	struct exec *x = of_viewer(v);
	char text[80];
	int n = snprintf(text, sizeof(text), "{\"event\":\"stdin_closed\",\"offset\":%llu}",
		(unsigned long long)accepted);

	channel_event(&x->channel, text, (size_t)n);
	x->link->wake(x->link);
}

static void grant_input(struct exec *x)
{
	uint64_t space = viewer_input_space(&x->viewer);

	if (space)
		channel_grant(&x->channel, x->channel.received + space);
}

static void on_input_space(struct viewer *v)
{
	struct exec *x = of_viewer(v);

	grant_input(x);
	if (!x->typing)
		x->link->wake(x->link);
}

static const struct viewer_events viewer_events = {
	.on_ready = on_ready,
	.on_kicked = on_kicked,
	.on_stdin_closed = on_stdin_closed,
	.on_input_space = on_input_space,
};

/* ---- the client speaks ---- */

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct exec *x = of_channel(c);

	viewer_consumed(&x->viewer, c->send_limit - x->window);
	return viewer_next(&x->viewer, max, ret);
}

static void close_with(struct exec *x, enum error_code code, const char *message)
{
	struct error e;
	char text[ERROR_JSON_MAX];

	error_set(&e, code, 0, "%s", message);
	channel_close(&x->channel, text, error_json(&e, text));
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct exec *x = of_channel(c);
	struct session *s = x->viewer.session;
	bool urgent = c->mux->urgent, key = s && s->rec->pty && len <= KEYS_MAX;
	int r = -EPERM;

	/* A key on a terminal is mostly echoed at once. That it has arrived is then told in the
	 * same breath, or else a moment later: nobody waits for it, and a client woken twice sees
	 * the echo later. */
	x->typing = key;
	if (stream == STREAM_IN)
		r = viewer_input(&x->viewer, off, data, len, fin);
	x->typing = false;

	if (r == -ERANGE) {
		close_with(x, E_BAD_OFFSET, "input that does not follow on what the session has");
	} else if (r < 0) {
		close_with(x, E_NOT_INPUT, "this viewer may not write there");
	} else {
		channel_ack(c, STREAM_IN, viewer_input_offset(&x->viewer));
		grant_input(x);
		if (key)
			c->mux->urgent = urgent;
	}
}

static int request(struct exec *x, const struct msg_request *m, struct error *e)
{
	struct viewer *v = &x->viewer;
	struct session *s = v->session;

	switch (m->op) {
	case OP_SIGNAL:
		return s ? session_kill(s, CAUSE_CLIENT, m->to, m->signal, m->escalate, m->grace_ms)
			 : 0;
	case OP_RESIZE: return s ? terminal_resize(s, v, &m->size, e) : 0;
	case OP_OWN: return s ? terminal_own(s, v, e) : 0;
	case OP_REPAINT: return s ? terminal_repaint(s, e) : 0;
	default:
		return error_set(e, E_UNKNOWN_OP, 0,
			"there is no operation \"%.64s\" on an exec channel", m->op_name);
	}
}

static void on_request(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	struct exec *x = of_channel(c);
	struct msg_request m = {0};
	struct error e;
	char text[ERROR_JSON_MAX] = "{}";
	size_t n = 2;
	int r = msg_parse_request(json, len, &m, &e);

	if (r == 0)
		r = request(x, &m, &e);
	if (r < 0)
		n = error_json(&e, text);
	mux_respond(c->mux, c->id, id, text, n);
	msg_request_fini(&m);
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct exec *x = of_channel(c);

	(void)error;
	(void)len;
	viewer_detach(&x->viewer, !mux_linked(c->mux) && !x->link->clean);
	free(x);
}

static const struct channel_ops channel_ops = {
	.pull = pull,
	.on_data = on_data,
	.on_request = on_request,
	.on_close = on_close,
};

/* ---- open ---- */

/* A held place trails the client by up to its window; a store that cannot hold that much back
 * cannot keep the promise. Checked before anything is started. */
static int check_hold(struct service_link *l, const struct msg_open *m, struct error *e)
{
	const struct session *s = m->id ? sessions_find(l->sessions, m->id) : NULL;
	uint64_t ring = s                   ? s->rec->store.keep
			: m->start.has_ring ? m->start.ring
					    : l->sessions->config->ring_default;
	uint64_t max = ring + STORE_SLACK / 2;

	if (m->attach.hold_ms > 0 && m->attach.viewer && m->attach.policy == POLICY_LOSSLESS &&
		m->window > max)
		return error_set(e, E_BAD_MESSAGE, 0,
			"with \"hold_ms\", \"window\" must be at most %llu for this session",
			(unsigned long long)max);
	return 0;
}

static int find_session(struct service_link *l, const struct msg_open *m, struct session **ret,
	bool *ret_new, struct error *e)
{
	*ret_new = false;
	if (m->has_start)
		return sessions_start(l->sessions, m->id, &m->start, ret, ret_new, e);
	if (!m->id)
		return error_set(e, E_BAD_MESSAGE, 0, "\"id\" or \"start\" must be there");
	*ret = sessions_find(l->sessions, m->id);
	return *ret ? 0 : error_set(e, E_NOT_FOUND, ENOENT, "there is no session %s", m->id);
}

static int exec_open(struct service_link *l, uint32_t channel, const struct msg_open *m,
	struct json json, struct error *e)
{
	struct exec *x;
	struct session *s = NULL;
	struct msg_opened o = {0};
	char text[1024];
	int r = check_hold(l, m, e);

	(void)json; /* m is what it says */
	if (r < 0 || (r = find_session(l, m, &s, &o.is_new, e)) < 0)
		return r;
	x = calloc(1, sizeof(*x));
	if (!x)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	x->link = l;
	x->window = m->window;
	r = viewer_attach(&x->viewer, s, &m->attach, &viewer_events, e);
	if (r < 0) {
		free(x);
		return r;
	}
	session_opened_msg(s, &o);
	o.owner = terminal_is_owner(&x->viewer);
	o.stdin_offset = viewer_input_offset(&x->viewer);
	o.window = viewer_input_space(&x->viewer);
	/* A new command that takes no input will soon have more to say; a client woken for each of
	 * the two costs more than the answer. */
	mux_accept(l->mux, channel, &x->channel, &channel_ops, o.window, m->window,
		!o.is_new || m->start.with_stdin, text, msg_format_opened(&o, text, sizeof(text)));
	return 0;
}

const struct service exec_service = {.name = "exec", .open = exec_open};
