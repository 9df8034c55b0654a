/*
 * stream.h - a channel whose work is done by one thread: bytes out, bytes in, and an end.
 *
 * An operation embeds a struct stream and gives it a plain blocking function, run(), which is
 * called on a worker. There it writes and reads as if to a pipe; the channel's credit decides how
 * fast. The functions marked T are for that thread, all others for the loop. A client that goes
 * away makes every T call return -ECANCELED, which run() passes on by returning.
 *
 * In between lies a ring of STREAM_RING bytes, made on first use: a thread reads files into it and
 * the socket is written from it (and the other way round) without another copy.
 *
 * Life: stream_open() answers OPEN at once and submits the work. When run() has returned *and* the
 * channel is closed, release() is called on the loop, once: it frees what embeds the stream.
 */
#pragma once

#include "agentd/service.h"

#define STREAM_RING (512 * 1024)
#define STREAM_MAX  192 /* at once in the whole agent; each may hold a thread */

struct stream;

struct stream_ops {
	void (*run)(struct stream *s);     /* T; ends with stream_done() or stream_fail() */
	void (*release)(struct stream *s); /* loop */
};

struct stream; /* the struct itself is below; its members are stream.c's business */

/* Answers OPEN. input: the client sends (its first window is STREAM_RING), else it only receives.
 * 0, or -errno with the error filled: nothing was begun, the caller frees. */
int stream_open(struct stream *s, struct service_link *l, uint32_t channel, uint64_t window,
	bool input, const struct stream_ops *ops, struct error *e);

/* T. All of it, or -ECANCELED. */
int stream_write(struct stream *s, const void *data, size_t len);
/* T. The next place to fill, at least one byte and at most *len: then stream_commit(). NULL:
 * cancelled. */
void *stream_reserve(struct stream *s, size_t *len);
void stream_commit(struct stream *s, size_t len);
/* T. From here on DATA has this offset; missing > 0: a GAP of so many bytes is sent first (a hole).
 */
int stream_gap(struct stream *s, uint64_t missing);
/* T. An EVENT in order with the data: a JSON object of at most 60 KiB. */
int stream_event(struct stream *s, const char *json, size_t len);

/* T. What has come, in place: *data and the length; 0 at the end (FIN); -ECANCELED. *off: the
 * offset the client gave it. Then stream_consume() gives room (and credit) back. */
ssize_t stream_peek(struct stream *s, const uint8_t **data, uint64_t *off);
void stream_consume(struct stream *s, size_t len);
/* T. Copies: exactly len bytes, or fewer at the end; -ECANCELED. */
ssize_t stream_read(struct stream *s, void *buf, size_t len);

/* T. Anything to do still? For long work that neither reads nor writes. */
bool stream_cancelled(const struct stream *s);

/* T. The last words, one of them: an EVENT {"event":"done",...} (json may be NULL) and CLOSE behind
 * all data; or CLOSE with the error, at once. */
void stream_done(struct stream *s, const char *json, size_t len);
void stream_fail(struct stream *s, const struct error *e);
/* T. E_FAILED with the errno, "path: what the kernel says". Returns nothing; run() returns next. */
void stream_fail_errno(struct stream *s, int err, const char *path);
