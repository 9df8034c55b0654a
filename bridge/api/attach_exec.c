/*
 * Exec sockets: the first byte of a message is its channel. An agent session is a command like
 * others here; what it is told is also shown to those who follow its turns. A terminal, too, can be
 * attached to in this form: it says how its program ended.
 */
#include "bridge/api/attach_exec.h"

#include "bridge/api/agent_turns.h"
#include "proto/signame.h"

enum channel_byte {
	CHANNEL_STDIN = 0x00,
	CHANNEL_EOF = 0x05,
	CHANNEL_CONTROL = 0x06,
};

static void control_signal(struct attach *a, struct jsonr v)
{
	auto_free char *word = NULL;
	uint64_t n = 0;
	int sig = 0;

	if (jsonr_u64(v, 64, &n) == 0)
		sig = (int)n;
	else if (jsonr_str(v, &word) == 0)
		sig = signame_parse(word);
	if (sig > 0)
		attach_signal(a, sig);
}

static void control_resize(struct attach *a, struct jsonr v)
{
	struct jsonr cols, rows;
	uint64_t c = 0, r = 0;

	if (jsonr_member(v, "cols", &cols) && jsonr_member(v, "rows", &rows) &&
		jsonr_u64(cols, UINT16_MAX, &c) == 0 && jsonr_u64(rows, UINT16_MAX, &r) == 0 && c &&
		r)
		attach_resize(a, (uint16_t)c, (uint16_t)r);
}

/* {"signal":"TERM"} or {"signal":15}, {"resize":{"cols":80,"rows":24}}. What we do not know is for
 * somebody else. */
static void control(struct attach *a)
{
	struct jsonr text, v;

	if (jsonr_parse(buf_head(&a->control), buf_len(&a->control), &text) < 0)
		return;
	if (jsonr_member(text, "signal", &v))
		control_signal(a, v);
	if (jsonr_member(text, "resize", &v))
		control_resize(a, v);
}

static void on_given(struct attach *a, const uint8_t *data, size_t len)
{
	struct roster_entry *e = NULL;

	if (a->kind == ROSTER_AGENT)
		e = roster_find(&a->sandbox->roster, a->id);
	if (e)
		agent_turns_input(e, data, len);
}

static void on_message(struct attach *a, const uint8_t *data, size_t len, bool first, bool last)
{
	if (first)
		a->has_channel = false;
	if (!a->has_channel && len > 0) {
		a->has_channel = true;
		a->channel = *data++;
		len--;
		buf_consume(&a->control, buf_len(&a->control));
	}
	if (!a->has_channel)
		return;
	if (a->channel == CHANNEL_STDIN) {
		attach_input(a, data, len);
	} else if (a->channel == CHANNEL_EOF && last) {
		attach_input_end(a);
	} else if (a->channel == CHANNEL_CONTROL) {
		if (len && buf_append(&a->control, data, len) < 0)
			a->channel = 0xff; /* too long to be one of ours */
		else if (last)
			control(a);
	}
}

#define COMMANDS (1 << ROSTER_EXEC | 1 << ROSTER_RUN | 1 << ROSTER_AGENT)

static const struct attach_form form = {
	.kinds = COMMANDS | 1 << ROSTER_PTY,
	.channels = true,
	.done = "exec completed",
	.on_message = on_message,
	.on_given = on_given,
};

static const struct attach_form agent_form = {
	.kinds = COMMANDS,
	.channels = true,
	.done = "exec completed",
	.on_message = on_message,
	.on_given = on_given,
};

void attach_exec(struct call *c)
{
	attach_socket(c, &form);
}

void attach_agent(struct call *c)
{
	attach_socket(c, &agent_form);
}
