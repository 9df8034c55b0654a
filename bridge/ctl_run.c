/*
 * run, attach and what pty shares with them: one session's view. The program is over
 * when it is known how (`code` is set, in conclude()) and all output is written; maybe_done() looks
 * at these facts and nothing else does.
 *
 * A session that a plain `run` made is its own: it is removed at the end, and when nobody reads our
 * stdout any more it is ended as a local command would be. With --id or --keep it belongs to
 * whoever comes later.
 */
#include <stdio.h>

#include "bridge/ctl_view.h"
#include "proto/signame.h"

#define BROKEN_GRACE_MS 2000 /* from PIPE to KILL */

/* ---- the end ---- */

static void on_removed(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct view *v = ((struct ctl *)owner)->state;

	/* If it failed, retention removes it a little later. */
	(void)json, (void)len, (void)error;
	ctl_finish(v->ctl, v->code);
}

static void maybe_done(struct view *v)
{
	struct msg_request m = {.op = OP_REMOVE, .id = v->remote.id};

	if (!v->concluded || v->removing || !ctl_sink_empty(&v->out) || !ctl_sink_empty(&v->err))
		return;
	v->removing = true;
	remote_close(&v->remote);
	if (v->own && v->opened && v->remote.ended && guest_is_up(&v->ctl->guest))
		ctl_request(v->ctl, &m, on_removed);
	else
		ctl_finish(v->ctl, v->code);
}

static void conclude(struct view *v, int code)
{
	if (v->concluded)
		return;
	v->concluded = true;
	v->code = v->out_code ? v->out_code : code;
	ctl_source_close(&v->in);
	maybe_done(v);
}

/* ---- what happened, in words and as an exit code ---- */

static int say_start_failed(const struct view *v, const struct msg_end *end)
{
	const struct ctl_options *o = &v->ctl->options;
	const char *what = !v->runs ? v->remote.id : o->n_args ? o->args[0] : "a shell";
	const char *why = strerror(end->err);

	if (strcmp(end->stage, "exec") == 0)
		ctl_say("cannot run %s: %s", what, why);
	else if (strcmp(end->stage, "cwd") == 0 && o->cwd)
		ctl_say("cannot run %s in %s: %s", what, o->cwd, why);
	else if (strcmp(end->stage, "user") == 0 && o->user)
		ctl_say("cannot run %s as %s: %s", what, o->user,
			end->err == ENOENT ? "no such user or group there" : why);
	else
		ctl_say("cannot run %s: %s (%s)", what, why, end->stage);
	return strcmp(end->stage, "exec") == 0 && end->err == ENOENT ? CTL_NO_SUCH : CTL_CANNOT;
}

static int exit_code_of(const struct view *v, const struct msg_end *end)
{
	switch (end->state) {
	case END_TIMED_OUT: return CTL_TIMED_OUT;
	case END_START_FAILED: return say_start_failed(v, end);
	case END_OOM_KILLED:
		ctl_say("session %s: the command ran out of memory and was killed", v->remote.id);
		return 128 + SIGKILL;
	case END_KILLED:
		if (end->by == BY_SHUTDOWN)
			ctl_say("session %s was ended: the agent is stopping", v->remote.id);
		__attribute__((fallthrough));
	case END_EXITED:
	case END_SIGNALED: return end->signal ? 128 + end->signal : end->code;
	default:
		ctl_say("session %s: how it ended is not known: no agent was there to see it",
			v->remote.id);
		return CTL_FAILED;
	}
}

static void on_end(struct remote *r, const struct msg_end *end)
{
	struct view *v = r->owner;
	int code = exit_code_of(v, end);

	/* Part of the output is missing: nobody may take this for a success. */
	conclude(v, v->gap && v->runs ? CTL_FAILED : code);
}

static void on_close(struct remote *r, enum remote_why why, const struct error *e)
{
	struct view *v = r->owner;
	bool no_link = v->ctl->guest.state == GUEST_LOST;
	char what[256];

	if (why == REMOTE_DONE)
		return; /* on_end has concluded */
	if (no_link)
		snprintf(what, sizeof(what), "the link to %s is lost", v->ctl->options.connect);
	else if (why == REMOTE_REFUSED && v->runs)
		snprintf(what, sizeof(what), "cannot run it");
	else if (why == REMOTE_REFUSED)
		snprintf(what, sizeof(what), "cannot attach to %s", r->id);
	else
		snprintf(what, sizeof(what), "session %s is lost", r->id);
	ctl_say_error(what, e);
	if (no_link && v->opened)
		ctl_say("the command may still be running: agentctl attach %s", r->id);
	conclude(v, CTL_FAILED);
}

/* ---- output ---- */

static void on_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	struct view *v = r->owner;
	size_t n;

	(void)off;
	if (v->terminal)
		view_pty_output(v, data, len);
	/* What background children write after the end is not waited for, so not begun either. */
	if (v->concluded)
		n = len;
	else
		n = ctl_sink_write(stream == STREAM_OUT ? &v->out : &v->err, data, len);
	remote_consumed(r, n);
}

static void on_drained(struct ctl_sink *s, size_t n)
{
	struct view *v = s->owner;

	if (v->remote.state != REMOTE_CLOSED)
		remote_consumed(&v->remote, n);
	maybe_done(v);
}

/* Nobody takes our stdout. The command is told as if its own pipe had broken. */
static void on_out_failed(struct ctl_sink *s, int err)
{
	struct view *v = s->owner;
	struct msg_request m = {.op = OP_KILL,
		.id = v->remote.id,
		.signal = SIGPIPE,
		.escalate = true,
		.grace_ms = BROKEN_GRACE_MS};

	v->out_code = v->code = err == -EPIPE ? CTL_BROKEN : CTL_FAILED;
	if (err != -EPIPE)
		ctl_say("cannot write to stdout: %s", strerror(-err));
	if (v->concluded)
		return;
	if (v->own && v->opened)
		view_kill(v, &m);
	else
		conclude(v, v->out_code);
}

static void on_err_failed(struct ctl_sink *s, int err)
{
	(void)s, (void)err; /* nowhere to say it; stdout may still be wanted */
}

static void on_gap(struct remote *r, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct view *v = r->owner;
	const char *name = stream == STREAM_OUT ? "stdout" : "stderr";

	v->gap = true;
	if (v->terminal)
		return; /* it would only be more on the screen, and a repaint mends it */
	if (missing)
		ctl_say("%llu bytes of %s are missing here, from offset %llu: no longer kept",
			(unsigned long long)missing, name, (unsigned long long)off);
	else
		ctl_say("bytes of %s may be missing here, at offset %llu", name,
			(unsigned long long)off);
}

static const struct ctl_sink_events out_events = {
	.on_drained = on_drained, .on_failed = on_out_failed};
static const struct ctl_sink_events err_events = {
	.on_drained = on_drained, .on_failed = on_err_failed};

/* ---- input ---- */

static size_t input_room(struct ctl_source *s)
{
	size_t room = remote_input_room(&((struct view *)s->owner)->remote);

	return room > 0 ? room - 1 : 0; /* an escape key may come out besides */
}

static void on_input(struct ctl_source *s, const uint8_t *data, size_t len)
{
	struct view *v = s->owner;

	if (v->terminal)
		view_pty_input(v, data, len);
	else
		ASSERT(remote_input(&v->remote, data, len) == len);
}

static void on_input_end(struct ctl_source *s, int err)
{
	struct view *v = s->owner;

	if (err)
		ctl_say("cannot read stdin: %s", strerror(-err));
	if (v->terminal)
		view_pty_input_end(v);
	else
		remote_input_end(&v->remote);
}

static const struct ctl_source_events in_events = {
	.room = input_room, .on_input = on_input, .on_input_end = on_input_end};

static void on_input_room(struct remote *r)
{
	ctl_source_go(&((struct view *)r->owner)->in);
}

static void on_stdin_closed(struct remote *r)
{
	ctl_source_close(&((struct view *)r->owner)->in);
}

/* ---- signals ---- */

static void on_killed(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct view *v = ((struct ctl *)owner)->state;

	(void)json, (void)len;
	if (error && error->code != E_NOT_FOUND && !ctl_link_broke(error))
		ctl_say_error("the signal did not get there", error);
	else if (error && ctl_link_broke(error) && v->pending.op == OP_UNKNOWN)
		ctl_say("the link broke: the signal may not have got there");
}

void view_kill(struct view *v, const struct msg_request *m)
{
	if (guest_is_up(&v->ctl->guest))
		ctl_request(v->ctl, m, on_killed);
	else
		v->pending = *m;
}

static void on_signal(uv_signal_t *h, int sig)
{
	struct view *v = h->data;
	struct msg_request m = {.op = OP_KILL, .id = v->remote.id, .signal = sig};
	bool watches = !v->runs && !v->ctl->options.with_stdin;

	v->interrupts += sig == SIGINT;
	if (v->terminal) {
		view_pty_signal(v, sig);
		return;
	}
	if (!v->opened || watches || v->concluded) {
		ctl_finish(v->ctl, 128 + sig);
	} else if (v->interrupts >= 3) {
		ctl_say("leaving; session %s goes on: agentctl attach %s", v->remote.id,
			v->remote.id);
		ctl_finish(v->ctl, 128 + sig);
	} else {
		view_kill(v, &m);
	}
}

/* ---- the commands ---- */

static void on_opened(struct remote *r, const struct msg_opened *o)
{
	struct view *v = r->owner;

	v->opened = true;
	if (o->has_pty)
		view_pty_opened(v, o);
	if (v->config.input)
		ctl_source_go(&v->in);
}

static const struct remote_events remote_events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_gap = on_gap,
	.on_input_room = on_input_room,
	.on_input_safe = view_pty_input_safe,
	.on_stdin_closed = on_stdin_closed,
	.on_size = view_pty_size,
	.on_end = on_end,
	.on_close = on_close,
};

void ctl_fill_start(const struct ctl_options *o, struct msg_start *ret)
{
	*ret = (struct msg_start){.argv = o->args,
		.argc = (size_t)o->n_args,
		.env = o->env,
		.n_env = o->n_env,
		.with_stdin = o->with_stdin,
		.cwd = o->cwd,
		.user = o->user,
		.timeout_ms = o->timeout_ms,
		.kill_grace_ms = 2000,
		.linger_ms = 50};
}

/* As soon as the link is up. */
static int open_remote(struct view *v)
{
	int r = remote_open(&v->remote, &v->ctl->guest, &remote_events, &v->config);

	if (r < 0)
		ctl_say("'%s' is not a session id: 1 to 64 characters of A-Z a-z 0-9 . _ -",
			v->config.id ? v->config.id : "");
	return r < 0 ? CTL_FAILED : 0;
}

int view_begin(struct ctl *c, struct view *v)
{
	c->state = v;
	v->ctl = c;
	v->remote.owner = v;
	v->begun = true;
	ctl_sink_init(&v->out, &c->loop, STDOUT_FILENO, REMOTE_WINDOW, &out_events, v);
	ctl_sink_init(&v->err, &c->loop, STDERR_FILENO, REMOTE_WINDOW, &err_events, v);
	for (size_t i = 0; i < array_size(view_signals); i++) {
		uv_signal_init(&c->loop, &v->signals[i]);
		v->signals[i].data = v;
		uv_signal_start(&v->signals[i], on_signal, view_signals[i]);
	}
	if (v->config.input)
		ctl_source_init(&v->in, &c->loop, STDIN_FILENO, &in_events, v);
	return v->runs ? open_remote(v) : 0;
}

void view_end(struct ctl *c)
{
	struct view *v = c->state;

	if (!v)
		return;
	view_pty_end(v);
	if (!v->begun)
		return;
	remote_close(&v->remote);
	ctl_source_close(&v->in);
	ctl_sink_close(&v->out);
	ctl_sink_close(&v->err);
	for (size_t i = 0; i < array_size(view_signals); i++)
		uv_close((uv_handle_t *)&v->signals[i], NULL);
}

/* ---- run ---- */

static int begin_run(struct ctl *c)
{
	struct view *v = xcalloc(1, sizeof(*v));
	const struct ctl_options *o = &c->options;

	v->config = (struct remote_config){.id = o->id, .start = &v->start, .input = o->with_stdin};
	v->runs = true;
	v->own = !o->id && !o->keep;
	ctl_fill_start(o, &v->start);
	return view_begin(c, v);
}

/* ---- attach: whether there is something to type on is known before ---- */

static int begin_attach(struct ctl *c)
{
	struct view *v = xcalloc(1, sizeof(*v));
	const struct ctl_options *o = &c->options;
	int r;

	c->state = v;
	v->ctl = c;
	v->config = (struct remote_config){.id = o->args[0],
		.input = o->with_stdin,
		.since = {o->since[0], o->since[1]},
		.since_now = o->since_now};
	r = view_pty_prepare(v);
	if (r == 0 && !msg_name_valid(o->args[0], MSG_ID_MAX))
		r = open_remote(v); /* which says what is wrong */
	return r ? r : view_begin(c, v);
}

static void attach(struct view *v, bool terminal)
{
	bool types = isatty(STDIN_FILENO) && !v->ctl->options.read_only;
	int r;

	if (terminal && !v->config.input && types) {
		v->config.input = true;
		ctl_source_init(&v->in, &v->ctl->loop, STDIN_FILENO, &in_events, v);
	}
	r = open_remote(v);
	if (r)
		ctl_finish(v->ctl, r);
}

static void on_listed(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct view *v = ((struct ctl *)owner)->state;
	struct msg_list list = {0};
	struct error e;

	if (error && ctl_link_broke(error))
		return; /* asked again when it is back */
	if (!error && msg_parse_list(json, len, &list, &e) < 0)
		list.n = 0;
	if (list.n > 0 && !list.entries[0].has_pty && v->ctl->options.record) {
		ctl_say("session %s has no terminal to be recorded", v->config.id);
		ctl_finish(v->ctl, CTL_FAILED);
	} else {
		attach(v, list.n > 0 && list.entries[0].has_pty);
	}
	msg_list_fini(&list);
}

void view_up(struct ctl *c, bool same)
{
	struct view *v = c->state;
	struct msg_request m = {.op = OP_LIST, .id = v->config.id};

	if (!v->remote.guest)
		ctl_request(c, &m, on_listed);
	if (same && v->pending.op)
		view_kill(v, &v->pending);
	v->pending.op = OP_UNKNOWN;
}

const struct ctl_command ctl_run = {
	.name = "run",
	.args = "[OPTIONS] [--] CMD [ARG]...",
	.summary = "run a command and pass its streams on",
	.about = "Runs CMD in the guest, passes its stdout and stderr on, and ends as it ends:\n"
		 "its exit code, 128+N after signal N, 124 when the timeout ended it, 125 when\n"
		 "agentctl failed or the link is lost, 126 or 127 when CMD could not be started.\n"
		 "SIGINT, SIGTERM and SIGHUP are passed on to it; a third SIGINT leaves it alone.\n"
		 "The session is removed at the end, unless --keep or --id is given.",
	.options = OPTION(STDIN) | OPTION(TIMEOUT) | OPTION(USER) | OPTION(CWD) | OPTION(ENV) |
		   OPTION(ID) | OPTION(KEEP),
	.min_args = 1,
	.max_args = -1,
	.minds_loss = true,
	.begin = begin_run,
	.up = view_up,
	.end = view_end,
};

const struct ctl_command ctl_attach = {
	.name = "attach",
	.args = "[OPTIONS] ID",
	.summary = "see a session's output, from the first byte kept on",
	.about =
		"Passes on the output of session ID, past and to come, and ends as it ends, with\n"
		"the exit code that `run` would have. Without -i it only watches, and a signal\n"
		"ends only agentctl. A session on a terminal is typed on as with `pty` if stdin is\n"
		"one (or with -i); its size follows ours if nobody else owns it.",
	.options = OPTION(STDIN) | OPTION(SINCE) | OPTION(OWN) | OPTION(READ_ONLY) |
		   OPTION(RECORD) | OPTION(ESCAPE),
	.min_args = 1,
	.max_args = 1,
	.minds_loss = true,
	.begin = begin_attach,
	.up = view_up,
	.end = view_end,
};
