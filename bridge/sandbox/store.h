/*
 * store.h - what must survive the bridge, in SQLite (one file in the state directory, WAL). All SQL
 * is in store*.c. Rows are plain structs; strings are borrowed in both directions: written rows
 * during the call, read rows during the callback.
 *
 * Every call is one transaction that is on its way to the disk when it returns: a kill -9 loses
 * nothing, a loss of power at most what `synchronous=FULL` cannot help. 0 or -errno (-EIO for what
 * SQLite calls an error; store_why() has its words).
 */
#pragma once

#include "base/base.h"

struct store;

int store_open(const char *path, struct store **ret, char *why, size_t why_size);
void store_close(struct store *s);
const char *store_why(const struct store *s);
/* Has another process written since this was last asked? A few microseconds. */
bool store_changed(struct store *s);

/* ---- sandboxes ---- */

struct store_sandbox {
	const char *id, *driver, *state, *template, *alias, *note;
	uint64_t created_ms, started_ms, ended_ms, tags_ms;
	int64_t timeout_s;
	unsigned cpus, memory_mb, disk_mb;
	bool network;
	const char *envs, *metadata, *tags; /* JSON objects */
	const char *checkpoint;             /* it was forked from, or "" */
	const char *address, *token;        /* of an external guest's agent, or "" */
	const char *more;                   /* JSON object for what comes later; "{}" */
};

typedef void (*store_sandbox_fn)(void *ctx, const struct store_sandbox *row);
int store_put_sandbox(struct store *s, const struct store_sandbox *row); /* new or again */
int store_drop_sandbox(struct store *s, const char *id);
int store_each_sandbox(struct store *s, store_sandbox_fn fn, void *ctx); /* by created_ms */

/* ---- API keys ---- */

struct store_key {
	const char *id, *name, *hash, *hint; /* hash: SHA-256, hex; hint: its first characters */
	uint64_t created_ms, used_ms;
};

typedef void (*store_key_fn)(void *ctx, const struct store_key *row);
int store_put_key(struct store *s, const struct store_key *row);
int store_touch_key(struct store *s, const char *id, uint64_t used_ms); /* if it is still there */
int store_drop_key(struct store *s, const char *id);                    /* -ENOENT */
int store_each_key(struct store *s, store_key_fn fn, void *ctx);

/* ---- checkpoints, patches ---- */

struct store_checkpoint {
	const char *id, *sandbox, *name, *kind, *state, *error, *config; /* config: JSON object */
	uint64_t created_ms, bytes;
};

typedef void (*store_checkpoint_fn)(void *ctx, const struct store_checkpoint *row);
int store_put_checkpoint(struct store *s, const struct store_checkpoint *row);
int store_drop_checkpoint(struct store *s, const char *id);
int store_each_checkpoint(struct store *s, store_checkpoint_fn fn, void *ctx);

struct store_patch {
	const char *id, *checkpoint, *script, *description;
	uint64_t sequence, created_ms;
};

typedef void (*store_patch_fn)(void *ctx, const struct store_patch *row);
int store_put_patch(struct store *s, const struct store_patch *row);
int store_drop_patch(struct store *s, const char *id);
int store_drop_patches(struct store *s, const char *checkpoint); /* all of its */
int store_each_patch(struct store *s, store_patch_fn fn, void *ctx);

/* ---- single values: the signing secret, the schema's version ---- */

int store_get(struct store *s, const char *name, char **ret); /* for free(); -ENOENT */
int store_set(struct store *s, const char *name, const char *value);
