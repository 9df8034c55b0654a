/*
 * forward: local sockets that lead into the guest. Listeners are watched only while the link is up:
 * who connects meanwhile waits in their queues, and what was connected when the link broke is
 * reset. `forward - REMOTE` is one connection on our stdin and stdout.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bridge/ctl.h"
#include "bridge/ctl_sink.h"
#include "bridge/ctl_source.h"
#include "bridge/forward_spec.h"
#include "bridge/relay.h"

#define BACKLOG    128
#define ACCEPT_MAX 64  /* in one go */
#define RELAYS_MAX 960 /* of the 1024 channels that a link has */

#define LISTENERS_MAX 64

static const int handled[] = {SIGINT, SIGTERM, SIGHUP};

struct forward;

struct listener {
	struct forward *forward;
	struct forward_spec spec;
	int fd; /* owned */
	bool has_poll, made_path;
	uv_poll_t poll;
};

struct forward {
	struct ctl *ctl;
	uv_signal_t signals[array_size(handled)];
	struct listener listeners[LISTENERS_MAX];
	size_t n_listeners;
	bool announced, on; /* on: the listeners are watched */
	struct list relays;
	size_t n_relays;
	/* With "-". */
	bool stdio;
	struct forward_spec spec;
	struct remote_stream stream;
	struct ctl_source in;
	struct ctl_sink out;
	bool over, ended;
	int code; /* once it is over */
};

/* ---- stdin and stdout ---- */

/* Whoever reads our stdout is told of the end while our stdin may go on. */
static void end_stdout(struct forward *f)
{
	auto_close int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	ctl_sink_close(&f->out);
	shutdown(STDOUT_FILENO, SHUT_WR); /* of a socket; nothing else minds */
	if (null >= 0)
		dup2(null, STDOUT_FILENO);
}

static void maybe_done(struct forward *f)
{
	if (!ctl_sink_empty(&f->out))
		return;
	if (f->over)
		ctl_finish(f->ctl, f->code);
	else if (f->ended)
		end_stdout(f);
}

static void on_stream_data(struct remote_stream *s, const uint8_t *data, size_t len)
{
	struct forward *f = s->owner;

	remote_stream_consumed(s, ctl_sink_write(&f->out, data, len));
}

static void on_stream_end(struct remote_stream *s)
{
	struct forward *f = s->owner;

	f->ended = true;
	maybe_done(f);
}

static void on_stream_room(struct remote_stream *s)
{
	ctl_source_go(&((struct forward *)s->owner)->in);
}

static void on_stream_close(struct remote_stream *s, const struct error *error)
{
	struct forward *f = s->owner;

	f->over = true;
	if (error) {
		ctl_say_error(f->spec.to, error);
		f->code = CTL_FAILED;
	}
	maybe_done(f);
}

static const struct remote_stream_events stream_events = {
	.on_data = on_stream_data,
	.on_end = on_stream_end,
	.on_room = on_stream_room,
	.on_close = on_stream_close,
};

static void on_drained(struct ctl_sink *s, size_t n)
{
	struct forward *f = s->owner;

	remote_stream_consumed(&f->stream, n);
	maybe_done(f);
}

static void on_failed(struct ctl_sink *s, int err)
{
	struct forward *f = s->owner;

	if (err != -EPIPE)
		ctl_say("cannot write to stdout: %s", strerror(-err));
	ctl_finish(f->ctl, err == -EPIPE ? CTL_BROKEN : CTL_FAILED);
}

static const struct ctl_sink_events sink_events = {
	.on_drained = on_drained, .on_failed = on_failed};

static size_t source_room(struct ctl_source *s)
{
	return remote_stream_room(&((struct forward *)s->owner)->stream);
}

static void on_input(struct ctl_source *s, const uint8_t *data, size_t len)
{
	remote_stream_write(&((struct forward *)s->owner)->stream, data, len);
}

static void on_input_end(struct ctl_source *s, int err)
{
	struct forward *f = s->owner;

	if (err < 0) {
		ctl_say("cannot read stdin: %s", strerror(-err));
		ctl_finish(f->ctl, CTL_FAILED); /* a reset, not an end */
	} else {
		remote_stream_end(&f->stream);
	}
}

static const struct ctl_source_events source_events = {
	.room = source_room, .on_input = on_input, .on_input_end = on_input_end};

static void up_stdio(struct forward *f)
{
	int r = remote_stream_open(&f->stream, &f->ctl->guest, &stream_events, f->spec.to, 0);

	if (r < 0) {
		ctl_say("%s: %s", f->spec.to, strerror(-r));
		ctl_finish(f->ctl, CTL_FAILED);
		return;
	}
	ctl_source_go(&f->in);
}

/* ---- listening ---- */

static void on_listener(uv_poll_t *h, int status, int events);

static void watch_listeners(struct forward *f)
{
	bool on = guest_is_up(&f->ctl->guest) && f->n_relays < RELAYS_MAX && !f->ctl->finished;

	if (on == f->on)
		return;
	f->on = on;
	for (size_t i = 0; i < f->n_listeners; i++) {
		if (on)
			uv_poll_start(&f->listeners[i].poll, UV_READABLE, on_listener);
		else
			uv_poll_stop(&f->listeners[i].poll);
	}
}

static void on_relay_over(void *owner, struct relay *r, const struct error *error)
{
	struct listener *l = owner;
	struct forward *f = l->forward;

	(void)r;
	f->n_relays--;
	/* Of the link itself the user hears elsewhere. */
	if (error && error->err != ENETRESET)
		ctl_say_error(l->spec.to, error);
	watch_listeners(f);
}

static void relay(struct listener *l, int fd)
{
	struct forward *f = l->forward;
	int err;
	struct relay *r = relay_new(&f->ctl->guest, fd, l->spec.to, on_relay_over, l, &err);

	if (!r) {
		ctl_say("%s: %s", l->spec.to, strerror(-err));
		return;
	}
	list_append(&f->relays, &r->node);
	f->n_relays++;
}

/* True: there may be more. */
static bool accept_one(struct listener *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		relay(l, fd);
		return true;
	}
	if (errno == ECONNABORTED || errno == EINTR)
		return true;
	if (errno != EAGAIN) {
		ctl_say("cannot take a connection: %s", strerror(errno));
		ctl_finish(l->forward->ctl, CTL_FAILED);
	}
	return false;
}

static void on_listener(uv_poll_t *h, int status, int events)
{
	struct listener *l = h->data;
	struct forward *f = l->forward;

	(void)status, (void)events;
	watch_listeners(f); /* the link may have gone */
	for (int i = 0; i < ACCEPT_MAX && f->on && accept_one(l); i++)
		watch_listeners(f);
}

/* A socket that nobody listens on any more is replaced. */
static void remove_stale(const struct sockaddr_un *un)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd >= 0 && lstat(un->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
		connect(fd, (const struct sockaddr *)un, sizeof(*un)) < 0 && errno == ECONNREFUSED)
		unlink(un->sun_path);
}

static int bind_unix(struct listener *l)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	memcpy(un.sun_path, l->spec.path, sizeof(un.sun_path));
	remove_stale(&un);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return -errno;
	l->made_path = true;
	return 0;
}

static int bind_tcp(struct listener *l)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(l->spec.port)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(l->spec.port)};
	bool is_v6 = strchr(l->spec.host, ':');
	struct sockaddr *addr = is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
	socklen_t len = is_v6 ? sizeof(v6) : sizeof(v4);
	int on = 1;

	inet_pton(addr->sa_family, l->spec.host,
		is_v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr);
	l->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return -errno;
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(l->fd, addr, len) < 0 || getsockname(l->fd, addr, &len) < 0)
		return -errno;
	l->spec.port = ntohs(is_v6 ? v6.sin6_port : v4.sin_port);
	return 0;
}

static int start_listener(struct listener *l)
{
	int r = l->spec.kind == FORWARD_UNIX ? bind_unix(l) : bind_tcp(l);

	if (r == 0 && listen(l->fd, BACKLOG) < 0)
		r = -errno;
	if (r == 0)
		r = uv_poll_init(&l->forward->ctl->loop, &l->poll, l->fd);
	if (r == 0) {
		l->poll.data = l;
		l->has_poll = true;
	} else if (l->spec.kind == FORWARD_UNIX) {
		ctl_say("cannot listen on %s: %s", l->spec.path, strerror(-r));
	} else {
		ctl_say("cannot listen on %s port %u: %s", l->spec.host, l->spec.port,
			strerror(-r));
	}
	return r;
}

/* On stdout, so that who asked for port 0 can read it. */
static int announce(struct forward *f)
{
	for (size_t i = 0; i < f->n_listeners; i++) {
		const struct forward_spec *s = &f->listeners[i].spec;

		if (s->kind == FORWARD_UNIX)
			printf("listening on %s for %s\n", s->path, s->to);
		else
			printf(strchr(s->host, ':') ? "listening on [%s]:%u for %s\n"
						    : "listening on %s:%u for %s\n",
				s->host, s->port, s->to);
	}
	return ctl_flush_stdout();
}

/* ---- the command ---- */

static void on_signal(uv_signal_t *h, int sig)
{
	ctl_finish(((struct forward *)h->data)->ctl, 128 + sig);
}

static int begin_stdio(struct forward *f)
{
	char text[TARGET_PATH_MAX + 16];
	const char *why;

	if (f->ctl->options.n_args != 2) {
		ctl_say("'-' wants one remote side and nothing else: agentctl forward - REMOTE");
		return CTL_FAILED;
	}
	snprintf(text, sizeof(text), "-:%.*s", TARGET_PATH_MAX + 8, f->ctl->options.args[1]);
	if (forward_spec_parse(text, &f->spec, &why) < 0) {
		ctl_say("'%s': %s", f->ctl->options.args[1], why);
		return CTL_FAILED;
	}
	f->stdio = true;
	f->stream.owner = f;
	ctl_source_init(&f->in, &f->ctl->loop, STDIN_FILENO, &source_events, f);
	ctl_sink_init(&f->out, &f->ctl->loop, STDOUT_FILENO, REMOTE_STREAM_WINDOW, &sink_events, f);
	return 0;
}

static int begin_listeners(struct forward *f)
{
	const struct ctl_options *o = &f->ctl->options;
	const char *why;

	if (o->n_args > LISTENERS_MAX) {
		ctl_say("at most %d at once", LISTENERS_MAX);
		return CTL_FAILED;
	}
	for (int i = 0; i < o->n_args; i++) {
		struct listener *l = &f->listeners[f->n_listeners++];

		*l = (struct listener){.forward = f, .fd = -1};
		if (forward_spec_parse(o->args[i], &l->spec, &why) < 0) {
			ctl_say("'%s': %s", o->args[i], why);
			return CTL_FAILED;
		}
		if (start_listener(l) < 0)
			return CTL_FAILED;
	}
	return 0;
}

static int begin(struct ctl *c)
{
	struct forward *f = xcalloc(1, sizeof(*f));

	c->state = f;
	f->ctl = c;
	list_init(&f->relays);
	for (size_t i = 0; i < array_size(handled); i++) {
		uv_signal_init(&c->loop, &f->signals[i]);
		f->signals[i].data = f;
		uv_signal_start(&f->signals[i], on_signal, handled[i]);
	}
	return strcmp(c->options.args[0], "-") == 0 ? begin_stdio(f) : begin_listeners(f);
}

static void up(struct ctl *c, bool same)
{
	struct forward *f = c->state;
	int r;

	(void)same;
	if (f->stdio) {
		up_stdio(f);
		return;
	}
	if (!f->announced && (r = announce(f)) != 0) {
		ctl_finish(c, r);
		return;
	}
	f->announced = true;
	watch_listeners(f);
}

static void end(struct ctl *c)
{
	struct forward *f = c->state;

	while (!list_empty(&f->relays))
		relay_close(list_first(&f->relays, struct relay, node));
	for (size_t i = 0; i < f->n_listeners; i++) {
		struct listener *l = &f->listeners[i];

		if (l->has_poll)
			uv_close((uv_handle_t *)&l->poll, NULL);
		close_fd(&l->fd);
		if (l->made_path)
			unlink(l->spec.path);
	}
	remote_stream_close(&f->stream);
	ctl_source_close(&f->in);
	ctl_sink_close(&f->out);
	for (size_t i = 0; i < array_size(handled); i++)
		uv_close((uv_handle_t *)&f->signals[i], NULL);
}

const struct ctl_command ctl_forward = {
	.name = "forward",
	.args = "[BIND:]PORT[:[HOST:]PORT]...",
	.summary = "make ports and sockets of the guest reachable here",
	.about = "Listens here and connects there, until it is interrupted:\n"
		 "  [BIND:]PORT:REMOTE  listens on that port (0: any) of 127.0.0.1, or of BIND\n"
		 "  PATH:REMOTE         listens on a unix socket; PATH begins with / or .\n"
		 "  PORT                the same as PORT:PORT\n"
		 "  - REMOTE            one connection, on stdin and stdout\n"
		 "REMOTE is [HOST:]PORT, /PATH, or @NAME; HOST is localhost unless it is given.",
	.options = 0,
	.min_args = 1,
	.max_args = -1,
	.begin = begin,
	.up = up,
	.end = end,
};
