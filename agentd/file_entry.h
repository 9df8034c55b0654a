/*
 * file_entry.h - what a file is, as JSON: an *entry* of docs/protocol.md section 13. T.
 */
#pragma once

#include <sys/stat.h>

#include "proto/jsonw.h"

/* Enough for any entry, with a name and a link target of any bytes. */
#define FILE_ENTRY_MAX (40 * 1024)

/* "file", "dir", "link", "fifo", "socket", "char", "block". */
const char *file_type_str(mode_t mode);

/* The members of an object under writing. target: of a link; NULL: not known. */
void file_entry_put(struct jsonw *w, const char *name, const struct stat *st, const char *target);
/* The same of the entry `name` in `dir`: an object (key: its name, or NULL), with the target of a
 * link. follow: what a link leads to, if it leads anywhere. 0 or -errno: nothing was written. */
int file_entry_at(struct jsonw *w, const char *key, int dir, const char *name, bool follow);
