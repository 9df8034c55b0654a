/*
 * procfile.h - reading the small text files of /proc, /sys and cgroups. Pure but for the read
 * itself.
 */
#pragma once

#include "base/base.h"

/* The whole of it, as far as it fits, with a NUL behind. Its length, or -errno. */
ssize_t procfile_read(const char *path, char *out, size_t size);
/* The same relative to a directory. */
ssize_t procfile_read_at(int dir, const char *name, char *out, size_t size);
/* The number behind the line's first word `key`; false when there is no such line. */
bool procfile_value(const char *text, const char *key, uint64_t *ret);
/* The line behind this one, or NULL: for (at = text; at; at = procfile_next(at)). */
const char *procfile_next(const char *line);
