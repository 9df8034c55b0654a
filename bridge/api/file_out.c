/*
 * Credit is given back by half windows: so the bytes that wait are moved to the front of their
 * buffer at most once each, and a fast client costs few frames.
 */
#include "bridge/api/file_out.h"

#include "bridge/sandbox/sandbox.h"

static void set_state(struct file_out *o, enum file_out_state state)
{
	o->state = state;
}

static void begin(struct file_out *o)
{
	if (o->began)
		return;
	o->began = true;
	o->ops->on_begin(o);
}

/* ---- from the agent ---- */

static void on_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	struct file_out *o = f->owner;

	(void)off;
	if (o->state != FILE_OUT_OPEN)
		return;
	if (buf_append(&o->held, data, len) < 0) {
		file_out_fail(o);
		return;
	}
	begin(o);
	call_ready(o->call);
}

static void on_event(struct remote_file *f, const struct msg_file_event *m)
{
	struct file_out *o = f->owner;

	if (o->ops->on_event)
		o->ops->on_event(o, m);
}

static void on_close(struct remote_file *f, const struct error *error)
{
	struct file_out *o = f->owner;

	if (o->state != FILE_OUT_OPEN)
		return;
	set_state(o, error ? FILE_OUT_FAILED : FILE_OUT_DONE);
	if (error)
		o->error = *error;
	if (error && !o->began && !call_answered(o->call)) {
		o->began = true;
		file_error(o->call, error);
		return;
	}
	begin(o);
	call_ready(o->call);
}

static const struct remote_file_events events = {
	.on_data = on_data, .on_event = on_event, .on_close = on_close};

void file_out_fail(struct file_out *o)
{
	if (o->state != FILE_OUT_OPEN)
		return;
	set_state(o, FILE_OUT_FAILED);
	error_set(&o->error, E_FAILED, 0, "the agent could not finish it");
	if (!o->began && !call_answered(o->call)) {
		o->began = true;
		call_error(o->call, 502, "%s", o->error.message);
	}
	call_ready(o->call);
}

/* ---- to the client ---- */

ssize_t file_out_nothing(const struct file_out *o)
{
	switch (o->state) {
	case FILE_OUT_DONE: return CALL_DONE;
	case FILE_OUT_FAILED: return CALL_BROKEN;
	default: return CALL_NOTHING;
	}
}

void file_out_grant(struct file_out *o)
{
	if (o->owed == 0 || o->state != FILE_OUT_OPEN)
		return;
	remote_file_consumed(&o->file, o->owed);
	o->owed = 0;
}

void file_out_took(struct file_out *o, size_t n)
{
	buf_consume(&o->held, n);
	o->owed += n;
	if (o->owed >= REMOTE_FILE_WINDOW / 2)
		file_out_grant(o);
}

static ssize_t pull(struct call *c, uint8_t *out, size_t max)
{
	struct file_out *o = c->state;
	size_t n = min_of(max, buf_len(&o->held));

	if (o->ops->pull)
		return o->ops->pull(o, out, max);
	if (n == 0 || o->state == FILE_OUT_FAILED)
		return file_out_nothing(o);
	if (c->answer_length >= 0 && n > (uint64_t)c->answer_length - c->bytes_out)
		return CALL_BROKEN; /* the agent sends more than it said there is */
	memcpy(out, buf_head(&o->held), n);
	file_out_took(o, n);
	return (ssize_t)n;
}

/* ---- its life ---- */

static void on_end(struct call *c)
{
	struct file_out *o = c->state;

	set_state(o, FILE_OUT_IDLE);
	remote_file_close(&o->file);
	buf_fini(&o->held);
	o->ops->on_end(o);
}

void file_out_init(struct file_out *o, struct call *c, const struct file_out_ops *ops)
{
	static const struct call_ops call_ops = {.pull = pull, .on_end = on_end};

	*o = (struct file_out){.call = c, .ops = ops};
	o->held = BUF_NULL(REMOTE_FILE_WINDOW);
	o->file.owner = o;
	c->ops = &call_ops;
	c->state = o;
}

void file_out_open(struct file_out *o, struct jsonw *w)
{
	int r;

	jsonw_close(w, '}');
	set_state(o, FILE_OUT_OPEN);
	r = w->overflow ? -EMSGSIZE
			: remote_file_open(&o->file, sandbox_guest(o->call->sandbox), &events,
				  w->out, w->len);
	if (r == 0)
		return;
	set_state(o, FILE_OUT_FAILED);
	error_set(&o->error, E_FAILED, -r, "no channel to the agent: %s", strerror(-r));
	if (o->call->call_state == CALL_SOCKET)
		call_ready(o->call);
	else
		file_error_sending(o->call, r);
}
