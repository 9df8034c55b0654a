/*
 * Output: whenever a pipe is readable, one read(2) goes straight into the ring; the viewers are
 * told and pull. Nothing is read that cannot be stored: when the slowest pin leaves no room,
 * reading stops (`paused`) and the child blocks in its own write; session_unpin() resumes. Without
 * lossless viewers there is always room, so output is always drained.
 *
 * Input: viewers append to the queue, the child's pipe takes from it; one child that does not read
 * fills its own queue and nothing else.
 */
#include "agentd/session_internal.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "agentd/sessions.h"
#include "agentd/viewer.h"

#define PIPE_WIDE (1 * MIB)
#define PIPE_FULL                                                                                  \
	(64 * KIB) /* a read of this much means that the producer fills the default pipe */

static struct session *of(struct process *p)
{
	return container_of(p, struct session, process);
}

void session_notify(struct session *s)
{
	list_for_each (v, &s->viewers, struct viewer, link)
		v->events->on_ready(v);
}

static uint64_t pin(const struct session *s)
{
	uint64_t min = place_pin(s->rec);

	list_for_each (v, &s->viewers, struct viewer, link)
		min = min_of(min, viewer_pin(v));
	return min;
}

static void pause_reading(struct session *s, bool paused)
{
	s->paused = paused;
	process_read(&s->process, STORE_OUT, !paused);
	process_read(&s->process, STORE_ERR, !paused);
}

void session_resume(struct session *s)
{
	pause_reading(s, false);
}

/* A bulk producer gets a larger pipe: fewer switches between it and us. Refusal does no harm. */
static void widen(struct session *s, int stream)
{
	s->wide[stream] = true;
	fcntl(s->rec->fd[stream], F_SETPIPE_SZ, PIPE_WIDE);
}

/* A removed session's children may still write: their pipe stays open and is emptied into nothing.
 */
static ssize_t read_hidden(struct session *s, int stream)
{
	static uint8_t nowhere[64 * KIB];

	return read(s->rec->fd[stream], nowhere, sizeof(nowhere));
}

/* Where to read to. Room may be made by forgetting a session, but not this one. */
static size_t space(struct session *s, uint8_t **ret)
{
	size_t room;

	s->all->reading = s;
	room = store_space(&s->store, pin(s), ret);
	s->all->reading = NULL;
	return room;
}

/* Bytes read; 0 at the end; -errno; -ENOBUFS when reading has been paused. */
static ssize_t read_into_store(struct session *s, int stream)
{
	uint8_t *at;
	size_t room = space(s, &at);
	ssize_t n;

	if (room == 0) {
		pause_reading(s, true);
		return -ENOBUFS;
	}
	store_begin(&s->store, (enum store_stream)stream);
	n = read(s->rec->fd[stream], at, room);
	store_commit(&s->store, (enum store_stream)stream, n > 0 ? (size_t)n : 0);
	return n < 0 ? -errno : n;
}

void session_on_readable(struct process *p, int stream)
{
	struct session *s = of(p);
	ssize_t n = s->rec->hidden ? read_hidden(s, stream) : read_into_store(s, stream);

	if (n == -ENOBUFS || n == -EAGAIN || n == -EINTR)
		return;
	if (n > 0) {
		if ((size_t)n >= PIPE_FULL && !s->wide[stream])
			widen(s, stream);
		if (s->rec->exited)
			s->rec->last_output = now_ms();
		if (!s->rec->hidden)
			session_notify(s);
	} else {
		process_close_fd(p, stream);
	}
	if (s->rec->exited || n <= 0)
		session_check(s);
}

void session_unpin(struct session *s)
{
	uint8_t *at;

	if (s->paused && space(s, &at) > 0)
		pause_reading(s, false);
}

void session_mark_residue(struct session *s)
{
	for (int i = STORE_OUT; i <= STORE_ERR; i++) {
		int n = 0;

		if (s->rec->fd[i] >= 0 && ioctl(s->rec->fd[i], FIONREAD, &n) < 0)
			n = 0;
		s->rec->residue[i] = (s->rec->hidden ? 0 : s->store.head[i]) + (uint64_t)n;
	}
}

bool session_residue_read(const struct session *s)
{
	for (int i = STORE_OUT; i <= STORE_ERR; i++) {
		if (s->rec->fd[i] >= 0 && s->store.head[i] < s->rec->residue[i])
			return false;
	}
	return true;
}

/* ---- stdin ---- */

void session_close_stdin(struct session *s)
{
	if (s->rec->fd[0] < 0)
		return;
	process_close_fd(&s->process, 0);
	if (s->has_in)
		inq_discard(&s->in);
	list_for_each (v, &s->viewers, struct viewer, link) {
		if (v->writer)
			v->events->on_stdin_closed(v, viewer_input_offset(v));
	}
}

void session_on_stdin_gone(struct process *p)
{
	session_close_stdin(of(p));
}

void session_feed_stdin(struct session *s)
{
	const uint8_t *data;
	size_t len;
	bool moved = false;

	while (s->rec->fd[0] >= 0 && (len = inq_peek(&s->in, &data)) > 0) {
		ssize_t n = write(s->rec->fd[0], data, len);

		inq_taken(&s->in, n > 0 ? (size_t)n : 0);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			session_close_stdin(s);
			return;
		}
		moved |= n > 0;
		if (n < (ssize_t)len)
			break;
	}
	if (s->rec->fd[0] < 0)
		return;
	process_want_write(&s->process, inq_len(&s->in) > 0);
	if (inq_len(&s->in) == 0 && s->rec->stdin_eof)
		process_close_fd(&s->process, 0);
	if (!moved)
		return;
	list_for_each (v, &s->viewers, struct viewer, link) {
		if (v->writer)
			v->events->on_input_space(v);
	}
}

void session_on_writable(struct process *p)
{
	session_feed_stdin(of(p));
}
