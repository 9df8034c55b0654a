/*
 * Slices of the body go into the channel's buffer. When that is half full the socket is not read
 * any more until the link has taken some; what the front had read already and does not fit waits in
 * `spill`.
 */
#include "bridge/api/file_up.h"

#include "bridge/api/file_ask.h"
#include "bridge/remote_file.h"
#include "bridge/sandbox/sandbox.h"

#define SPILL_MAX (2 * 1024 * 1024) /* far more than a front reads ahead */

struct file_up {
	struct call *call;
	struct remote_file file;
	struct buf spill;
	bool open;     /* the agent takes more */
	bool body_end; /* the whole body was here */
	file_up_fn fn;
	struct msg_file_event done;
};

/* ---- to the agent ---- */

static void fail(struct file_up *u)
{
	u->open = false;
	remote_file_close(&u->file);
	call_error(u->call, 503, "out of memory");
}

/* As much as there is room for; -1: it failed. */
static ssize_t give(struct file_up *u, const uint8_t *data, size_t len)
{
	size_t n = min_of(len, remote_file_room(&u->file));

	if (n > 0 && remote_file_send(&u->file, data, n) < 0) {
		fail(u);
		return -1;
	}
	return (ssize_t)n;
}

/* After anything changed: ends the file when all is given, reads on or not. */
static void go_on(struct file_up *u)
{
	bool all = buf_len(&u->spill) == 0;

	if (u->body_end && all && !u->file.end)
		remote_file_end(&u->file);
	call_pause(u->call, !all || remote_file_room(&u->file) < REMOTE_FILE_INPUT / 2);
}

static void on_body(struct call *c, const uint8_t *data, size_t len)
{
	struct file_up *u = c->state;
	ssize_t n = 0;

	if (!u->open)
		return;
	if (buf_len(&u->spill) == 0 && (n = give(u, data, len)) < 0)
		return;
	if (buf_append(&u->spill, data + n, len - (size_t)n) < 0) {
		fail(u);
		return;
	}
	go_on(u);
}

static void on_body_end(struct call *c)
{
	struct file_up *u = c->state;

	u->body_end = true;
	if (u->open)
		go_on(u);
}

/* ---- from the agent ---- */

static void on_room(struct remote_file *f)
{
	struct file_up *u = f->owner;
	ssize_t n = give(u, buf_head(&u->spill), buf_len(&u->spill));

	if (n < 0)
		return;
	buf_consume(&u->spill, (size_t)n);
	buf_trim(&u->spill, 0);
	go_on(u);
}

static void on_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	(void)off, (void)data;
	remote_file_consumed(f, len);
}

static void on_event(struct remote_file *f, const struct msg_file_event *m)
{
	struct file_up *u = f->owner;

	if (m->kind == FILE_EVENT_DONE)
		u->done = *m;
}

static void on_close(struct remote_file *f, const struct error *error)
{
	struct file_up *u = f->owner;

	if (!u->open)
		return;
	u->open = false;
	if (error)
		file_error(u->call, error);
	else
		u->fn(u->call, &u->done);
	call_pause(u->call, false); /* the rest is of no use to anybody */
}

static const struct remote_file_events events = {
	.on_data = on_data, .on_event = on_event, .on_room = on_room, .on_close = on_close};

/* ---- its life ---- */

static void on_end(struct call *c)
{
	struct file_up *u = c->state;

	u->open = false;
	remote_file_close(&u->file);
	buf_fini(&u->spill);
	free(u);
}

void file_up_open(struct call *c, struct jsonw *w, file_up_fn fn)
{
	static const struct call_ops ops = {
		.on_body = on_body, .on_body_end = on_body_end, .on_end = on_end};
	struct file_up *u = xcalloc(1, sizeof(*u));
	int r;

	*u = (struct file_up){.call = c, .fn = fn, .spill = BUF_NULL(SPILL_MAX)};
	u->file.owner = u;
	c->ops = &ops;
	c->state = u;
	jsonw_close(w, '}');
	r = w->overflow ? -EMSGSIZE
			: remote_file_open(
				  &u->file, sandbox_guest(c->sandbox), &events, w->out, w->len);
	u->open = r == 0;
	if (r < 0)
		file_error_sending(c, r);
}

static void answer(struct call *c, const struct msg_file_event *done)
{
	(void)done;
	call_empty(c, 204);
}

void file_up(struct call *c, const char *path)
{
	char message[FILE_MESSAGE];
	struct jsonw w;

	if (call_get_header(c, "content-range")) { /* curl -C: the part would be all there is */
		call_error(c, 400, "a file is written as a whole, not from Content-Range on");
		return;
	}
	file_open(&w, message, "write", path);
	if (c->length >= 0)
		jsonw_u64(&w, "size", (uint64_t)c->length);
	file_up_open(c, &w, answer);
}
