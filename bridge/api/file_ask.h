/*
 * file_ask.h - requests about files ("file.stat" and the like) on behalf of a call. What the agent
 * refuses is answered with its status; what it does comes to fn.
 */
#pragma once

#include "bridge/api/call.h"
#include "bridge/guest.h"
#include "proto/jsonw.h"

#define FILE_PATH_MAX 4095 /* bytes of a path, as the agent takes it */

struct file_ask;
typedef void (*file_ask_fn)(struct file_ask *a, const uint8_t *json, size_t len);

struct file_ask {
	struct call *call;
	struct guest *guest; /* NULL: nothing under way */
	int64_t id;
	file_ask_fn fn;
};

/* The path in the query ("path", or "pathB64"), for free(). NULL: there was none, or none that can
 * be, and 400 is the answer. */
char *file_path(struct call *c);
/* The same; `missing` when there was none, or an empty one. */
char *file_path_or(struct call *c, const char *missing);
/* The same of a body's member, or of the query where the body has none: names of any bytes can be
 * given there. missing NULL: it is required. */
char *file_path_field(struct call *c, const char *name, const char *missing);

/* A message about `path` is begun in `out`; members may follow. FILE_MESSAGE is always enough for
 * two paths, and the most that can be sent. */
#define FILE_MESSAGE FRAME_PAYLOAD_MAX
void file_request(struct jsonw *w, char out[FILE_MESSAGE], const char *op, const char *path);
/* OPEN of service "file". */
void file_open(struct jsonw *w, char out[FILE_MESSAGE], const char *op, const char *path);
void file_member(struct jsonw *w, const char *name, const char *bytes); /* NULL: left out */

/* What stands between commas, as an array. How many are too many the agent says. */
void file_words(struct jsonw *w, const char *name, const char *words);
/* A member of the query that is "true" or "false"; *ret stays when it is not there. false: it is
 * neither, and 400 is the answer. */
bool file_flag(struct call *c, const char *name, bool *ret);

/* Sends w, which it ends. When it fails the call is answered, and fn does not come. */
void file_ask_send(struct file_ask *a, struct call *c, struct jsonw *w, file_ask_fn fn);
/* The answer is not wanted. Idempotent, fine on zeroes. */
void file_ask_cancel(struct file_ask *a);
/* All of a call: sends, and when it is done answers with fn, or 204 when that is NULL. Takes the
 * call's ops and state. */
void file_ask_call(struct call *c, struct jsonw *w, file_ask_fn fn);

/* Answers 502, 404, 507, ... for what the agent or the link said. */
void file_error(struct call *c, const struct error *e);
/* The same for what could not be sent: -errno of guest_ask() or guest_open(). */
void file_error_sending(struct call *c, int err);
