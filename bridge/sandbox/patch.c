/*
 * A sandbox remembers the sequence of the last patch it has ("patchSequence" in `more`), and
 * nothing else, so a sequence must not be used twice.
 */
#include "bridge/sandbox/patch.h"

#include <stdio.h>

#include "bridge/sandbox/sandbox_internal.h"
#include "proto/jsonw.h"

void patch_free(struct patch *p)
{
	list_remove(&p->node);
	free(p->script);
	free(p->description);
	free(p);
}

struct patch *patch_new(struct checkpoint *cp, const struct store_patch *row)
{
	struct patch *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	list_append(&cp->patches, &p->node);
	snprintf(p->id, sizeof(p->id), "%s", row->id);
	p->script = strdup(row->script);
	p->description = strdup(row->description);
	p->sequence = row->sequence;
	p->created_ms = row->created_ms;
	if (p->script && p->description)
		return p;
	patch_free(p);
	return NULL;
}

uint64_t patch_last(const struct sandbox *s)
{
	struct jsonr v;
	uint64_t n = 0;

	if (sandbox_more(s, "patchSequence", &v))
		jsonr_u64(v, UINT64_MAX, &n);
	return n;
}

/* Also above those that were dropped and that a sandbox has run: it would take the new one for one
 * of them. */
static uint64_t next_sequence(const struct checkpoint *cp)
{
	uint64_t last = 0;

	list_for_each (p, &cp->patches, struct patch, node)
		last = max_of(last, p->sequence);
	list_for_each (s, sandboxes_list(cp->all->sandboxes), struct sandbox, node) {
		if (strcmp(s->checkpoint, cp->id) == 0)
			last = max_of(last, patch_last(s));
	}
	return last + 1;
}

static bool script_fits(const char *script)
{
	char json[PATCH_SCRIPT_MAX];
	struct jsonw w;

	jsonw_init(&w, json, sizeof(json));
	jsonw_str(&w, NULL, script);
	return !w.overflow;
}

static size_t count(const struct checkpoint *cp)
{
	size_t n = 0;

	list_for_each (p, &cp->patches, struct patch, node)
		n++;
	return n;
}

struct patch *patch_add(
	struct checkpoint *cp, const char *script, const char *description, struct fault *f)
{
	char id[CHECKPOINT_ID_MAX + 1];
	struct store_patch row = {.id = id,
		.checkpoint = cp->id,
		.script = script,
		.description = description,
		.sequence = next_sequence(cp),
		.created_ms = wall_ms()};
	struct patch *p = NULL;
	int r;

	checkpoint_new_id(id);
	if (count(cp) >= PATCHES_MAX)
		fault_set(f, 400, "there are %d patches of this checkpoint, as many as may be",
			PATCHES_MAX);
	else if (!script_fits(script))
		fault_set(f, 400, "a script must be at most %d bytes, as JSON", PATCH_SCRIPT_MAX);
	else if (!(p = patch_new(cp, &row)))
		fault_set(f, 503, "no memory for another patch");
	if (!p)
		return NULL;
	r = store_put_patch(cp->all->store, &row);
	if (r == 0)
		return p;
	fault_set(f, r == -ENOSPC ? 507 : 500, "the patch cannot be stored: %s",
		store_why(cp->all->store));
	patch_free(p);
	return NULL;
}

int patch_drop(struct checkpoint *cp, const char *id)
{
	list_for_each (p, &cp->patches, struct patch, node) {
		int r;

		if (strcmp(p->id, id) != 0)
			continue;
		r = store_drop_patch(cp->all->store, id);
		if (r == 0)
			patch_free(p);
		return r;
	}
	return -ENOENT;
}
