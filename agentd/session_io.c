/*
 * Output: whenever a pipe is readable, one read(2) goes straight into the ring; the viewers are
 * told and pull. Nothing is read that cannot be stored: when the slowest pin leaves no room,
 * reading stops (`paused`) and the child blocks in its own write; session_unpin() resumes. Without
 * lossless viewers there is always room, so output is always drained.
 *
 * Input: viewers append to the queue, the child's pipe takes from it; one child that does not read
 * fills its own queue and nothing else.
 */
#include "agentd/keep.h"
#include "agentd/session_internal.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "agentd/sessions.h"
#include "agentd/viewer.h"

#define PIPE_WIDE (1 * MIB)
#define PIPE_FULL                                                                                  \
	(64 * KIB) /* a read of this much means that the producer fills the default pipe */

/*
 * A terminal gives about 4 KiB at a time; turning the loop for each would cost more than the bytes.
 * Behind a read of half of that there is mostly more.
 */
#define TERMINAL_MORE  2048
#define TERMINAL_READS 16

/* More than any kernel keeps between the slave's write and the master's read. */
#define TERMINAL_RESIDUE (1 * MIB)

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

/* From here on it counts whether viewers take anything. */
static void begin_pause(struct session *s, uint64_t now)
{
	s->paused_at = now;
	list_for_each (v, &s->viewers, struct viewer, link)
		v->took = false;
}

static void pause_reading(struct session *s, bool paused)
{
	if (paused && !s->paused)
		begin_pause(s, now_ms());
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
	ssize_t n = read(s->rec->fd[stream], nowhere, sizeof(nowhere));

	return n < 0 ? -errno : n;
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
		if (session_yield_at(s))
			session_arm(s);
		return -ENOBUFS;
	}
	store_begin(&s->store, (enum store_stream)stream);
	n = read(s->rec->fd[stream], at, room);
	store_commit(&s->store, (enum store_stream)stream, n > 0 ? (size_t)n : 0);
	return n < 0 ? -errno : n;
}

static bool is_end(ssize_t n)
{
	return n <= 0 && n != -ENOBUFS && n != -EAGAIN && n != -EINTR;
}

/* A terminal gives its bytes in pieces. */
static ssize_t read_terminal(struct session *s, bool *ret_end)
{
	ssize_t n, all = 0;
	unsigned reads = 0;

	do {
		n = read_into_store(s, STORE_OUT);
		all += max_of(n, 0);
	} while (n > 0 &&
		 (session_residue_unknown(s) || (n >= TERMINAL_MORE && ++reads < TERMINAL_READS)));
	/* A read that finds nothing has waited for what was still on its way from the slave. */
	if (n == -EAGAIN && session_residue_unknown(s))
		s->rec->residue[STORE_OUT] = s->store.head[STORE_OUT];
	*ret_end = is_end(n);
	return all;
}

static ssize_t read_pipe(struct session *s, int stream, bool *ret_end)
{
	ssize_t n = s->rec->hidden ? read_hidden(s, stream) : read_into_store(s, stream);

	*ret_end = is_end(n);
	if (n >= (ssize_t)PIPE_FULL && !s->wide[stream])
		widen(s, stream);
	return max_of(n, 0);
}

void session_on_readable(struct process *p, int stream)
{
	struct session *s = of(p);
	bool end;
	ssize_t n = s->rec->pty ? read_terminal(s, &end) : read_pipe(s, stream, &end);

	if (n > 0 && s->rec->exited)
		s->rec->last_output = now_ms();
	if (n > 0 && !s->rec->hidden)
		session_notify(s);
	if (end)
		process_close_fd(p, stream);
	if (end || (n > 0 && s->rec->exited))
		session_check(s);
}

/*
 * What mostly happens when a command ends, without another turn of the loop: the last bytes, and
 * the ends of its pipes, which nobody else has. Two reads find both; what there is beyond comes as
 * ever.
 */
void session_drain(struct session *s)
{
	bool held = s->process.held[0] >= 0;

	process_let_go(&s->process);
	if (!held)
		return;
	for (int i = STORE_OUT; i <= STORE_ERR; i++) {
		for (int reads = 0; reads < 2 && s->rec->fd[i] >= 0 && !s->paused; reads++)
			session_on_readable(&s->process, i);
	}
}

static void close_stdin(struct session *s)
{
	keep_forget_stdin(s);
	process_close_fd(&s->process, 0);
}

void session_unpin(struct session *s)
{
	uint8_t *at;

	if (!s->paused || space(s, &at) == 0)
		return;
	pause_reading(s, false);
	if (session_residue_unknown(s)) /* perhaps there is nothing to be told of */
		session_arm(s);
}

/*
 * Some viewers take nothing, and another has taken all there is: after a while they part. Whoever
 * takes anything, however little, is waited for; and so is everybody when nobody else waits.
 */
uint64_t session_yield_at(const struct session *s)
{
	uint64_t at = 0;

	if (!s->paused)
		return 0;
	list_for_each (v, &s->viewers, struct viewer, link) {
		uint64_t mine = s->paused_at + v->attach.yield_ms;

		if (viewer_pin(v) != UINT64_MAX && v->attach.yield_ms && (at == 0 || mine < at))
			at = mine;
	}
	return at;
}

void session_yield(struct session *s, uint64_t now)
{
	uint64_t at = session_yield_at(s);
	bool awaited = false;

	if (at == 0 || at > now)
		return;
	list_for_each (v, &s->viewers, struct viewer, link)
		awaited |= viewer_waits(v);
	list_for_each (v, &s->viewers, struct viewer, link) {
		uint64_t ms = v->attach.yield_ms;

		v->yields |=
			awaited && ms && s->paused_at + ms <= now && !v->took && !viewer_waits(v);
	}
	begin_pause(s, now); /* somebody may yet come to wait */
}

bool session_residue_unknown(const struct session *s)
{
	return s->rec->pty && s->rec->exited && !session_ended(s) && !s->paused &&
	       !session_residue_read(s);
}

void session_release_slave(struct session *s)
{
	if (!s->rec->pty || s->rec->fd[STORE_ERR] < 0)
		return;
	keep_forget_slave(s);
	process_close_fd(&s->process, STORE_ERR);
}

/*
 * Pipes tell how much lies in them. A terminal does not: behind what it tells of, a thread of the
 * kernel is still handing over what the slave was given. But reading until there is nothing waits
 * for that thread (n_tty_read() flushes its work before it gives up), so after the leader's end
 * that is done; with a limit, for children that go on writing.
 */
void session_mark_residue(struct session *s)
{
	if (s->rec->pty) {
		s->rec->residue[STORE_OUT] = s->store.head[STORE_OUT] + TERMINAL_RESIDUE;
		return;
	}
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
	close_stdin(s);
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
		close_stdin(s);
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
