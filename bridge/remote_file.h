/*
 * remote_file.h - one channel of service "file": bytes in, bytes out, and how it ended.
 *
 * What comes is handed out slice by slice, straight from the link's read buffer; what the consumer
 * is not done with never exceeds `window`. What is sent is kept until the channel's credit takes
 * it, at most REMOTE_FILE_INPUT bytes.
 *
 * A link that breaks ends it: an operation on files is not resumed but begun again, by whoever
 * knows whether that is right. on_close is called exactly once, as the last callback, and never
 * from within remote_file_close(), after which there are none at all; memory may be reused from
 * there on. The exception is one's own callback: it may call remote_file_close(), but the memory
 * must stay until the callback has returned.
 */
#pragma once

#include "bridge/guest.h"
#include "proto/msg_file_told.h"

#define REMOTE_FILE_WINDOW (1024 * 1024)
#define REMOTE_FILE_INPUT  (1024 * 1024)

struct remote_file;

struct remote_file_events {
	void (*on_data)(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len);
	/* A hole: nothing but zeros. May be NULL: then none is asked for. */
	void (*on_gap)(struct remote_file *f, uint64_t off, uint64_t len);
	/* Entry and done. May be NULL. */
	void (*on_event)(struct remote_file *f, const struct msg_file_event *m);
	/* remote_file_room() grew from below half of it, or is there at last. NULL: sends nothing.
	 */
	void (*on_room)(struct remote_file *f);
	/* NULL: "done" came, all is well. */
	void (*on_close)(struct remote_file *f, const struct error *error);
};

struct remote_file {
	struct channel channel;
	struct guest *guest; /* NULL: not open */
	const struct remote_file_events *events;
	void *owner; /* for the events' receiver; not used here */
	uint64_t unconsumed;
	struct buf in;
	uint64_t sent; /* bytes */
	bool opened, end, end_sent, low, done;
};

/* json: the OPEN, with "service":"file" and "window":REMOTE_FILE_WINDOW. 0, or -errno as of
 * guest_open(): then nothing is called back. */
int remote_file_open(struct remote_file *f, struct guest *g,
	const struct remote_file_events *events, const void *json, size_t len);
/* Idempotent; fine on a zeroed struct. What the agent has not finished is given up. */
void remote_file_close(struct remote_file *f);

void remote_file_consumed(struct remote_file *f, size_t n);

static inline size_t remote_file_room(const struct remote_file *f)
{
	return f->in.max - buf_len(&f->in);
}
/* At most remote_file_room(). -ENOMEM. */
int remote_file_send(struct remote_file *f, const void *data, size_t len);
/* That was all: the agent finishes, and tells. */
void remote_file_end(struct remote_file *f);
