/*
 * agent: a talk with a Claude session. With a PROMPT it is one turn; else a line of our stdin is a
 * prompt, until there are no more. A session that was made here and for us only is ended with us.
 *
 * A session that is there already has said things before. In a chat they are shown again; for one
 * turn they are read, to know whether a turn is running, and not shown.
 */
#include <signal.h>
#include <stdio.h>

#include "bridge/ctl.h"
#include "bridge/ctl_agent_lines.h"
#include "bridge/ctl_sink.h"
#include "bridge/ctl_source.h"
#include "bridge/remote.h"
#include "proto/lines.h"

#define LINE_MAX_BYTES (17 * MIB) /* a little more than the session's */
#define SHOWN_MAX      (64 * MIB)
#define KILL_MS        2000
#define ORPHAN_MS      60000 /* how long our own session runs on when we are gone */

static const int watched[] = {SIGINT, SIGTERM, SIGHUP};

struct chat {
	struct ctl *ctl;
	struct remote remotes[2]; /* to attach; and, when there is nothing, to start */
	struct remote *remote;
	struct msg_start start;
	char *prompt; /* owned; NULL: a chat */
	bool own, opened, asked, leaving, concluded, finishing;
	unsigned busy; /* in a callback that still needs what ctl_finish() frees */
	bool terminal; /* somebody types */
	struct ctl_sink out, err;
	struct ctl_source in;
	struct lines said, typed;
	struct buf to_send; /* lines to the session that do not fit into the remote yet */
	uint64_t replay;    /* stdout up to here was said before we came */
	uint64_t at;        /* stdout so far */
	size_t owed;        /* bytes taken from the remote and not yet called consumed */
	unsigned turns;     /* asked for or running, and not over */
	bool began;         /* what was said last is the beginning of a turn, or from within it */
	bool skipping; /* to the next line end: the beginning of the line is not kept any more */
	bool failed, interrupted;
	int code;
	uv_signal_t signals[array_size(watched)];
};

/* ---- the end ---- */

static void on_gone(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct chat *c = ((struct ctl *)owner)->state;

	/* If it failed, retention or the time of an orphan is over a little later. */
	(void)json, (void)len, (void)error;
	ctl_finish(c->ctl, c->code);
}

/* Our own session goes with us: out of the list when it has ended, else it is made to end. */
static void finish(struct chat *c)
{
	struct msg_request m = {.op = OP_REMOVE, .id = c->remote->id};

	if (c->finishing)
		return;
	c->finishing = true;
	if (!c->remote->ended) {
		m.op = OP_KILL;
		m.signal = SIGTERM;
		m.to = TARGET_TREE;
		m.escalate = true;
		m.grace_ms = KILL_MS;
	}
	if (c->own && c->opened && guest_is_up(&c->ctl->guest))
		ctl_request(c->ctl, &m, on_gone);
	else
		ctl_finish(c->ctl, c->code);
}

static void maybe_done(struct chat *c)
{
	if (c->concluded && !c->busy && ctl_sink_empty(&c->out) && ctl_sink_empty(&c->err))
		finish(c);
}

static void conclude(struct chat *c, int code)
{
	if (c->concluded)
		return;
	c->concluded = true;
	c->code = code;
	ctl_source_close(&c->in);
	maybe_done(c);
}

/* Nothing more will be asked: our own session ends by it, after its turns; another goes on, and we
 * wait for ours. */
static void leave(struct chat *c, int code)
{
	c->leaving = true;
	c->code = code;
	if (c->own && buf_len(&c->to_send) == 0)
		remote_input_end(c->remote);
	if (c->own || c->turns > 0)
		return;
	if (c->terminal)
		ctl_say("session %s goes on: agentctl agent --id %s", c->remote->id, c->remote->id);
	conclude(c, code);
}

/* ---- to the session ---- */

static void send_more(struct chat *c)
{
	size_t n = remote_input(c->remote, buf_head(&c->to_send), buf_len(&c->to_send));

	buf_consume(&c->to_send, n);
	buf_trim(&c->to_send, 64 * KIB);
	if (n > 0 && c->leaving)
		leave(c, c->code);
}

/* After a line was put into to_send. */
static void sent(struct chat *c, int r)
{
	if (r < 0) {
		ctl_say("out of memory");
		conclude(c, CTL_FAILED);
	} else {
		send_more(c);
	}
}

static void send_prompt(struct chat *c, const char *text, size_t len)
{
	int r = agent_put_prompt(&c->to_send, text, len);

	if (r == -EILSEQ) {
		ctl_say("not sent: it is not UTF-8");
		return;
	}
	c->turns++;
	sent(c, r);
}

/* ---- what it says ---- */

static void print(struct ctl_sink *s, struct buf *b)
{
	ctl_sink_write(s, buf_head(b), buf_len(b));
	buf_fini(b);
}

static void show_cursor(struct chat *c)
{
	if (c->terminal && c->turns == 0 && !c->leaving && !c->concluded)
		ctl_sink_write(&c->out, (const uint8_t *)"> ", 2);
}

static void on_turn_over(struct chat *c)
{
	int code = c->interrupted ? 128 + SIGINT : c->failed ? 1 : 0;

	if (c->turns > 0)
		c->turns--;
	c->interrupted = c->failed = false;
	if (c->turns > 0 || !c->asked)
		return;
	if (c->prompt || c->leaving)
		leave(c, c->prompt ? code : 0);
	else
		show_cursor(c);
}

static void follow(struct chat *c, enum agent_line kind)
{
	switch (kind) {
	case AGENT_BEGIN:
		if (!c->began && c->turns == 0)
			c->turns = 1; /* somebody else's, or its own */
		c->began = true;
		break;
	case AGENT_FAILED: c->failed = true; break;
	case AGENT_TURN_OVER:
		c->began = false;
		on_turn_over(c);
		break;
	case AGENT_READY:
	case AGENT_OTHER: break;
	}
}

static void on_line(struct chat *c, struct jsonr line)
{
	struct buf text = BUF_NULL(SHOWN_MAX), notes = BUF_NULL(SHOWN_MAX);
	/* For one turn: this one. */
	bool show = !c->prompt || (c->at > c->replay && c->turns == 1);
	bool json = c->ctl->options.json;
	enum agent_line kind;
	struct jsonr object;

	if (jsonr_parse(line.p, line.len, &object) < 0)
		return; /* the beginning of it is gone */
	if (show && json) {
		ctl_sink_write(&c->out, (const uint8_t *)line.p, line.len);
		ctl_sink_write(&c->out, (const uint8_t *)"\n", 1);
	}
	kind = agent_show(object, &text, &notes);
	if (show && !json) {
		print(&c->out, &text);
		if (kind != AGENT_FAILED || !c->interrupted) /* that was to be */
			print(c->prompt ? &c->err : &c->out, &notes);
	}
	buf_fini(&text);
	buf_fini(&notes);
	follow(c, kind);
}

/* All that was said before is known: now we speak. */
static void begin_asking(struct chat *c)
{
	const struct ctl_options *o = &c->ctl->options;

	if (c->asked || c->at < c->replay)
		return;
	c->asked = true;
	if (o->model || o->resume)
		sent(c, agent_put_configure(&c->to_send, o->model, o->resume));
	if (c->prompt)
		send_prompt(c, c->prompt, strlen(c->prompt));
	else
		ctl_source_go(&c->in);
	show_cursor(c);
}

static void settle(struct chat *c)
{
	size_t n = c->owed;

	if (n == 0 || !ctl_sink_empty(&c->out) || !ctl_sink_empty(&c->err))
		return;
	c->owed = 0;
	if (c->remote->state != REMOTE_CLOSED)
		remote_consumed(c->remote, n);
}

static void take_said(struct chat *c, const uint8_t *data, size_t len)
{
	struct jsonr line;

	while (len > 0) {
		size_t size, n;
		uint8_t *space = lines_space(&c->said, &size);

		ASSERT(space);
		n = min_of(len, size);
		memcpy(space, data, n);
		lines_commit(&c->said, n);
		data += n;
		len -= n;
		while (lines_next(&c->said, &line) != 0)
			on_line(c, line);
	}
}

static void on_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	struct chat *c = r->owner;

	c->busy++;
	c->owed += len;
	if (stream == STREAM_ERR && !c->concluded) {
		if (c->ctl->options.verbose)
			ctl_sink_write(&c->err, data, len);
	} else if (!c->concluded) {
		/* A line is old when its end is. */
		while (len > 0 && !c->concluded) {
			const uint8_t *end = memchr(data, '\n', len);
			size_t n = end ? (size_t)(end - data) + 1 : len;

			off += n;
			c->at = off;
			take_said(c, data, n);
			data += n;
			len -= n;
		}
	}
	begin_asking(c);
	settle(c);
	c->busy--;
	maybe_done(c);
}

static void on_gap(struct remote *r, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct chat *c = r->owner;

	if (stream != STREAM_OUT)
		return;
	c->at = off + missing;
	begin_asking(c);
}

static void on_drained(struct ctl_sink *s, size_t n)
{
	(void)n;
	settle(s->owner);
	maybe_done(s->owner);
}

static void on_out_failed(struct ctl_sink *s, int err)
{
	struct chat *c = s->owner;

	if (err != -EPIPE)
		ctl_say("cannot write to stdout: %s", strerror(-err));
	conclude(c, err == -EPIPE ? CTL_BROKEN : CTL_FAILED);
}

static void on_err_failed(struct ctl_sink *s, int err)
{
	(void)s, (void)err;
}

static const struct ctl_sink_events out_events = {
	.on_drained = on_drained, .on_failed = on_out_failed};
static const struct ctl_sink_events err_events = {
	.on_drained = on_drained, .on_failed = on_err_failed};

/* ---- what is typed ---- */

static size_t input_room(struct ctl_source *s)
{
	struct chat *c = s->owner;

	return buf_len(&c->to_send) == 0 && !c->concluded ? 4096 : 0;
}

static void take_typed(struct chat *c)
{
	struct jsonr line;
	int r;

	while ((r = lines_next(&c->typed, &line)) != 0) {
		if (r < 0)
			ctl_say("not sent: a line over 16 MiB");
		else if (line.len > 0)
			send_prompt(c, line.p, line.len);
		else
			show_cursor(c);
	}
}

static void on_input(struct ctl_source *s, const uint8_t *data, size_t len)
{
	struct chat *c = s->owner;
	size_t size;
	uint8_t *space = lines_space(&c->typed, &size);

	ASSERT(space && len <= size);
	memcpy(space, data, len);
	lines_commit(&c->typed, len);
	c->busy++;
	take_typed(c);
	c->busy--;
	maybe_done(c);
}

static void on_input_end(struct ctl_source *s, int err)
{
	struct chat *c = s->owner;

	if (err)
		ctl_say("cannot read stdin: %s", strerror(-err));
	lines_end(&c->typed);
	c->busy++;
	take_typed(c);
	if (c->terminal)
		ctl_sink_write(&c->out, (const uint8_t *)"\n", 1);
	leave(c, 0);
	c->busy--;
	maybe_done(c);
}

static const struct ctl_source_events in_events = {
	.room = input_room, .on_input = on_input, .on_input_end = on_input_end};

static void on_input_room(struct remote *r)
{
	struct chat *c = r->owner;

	send_more(c);
	if (!c->prompt && c->asked)
		ctl_source_go(&c->in);
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *h, int sig)
{
	struct chat *c = h->data;

	if (sig == SIGINT && c->opened && !c->concluded && c->turns > 0 && !c->interrupted) {
		c->interrupted = true;
		sent(c, agent_put_interrupt(&c->to_send));
	} else if (sig == SIGINT && c->opened && c->terminal && c->turns == 0 && !c->prompt) {
		ctl_sink_write(&c->out, (const uint8_t *)"(Ctrl-D ends)\n> ", 16);
	} else {
		c->code = 128 + sig;
		finish(c);
	}
}

/* ---- the session ---- */

static void on_opened(struct remote *r, const struct msg_opened *o)
{
	struct chat *c = r->owner;

	c->opened = true;
	c->replay = o->out.head;
	c->at = 0;
	begin_asking(c);
}

static void on_end(struct remote *r, const struct msg_end *end)
{
	struct chat *c = r->owner;
	int code = c->code;

	if (end->state == END_START_FAILED)
		ctl_say("cannot start the session: %s (%s)", strerror(end->err), end->stage);
	else if (end->state != END_EXITED)
		ctl_say("session %s has ended: %s", r->id, end_state_str(end->state));
	if (end->state != END_EXITED)
		code = CTL_FAILED;
	else if (end->code != 0)
		code = end->code;
	conclude(c, code);
}

static int open_session(struct chat *c, bool start);

static void on_close(struct remote *r, enum remote_why why, const struct error *e)
{
	struct chat *c = r->owner;

	if (why == REMOTE_DONE)
		return; /* on_end has concluded */
	if (why == REMOTE_REFUSED && e->code == E_NOT_FOUND && r == &c->remotes[0]) {
		c->remote = &c->remotes[1];
		open_session(c, true);
		return;
	}
	ctl_say_error(c->opened ? "the session is lost" : "cannot open the session", e);
	conclude(c, CTL_FAILED);
}

static const struct remote_events remote_events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_gap = on_gap,
	.on_input_room = on_input_room,
	.on_end = on_end,
	.on_close = on_close,
};

static int open_session(struct chat *c, bool start)
{
	struct remote_config config = {
		.id = c->ctl->options.id, .start = start ? &c->start : NULL, .input = true};
	int r;

	c->remote->owner = c;
	r = remote_open(c->remote, &c->ctl->guest, &remote_events, &config);
	if (r < 0) {
		ctl_say("cannot open the session: %s", strerror(-r));
		return CTL_FAILED;
	}
	return 0;
}

static char *join_words(char **words, int n)
{
	size_t size = 1;
	char *text;

	if (n == 0)
		return NULL;
	for (int i = 0; i < n; i++)
		size += strlen(words[i]) + 1;
	text = xcalloc(1, size);
	for (int i = 0; i < n; i++)
		sprintf(text + strlen(text), "%s%s", i ? " " : "", words[i]);
	return text;
}

static void fill_start(struct chat *c)
{
	ctl_fill_start(&c->ctl->options, &c->start);
	c->start.agent = true;
	if (c->own)
		c->start.disconnect_ms = ORPHAN_MS;
}

static int begin(struct ctl *ctl)
{
	struct chat *c = xcalloc(1, sizeof(*c));
	const struct ctl_options *o = &ctl->options;

	ctl->state = c;
	c->ctl = ctl;
	c->own = !o->id && !o->keep;
	c->prompt = join_words(o->args, o->n_args);
	c->terminal = !c->prompt && !o->json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	c->to_send = BUF_NULL(8 * LINE_MAX_BYTES);
	lines_init(&c->said, LINE_MAX_BYTES);
	lines_init(&c->typed, LINE_MAX_BYTES);
	fill_start(c);
	ctl_sink_init(&c->out, &ctl->loop, STDOUT_FILENO, SHOWN_MAX, &out_events, c);
	ctl_sink_init(&c->err, &ctl->loop, STDERR_FILENO, SHOWN_MAX, &err_events, c);
	if (!c->prompt)
		ctl_source_init(&c->in, &ctl->loop, STDIN_FILENO, &in_events, c);
	for (size_t i = 0; i < array_size(watched); i++) {
		uv_signal_init(&ctl->loop, &c->signals[i]);
		c->signals[i].data = c;
		uv_signal_start(&c->signals[i], on_signal, watched[i]);
	}
	c->remote = &c->remotes[o->id ? 0 : 1];
	return open_session(c, !o->id);
}

static void end(struct ctl *ctl)
{
	struct chat *c = ctl->state;

	remote_close(c->remote);
	ctl_source_close(&c->in);
	ctl_sink_close(&c->out);
	ctl_sink_close(&c->err);
	for (size_t i = 0; i < array_size(watched); i++)
		uv_close((uv_handle_t *)&c->signals[i], NULL);
	lines_fini(&c->said);
	lines_fini(&c->typed);
	buf_fini(&c->to_send);
	free(take_ptr(&c->prompt));
}

const struct ctl_command ctl_agent = {
	.name = "agent",
	.args = "[OPTIONS] [PROMPT]...",
	.summary = "talk with a Claude session",
	.about =
		"Starts a Claude session in the guest, asks it PROMPT, prints the answer, and ends it:\n"
		"exit code 1 when the turn failed. What tools are used for is shown on stderr.\n"
		"Without PROMPT each line of stdin is one, until the end of input (Ctrl-D).\n"
		"Ctrl-C interrupts the turn, a second time leaves. With --id the session goes on\n"
		"afterwards, and one of that name is joined. It needs credentials in the guest, as in\n"
		"-e ANTHROPIC_API_KEY=...",
	.options = OPTION(MODEL) | OPTION(RESUME) | OPTION(USER) | OPTION(CWD) | OPTION(ENV) |
		   OPTION(ID) | OPTION(KEEP) | OPTION(JSON),
	.min_args = 0,
	.max_args = -1,
	.minds_loss = true,
	.begin = begin,
	.end = end,
};
