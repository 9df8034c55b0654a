/*
 * How a session begins: started by a client, or taken over from a former agent. Both end with a
 * record in the arena, a store, maybe a queue, and a process that is watched; a start that fails
 * leaves all of these but the process.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "agentd/keep.h"
#include "agentd/session_internal.h"
#include "agentd/sessions.h"

static struct session *session_alloc(struct sessions *all)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->all = all;
	list_init(&s->by_name);
	list_init(&s->by_age);
	list_init(&s->ended);
	list_init(&s->untidy);
	list_init(&s->young);
	list_init(&s->viewers);
	uv_timer_init(all->loop, &s->timer);
	return s;
}

static void fill_text(struct record *r, const struct launch *l)
{
	char *at = r->text;

	for (size_t i = 0; i < l->argc; i++) {
		size_t len = strlen(l->argv[i]) + 1;

		if (r->cmd_len + len > RECORD_CMD_MAX) {
			r->cmd_cut = true;
			break;
		}
		memcpy(at + r->cmd_len, l->argv[i], len);
		r->cmd_len += (uint32_t)len;
	}
	at += r->cmd_len;
	r->cwd_len = (uint32_t)strlen(l->cwd) + 1;
	memcpy(at, l->cwd, r->cwd_len);
	r->user_len = (uint32_t)strlen(l->user.name) + 1;
	memcpy(at + r->cwd_len, l->user.name, r->user_len);
}

static void fill_record(struct record *r, const char *id, const struct msg_start *start,
	const struct launch *l, const struct config *config)
{
	r->magic = RECORD_MAGIC;
	snprintf(r->id, sizeof(r->id), "%s", id);
	r->fingerprint = start->fingerprint;
	r->pidfd = r->fd[0] = r->fd[1] = r->fd[2] = -1;
	r->kill_grace_ms = start->kill_grace_ms;
	r->disconnect_ms = start->disconnect_ms;
	r->linger_ms = start->linger_ms;
	r->retain_ms = start->has_retain ? start->retain_ms : config->retain_ms;
	r->started_at = now_ms();
	r->end.started_ms = session_wall_ms();
	r->pty = start->pty.on;
	r->tty_size = start->pty.size;
	fill_text(r, l);
}

/* The record, its store and queue; everything but the process. */
static int make_record(
	struct session *s, const char *id, const struct msg_start *start, const struct launch *l)
{
	struct arena *a = &s->all->arena;
	size_t cmd = 0, size;
	int slot, r;

	for (size_t i = 0; i < l->argc && cmd < RECORD_CMD_MAX; i++)
		cmd += strlen(l->argv[i]) + 1;
	size = align_up(sizeof(struct record) + min_of(cmd, (size_t)RECORD_CMD_MAX) +
				strlen(l->cwd) + strlen(l->user.name) + 2,
		ARENA_GRANULE);
	slot = arena_find_slot(a);
	if (slot < 0)
		return slot;
	s->rec_off = arena_alloc_record(a, size);
	if (s->rec_off == 0)
		return -ENOSPC;
	s->slot = (unsigned)slot;
	s->rec = arena_at(a, s->rec_off);
	process_prepare(&s->process, &s->all->poller, s->rec);
	s->rec->size = (uint32_t)size;
	s->rec->serial = a->head->next_serial++;
	fill_record(s->rec, id, start, l, s->all->config);
	r = store_create(&s->store, a, &s->rec->store,
		start->has_ring ? start->ring : s->all->config->ring_default);
	if (r == 0 && start->with_stdin) {
		r = inq_create(
			&s->in, a, &s->rec->in, (SESSION_WRITERS + 1) * SESSION_STDIN_WINDOW);
		s->has_in = r == 0;
	}
	if (r == 0)
		arena_publish(a, s->slot, s->rec_off);
	return r;
}

static void note_start_failure(struct session *s, const struct launch *l)
{
	struct msg_end *end = &s->rec->end;

	end->err = l->err;
	snprintf(end->stage, sizeof(end->stage), "%s", spawn_stage_str(l->stage));
	session_end(s, END_START_FAILED);
	session_check(s);
}

static void start_process(struct session *s, struct launch *l)
{
	struct record *r = s->rec;
	int held[2], err = launch_run(l, r, &s->all->cgroup, held);

	process_hold(&s->process, held);
	if (err == 0) {
		err = process_watch(&s->process, &session_process_events);
		if (err < 0) { /* it runs, but its end could not be seen */
			session_signal(s, TARGET_TREE, SIGKILL);
			waitpid(r->pid, NULL, 0);
			process_close_fd(&s->process, 0);
			process_close_fd(&s->process, 1);
			process_close_fd(&s->process, 2);
			process_let_go(&s->process);
			process_forget(&s->process);
			r->exited = true;
			l->stage = SPAWN_LIMITS;
			l->err = -err;
		}
	}
	if (err < 0) {
		note_start_failure(s, l);
		return;
	}
	if (l->start->timeout_ms)
		r->timeout_at = now_ms() + l->start->timeout_ms;
	if (r->disconnect_ms)
		r->disconnect_at = now_ms() + r->disconnect_ms;
	keep_started(s);
	session_arm(s);
}

int session_new(struct sessions *all, const char *id, const struct msg_start *start,
	struct session **ret, struct error *e)
{
	struct session *s = session_alloc(all);
	struct launch l;
	int r;

	if (!s)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	launch_prepare(&l, start, all->config, &all->environ);
	r = make_record(s, id, start, &l);
	if (r < 0) {
		session_close(s);
		error_set(e, r == -ENOSPC ? E_TOO_MANY : E_FAILED, r == -ENOSPC ? 0 : -r,
			"no room for another session");
	} else {
		sessions_link(all, s);
		start_process(s, &l);
		*ret = s;
	}
	launch_fini(&l);
	return r;
}

/* ---- take-over ---- */

static bool record_valid(const struct arena *a, uint64_t off, const struct record *r)
{
	return r->magic == RECORD_MAGIC && r->size >= sizeof(*r) && r->size % ARENA_GRANULE == 0 &&
	       off + r->size <= a->head->records_off + a->head->records_size &&
	       memchr(r->id, 0, sizeof(r->id)) && msg_name_valid(r->id, MSG_ID_MAX) &&
	       memchr(r->cgroup, 0, sizeof(r->cgroup)) &&
	       memchr(r->end.stage, 0, sizeof(r->end.stage)) && r->end.state < END_LAST &&
	       r->end.by < BY_LAST && r->cmd_len <= RECORD_CMD_MAX && r->cwd_len <= r->size &&
	       r->user_len <= r->size &&
	       sizeof(*r) + r->cmd_len + r->cwd_len + r->user_len <= r->size && r->cwd_len > 0 &&
	       r->user_len > 0 && memchr(r->owner, 0, sizeof(r->owner));
}

/* Descriptors must be ours alone again; one that is not there counts as closed. */
static void adopt_fd(int32_t *fd)
{
	if (*fd >= 0 && fcntl(*fd, F_SETFD, FD_CLOEXEC) < 0)
		*fd = -1;
}

static void adopt_places(struct record *r, uint64_t now)
{
	for (int i = 0; i < RECORD_PLACES; i++) {
		struct viewer_place *p = &r->places[i];

		p->name[MSG_VIEWER_MAX] = '\0';
		if (p->attached && p->lossless && p->hold_ms)
			p->hold_until = now + min_of(p->hold_ms, (uint64_t)MSG_HOLD_MAX_MS);
		p->attached = false;
	}
	if (r->note.valid && r->note.place < RECORD_PLACES) {
		r->places[r->note.place].in_off = r->note.place_off;
		r->in.accepted = r->note.accepted;
	}
	r->note.valid = 0;
}

static void note_doubt(struct session *s)
{
	uint64_t n = s->rec->in.writing;

	s->rec->stdin_in_doubt += n;
	if (n)
		inq_taken(&s->in, n);
}

static int adopt_data(struct session *s)
{
	struct arena *a = &s->all->arena;
	int r;

	adopt_places(s->rec, now_ms());
	if (s->rec->store.extent || !s->rec->hidden) {
		r = store_adopt(&s->store, a, &s->rec->store);
		if (r < 0)
			return r;
	}
	if (s->rec->in.extent) {
		r = inq_adopt(&s->in, a, &s->rec->in);
		if (r < 0)
			return r;
		s->has_in = true;
		/* A crash in the middle of a write: whether the child got these bytes cannot be
		 * known. Given twice they could do twice what was asked once; so they count as
		 * given, and are told of. */
		note_doubt(s);
	}
	return 0;
}

int session_adopt(struct sessions *all, unsigned slot, uint64_t rec_off, struct session **ret)
{
	struct record *rec = arena_at(&all->arena, rec_off);
	struct session *s;
	int r;

	if (!record_valid(&all->arena, rec_off, rec))
		return -EINVAL;
	r = arena_claim_record(&all->arena, rec_off, rec->size);
	if (r < 0)
		return r;
	s = session_alloc(all);
	if (!s) {
		arena_free_record(&all->arena, rec_off, rec->size);
		return -ENOMEM;
	}
	s->rec = rec;
	process_prepare(&s->process, &all->poller, rec);
	s->rec_off = rec_off;
	s->slot = slot;
	if (all->returned)
		keep_claim(s);
	for (int i = 0; i < 3; i++)
		adopt_fd(&rec->fd[i]);
	adopt_fd(&rec->pidfd);
	if (!rec->kept)
		keep_started(s);
	r = adopt_data(s);
	if (r == 0 && rec->cgroup[0])
		cgroup_leaf_claim(&all->cgroup, rec->cgroup);
	if (r == 0)
		r = process_watch(&s->process, &session_process_events);
	if (r < 0) {
		session_close(s);
		return r;
	}
	sessions_link(all, s);
	*ret = s;
	return 0;
}

void session_adopted(struct session *s)
{
	if (!session_ended(s) && !s->rec->exited && s->rec->pidfd < 0)
		session_gone(s);
	if (session_ended(s))
		session_release_slave(s);
	if (!session_ended(s) && s->rec->disconnect_ms && !s->rec->disconnect_at)
		s->rec->disconnect_at =
			now_ms() + s->rec->disconnect_ms; /* its viewers' links are gone */
	if (s->has_in)
		session_feed_stdin(s);
	session_check(s);
}
