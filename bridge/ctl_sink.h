/*
 * ctl_sink.h - one of our outputs (stdout, stderr), written whole and in order, without ever
 * blocking the program on a reader that has stopped. What cannot be written yet waits in the sink;
 * how much that may be is bounded by who fills it (a remote's window).
 */
#pragma once

#include "bridge/ctl_watch.h"
#include "proto/buf.h"

enum sink_kind {
	SINK_DIRECT,   /* a file, /dev/null: a write ends by itself */
	SINK_NONBLOCK, /* our own non-blocking description of a pipe or terminal */
	SINK_SOCKET,
	SINK_CAREFUL, /* a pipe or terminal that is blocking: small writes, when it has room */
	SINK_FAILED,  /* takes and drops everything */
};

struct ctl_sink;

struct ctl_sink_events {
	void (*on_drained)(struct ctl_sink *s, size_t n); /* n more bytes are written, or dropped */
	void (*on_failed)(struct ctl_sink *s, int err);   /* -errno; once */
};

struct ctl_sink {
	enum sink_kind kind;
	int fd;
	bool own_fd;
	struct ctl_watch watch;
	struct buf buf;
	const struct ctl_sink_events *events;
	void *owner;
};

void ctl_sink_init(struct ctl_sink *s, uv_loop_t *loop, int fd, size_t max,
	const struct ctl_sink_events *events, void *owner);
/* Takes all. Returns how much is written already (or dropped); on_drained tells of the rest. */
size_t ctl_sink_write(struct ctl_sink *s, const uint8_t *data, size_t len);
static inline bool ctl_sink_empty(const struct ctl_sink *s)
{
	return buf_len(&s->buf) == 0;
}
void ctl_sink_close(struct ctl_sink *s); /* idempotent; fine on zeroes */
