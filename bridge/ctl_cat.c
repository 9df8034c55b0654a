/* cat: files one after the other, as they come, on stdout. */
#include <stdio.h>

#include "bridge/ctl_path.h"
#include "bridge/ctl_sink.h"
#include "bridge/remote_file.h"

struct cat {
	struct ctl *ctl;
	struct remote_file file;
	struct ctl_sink out;
	int at, code;
	bool all_read;
};

static void next(struct cat *x);

static void maybe_done(struct cat *x)
{
	if (x->all_read && ctl_sink_empty(&x->out))
		ctl_finish(x->ctl, x->code);
}

static void on_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	struct cat *x = f->owner;

	(void)off;
	remote_file_consumed(f, ctl_sink_write(&x->out, data, len));
}

static void on_drained(struct ctl_sink *s, size_t n)
{
	struct cat *x = s->owner;

	/* Of the file before, perhaps: the next one is begun when all is written. */
	remote_file_consumed(&x->file, n);
	if (x->all_read)
		maybe_done(x);
	else if (!x->file.guest && ctl_sink_empty(&x->out))
		next(x);
}

static void on_failed(struct ctl_sink *s, int err)
{
	struct cat *x = s->owner;

	if (err != -EPIPE)
		ctl_say("cannot write to stdout: %s", strerror(-err));
	x->code = err == -EPIPE ? CTL_BROKEN : CTL_FAILED;
	x->at = x->ctl->options.n_args;
	x->all_read = true;
	remote_file_close(&x->file);
	maybe_done(x);
}

static void on_close(struct remote_file *f, const struct error *error)
{
	struct cat *x = f->owner;

	if (error && ctl_link_broke(error)) {
		ctl_say("%s: the link broke before its end", x->ctl->options.args[x->at]);
		ctl_finish(x->ctl, CTL_FAILED);
		return;
	}
	if (error) {
		ctl_say_file("read", x->ctl->options.args[x->at], error);
		x->code = CTL_NOT_DONE;
	}
	x->at++;
	if (ctl_sink_empty(&x->out))
		next(x);
}

static const struct remote_file_events events = {.on_data = on_data, .on_close = on_close};
static const struct ctl_sink_events sink_events = {
	.on_drained = on_drained, .on_failed = on_failed};

static void next(struct cat *x)
{
	char buf[FRAME_PAYLOAD_MAX];
	struct jsonw w;
	int r;

	if (x->at >= x->ctl->options.n_args) {
		x->all_read = true;
		maybe_done(x);
		return;
	}
	jsonw_init(&w, buf, sizeof(buf));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "service", "file");
	jsonw_str(&w, "op", "read");
	jsonw_u64(&w, "window", REMOTE_FILE_WINDOW);
	ctl_put_where(&x->ctl->options, &w, x->ctl->options.args[x->at]);
	jsonw_close(&w, '}');
	x->file.owner = x;
	r = w.overflow ? -EMSGSIZE
		       : remote_file_open(&x->file, &x->ctl->guest, &events, w.out, w.len);
	if (r < 0) {
		ctl_say("cannot read %s: %s", x->ctl->options.args[x->at], strerror(-r));
		ctl_finish(x->ctl, CTL_FAILED);
	}
}

static int begin(struct ctl *c)
{
	struct cat *x = xcalloc(1, sizeof(*x));

	x->ctl = c;
	c->state = x;
	ctl_sink_init(&x->out, &c->loop, STDOUT_FILENO, REMOTE_FILE_WINDOW, &sink_events, x);
	return 0;
}

static void up(struct ctl *c, bool same)
{
	(void)same;
	next(c->state);
}

static void end(struct ctl *c)
{
	struct cat *x = c->state;

	remote_file_close(&x->file);
	ctl_sink_close(&x->out);
}

const struct ctl_command ctl_cat = {
	.name = "cat",
	.args = "PATH...",
	.summary = "print files of the guest",
	.about = "Prints each file PATH on stdout.",
	.options = "%U",
	.min_args = 1,
	.max_args = 100000,
	.begin = begin,
	.up = up,
	.end = end,
};
