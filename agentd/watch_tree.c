/*
 * Readable means: stop looking at the descriptor, let changes gather for a moment, let a worker
 * read them, add its events to the log in portions, look at the descriptor again. Between two
 * portions the watchers' connections write. When one of them lags behind half of the log, the next
 * portion waits for it a little, as the kernel's queue can hold a good deal; but nobody is waited
 * for twice without having caught up.
 */
#include "agentd/watch_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define PORTION     512 /* events between two turns of the loop */
#define LAG_MAX     (WATCH_LOG_EVENTS / 2)
#define LAG_STEP_MS 10
#define LAG_STEPS   50
#define RETRY_MS    100

enum tree_state {
	TREE_STARTING,
	TREE_LIVE,
	TREE_OVER,    /* the top is gone; watchers read to the end */
	TREE_CLOSING, /* no watchers, not in the list; waits for the worker and handles */
};

struct watch_tree {
	struct watches *all;
	struct list link;
	enum tree_state state;
	void *key; /* owned */
	size_t key_len;
	uint64_t id; /* part of cursors */
	struct list watchers;
	struct watch_log log;
	struct watch_event *backlog; /* told by the feed, not yet in the log */
	struct watch watch;
	uv_timer_t soon, keep;
	unsigned handles; /* timers that are not closed */
	bool busy;        /* a worker has the feed */
	bool due;         /* there is something to be read */
	struct work work;
	struct watch_feed feed;
	int err; /* of the start; the worker's */
	unsigned lag_steps;
};

static void go_on(struct watch_tree *t);
static void tree_close(struct watch_tree *t);

static void set_state(struct watch_tree *t, enum tree_state state)
{
	t->state = state;
}

/* ---- life ---- */

static void free_if_done(struct watch_tree *t)
{
	struct watch_event *e;

	if (t->state != TREE_CLOSING || t->busy || t->handles > 0)
		return;
	while ((e = t->backlog)) {
		t->backlog = e->next;
		free(e);
	}
	watch_feed_fini(&t->feed);
	watch_log_fini(&t->log);
	free(t->key);
	free(t);
}

static void on_closed(uv_handle_t *h)
{
	struct watch_tree *t = h->data;

	t->handles--;
	free_if_done(t);
}

static void tree_close(struct watch_tree *t)
{
	if (t->state == TREE_CLOSING)
		return;
	ASSERT(list_empty(&t->watchers));
	set_state(t, TREE_CLOSING);
	atomic_store(&t->feed.stop, true);
	watch_remove(t->all->poller, &t->watch, false);
	list_remove(&t->link);
	t->all->n_trees--;
	uv_close((uv_handle_t *)&t->soon, on_closed);
	uv_close((uv_handle_t *)&t->keep, on_closed);
}

static void on_kept_long_enough(uv_timer_t *timer)
{
	tree_close(timer->data);
}

/* ---- watchers ---- */

static void tell_all(struct watch_tree *t)
{
	list_for_each_safe (w, &t->watchers, struct watcher, link)
		w->on_ready(w);
}

static void fail_all(struct watch_tree *t, int err)
{
	struct error e;

	error_set(&e, err == EMFILE || err == ENFILE ? E_TOO_MANY : E_FAILED, err, "watch %s: %s",
		t->feed.place.path,
		err == ENOSPC
			? "too many directories (of one watch, or fs.inotify.max_user_watches)"
		: err == EMFILE ? "too many watches (fs.inotify.max_user_instances) or descriptors"
				: strerror(err));
	while (!list_empty(&t->watchers)) {
		struct watcher *w = list_first(&t->watchers, struct watcher, link);

		watch_detach(w);
		w->on_failed(w, &e);
	}
}

/* Somebody is far behind, and has not been waited for before. */
static bool must_wait(struct watch_tree *t)
{
	bool lag = false;

	list_for_each (w, &t->watchers, struct watcher, link) {
		if (t->log.next - w->next <= LAG_MAX)
			w->slow = false;
		else if (!w->slow)
			lag = true;
	}
	if (!lag) {
		t->lag_steps = 0;
		return false;
	}
	if (++t->lag_steps <= LAG_STEPS)
		return true;
	t->lag_steps = 0;
	list_for_each (w, &t->watchers, struct watcher, link)
		w->slow = t->log.next - w->next > LAG_MAX;
	return false;
}

/* ---- events ---- */

static void on_soon(uv_timer_t *timer)
{
	go_on(timer->data);
}

static void on_readable(struct watch *watch, uint32_t events)
{
	struct watch_tree *t = container_of(watch, struct watch_tree, watch);

	(void)events;
	watch_change(t->all->poller, &t->watch, 0);
	t->due = true;
	uv_timer_start(&t->soon, on_soon, WATCH_GATHER_MS, 0);
}

static void submit(struct watch_tree *t)
{
	int r = workers_submit(t->all->workers, &t->work);

	t->busy = r == 0;
	t->due = !t->busy;
	if (r == -EAGAIN || r == -ENOMEM)
		uv_timer_start(&t->soon, on_soon, RETRY_MS, 0);
}

/* The next portion of the backlog, and behind the last one what comes then. */
static void deliver(struct watch_tree *t)
{
	struct watch_event *e;
	unsigned n = 0;

	while (n++ < PORTION && (e = t->backlog)) {
		t->backlog = e->next;
		watch_log_add(&t->log, e);
	}
	if (t->backlog) {
		uv_timer_start(&t->soon, on_soon, 1, 0);
	} else if (t->feed.over) {
		set_state(t, TREE_OVER);
		watch_remove(t->all->poller, &t->watch, false);
	} else if (t->feed.waiting > 0) {
		t->due = true;
		uv_timer_start(&t->soon, on_soon, WATCH_PAIR_MS, 0);
	} else {
		watch_change(t->all->poller, &t->watch, EPOLLIN);
	}
	if (t->state == TREE_OVER && list_empty(&t->watchers))
		tree_close(t);
	else
		tell_all(t);
}

static void go_on(struct watch_tree *t)
{
	if (t->busy || t->state > TREE_LIVE)
		return;
	if (t->state == TREE_LIVE && must_wait(t))
		uv_timer_start(&t->soon, on_soon, LAG_STEP_MS, 0);
	else if (t->state == TREE_STARTING || (t->due && !t->backlog))
		submit(t);
	else
		deliver(t);
}

static void take_events(struct watch_tree *t)
{
	ASSERT(!t->backlog);
	t->backlog = t->feed.out;
	t->feed.out = NULL;
	t->feed.tail = &t->feed.out;
}

static void started(struct watch_tree *t)
{
	int r = t->err;

	if (r == 0)
		r = watch_add(t->all->poller, &t->watch, t->feed.fd, 0, on_readable);
	if (r == 0) {
		set_state(t, TREE_LIVE);
		return;
	}
	fail_all(t, -r);
	tree_close(t);
}

static void done(struct work *work)
{
	struct watch_tree *t = container_of(work, struct watch_tree, work);

	t->busy = false;
	if (t->state == TREE_STARTING)
		started(t);
	if (t->state == TREE_CLOSING) {
		free_if_done(t);
		return;
	}
	take_events(t);
	go_on(t);
}

static void run(struct work *work) /* T */
{
	struct watch_tree *t = container_of(work, struct watch_tree, work);

	if (t->feed.fd < 0)
		t->err = watch_feed_start(&t->feed);
	else
		watch_feed_read(&t->feed);
}

/* ---- all of them ---- */

void watches_init(
	struct watches *ws, uv_loop_t *loop, struct poller *poller, struct workers *workers)
{
	*ws = (struct watches){.loop = loop, .poller = poller, .workers = workers};
	list_init(&ws->trees);
}

void watches_close(struct watches *ws)
{
	while (ws->loop && !list_empty(&ws->trees))
		tree_close(list_first(&ws->trees, struct watch_tree, link));
}

static struct watch_tree *find(struct watches *ws, const struct watch_spec *spec)
{
	list_for_each (t, &ws->trees, struct watch_tree, link) {
		if (t->state != TREE_OVER && t->key_len == spec->key_len &&
			memcmp(t->key, spec->key, spec->key_len) == 0)
			return t;
	}
	return NULL;
}

/* Room for one more tree: the one that was used last the longest ago goes. */
static bool make_room(struct watches *ws)
{
	if (ws->n_trees < WATCH_TREES_MAX)
		return true;
	list_for_each (t, &ws->trees, struct watch_tree, link) {
		if (list_empty(&t->watchers)) {
			tree_close(t);
			return true;
		}
	}
	return false;
}

static void spec_drop(const struct watch_spec *spec)
{
	place_fini(spec->place);
	ignore_unref(spec->exclude);
}

static struct watch_tree *tree_new(struct watches *ws, const struct watch_spec *spec)
{
	struct watch_tree *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->key = malloc(spec->key_len);
	if (!t->key || watch_log_init(&t->log) < 0 || getrandom(&t->id, sizeof(t->id), 0) < 0) {
		watch_log_fini(&t->log);
		free(t->key);
		free(t);
		return NULL;
	}
	memcpy(t->key, spec->key, spec->key_len);
	t->key_len = spec->key_len;
	t->all = ws;
	t->watch = WATCH_NULL;
	t->work = (struct work){.run = run, .done = done};
	list_init(&t->watchers);
	list_init(&t->link);
	watch_feed_init(&t->feed);
	t->feed.place = *spec->place;
	t->feed.exclude = spec->exclude;
	t->feed.recursive = spec->recursive;
	uv_timer_init(ws->loop, &t->soon);
	uv_timer_init(ws->loop, &t->keep);
	t->soon.data = t->keep.data = t;
	t->handles = 2;
	list_append(&ws->trees, &t->link);
	ws->n_trees++;
	return t;
}

static int tree_for(
	struct watches *ws, const struct watch_spec *spec, struct watch_tree **ret, struct error *e)
{
	int r = 0;

	*ret = find(ws, spec);
	if (!*ret && !make_room(ws))
		r = error_set(e, E_TOO_MANY, 0, "%d trees are watched already", WATCH_TREES_MAX);
	if (*ret || r < 0) {
		spec_drop(spec);
		return r;
	}
	*ret = tree_new(ws, spec);
	if (*ret) {
		go_on(*ret);
		return 0;
	}
	spec_drop(spec);
	return error_set(e, E_FAILED, ENOMEM, "out of memory");
}

/* Where a cursor says to go on; false: it is of another tree, or what follows is gone. */
static bool find_place(const struct watch_tree *t, const char *since, uint64_t *ret)
{
	char expected[WATCH_CURSOR_MAX], *end;
	unsigned long long seq;
	const char *dash = strchr(since, '-');

	if (!dash || dash[1] < '0' || dash[1] > '9')
		return false;
	errno = 0;
	seq = strtoull(dash + 1, &end, 10);
	if (*end || errno || seq >= t->log.next || seq + 1 < t->log.first)
		return false;
	watch_tree_cursor(t, seq, expected);
	*ret = seq + 1;
	return strcmp(since, expected) == 0;
}

int watch_attach(struct watches *ws, struct watcher *w, const struct watch_spec *spec,
	const char *since, bool *ret_missed, struct error *e)
{
	struct watch_tree *t;
	int r;

	if (ws->n_watchers >= WATCH_WATCHERS_MAX) {
		spec_drop(spec);
		return error_set(
			e, E_TOO_MANY, 0, "there are %d watchers already", WATCH_WATCHERS_MAX);
	}
	r = tree_for(ws, spec, &t, e);
	if (r < 0)
		return r;
	*ret_missed = false;
	w->next = t->log.next;
	if (since && !find_place(t, since, &w->next)) {
		w->next = t->log.next;
		*ret_missed = true;
	}
	w->tree = t;
	w->slow = false;
	list_init(&w->link);
	list_append(&t->watchers, &w->link);
	list_remove(&t->link);
	list_append(&ws->trees, &t->link);
	ws->n_watchers++;
	uv_timer_stop(&t->keep);
	return 0;
}

void watch_detach(struct watcher *w)
{
	struct watch_tree *t = w->tree;

	if (!t)
		return;
	w->tree = NULL;
	list_remove(&w->link);
	t->all->n_watchers--;
	if (!list_empty(&t->watchers))
		return;
	if (t->state == TREE_LIVE)
		uv_timer_start(&t->keep, on_kept_long_enough, WATCH_KEEP_MS, 0);
	else
		tree_close(t); /* nobody has a cursor of it, or nothing will come any more */
}

bool watch_tree_live(const struct watch_tree *t)
{
	return t->state != TREE_STARTING;
}

bool watch_tree_over(const struct watch_tree *t)
{
	return t->state == TREE_OVER;
}

struct watch_log *watch_tree_log(struct watch_tree *t)
{
	return &t->log;
}

void watch_tree_cursor(const struct watch_tree *t, uint64_t seq, char out[WATCH_CURSOR_MAX])
{
	snprintf(out, WATCH_CURSOR_MAX, "%016llx-%llu", (unsigned long long)t->id,
		(unsigned long long)seq);
}
