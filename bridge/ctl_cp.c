/*
 * cp: files and directories into the guest or out of it, one after the other. A file is there whole
 * or not at all, on either side; a directory travels as one tar stream.
 *
 * step() begins what is next: to find out what the destination is, then one copy after the other.
 * It runs from a timer, never from inside a callback of the channel whose end it follows.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "bridge/ctl_cp.h"

static const int ending[CP_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

static void go_on(struct cp *x);

/* ---- the end of one copy ---- */

static void clean_up(struct cp *x)
{
	remote_file_close(&x->file);
	local_file_abort(&x->local);
	close_fd(&x->fd);
	local_pack_free(take_ptr(&x->pack));
	local_unpack_free(take_ptr(&x->unpack));
	free(take_ptr(&x->from));
	free(take_ptr(&x->to));
}

void cp_next(struct cp *x)
{
	clean_up(x);
	x->at++;
	x->busy = false;
	go_on(x);
}

void cp_fail(struct cp *x, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ctl_progress_end(&x->progress, false);
	ctl_say("%s", text);
	x->code = CTL_NOT_DONE;
	cp_next(x);
}

void cp_complain(void *ctx, const char *path, const char *why)
{
	struct cp *x = ctx;

	if (x->progress.shown)
		fputs("\r\033[K", stderr);
	ctl_say("%s is left out: %s", path, why);
	x->code = CTL_NOT_DONE;
	x->failed = true;
}

void cp_fail_remote(struct cp *x, const char *what, const char *path, const struct error *e)
{
	ctl_progress_end(&x->progress, false);
	if (ctl_link_broke(e)) {
		ctl_say("the link broke: %s is not copied", x->from);
		ctl_finish(x->ctl, CTL_FAILED);
		return;
	}
	ctl_say_file(what, path, e);
	x->code = CTL_NOT_DONE;
	cp_next(x);
}

/* ---- asking ---- */

static void ask_stat(struct cp *x, const char *path, guest_response_fn fn)
{
	char buf[FRAME_PAYLOAD_MAX];
	struct jsonw w;
	int64_t r;

	jsonw_init(&w, buf, sizeof(buf));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "op", "file.stat");
	ctl_put_where(&x->ctl->options, &w, path);
	jsonw_close(&w, '}');
	x->busy = true;
	r = w.overflow ? -EMSGSIZE : guest_ask(&x->ctl->guest, w.out, w.len, fn, x);
	if (r < 0)
		cp_fail(x, "cannot ask for %s: %s", path, strerror((int)-r));
}

void cp_open(
	struct cp *x, const char *op, const char *path, const struct remote_file_events *events)
{
	char buf[FRAME_PAYLOAD_MAX];
	struct jsonw w;
	int r;

	jsonw_init(&w, buf, sizeof(buf));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "service", "file");
	jsonw_str(&w, "op", op);
	jsonw_u64(&w, "window", REMOTE_FILE_WINDOW);
	ctl_put_where(&x->ctl->options, &w, path);
	if (x->sized)
		jsonw_u64(&w, "size", x->size);
	if (x->mode & 0111) /* a program stays one; else what is there keeps its mode */
		jsonw_u64(&w, "mode", x->mode);
	jsonw_close(&w, '}');
	x->busy = true;
	x->moved = 0;
	x->failed = false;
	x->file.owner = x;
	ctl_progress_begin(&x->progress, x->from, x->sized ? x->size : 0);
	r = w.overflow ? -EMSGSIZE
		       : remote_file_open(&x->file, &x->ctl->guest, events, w.out, w.len);
	if (r < 0)
		cp_fail(x, "cannot copy %s: %s", x->from, strerror(-r));
}

/* ---- one after the other ---- */

static void on_source(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct cp *x = owner;
	struct msg_file_entry m;
	struct error e;
	bool is_dir;

	x->busy = false;
	if (error && ctl_link_broke(error)) {
		clean_up(x);
		return; /* up() begins it again */
	}
	if (!error && msg_parse_file_entry(json, len, &m, &e) < 0)
		error = &e;
	if (error) {
		cp_fail_remote(x, "read", x->from, error);
		return;
	}
	is_dir = m.type && strcmp(m.type, "dir") == 0;
	msg_file_entry_fini(&m);
	cp_fetch(x, is_dir);
}

static void set_destination(struct cp *x, bool is_dir)
{
	size_t len = strlen(x->dst);

	x->dst_known = true;
	x->dst_is_dir = is_dir || (len > 0 && x->dst[len - 1] == '/') || x->ctl->options.n_args > 2;
}

static void on_destination(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct cp *x = owner;
	struct msg_file_entry m;
	struct error e;
	bool is_dir = false;

	x->busy = false;
	if (error && ctl_link_broke(error))
		return;
	if (!error && msg_parse_file_entry(json, len, &m, &e) == 0) {
		is_dir = m.type && strcmp(m.type, "dir") == 0;
		msg_file_entry_fini(&m);
	}
	set_destination(x, is_dir);
	go_on(x);
}

static void step(uv_timer_t *t)
{
	struct cp *x = t->data;
	const struct ctl_options *o = &x->ctl->options;
	struct stat st;

	if (x->busy || !guest_is_up(&x->ctl->guest))
		return;
	if (!x->dst_known && !x->down) {
		ask_stat(x, x->dst, on_destination);
		return;
	}
	if (!x->dst_known)
		set_destination(x, stat(x->dst, &st) == 0 && S_ISDIR(st.st_mode));
	if (x->at == o->n_args - 1) {
		ctl_finish(x->ctl, x->code);
		return;
	}
	x->from = strdup(o->args[x->at] + x->down);
	ASSERT(x->from);
	if (x->down && !*x->from) {
		free(x->from);
		x->from = strdup(".");
	}
	if (x->down)
		ask_stat(x, x->from, on_source);
	else
		cp_send(x);
}

static void go_on(struct cp *x)
{
	if (!x->ctl->finished)
		uv_timer_start(&x->kick, step, 0, 0);
}

static void up(struct ctl *c, bool same)
{
	(void)same;
	go_on(c->state);
}

static void on_signal(uv_signal_t *h, int sig)
{
	struct cp *x = h->data;

	ctl_finish(x->ctl, 128 + sig);
}

/* Which way: all of one side come from where the last does not lie. */
static int find_way(struct cp *x)
{
	const struct ctl_options *o = &x->ctl->options;
	const char *last = o->args[o->n_args - 1];

	x->down = *last != ':';
	x->dst = x->down ? last : last + 1;
	if (!x->down && !*x->dst)
		x->dst = ".";
	for (int i = 0; i + 1 < o->n_args; i++) {
		if ((o->args[i][0] == ':') == x->down)
			continue;
		ctl_say(x->down ? "neither %s nor %s is in the guest: say :PATH of the one that is"
				: "%s and %s are both in the guest: one must be here",
			o->args[i], last);
		return CTL_FAILED;
	}
	return 0;
}

static int begin(struct ctl *c)
{
	struct cp *x = xcalloc(1, sizeof(*x));

	c->state = x;
	x->ctl = c;
	x->fd = -1;
	x->local = LOCAL_FILE_NULL;
	x->chunk = malloc(CP_CHUNK);
	ASSERT(x->chunk);
	uv_timer_init(&c->loop, &x->kick);
	x->kick.data = x;
	ctl_progress_init(&x->progress, &c->loop, !c->options.quiet);
	for (size_t i = 0; i < array_size(ending); i++) {
		uv_signal_init(&c->loop, &x->signals[i]);
		x->signals[i].data = x;
		uv_signal_start(&x->signals[i], on_signal, ending[i]);
	}
	return find_way(x);
}

static void end(struct ctl *c)
{
	struct cp *x = c->state;

	clean_up(x);
	ctl_progress_close(&x->progress);
	free(take_ptr(&x->chunk));
	uv_close((uv_handle_t *)&x->kick, NULL);
	for (size_t i = 0; i < array_size(ending); i++)
		uv_close((uv_handle_t *)&x->signals[i], NULL);
}

const struct ctl_command ctl_cp = {
	.name = "cp",
	.args = "[-r] [-q] FROM... TO",
	.summary = "copy files into the guest or out of it",
	.about =
		"Copies into the guest (LOCAL... :REMOTE) or out of it (:REMOTE... LOCAL): what is\n"
		"in the guest begins with a colon. Into TO, if that is a directory. A file appears\n"
		"whole or not at all. With -r directories, too.",
	.options = "36%U",
	.min_args = 2,
	.max_args = 100000,
	.begin = begin,
	.up = up,
	.end = end,
};
