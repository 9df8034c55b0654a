/*
 * run and attach: one session, its output on ours, perhaps our stdin on its. The program is over
 * when it is known how (`code` is set, in conclude()) and all output is written; maybe_done() looks
 * at these facts and nothing else does.
 *
 * A session that a plain `run` made is its own: it is removed at the end, and when nobody reads our
 * stdout any more it is ended as a local command would be. With --id or --keep it belongs to
 * whoever comes later.
 */
#include <signal.h>
#include <stdio.h>

#include "bridge/ctl.h"
#include "bridge/ctl_sink.h"
#include "bridge/ctl_source.h"
#include "bridge/remote.h"
#include "proto/signame.h"

#define BROKEN_GRACE_MS 2000 /* from PIPE to KILL */

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP};

struct view {
	struct ctl *ctl;
	struct remote remote;
	struct msg_start start;
	struct ctl_sink out, err;
	struct ctl_source in;
	uv_signal_t signals[array_size(forwarded)];
	bool runs; /* else it attaches */
	bool own;  /* made here and for us only */
	bool opened, concluded, removing, gap;
	int code;     /* once concluded */
	int out_code; /* not 0: stdout failed, and this is the exit code whatever comes */
	unsigned interrupts;
	struct msg_request pending; /* a kill to be sent when the link is there; op 0: none */
};

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
	const char *what = v->runs ? o->args[0] : v->remote.id, *why = strerror(end->err);

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

static void send_kill(struct view *v, const struct msg_request *m);

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
		send_kill(v, &m);
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
	return remote_input_room(&((struct view *)s->owner)->remote);
}

static void on_input(struct ctl_source *s, const uint8_t *data, size_t len)
{
	struct view *v = s->owner;

	ASSERT(remote_input(&v->remote, data, len) == len);
}

static void on_input_end(struct ctl_source *s, int err)
{
	struct view *v = s->owner;

	if (err)
		ctl_say("cannot read stdin: %s", strerror(-err));
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

/* Now, or when the link is back; then only the last one counts. */
static void send_kill(struct view *v, const struct msg_request *m)
{
	if (guest_is_up(&v->ctl->guest))
		ctl_request(v->ctl, m, on_killed);
	else
		v->pending = *m;
}

static void up(struct ctl *c, bool same)
{
	struct view *v = c->state;

	if (same && v->pending.op)
		send_kill(v, &v->pending);
	v->pending.op = OP_UNKNOWN;
}

static void on_signal(uv_signal_t *h, int sig)
{
	struct view *v = h->data;
	struct msg_request m = {.op = OP_KILL, .id = v->remote.id, .signal = sig};
	bool watches = !v->runs && !v->ctl->options.with_stdin;

	v->interrupts += sig == SIGINT;
	if (!v->opened || watches || v->concluded) {
		ctl_finish(v->ctl, 128 + sig);
	} else if (v->interrupts >= 3) {
		ctl_say("leaving; session %s goes on: agentctl attach %s", v->remote.id,
			v->remote.id);
		ctl_finish(v->ctl, 128 + sig);
	} else {
		send_kill(v, &m);
	}
}

/* ---- the commands ---- */

static void on_opened(struct remote *r, const struct msg_opened *o)
{
	struct view *v = r->owner;

	(void)o;
	v->opened = true;
	if (v->ctl->options.with_stdin)
		ctl_source_go(&v->in);
}

static const struct remote_events remote_events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_gap = on_gap,
	.on_input_room = on_input_room,
	.on_stdin_closed = on_stdin_closed,
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

static int begin(struct ctl *c, struct view *v, const struct remote_config *config)
{
	int r;

	c->state = v;
	v->ctl = c;
	v->remote.owner = v;
	ctl_sink_init(&v->out, &c->loop, STDOUT_FILENO, REMOTE_WINDOW, &out_events, v);
	ctl_sink_init(&v->err, &c->loop, STDERR_FILENO, REMOTE_WINDOW, &err_events, v);
	if (c->options.with_stdin)
		ctl_source_init(&v->in, &c->loop, STDIN_FILENO, &in_events, v);
	for (size_t i = 0; i < array_size(forwarded); i++) {
		uv_signal_init(&c->loop, &v->signals[i]);
		v->signals[i].data = v;
		uv_signal_start(&v->signals[i], on_signal, forwarded[i]);
	}
	r = remote_open(&v->remote, &c->guest, &remote_events, config);
	if (r < 0) {
		ctl_say("'%s' is not a session id: 1 to 64 characters of A-Z a-z 0-9 . _ -",
			config->id ? config->id : "");
		return CTL_FAILED;
	}
	return 0;
}

static void end(struct ctl *c)
{
	struct view *v = c->state;

	remote_close(&v->remote);
	ctl_source_close(&v->in);
	ctl_sink_close(&v->out);
	ctl_sink_close(&v->err);
	for (size_t i = 0; i < array_size(forwarded); i++)
		uv_close((uv_handle_t *)&v->signals[i], NULL);
}

static int begin_run(struct ctl *c)
{
	struct view *v = xcalloc(1, sizeof(*v));
	const struct ctl_options *o = &c->options;
	struct remote_config config = {.id = o->id, .start = &v->start, .input = o->with_stdin};

	v->runs = true;
	v->own = !o->id && !o->keep;
	ctl_fill_start(o, &v->start);
	return begin(c, v, &config);
}

static int begin_attach(struct ctl *c)
{
	struct view *v = xcalloc(1, sizeof(*v));
	const struct ctl_options *o = &c->options;
	struct remote_config config = {.id = o->args[0],
		.input = o->with_stdin,
		.since = {o->since[0], o->since[1]},
		.since_now = o->since_now};

	return begin(c, v, &config);
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
	.options = "itudeIk",
	.min_args = 1,
	.max_args = -1,
	.minds_loss = true,
	.begin = begin_run,
	.up = up,
	.end = end,
};

const struct ctl_command ctl_attach = {
	.name = "attach",
	.args = "[OPTIONS] ID",
	.summary = "see a session's output, from the first byte kept on",
	.about = "Passes on the output of session ID, past and to come, and ends as it ends, with\n"
		 "the exit code that `run` would have. Without -i it only watches, and a signal\n"
		 "ends only agentctl.",
	.options = "is",
	.min_args = 1,
	.max_args = 1,
	.minds_loss = true,
	.begin = begin_attach,
	.up = up,
	.end = end,
};
