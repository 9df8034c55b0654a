#include "bridge/ctl_agent_lines.h"

#include <stdio.h>

#include "proto/jsonw.h"
#include "proto/text.h"

#define NOTE_MAX 160 /* bytes of a tool's input that are shown */

/* Decoded, without control characters but line ends and tabs; one_line: without these, too, and
 * cut. A note is lost when there is no room for it. */
static void put_str(struct buf *b, struct jsonr v, bool one_line)
{
	char *text, *out;
	size_t len;

	if (!b || jsonr_str(v, &text) < 0)
		return;
	out = text;
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c >= 0x20 ? c != 0x7f : (c == '\n' || c == '\t'))
			*out++ = one_line && c < 0x20 ? ' ' : *p;
	}
	len = (size_t)(out - text);
	if (one_line && len > NOTE_MAX)
		len = utf8_cut(text, NOTE_MAX);
	buf_append(b, text, len);
	if (one_line && text + len < out)
		buf_append(b, "...", 3);
	free(text);
}

static void put(struct buf *b, const char *text)
{
	if (b)
		buf_append(b, text, strlen(text));
}

/* The member that says most about what a tool is used for. */
static bool find_gist(struct jsonr input, struct jsonr *ret)
{
	static const char *const names[] = {
		"command", "file_path", "path", "pattern", "url", "query", "description", "prompt"};

	for (size_t i = 0; i < array_size(names); i++) {
		if (jsonr_member(input, names[i], ret) && jsonr_is(*ret, '"'))
			return true;
	}
	return false;
}

static void show_tool(struct jsonr part, struct buf *notes)
{
	struct jsonr v;

	put(notes, "* ");
	if (jsonr_member(part, "name", &v))
		put_str(notes, v, true);
	if (jsonr_member(part, "input", &v) && find_gist(v, &v)) {
		put(notes, ": ");
		put_str(notes, v, true);
	}
	put(notes, "\n");
}

static void show_tool_error(struct jsonr part, struct buf *notes)
{
	struct jsonr v;

	if (!jsonr_member(part, "is_error", &v) || !jsonr_is(v, 't'))
		return;
	put(notes, "  failed");
	if (jsonr_member(part, "content", &v) && jsonr_is(v, '"')) {
		put(notes, ": ");
		put_str(notes, v, true);
	}
	put(notes, "\n");
}

/* The parts of an `assistant` or `user` message. */
static void show_message(struct jsonr line, struct buf *text, struct buf *notes)
{
	struct jsonr message, content, part, type, v;
	struct jsonr_walk w;

	if (!jsonr_member(line, "message", &message) ||
		!jsonr_member(message, "content", &content) || !jsonr_is(content, '[') ||
		!jsonr_begin(&w, content))
		return;
	while (jsonr_next(&w, NULL, &part)) {
		if (!jsonr_member(part, "type", &type))
			continue;
		if (jsonr_is_str(type, "text") && jsonr_member(part, "text", &v)) {
			put_str(text, v, false);
			put(text, "\n");
		} else if (jsonr_is_str(type, "tool_use")) {
			show_tool(part, notes);
		} else if (jsonr_is_str(type, "tool_result")) {
			show_tool_error(part, notes);
		}
	}
}

static void show_failure(struct jsonr line, const char *member, struct buf *notes)
{
	struct jsonr v;

	put(notes, "failed: ");
	if (jsonr_member(line, member, &v) && jsonr_is(v, '"'))
		put_str(notes, v, false);
	else if (jsonr_member(line, "subtype", &v))
		put_str(notes, v, true);
	put(notes, "\n");
}

enum agent_line agent_show(struct jsonr line, struct buf *text, struct buf *notes)
{
	struct jsonr type, v;

	if (!jsonr_member(line, "type", &type))
		return AGENT_OTHER;
	if (jsonr_is_str(type, "ready"))
		return AGENT_READY;
	if (jsonr_is_str(type, "turn_complete"))
		return AGENT_TURN_OVER;
	if (jsonr_is_str(type, "system") && jsonr_member(line, "subtype", &v))
		return jsonr_is_str(v, "init") ? AGENT_BEGIN : AGENT_OTHER;
	if (jsonr_is_str(type, "assistant")) {
		show_message(line, text, notes);
	} else if (jsonr_is_str(type, "user")) {
		show_message(line, NULL, notes);
	} else if (jsonr_is_str(type, "interrupted")) {
		put(notes, "(interrupted)\n");
	} else if (jsonr_is_str(type, "error")) {
		show_failure(line, "message", notes);
		return AGENT_FAILED;
	} else if (jsonr_is_str(type, "result") && jsonr_member(line, "is_error", &v) &&
		   jsonr_is(v, 't')) {
		show_failure(line, "result", notes);
		return AGENT_FAILED;
	}
	return AGENT_OTHER;
}

/* ---- writing ---- */

struct member {
	const char *name, *text; /* NULL: it is left out */
	size_t len;
};

static int put_line(struct buf *b, const char *type, const struct member *members, size_t n)
{
	size_t size = 100;
	struct jsonw w;
	char *line;
	int r;

	for (size_t i = 0; i < n; i++)
		size += members[i].text ? 32 + 6 * members[i].len : 0;
	line = malloc(size);
	if (!line)
		return -ENOMEM;
	jsonw_init(&w, line, size - 1);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "type", type);
	for (size_t i = 0; i < n; i++) {
		if (members[i].text)
			jsonw_bytes(&w, members[i].name, members[i].text, members[i].len);
	}
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	line[w.len++] = '\n';
	r = buf_append(b, line, w.len);
	free(line);
	return r;
}

int agent_put_prompt(struct buf *b, const char *text, size_t len)
{
	const struct member m = {"text", text, len};

	if (!utf8_valid(text, len) || memchr(text, 0, len))
		return -EILSEQ;
	return put_line(b, "prompt", &m, 1);
}

int agent_put_configure(struct buf *b, const char *model, const char *resume)
{
	const struct member m[] = {{"model", model, model ? strlen(model) : 0},
		{"resume", resume, resume ? strlen(resume) : 0}};

	return put_line(b, "configure", m, array_size(m));
}

int agent_put_interrupt(struct buf *b)
{
	return put_line(b, "interrupt", NULL, 0);
}
