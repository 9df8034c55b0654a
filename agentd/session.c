/*
 * The life of a session. Every event ends in session_check(), which looks at the facts in the
 *record:
 *
 *	leader reaped?  ->  its output read?  ->  pipes closed, or quiet long enough?  ->  ended
 *
 * "Its output" is known exactly: what lay in the pipes when the leader was reaped (the residue).
 *Children may hold the pipes longer; they get linger_ms of silence to finish, and eight times that
 *at most. What they write after the end goes to the session as well; only the report does not wait
 *for it.
 *
 * All waiting is one timer per session, armed for the earliest of the times in the record, so an
 *upgrade carries timers for nothing.
 */
#include "agentd/session.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#include "agentd/keep.h"
#include "agentd/proctree.h"
#include "agentd/session_internal.h"
#include "agentd/sessions.h"
#include "agentd/terminal.h"
#include "agentd/viewer.h"

#define LINGER_ROUNDS 8
#define RETAIN_MIN_MS                                                                              \
	1000 /* when nobody is attached, so that somebody may yet come; else see maybe_expire() */

uint64_t session_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- time ---- */

/* Earliest of two times, 0 meaning never. */
static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a == 0 ? b : b == 0 ? a : min_of(a, b);
}

/* When silence will have lasted long enough after the leader's exit; 0 when that is not what we
 * wait for. */
static uint64_t quiet_at(const struct session *s)
{
	const struct record *r = s->rec;

	if (session_ended(s) || !r->exited || !session_residue_read(s))
		return 0;
	return min_of(max_of(r->last_output, r->exited_at) + r->linger_ms,
		r->exited_at + LINGER_ROUNDS * r->linger_ms);
}

static void on_timer(uv_timer_t *t);

void session_arm(struct session *s)
{
	const struct record *r = s->rec;
	uint64_t now = now_ms(), at;

	if (s->closing)
		return;
	at = place_expire(s->rec, now);
	terminal_tick(s, now);
	if (!session_ended(s))
		at = sooner(at, sooner(r->timeout_at, r->disconnect_at));
	at = sooner(at, r->kill_at);
	at = sooner(at, r->lost_at);
	at = sooner(at, quiet_at(s));
	at = sooner(at, r->expire_at);
	at = sooner(at, r->repaint_at);
	at = sooner(at, session_yield_at(s));
	at = sooner(at, session_residue_unknown(s) ? now : 0);
	if (at == 0)
		uv_timer_stop(&s->timer);
	else
		uv_timer_start(&s->timer, on_timer, at > now ? at - now : 0, 0);
}

void session_signal(struct session *s, enum msg_target to, int sig)
{
	struct record *r = s->rec;
	struct cgroup *cg = &s->all->cgroup;

	if (r->pid <= 0)
		return; /* it never started; and kill(0) would mean ourselves */
	if (to == TARGET_LEADER) {
		process_signal_leader(&s->process, sig);
	} else if (to == TARGET_TREE && r->cgroup[0]) {
		if (sig == SIGKILL)
			cgroup_leaf_kill(cg, r->cgroup);
		else
			cgroup_leaf_signal(cg, r->cgroup, sig);
	} else if (!r->exited && to == TARGET_GROUP) {
		kill(-r->pid, sig); /* the leader is not reaped: its number cannot be another's */
	} else {
		proctree_signal(
			to == TARGET_TREE && !r->process_group ? PROCTREE_SESSION : PROCTREE_GROUP,
			r->pid, r->start_ticks, sig);
	}
}

int session_kill(struct session *s, enum cause cause, enum msg_target to, int sig, bool escalate,
	uint64_t grace_ms)
{
	struct record *r = s->rec;

	if (!session_ended(s)) {
		if (r->cause == CAUSE_NONE)
			r->cause = cause;
		r->cause_signals |= 1ULL
				    << (sig - 1); /* INT, TERM, CONT: it may die of any of them */
	}
	session_signal(s, to, sig);
	if (escalate) {
		r->kill_at = sooner(r->kill_at, now_ms() + grace_ms);
		r->kill_to = to;
		session_arm(s);
	}
	return 0;
}

static void fire_ends(struct session *s, uint64_t now)
{
	struct record *r = s->rec;

	if (r->timeout_at && r->timeout_at <= now) {
		r->timeout_at = 0;
		r->cause = CAUSE_TIMEOUT;
		session_kill(s, CAUSE_TIMEOUT, TARGET_TREE, session_end_signal(s), true,
			r->kill_grace_ms);
	}
	if (r->disconnect_at && r->disconnect_at <= now) {
		r->disconnect_at = 0;
		session_kill(s, CAUSE_DISCONNECT, TARGET_TREE, session_end_signal(s), true,
			r->kill_grace_ms);
	}
}

static void session_lost(struct session *s);

static void on_timer(uv_timer_t *t)
{
	struct session *s = container_of(t, struct session, timer);
	struct record *r = s->rec;
	uint64_t now = now_ms();

	if (!session_ended(s))
		fire_ends(s, now);
	if (r->kill_at && r->kill_at <= now) {
		r->kill_at = 0;
		r->kill_fired = true;
		session_signal(s, (enum msg_target)r->kill_to, SIGKILL);
	}
	if (r->expire_at && r->expire_at <= now && (s->n_viewers || place_held(r)) &&
		r->retain_ms == 0)
		r->expire_at = now + RETAIN_MIN_MS;
	if (r->expire_at && r->expire_at <= now) {
		session_remove(s, E_REMOVED);
		return;
	}
	if (r->lost_at && r->lost_at <= now)
		session_lost(s);
	place_expire(r, now);
	session_yield(s, now);
	session_unpin(s);
	if (session_residue_unknown(s))
		session_on_readable(&s->process, STORE_OUT);
	session_check(s);
}

/* ---- the end ---- */

static enum end_state end_by_cause(const struct session *s, struct msg_end *end)
{
	static const enum end_by by[] = {[CAUSE_CLIENT] = BY_CLIENT,
		[CAUSE_DISCONNECT] = BY_DISCONNECT,
		[CAUSE_SHUTDOWN] = BY_SHUTDOWN};
	const struct record *r = s->rec;

	if (r->cause == CAUSE_TIMEOUT)
		return END_TIMED_OUT;
	if (end->signal == 0)
		return END_EXITED;
	if (end->signal == SIGKILL && r->cgroup[0] &&
		cgroup_leaf_oom_kills(&s->all->cgroup, r->cgroup) > 0)
		return END_OOM_KILLED;
	if (r->cause != CAUSE_NONE && ((r->cause_signals >> (end->signal - 1) & 1) ||
					      (end->signal == SIGKILL && r->kill_fired))) {
		end->by = by[r->cause];
		return END_KILLED;
	}
	return END_SIGNALED;
}

/* The end is a fact of the record from here on. */
void session_end(struct session *s, enum end_state state)
{
	struct record *r = s->rec;
	struct msg_end *end = &r->end;

	ASSERT(!session_ended(s) && state != END_RUNNING);
	end->ended_ms = session_wall_ms();
	end->wall_ms = now_ms() - r->started_at;
	end->out = s->store.head[STORE_OUT];
	end->err_bytes = s->store.head[STORE_ERR];
	r->end_pos = store_head(&s->store);
	r->timeout_at = r->disconnect_at = 0;
	end->state = state;
	if (list_empty(&s->untidy))
		list_append(&s->all->untidy, &s->untidy);
	sessions_note_end(s->all, s);
	session_notify(s);
}

static void end_from_exit(struct session *s)
{
	struct msg_end *end = &s->rec->end;

	if (s->rec->wait_code == CLD_EXITED) {
		end->code = s->rec->wait_status;
	} else {
		end->signal = s->rec->wait_status;
		end->core = s->rec->wait_code == CLD_DUMPED;
	}
	session_end(s, end_by_cause(s, end));
}

void session_tidy(struct session *s)
{
	struct record *r = s->rec;

	if (r->cgroup[0] && !cgroup_leaf_populated(&s->all->cgroup, r->cgroup)) {
		cgroup_leaf_close_empty(&s->all->cgroup, r->cgroup);
		r->cgroup[0] = '\0';
	}
}

void session_check(struct session *s)
{
	struct record *r = s->rec;

	if (!session_ended(s) && r->exited && session_residue_read(s) &&
		(session_silent(s) || quiet_at(s) <= now_ms()))
		end_from_exit(s);
	if (session_ended(s) && session_silent(s)) {
		session_close_stdin(s);
		keep_forget(s);
		if (r->hidden) {
			session_close(s);
			return;
		}
		if (r->expire_at == 0) {
			r->expire_at = now_ms() + (r->retain_ms ? r->retain_ms : RETAIN_MIN_MS);
			session_notify(s); /* their channels may close now */
		}
	}
	session_arm(s);
}

/* It has ended, reaped or not. */
static void note_exited(struct session *s)
{
	struct record *r = s->rec;

	process_let_go(&s->process);
	process_forget(&s->process);
	r->lost_at = 0;
	r->exited = true;
	r->exited_at = now_ms();
	session_release_slave(s);
}

static uint64_t us_of(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static void leader_ended(struct session *s)
{
	session_drain(s);
	note_exited(s);
	session_mark_residue(s);
	if (session_residue_unknown(s))
		session_on_readable(&s->process, STORE_OUT);
	session_check(s);
}

static void session_lost(struct session *s)
{
	note_exited(s);
	if (!session_ended(s))
		session_end(s, END_AGENT_LOST);
}

/* A moment for PID 1 to tell us. */
#define TOLD_MS 2000

void session_gone(struct session *s)
{
	struct record *r = s->rec;
	struct child_exit x;
	int told = keep_exit(s, &x);

	if (told < 0) {
		session_lost(s);
		session_check(s);
		return;
	}
	if (told == 0) {
		process_forget(&s->process); /* it would call again and again */
		r->lost_at = now_ms() + TOLD_MS;
		session_arm(s);
		return;
	}
	r->wait_code = WIFEXITED(x.status)   ? CLD_EXITED
		       : WCOREDUMP(x.status) ? CLD_DUMPED
					     : CLD_KILLED;
	r->wait_status = WIFEXITED(x.status) ? WEXITSTATUS(x.status) : WTERMSIG(x.status);
	r->end.user_us = x.user_us;
	r->end.sys_us = x.sys_us;
	r->end.maxrss_kb = x.maxrss_kb;
	leader_ended(s);
}

static void on_leader_exit(struct process *p)
{
	struct session *s = container_of(p, struct session, process);
	struct rusage ru = {0};
	int e = process_reap(p, &ru);

	if (e == -EAGAIN)
		return;
	if (e < 0) {
		session_gone(s);
		return;
	}
	s->rec->end.user_us = us_of(ru.ru_utime);
	s->rec->end.sys_us = us_of(ru.ru_stime);
	s->rec->end.maxrss_kb = (uint64_t)ru.ru_maxrss;
	leader_ended(s);
}

const struct process_events session_process_events = {
	.on_readable = session_on_readable,
	.on_writable = session_on_writable,
	.on_stdin_gone = session_on_stdin_gone,
	.on_exit = on_leader_exit,
};

/* ---- going away ---- */

/* Closing the timer takes the loop a turn; so whoever is on the stack above may still look at the
 * session. */
static void on_timer_closed(uv_handle_t *h)
{
	free(container_of((uv_timer_t *)h, struct session, timer));
}

static void kick_viewers(struct session *s, enum error_code why)
{
	while (!list_empty(&s->viewers)) {
		struct viewer *v = list_first(&s->viewers, struct viewer, link);

		viewer_detach(v, false);
		v->events->on_kicked(v, why);
	}
}

void session_remove(struct session *s, enum error_code why)
{
	struct record *r = s->rec;

	if (s->closing || r->hidden)
		return;
	kick_viewers(s, why);
	if (s->closing) /* with retain_ms 0 its last viewer took it along */
		return;
	ASSERT(session_ended(s));
	if (session_silent(s) || r->pty) { /* closing a terminal hangs up who still has it */
		session_close(s);
		return;
	}
	session_close_stdin(s);
	r->hidden = true;
	r->expire_at = 0;
	sessions_hide(s->all, s);
	store_free(&s->store);
	session_resume(s);
	session_arm(s);
}

void session_close(struct session *s)
{
	struct arena *a = &s->all->arena;

	if (s->closing)
		return;
	s->closing = true;
	kick_viewers(s, E_REMOVED);
	sessions_unlink(s->all, s);
	list_remove(&s->untidy);
	if (s->rec)
		keep_forget(s);
	process_close(&s->process);
	uv_timer_stop(&s->timer);
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
	if (s->rec) {
		if (s->rec->cgroup[0])
			cgroup_leaf_close(&s->all->cgroup, s->rec->cgroup);
		arena_unpublish(a, s->slot);
		store_free(&s->store);
		if (s->has_in)
			inq_free(&s->in);
		arena_free_record(a, s->rec_off, s->rec->size);
		s->rec = NULL;
	}
}

/* ---- viewers ---- */

/* retain_ms 0: kept for as long as somebody has not acknowledged the end, and no longer. */
static void maybe_expire(struct session *s)
{
	if (s->rec->retain_ms == 0 && session_ended(s) && session_silent(s) && s->n_viewers == 0 &&
		place_held(s->rec) == 0)
		session_remove(s, E_REMOVED);
}

void session_link_viewer(struct session *s, struct viewer *v)
{
	list_append(&s->viewers, &v->link);
	s->n_viewers++;
	s->n_writers += v->writer;
	s->rec->disconnect_at = 0;
}

void session_unlink_viewer(struct session *s, struct viewer *v)
{
	list_remove(&v->link);
	s->n_viewers--;
	s->n_writers -= v->writer;
	terminal_detached(s, v);
	if (s->n_viewers == 0 && s->rec->disconnect_ms && !session_ended(s))
		s->rec->disconnect_at = now_ms() + s->rec->disconnect_ms;
	session_unpin(s);
	session_arm(s);
	maybe_expire(s);
}

/* ---- what it tells of itself ---- */

static struct msg_span span(const struct session *s, enum store_stream stream)
{
	uint64_t out, err;

	store_oldest(&s->store, &out, &err);
	return (struct msg_span){
		.oldest = stream == STORE_OUT ? out : err, .head = s->store.head[stream]};
}

void session_opened_msg(const struct session *s, struct msg_opened *m)
{
	snprintf(m->id, sizeof(m->id), "%s", s->rec->id);
	m->state = s->rec->end.state;
	m->pid = s->rec->pid;
	m->out = span(s, STORE_OUT);
	m->err = span(s, STORE_ERR);
	m->stdin_open = s->rec->fd[0] >= 0 && !s->rec->stdin_eof;
	m->has_pty = s->rec->pty;
	terminal_size(s, &m->size);
}

static int64_t left(uint64_t at, uint64_t now)
{
	return at == 0 ? -1 : at > now ? (int64_t)(at - now) : 0;
}

void session_entry_msg(const struct session *s, struct msg_entry *m)
{
	const struct record *r = s->rec;
	uint64_t now = now_ms();

	*m = (struct msg_entry){
		.id = r->id,
		.end = r->end,
		.cmd = r->text,
		.cmd_len = r->cmd_len,
		.cmd_cut = r->cmd_cut,
		.cwd = r->text + r->cmd_len,
		.user = r->text + r->cmd_len + r->cwd_len,
		.pid = r->pid,
		.out = span(s, STORE_OUT),
		.err = span(s, STORE_ERR),
		.stdin_open = r->fd[0] >= 0 && !r->stdin_eof,
		.stdin_accepted = r->in.accepted,
		.stdin_written = r->in.written,
		.stdin_in_doubt = r->stdin_in_doubt,
		.viewers = s->n_viewers,
		.held = place_held(r),
		.disconnect_left_ms = left(r->disconnect_at, now),
		.retain_left_ms = left(r->expire_at, now),
		.timeout_left_ms = left(r->timeout_at, now),
		.ring_size = r->store.keep,
		.ring_used = min_of(store_head(&s->store), (uint64_t)r->store.keep),
		.has_pty = r->pty,
	};
	terminal_size(s, &m->size);
	if (!session_ended(s) && !r->exited)
		proctree_cpu(r->pid, &m->end.user_us, &m->end.sys_us);
}
