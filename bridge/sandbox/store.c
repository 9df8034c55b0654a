/*
 * One connection, WAL, synchronous=FULL. The file says itself that it is ours (application_id) and
 * what form it has (user_version); `migrations` leads from each form to the next, so an older file
 * is brought forward when it is opened, each step a transaction of its own. A newer one is refused.
 *
 * Statements are prepared where they are used: they cost microseconds, and nothing of the data path
 * comes here.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

#include "bridge/sandbox/store_internal.h"

#define STORE_ID      0x61676462 /* "agdb" */
#define STORE_BUSY_MS 5000       /* `bridge keys` writes too, for a moment */

/* The i-th leads from form i to i + 1. Never changed once released; new ones are added. */
static const char *const migrations[] = {
	"CREATE TABLE value (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE sandbox (id TEXT PRIMARY KEY, driver TEXT NOT NULL, state TEXT NOT NULL,"
	" template TEXT NOT NULL, alias TEXT NOT NULL, note TEXT NOT NULL,"
	" created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,"
	" tags_ms INTEGER NOT NULL, timeout_s INTEGER NOT NULL, cpus INTEGER NOT NULL,"
	" memory_mb INTEGER NOT NULL, disk_mb INTEGER NOT NULL, network INTEGER NOT NULL,"
	" envs TEXT NOT NULL, metadata TEXT NOT NULL, tags TEXT NOT NULL,"
	" checkpoint TEXT NOT NULL, address TEXT NOT NULL, token TEXT NOT NULL,"
	" more TEXT NOT NULL) STRICT;"
	"CREATE TABLE key (id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,"
	" hint TEXT NOT NULL, created_ms INTEGER NOT NULL, used_ms INTEGER NOT NULL) STRICT;"
	"CREATE TABLE checkpoint (id TEXT PRIMARY KEY, sandbox TEXT NOT NULL, name TEXT NOT NULL,"
	" kind TEXT NOT NULL, state TEXT NOT NULL, error TEXT NOT NULL, config TEXT NOT NULL,"
	" created_ms INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;"
	"CREATE TABLE patch (id TEXT PRIMARY KEY, checkpoint TEXT NOT NULL,"
	" script TEXT NOT NULL, description TEXT NOT NULL, sequence INTEGER NOT NULL,"
	" created_ms INTEGER NOT NULL) STRICT;"
	"CREATE INDEX patch_order ON patch (checkpoint, sequence);",
};

int store_failed(struct store *s)
{
	int code = sqlite3_errcode(s->db);

	snprintf(s->why, sizeof(s->why), "%s", sqlite3_errmsg(s->db));
	return code == SQLITE_FULL ? -ENOSPC : -EIO;
}

const char *store_why(const struct store *s)
{
	return s->why;
}

sqlite3_stmt *store_prepare(struct store *s, const char *sql, const char *kinds, ...)
{
	sqlite3_stmt *st;
	va_list ap;
	int r = SQLITE_OK;

	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK) {
		store_failed(s);
		return NULL;
	}
	va_start(ap, kinds);
	for (int i = 1; kinds[i - 1] && r == SQLITE_OK; i++) {
		if (kinds[i - 1] == 'i') {
			r = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
		} else {
			const char *text = va_arg(ap, const char *);

			r = sqlite3_bind_text(st, i, text ? text : "", -1, SQLITE_STATIC);
		}
	}
	va_end(ap);
	if (r != SQLITE_OK) {
		store_failed(s);
		sqlite3_finalize(st);
		return NULL;
	}
	return st;
}

int store_run(struct store *s, sqlite3_stmt *st, int *ret_changed)
{
	int r = 0;

	if (!st)
		return -EIO;
	if (sqlite3_step(st) != SQLITE_DONE)
		r = store_failed(s);
	if (ret_changed)
		*ret_changed = sqlite3_changes(s->db);
	sqlite3_finalize(st);
	return r;
}

static int execute(struct store *s, const char *sql)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_failed(s);
}

/* The one number a statement gives. */
static int number(struct store *s, const char *sql, int64_t *ret)
{
	sqlite3_stmt *st = store_prepare(s, sql, "");
	int r = 0;

	if (!st)
		return -EIO;
	if (sqlite3_step(st) == SQLITE_ROW)
		*ret = sqlite3_column_int64(st, 0);
	else
		r = store_failed(s);
	sqlite3_finalize(st);
	return r;
}

/* ---- opening ---- */

/* Inside a transaction, so that of two programs that open it at once only one does it. */
static int migrate(struct store *s, int64_t *form)
{
	char sql[64];
	int r = execute(s, "BEGIN IMMEDIATE");

	if (r < 0)
		return r;
	r = number(s, "PRAGMA user_version", form);
	if (r == 0 && *form >= 0 && (size_t)*form < array_size(migrations)) {
		snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d",
			STORE_ID, (int)*form + 1);
		r = execute(s, migrations[*form]);
		if (r == 0)
			r = execute(s, sql);
		if (r == 0)
			*form += 1;
	}
	if (r == 0)
		r = execute(s, "COMMIT");
	if (r < 0) /* what went wrong is said already */
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

/* Ours, and of a form we know how to bring forward? */
static int check_form(struct store *s, char *why, size_t why_size)
{
	int64_t id, form, tables;
	int r = number(s, "PRAGMA application_id", &id);

	if (r == 0)
		r = number(s, "PRAGMA user_version", &form);
	if (r == 0)
		r = number(s, "SELECT count(*) FROM sqlite_schema", &tables);
	if (r < 0) {
		snprintf(why, why_size, "%s", s->why);
		return r;
	}
	if (id != STORE_ID && (id != 0 || form != 0 || tables != 0)) {
		snprintf(why, why_size, "it is the database of another program");
		return -EINVAL;
	}
	while (form < (int64_t)array_size(migrations)) {
		r = migrate(s, &form);
		if (r < 0) {
			snprintf(why, why_size, "bringing it to the present form: %s", s->why);
			return r;
		}
	}
	if (form > (int64_t)array_size(migrations)) {
		snprintf(why, why_size,
			"it was written by a newer bridge (form %lld, this one knows %zu)",
			(long long)form, array_size(migrations));
		return -EINVAL;
	}
	return 0;
}

/* Secrets are in it: nobody else may read it, nor the files SQLite puts beside it, which get its
 * mode. */
static int make_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int store_open(const char *path, struct store **ret, char *why, size_t why_size)
{
	char reason[300];
	struct store *s;
	int r = make_file(path);

	if (r < 0) {
		snprintf(why, why_size, "%s: %s", path, strerror(-r));
		return r;
	}
	s = xcalloc(1, sizeof(*s));
	/* One thread uses it. */
	if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
		SQLITE_OK) {
		r = s->db ? store_failed(s) : -ENOMEM;
		snprintf(reason, sizeof(reason), "%s", s->db ? s->why : "out of memory");
	}
	if (r == 0) {
		sqlite3_busy_timeout(s->db, STORE_BUSY_MS);
		r = execute(s, "PRAGMA synchronous=FULL");
		snprintf(reason, sizeof(reason), "%s", s->why);
	}
	if (r == 0)
		r = check_form(s, reason, sizeof(reason));
	if (r == 0) {
		r = execute(s, "PRAGMA journal_mode=WAL");
		s->ver = r == 0 ? store_prepare(s, "PRAGMA data_version", "") : NULL;
		r = s->ver ? 0 : -EIO;
		snprintf(reason, sizeof(reason), "%s", s->why);
	}
	if (r < 0) {
		snprintf(why, why_size, "%s: %s", path, reason);
		store_close(s);
		return r;
	}
	store_changed(s);
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	sqlite3_finalize(s->ver);
	ASSERT(sqlite3_close(s->db) == SQLITE_OK);
	free(s);
}

bool store_changed(struct store *s)
{
	int64_t now = s->version;
	bool changed;

	if (sqlite3_step(s->ver) == SQLITE_ROW)
		now = sqlite3_column_int64(s->ver, 0);
	sqlite3_reset(s->ver);
	changed = now != s->version;
	s->version = now;
	return changed;
}

/* ---- single values ---- */

int store_get(struct store *s, const char *name, char **ret)
{
	sqlite3_stmt *st = store_prepare(s, "SELECT value FROM value WHERE name=?", "s", name);
	int r, step;

	if (!st)
		return -EIO;
	step = sqlite3_step(st);
	if (step == SQLITE_ROW) {
		*ret = strdup(store_column(st, 0));
		r = *ret ? 0 : -ENOMEM;
	} else {
		r = step == SQLITE_DONE ? -ENOENT : store_failed(s);
	}
	sqlite3_finalize(st);
	return r;
}

int store_set(struct store *s, const char *name, const char *value)
{
	return store_run(s,
		store_prepare(s, "INSERT OR REPLACE INTO value VALUES (?, ?)", "ss", name, value),
		NULL);
}
