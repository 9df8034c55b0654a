/*
 * file_many.h - what the channel operations that concern many files have in common: how they are
 * opened, and the object they begin with.
 */
#pragma once

#include "agentd/file.h"
#include "agentd/place.h"
#include "agentd/stream.h"
#include "proto/msg_tree.h"

struct file_many {
	struct stream stream;
	struct msg_tree msg;
	struct place place;
};

struct file_many_kind {
	size_t size;           /* of the object, which begins with a struct file_many */
	size_t zeroed;         /* from here on it has buffers, which are not cleared */
	unsigned flags;        /* of stream_flags */
	bool archive;          /* `owner` may be that */
	struct stream_ops ops; /* release() ends with file_many_free() */
};

/* As service.open. */
int file_many_open(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	const struct file_many_kind *kind, struct error *e);
void file_many_free(struct stream *s);

static inline struct file_many *file_many_of(struct stream *s)
{
	return container_of(s, struct file_many, stream);
}

/* T. For loops that neither read nor write: now and then, whether to go on. -ECANCELED: not. */
int file_many_check(struct file_many *m, unsigned *count);
/* T. Begins the object {"event":"done"; members follow. */
void file_many_begin_done(struct jsonw *w, char *out, size_t size);
/* T. The end of the stream: with err < 0 the error, else that object. */
void file_many_end(struct file_many *m, int err, const struct error *e, struct jsonw *done);
