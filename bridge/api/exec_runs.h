/*
 * exec_runs.h - the commands of run and run-async: each is one viewer of one session, whose output
 * is collected, and an end that is kept for who asks later. They belong to nobody's call: a client
 * that hangs up changes nothing.
 *
 * A command holds its sandbox in use until it ends. What the bridge does not remember (it was
 * restarted, or needed the memory) is read again from the guest, which keeps it as long.
 */
#pragma once

#include "bridge/api/due.h"
#include "bridge/api/exec_output.h"
#include "bridge/api/exec_start.h"
#include "bridge/remote.h"
#include "bridge/sandbox/sandbox.h"

#define RUN_TIMEOUT_S  60
#define RUN_STREAM_MAX (64 * MIB) /* of a stream's output; the rest is its tail */
#define RUN_RING       (16 * MIB) /* kept in the guest, when it may be asked for later */
#define RUN_KEEP_MS    (10 * 60 * 1000)
#define RUNS_MEMORY    (1 * GIB) /* for all output together */
#define RUNS_KEPT      20000
#define RUN_SHARE      (256 * KIB) /* of it, that every command is left */

enum run_state {
	RUN_WAITING, /* for the sandbox */
	RUN_RUNNING,
	RUN_ENDED,
};

/* Who wants to know of the end. */
struct run_wait {
	struct list node;
	void (*fn)(struct run_wait *w);
};

struct run {
	struct list node;   /* in runs.active or runs.kept */
	struct list bucket; /* by id */
	struct exec_runs *all;
	enum run_state state;       /* changes only in set_state() */
	char id[ROSTER_ID_MAX + 1]; /* of the session as well */
	char sandbox[BOX_ID_MAX + 1];
	bool keeps; /* its result may be asked for later */
	bool found; /* the session was there before */
	bool opened;
	struct sandbox_use use;
	struct exec_start start;
	struct remote remote;
	struct exec_output out[2]; /* stdout, stderr */
	bool truncated;
	bool failed; /* nobody saw the end: `fault` says why */
	struct fault fault;
	struct msg_end end; /* else */
	int exit_code;
	uint64_t started_ms;
	struct list waiting; /* run_wait */
	unsigned holds;
	struct due due;
	uv_idle_t gone; /* only closed: then no callback is on the stack any more */
};

struct exec_runs;

void exec_runs_open(struct exec_runs **ret, uv_loop_t *loop);
/* After the front is closed, before the sandboxes are: commands go on. fn when nothing of it is
 * left on the loop. */
void exec_runs_close(struct exec_runs *rs, void (*fn)(void *owner), void *owner);
/* For whoever waits with a call for a run. */
struct dues *exec_runs_dues(struct exec_runs *rs);

/* Begins a command; x is taken over. Held for the caller: run_release(). It may have ended. */
struct run *run_start(struct exec_runs *rs, struct sandbox *s, struct exec_start *x, bool keeps);
/* One that is there, or was: then from the guest. Held for the caller. NULL: there is none. */
struct run *run_find(struct exec_runs *rs, struct sandbox *s, const char *id);
/* Is it one that was begun here? */
bool run_is_known(struct exec_runs *rs, const struct sandbox *s, const char *id);
/* It was told to the only one who could ask: it goes, here and in the guest. */
void run_told(struct run *r);
/* Is it only waiting for its sandbox to wake? */
bool run_sleeps(const struct run *r);

/* A held run stays, and once it has ended so does its output. */
void run_hold(struct run *r);
void run_release(struct run *r);
/* fn once, when it ends, from the loop. */
void run_wait(struct run *r, struct run_wait *w, void (*fn)(struct run_wait *w));
void run_wait_end(struct run_wait *w); /* idempotent; fine on a zeroed one */
