/*
 * store_internal.h - what store.c (the file: opening, schema, single values) and store_rows.c (the
 * rows) share.
 */
#pragma once

#include <sqlite3.h>

#include "bridge/sandbox/store.h"

struct store {
	sqlite3 *db;       /* owned */
	sqlite3_stmt *ver; /* owned: PRAGMA data_version */
	int64_t version;   /* what it last said */
	char why[256];
};

/* Remembers what SQLite says and gives -EIO, or -ENOSPC when that is what it means. */
int store_failed(struct store *s);
/* A statement with its parameters bound: kinds has a letter each, 's' a string (NULL: empty), 'i'
 * an int64_t. NULL: store_failed() was called. */
sqlite3_stmt *store_prepare(struct store *s, const char *sql, const char *kinds, ...);
/* Runs a statement that gives no rows, and ends it. ret_changed may be NULL. */
int store_run(struct store *s, sqlite3_stmt *st, int *ret_changed);

static inline const char *store_column(sqlite3_stmt *st, int i)
{
	const char *text = (const char *)sqlite3_column_text(st, i);

	return text ? text : "";
}
