/*
 * sessions.h - all sessions of this agent: by name, by age, their arena, and the limits they share.
 */
#pragma once

#include "agentd/arena.h"
#include "agentd/cgroup.h"
#include "agentd/config.h"
#include "agentd/session.h"

#define SESSIONS_BUCKETS 1024

struct sessions {
	uv_loop_t *loop;
	struct poller poller; /* of all commands' descriptors */
	const struct config *config;
	struct arena arena;
	struct cgroup cgroup;
	struct environ environ; /* of all commands */
	struct list names[SESSIONS_BUCKETS];
	struct list by_age; /* all but hidden ones, oldest start first */
	struct list hidden; /* removed, children still hold their pipes */
	struct list ended;  /* ended ones, oldest end first */
	struct list untidy; /* just ended, see sessions_tidy() */
	unsigned n, n_ended, n_hidden;
	uint64_t started, ends[END_LAST]; /* of this program: sessions begun, ended in each state */
	uv_timer_t idle_timer;            /* one shot, a while after the last session ended */
	struct session *reading;          /* its store is being written to: not to be reclaimed */
	bool adopting; /* a former agent's sessions are being gone through: none is forgotten
			  meanwhile */
	bool stopping;
	void (*on_idle)(void *ctx); /* stopping, and the last live session has ended */
	void *idle_ctx;
};

/* A fresh table, or (arena_fd >= 0) the one a former agent left. *ret_adopted: sessions taken over.
 */
int sessions_init(struct sessions *all, uv_loop_t *loop, const struct config *config, int arena_fd,
	unsigned *ret_adopted);
/* Closes every session (processes are left alone); the loop must run until the handles are closed.
 */
void sessions_close(struct sessions *all);
void sessions_fini(struct sessions *all, bool remove_cgroup);

struct session *sessions_find(const struct sessions *all, const char *id);
/* Idempotent start, see docs/protocol.md section 6. id NULL: one is chosen. */
int sessions_start(struct sessions *all, const char *id, const struct msg_start *start,
	struct session **ret, bool *ret_new, struct error *e);
/* One page of list entries into w ("sessions" array and "next"); false when `after` is malformed.
 */
void sessions_list(
	struct sessions *all, const char *only, uint64_t after, uint64_t limit, struct jsonw *w);
/* Once per turn of the loop, when everybody has been told: what ended sessions leave to be done. */
void sessions_tidy(struct sessions *all);
/* Orderly end: TERM to every tree, KILL after the grace; on_idle when nothing lives. */
void sessions_stop(struct sessions *all, uint64_t grace_ms);
unsigned sessions_live(const struct sessions *all);
/* Has every attached viewer been sent the end of its session? */
bool sessions_told(const struct sessions *all);

/* ---- for session.c ---- */
void sessions_link(struct sessions *all, struct session *s);
void sessions_unlink(struct sessions *all, struct session *s);
void sessions_hide(struct sessions *all, struct session *s);
void sessions_note_end(struct sessions *all, struct session *s);
