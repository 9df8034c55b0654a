#include "agentd/watch_dirs.h"

#define BUCKETS_FIRST 64

static uint32_t hash_name(const struct watch_dir *parent, const char *name, size_t len)
{
	uint64_t h = (uint64_t)(uintptr_t)parent * 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
	return (uint32_t)(h >> 32 ^ h);
}

static struct watch_dir **wd_chain(const struct watch_dirs *ds, int wd)
{
	return &ds->by_wd[(uint32_t)wd & (ds->buckets - 1)];
}

static struct watch_dir **name_chain(const struct watch_dirs *ds, uint32_t hash)
{
	return &ds->by_name[hash & (ds->buckets - 1)];
}

/* ---- chains ---- */

static void link_wd(struct watch_dirs *ds, struct watch_dir *d)
{
	struct watch_dir **chain = wd_chain(ds, d->wd);

	d->next_wd = *chain;
	*chain = d;
}

static void unlink_wd(struct watch_dirs *ds, struct watch_dir *d)
{
	struct watch_dir **at = wd_chain(ds, d->wd);

	while (*at != d)
		at = &(*at)->next_wd;
	*at = d->next_wd;
}

static void link_name(struct watch_dirs *ds, struct watch_dir *d)
{
	struct watch_dir **chain = name_chain(ds, d->hash);

	d->next_name = *chain;
	*chain = d;
}

static void unlink_name(struct watch_dirs *ds, struct watch_dir *d)
{
	struct watch_dir **at = name_chain(ds, d->hash);

	while (*at != d)
		at = &(*at)->next_name;
	*at = d->next_name;
}

/* More buckets for more directories; without memory for them, longer chains. */
static void grow(struct watch_dirs *ds)
{
	struct watch_dir **old = ds->by_name, *d, *next;
	size_t n = ds->buckets;
	struct watch_dir **wds = calloc(2 * n, sizeof(struct watch_dir *));
	struct watch_dir **names = calloc(2 * n, sizeof(struct watch_dir *));

	if (!wds || !names) {
		free(wds);
		free(names);
		return;
	}
	free(ds->by_wd);
	ds->by_wd = wds;
	ds->by_name = names;
	ds->buckets = 2 * n;
	for (size_t i = 0; i < n; i++) {
		for (d = old[i]; d; d = next) {
			next = d->next_name;
			link_name(ds, d);
			if (d->wd >= 0)
				link_wd(ds, d);
		}
	}
	free(old);
}

/* ---- directories ---- */

struct watch_dir *watch_dirs_add(
	struct watch_dirs *ds, struct watch_dir *parent, const char *name, size_t len)
{
	struct watch_dir *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->name = strndup(name, len);
	if (!d->name) {
		free(d);
		return NULL;
	}
	if (ds->n >= ds->buckets)
		grow(ds);
	d->parent = parent;
	d->len = len;
	d->wd = -1;
	d->hash = hash_name(parent, name, len);
	list_init(&d->siblings);
	list_init(&d->children);
	list_init(&d->todo);
	if (parent)
		list_append(&parent->children, &d->siblings);
	link_name(ds, d);
	ds->n++;
	return d;
}

int watch_dirs_init(struct watch_dirs *ds)
{
	*ds = (struct watch_dirs){.buckets = BUCKETS_FIRST};
	ds->by_wd = calloc(ds->buckets, sizeof(struct watch_dir *));
	ds->by_name = calloc(ds->buckets, sizeof(struct watch_dir *));
	if (ds->by_wd && ds->by_name)
		ds->top = watch_dirs_add(ds, NULL, "", 0);
	if (ds->top)
		return 0;
	watch_dirs_fini(ds);
	return -ENOMEM;
}

void watch_dirs_fini(struct watch_dirs *ds)
{
	if (ds->top)
		watch_dirs_remove(ds, ds->top, NULL, NULL);
	free(ds->by_wd);
	free(ds->by_name);
	*ds = (struct watch_dirs){0};
}

struct watch_dir *watch_dirs_by_wd(const struct watch_dirs *ds, int wd)
{
	struct watch_dir *d = *wd_chain(ds, wd);

	while (d && d->wd != wd)
		d = d->next_wd;
	return d;
}

struct watch_dir *watch_dirs_child(
	const struct watch_dirs *ds, const struct watch_dir *parent, const char *name, size_t len)
{
	uint32_t hash = hash_name(parent, name, len);
	struct watch_dir *d = *name_chain(ds, hash);

	while (d && (d->hash != hash || d->parent != parent || d->len != len ||
			    memcmp(d->name, name, len) != 0))
		d = d->next_name;
	return d;
}

struct watch_dir *watch_dirs_by_path(const struct watch_dirs *ds, const char *path, size_t len)
{
	struct watch_dir *d = ds->top;

	for (size_t at = 0; d && at < len;) {
		const char *slash = memchr(path + at, '/', len - at);
		size_t n = (slash ? (size_t)(slash - path) : len) - at;

		d = watch_dirs_child(ds, d, path + at, n);
		at += n + 1;
	}
	return d;
}

void watch_dirs_set_wd(struct watch_dirs *ds, struct watch_dir *d, int wd)
{
	if (d->wd >= 0)
		unlink_wd(ds, d);
	d->wd = wd;
	if (wd >= 0)
		link_wd(ds, d);
}

int watch_dirs_move(struct watch_dirs *ds, struct watch_dir *d, struct watch_dir *to,
	const char *name, size_t len)
{
	char *copy = strndup(name, len);

	if (!copy)
		return -ENOMEM;
	unlink_name(ds, d);
	list_remove(&d->siblings);
	free(d->name);
	d->name = copy;
	d->len = len;
	d->parent = to;
	d->hash = hash_name(to, name, len);
	list_append(&to->children, &d->siblings);
	link_name(ds, d);
	return 0;
}

static void remove_one(
	struct watch_dirs *ds, struct watch_dir *d, void (*drop)(void *ctx, int wd), void *ctx)
{
	if (d->wd >= 0) {
		unlink_wd(ds, d);
		if (drop)
			drop(ctx, d->wd);
	}
	unlink_name(ds, d);
	list_remove(&d->siblings);
	list_remove(&d->todo);
	if (d == ds->top)
		ds->top = NULL;
	ds->n--;
	free(d->name);
	free(d);
}

void watch_dirs_remove(
	struct watch_dirs *ds, struct watch_dir *d, void (*drop)(void *ctx, int wd), void *ctx)
{
	struct watch_dir *at = d, *parent;
	bool last;

	/* Always a leaf, so that no depth is too deep. */
	do {
		while (!list_empty(&at->children))
			at = list_first(&at->children, struct watch_dir, siblings);
		parent = at->parent;
		last = at == d;
		remove_one(ds, at, drop, ctx);
		at = parent;
	} while (!last);
}

struct watch_dir *watch_dirs_next(const struct watch_dir *d, const struct watch_dir *within)
{
	if (!list_empty(&d->children))
		return list_first(&d->children, struct watch_dir, siblings);
	while (d != within && d->siblings.next == &d->parent->children)
		d = d->parent;
	return d == within ? NULL : list_first(&d->siblings, struct watch_dir, siblings);
}

ssize_t watch_dirs_path(const struct watch_dir *d, const char *name, char out[WATCH_PATH_MAX])
{
	size_t name_len = name ? strlen(name) : 0, len = name_len;
	char *p;

	for (const struct watch_dir *up = d; up->parent; up = up->parent)
		len += up->len + (up != d || name_len > 0);
	if (len >= WATCH_PATH_MAX)
		return -ENAMETOOLONG;
	p = out + len;
	*p = '\0';
	p -= name_len;
	memcpy(p, name ? name : "", name_len);
	for (const struct watch_dir *up = d; up->parent; up = up->parent) {
		if (up != d || name_len > 0)
			*--p = '/';
		p -= up->len;
		memcpy(p, up->name, up->len);
	}
	return (ssize_t)len;
}
