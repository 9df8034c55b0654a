/*
 * `sys.stats`: what only the loop knows is noted when the request comes, the rest is gathered by a
 * worker from files, and written straight into the answer there.
 */
#include <fcntl.h>
#include <stdio.h>

#include "agentd/cgroup_limits.h"
#include "agentd/figures.h"
#include "agentd/lag.h"
#include "agentd/procfile.h"
#include "agentd/self.h"
#include "agentd/sys.h"
#include "agentd/usage.h"
#include "proto/msg_sys.h"

struct subject {
	char id[MSG_ID_MAX + 1];
	enum end_state state;
	pid_t pid; /* 0: it has ended */
	char leaf[CGROUP_LEAF_NAME];
};

struct stats {
	struct work work;
	struct reply reply;
	struct msg_sys_stats ask;
	struct service_figures host;
	uint64_t store_bytes;
	unsigned live, ended, draining;
	char cgroup[256]; /* of the leaves; "": none */
	size_t n_subjects;
	struct subject subjects[MSG_STATS_SESSIONS];
	size_t len;
	char json[FRAME_PAYLOAD_MAX];
};

/* ---- on the worker ---- */

static void put_lag(struct jsonw *w)
{
	struct lag_figures f;

	lag_read(&f);
	jsonw_open(w, "lag", '{');
	jsonw_u64(w, "turns", f.turns);
	jsonw_u64(w, "busy_us", f.busy_ns / 1000);
	jsonw_u64(w, "max_us", f.max_ns / 1000);
	jsonw_u64(w, "average_us", f.average_ns / 1000);
	jsonw_u64(w, "now_us", f.now_ns / 1000);
	jsonw_open(w, "turns_over", '[');
	for (size_t i = 0; i < LAG_BUCKETS; i++) {
		jsonw_open(w, NULL, '{');
		jsonw_u64(w, "us", lag_bounds_us[i]);
		jsonw_u64(w, "n", f.over[i]);
		jsonw_close(w, '}');
	}
	jsonw_close(w, ']');
	jsonw_close(w, '}');
}

static void put_known(struct jsonw *w, const char *name, uint64_t v)
{
	if (v)
		jsonw_u64(w, name, v);
}

static void put_agent(struct jsonw *w, const struct stats *s)
{
	struct self_figures f;

	self_read(&f);
	jsonw_open(w, "agent", '{');
	jsonw_int(w, "pid", getpid());
	jsonw_u64(w, "uptime_ms", s->host.uptime_ms);
	put_known(w, "rss", f.rss);
	put_known(w, "pss", self_pss());
	put_known(w, "descriptors", f.descriptors);
	put_known(w, "threads", f.threads);
	jsonw_u64(w, "cpu_ms", (f.user_us + f.system_us) / 1000);
	jsonw_u64(w, "store_bytes", s->store_bytes);
	jsonw_u64(w, "connections", s->host.connections);
	jsonw_open(w, "sessions", '{');
	jsonw_u64(w, "live", s->live);
	jsonw_u64(w, "ended", s->ended);
	jsonw_u64(w, "draining", s->draining);
	jsonw_close(w, '}');
	put_lag(w);
	jsonw_close(w, '}');
}

/* One number of a file: all of it, or behind a key. */
static bool read_number(int dir, const char *file, const char *key, uint64_t *ret)
{
	char text[1024];

	if (procfile_read_at(dir, file, text, sizeof(text)) <= 0)
		return false;
	if (key)
		return procfile_value(text, key, ret);
	*ret = strtoull(text, NULL, 10);
	return *text >= '0' && *text <= '9';
}

static void put_number(
	struct jsonw *w, const char *name, int dir, const char *file, const char *key)
{
	uint64_t v;

	if (read_number(dir, file, key, &v))
		jsonw_u64(w, name, v);
}

static void put_memory(struct jsonw *w, int dir, const struct usage *use)
{
	uint64_t v;

	jsonw_open(w, "memory", '{');
	if (read_number(dir, "memory.current", NULL, &v)) {
		jsonw_u64(w, "current", v);
		put_number(w, "peak", dir, "memory.peak", NULL);
	} else {
		jsonw_u64(w, "rss", use->rss);
	}
	jsonw_close(w, '}');
}

static void put_cpu(struct jsonw *w, uint64_t user_us, uint64_t system_us)
{
	jsonw_open(w, "cpu", '{');
	jsonw_u64(w, "user_us", user_us);
	jsonw_u64(w, "system_us", system_us);
	jsonw_close(w, '}');
}

static void put_leaf(struct jsonw *w, int dir)
{
	struct usage use = {0};
	uint64_t user, system, pids;

	if (faccessat(dir, "memory.current", F_OK, 0) < 0 ||
		faccessat(dir, "pids.current", F_OK, 0) < 0)
		usage_of_cgroup(dir, &use);
	if (!read_number(dir, "pids.current", NULL, &pids))
		pids = use.processes;
	jsonw_u64(w, "pids", pids);
	if (read_number(dir, "cpu.stat", "user_usec", &user) &&
		read_number(dir, "cpu.stat", "system_usec", &system))
		put_cpu(w, user, system);
	put_memory(w, dir, &use);
	put_number(w, "oom_kills", dir, "memory.events", "oom_kill");
	figures_put_pressures(w, dir, ".pressure");
	cgroup_limits_put(dir, w, "limits");
}

static void put_tree(struct jsonw *w, pid_t pid)
{
	struct usage use = {0};

	usage_of_tree(pid, &use);
	jsonw_u64(w, "pids", use.processes);
	put_cpu(w, use.user_us, use.system_us);
	jsonw_open(w, "memory", '{');
	jsonw_u64(w, "rss", use.rss);
	jsonw_close(w, '}');
}

static void put_subject(struct jsonw *w, const struct stats *s, const struct subject *x)
{
	auto_close int dir = -1;
	char path[sizeof(s->cgroup) + CGROUP_LEAF_NAME + 1];

	jsonw_open(w, NULL, '{');
	jsonw_str(w, "id", x->id);
	jsonw_str(w, "state", end_state_str(x->state));
	if (x->leaf[0]) {
		snprintf(path, sizeof(path), "%s/%s", s->cgroup, x->leaf);
		dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (dir >= 0)
		put_leaf(w, dir);
	else if (x->pid > 0)
		put_tree(w, x->pid);
	jsonw_close(w, '}');
}

/* Room for what stands behind the sessions. */
#define TAIL 64

static void run(struct work *work)
{
	struct stats *s = container_of(work, struct stats, work);
	bool cut = false;
	struct jsonw w;

	jsonw_init(&w, s->json, sizeof(s->json));
	w.size -= TAIL;
	jsonw_open(&w, NULL, '{');
	figures_put_machine(&w, s->ask.mounts.s, s->ask.mounts.n);
	put_agent(&w, s);
	jsonw_open(&w, "sessions", '[');
	for (size_t i = 0; i < s->n_subjects && !cut; i++) {
		struct jsonw mark = jsonw_mark(&w);

		put_subject(&w, s, &s->subjects[i]);
		cut = w.overflow;
		if (cut)
			jsonw_rewind(&w, mark);
	}
	w.size += TAIL;
	jsonw_close(&w, ']');
	if (cut)
		jsonw_bool(&w, "cut", true);
	jsonw_close(&w, '}');
	s->len = w.overflow ? 0 : w.len;
}

/* ---- on the loop ---- */

static void done(struct work *work)
{
	struct stats *s = container_of(work, struct stats, work);
	struct error e;

	if (s->len > 0) {
		reply_send(&s->reply, s->json, s->len);
	} else {
		error_set(&e, E_TOO_LARGE, 0, "the answer does not fit into a frame");
		reply_error(&s->reply, &e);
	}
	free(s->ask.mem);
	free(s);
}

static void note_sessions(struct stats *s, const struct sessions *all)
{
	s->store_bytes = all->arena.charged;
	s->live = sessions_live(all);
	s->ended = all->n_ended;
	s->draining = all->n_hidden;
	snprintf(s->cgroup, sizeof(s->cgroup), "%s", all->cgroup.path);
	for (size_t i = 0; i < s->ask.sessions.n; i++) {
		const struct session *found = sessions_find(all, s->ask.sessions.s[i]);
		struct subject *x = &s->subjects[s->n_subjects];

		if (!found)
			continue;
		s->n_subjects++;
		memcpy(x->id, found->rec->id, sizeof(x->id));
		memcpy(x->leaf, found->rec->cgroup, sizeof(x->leaf));
		x->state = found->rec->end.state;
		x->pid = session_ended(found) || found->rec->exited ? 0 : found->rec->pid;
	}
}

int sys_stats(struct service_link *l, uint64_t id, struct json json, struct error *e)
{
	struct stats *s = malloc(sizeof(*s));
	int r;

	if (!s)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	memset(s, 0, offsetof(struct stats, json));
	s->work = (struct work){.run = run, .done = done};
	r = msg_parse_sys_stats(json.text, json.len, &s->ask, e);
	if (r < 0) {
		free(s);
		return r;
	}
	l->host->figures(l->host_ctx, &s->host);
	note_sessions(s, l->sessions);
	reply_init(&s->reply, l, 0, id);
	r = workers_submit(l->workers, &s->work);
	if (r < 0) {
		list_remove(&s->reply.node);
		free(s->ask.mem);
		free(s);
		return error_set(e, E_TOO_MANY, -r, "too much is being done already");
	}
	return 0;
}
