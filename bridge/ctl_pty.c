/*
 * The terminal of a view, and the command pty. Our own terminal goes raw when the session is there,
 * and whatever is typed is the program's but for the escape key. Our size is the session's while we
 * own it (remote.h), so a change here only has to be told once.
 *
 * A terminal has no end of input. When our stdin has one, EOF is typed, as somebody would: now and
 * then, because a program that has just been started may still set its terminal up, and takes what
 * was typed before for something else.
 */
#include <stdio.h>
#include <time.h>

#include "bridge/ctl_term.h"
#include "bridge/ctl_view.h"

#define EOF_KEY      0x04
#define EOF_FIRST_MS 100
#define EOF_AGAIN_MS 500
#define HANGUP_MS    2000 /* from HUP to KILL */

/* ---- our side ---- */

static void follow_size(struct view *v)
{
	struct msg_size size;

	if (ctl_term_size(&size))
		remote_set_size(&v->remote, &size);
}

static void on_winch(uv_signal_t *h, int sig)
{
	(void)sig;
	follow_size(h->data);
}

/* Stopped and continued: the shell has had the terminal meanwhile. */
static void on_cont(uv_signal_t *h, int sig)
{
	struct view *v = h->data;

	(void)sig;
	if (ctl_term_is_raw())
		ctl_term_raw(!v->config.input);
	follow_size(v);
}

void view_pty_input_safe(struct remote *r)
{
	struct view *v = r->owner;

	if (!v->leaving)
		return;
	ctl_say("left; session %s goes on: agentctl attach %s", r->id, r->id);
	ctl_finish(v->ctl, 0);
}

static void leave(struct view *v)
{
	v->leaving = true;
	ctl_source_close(&v->in);
	/* Without a link that may take a while, and whoever leaves then knows why. */
	if (remote_input_room(&v->remote) == REMOTE_INPUT || !guest_is_up(&v->ctl->guest))
		view_pty_input_safe(&v->remote);
}

static void help(const struct view *v)
{
	char key[3];

	escape_name(&v->escape, key);
	ctl_say("%s. leaves the session, %s%s types %s, %s? is this%s", key, key, key, key, key,
		key[1] ? "" : " (at the beginning of a line)");
}

static void on_eof(uv_timer_t *t)
{
	struct view *v = t->data;
	static const uint8_t keys[] = {EOF_KEY, EOF_KEY};
	/* Behind a part of a line the first only ends that part. */
	size_t n = v->last == '\n' || v->last == '\r' || v->last == EOF_KEY ? 1 : 2;

	if (remote_input_room(&v->remote) >= n)
		remote_input(&v->remote, keys, n);
	v->last = EOF_KEY;
}

static void open_handles(struct view *v)
{
	uv_loop_t *loop = &v->ctl->loop;

	uv_signal_init(loop, &v->winch);
	uv_signal_init(loop, &v->cont);
	uv_timer_init(loop, &v->eof);
	v->winch.data = v->cont.data = v->eof.data = v;
	v->handles = true;
	uv_signal_start(&v->winch, on_winch, SIGWINCH);
	uv_signal_start(&v->cont, on_cont, SIGCONT);
}

/* ---- a view's terminal ---- */

int view_pty_prepare(struct view *v)
{
	const struct ctl_options *o = &v->ctl->options;
	int r;

	v->keyboard = isatty(STDIN_FILENO);
	escape_init(&v->escape, v->keyboard ? o->escape : -1);
	v->last = '\n';
	v->config.own = o->read_only ? OWN_NEVER : o->own ? OWN_TAKE : OWN_IF_FREE;
	v->config.has_size = !o->read_only && ctl_term_size(&v->config.size);
	if (!o->record)
		return 0;
	r = cast_open(&v->cast, o->record);
	if (r < 0)
		ctl_say("cannot record to %s: %s", o->record, strerror(-r));
	return r < 0 ? CTL_FAILED : 0;
}

void view_pty_opened(struct view *v, const struct msg_opened *o)
{
	const char *term = v->runs ? v->start.pty.term : getenv("TERM");

	v->terminal = true;
	cast_begin(&v->cast, &o->size, (uint64_t)time(NULL), term, v->start.pty.shell);
	ctl_term_raw(!v->config.input);
	open_handles(v);
	follow_size(v); /* it may have changed before somebody listened */
}

void view_pty_output(struct view *v, const uint8_t *data, size_t len)
{
	cast_output(&v->cast, data, len);
	if (v->cast.err && !v->cast_said) {
		v->cast_said = true;
		ctl_say("cannot write to %s: %s", v->ctl->options.record, strerror(-v->cast.err));
	}
}

void view_pty_size(struct remote *r, const struct msg_size *size)
{
	struct view *v = r->owner;

	cast_resize(&v->cast, size);
}

void view_pty_input(struct view *v, const uint8_t *data, size_t len)
{
	while (len > 0) {
		uint8_t out[1025];
		size_t used, n;
		enum escape_action action;

		n = escape_filter(
			&v->escape, data, min_of(len, sizeof(out) - 1), out, &used, &action);
		data += used;
		len -= used;
		if (n > 0) {
			ASSERT(remote_input(&v->remote, out, n) == n);
			v->last = out[n - 1];
		}
		if (action == ESCAPE_LEAVE) {
			leave(v);
			return;
		}
		if (action == ESCAPE_HELP)
			help(v);
	}
}

/* A raw terminal has no end of input: it is gone. And who attaches does not end what others may be
 * typing on. */
void view_pty_input_end(struct view *v)
{
	if (v->keyboard)
		view_pty_signal(v, SIGHUP);
	else if (v->runs)
		uv_timer_start(&v->eof, on_eof, EOF_FIRST_MS, EOF_AGAIN_MS);
}

/* From outside: what is typed never makes one here. */
void view_pty_signal(struct view *v, int sig)
{
	struct msg_request m = {.op = OP_KILL,
		.id = v->remote.id,
		.signal = SIGHUP,
		.to = TARGET_TREE,
		.escalate = true,
		.grace_ms = HANGUP_MS};

	if (!v->own || v->out_code || v->concluded) {
		ctl_finish(v->ctl, 128 + sig);
		return;
	}
	v->out_code = 128 + sig;
	view_kill(v, &m);
}

void view_pty_end(struct view *v)
{
	cast_close(&v->cast);
	if (!v->handles)
		return;
	v->handles = false;
	ctl_term_restore();
	uv_close((uv_handle_t *)&v->winch, NULL);
	uv_close((uv_handle_t *)&v->cont, NULL);
	uv_close((uv_handle_t *)&v->eof, NULL);
}

/* ---- the command ---- */

static int begin_pty(struct ctl *c)
{
	struct view *v = xcalloc(1, sizeof(*v));
	const struct ctl_options *o = &c->options;
	const char *term = getenv("TERM");
	int r;

	c->state = v;
	v->ctl = c;
	v->runs = true;
	v->own = !o->id && !o->keep;
	v->config = (struct remote_config){.id = o->id, .start = &v->start, .input = true};
	r = view_pty_prepare(v);
	if (r)
		return r;
	ctl_fill_start(o, &v->start);
	v->start.pty = (struct msg_pty){.on = true,
		.login = o->login,
		.shell = o->shell,
		.term = isatty(STDIN_FILENO) && term && *term ? term : "xterm-256color",
		.size = {.cols = 80, .rows = 24}};
	if (v->config.has_size)
		v->start.pty.size = v->config.size;
	return view_begin(c, v);
}

const struct ctl_command ctl_pty = {
	.name = "pty",
	.args = "[OPTIONS] [--] [CMD [ARG]...]",
	.summary = "a shell, or another program, on a terminal",
	.about =
		"Runs a shell (or CMD) on a terminal in the guest, which has the size of this one and\n"
		"follows it. Ends as `run` does. At the beginning of a line, ~. leaves the session\n"
		"(agentctl attach comes back to it), ~? tells of the others, ~~ types a ~. Without a\n"
		"terminal here, stdin is typed and its end is typed as Ctrl-D.\n"
		"The session is removed at its end, unless --keep or --id is given.",
	.options = OPTION(SHELL) | OPTION(LOGIN) | OPTION(USER) | OPTION(CWD) | OPTION(ENV) |
		   OPTION(ID) | OPTION(KEEP) | OPTION(RECORD) | OPTION(ESCAPE),
	.min_args = 0,
	.max_args = -1,
	.minds_loss = true,
	.begin = begin_pty,
	.up = view_up,
	.end = view_end,
};
