/*
 * Terminals, and the table of all socket routes. A terminal's socket has no channels: what is typed
 * comes as it is, in messages of either kind, and what is printed goes as it is.
 *
 * The shell belongs to the sandbox, not to a client: it goes on when clients leave, and whoever
 * attaches is first given what the ring has kept.
 *
 * Changing the size and ending a terminal are short stays in its session: the first takes the
 * ownership of the terminal along with its new size and leaves it to the clients again, the second
 * waits for the end that it has brought about.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>

#include "bridge/api/attach_exec.h"
#include "bridge/api/bridge.h"
#include "bridge/api/dispatch.h"
#include "bridge/api/exec_visit.h"
#include "bridge/api/fields.h"
#include "bridge/api/route.h"
#include "bridge/api/text.h"

#define PTY_RING  (256 * 1024) /* a replay of more would only scroll by */
#define PTY_SIDE  65535
#define HANGUP_MS 2000 /* from HUP to KILL */

/* ---- the socket ---- */

static void on_typed(struct attach *a, const uint8_t *data, size_t len, bool first, bool last)
{
	(void)first, (void)last;
	attach_input(a, data, len);
}

static const struct attach_form form = {
	.kinds = 1 << ROSTER_PTY,
	.done = "terminal closed",
	.on_message = on_typed,
};

static void pty_socket(struct call *c)
{
	attach_socket(c, &form);
}

/* ---- a new one ---- */

static void on_created(struct call *c, struct roster_entry *e)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "sessionID", e->id);
	text_str(&t, "sandboxID", c->sandbox->id);
	text_close(&t, '}');
	text_reply(&t, c, 201);
}

static bool read_size(struct call *c, struct msg_size *size)
{
	int64_t cols = size->cols, rows = size->rows;

	/* 0 is what clients send that do not know; as with a real terminal it means the default. */
	if (!field_int(c, "cols", 0, PTY_SIDE, &cols) || !field_int(c, "rows", 0, PTY_SIDE, &rows))
		return false;
	if (cols)
		size->cols = (uint16_t)cols;
	if (rows)
		size->rows = (uint16_t)rows;
	return true;
}

static void pty_create(struct call *c)
{
	struct msg_pty pty = {
		.on = true, .term = "xterm-256color", .size = {.cols = 80, .rows = 24}};
	auto_free char *shell = NULL;
	struct exec_start x;

	if (!read_size(c, &pty.size) || !field_bool(c, "login", &pty.login) ||
		!field_str(c, "shell", PATH_MAX, &shell) ||
		!exec_start_read(c, &x, EXEC_START_MAY_CMD))
		return;
	if (shell && *shell)
		pty.shell = x.shell = take_ptr(&shell);
	x.start.pty = pty;
	x.start.ring = PTY_RING;
	x.start.has_ring = true;
	exec_visit_start(c, &x, ROSTER_PTY, NULL, on_created);
}

/* ---- a stay ---- */

struct stay {
	struct call *call;
	struct remote remote;
	bool kills;
	bool over; /* answered */
	char id[ROSTER_ID_MAX + 1];
};

static void stay_over(struct stay *s)
{
	s->over = true;
	remote_close(&s->remote);
}

static void on_answered(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	(void)owner, (void)json, (void)len, (void)error;
}

static void ended(struct stay *s, const struct msg_end *end)
{
	struct call *c = s->call;
	struct roster_entry *e = roster_find(&c->sandbox->roster, s->id);
	struct msg_request m = {.op = OP_REMOVE, .id = s->id};

	if (!s->kills) {
		stay_over(s);
		call_error(c, 404, "the terminal has ended");
		return;
	}
	if (e && e->running)
		roster_ended(e, end);
	guest_request(s->remote.guest, &m, on_answered, NULL);
	if (e)
		roster_remove(&c->sandbox->roster, e);
	stay_over(s);
	call_empty(c, 204);
}

static void on_opened(struct remote *r, const struct msg_opened *o)
{
	struct stay *s = r->owner;
	struct msg_request m = {.op = OP_KILL,
		.id = s->id,
		.signal = SIGHUP,
		.to = TARGET_TREE,
		.escalate = true,
		.grace_ms = HANGUP_MS};

	if (o->state != END_RUNNING)
		return; /* on_end comes */
	if (s->kills) {
		guest_request(r->guest, &m, on_answered, NULL);
		return;
	}
	/* The size came with the attach. */
	stay_over(s);
	call_empty(s->call, 200);
}

static void on_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	(void)stream, (void)off, (void)data;
	remote_consumed(r, len);
}

static void on_end(struct remote *r, const struct msg_end *end)
{
	ended(r->owner, end);
}

static void on_close(struct remote *r, enum remote_why why, const struct error *error)
{
	struct stay *s = r->owner;
	struct fault f = {0};

	(void)why;
	s->over = true;
	fault_from_error(&f, error, NULL);
	call_fault(s->call, &f);
}

static const struct remote_events stay_events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_end = on_end,
	.on_close = on_close,
};

static void on_call_end(struct call *c)
{
	struct stay *s = c->state;

	remote_close(&s->remote);
	free(s);
}

static const struct call_ops stay_ops = {.on_end = on_call_end};

static void stay_open(struct call *c, bool kills, const struct msg_size *size)
{
	struct remote_config config = {.id = c->params[1], .viewer = "", .since_now = true};
	struct roster_entry *e = NULL;
	struct stay *s;
	int err;

	if (msg_name_valid(c->params[1], MSG_ID_MAX))
		e = roster_find(&c->sandbox->roster, c->params[1]);
	if (!e || e->kind != ROSTER_PTY) {
		call_error(c, 404, "no such terminal");
		return;
	}
	config.own = size ? OWN_TAKE : OWN_NEVER;
	config.has_size = size;
	if (size)
		config.size = *size;
	s = xcalloc(1, sizeof(*s));
	s->call = c;
	s->kills = kills;
	snprintf(s->id, sizeof(s->id), "%s", e->id);
	c->ops = &stay_ops;
	c->state = s;
	s->remote.owner = s;
	err = remote_open(&s->remote, sandbox_guest(c->sandbox), &stay_events, &config);
	if (err < 0)
		call_error(c, 502, "no channel to the agent: %s", strerror(-err));
}

static void pty_resize(struct call *c)
{
	struct msg_size size = {0};

	if (!read_size(c, &size))
		return;
	if (!size.cols || !size.rows)
		call_error(c, 400, "cols and rows are required");
	else
		stay_open(c, false, &size);
}

static void pty_delete(struct call *c)
{
	stay_open(c, true, NULL);
}

/* ---- those there are ---- */

struct listing {
	struct call *call;
	struct text text;
	struct guest *guest;
	int64_t asked; /* the request under way; 0: none */
};

static void put_entry(struct listing *l, const struct msg_entry *m)
{
	struct roster_entry *e = roster_find(&l->call->sandbox->roster, m->id);
	struct text *t = &l->text;

	if (!e || e->kind != ROSTER_PTY)
		return;
	if (e->running && m->end.state != END_RUNNING)
		roster_ended(e, &m->end);
	text_open(t, NULL, '{');
	text_str(t, "sessionID", e->id);
	text_str(t, "sandboxID", l->call->sandbox->id);
	text_int(t, "cols", m->size.cols);
	text_int(t, "rows", m->size.rows);
	text_bool(t, "running", e->running);
	if (!e->running)
		text_int(t, "exitCode", roster_exit_code(&e->end));
	text_time(t, "startedAt", e->started_ms);
	text_int(t, "attachedClients", e->attached);
	text_close(t, '}');
}

static void ask(struct listing *l, const char *after);

static void on_listed(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct listing *l = owner;
	struct msg_list list;
	struct error e;
	struct fault f = {0};

	l->asked = 0;
	if (!error && msg_parse_list(json, len, &list, &e) < 0)
		error = &e;
	if (error) {
		fault_from_error(&f, error, NULL);
		call_fault(l->call, &f);
		return;
	}
	for (size_t i = 0; i < list.n; i++)
		put_entry(l, &list.entries[i]);
	if (list.next) {
		ask(l, list.next);
	} else {
		text_close(&l->text, ']');
		text_reply(&l->text, l->call, 200);
	}
	msg_list_fini(&list);
}

static void ask(struct listing *l, const char *after)
{
	struct msg_request m = {.op = OP_LIST, .after = after, .limit = 256};

	l->asked = guest_request(l->guest, &m, on_listed, l);
	if (l->asked < 0)
		call_error(l->call, 502, "no link to the agent");
}

static void on_listing_end(struct call *c)
{
	struct listing *l = c->state;

	if (l->asked > 0)
		guest_cancel(l->guest, l->asked);
	text_fini(&l->text);
	free(l);
}

static const struct call_ops listing_ops = {.on_end = on_listing_end};

static void pty_list(struct call *c)
{
	struct listing *l = xcalloc(1, sizeof(*l));

	l->call = c;
	l->guest = sandbox_guest(c->sandbox);
	text_init(&l->text);
	text_open(&l->text, NULL, '[');
	c->ops = &listing_ops;
	c->state = l;
	ask(l, NULL);
}

#define DATA   (R_TOKEN | R_SANDBOX | R_DATA)
#define SOCKET (DATA | R_SOCKET)

const struct route routes_pty[] = {
	{CALL_GET, "/sandboxes/:id/exec/:sid", SOCKET, attach_exec, "execSocket"},
	{CALL_GET, "/sandboxes/:id/agent/:sid", SOCKET, attach_agent, "agentSocket"},
	{CALL_POST, "/sandboxes/:id/pty", DATA | R_JSON, pty_create, "createPTY"},
	{CALL_GET, "/sandboxes/:id/pty", DATA, pty_list, "listPTYs"},
	{CALL_GET, "/sandboxes/:id/pty/:sid", SOCKET, pty_socket, "ptySocket"},
	{CALL_POST, "/sandboxes/:id/pty/:sid/resize", DATA | R_JSON, pty_resize, "resizePTY"},
	{CALL_DELETE, "/sandboxes/:id/pty/:sid", DATA, pty_delete, "deletePTY"},
	{0},
};
