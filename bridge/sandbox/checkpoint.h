/*
 * checkpoint.h - what was kept of sandboxes: made, listed, gone back to, forked, dropped.
 *
 * A checkpoint belongs to nobody: it outlives its sandbox. Its row is written before the driver
 * begins, and says PROCESSING or GOING until that is done; what a restart finds so is dropped. It
 * is READY only when the row says so.
 */
#pragma once

#include "bridge/sandbox/sandbox.h"

#define CHECKPOINT_ID_MAX     36
#define CHECKPOINT_NAME_MAX   128
#define CHECKPOINT_FULL_MAX   10 /* of a sandbox */
#define CHECKPOINT_DISK_MAX   100
#define CHECKPOINT_FAILED_MAX 10 /* of a sandbox and kind; then the oldest goes */

enum checkpoint_state {
	CHECKPOINT_PROCESSING,
	CHECKPOINT_READY,
	CHECKPOINT_FAILED,
	CHECKPOINT_GOING, /* being dropped; not found any more */
};

const char *checkpoint_state_str(enum checkpoint_state s);

struct checkpoint {
	struct list node; /* by age */
	struct checkpoints *all;
	enum checkpoint_state state; /* changes only in checkpoint.c */
	char id[CHECKPOINT_ID_MAX + 1];
	char *sandbox, *name, *error, *config; /* config: JSON object, what a fork is made with */
	bool full;
	unsigned keep; /* when it is READY: the oldest beyond so many go; 0: none does */
	uint64_t created_ms, bytes;
	struct list patches; /* by sequence */
	struct list waits;
	unsigned forks; /* under way; it is not dropped meanwhile */
	struct box box; /* to drop it with */
};

struct checkpoint_wait {
	struct list node; /* zeroed: does not wait */
	void (*fn)(struct checkpoint_wait *w);
};

struct checkpoints {
	struct list list;
	struct sandboxes *sandboxes;
	struct boxes *boxes;
	struct store *store;
	struct list runs; /* patch_run.c's */
};

int checkpoints_open(struct checkpoints **ret, struct sandboxes *ss, struct boxes *boxes,
	struct store *store, char *why, size_t why_size);
/* After the sandboxes are closed. */
void checkpoints_close(struct checkpoints *cs);
bool checkpoints_supported(const struct checkpoints *cs); /* by the driver */
struct checkpoint *checkpoints_find(struct checkpoints *cs, const char *id);
/* A UUID in lower case. */
bool checkpoint_id_valid(const char *id);
void checkpoint_new_id(char ret[CHECKPOINT_ID_MAX + 1]);

struct checkpoint_spec {
	const char *name;
	bool full;
	unsigned max;     /* how many of this kind are kept; 0: the limit */
	bool drop_oldest; /* when this one is there */
};

/* Begins to make one: it is PROCESSING. NULL: *f. */
struct checkpoint *checkpoint_create(struct checkpoints *cs, struct sandbox *s,
	const struct checkpoint_spec *spec, struct fault *f);
/* The sandbox goes back to it. */
void checkpoint_restore(struct checkpoint *cp, struct sandbox *s, struct sandbox_op *op);
/* Needs no room in the store. False: *f, it is being made or used. */
bool checkpoint_drop(struct checkpoint *cp, struct fault *f);
/* fn when it is not PROCESSING any more. Only then. */
void checkpoint_await(
	struct checkpoint *cp, struct checkpoint_wait *w, void (*fn)(struct checkpoint_wait *w));
void checkpoint_unwait(struct checkpoint_wait *w); /* idempotent */
