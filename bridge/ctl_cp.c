/*
 * cp: files and directories into the guest or out of it, one after the other. A file is there whole
 * or not at all, on either side; a directory travels as one tar stream.
 *
 * step() begins what is next: to find out what the destination is, then one copy after the other.
 * It runs from a timer, never from inside a callback of the channel whose end it follows.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "bridge/ctl_path.h"
#include "bridge/ctl_progress.h"
#include "bridge/local_tree.h"
#include "bridge/remote_file.h"

#define CHUNK (256 * 1024)

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};

struct cp {
	struct ctl *ctl;
	uv_timer_t kick;
	uv_signal_t signals[array_size(ending)];
	struct ctl_progress progress;
	struct remote_file file;
	bool down;       /* out of the guest */
	const char *dst; /* without the colon */
	bool dst_known, dst_is_dir;
	bool busy; /* a request or a copy is under way */
	int at, code;
	/* The copy under way. */
	char *from, *to; /* owned; without the colon */
	int fd;          /* up: read from; owned */
	uint64_t size, moved;
	mode_t mode; /* up: of a file */
	bool sized, failed;
	struct local_file local; /* down: written to */
	struct pack *pack;       /* up, a directory */
	struct unpack *unpack;   /* down, a directory */
	uint8_t *chunk;          /* owned; of CHUNK */
};

static void go_on(struct cp *x);

/* ---- the end of one copy ---- */

static void clean_up(struct cp *x)
{
	remote_file_close(&x->file);
	local_file_abort(&x->local);
	close_fd(&x->fd);
	pack_free(take_ptr(&x->pack));
	unpack_free(take_ptr(&x->unpack));
	free(take_ptr(&x->from));
	free(take_ptr(&x->to));
}

static void next(struct cp *x)
{
	clean_up(x);
	x->at++;
	x->busy = false;
	go_on(x);
}

static void fail(struct cp *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void fail(struct cp *x, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ctl_progress_end(&x->progress, false);
	ctl_say("%s", text);
	x->code = CTL_NOT_DONE;
	next(x);
}

static void complain(void *ctx, const char *path, const char *why)
{
	struct cp *x = ctx;

	if (x->progress.shown)
		fputs("\r\033[K", stderr);
	ctl_say("%s is left out: %s", path, why);
	x->code = CTL_NOT_DONE;
	x->failed = true;
}

/* Why a copy did not come to its end. The link's end is the program's. */
static void fail_remote(struct cp *x, const char *what, const char *path, const struct error *e)
{
	ctl_progress_end(&x->progress, false);
	if (ctl_link_broke(e)) {
		ctl_say("the link broke: %s is not copied", x->from);
		ctl_finish(x->ctl, CTL_FAILED);
		return;
	}
	ctl_say_file(what, path, e);
	x->code = CTL_NOT_DONE;
	next(x);
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
		fail(x, "cannot ask for %s: %s", path, strerror((int)-r));
}

static void open_channel(
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
		fail(x, "cannot copy %s: %s", x->from, strerror(-r));
}

/* ---- up: a file ---- */

static ssize_t read_some(struct cp *x, size_t room)
{
	size_t want = min_of(room, (size_t)CHUNK);
	ssize_t n;

	if (x->pack)
		return (ssize_t)pack_read(x->pack, x->chunk, want);
	if (x->sized)
		want = (size_t)min_of((uint64_t)want, x->size - x->moved);
	do
		n = want > 0 ? read(x->fd, x->chunk, want) : 0;
	while (n < 0 && errno == EINTR);
	return n;
}

static void feed(struct remote_file *f)
{
	struct cp *x = f->owner;

	while (!f->end && remote_file_room(f) >= CHUNK) {
		ssize_t n = read_some(x, remote_file_room(f));

		if (n < 0) {
			fail(x, "cannot read %s: %s", x->from, strerror(errno));
			return;
		}
		if (n == 0 && x->sized && x->moved < x->size) {
			fail(x, "%s became shorter while it was read", x->from);
			return;
		}
		if (n == 0) {
			remote_file_end(f);
			return;
		}
		x->moved += (uint64_t)n;
		ctl_progress_add(&x->progress, (uint64_t)n);
		if (remote_file_send(f, x->chunk, (size_t)n) < 0) {
			fail(x, "out of memory");
			return;
		}
	}
}

static void on_no_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	(void)off, (void)data;
	remote_file_consumed(f, len);
}

static void on_up_close(struct remote_file *f, const struct error *error)
{
	struct cp *x = f->owner;

	if (error) {
		fail_remote(x, "write", x->to, error);
		return;
	}
	ctl_progress_end(&x->progress, !x->failed);
	next(x);
}

static const struct remote_file_events up_events = {
	.on_data = on_no_data, .on_room = feed, .on_close = on_up_close};

static void send_dir(struct cp *x)
{
	if (!x->ctl->options.recursive) {
		fail(x, "%s is a directory (-r)", x->from);
		return;
	}
	x->pack = pack_new(x->from, complain, x);
	x->sized = false;
	x->mode = 0;
	if (!x->pack)
		fail(x, "cannot read %s: %s", x->from, strerror(errno));
	else
		open_channel(x, "untar", x->to, &up_events);
}

static void send_one(struct cp *x)
{
	char *name = ctl_base_name(x->from);
	struct stat st;

	x->to = x->dst_is_dir ? ctl_join(x->dst, name) : strdup(x->dst);
	free(name);
	ASSERT(x->to);
	x->fd = open(x->from, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (x->fd < 0 || fstat(x->fd, &st) < 0) {
		fail(x, "cannot read %s: %s", x->from, strerror(errno));
		return;
	}
	if (S_ISDIR(st.st_mode)) {
		close_fd(&x->fd);
		send_dir(x);
		return;
	}
	x->sized = S_ISREG(st.st_mode);
	x->mode = x->sized ? st.st_mode & 0777 : 0;
	x->size = (uint64_t)st.st_size;
	open_channel(x, "write", x->to, &up_events);
}

/* ---- down: a file ---- */

/* Where the file is to be, behind a link that is there already. False: it has been said why not. */
static bool begin_local(struct cp *x, mode_t mode)
{
	char *real = realpath(x->to, NULL);
	char *path = real ? real : strdup(x->to);
	auto_close int dir = -1;
	char *slash;
	int r;

	ASSERT(path);
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	dir = open(!slash ? "." : *path ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir < 0 ? -errno
		    : local_file_begin(&x->local, dir, slash ? slash + 1 : path, mode, true);
	free(path);
	if (r < 0)
		fail(x, "cannot write %s: %s", x->to, strerror(-r));
	return r == 0;
}

static void on_entry(struct remote_file *f, const struct msg_file_event *m)
{
	struct cp *x = f->owner;

	if (m->kind == FILE_EVENT_DONE)
		return;
	if (m->is_file && m->size > 0) {
		x->progress.total = m->size;
		x->size = m->size;
	}
	begin_local(x, (mode_t)m->mode);
}

static int write_local(struct cp *x, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(x->local.fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static void on_file_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	struct cp *x = f->owner;
	int r = write_local(x, data, len);

	(void)off;
	if (r < 0) {
		fail(x, "cannot write %s: %s", x->to, strerror(-r));
		return;
	}
	ctl_progress_add(&x->progress, len);
	remote_file_consumed(f, len);
}

static void on_file_close(struct remote_file *f, const struct error *error)
{
	struct cp *x = f->owner;
	int r;

	if (error) {
		fail_remote(x, "read", x->from, error);
		return;
	}
	r = x->local.fd < 0 ? -EIO : local_file_commit(&x->local, NULL);
	if (r < 0) {
		fail(x, "cannot write %s: %s", x->to, strerror(-r));
		return;
	}
	ctl_progress_end(&x->progress, true);
	next(x);
}

static const struct remote_file_events file_events = {
	.on_data = on_file_data, .on_event = on_entry, .on_close = on_file_close};

/* ---- down: a directory ---- */

static void on_tar_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	struct cp *x = f->owner;
	struct error e;

	(void)off;
	if (unpack_write(x->unpack, data, len, &e) < 0) {
		fail(x, "cannot unpack %s: %s", x->from, e.message);
		return;
	}
	ctl_progress_add(&x->progress, len);
	remote_file_consumed(f, len);
}

static void on_tar_close(struct remote_file *f, const struct error *error)
{
	struct cp *x = f->owner;
	struct error e;

	if (error) {
		fail_remote(x, "read", x->from, error);
		return;
	}
	if (unpack_end(x->unpack, &e) < 0) {
		fail(x, "cannot unpack %s: %s", x->from, e.message);
		return;
	}
	ctl_progress_end(&x->progress, !x->failed);
	next(x);
}

static const struct remote_file_events tar_events = {
	.on_data = on_tar_data, .on_close = on_tar_close};

static void fetch(struct cp *x, bool is_dir)
{
	char *name = ctl_base_name(x->from);

	x->to = x->dst_is_dir ? ctl_join(x->dst, *name ? name : "root") : strdup(x->dst);
	free(name);
	ASSERT(x->to);
	x->sized = false;
	if (!is_dir) {
		open_channel(x, "read", x->from, &file_events);
	} else if (!x->ctl->options.recursive) {
		fail(x, "%s is a directory (-r)", x->from);
	} else {
		x->unpack = unpack_new(x->to, complain, x);
		if (!x->unpack)
			fail(x, "cannot write %s: %s", x->to, strerror(errno));
		else
			open_channel(x, "tar", x->from, &tar_events);
	}
}

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
		fail_remote(x, "read", x->from, error);
		return;
	}
	is_dir = m.type && strcmp(m.type, "dir") == 0;
	msg_file_entry_fini(&m);
	fetch(x, is_dir);
}

/* ---- one after the other ---- */

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
		send_one(x);
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
	x->chunk = malloc(CHUNK);
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
