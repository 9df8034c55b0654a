/*
 * patch.h - scripts for what is forked from a checkpoint. patch_run.h runs them.
 */
#pragma once

#include "bridge/sandbox/checkpoint.h"

#define PATCH_SCRIPT_MAX      (60 * 1024) /* as JSON: the agent gets it in one frame */
#define PATCH_DESCRIPTION_MAX 4096
#define PATCHES_MAX           1000 /* of a checkpoint */

struct patch {
	struct list node; /* in checkpoint.patches, by sequence */
	char id[CHECKPOINT_ID_MAX + 1];
	char *script, *description;
	uint64_t sequence, created_ms;
};

/* As the store has it, behind the others. NULL: no memory. */
struct patch *patch_new(struct checkpoint *cp, const struct store_patch *row);
void patch_free(struct patch *p);
/* NULL: *f. */
struct patch *patch_add(
	struct checkpoint *cp, const char *script, const char *description, struct fault *f);
/* -ENOENT, or what the store says. */
int patch_drop(struct checkpoint *cp, const char *id);
/* The sequence of the last one that was run in a sandbox; 0: none was. */
uint64_t patch_last(const struct sandbox *s);
