/*
 * patch_run.h - the patches of its checkpoint that a forked sandbox does not have yet are run in
 * it, in order, as root, until one fails. One run at a time in a sandbox.
 *
 * What was run is kept with the sandbox ("patchSequence" in `more`), as is why one failed
 * ("patchError"); that one is tried again the next time.
 */
#pragma once

#include "bridge/sandbox/patch.h"
#include "proto/jsonr.h"

#define PATCH_RUN_MS  300000  /* a script */
#define PATCH_KEEP_MS 3600000 /* what came of it, for a bridge that comes back */

struct patch_wait {
	struct list node; /* zeroed: does not wait */
	void (*fn)(struct patch_wait *w);
	void *owner;
};

/* Begins a run if there is anything to run. w (may be NULL): fn when there is none any more, also
 * when one failed; never from inside of this. */
void patch_run(struct checkpoints *cs, struct sandbox *s, struct patch_wait *w,
	void (*fn)(struct patch_wait *w));
void patch_unwait(struct patch_wait *w); /* idempotent */
/* Before the sandboxes are closed. */
void patch_runs_close(struct checkpoints *cs);
/* JSON text of the last failure; false: none. */
bool patch_error(const struct sandbox *s, struct jsonr *ret);
