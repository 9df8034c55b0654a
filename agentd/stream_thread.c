/*
 * The thread's side of a stream; the loop's is stream.c.
 *
 * The loop is told when it said that it has nothing to send (`starved`), or has not begun to look
 * (`quiet`) and there is enough to begin with. Before the thread sleeps it sees to it that whoever
 * it waits for knows.
 */
#include <sys/eventfd.h>

#include "agentd/stream.h"

#define STREAM_WAKE (64 * 1024) /* first bytes that are worth telling of */

/* ---- the thread: waiting and telling ---- */

/* With the lock held; it is not afterwards. */
static void unlock_and_tell(struct stream *s, bool tell)
{
	if (tell)
		s->starved = s->quiet = false;
	pthread_mutex_unlock(&s->lock);
	if (tell)
		workers_notify(s->workers, &s->notice);
}

/* One step of waiting; the caller looks again. A client that is waited for must know that we do. */
static void wait(struct stream *s, bool tell)
{
	if (tell) {
		unlock_and_tell(s, true);
		pthread_mutex_lock(&s->lock);
		return;
	}
	s->waits = true;
	pthread_cond_wait(&s->cond, &s->lock);
	s->waits = false;
}

static void out_of_memory(struct stream *s)
{
	if (s->end == STREAM_GOES_ON)
		error_set(&s->error, E_FAILED, ENOMEM, "out of memory");
	s->end = STREAM_FAILED;
}

bool stream_cancelled(struct stream *s)
{
	bool r;

	pthread_mutex_lock(&s->lock);
	r = stream_stopped(s);
	pthread_mutex_unlock(&s->lock);
	return r;
}

int stream_cancel_fd(struct stream *s)
{
	int fd;

	pthread_mutex_lock(&s->lock);
	if (s->cancel_fd < 0)
		s->cancel_fd = eventfd(s->cancelled, EFD_CLOEXEC | EFD_NONBLOCK);
	fd = s->cancel_fd < 0 ? -errno : s->cancel_fd;
	pthread_mutex_unlock(&s->lock);
	return fd;
}

/* ---- the thread: out ---- */

void stream_bulk(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->bulk = true;
	pthread_mutex_unlock(&s->lock);
}

/* Is what lies in the ring reason to wake the loop? With the lock held. */
static bool worth_telling(const struct stream *s)
{
	if (s->starved && !s->bulk)
		return true;
	return (s->starved || s->quiet) && ring_len(&s->out) >= STREAM_WAKE;
}

void *stream_reserve(struct stream *s, size_t *len)
{
	size_t want = min_of(*len, (size_t)STREAM_CHUNK);
	uint8_t *p = NULL;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	while (!stream_stopped(s) && (r = ring_room(&s->out, want)) == -ENOBUFS) {
		want = STREAM_ROOM;
		wait(s, s->starved || s->quiet);
	}
	if (r == -ENOMEM)
		out_of_memory(s);
	if (!stream_stopped(s))
		*len = min_of(*len, ring_space(&s->out, &p));
	pthread_mutex_unlock(&s->lock);
	return p;
}

void stream_commit(struct stream *s, size_t len)
{
	pthread_mutex_lock(&s->lock);
	s->out.head += len;
	s->out_at += len;
	unlock_and_tell(s, worth_telling(s));
}

int stream_write(struct stream *s, const void *data, size_t len)
{
	const uint8_t *from = data;

	while (len > 0) {
		size_t n = len;
		void *to = stream_reserve(s, &n);

		if (!to)
			return -ECANCELED;
		memcpy(to, from, n);
		stream_commit(s, n);
		from += n;
		len -= n;
	}
	return 0;
}

/* m->json is ours. last: run() returns next, which is reason enough for the loop to look. */
static int put_mark(struct stream *s, const struct mark *m, bool last)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	while (!stream_stopped(s) && (r = ring_mark(&s->out, m, STREAM_MARKS)) == -ENOBUFS)
		wait(s, s->starved || s->quiet);
	if (r == -ENOMEM)
		out_of_memory(s);
	r = stream_stopped(s) ? -ECANCELED : 0;
	unlock_and_tell(s, !last && worth_telling(s));
	if (r < 0)
		free(m->json);
	return r;
}

int stream_seek(struct stream *s, uint64_t off)
{
	if (off == s->out_at)
		return 0;
	s->out_at = off;
	return put_mark(s, &(struct mark){.kind = MARK_OFFSET, .arg = off}, true);
}

int stream_gap(struct stream *s, uint64_t missing)
{
	struct mark m = {.kind = MARK_GAP, .arg = s->out_at, .missing = missing};

	s->out_at += missing;
	return put_mark(s, &m, false);
}

static int put_event(struct stream *s, const char *json, size_t len, bool last)
{
	struct mark m = {.kind = MARK_EVENT, .json = malloc(len), .len = len};

	ASSERT(len > 0 && len <= STREAM_EVENT_MAX);
	if (!m.json) {
		pthread_mutex_lock(&s->lock);
		out_of_memory(s);
		pthread_mutex_unlock(&s->lock);
		return -ECANCELED;
	}
	memcpy(m.json, json, len);
	return put_mark(s, &m, last);
}

int stream_event(struct stream *s, const char *json, size_t len)
{
	return put_event(s, json, len, false);
}

/* ---- the thread: in ---- */

ssize_t stream_peek(struct stream *s, const uint8_t **data, uint64_t *off)
{
	const struct mark *m;
	ssize_t r;

	pthread_mutex_lock(&s->lock);
	while (!stream_stopped(s) && ring_len(&s->in) == 0 && !s->fin)
		wait(s, s->quiet || (s->starved && (ring_len(&s->out) > 0 || s->out.n_marks > 0)));
	for (; (m = ring_next_mark(&s->in)); ring_pop(&s->in))
		s->in_off = m->arg;
	*off = s->in_off;
	r = stream_stopped(s) ? -ECANCELED : (ssize_t)ring_data(&s->in, data);
	pthread_mutex_unlock(&s->lock);
	return r;
}

void stream_consume(struct stream *s, size_t len)
{
	bool tell;

	pthread_mutex_lock(&s->lock);
	s->in.tail += len;
	s->in_off += len;
	tell = s->in.tail - s->granted >= STREAM_RING / 2 && !s->fin;
	if (tell)
		s->granted = s->in.tail;
	unlock_and_tell(s, tell);
}

ssize_t stream_read(struct stream *s, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		const uint8_t *data;
		uint64_t off;
		ssize_t n = stream_peek(s, &data, &off);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		n = min_of(n, (ssize_t)(len - done));
		memcpy((uint8_t *)buf + done, data, (size_t)n);
		stream_consume(s, (size_t)n);
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* ---- the thread: the end ---- */

/* Nobody is told: run() returns next, and done() follows. */
void stream_done(struct stream *s, const char *json, size_t len)
{
	if (json && put_event(s, json, len, true) < 0)
		return;
	pthread_mutex_lock(&s->lock);
	if (!stream_stopped(s))
		s->end = STREAM_DONE;
	pthread_mutex_unlock(&s->lock);
}

void stream_fail(struct stream *s, const struct error *e)
{
	pthread_mutex_lock(&s->lock);
	if (!stream_stopped(s)) {
		s->error = *e;
		s->end = STREAM_FAILED;
	}
	pthread_mutex_unlock(&s->lock);
}

void stream_fail_errno(struct stream *s, int err, const char *path)
{
	struct error e;

	error_set(&e, E_FAILED, err, "%.120s: %s", path, strerror(err));
	stream_fail(s, &e);
}
