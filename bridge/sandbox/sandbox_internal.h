/*
 * sandbox_internal.h - what the files of a sandbox share.
 *
 * What happens to a sandbox happens in procedures, one at a time (`busy`): a chain of steps, each
 * begun by the answer to the one before, that ends in life_finish(). What is wanted meanwhile waits
 * in `ops`, and uses in `ready`. Nothing begins inside of somebody else's call: it is said with
 * sandboxes_turn() that a sandbox is to be looked at, and life_turn() does it from the loop.
 *
 *	sandboxes     all of them: found, counted, given their turn, swept away
 *	sandbox       one: its row in the store, its state
 *	sandbox_life  what is wanted, which procedure is next, how one waits and ends
 *	sandbox_up    created, woken, started, restarted
 *	sandbox_down  killed, stopped, hibernated
 *	sandbox_settle  the box is not what was wanted: what is it, and what follows
 *	sandbox_busy  exclusive operations: checkpoint and the like
 *	sandbox_scale  more or less memory while it runs
 *	sandbox_link  the guest link and what is told and asked at its beginning
 *	sandbox_use   uses and the idle timer
 *	sandbox_load  after a restart
 */
#pragma once

#include "bridge/sandbox/sandbox.h"
#include "proto/jsonr.h"

#define SANDBOX_GUEST_MS   10000ULL /* for the first link to a guest of others */
#define SANDBOX_LINK_MS    30000    /* a broken link is dialed again for so long */
#define SANDBOX_REFUSED_MS 2000     /* nobody listens at a guest of others: no use waits longer */
#define SANDBOX_PREPARE_MS 10000
#define SANDBOX_DRAIN_MS   10000 /* a hibernation waits for operations */
#define SANDBOX_KEEP_MS    (3600 * 1000)
#define SANDBOX_BURIED_MS  (300 * 1000)
#define SANDBOX_ADOPT_MAX  16 /* at once */
#define SANDBOX_BUCKETS    4096

struct sandboxes {
	uv_loop_t *loop;
	struct store *store;
	struct boxes *boxes, *external; /* external may be NULL */
	struct sandboxes_config config;
	struct list list, buried;
	struct sandbox *buckets[SANDBOX_BUCKETS];
	size_t n[SANDBOX_STATES];
	uv_idle_t turning; /* active while there is something in one of these */
	struct list answers, turns;
	struct list adopts; /* sandboxes, by `turn`, whose boxes are still to be asked */
	uv_timer_t sweep;
	size_t adopting;
	uint64_t prepare_ms, drain_ms; /* constants but for tests */
	bool closing;
	unsigned open_handles;
	void (*on_closed)(void *owner);
	void *on_closed_owner;
};

enum sandbox_goal {
	GOAL_CREATE,
	GOAL_KILL,
	GOAL_IDLE, /* it idled out: hibernate or stop, if that is still so */
	GOAL_HIBERNATE,
	GOAL_WAKE,
	GOAL_REBOOT,
	GOAL_EXCLUSIVE,
	GOAL_SCALE,
};

struct sandbox_want {
	struct list node;
	enum sandbox_goal goal;
	struct sandbox_op *op; /* NULL: nobody waits for it, or not any more */
	int64_t timeout_s;     /* WAKE; < 0: as it is */
	unsigned memory_mb;    /* SCALE */
	const struct sandbox_exclusive *exclusive;
	void *owner; /* of it */
};

/* ---- sandboxes.c ---- */

/* It is to be looked at, soon. Cheap, idempotent. */
void sandboxes_turn(struct sandbox *s);
/* fault NULL: it went well. */
void sandboxes_answer(struct sandbox_op *op, const struct fault *fault);
/* Its last handle is closed. */
void sandboxes_forget(struct sandbox *s);
void sandboxes_add(struct sandboxes *ss, struct sandbox *s);
size_t sandboxes_live(const struct sandboxes *ss); /* those that are not killed */
/* It never came to be: nobody finds it any more. Its memory stays for a while, for those who had it
 * in hand. */
void sandboxes_bury(struct sandbox *s);
/* An id that nobody has. */
void sandboxes_new_id(const struct sandboxes *ss, char ret[BOX_ID_MAX + 1]);

/* ---- sandbox.c ---- */

/* NULL: no memory. */
struct sandbox *sandbox_new(
	struct sandboxes *ss, const struct store_sandbox *row, enum sandbox_state state);
/* Closes its handles, then frees it. Its guest is closed before. */
void sandbox_free(struct sandbox *s);
int sandbox_save(struct sandbox *s);
/* Stored first. On failure the procedure has failed, and nothing has changed. */
bool sandbox_set_state(struct sandbox *s, enum sandbox_state state);
/* The procedure has failed, because the store said this. Returns false. */
bool sandbox_not_stored(struct sandbox *s, int r);
/* It is so now, even if that cannot be stored: what is stored leads there after a restart. */
void sandbox_reach(struct sandbox *s, enum sandbox_state state);
/* Of a create that failed: as if it had never been. */
void sandbox_vanish(struct sandbox *s);
/* Its box anew, as nothing is known of it. */
void sandbox_init_box(struct sandbox *s);
void sandbox_leave_box(struct sandbox *s);            /* as it is, for good */
const char *sandbox_state_word(enum sandbox_state s); /* of the store */
enum sandbox_state sandbox_state_parse(const char *word);
/* "" takes it away. */
void sandbox_note(struct sandbox *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A member of `more`: JSON, as it was written; json NULL removes it. Not saved yet. */
bool sandbox_more(const struct sandbox *s, const char *name, struct jsonr *ret);
int sandbox_set_more(struct sandbox *s, const char *name, const char *json);
void sandbox_fault_gone(const struct sandbox *s, struct fault *f); /* 410 */

static inline bool sandbox_can(const struct sandbox *s, unsigned what)
{
	return !s->foreign && s->box.driver->can & what;
}

/* ---- sandbox_life.c ---- */

void life_turn(struct sandbox *s);
void life_want(struct sandbox *s, enum sandbox_goal goal, struct sandbox_op *op);
void life_queue(struct sandbox *s, const struct sandbox_want *w);
void life_drop_wants(struct sandbox *s);
/* The procedure has failed, if it has not yet; it goes on to where that leads. Returns false. */
bool life_fail(struct sandbox *s, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void life_finish(struct sandbox *s);
/* Ends the procedure in that state. */
void life_arrive(struct sandbox *s, enum sandbox_state state);
/* A kill waits: the procedure ends here and leaves the rest to that. */
bool life_overtaken(struct sandbox *s);
/* False: it is killed or in error; the procedure has failed. */
bool life_must_be_there(struct sandbox *s);
struct sandbox_want *life_find(struct sandbox *s, enum sandbox_goal goal);
/* Waits for something that may not come: fn gets a reason then. It is s->lost_why itself when the
 * link or the box is lost, and that is for fn to follow up: nobody else will. */
void life_wait(struct sandbox *s, void (*fn)(struct sandbox *s, const char *why), uint64_t ms);
void life_on_patience(uv_timer_t *t);
void life_wait_over(struct sandbox *s, const char *why);
/* Until the operations have ended, or have had their time. */
void life_drain(struct sandbox *s, void (*fn)(struct sandbox *s, const char *why));
uint64_t life_up_ms(const struct sandbox *s);

/* ---- sandbox_up.c, sandbox_down.c: how the procedures begin ---- */

void up_create(struct sandbox *s);
void up_wake(struct sandbox *s);
void up_reboot(struct sandbox *s);
void up_begin(struct sandbox *s); /* hibernated or stopped: makes it run */
void down_kill(struct sandbox *s);
void down_idle(struct sandbox *s);
void down_hibernate(struct sandbox *s);
/* Nothing is left of the box then; tries several times. */
void down_destroy(struct sandbox *s, box_fn fn);
void down_stopped(struct box *b, const struct box_result *r); /* of box_stop() */

/* ---- sandbox_settle.c ---- */

/* The box is what `left` says: the procedure goes on to the state that belongs to it. */
void settle(struct sandbox *s, enum box_left left);
/* The same after an operation that failed; a driver that says that nothing is left is asked. */
void settle_failed(struct sandbox *s, const struct box_result *r);
/* It runs, and its agent does not answer. */
void settle_unreachable(struct sandbox *s, const char *why);
/* Asks what the box is, and settles there. Link and box are not what they were. */
void settle_examine(struct sandbox *s);

/* ---- sandbox_busy.c ---- */

/*
 * An operation with the box that nothing else may meet: a checkpoint, a restore. When it is its
 * turn, and the sandbox runs, its state is BUSY: uses wait, operations under way have their time to
 * end. Then the agent prepares (`keep`) and the link rests, or the link is given up and clients
 * with it; then `run` begins one operation with s->box, with fn. After that the link comes up, the
 * guest is told to resume, the state is RUNNING again and the op is answered. (A route that has a
 * use of its own makes it `lasting`.)
 */
struct sandbox_exclusive {
	bool keep;   /* the guest goes on as it is: links only rest */
	bool freeze; /* with keep: its root file system is frozen meanwhile */
	void (*run)(struct sandbox *s, void *owner, box_fn fn);
	/* What came of it, before the sandbox goes on; may be NULL. NULL result: it did not come to
	 * it, for this reason. */
	void (*done)(struct sandbox *s, void *owner, const struct box_result *r,
		const struct fault *fault);
};

/* op may be NULL; x is borrowed, owner must live, until `done`. */
void sandbox_exclusive(
	struct sandbox *s, const struct sandbox_exclusive *x, void *owner, struct sandbox_op *op);
void busy_begin(struct sandbox *s);

/* ---- sandbox_scale.c ---- */

void scale_begin(struct sandbox *s);

/* ---- sandbox_link.c ---- */

/* Dials the box's agent, tells and asks what there is to, then calls fn. */
void link_open(struct sandbox *s, uint64_t ms, void (*fn)(struct sandbox *s, const char *why));
/* Gives the link up, if there is one; who uses it is told `why`. */
void link_close(struct sandbox *s, const char *why, void (*fn)(struct sandbox *s));
/* Asks the agent to get ready for a snapshot; fn when it said so (it closes the link then). */
void link_prepare(struct sandbox *s, bool freeze, void (*fn)(struct sandbox *s, const char *why));
/* The link rests; fn when it does. */
void link_rest(struct sandbox *s, void (*fn)(struct sandbox *s, const char *why));
void link_wake(struct sandbox *s, uint64_t ms, void (*fn)(struct sandbox *s, const char *why));
/* The agent knows nothing of the sandbox: it was just booted. */
void link_tell_all(struct sandbox *s);
/* The machine has been asleep; identity: or was another, or was booted. Told are its clock, new
 * entropy, and then its names and its network, too. */
void link_tell_slept(struct sandbox *s, bool identity);
/* The link or the box is lost: looked at in its turn. */
void link_on_lost(struct sandbox *s, const char *why);

/* ---- sandbox_ask.c ---- */

/* Tells and asks the next that is due; when there is nothing left, or it cannot go on, it calls
 * link_asked(). */
void ask_next(struct sandbox *s);
void ask_cancel(struct sandbox *s);
void ask_prepare(struct sandbox *s, bool freeze);
void link_asked(struct sandbox *s, const char *why);

/* ---- sandbox_use.c ---- */

/* It is up: whoever waits is told, and the idle timer begins. */
void use_up(struct sandbox *s);
void use_fail(struct sandbox *s, const struct fault *fault);
bool use_can_rouse(const struct sandbox *s);
bool use_operations(const struct sandbox *s); /* are there any that will end? */
bool use_idled_out(const struct sandbox *s);
void use_arm(struct sandbox *s); /* the idle timer, from now, unless it is held */
void use_on_idle(uv_timer_t *t);

/* ---- sandbox_load.c ---- */

int load_all(struct sandboxes *ss, char *why, size_t why_size);
