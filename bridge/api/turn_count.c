/*
 * Each prompt that goes in is a turn to do until `turn_complete` comes, or an error that says it
 * was not taken. A turn that nobody here asked for (somebody else's, or the program's own), and one
 * that was under way before we looked, is noticed by the first message that belongs to a turn.
 *
 * Errors do not say what they are about. Other lines than prompts can be wrong as well; as long as
 * one of them has no answer, an error is taken for that.
 */
#include "bridge/api/turn_count.h"

#include <stdio.h>

#define OUT_MAX (64 * KIB) /* of a line; longer ones are messages, of no interest */
#define IN_MAX  (17 * MIB) /* a little more than a session takes */

void turn_count_init(struct turn_count *t)
{
	*t = (struct turn_count){0};
	lines_init(&t->in, IN_MAX);
	lines_init(&t->out, OUT_MAX);
}

void turn_count_fini(struct turn_count *t)
{
	lines_fini(&t->in);
	lines_fini(&t->out);
}

static void turn_over(struct turn_count *t)
{
	t->pending -= t->pending > 0;
}

static void on_error(struct turn_count *t, struct jsonr line)
{
	struct jsonr code;

	if (!jsonr_member(line, "code", &code))
		return;
	if (jsonr_is_str(code, "bad_input") && t->unanswered > 0)
		t->unanswered--;
	else if (jsonr_is_str(code, "bad_input") || jsonr_is_str(code, "too_many"))
		turn_over(t);
}

static void learn_conversation(struct turn_count *t, struct jsonr line, const char *member)
{
	struct jsonr v;

	if (jsonr_member(line, member, &v) && jsonr_is(v, '"') && v.len - 2 < TURN_CONVERSATION &&
		!memchr(v.p, '\\', v.len))
		snprintf(t->conversation, TURN_CONVERSATION, "%.*s", (int)v.len - 2, v.p + 1);
}

/* Other messages may come between turns. */
static bool is_in_turn(struct jsonr line, struct jsonr type)
{
	struct jsonr subtype;

	if (jsonr_is_str(type, "system"))
		return jsonr_member(line, "subtype", &subtype) && jsonr_is_str(subtype, "init");
	return jsonr_is_str(type, "assistant") || jsonr_is_str(type, "user") ||
	       jsonr_is_str(type, "result") || jsonr_is_str(type, "stream_event");
}

static void on_said(struct turn_count *t, struct jsonr text)
{
	struct jsonr line, type;

	if (jsonr_parse(text.p, text.len, &line) < 0 || !jsonr_member(line, "type", &type))
		return; /* perhaps its beginning is missing */
	if (jsonr_is_str(type, "configured")) {
		t->unanswered -= t->unanswered > 0;
	} else if (jsonr_is_str(type, "error")) {
		on_error(t, line);
	} else if (jsonr_is_str(type, "turn_complete")) {
		learn_conversation(t, line, "claude_session_id");
		turn_over(t);
	} else if (is_in_turn(line, type)) {
		learn_conversation(t, line, "session_id");
		t->pending = max_of(t->pending, 1);
	}
}

static void on_asked(struct turn_count *t, struct jsonr text)
{
	struct jsonr line, type;
	bool known = jsonr_parse(text.p, text.len, &line) == 0 && jsonr_member(line, "type", &type);

	if (known && jsonr_is_str(type, "prompt"))
		t->pending++;
	else if (text.len > 0 && !(known && jsonr_is_str(type, "interrupt")))
		t->unanswered++;
}

static void feed(struct turn_count *t, struct lines *l, const uint8_t *data, size_t len,
	void (*fn)(struct turn_count *t, struct jsonr text))
{
	struct jsonr text;

	while (len > 0) {
		size_t size, n;
		uint8_t *space = lines_space(l, &size);

		if (!space)
			return;
		n = min_of(len, size);
		memcpy(space, data, n);
		lines_commit(l, n);
		data += n;
		len -= n;
		for (int r; (r = lines_next(l, &text)) != 0;) {
			if (r > 0)
				fn(t, text);
			else if (l == &t->in)
				t->unanswered++; /* too long: the session will say so */
		}
	}
}

void turn_count_in(struct turn_count *t, const void *data, size_t len)
{
	feed(t, &t->in, data, len, on_asked);
}

void turn_count_out(struct turn_count *t, const void *data, size_t len)
{
	feed(t, &t->out, data, len, on_said);
}

/* Perhaps the end of a line, and the beginning of another. */
void turn_count_gap(struct turn_count *t)
{
	feed(t, &t->out, (const uint8_t *)"\n", 1, on_said);
}
