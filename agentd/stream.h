/*
 * stream.h - a channel whose work is done by one thread: bytes out, bytes in, and an end.
 *
 * An operation embeds a struct stream and gives it a plain blocking function, run(), which is
 * called on a worker. There it writes and reads as if to a pipe; the channel's credit decides how
 * fast. The functions marked T are for that thread, all others for the loop. A client that goes
 * away makes every T call return -ECANCELED, which run() passes on by returning.
 *
 * In between lies a ring for each direction, made on first use: a thread reads files into it and
 * the socket is written from it (and the other way round) without another copy.
 *
 * What is little waits a moment for company, so that a small file leaves in one piece with OPENED
 * and CLOSE: the loop is told of the first bytes when there are STREAM_WAKE of them, when the
 * thread waits for the client, when run() returns, or after the 2 ms that OPENED may be late.
 *
 * Life: stream_open() answers OPEN at once and submits the work. When run() has returned *and* the
 * channel is closed, release() is called on the loop, once: it frees what embeds the stream.
 */
#pragma once

#include <pthread.h>

#include "agentd/service.h"
#include "agentd/stream_ring.h"

#define STREAM_RING      RING_LARGE
#define STREAM_MAX       192          /* at once in the whole agent; each may hold a thread */
#define STREAM_CHUNK     (128 * 1024) /* what a thread does well to read or write at once */
#define STREAM_JUMPS     4096         /* jumps of the client that wait; one more is `too_many` */
#define STREAM_EVENT_MAX (60 * 1024)

struct stream;

struct stream_ops {
	void (*run)(struct stream *s);     /* T; ends with stream_done() or stream_fail() */
	void (*release)(struct stream *s); /* loop */
};

enum stream_flags {
	STREAM_INPUT = 1,  /* the client sends too; its first window is STREAM_RING */
	STREAM_SPARSE = 2, /* and may leave holes: DATA that jumps forward */
};

enum stream_end { STREAM_GOES_ON, STREAM_DONE, STREAM_FAILED };

struct stream {
	const struct stream_ops *ops;
	struct service_link *link; /* NULL: the channel is closed */
	struct workers *workers;
	struct channel channel;
	struct work work;
	struct notice notice;
	unsigned flags;
	bool counted;  /* one of STREAM_MAX */
	bool returned; /* run() has; the loop's */
	bool over;     /* FRAME_CLOSE was pulled; the loop's */
	size_t lent;   /* bytes of the frame pulled last, still in the ring; the loop's */
	char *spent;   /* the event pulled last; the loop's */
	uint8_t gap[8];
	uint64_t in_end; /* offset behind all that came; the loop's */
	uint64_t out_at; /* offset of what is written next; T */
	struct error error;

	pthread_mutex_t lock; /* for all below */
	pthread_cond_t cond;
	struct ring out, in;
	uint64_t out_off, in_off; /* the offsets at the tails */
	uint64_t granted;         /* consumed bytes that the loop was told of */
	bool quiet;               /* nothing was pulled yet */
	bool starved;             /* the loop found nothing to send: tell it */
	bool waits;               /* the thread sleeps */
	bool fin;                 /* of the input */
	bool cancelled;
	enum stream_end end;
	bool bulk;
	int cancel_fd;
};

#define STREAM_ROOM  (STREAM_RING / 4) /* a thread that waits for room waits for so much */
#define STREAM_MARKS 64                /* holes and events that wait to be sent */

/* With the lock held: there is nothing to do any more. */
static inline bool stream_stopped(const struct stream *s)
{
	return s->cancelled || s->end != STREAM_GOES_ON;
}

/* Answers OPEN. flags: of stream_flags (so `true` is plain input); 0: the client only receives.
 * 0, or -errno with the error filled: nothing was begun, the caller frees. */
int stream_open(struct stream *s, struct service_link *l, uint32_t channel, uint64_t window,
	unsigned flags, const struct stream_ops *ops, struct error *e);

/* T. What is written from here on comes in quick succession: it leaves when there is a good deal of
 * it, or nothing more to come for a while. Otherwise what is written leaves at once. */
void stream_bulk(struct stream *s);
/* T. All of it, or -ECANCELED. */
int stream_write(struct stream *s, const void *data, size_t len);
/* T. The next place to fill, at least one byte and at most *len: then stream_commit(). NULL:
 * cancelled. Give as *len what will come in all, if that is known: it decides how much memory is
 * taken. */
void *stream_reserve(struct stream *s, size_t *len);
void stream_commit(struct stream *s, size_t len);
/* T. A hole of so many bytes: a GAP; what is written next lies behind it. */
int stream_gap(struct stream *s, uint64_t missing);
/* T. What is written next has this offset (at first 0). */
int stream_seek(struct stream *s, uint64_t off);
/* T. An EVENT in order with the data: a JSON object of at most STREAM_EVENT_MAX bytes. */
int stream_event(struct stream *s, const char *json, size_t len);

/* T. What has come, in place: *data and the length; 0 at the end (FIN); -ECANCELED. *off: the
 * offset the client gave it, or at the end that of the end. Then stream_consume() gives room (and
 * credit) back. */
ssize_t stream_peek(struct stream *s, const uint8_t **data, uint64_t *off);
void stream_consume(struct stream *s, size_t len);
/* T. Copies: exactly len bytes, or fewer at the end; -ECANCELED. */
ssize_t stream_read(struct stream *s, void *buf, size_t len);

/* T. Anything to do still? For long work that neither reads nor writes. */
bool stream_cancelled(struct stream *s);
/* T. A descriptor that becomes readable then, to poll beside something that may never come; the
 * stream's. -errno. */
int stream_cancel_fd(struct stream *s);

/* T. The last words, one of them; run() returns next. An EVENT {"event":"done",...} (json may be
 * NULL) and CLOSE behind all data; or CLOSE with the error, at once. */
void stream_done(struct stream *s, const char *json, size_t len);
void stream_fail(struct stream *s, const struct error *e);
/* The same: E_FAILED with the errno (positive), "path: what the kernel says". */
void stream_fail_errno(struct stream *s, int err, const char *path);
