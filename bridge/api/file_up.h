/*
 * file_up.h - the body of a PUT into a sandbox, at any size, as fast as the guest takes it: a file,
 * which is there whole when the answer says so and not at all otherwise, or an archive.
 */
#pragma once

#include "bridge/api/call.h"
#include "proto/jsonw.h"
#include "proto/msg_file_told.h"

/* The call's sandbox is up and in use. Takes the call's ops and state. */
void file_up(struct call *c, const char *path);

typedef void (*file_up_fn)(struct call *c, const struct msg_file_event *done);
/* The same of any operation that takes bytes: w is a message begun with file_open(), which this
 * ends; fn answers when all went well. */
void file_up_open(struct call *c, struct jsonw *w, file_up_fn fn);
