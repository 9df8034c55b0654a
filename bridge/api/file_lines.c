#include "bridge/api/file_lines.h"

#define AT_ONCE (32 * 1024) /* of text, about */

static struct file_lines *lines_of(struct file_out *o)
{
	return container_of(o, struct file_lines, out);
}

/* The next whole line becomes text. */
static bool next(struct file_lines *l)
{
	struct buf *held = &l->out.held;
	const uint8_t *end = buf_len(held) ? memchr(buf_head(held), '\n', buf_len(held)) : NULL;
	struct jsonr line;
	size_t n;

	if (!end)
		return false;
	n = (size_t)(end - buf_head(held));
	if (jsonr_parse(buf_head(held), n, &line) == 0)
		l->ops->put(l, line);
	file_out_took(&l->out, n + 1);
	return true;
}

static void fill(struct file_lines *l)
{
	size_t enough = l->single ? 1 : AT_ONCE;
	bool over;

	while (buf_len(&l->text.buf) < enough && !l->text.failed && next(l))
		;
	if (buf_len(&l->text.buf) >= enough)
		return;
	file_out_grant(&l->out);
	if (buf_len(&l->out.held) == REMOTE_FILE_WINDOW)
		file_out_fail(&l->out); /* no line is as long */
	over = l->out.state == FILE_OUT_DONE || (l->out.state == FILE_OUT_FAILED && l->ends);
	if (over && !l->ended && buf_len(&l->text.buf) < enough) {
		l->ended = true;
		if (l->ops->put_end)
			l->ops->put_end(l);
	}
}

static ssize_t pull(struct file_out *o, uint8_t *out, size_t max)
{
	struct file_lines *l = lines_of(o);
	struct buf *b = &l->text.buf;
	size_t n;

	if (o->state != FILE_OUT_FAILED || l->ends)
		fill(l);
	if (l->text.failed)
		return CALL_BROKEN;
	n = min_of(buf_len(b), max);
	if (n == 0)
		return l->ended ? CALL_DONE : file_out_nothing(o);
	memcpy(out, buf_head(b), n);
	buf_consume(b, n);
	return (ssize_t)n;
}

static void on_begin(struct file_out *o)
{
	struct file_lines *l = lines_of(o);

	if (l->ops->on_begin)
		l->ops->on_begin(l);
}

static void on_event(struct file_out *o, const struct msg_file_event *m)
{
	if (m->kind == FILE_EVENT_DONE)
		lines_of(o)->done = *m;
}

static void on_end(struct file_out *o)
{
	struct file_lines *l = lines_of(o);

	text_fini(&l->text);
	l->ops->on_end(l);
}

void file_lines_init(struct file_lines *l, struct call *c, const struct file_lines_ops *ops)
{
	static const struct file_out_ops out_ops = {
		.on_begin = on_begin, .on_event = on_event, .pull = pull, .on_end = on_end};

	l->ops = ops;
	text_init(&l->text);
	file_out_init(&l->out, c, &out_ops);
}
