/*
 * The loop's side of a stream; the thread's is stream_thread.c.
 *
 * Two threads and a lock. Who adds to a ring copies or reads outside the lock into the free part,
 * who takes from it uses it in place; only positions move under the lock.
 *
 * Waking costs more than moving a frame, so nobody is woken who is awake: the loop says with
 * `starved` that it found nothing to send, the thread with `waits` that it sleeps, and it is woken
 * for room only when there is a good deal of it.
 */
#include "agentd/stream.h"

#include <stdio.h>

static struct stream *of_channel(struct channel *c)
{
	return container_of(c, struct stream, channel);
}

/* With the lock held. */
static void wake_thread(struct stream *s)
{
	if (s->waits)
		pthread_cond_signal(&s->cond);
}

/* ---- the loop: frames out ---- */

/* What the last frame was made of has been written or copied. */
static void settle(struct stream *s)
{
	s->out.tail += s->lent;
	s->out_off += s->lent;
	s->lent = 0;
	free(take_ptr(&s->spent));
}

static void from_mark(struct stream *s, const struct mark *m, struct mux_item *ret)
{
	switch (m->kind) {
	case MARK_OFFSET: s->out_off = m->arg; break;
	case MARK_GAP:
		put_u64(s->gap, m->missing);
		*ret = (struct mux_item){.type = FRAME_GAP,
			.stream = STREAM_OUT,
			.arg = m->arg,
			.data = s->gap,
			.len = sizeof(s->gap)};
		s->out_off = m->arg + m->missing;
		break;
	case MARK_EVENT:
		s->spent = m->json;
		*ret = (struct mux_item){.type = FRAME_EVENT, .data = m->json, .len = m->len};
		break;
	}
	ring_pop(&s->out);
}

static bool next_item(struct stream *s, size_t max, struct mux_item *ret)
{
	const struct mark *m;
	const uint8_t *data;
	size_t n;

	while ((m = ring_next_mark(&s->out))) {
		from_mark(s, m, ret);
		if (ret->type)
			return true;
	}
	n = ring_data(&s->out, &data);
	if (n > 0 && max > 0) {
		s->lent = min_of(n, max);
		*ret = (struct mux_item){.type = FRAME_DATA,
			.stream = STREAM_OUT,
			.arg = s->out_off,
			.data = data,
			.len = s->lent};
		return true;
	}
	if (n == 0 && s->end == STREAM_DONE) {
		*ret = (struct mux_item){.type = FRAME_CLOSE};
		return true;
	}
	s->starved = n == 0;
	return false;
}

static void uncount(struct stream *s)
{
	if (s->counted && s->returned && (s->over || !s->link)) {
		s->counted = false;
		s->workers->streams--;
		ring_fini(&s->out);
		ring_fini(&s->in);
	}
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct stream *s = of_channel(c);
	bool more;

	pthread_mutex_lock(&s->lock);
	settle(s);
	s->quiet = false;
	more = next_item(s, max, ret);
	if (ring_len(&s->out) <= STREAM_RING - STREAM_ROOM && s->out.n_marks <= STREAM_MARKS / 2)
		wake_thread(s);
	pthread_mutex_unlock(&s->lock);
	if (more && ret->type == FRAME_CLOSE) {
		s->over = true;
		uncount(s);
	}
	return more;
}

/* ---- the loop: frames in ---- */

static void close_with(struct stream *s, enum error_code code, int err, const char *message)
{
	struct error e;
	char text[ERROR_JSON_MAX];

	error_set(&e, code, err, "%s", message);
	channel_close(&s->channel, text, error_json(&e, text));
}

/* Credit was checked, so there is room. */
static int take_in(struct stream *s, uint64_t off, const uint8_t *data, size_t len)
{
	struct mark m = {.kind = MARK_OFFSET, .arg = off};
	uint8_t *to;
	int r = off != s->in_end ? ring_mark(&s->in, &m, STREAM_JUMPS) : 0;

	if (r < 0)
		return r;
	s->in_end = off + len;
	while (len > 0) {
		size_t n;

		r = ring_room(&s->in, len);
		if (r < 0)
			return r;
		n = min_of(len, ring_space(&s->in, &to));
		/* The thread only takes from the other end meanwhile, and memory changes only here.
		 */
		pthread_mutex_unlock(&s->lock);
		memcpy(to, data, n);
		pthread_mutex_lock(&s->lock);
		s->in.head += n;
		data += n;
		len -= n;
	}
	return 0;
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct stream *s = of_channel(c);
	int r = 0;

	if (!(s->flags & STREAM_INPUT) || stream != STREAM_IN) {
		close_with(s, E_NOT_INPUT, 0, "nothing is to be sent there");
		return;
	}
	if (off > INT64_MAX - len || off < s->in_end ||
		(off > s->in_end && !(s->flags & STREAM_SPARSE))) {
		close_with(s, E_BAD_OFFSET, 0, "input that does not follow on what came before");
		return;
	}
	pthread_mutex_lock(&s->lock);
	if (!s->fin)
		r = take_in(s, off, data, len);
	s->fin = s->fin || fin;
	wake_thread(s);
	pthread_mutex_unlock(&s->lock);
	if (r == -ENOBUFS)
		close_with(s, E_TOO_MANY, 0, "too many jumps at once");
	else if (r < 0)
		close_with(s, E_FAILED, ENOMEM, "out of memory");
}

static void on_request(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	struct error e;
	char text[ERROR_JSON_MAX];

	(void)json;
	(void)len;
	error_set(&e, E_UNKNOWN_OP, 0, "there are no operations on this channel");
	mux_respond(c->mux, c->id, id, text, error_json(&e, text));
}

/* The thread wants to be heard: there is something to send, or credit to give back. */
static void on_notice(struct notice *n)
{
	struct stream *s = container_of(n, struct stream, notice);
	uint64_t total;

	if (!s->link)
		return;
	pthread_mutex_lock(&s->lock);
	total = s->granted + STREAM_RING;
	pthread_mutex_unlock(&s->lock);
	if (s->flags & STREAM_INPUT)
		channel_grant(&s->channel, total);
	channel_ready(&s->channel);
	s->link->wake(s->link);
}

/* ---- life ---- */

static void check_over(struct stream *s)
{
	uncount(s);
	if (!s->returned || s->link)
		return;
	settle(s);
	close_fd(&s->cancel_fd);
	ring_fini(&s->out);
	ring_fini(&s->in);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->cond);
	s->ops->release(s);
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct stream *s = of_channel(c);
	uint64_t one = 1;

	(void)error;
	(void)len;
	s->link = NULL;
	pthread_mutex_lock(&s->lock);
	s->cancelled = true;
	wake_thread(s);
	if (s->cancel_fd >= 0 && write(s->cancel_fd, &one, sizeof(one)) < 0)
		ASSERT(errno == EAGAIN); /* it is readable already */
	pthread_mutex_unlock(&s->lock);
	check_over(s);
}

static void run(struct work *w)
{
	struct stream *s = container_of(w, struct stream, work);

	if (!stream_cancelled(s))
		s->ops->run(s);
}

static void done(struct work *w)
{
	struct stream *s = container_of(w, struct stream, work);
	struct service_link *l = s->link;
	char text[ERROR_JSON_MAX];

	s->returned = true;
	ASSERT(stream_stopped(s));
	if (!l || s->over) {
		check_over(s);
		return;
	}
	if (s->end == STREAM_DONE)
		channel_ready(&s->channel);
	else
		channel_close(&s->channel, text, error_json(&s->error, text));
	l->wake(l);
}

static const struct channel_ops channel_ops = {
	.pull = pull,
	.on_data = on_data,
	.on_request = on_request,
	.on_close = on_close,
};

static int submit(struct stream *s, struct service_link *l, struct error *e)
{
	int r;

	if (l->workers->streams >= STREAM_MAX)
		return error_set(e, E_TOO_MANY, 0, "%u file channels are at work", STREAM_MAX);
	r = workers_submit(l->workers, &s->work);
	if (r < 0)
		return error_set(e, r == -EAGAIN ? E_TOO_MANY : E_FAILED, -r,
			"no thread for it: %s", strerror(-r));
	return 0;
}

int stream_open(struct stream *s, struct service_link *l, uint32_t channel, uint64_t window,
	unsigned flags, const struct stream_ops *ops, struct error *e)
{
	uint64_t in = flags & STREAM_INPUT ? STREAM_RING : 0;
	char text[40];
	int r;

	*s = (struct stream){.ops = ops,
		.link = l,
		.workers = l->workers,
		.work = {.run = run, .done = done},
		.notice = {.fn = on_notice},
		.flags = flags,
		.quiet = true,
		.cancel_fd = -1};
	list_init(&s->notice.link);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->cond, NULL);
	ring_init(&s->out);
	ring_init(&s->in);
	r = submit(s, l, e);
	if (r < 0) {
		pthread_mutex_destroy(&s->lock);
		pthread_cond_destroy(&s->cond);
		return r;
	}
	s->counted = true;
	l->workers->streams++;
	r = snprintf(text, sizeof(text), "{\"window\":%llu}", (unsigned long long)in);
	mux_accept(l->mux, channel, &s->channel, &channel_ops, in, window, false, text, (size_t)r);
	return 0;
}
