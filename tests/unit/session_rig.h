/*
 * session_rig.h - a table of sessions on a loop of its own, real processes in them, and watchers:
 * viewers that collect what they are given. Waiting is by condition, never by time alone. In the
 * end the loop is empty, no child is left and there are as many descriptors as before.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agentd/sessions.h"
#include "agentd/viewer.h"

struct srig {
	uv_loop_t loop;
	uv_timer_t tick; /* so that a condition of time is looked at */
	struct config config;
	struct sessions all;
	unsigned idles; /* times that on_idle was called */
	int fds;
};

void srig_up(struct srig *r, const char *cgroup);
/* Kills what still runs. */
void srig_down(struct srig *r);
/* What the next agent finds: this one's sessions are closed without a word to anybody, their memory
 * and descriptors are as they were, and a new table takes them over. Watchers must be detached
 * before, as by a lost link. lose: called for each record before the new table sees it. */
unsigned srig_take_over(struct srig *r, void (*lose)(struct record *rec));

/* One turn of the loop, then the watchers that are ready take what there is: as in the agent, no
 * callback of a session is entered from inside another. */
void srig_turn(struct srig *r);

#define UNTIL(rig, condition)                                                                      \
	do {                                                                                       \
		uint64_t until_ = now_ms() + 8000;                                                 \
		while (!(condition)) {                                                             \
			if (now_ms() > until_)                                                     \
				fail_msg("never came: %s", #condition);                            \
			srig_turn(rig);                                                            \
		}                                                                                  \
	} while (0)
#define FOR_MS(rig, ms)                                                                            \
	do {                                                                                       \
		uint64_t for_ = now_ms() + (ms);                                                   \
		while (now_ms() < for_)                                                            \
			srig_turn(rig);                                                            \
	} while (0)

/* `sh -c script` with the defaults of docs/protocol.md; good until the next but seven. */
struct msg_start *srig_sh(const char *script);
struct session *srig_start(struct srig *r, const char *id, const struct msg_start *start);
/* A shell with stdin, whose output is kept in a ring of this size. */
struct session *srig_start_ring(struct srig *r, const char *id, const char *script, uint64_t ring);
/* How a session ended: "exited 0", "killed 15 by 1", "start_failed 2 exec"; "running". */
const char *srig_state(const struct session *s);

struct watcher {
	struct viewer v;
	struct list link; /* of all there are */
	bool ready;
	struct buf got[3]; /* [1], [2]: what came of stdout and stderr */
	uint64_t next[3];  /* the offset that must come next */
	struct buf log;  /* "live; gap 1@0+5; end exited 0; close", and what it was told besides */
	uint64_t credit; /* payload bytes it still takes */
	bool asleep;     /* takes nothing */
	bool closed, live, ended;
	enum error_code kicked;
	bool stdin_closed;
	uint64_t stdin_offset;
	unsigned spaces; /* on_input_space */
};

#define ATTACH(...) ((struct msg_attach){__VA_ARGS__})
/* A lossless one by name, whose place is held. */
struct msg_attach srig_named(const char *name, uint64_t since, uint64_t hold_ms);

/* With endless credit, and awake. */
void watch_session(struct watcher *w, struct session *s, struct msg_attach a);
/* The code it was refused with. */
enum error_code watch_refused(struct session *s, struct msg_attach a);
void watcher_take(struct watcher *w);
void watcher_wake(struct watcher *w, uint64_t credit);
void watcher_gone(struct watcher *w, bool hold); /* its link is */
void watcher_fini(struct watcher *w);
const char *watcher_log(struct watcher *w);
bool watcher_has(const struct watcher *w, int stream, const char *text);
