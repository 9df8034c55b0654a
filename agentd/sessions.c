#include "agentd/sessions.h"

#include <signal.h>
#include <stdio.h>
#include <sys/random.h>

#include "agentd/keep.h"
#include "agentd/cgroup_limits.h"
#include "agentd/frozen.h"
#include "agentd/viewer.h"

static struct list *bucket(const struct sessions *all, const char *id)
{
	return (struct list *)&all->names[hash_text(id) % SESSIONS_BUCKETS];
}

struct session *sessions_find(const struct sessions *all, const char *id)
{
	list_for_each (s, bucket(all, id), struct session, by_name) {
		if (strcmp(s->rec->id, id) == 0)
			return s;
	}
	return NULL;
}

unsigned sessions_live(const struct sessions *all)
{
	return all->n - all->n_ended;
}

bool sessions_told(const struct sessions *all)
{
	list_for_each (s, &all->by_age, struct session, by_age) {
		list_for_each (v, &s->viewers, struct viewer, link) {
			if (!v->end_sent)
				return false;
		}
	}
	return true;
}

/* ---- lists ---- */

/* Before the first one that is later; almost always at the end. */
static void insert_by_age(struct sessions *all, struct session *s)
{
	struct list *at = all->by_age.prev;

	while (at != &all->by_age &&
		list_entry(at, struct session, by_age)->rec->serial > s->rec->serial)
		at = at->prev;
	list_append(at->next, &s->by_age);
}

static void insert_by_end(struct sessions *all, struct session *s)
{
	struct list *at = all->ended.prev;

	while (at != &all->ended &&
		list_entry(at, struct session, ended)->rec->end.ended_ms > s->rec->end.ended_ms)
		at = at->prev;
	list_append(at->next, &s->ended);
	all->n_ended++;
}

void sessions_link(struct sessions *all, struct session *s)
{
	if (s->rec->hidden) {
		list_append(&all->hidden, &s->by_age);
		all->n_hidden++;
		return;
	}
	list_append(bucket(all, s->rec->id), &s->by_name);
	insert_by_age(all, s);
	all->n++;
	if (session_ended(s))
		insert_by_end(all, s);
}

void sessions_unlink(struct sessions *all, struct session *s)
{
	if (list_empty(&s->by_age))
		return;
	if (list_empty(&s->by_name))
		all->n_hidden--;
	else
		all->n--;
	if (!list_empty(&s->ended))
		all->n_ended--;
	list_remove(&s->by_name);
	list_remove(&s->by_age);
	list_remove(&s->ended);
}

void sessions_hide(struct sessions *all, struct session *s)
{
	sessions_unlink(all, s);
	list_append(&all->hidden, &s->by_age);
	all->n_hidden++;
}

/* The oldest ended session that nobody looks at, other than `not`. */
static struct session *oldest_ended(struct sessions *all, const struct session * not )
{
	list_for_each (s, &all->ended, struct session, ended) {
		if (s->n_viewers == 0 && s != not &&s != all->reading)
			return s;
	}
	return NULL;
}

/* What is kept warm for the next command is not kept for ever. */
#define IDLE_MS 1000

static void on_idle_timer(uv_timer_t *t)
{
	struct sessions *all = container_of(t, struct sessions, idle_timer);

	if (sessions_live(all) == 0)
		cgroup_idle(&all->cgroup);
}

/* Down to as many ended ones as are kept. `not`: it has just ended, somebody is about to be told.
 */
static void forget_oldest(struct sessions *all, const struct session * not )
{
	struct session *old;

	while (all->n_ended > max_of(all->config->retain_max, (uint64_t)1) &&
		(old = oldest_ended(all, not )) != NULL)
		session_remove(old, E_REMOVED);
}

void sessions_note_end(struct sessions *all, struct session *s)
{
	insert_by_end(all, s);
	all->ends[s->rec->end.state]++;
	if (!all->adopting)
		forget_oldest(all, s);
	if (sessions_live(all) == 0)
		uv_timer_start(&all->idle_timer, on_idle_timer, IDLE_MS, 0);
	if (all->stopping && sessions_live(all) == 0)
		all->on_idle(all->idle_ctx);
}

static bool reclaim(void *ctx)
{
	struct sessions *all = ctx;
	struct session *old = oldest_ended(all, NULL);

	if (old)
		session_remove(old, E_REMOVED);
	return old != NULL;
}

/* ---- start ---- */

static void choose_id(const struct sessions *all, char out[MSG_ID_MAX + 1])
{
	uint64_t random;

	do {
		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			random = now_ns();
		snprintf(out, MSG_ID_MAX, "%016llx", (unsigned long long)random);
	} while (sessions_find(all, out));
}

int sessions_start(struct sessions *all, const char *id, const struct msg_start *start,
	struct session **ret, bool *ret_new, struct error *e)
{
	struct session *old = id ? sessions_find(all, id) : NULL;
	char chosen[MSG_ID_MAX + 1];
	int r;

	if (old && old->rec->fingerprint != start->fingerprint)
		return error_set(e, E_ID_IN_USE, EEXIST,
			"session %s is there already and was started differently", id);
	*ret_new = old == NULL;
	if (old) {
		*ret = old;
		return 0;
	}
	if (all->stopping)
		return error_set(e, E_STOPPING, 0, "agentd is going away");
	if (start->has_ring && start->ring > STORE_RING_MAX)
		return error_set(
			e, E_BAD_MESSAGE, 0, "\"ring\" must be at most %llu", STORE_RING_MAX);
	r = cgroup_limits_enable(all->cgroup.dir, true, &start->limits, e);
	if (r < 0)
		return r;
	if (all->n + all->n_hidden >= all->config->max_sessions && !reclaim(all))
		return error_set(e, E_TOO_MANY, EUSERS, "%u sessions already", all->n);
	if (!id) {
		choose_id(all, chosen);
		id = chosen;
	}
	r = session_new(all, id, start, ret, e);
	all->started += r == 0;
	return r;
}

/* ---- list ---- */

/* Room that `next` and the closing brackets need behind the last entry. */
#define LIST_TAIL 64
#define LIST_MAX  256

void sessions_list(
	struct sessions *all, const char *only, uint64_t after, uint64_t limit, struct jsonw *w)
{
	struct session *more = NULL;
	uint64_t last = 0, n = 0;
	char next[32];

	limit = min_of(limit, (uint64_t)LIST_MAX);
	w->size -= LIST_TAIL;
	jsonw_open(w, "sessions", '[');
	list_for_each (s, &all->by_age, struct session, by_age) {
		struct jsonw mark = jsonw_mark(w);
		struct msg_entry entry;

		if (s->rec->serial <= after || (only && strcmp(only, s->rec->id) != 0))
			continue;
		session_entry_msg(s, &entry);
		if (n < limit)
			msg_put_entry(w, &entry);
		if (n >= limit || w->overflow) {
			jsonw_rewind(w, mark);
			more = s;
			break;
		}
		last = s->rec->serial;
		n++;
	}
	w->size += LIST_TAIL;
	jsonw_close(w, ']');
	if (more) {
		snprintf(next, sizeof(next), "%llu", (unsigned long long)last);
		jsonw_str(w, "next", next);
	}
}

/* ---- all of them ---- */

void sessions_tidy(struct sessions *all)
{
	while (!list_empty(&all->untidy)) {
		struct session *s = list_first(&all->untidy, struct session, untidy);

		list_remove(&s->untidy);
		session_tidy(s);
	}
}

void sessions_stop(struct sessions *all, uint64_t grace_ms)
{
	all->stopping = true;
	list_for_each (s, &all->by_age, struct session, by_age) {
		if (!session_ended(s))
			session_kill(s, CAUSE_SHUTDOWN, TARGET_TREE, session_end_signal(s), true,
				grace_ms);
	}
	if (sessions_live(all) == 0)
		all->on_idle(all->idle_ctx);
}

static unsigned adopt_all(struct sessions *all)
{
	struct arena *a = &all->arena;
	unsigned n = 0;

	for (unsigned slot = 0; slot < a->head->slots; slot++) {
		uint64_t off = arena_slot_record(a, slot);
		struct session *s;
		int r;

		if (off == 0)
			continue;
		r = session_adopt(all, slot, off, &s);
		if (r < 0) {
			log_err("session in slot %u cannot be taken over: %s", slot, strerror(-r));
			arena_unpublish(a, slot);
			continue;
		}
		n++;
	}
	return n;
}

/* The facts of adopted sessions are looked at only when all are there. */
static void check_all(struct sessions *all)
{
	all->adopting = true;
	list_for_each_safe (s, &all->by_age, struct session, by_age)
		session_adopted(s);
	list_for_each_safe (h, &all->hidden, struct session, by_age)
		session_adopted(h);
	all->adopting = false;
	forget_oldest(all, NULL);
}

int sessions_init(struct sessions *all, uv_loop_t *loop, const struct config *config,
	struct keeper *keeper, int arena_fd, bool returned, unsigned *ret_adopted)
{
	int r;

	*all = (struct sessions){.loop = loop, .config = config, .returned = returned};
	for (int i = 0; i < SESSIONS_BUCKETS; i++)
		list_init(&all->names[i]);
	list_init(&all->by_age);
	list_init(&all->hidden);
	list_init(&all->untidy);
	uv_timer_init(loop, &all->idle_timer);
	list_init(&all->ended);
	*ret_adopted = 0;
	r = poller_init(&all->poller, loop);
	if (r < 0)
		return r;
	if (arena_fd >= 0)
		r = arena_open(&all->arena, arena_fd, config->store_max);
	else
		r = arena_create(&all->arena, (uint32_t)config->max_sessions, config->store_max);
	if (r < 0)
		return r;
	if (environ_init(&all->environ, &all->arena, "/etc/environment") < 0)
		log_err("the sandbox's variables are damaged: forgotten");
	all->arena.reclaim = reclaim;
	all->arena.reclaim_ctx = all;
	keep_init(all, keeper);
	r = cgroup_init(
		&all->cgroup, config->cgroup, arena_fd >= 0 ? all->arena.head->cgroup : NULL);
	if (r < 0) {
		arena_fini(&all->arena);
		return r;
	}
	snprintf(all->arena.head->cgroup, sizeof(all->arena.head->cgroup), "%s", all->cgroup.path);
	if (arena_fd >= 0) {
		if (frozen_recover(&all->arena) > 0)
			log_warn("the agent before left file systems frozen: thawed");
		*ret_adopted = adopt_all(all);
		arena_claimed(&all->arena);
		check_all(all);
	}
	return 0;
}

void sessions_close(struct sessions *all)
{
	list_for_each_safe (s, &all->by_age, struct session, by_age)
		session_close(s);
	list_for_each_safe (h, &all->hidden, struct session, by_age)
		session_close(h);
	uv_close((uv_handle_t *)&all->idle_timer, NULL);
	keep_close(all);
	poller_close(&all->poller);
}

void sessions_fini(struct sessions *all, bool remove_cgroup)
{
	cgroup_fini(&all->cgroup, remove_cgroup);
	environ_fini(&all->environ);
	arena_fini(&all->arena);
}
