/*
 * A turn begins in try_next(), when a prompt waits, none is running, and the program is there or
 * can be started. It ends in end_turn(): after the program's `result`, or after its end. What the
 * program says without having been asked (a background task of its own is done) is a turn as well;
 * it begins with system/init like any other.
 *
 * An interrupt that comes before the program has begun is lost on it. So it is said when the turn
 * has begun, and again every second until the turn is over.
 */
#include "agentd/claude_talk.h"

#include <stdarg.h>
#include <stdio.h>

struct claude_prompt {
	struct list list;
	char *resume; /* owned; may be NULL */
	size_t len;
	char content[]; /* as JSON */
};

static void set_turn(struct claude_talk *t, enum claude_turn turn)
{
	t->turn = turn;
	t->heard_at = now_ms();
	t->stall_said = false;
}

static void free_prompt(struct claude_prompt *p)
{
	if (p)
		free(p->resume);
	free(p);
}

void claude_talk_init(struct claude_talk *t, const struct claude_program *program, struct buf *out,
	struct buf *log)
{
	*t = (struct claude_talk){.program = program, .out = out, .log = log};
	msg_claude_config_init(&t->config);
	claude_cli_init(&t->cli);
	list_init(&t->prompts);
}

static void drop_prompts(struct claude_talk *t)
{
	list_for_each_safe (p, &t->prompts, struct claude_prompt, list) {
		list_remove(&p->list);
		free_prompt(p);
	}
	t->n_prompts = 0;
	t->prompt_bytes = 0;
}

void claude_talk_fini(struct claude_talk *t)
{
	drop_prompts(t);
	free_prompt(take_ptr(&t->current));
	msg_claude_config_fini(&t->config);
}

/* ---- to the client ---- */

/* The line is lost, and with it the order of things. */
static void check(struct claude_talk *t, int r)
{
	if (r < 0)
		t->error = r;
}

static void say(struct claude_talk *t, const char *type)
{
	check(t, msg_put_claude_event(t->out, type));
}

static void say_error(struct claude_talk *t, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void say_error(struct claude_talk *t, const char *code, const char *fmt, ...)
{
	char text[CLAUDE_WHY_MAX + CLAUDE_SESSION_MAX + 400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	check(t, msg_put_claude_error(t->out, code, text));
}

/* ---- a turn's end ---- */

static void try_next(struct claude_talk *t);

static void end_turn(struct claude_talk *t)
{
	if (t->interrupting)
		say(t, "interrupted");
	t->interrupting = false;
	t->explained = t->again = false;
	free_prompt(take_ptr(&t->current));
	set_turn(t, TURN_NONE);
	check(t, msg_put_claude_complete(t->out, t->session[0] ? t->session : NULL));
}

static void forget_failed_conversation(struct claude_talk *t)
{
	if (strcmp(t->session, t->resumed) == 0)
		t->session[0] = '\0';
}

/* Ends a program that is of no use any more, in a way the client has been told. */
static void give_up(struct claude_talk *t)
{
	t->explained = true;
	claude_cli_term(&t->cli);
}

/* The program was to resume and has not begun. */
static bool was_resuming(const struct claude_talk *t)
{
	return t->resumed[0] && !t->began;
}

/* ---- a turn's beginning ---- */

static const char *basename_of(const struct claude_talk *t)
{
	const char *name = t->program->words[0], *slash = strrchr(name, '/');

	return slash ? slash + 1 : name;
}

static bool start_program(struct claude_talk *t, const char *resume)
{
	char **argv = claude_program_argv(t->program, &t->config, resume, !t->no_snapshot);
	int r = argv ? claude_cli_start(&t->cli, argv, t->config.cwd) : -ENOMEM;

	claude_argv_free(argv);
	snprintf(t->resumed, sizeof(t->resumed), "%s", resume ? resume : "");
	t->began = t->stale = false;
	t->interrupt_id = t->model_id = t->mode_id = 0;
	if (r < 0 && t->config.cwd)
		say_error(t, "start_failed", "cannot start %.100s in %.200s: %s", basename_of(t),
			t->config.cwd, strerror(-r));
	else if (r < 0)
		say_error(
			t, "start_failed", "cannot start %.100s: %s", basename_of(t), strerror(-r));
	return r == 0;
}

/* The conversation the next prompt belongs to; NULL: a new one. */
static const char *wanted_session(const struct claude_talk *t, const struct claude_prompt *p)
{
	if (p->resume)
		return p->resume;
	if (t->config.resume)
		return t->config.resume;
	return t->session[0] ? t->session : NULL;
}

static void take_first(struct claude_talk *t)
{
	t->current = list_first(&t->prompts, struct claude_prompt, list);
	list_remove(&t->current->list);
	t->n_prompts--;
	t->prompt_bytes -= t->current->len;
	set_turn(t, TURN_ASKED);
	if (t->interrupting) {
		t->interrupt_at = now_ms() + CLAUDE_INTERRUPT_AGN;
		t->interrupt_until = now_ms() + CLAUDE_INTERRUPT_MS;
	}
}

static void ask(struct claude_talk *t, const char *resume)
{
	struct claude_cli *cli = &t->cli;
	char id[CLAUDE_SESSION_MAX + 1];
	bool up = cli->state == CLI_UP;

	snprintf(id, sizeof(id), "%s", resume ? resume : "");
	free(take_ptr(&t->config.resume)); /* it counts once */
	take_first(t);
	if (!up && !start_program(t, id[0] ? id : NULL)) {
		end_turn(t);
		return;
	}
	check(t, msg_put_claude_prompt(
			 &cli->to, (struct jsonr){t->current->content, t->current->len}));
}

static void try_next(struct claude_talk *t)
{
	while (t->turn == TURN_NONE && !list_empty(&t->prompts) && t->error == 0) {
		const struct claude_prompt *p = list_first(&t->prompts, struct claude_prompt, list);
		const char *wanted = wanted_session(t, p);

		if (t->cli.state == CLI_UP &&
			(t->stale || (wanted && strcmp(wanted, t->session) != 0)))
			claude_cli_close(&t->cli);
		if (t->cli.state != CLI_NONE && t->cli.state != CLI_UP)
			return; /* claude_talk_gone() goes on */
		if (t->cli.state == CLI_UP && t->interrupt_id && now_ms() < t->interrupt_at)
			return;
		t->interrupt_id = 0;
		ask(t, wanted);
	}
	if (t->ended && t->turn == TURN_NONE && list_empty(&t->prompts))
		claude_cli_close(&t->cli);
}

/* ---- the client's lines ---- */

static uint64_t control(
	struct claude_talk *t, const char *subtype, const char *key, const char *value)
{
	uint64_t id = ++t->next_id;

	check(t, msg_put_claude_control(&t->cli.to, id, subtype, key, value));
	return id;
}

/* What is NULL has a default that only the program knows. */
static uint64_t change(
	struct claude_talk *t, const char *subtype, const char *key, const char *value)
{
	if (value)
		return control(t, subtype, key, value);
	t->stale = true;
	return 0;
}

static void configure(struct claude_talk *t, struct jsonr object)
{
	unsigned changed;
	struct error e;

	if (msg_claude_configure(&t->config, object, &changed, &e) < 0) {
		say_error(t, "bad_input", "%s", e.message);
		return;
	}
	say(t, "configured");
	if (t->cli.state != CLI_UP)
		return;
	if (changed & CLAUDE_CHANGED_REST)
		t->stale = true;
	if (changed & CLAUDE_CHANGED_MODEL)
		t->model_id = change(t, "set_model", "model", t->config.model);
	if (changed & CLAUDE_CHANGED_MODE)
		t->mode_id = change(t, "set_permission_mode", "mode",
			t->config.permission_mode ? t->config.permission_mode
						  : "bypassPermissions");
}

static void prompt(struct claude_talk *t, const struct msg_claude_in *m)
{
	struct claude_prompt *p;
	char *resume = NULL;

	if (t->n_prompts == CLAUDE_PROMPTS_MAX ||
		m->content.len > MSG_CLAUDE_LINE_MAX - t->prompt_bytes) {
		say_error(t, "too_many", "this prompt is dropped: %u wait already, with %zu bytes",
			t->n_prompts, t->prompt_bytes);
		return;
	}
	if (m->resume.len > 0 &&
		(jsonr_str(m->resume, &resume) < 0 || strlen(resume) > CLAUDE_SESSION_MAX)) {
		free(resume);
		say_error(t, "bad_input", "\"resume\" must be a string of at most %d bytes",
			CLAUDE_SESSION_MAX);
		return;
	}
	p = malloc(sizeof(*p) + m->content.len);
	if (!p) {
		free(resume);
		t->error = -ENOMEM;
		return;
	}
	list_init(&p->list);
	p->resume = resume;
	p->len = m->content.len;
	memcpy(p->content, m->content.p, p->len);
	list_append(&t->prompts, &p->list);
	t->n_prompts++;
	t->prompt_bytes += p->len;
	try_next(t);
}

static void say_interrupt(struct claude_talk *t)
{
	t->interrupt_at = now_ms() + CLAUDE_INTERRUPT_AGN;
	if (t->cli.state == CLI_UP)
		t->interrupt_id = control(t, "interrupt", NULL, NULL);
}

static void interrupt(struct claude_talk *t)
{
	if (t->turn == TURN_NONE && list_empty(&t->prompts)) {
		say(t, "interrupted");
		return;
	}
	if (t->interrupting)
		return;
	t->interrupting = true;
	t->interrupt_until = now_ms() + CLAUDE_INTERRUPT_MS;
	t->interrupt_at = now_ms() + CLAUDE_INTERRUPT_AGN;
	if (t->turn == TURN_RUNNING)
		say_interrupt(t);
}

void claude_talk_line(struct claude_talk *t, struct jsonr line)
{
	struct msg_claude_in m;
	struct error e;
	size_t i = 0;

	while (i < line.len && strchr(" \t\r", line.p[i]) && line.p[i])
		i++;
	if (i == line.len)
		return;
	if (msg_parse_claude_in(line.p, line.len, &m, &e) < 0) {
		say_error(t, "bad_input", "%s", e.message);
		return;
	}
	switch (m.kind) {
	case CLAUDE_CONFIGURE: configure(t, m.object); break;
	case CLAUDE_PROMPT: prompt(t, &m); break;
	case CLAUDE_INTERRUPT: interrupt(t); break;
	}
}

void claude_talk_line_too_long(struct claude_talk *t)
{
	say_error(t, "bad_input", "a line over 16 MiB");
}

void claude_talk_end(struct claude_talk *t)
{
	t->ended = true;
	try_next(t);
}

void claude_talk_stop(struct claude_talk *t)
{
	drop_prompts(t);
	t->ended = true;
	t->interrupting = t->explained = t->turn != TURN_NONE;
	t->interrupt_at = t->interrupt_until = UINT64_MAX;
	claude_cli_term(&t->cli);
}

/* ---- the program's lines ---- */

static void keep_session(struct claude_talk *t, const struct msg_claude_out *m)
{
	char *id;

	if (m->session_id.len == 0 || jsonr_str(m->session_id, &id) < 0)
		return;
	if (*id && strlen(id) <= CLAUDE_SESSION_MAX)
		snprintf(t->session, sizeof(t->session), "%s", id);
	free(id);
}

static void on_begin(struct claude_talk *t, const struct msg_claude_out *m)
{
	t->began = true;
	keep_session(t, m);
	set_turn(t, TURN_RUNNING);
	if (t->interrupting)
		say_interrupt(t);
}

static void on_result(struct claude_talk *t, const struct msg_claude_out *m)
{
	char *why = NULL;

	if (was_resuming(t) && m->failed) {
		if (m->why.len == 0 || jsonr_str(m->why, &why) < 0)
			why = NULL;
		forget_failed_conversation(t);
		say_error(t, "resume_failed", "cannot continue conversation %s: %.600s", t->resumed,
			why ? why : "the program does not say why");
		free(why);
		claude_cli_close(&t->cli); /* it is of no use any more */
	} else {
		keep_session(t, m);
	}
	end_turn(t);
	try_next(t);
}

/* What it could not do as it runs, it will do when it is started anew. */
static void on_response(struct claude_talk *t, const struct msg_claude_out *m)
{
	unsigned long long id = 0;
	char number[32];

	snprintf(number, sizeof(number), "%.*s", (int)min_of(m->request_id.len, (size_t)31),
		m->request_id.len ? m->request_id.p : "");
	if (sscanf(number, "\"agentd-%llu\"", &id) != 1)
		return;
	if (m->failed && (id == t->model_id || id == t->mode_id))
		t->stale = true;
	if (id != t->interrupt_id)
		return;
	t->interrupt_id = 0;
	try_next(t);
}

static void on_request(struct claude_talk *t, const struct msg_claude_out *m)
{
	const char *mode = t->config.permission_mode;
	bool allow = !mode || strcmp(mode, "bypassPermissions") == 0;

	if (m->request_id.len == 0)
		return;
	if (jsonr_is_str(m->subtype, "can_use_tool"))
		check(t, msg_put_claude_permission(&t->cli.to, m, allow));
	else
		check(t, msg_put_claude_refusal(&t->cli.to, m));
}

static void pass_on(struct buf *b, struct jsonr line, int *ret)
{
	uint8_t *at = buf_reserve(b, line.len + 1);

	if (!at) {
		*ret = -ENOBUFS;
		return;
	}
	memcpy(at, line.p, line.len);
	at[line.len] = '\n';
	buf_commit(b, line.len + 1);
}

void claude_talk_heard(struct claude_talk *t, struct jsonr line)
{
	struct msg_claude_out m;
	int dropped = 0;

	t->heard_at = now_ms();
	t->stall_said = false;
	if (msg_parse_claude_out(line.p, line.len, &m) < 0) {
		pass_on(t->log, line, &dropped); /* a log may have holes */
		return;
	}
	if (m.kind == CLAUDE_OTHER || m.kind == CLAUDE_INIT || m.kind == CLAUDE_RESULT)
		pass_on(t->out, line, &t->error);
	switch (m.kind) {
	case CLAUDE_INIT: on_begin(t, &m); break;
	case CLAUDE_RESULT: on_result(t, &m); break;
	case CLAUDE_RESPONSE: on_response(t, &m); break;
	case CLAUDE_REQUEST: on_request(t, &m); break;
	case CLAUDE_OTHER:
	case CLAUDE_QUIET: break;
	}
}

void claude_talk_heard_too_long(struct claude_talk *t)
{
	t->heard_at = now_ms();
	say_error(t, "too_long",
		"%.100s wrote a line over 16 MiB and is ended: who knows what it was",
		basename_of(t));
	give_up(t);
}

/* ---- the program's end ---- */

static void ask_again(struct claude_talk *t, const char *resume)
{
	char id[CLAUDE_SESSION_MAX + 1];

	snprintf(id, sizeof(id), "%s", resume);
	t->again = true;
	if (!start_program(t, id[0] ? id : NULL))
		end_turn(t);
	else
		check(t, msg_put_claude_prompt(
				 &t->cli.to, (struct jsonr){t->current->content, t->current->len}));
}

/* The program ended before it began the turn, so nothing has happened yet and the same prompt can
 * be asked again: of one that does not know an option, without it; of one that had ended in order
 * when the prompt came, since it does one turn at a time. */
static bool try_again(struct claude_talk *t, const char *why, bool in_order)
{
	if (t->turn != TURN_ASKED || t->again || t->explained || !t->current)
		return false;
	if (!t->began && !t->no_snapshot && strstr(why, "--system-prompt-snapshot")) {
		t->no_snapshot = true;
		ask_again(t, t->resumed);
		return true;
	}
	if (!t->began || !in_order)
		return false;
	ask_again(t, t->session);
	return true;
}

static void explain_end(struct claude_talk *t, const char *why)
{
	if (t->explained)
		return;
	if (was_resuming(t) && strstr(why, t->resumed)) {
		forget_failed_conversation(t);
		say_error(
			t, "resume_failed", "cannot continue conversation %s: %s", t->resumed, why);
	} else {
		say_error(t, "crashed", "%.100s ended in the middle of the turn: %s",
			basename_of(t), why);
	}
}

void claude_talk_gone(struct claude_talk *t)
{
	char why[CLAUDE_WHY_MAX];

	claude_cli_why(&t->cli, why);
	claude_cli_forget(&t->cli);
	t->interrupt_id = 0;
	if (try_again(t, why, t->cli.status == 0))
		return;
	if (t->turn != TURN_NONE) {
		explain_end(t, why);
		end_turn(t);
	}
	try_next(t);
}

/* ---- time ---- */

static uint64_t stall_deadline(const struct claude_talk *t)
{
	bool waits = t->turn != TURN_NONE && t->config.stall_ms && !t->stall_said;

	return waits ? t->heard_at + t->config.stall_ms : UINT64_MAX;
}

static uint64_t interrupt_deadline(const struct claude_talk *t)
{
	if (t->cli.state != CLI_UP)
		return UINT64_MAX;
	if (t->turn == TURN_NONE) /* the next prompt waits for an answer */
		return t->interrupt_id && !list_empty(&t->prompts) ? t->interrupt_at : UINT64_MAX;
	return t->interrupting ? min_of(t->interrupt_at, t->interrupt_until) : UINT64_MAX;
}

static void on_interrupt_time(struct claude_talk *t, uint64_t now)
{
	if (t->turn == TURN_NONE)
		try_next(t);
	else if (now < t->interrupt_until)
		say_interrupt(t);
	else
		give_up(t);
}

static void on_stall(struct claude_talk *t)
{
	t->stall_said = true;
	say_error(t, "stalled", "%.100s has been silent for %llu ms%s", basename_of(t),
		(unsigned long long)t->config.stall_ms,
		t->config.stall_kill ? " and is ended" : "");
	if (t->config.stall_kill)
		give_up(t);
}

void claude_talk_tick(struct claude_talk *t, uint64_t now)
{
	claude_cli_tick(&t->cli, now);
	if (now >= interrupt_deadline(t))
		on_interrupt_time(t, now);
	if (now >= stall_deadline(t))
		on_stall(t);
}

uint64_t claude_talk_deadline(const struct claude_talk *t)
{
	uint64_t a = min_of(stall_deadline(t), interrupt_deadline(t));

	return min_of(a, claude_cli_deadline(&t->cli));
}

bool claude_talk_done(const struct claude_talk *t)
{
	return t->ended && t->turn == TURN_NONE && list_empty(&t->prompts) &&
	       t->cli.state == CLI_NONE;
}
