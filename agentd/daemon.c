/*
 * One turn of the loop: libuv polls and runs the callbacks, which record facts and wake
 * connections; then, after a glance at what has just been started (after_poll; before_poll for what
 * timers did), every woken connection is flushed once.
 */
#include "agentd/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <time.h>

#include "agentd/keep.h"
#include "agentd/freeze.h"
#include "agentd/lag.h"
#include "agentd/listen.h"
#include "agentd/stream.h"
#include "agentd/takeover.h"

/* How long an orderly stop waits for viewers to take the last output, and then for links to hang
 * up. */
#define STOP_ROUND_MS  10
#define TELL_ROUNDS    200
#define GOODBYE_ROUNDS 120

/* ---- output ---- */

void daemon_wake(struct daemon *d, struct conn *c)
{
	list_remove(&c->woken); /* from `drowsy`, maybe */
	if (c->phase < CONN_LINGER)
		list_append(&d->woken, &c->woken);
}

static void on_drowsy(uv_timer_t *t)
{
	struct daemon *d = t->data;

	while (!list_empty(&d->drowsy))
		daemon_wake(d, list_first(&d->drowsy, struct conn, woken));
}

void daemon_wake_within(struct daemon *d, struct conn *c, uint64_t ms)
{
	uv_timer_t *t = &d->drowsy_timer;

	if (!list_empty(&c->woken) || c->phase >= CONN_LINGER)
		return;
	list_append(&d->drowsy, &c->woken);
	if (!uv_is_active((uv_handle_t *)t) || uv_timer_get_due_in(t) > ms)
		uv_timer_start(t, on_drowsy, ms, 0);
}

void daemon_flush(struct daemon *d)
{
	while (!list_empty(&d->woken)) {
		struct conn *c = list_first(&d->woken, struct conn, woken);

		list_remove(&c->woken);
		conn_flush(c);
	}
}

static void on_before_poll(uv_prepare_t *h)
{
	struct daemon *d = h->data;

	daemon_flush(d);
	sessions_tidy(&d->sessions);
	lag_end();
}

static void on_after_poll(uv_check_t *h)
{
	struct daemon *d = h->data;

	lag_begin();
	workers_attend(&d->workers);
	poller_glance(&d->sessions.poller);
	daemon_flush(d);
}

/* ---- what it says of itself ---- */

void daemon_put_hello(struct daemon *d, struct jsonw *w)
{
	struct msg_hello m = {
		.name = "agentd",
		.version = AGENTD_VERSION,
		.proto = PROTO_VERSION,
		.boot_id = d->boot_id,
		.instance = d->instance,
		.epoch = d->sessions.arena.head->epoch,
		.limits =
			{
				.frame = FRAME_MAX,
				.channels = d->config.max_channels,
				.sessions = d->config.max_sessions,
				.ring_max = STORE_RING_MAX,
				.stdin_window = SESSION_STDIN_WINDOW,
				.viewers = SESSION_VIEWERS,
				.writers = SESSION_WRITERS,
				.file_window = STREAM_RING,
			},
	};

	msg_put_hello_agent(w, &m);
}

static void host_info(void *ctx, struct jsonw *w)
{
	struct daemon *d = ctx;

	daemon_put_hello(d, w);
	jsonw_int(w, "pid", getpid());
	jsonw_u64(w, "uptime_ms", now_ms() - d->started_at);
	jsonw_u64(w, "connections", d->n_conns);
	jsonw_u64(w, "refused", d->refused);
	if (d->booted_ms) {
		jsonw_open(w, "boot", '{');
		jsonw_u64(w, "init_ms", d->booted_ms);
		jsonw_u64(w, "agent_ms", d->started_ms);
		jsonw_u64(w, "ready_ms", d->ready_ms);
		jsonw_close(w, '}');
	}
	jsonw_open(w, "listen", '[');
	for (unsigned i = 0; i < d->n_listeners; i++)
		jsonw_bytes(w, NULL, d->listeners[i].spec, strlen(d->listeners[i].spec));
	jsonw_close(w, ']');
}

static int host_upgrade(void *ctx, const char *path, struct error *e)
{
	struct daemon *d = ctx;
	int r;

	/* The listeners are gone, and a new agent would know nothing of the stop. */
	if (d->stopping)
		return error_set(e, E_STOPPING, 0, "agentd is going away");
	/* The watchdog would not survive the exec. */
	if (!freeze_settled())
		return error_set(e, E_FAILED, EBUSY, "file systems are frozen: not now");
	r = takeover_check(path, e);
	if (r < 0)
		return r;
	log_info("upgrading path=%s sessions=%u", path, d->sessions.n);
	list_for_each (c, &d->conns, struct conn, link)
		conn_bye(c, "upgrading", WS_CLOSE_RESTART);
	daemon_flush(d);
	r = takeover_exec(d, path);
	/* The links are gone, the sessions are not: clients come back to the old agent and see its
	 * old epoch. */
	log_err("upgrade failed path=%s error=%s", path, strerror(-r));
	return error_set(e, E_FAILED, -r, "exec: %s", strerror(-r));
}

/* Our init is PID 1 and does as we ask; systemd is not asked. */
static int host_power(void *ctx, bool reboot, struct error *e)
{
	struct daemon *d = ctx;
	int r = d->keeper.link < 0 ? -EOPNOTSUPP
				   : keeper_say(&d->keeper, reboot ? "X_AGENTD_POWER=reboot"
								   : "X_AGENTD_POWER=off");

	return r < 0 ? error_set(e, E_FAILED, -r, "PID 1 is not agentd-init") : 0;
}

static void host_figures(void *ctx, struct service_figures *ret)
{
	struct daemon *d = ctx;

	*ret = (struct service_figures){.uptime_ms = now_ms() - d->started_at,
		.connections = d->n_conns,
		.accepted = d->next_conn_id,
		.refused = d->refused,
		.refused_fds = d->refused_fds,
		.bytes_in = d->bytes_in,
		.bytes_out = d->bytes_out};
}

static void host_bye(void *ctx, const char *notice)
{
	struct daemon *d = ctx;

	list_for_each (c, &d->conns, struct conn, link)
		conn_bye(c, notice, WS_CLOSE_RESTART);
}

const struct service_host daemon_host = {
	.info = host_info,
	.upgrade = host_upgrade,
	.power = host_power,
	.figures = host_figures,
	.bye = host_bye,
};

/* ---- stop ---- */

static void on_closed_all(uv_timer_t *t)
{
	struct daemon *d = t->data;

	list_for_each_safe (c, &d->conns, struct conn, link)
		conn_close(c);
	watches_close(&d->watches);
	dials_close(&d->dials);
	ports_close(&d->ports);
	sessions_close(&d->sessions);
	workers_close(&d->workers);
	uv_close((uv_handle_t *)&d->signals, NULL);
	uv_close((uv_handle_t *)&d->before_poll, NULL);
	uv_close((uv_handle_t *)&d->after_poll, NULL);
	uv_close((uv_handle_t *)&d->stop_timer, NULL);
	uv_close((uv_handle_t *)&d->drowsy_timer, NULL);
}

/* Everybody has been told and had a moment to read it. */
static void on_said_goodbye(uv_timer_t *t)
{
	struct daemon *d = t->data;

	if (d->n_conns > 0 && ++d->stop_rounds < GOODBYE_ROUNDS)
		uv_timer_start(t, on_said_goodbye, STOP_ROUND_MS, 0);
	else
		on_closed_all(t);
}

static void on_sessions_ended(uv_timer_t *t)
{
	struct daemon *d = t->data;

	if (!sessions_told(&d->sessions) && ++d->stop_rounds < TELL_ROUNDS) {
		uv_timer_start(t, on_sessions_ended, STOP_ROUND_MS, 0);
		return;
	}
	d->stop_rounds = 0;
	list_for_each (c, &d->conns, struct conn, link)
		conn_bye(c, "stopping", WS_CLOSE_GOING_AWAY);
	uv_timer_start(t, on_said_goodbye, STOP_ROUND_MS, 0);
}

/* Called from inside a session's end; what follows must wait for the loop, and for the end events
 * to be sent. */
static void on_idle(void *ctx)
{
	struct daemon *d = ctx;

	uv_timer_start(&d->stop_timer, on_sessions_ended, 0, 0);
}

void daemon_stop(struct daemon *d)
{
	if (d->stopping)
		return;
	d->stopping = true;
	freeze_thaw(NULL);
	log_info("stopping sessions=%u", sessions_live(&d->sessions));
	for (unsigned i = 0; i < d->n_listeners; i++)
		listen_stop(&d->listeners[i], true);
	/* A process that cannot be killed must not keep us for ever. */
	uv_timer_start(&d->stop_timer, on_sessions_ended, d->config.stop_grace_ms + 2000, 0);
	sessions_stop(&d->sessions, d->config.stop_grace_ms);
}

/* A signal stays with the kernel until here, so one that comes during an upgrade is for the new
 * agent. With a handler it was gone when it came between the handler and the loop's turn. */
static void on_signal(uv_poll_t *h, int status, int events)
{
	struct daemon *d = h->data;
	struct signalfd_siginfo si;

	(void)status;
	(void)events;
	while (read(d->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGUSR1)
			log_set_level(log_get_level() == LOG_DEBUG ? LOG_INFO : LOG_DEBUG);
		else
			daemon_stop(d);
	}
}

static int start_signals(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_SETMASK, &set, NULL);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->signal_fd < 0)
		return -errno;
	d->signals.data = d;
	uv_poll_init(&d->loop, &d->signals, d->signal_fd);
	return uv_poll_start(&d->signals, UV_READABLE, on_signal);
}

/* ---- start ---- */

static void read_boot_id(char out[40])
{
	auto_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, 36);

	out[n > 0 ? n : 0] = '\0';
}

static void init_handles(struct daemon *d)
{
	uv_prepare_init(&d->loop, &d->before_poll);
	uv_check_init(&d->loop, &d->after_poll);
	d->before_poll.data = d->after_poll.data = d->stop_timer.data = d;
	uv_prepare_start(&d->before_poll, on_before_poll);
	uv_check_start(&d->after_poll, on_after_poll);
	uv_timer_init(&d->loop, &d->stop_timer);
	uv_timer_init(&d->loop, &d->drowsy_timer);
	d->drowsy_timer.data = d;
	d->stop_timer.data = d;
}

/* An inherited socket keeps its clients waiting in its backlog rather than refused. */
static int start_listeners(struct daemon *d, const struct inherited *in)
{
	for (unsigned i = 0; i < d->config.n_listen; i++) {
		const char *spec = d->config.listen[i];
		int fd = -1, r;

		for (unsigned k = 0; k < in->n_listen; k++) {
			if (strcmp(in->listen[k].spec, spec) == 0)
				fd = in->listen[k].fd;
		}
		r = listen_start(d, &d->listeners[d->n_listeners], spec, fd);
		if (r < 0) {
			log_err("cannot listen on %s: %s", spec, strerror(-r));
			return r;
		}
		d->n_listeners++;
	}
	return 0;
}

/* From a former agent's hands (an upgrade), from the keeper's (it died), or anew. */
static int start_sessions(struct daemon *d, const struct inherited *in, unsigned *ret_adopted)
{
	int arena_fd = in->arena_fd, r;
	bool returned;

	keeper_init(&d->keeper);
	if (in->link_fd >= 0)
		d->keeper.link = in->link_fd;
	returned = arena_fd < 0 && (arena_fd = keeper_claim_arena(&d->keeper)) >= 0;
	if (returned && !arena_fits(arena_fd)) {
		log_err("the sessions of the agent before cannot be taken over: another layout");
		keep_forget_all(&d->keeper, (unsigned)d->config.max_sessions);
		close_fd(&arena_fd);
		returned = false;
	}
	r = sessions_init(
		&d->sessions, &d->loop, &d->config, &d->keeper, arena_fd, returned, ret_adopted);
	keeper_drop_rest(&d->keeper);
	return r;
}

static uint64_t boot_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* init says when it began, to the agent it starts first. */
static void note_boot(struct daemon *d)
{
	const char *init = getenv("AGENTD_BOOT_MS");

	d->started_ms = boot_ms();
	d->booted_ms = init ? strtoull(init, NULL, 10) : 0;
	unsetenv("AGENTD_BOOT_MS");
}

int daemon_init(struct daemon *d, struct config *config, char **argv, const struct inherited *in)
{
	unsigned adopted = 0;
	int r;

	*d = (struct daemon){
		.config = *config, .argv = argv, .started_at = now_ms(), .spare_fd = -1};
	note_boot(d);
	list_init(&d->conns);
	list_init(&d->woken);
	list_init(&d->drowsy);
	r = uv_loop_init(&d->loop);
	if (r < 0)
		return r;
	d->read_buf = malloc(DAEMON_READ_SIZE);
	ASSERT(d->read_buf);
	/* The sockets first: a client that is early waits in the backlog and is served when the
	 * loop runs. */
	r = start_listeners(d, in);
	if (r < 0)
		return r;
	config_token_from_kernel(&d->config);
	read_boot_id(d->boot_id);
	init_handles(d);
	r = start_signals(d);
	if (r < 0)
		return r;
	r = workers_init(&d->workers, &d->loop, WORKERS_MAX);
	if (r < 0)
		return r;
	r = start_sessions(d, in, &adopted);
	if (r < 0) {
		log_err("cannot set up the session table (cgroup=%s): %s", d->config.cgroup,
			strerror(-r));
		return r;
	}
	watches_init(&d->watches, &d->loop, &d->sessions.poller, &d->workers);
	dials_init(&d->dials, &d->loop, &d->sessions.poller);
	ports_init(&d->ports, &d->loop, &d->workers, &d->sessions);
	d->sessions.on_idle = on_idle;
	d->sessions.idle_ctx = d;
	snprintf(d->instance, sizeof(d->instance), "%016llx",
		(unsigned long long)d->sessions.arena.head->instance);
	d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	d->ready_ms = boot_ms();
	keeper_say(&d->keeper, "READY=1");
	/* No session can be lost before the loop runs; and where there is one CPU, what the keeper
	 * does with it keeps us waiting. */
	if (d->sessions.arena.head->epoch == 1)
		keep_arena(&d->sessions);
	if (d->sessions.arena.head->epoch > 1)
		log_info("took over sessions=%u epoch=%u", adopted, d->sessions.arena.head->epoch);
	return 0;
}

int daemon_run(struct daemon *d)
{
	return uv_run(&d->loop, UV_RUN_DEFAULT);
}

void daemon_fini(struct daemon *d)
{
	sessions_fini(&d->sessions, true);
	keeper_fini(&d->keeper);
	close_fd(&d->spare_fd);
	close_fd(&d->signal_fd);
	free(take_ptr(&d->read_buf));
	ASSERT(uv_loop_close(&d->loop) == 0);
	if (!workers_fini(&d->workers))
		log_warn("a file system does not answer: left to the kernel threads=%u",
			d->workers.threads);
	config_fini(&d->config);
}
