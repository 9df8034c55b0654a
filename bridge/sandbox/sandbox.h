/*
 * sandbox.h - one sandbox: its state, its box, the link to its agent, its idle timer, and who uses
 * it. What happens to it is decided here and nowhere else.
 *
 * Whoever does something in a sandbox uses it (sandbox_use): a stopped or sleeping one is brought
 * up first, where that is possible, and as long as anybody uses it the idle timer stands still. An
 * operation, an attached client and a turn of an agent are uses. When the last one ends the timer
 * begins anew. So the timer cannot lie: what holds it is not a guess about activity.
 *
 * States are written to the store before they are acted on (KILLING, if there is room).
 *
 *	CREATING -> RUNNING <-> STOPPING -> STOPPED -> (STARTING ->) RUNNING
 *		    RUNNING <-> HIBERNATING -> HIBERNATED -> WAKING -> RUNNING
 *	any -> KILLING -> gone (the row stays, as "stopped", for a while)
 */
#pragma once

#include "bridge/box/box.h"
#include "bridge/guest.h"
#include "bridge/sandbox/roster.h"
#include "bridge/sandbox/store.h"

enum sandbox_state {
	SANDBOX_CREATING,
	SANDBOX_RUNNING, /* linked, a command works now; or its link is just being renewed */
	SANDBOX_STOPPING,
	SANDBOX_STOPPED,
	SANDBOX_STARTING,
	SANDBOX_HIBERNATING,
	SANDBOX_HIBERNATED,
	SANDBOX_WAKING,
	SANDBOX_BUSY, /* checkpoint or restore under way: uses wait */
	SANDBOX_KILLING,
	SANDBOX_KILLED,
	SANDBOX_ERROR, /* it cannot run; `note` says why */
	SANDBOX_STATES
};

/* What the API calls it: running, hibernated, stopped, error, creating. */
const char *sandbox_state_str(enum sandbox_state s);

struct sandboxes;
struct sandbox;
struct sandbox_use;
struct sandbox_op;

/* fault NULL: it is up, sandbox_guest() is linked. Otherwise the use has ended already. */
typedef void (*sandbox_use_fn)(struct sandbox_use *u, const struct fault *fault);

struct sandbox_use {
	struct list node;
	struct sandbox *sandbox; /* NULL: not in use */
	bool waiting;            /* fn is still to come */
	/* An attached client, not an operation: a hibernation does not wait for its end. Its
	 * owner's to set, before or after sandbox_use(). */
	bool lasting;
	sandbox_use_fn fn;
	void *owner;
};

/* Answered once, never from inside the call that began it. */
typedef void (*sandbox_op_fn)(struct sandbox_op *op, const struct fault *fault);

struct sandbox_op {
	struct list node;
	sandbox_op_fn fn;
	void *owner;
	struct sandbox *sandbox; /* set from the beginning, also of create and fork */
	uint64_t bytes;          /* hibernate, checkpoint */
	/* ---- sandbox_*.c's ---- */
	struct sandboxes *all;
	struct sandbox_want *want; /* until it is done */
	bool failed;
	struct fault fault; /* when it failed */
};

struct sandbox {
	struct list node; /* in sandboxes, by age */
	struct sandbox *next_in_bucket;
	struct sandboxes *all;
	enum sandbox_state state; /* changes only in sandbox_set_state() */
	/* As in the store; owned. */
	char id[BOX_ID_MAX + 1];
	char *template, *alias, *envs, *metadata, *tags, *checkpoint, *address, *more;
	char *token;    /* external: of its agent; or NULL */
	char note[256]; /* why it is in ERROR, or came up cold; "" */
	uint64_t created_ms, started_ms, ended_ms, tags_ms;
	int64_t timeout_s; /* 0: never idles out */
	unsigned cpus, memory_mb, disk_mb;
	bool network;
	struct box box;
	struct guest guest;
	bool has_guest;
	struct guest_user link;
	struct roster roster;
	struct list uses;  /* that hold it */
	struct list ready; /* waiting for RUNNING */
	struct list ops;
	uv_timer_t idle;
	uint64_t idle_at_ms; /* when the timer expires, by now_ms(); 0: it stands still */

	/* ---- sandbox_*.c's; see sandbox_internal.h ---- */
	struct list turn;          /* in sandboxes.turns, when it is to be looked at */
	bool busy;                 /* a procedure is under way: ops and uses wait */
	bool rising;               /* and it is to bring it up: uses fail when it fails */
	struct sandbox_want *want; /* what it is for; NULL: something of our own */
	bool failed;               /* the procedure, with this */
	struct fault fault;
	uint64_t bytes; /* what was saved last */
	/* What it waits for, as far as that can be given up; why NULL: it came. */
	void (*wait)(struct sandbox *s, const char *why);
	void (*drained)(struct sandbox *s, const char *why);
	uv_timer_t patience;               /* of `wait`; else of a new link's first steps */
	void (*closed)(struct sandbox *s); /* what follows when the link is closed */
	box_fn destroyed;                  /* what follows when the box is no more */
	unsigned destroy_tries;
	bool linked; /* and the agent was told and asked everything */
	bool lost;   /* link or box: lost_why */
	char lost_why[160];
	char instance[40]; /* the life of the agent that the roster is of */
	int64_t asked;     /* the request under way; 0: none */
	bool freezing;
	bool linking, resting, preparing; /* what `wait` is for */
	void (*link_fn)(struct sandbox *s, const char *why);
	bool resume_due, identity_due, env_due, limits_due, listing;
	enum box_left left;           /* by an exclusive operation */
	size_t env_at;                /* how many of `envs` were told */
	char list_at[MSG_ID_MAX + 1]; /* the list was read up to here */
	bool foreign;                 /* another driver's: neither it nor its row is touched */
	bool buried;                  /* it never came to be; nobody finds it */
	uint64_t dead_ms;             /* since when it is KILLED, by now_ms() */
	unsigned open_handles;
};

/* ---- all of them ---- */

struct sandboxes_config {
	size_t max;                  /* sandboxes that are not killed; 0: 10000 */
	uint64_t create_ms;          /* how long one may take to come up */
	const char *region, *worker; /* told to clients */
	/* A sandbox's roster was filled from its agent's list: the link came up. May be NULL. */
	void (*on_listed)(void *owner, struct sandbox *s);
	void *owner;
};

int sandboxes_open(struct sandboxes **ret, uv_loop_t *loop, struct store *store,
	struct boxes *boxes, struct boxes *external, const struct sandboxes_config *config,
	char *why, size_t why_size);
/* Links are closed, boxes left as they are. fn when nothing is left on the loop. */
void sandboxes_close(struct sandboxes *ss, void (*fn)(void *owner), void *owner);
struct sandbox *sandboxes_find(struct sandboxes *ss, const char *id); /* or by alias; NULL */
struct list *sandboxes_list(struct sandboxes *ss);                    /* by age, killed ones too */
size_t sandboxes_count(const struct sandboxes *ss, enum sandbox_state state);

/* ---- life ---- */

struct sandbox_spec {
	const char *template, *alias;
	const char *envs, *metadata, *tags; /* JSON objects, or NULL */
	int64_t timeout_s;
	unsigned cpus, memory_mb, disk_mb;
	bool network;
	const char *checkpoint;      /* fork of it, or NULL */
	const char *address, *token; /* external, or NULL */
	bool draft;                  /* see sandbox_confirm() */
};

/* Of every op fn and owner are set before. The answer to create: running, linked, a command works.
 * After a fault there is no such sandbox. */
void sandbox_create(struct sandboxes *ss, const struct sandbox_spec *spec, struct sandbox_op *op);
/* A draft is finished, and its client may know the id. Until then a restart undoes it, like one
 * that was being created. -EIO, -ENOSPC: not stored. */
int sandbox_confirm(struct sandbox *s);
/* op may be NULL: nobody wants to know. Fine in any state. */
void sandbox_kill(struct sandbox *s, struct sandbox_op *op);
void sandbox_hibernate(struct sandbox *s, struct sandbox_op *op); /* a sleeping one too */
/* timeout_s < 0: as it is. Of a stopped one: it is started. */
void sandbox_wake(struct sandbox *s, int64_t timeout_s, struct sandbox_op *op);
void sandbox_reboot(struct sandbox *s, struct sandbox_op *op);
/* The answer is not wanted any more; the operation goes on. */
void sandbox_forget(struct sandbox_op *op); /* idempotent; fine on a zeroed op */

/* -EIO, -ENOSPC: not stored, and nothing has changed. */
int sandbox_set_timeout(struct sandbox *s, int64_t timeout_s);
int sandbox_set_tags(struct sandbox *s, const char *json);
/* What all sessions together may use, 0: as created; told to the agent at each cold start. */
int sandbox_set_limits(struct sandbox *s, unsigned memory_mb, unsigned cpu_percent);
void sandbox_limits(const struct sandbox *s, unsigned *memory_mb, unsigned *cpu_percent);

/* ---- sandbox_scale.c ---- */

bool sandbox_can_scale(const struct sandbox *s);
/* At most what it was made with. It runs on; when its programs need more it is as before, and the
 * fault is 409 with the code oom_floor. */
void sandbox_scale(struct sandbox *s, unsigned memory_mb, struct sandbox_op *op);
unsigned sandbox_memory_mb(const struct sandbox *s); /* by now */
/* Kept for who asks before scaling; nothing here minds it. */
bool sandbox_scaling_locked(const struct sandbox *s);
int sandbox_lock_scaling(struct sandbox *s, bool locked); /* -EIO, -ENOSPC: as it was */

/* ---- using it ---- */

/* fn comes exactly once, from the loop or at once, unless sandbox_unuse() comes first. */
void sandbox_use(struct sandbox *s, struct sandbox_use *u, sandbox_use_fn fn, void *owner);
/* Idempotent; fine on a zeroed use. */
void sandbox_unuse(struct sandbox_use *u);
/* The link, of a sandbox in use. */
struct guest *sandbox_guest(struct sandbox *s);
/* Would a use wait for a wake that takes its time? (for the 503 "waking" form) */
bool sandbox_sleeps(const struct sandbox *s);
/* Begins to bring it up, waits for nothing. */
void sandbox_rouse(struct sandbox *s);
