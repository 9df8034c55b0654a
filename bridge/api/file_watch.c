/*
 * A cursor is what the agent says first, up to its last "-", and the number of an event. An SSE
 * stream that ends is asked for again by its client, with the cursor; so it ends without a word
 * about broken links.
 */
#include "bridge/api/file_watch.h"

#include <stdio.h>

#include "bridge/api/bridge.h"
#include "bridge/api/file_lines.h"

#define KEEPALIVE_MS 15000
#define CURSOR_MAX   128

enum {
	CLOSE_ENDED = 1000,
	CLOSE_REFUSED = 1008,
	CLOSE_LOST = 1011,
	CLOSE_NO_PATH = 4404,
	CLOSE_NO_SANDBOX = 4410,
};

struct watch {
	struct file_lines lines;
	struct sandbox_use use; /* of a WebSocket */
	bool socket;
	uv_timer_t timer;             /* since the last event */
	char *path, *since, *exclude; /* owned */
	bool recursive;
	char prefix[CURSOR_MAX]; /* of all cursors */
};

static struct watch *watch_of(struct file_lines *l)
{
	return container_of(l, struct watch, lines);
}

/* ---- events ---- */

static void put_raw(struct text *t, const char *s)
{
	if (!t->failed && buf_append(&t->buf, s, strlen(s)) < 0)
		t->failed = true;
}

static void take_prefix(struct watch *w, const char *cursor)
{
	const char *dash = strrchr(cursor, '-');

	snprintf(w->prefix, sizeof(w->prefix), "%.*s",
		dash ? (int)min_of((size_t)(dash + 1 - cursor), sizeof(w->prefix) - 1) : 0, cursor);
}

static void put_json(struct text *t, struct jsonr line, const char *cursor, bool first)
{
	t->comma = false;
	text_open(t, NULL, '{');
	file_members_put(t, line);
	if (!first)
		text_str(t, "cursor", cursor);
	text_close(t, '}');
}

/* Instead of names that are too long for one message. */
static void put_overflow(struct text *t, const char *cursor)
{
	buf_consume(&t->buf, buf_len(&t->buf));
	t->comma = false;
	text_open(t, NULL, '{');
	text_str(t, "kind", "overflow");
	text_str(t, "path", "");
	text_str(t, "cursor", cursor);
	text_close(t, '}');
}

static void put(struct file_lines *l, struct jsonr line)
{
	struct watch *w = watch_of(l);
	struct text *t = &l->text;
	char cursor[CURSOR_MAX + 24];
	struct msg_file_line m;
	struct error e;

	if (msg_parse_file_line((const uint8_t *)line.p, line.len, &m, &e) < 0)
		return;
	if (m.cursor)
		take_prefix(w, m.cursor);
	if (m.cursor)
		snprintf(cursor, sizeof(cursor), "%.*s", CURSOR_MAX, m.cursor);
	else
		snprintf(cursor, sizeof(cursor), "%s%llu", w->prefix, (unsigned long long)m.seq);
	if (!w->socket) {
		uv_timer_again(&w->timer);
		put_raw(t, "id: ");
		put_raw(t, cursor);
		put_raw(t, m.cursor ? "\nevent: watching\ndata: " : "\nevent: change\ndata: ");
	}
	put_json(t, line, cursor, m.cursor != NULL);
	if (w->socket && buf_len(&t->buf) > CALL_PIECE)
		put_overflow(t, cursor);
	if (!w->socket)
		put_raw(t, "\n\n");
	msg_file_line_fini(&m);
}

/* ---- the end ---- */

static uint16_t close_code(const struct file_out *o)
{
	enum sandbox_state s = o->call->sandbox->state;

	if (o->state == FILE_OUT_DONE || o->error.code == E_NONE)
		return CLOSE_ENDED;
	if (s != SANDBOX_RUNNING && s != SANDBOX_BUSY)
		return CLOSE_NO_SANDBOX;
	if (o->error.code == E_BAD_MESSAGE)
		return CLOSE_REFUSED;
	return o->error.err == ENOENT || o->error.err == ENOTDIR ? CLOSE_NO_PATH : CLOSE_LOST;
}

static void put_end(struct file_lines *l)
{
	const struct file_out *o = &l->out;

	if (watch_of(l)->socket)
		call_close(o->call, close_code(o),
			o->state == FILE_OUT_FAILED ? o->error.message : "watch ended");
}

static void on_timer_closed(uv_handle_t *h)
{
	free(container_of((uv_timer_t *)h, struct watch, timer));
}

static void on_end(struct file_lines *l)
{
	struct watch *w = watch_of(l);

	sandbox_unuse(&w->use);
	free(w->path);
	free(w->since);
	free(w->exclude);
	uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}

/* ---- the beginning ---- */

static void on_timer(uv_timer_t *timer)
{
	struct watch *w = container_of(timer, struct watch, timer);
	struct text *t = &w->lines.text;

	if (buf_len(&t->buf) > 0)
		return;
	put_raw(t, ": keepalive\n\n");
	call_ready(w->lines.out.call);
}

static void on_begin(struct file_lines *l)
{
	struct call *c = l->out.call;

	if (watch_of(l)->socket)
		return;
	call_header(c, "Cache-Control", "no-cache");
	call_header(c, "X-Accel-Buffering", "no");
	c->use->lasting = true;
	call_begin(c, 200, "text/event-stream", -1);
	uv_timer_start(&watch_of(l)->timer, on_timer, KEEPALIVE_MS, KEEPALIVE_MS);
}

static const struct file_lines_ops lines_ops = {
	.on_begin = on_begin, .put = put, .put_end = put_end, .on_end = on_end};

static void open_watch(struct watch *w)
{
	char message[FILE_MESSAGE];
	struct jsonw j;

	file_open(&j, message, "watch", w->path);
	jsonw_bool(&j, "recursive", w->recursive);
	file_member(&j, "since", w->since);
	if (w->exclude)
		file_words(&j, "exclude", w->exclude);
	file_out_open(&w->lines.out, &j);
}

static void on_up(struct sandbox_use *u, const struct fault *fault)
{
	struct watch *w = u->owner;
	struct call *c = w->lines.out.call;

	if (!fault) {
		open_watch(w);
		return;
	}
	w->lines.ended = true;
	call_close(c, fault->status == 404 ? CLOSE_NO_PATH : CLOSE_NO_SANDBOX, fault->text);
	call_ready(c);
}

static char *read_since(const struct call *c)
{
	const char *id = call_get_header(c, "last-event-id");

	return id && *id ? strdup(id) : call_query(c, "since");
}

void file_watch(struct call *c)
{
	auto_free char *path = file_path(c);
	bool recursive = true;
	struct watch *w;

	if (!path || !file_flag(c, "recursive", &recursive))
		return;
	w = xcalloc(1, sizeof(*w));
	w->path = take_ptr(&path);
	w->since = read_since(c);
	w->exclude = call_query(c, "exclude");
	w->recursive = recursive;
	w->socket = c->websocket;
	uv_timer_init(bridge_of(c)->loop, &w->timer);
	file_lines_init(&w->lines, c, &lines_ops);
	w->lines.ends = true;
	w->lines.single = w->socket;
	if (!w->socket) {
		open_watch(w);
		return;
	}
	c->says_text = true;
	call_accept(c, c->ops, c->state);
	w->use.lasting = true;
	sandbox_use(c->sandbox, &w->use, on_up, w);
}
