/*
 * The rows, one table after the other; columns always in the order of the schema in store.c, and
 * read by their place.
 */
#include "bridge/sandbox/store_internal.h"

static uint64_t column_u64(sqlite3_stmt *st, int i)
{
	return (uint64_t)sqlite3_column_int64(st, i);
}

/* Calls `row` for each row and ends the statement. */
static int each(
	struct store *s, sqlite3_stmt *st, void (*row)(sqlite3_stmt *st, void *arg), void *arg)
{
	int r = 0, step;

	if (!st)
		return -EIO;
	while ((step = sqlite3_step(st)) == SQLITE_ROW)
		row(st, arg);
	if (step != SQLITE_DONE)
		r = store_failed(s);
	sqlite3_finalize(st);
	return r;
}

static int drop(struct store *s, const char *sql, const char *id)
{
	return store_run(s, store_prepare(s, sql, "s", id), NULL);
}

/* ---- sandboxes ---- */

int store_put_sandbox(struct store *s, const struct store_sandbox *row)
{
	return store_run(s,
		store_prepare(s,
			"INSERT OR REPLACE INTO sandbox VALUES"
			" (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
			"ssssssiiiiiiiiisssssss", row->id, row->driver, row->state, row->template,
			row->alias, row->note, (int64_t)row->created_ms, (int64_t)row->started_ms,
			(int64_t)row->ended_ms, (int64_t)row->tags_ms, row->timeout_s,
			(int64_t)row->cpus, (int64_t)row->memory_mb, (int64_t)row->disk_mb,
			(int64_t)row->network, row->envs, row->metadata, row->tags, row->checkpoint,
			row->address, row->token, row->more),
		NULL);
}

int store_drop_sandbox(struct store *s, const char *id)
{
	return drop(s, "DELETE FROM sandbox WHERE id=?", id);
}

struct sandbox_each {
	store_sandbox_fn fn;
	void *ctx;
};

static void on_sandbox(sqlite3_stmt *st, void *arg)
{
	const struct sandbox_each *e = arg;

	e->fn(e->ctx, &(struct store_sandbox){
			      .id = store_column(st, 0),
			      .driver = store_column(st, 1),
			      .state = store_column(st, 2),
			      .template = store_column(st, 3),
			      .alias = store_column(st, 4),
			      .note = store_column(st, 5),
			      .created_ms = column_u64(st, 6),
			      .started_ms = column_u64(st, 7),
			      .ended_ms = column_u64(st, 8),
			      .tags_ms = column_u64(st, 9),
			      .timeout_s = sqlite3_column_int64(st, 10),
			      .cpus = (unsigned)column_u64(st, 11),
			      .memory_mb = (unsigned)column_u64(st, 12),
			      .disk_mb = (unsigned)column_u64(st, 13),
			      .network = column_u64(st, 14) != 0,
			      .envs = store_column(st, 15),
			      .metadata = store_column(st, 16),
			      .tags = store_column(st, 17),
			      .checkpoint = store_column(st, 18),
			      .address = store_column(st, 19),
			      .token = store_column(st, 20),
			      .more = store_column(st, 21),
		      });
}

int store_each_sandbox(struct store *s, store_sandbox_fn fn, void *ctx)
{
	struct sandbox_each e = {fn, ctx};

	return each(s, store_prepare(s, "SELECT * FROM sandbox ORDER BY created_ms, id", ""),
		on_sandbox, &e);
}

/* ---- API keys ---- */

int store_put_key(struct store *s, const struct store_key *row)
{
	return store_run(s,
		store_prepare(s, "INSERT OR REPLACE INTO key VALUES (?,?,?,?,?,?)", "ssssii",
			row->id, row->name, row->hash, row->hint, (int64_t)row->created_ms,
			(int64_t)row->used_ms),
		NULL);
}

int store_touch_key(struct store *s, const char *id, uint64_t used_ms)
{
	return store_run(s,
		store_prepare(s, "UPDATE key SET used_ms=? WHERE id=?", "is", (int64_t)used_ms, id),
		NULL);
}

int store_drop_key(struct store *s, const char *id)
{
	int n = 0, r = store_run(s, store_prepare(s, "DELETE FROM key WHERE id=?", "s", id), &n);

	return r < 0 ? r : n > 0 ? 0 : -ENOENT;
}

struct key_each {
	store_key_fn fn;
	void *ctx;
};

static void on_key(sqlite3_stmt *st, void *arg)
{
	const struct key_each *e = arg;

	e->fn(e->ctx, &(struct store_key){
			      .id = store_column(st, 0),
			      .name = store_column(st, 1),
			      .hash = store_column(st, 2),
			      .hint = store_column(st, 3),
			      .created_ms = column_u64(st, 4),
			      .used_ms = column_u64(st, 5),
		      });
}

int store_each_key(struct store *s, store_key_fn fn, void *ctx)
{
	struct key_each e = {fn, ctx};

	return each(
		s, store_prepare(s, "SELECT * FROM key ORDER BY created_ms, id", ""), on_key, &e);
}

/* ---- checkpoints ---- */

int store_put_checkpoint(struct store *s, const struct store_checkpoint *row)
{
	return store_run(s,
		store_prepare(s, "INSERT OR REPLACE INTO checkpoint VALUES (?,?,?,?,?,?,?,?,?)",
			"sssssssii", row->id, row->sandbox, row->name, row->kind, row->state,
			row->error, row->config, (int64_t)row->created_ms, (int64_t)row->bytes),
		NULL);
}

int store_drop_checkpoint(struct store *s, const char *id)
{
	return drop(s, "DELETE FROM checkpoint WHERE id=?", id);
}

struct checkpoint_each {
	store_checkpoint_fn fn;
	void *ctx;
};

static void on_checkpoint(sqlite3_stmt *st, void *arg)
{
	const struct checkpoint_each *e = arg;

	e->fn(e->ctx, &(struct store_checkpoint){
			      .id = store_column(st, 0),
			      .sandbox = store_column(st, 1),
			      .name = store_column(st, 2),
			      .kind = store_column(st, 3),
			      .state = store_column(st, 4),
			      .error = store_column(st, 5),
			      .config = store_column(st, 6),
			      .created_ms = column_u64(st, 7),
			      .bytes = column_u64(st, 8),
		      });
}

int store_each_checkpoint(struct store *s, store_checkpoint_fn fn, void *ctx)
{
	struct checkpoint_each e = {fn, ctx};

	return each(s, store_prepare(s, "SELECT * FROM checkpoint ORDER BY created_ms, id", ""),
		on_checkpoint, &e);
}

/* ---- patches ---- */

int store_put_patch(struct store *s, const struct store_patch *row)
{
	return store_run(s,
		store_prepare(s, "INSERT OR REPLACE INTO patch VALUES (?,?,?,?,?,?)", "ssssii",
			row->id, row->checkpoint, row->script, row->description,
			(int64_t)row->sequence, (int64_t)row->created_ms),
		NULL);
}

int store_drop_patch(struct store *s, const char *id)
{
	return drop(s, "DELETE FROM patch WHERE id=?", id);
}

int store_drop_patches(struct store *s, const char *checkpoint)
{
	return drop(s, "DELETE FROM patch WHERE checkpoint=?", checkpoint);
}

struct patch_each {
	store_patch_fn fn;
	void *ctx;
};

static void on_patch(sqlite3_stmt *st, void *arg)
{
	const struct patch_each *e = arg;

	e->fn(e->ctx, &(struct store_patch){
			      .id = store_column(st, 0),
			      .checkpoint = store_column(st, 1),
			      .script = store_column(st, 2),
			      .description = store_column(st, 3),
			      .sequence = column_u64(st, 4),
			      .created_ms = column_u64(st, 5),
		      });
}

int store_each_patch(struct store *s, store_patch_fn fn, void *ctx)
{
	struct patch_each e = {fn, ctx};

	return each(s, store_prepare(s, "SELECT * FROM patch ORDER BY checkpoint, sequence", ""),
		on_patch, &e);
}
