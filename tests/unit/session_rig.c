#include "tests/unit/session_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/spawn_run.h"

static struct list watchers; /* of one rig */

/* ---- the table ---- */

static void on_tick(uv_timer_t *t)
{
	(void)t;
}

static void on_idle(void *ctx)
{
	((struct srig *)ctx)->idles++;
}

static void start_table(struct srig *r, int arena_fd, unsigned *ret_adopted)
{
	assert_int_equal(
		sessions_init(&r->all, &r->loop, &r->config, NULL, arena_fd, false, ret_adopted),
		0);
	r->all.on_idle = on_idle;
	r->all.idle_ctx = r;
}

static void warm_up(void)
{
	static bool warm;
	struct srig r;

	if (warm)
		return;
	warm = true; /* what is opened once and kept, like /dev/null, does not count */
	srig_up(&r, "none");
	srig_start(&r, "warm", srig_sh("exit 0"));
	UNTIL(&r, sessions_live(&r.all) == 0);
	r.fds = -1;
	srig_down(&r);
}

void srig_up(struct srig *r, const char *cgroup)
{
	unsigned adopted;
	char why[100];

	warm_up();
	list_init(&watchers);
	spawn_reserve();
	*r = (struct srig){.fds = count_fds()};
	log_set_level(LOG_ERR);
	config_init(&r->config);
	assert_int_equal(config_set(&r->config, "cgroup", cgroup, why, sizeof(why)), 0);
	assert_int_equal(config_set(&r->config, "max_sessions", "200", why, sizeof(why)), 0);
	assert_int_equal(uv_loop_init(&r->loop), 0);
	uv_timer_init(&r->loop, &r->tick);
	uv_timer_start(&r->tick, on_tick, 5, 5);
	start_table(r, -1, &adopted);
	assert_int_equal(adopted, 0);
}

static bool all_silent(const struct sessions *all)
{
	list_for_each (s, &all->by_age, struct session, by_age) {
		if (!session_ended(s) || !session_silent(s))
			return false;
	}
	return list_empty(&all->hidden);
}

/* The rest of a session's processes are not our children: gone when they hold no pipe any more. */
static void kill_all(struct srig *r)
{
	list_for_each (s, &r->all.by_age, struct session, by_age)
		session_kill(s, CAUSE_CLIENT, TARGET_TREE, SIGKILL, false, 0);
	list_for_each (h, &r->all.hidden, struct session, by_age)
		session_kill(h, CAUSE_CLIENT, TARGET_TREE, SIGKILL, false, 0);
	UNTIL(r, all_silent(&r->all));
}

void srig_down(struct srig *r)
{
	kill_all(r);
	sessions_close(&r->all);
	uv_close((uv_handle_t *)&r->tick, NULL);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	assert_true(r->all.n == 0 && r->all.n_ended == 0 && r->all.n_hidden == 0);
	/* Everything went back to the arena; some free extents it keeps at hand. */
	assert_true(
		r->all.arena.records.live == 0 && r->all.arena.extents.live == r->all.arena.warm_n);
	assert_true(r->all.arena.charged <= r->all.arena.warm_n * ARENA_PAGE);
	sessions_fini(&r->all, true);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	config_fini(&r->config);
	assert_true(r->fds < 0 || count_fds() == r->fds);
	no_children();
}

void srig_turn(struct srig *r)
{
	uv_run(&r->loop, UV_RUN_ONCE);
	list_for_each (w, &watchers, struct watcher, link) {
		if (w->ready)
			watcher_take(w);
	}
}

/* ---- taking over ---- */

/* A copy of the arena as it is at this moment; it is mostly holes. */
static int copy_arena(const struct arena *a)
{
	int to = memfd_create("arena", MFD_CLOEXEC);
	off_t at = 0, end;

	assert_true(to >= 0);
	assert_int_equal(ftruncate(to, (off_t)a->head->size), 0);
	while ((at = lseek(a->fd, at, SEEK_DATA)) >= 0) {
		end = lseek(a->fd, at, SEEK_HOLE);
		for (; at < end; at += (off_t)ARENA_PAGE)
			assert_int_equal(pwrite(to, a->base + at, ARENA_PAGE, at), ARENA_PAGE);
	}
	return to;
}

struct saved {
	int number, copy;
};

static void save(struct saved *to, unsigned *n, int fd)
{
	if (fd >= 0)
		to[(*n)++] = (struct saved){fd, fcntl(fd, F_DUPFD_CLOEXEC, 3)};
}

static unsigned save_fds(const struct sessions *all, struct saved *to)
{
	unsigned n = 0;

	for (unsigned slot = 0; slot < all->arena.head->slots; slot++) {
		uint64_t off = arena_slot_record(&all->arena, slot);
		const struct record *rec = arena_at(&all->arena, off);

		for (int i = 0; off && i < 3; i++)
			save(to, &n, rec->fd[i]);
		if (off)
			save(to, &n, rec->pidfd);
	}
	return n;
}

/* Every number as it was; whoever took one meanwhile (the arena's copy may have) moves away. */
static void restore_fds(const struct saved *from, unsigned n, int *arena_fd)
{
	for (unsigned i = 0; i < n; i++) {
		if (*arena_fd == from[i].number)
			*arena_fd = fcntl(*arena_fd, F_DUPFD_CLOEXEC, 900);
	}
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(dup3(from[i].copy, from[i].number, O_CLOEXEC), from[i].number);
		close(from[i].copy);
	}
}

static void each_record(int arena_fd, void (*lose)(struct record *rec))
{
	struct arena a;
	int fd = fcntl(arena_fd, F_DUPFD_CLOEXEC, 3);

	assert_int_equal(arena_open(&a, fd, GIB), 0);
	for (unsigned slot = 0; slot < a.head->slots; slot++) {
		uint64_t off = arena_slot_record(&a, slot);

		if (off)
			lose(arena_at(&a, off));
	}
	arena_fini(&a);
}

unsigned srig_take_over(struct srig *r, void (*lose)(struct record *rec))
{
	static struct saved saved[4 * 200];
	int arena_fd = copy_arena(&r->all.arena);
	unsigned n = save_fds(&r->all, saved), adopted;

	sessions_close(&r->all);
	uv_timer_stop(&r->tick);
	uv_run(&r->loop, UV_RUN_NOWAIT);
	uv_run(&r->loop, UV_RUN_NOWAIT);
	sessions_fini(&r->all, false);
	restore_fds(saved, n, &arena_fd);
	if (lose)
		each_record(arena_fd, lose);
	start_table(r, arena_fd, &adopted);
	uv_timer_start(&r->tick, on_tick, 5, 5);
	return adopted;
}

/* ---- sessions ---- */

struct msg_start *srig_sh(const char *script)
{
	static struct {
		struct msg_start start;
		char *argv[5];
	} ring[8];
	static unsigned n;
	unsigned i = n++ % array_size(ring);
	char **argv = ring[i].argv;

	argv[1] = (char *)"sh";
	argv[2] = (char *)"-c";
	argv[3] = (char *)script;
	argv[4] = NULL;
	ring[i].start = (struct msg_start){.argv = argv + 1,
		.argc = 3,
		.cwd = "/",
		.kill_grace_ms = 2000,
		.linger_ms = 50,
		.retain_ms = 300000,
		.ring = 1 << 20,
		.fingerprint = n};
	return &ring[i].start;
}

struct session *srig_start(struct srig *r, const char *id, const struct msg_start *start)
{
	struct session *s = NULL;
	struct error e = {.message = ""};
	bool is_new;

	if (sessions_start(&r->all, id, start, &s, &is_new, &e) < 0)
		fail_msg("%s", e.message);
	assert_true(is_new);
	return s;
}

const char *srig_state(const struct session *s)
{
	static char text[64];
	const struct msg_end *end = &s->rec->end;
	const char *state = end_state_str(end->state);

	if (end->state == END_RUNNING || end->state == END_AGENT_LOST)
		return state;
	if (end->state == END_START_FAILED)
		snprintf(text, sizeof(text), "%s %d %s", state, end->err, end->stage);
	else
		snprintf(text, sizeof(text), "%s %d", state, end->signal ? end->signal : end->code);
	if (end->by)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " by %d", end->by);
	return text;
}

/* ---- watchers ---- */

static struct watcher *of(struct viewer *v)
{
	return container_of(v, struct watcher, v);
}

static void __attribute__((format(printf, 2, 3))) note(struct watcher *w, const char *fmt, ...)
{
	char text[200];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (buf_len(&w->log) > 0)
		buf_append(&w->log, "; ", 2);
	assert_int_equal(buf_append(&w->log, text, (size_t)n), 0);
}

static void take_event(struct watcher *w, const struct mux_item *it)
{
	struct msg_event ev;
	struct error e;

	assert_int_equal(msg_parse_event(it->data, it->len, &ev, &e), 0);
	if (ev.kind == EVENT_LIVE) {
		assert_false(w->live || w->ended);
		w->live = true;
		note(w, "live");
		return;
	}
	if (ev.kind == EVENT_OWNER || ev.kind == EVENT_SIZE) {
		note(w, "%.*s", (int)it->len, (const char *)it->data);
		return;
	}
	assert_int_equal(ev.kind, EVENT_END);
	assert_true(w->live && !w->ended);
	w->ended = true;
	note(w, "end %s out=%llu err=%llu", end_state_str(ev.end.state),
		(unsigned long long)ev.end.out, (unsigned long long)ev.end.err_bytes);
}

static void take_item(struct watcher *w, const struct mux_item *it, size_t max)
{
	switch (it->type) {
	case FRAME_DATA:
		assert_true(it->len > 0 && it->len <= max);
		assert_int_equal(it->arg, w->next[it->stream]);
		assert_int_equal(buf_append(&w->got[it->stream], it->data, it->len), 0);
		w->next[it->stream] += it->len;
		w->credit -= it->len;
		break;
	case FRAME_GAP:
		assert_int_equal(it->len, 8);
		assert_int_equal(it->arg, w->next[it->stream]);
		w->next[it->stream] += get_u64(it->data);
		note(w, "gap %u@%llu+%llu", it->stream, (unsigned long long)it->arg,
			(unsigned long long)get_u64(it->data));
		break;
	case FRAME_EVENT: take_event(w, it); break;
	default:
		assert_int_equal(it->type, FRAME_CLOSE);
		assert_true(w->ended);
		w->closed = true;
		note(w, "close");
	}
}

void watcher_take(struct watcher *w)
{
	struct mux_item it;
	size_t max;

	w->ready = false;
	while (!w->asleep && !w->closed && w->v.session) {
		max = (size_t)min_of(w->credit, (uint64_t)FRAME_PAYLOAD_MAX);
		if (!viewer_next(&w->v, max, &it))
			break;
		take_item(w, &it, max);
	}
}

static void on_ready(struct viewer *v)
{
	of(v)->ready = true;
}

static void on_kicked(struct viewer *v, enum error_code why)
{
	assert_null(v->session);
	of(v)->kicked = why;
	note(of(v), "kicked %s", error_code_str(why));
}

static void on_stdin_closed(struct viewer *v, uint64_t accepted)
{
	struct watcher *w = of(v);

	assert_false(w->stdin_closed);
	w->stdin_closed = true;
	w->stdin_offset = accepted;
}

static void on_input_space(struct viewer *v)
{
	of(v)->spaces++;
}

static const struct viewer_events watcher_events = {.on_ready = on_ready,
	.on_kicked = on_kicked,
	.on_stdin_closed = on_stdin_closed,
	.on_input_space = on_input_space};

void watch_session(struct watcher *w, struct session *s, struct msg_attach a)
{
	struct error e = {.message = ""};

	*w = (struct watcher){.credit = UINT64_MAX};
	w->got[1] = w->got[2] = w->log = BUF_NULL(GIB);
	w->next[1] = a.since_now ? s->store.head[STORE_OUT] : a.since_out;
	w->next[2] = a.since_now ? s->store.head[STORE_ERR] : a.since_err;
	if (viewer_attach(&w->v, s, &a, &watcher_events, &e) < 0)
		fail_msg("%s", e.message);
	list_append(&watchers, &w->link);
	watcher_take(w);
}

enum error_code watch_refused(struct session *s, struct msg_attach a)
{
	static struct viewer v;
	struct error e = {.code = E_NONE};

	assert_true(viewer_attach(&v, s, &a, &watcher_events, &e) < 0);
	return e.code;
}

void watcher_wake(struct watcher *w, uint64_t credit)
{
	w->asleep = false;
	w->credit = credit;
	watcher_take(w);
}

void watcher_gone(struct watcher *w, bool hold)
{
	viewer_detach(&w->v, hold);
	viewer_detach(&w->v, hold);
}

void watcher_fini(struct watcher *w)
{
	viewer_detach(&w->v, false);
	list_remove(&w->link);
	buf_fini(&w->got[1]);
	buf_fini(&w->got[2]);
	buf_fini(&w->log);
}

const char *watcher_log(struct watcher *w)
{
	assert_int_equal(buf_append(&w->log, "", 1), 0);
	w->log.len--;
	return (const char *)buf_head(&w->log);
}

bool watcher_has(const struct watcher *w, int stream, const char *text)
{
	const struct buf *b = &w->got[stream];

	return buf_len(b) == strlen(text) &&
	       (b->len == 0 || memcmp(buf_head(b), text, b->len) == 0);
}

struct session *srig_start_ring(struct srig *r, const char *id, const char *script, uint64_t ring)
{
	struct msg_start *start = srig_sh(script);

	start->ring = ring;
	start->has_ring = true;
	start->with_stdin = true;
	start->linger_ms = 10;
	return srig_start(r, id, start);
}

struct msg_attach srig_named(const char *name, uint64_t since, uint64_t hold_ms)
{
	return ATTACH(.viewer = name, .since_out = since, .hold_ms = hold_ms,
		.policy = POLICY_LOSSLESS, .input = true);
}
