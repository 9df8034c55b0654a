/*
 * file_entry.h - what the agent tells of files, as JSON of the public API: names that are not UTF-8
 * have U+FFFD in them, and stand beside it as they are, in base64.
 */
#pragma once

#include "bridge/api/text.h"
#include "proto/jsonr.h"
#include "proto/msg_file_told.h"

/* Bytes as a member; when they are not UTF-8, also "<name>B64". */
void file_bytes_put(struct text *t, const char *name, const char *bytes);
/* The members of an entry in the directory `dir`; NULL: without `path`. errnum: it could not be
 * looked at. */
void file_entry_put(struct text *t, const struct msg_file_entry *m, const char *dir, int errnum);
/* All members of an object of the agent's, as they are but for bytes. */
void file_members_put(struct text *t, struct jsonr object);
