#include "bridge/remote_file.h"

#include "proto/msg.h"

static struct remote_file *file_of(struct channel *c)
{
	return container_of(c, struct remote_file, channel);
}

static bool on_pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct remote_file *f = file_of(c);
	size_t left, n;

	/* What was handed out last has left by now. */
	if (f->low && remote_file_room(f) >= f->in.max / 2 && !f->end) {
		f->low = false;
		f->events->on_room(f);
		if (!f->guest)
			return false;
	}
	left = buf_len(&f->in);
	n = min_of(left, max);
	if (!(f->opened || f->channel.early) || max == 0 || (n == 0 && (!f->end || f->end_sent)))
		return false;
	*ret = (struct mux_item){.type = FRAME_DATA, .stream = STREAM_IN, .arg = f->sent, .len = n};
	ret->flags = f->end && n == left ? FRAME_FIN : 0;
	f->end_sent = ret->flags != 0;
	ret->data = n > 0 ? buf_head(&f->in) : NULL;
	/* Consuming moves no bytes; and nothing is added before the next pull. */
	buf_consume(&f->in, n);
	f->sent += n;
	return true;
}
static void on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	struct remote_file *f = file_of(c);
	uint64_t window = 0;
	struct error e;

	if (msg_parse_file_number(json, len, "window", &window, &e) == 0)
		c->send_limit = max_of(c->send_limit, window);
	f->opened = true;
	channel_ready(c);
	guest_kick(f->guest);
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct remote_file *f = file_of(c);

	(void)stream, (void)fin;
	f->unconsumed += len;
	if (len > 0)
		f->events->on_data(f, off, data, len);
}

static void on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct remote_file *f = file_of(c);

	(void)stream;
	if (f->events->on_gap)
		f->events->on_gap(f, off, missing);
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	(void)c, (void)stream, (void)off;
}

static void on_event(struct channel *c, const uint8_t *json, size_t len)
{
	struct remote_file *f = file_of(c);
	struct msg_file_event m;
	struct error e;

	if (msg_parse_file_event(json, len, &m, &e) < 0)
		return; /* then CLOSE comes without a "done", which is told */
	f->done |= m.kind == FILE_EVENT_DONE;
	if (m.kind != FILE_EVENT_UNKNOWN && f->events->on_event)
		f->events->on_event(f, &m);
}

static void on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	(void)c, (void)id, (void)json, (void)len;
}

static void on_close(struct channel *c, const uint8_t *json, size_t len)
{
	struct remote_file *f = file_of(c);
	bool linked = mux_linked(c->mux);
	struct error e;

	if (!f->guest) /* remote_file_close() */
		return;
	f->guest = NULL;
	buf_fini(&f->in);
	if (f->done && len == 0) {
		f->events->on_close(f, NULL);
		return;
	}
	if (!linked)
		error_set(&e, E_FAILED, ECONNRESET, "the link broke");
	else if (len == 0 || msg_parse_error(json, len, &e) != 1)
		error_set(&e, E_FAILED, 0, "the agent ended it without a result");
	f->events->on_close(f, &e);
}

static const struct channel_ops channel_ops = {
	.pull = on_pull,
	.on_data = on_data,
	.on_opened = on_opened,
	.on_gap = on_gap,
	.on_ack = on_ack,
	.on_event = on_event,
	.on_response = on_response,
	.on_close = on_close,
};

int remote_file_open(struct remote_file *f, struct guest *g,
	const struct remote_file_events *events, const void *json, size_t len)
{
	void *owner = f->owner;
	int r;

	*f = (struct remote_file){.guest = g, .events = events, .owner = owner};
	f->in = BUF_NULL(REMOTE_FILE_INPUT);
	f->low = events->on_room != NULL;
	r = guest_open(g, &f->channel, &channel_ops, REMOTE_FILE_WINDOW, json, len);
	if (r < 0) {
		f->guest = NULL;
		return r;
	}
	if (f->low && g->hello.limits.file_window > 0)
		channel_presume(&f->channel, g->hello.limits.file_window);
	guest_kick(g);
	return 0;
}

void remote_file_close(struct remote_file *f)
{
	struct guest *g = f->guest;

	if (!g)
		return;
	f->guest = NULL;
	buf_fini(&f->in);
	channel_close(&f->channel, NULL, 0);
	guest_kick(g);
}

void remote_file_consumed(struct remote_file *f, size_t n)
{
	ASSERT(n <= f->unconsumed);
	f->unconsumed -= n;
	if (!f->guest)
		return;
	channel_grant(&f->channel, f->channel.received + REMOTE_FILE_WINDOW - f->unconsumed);
	guest_kick(f->guest);
}

int remote_file_send(struct remote_file *f, const void *data, size_t len)
{
	ASSERT(!f->end && len <= remote_file_room(f));
	if (buf_append(&f->in, data, len) < 0)
		return -ENOMEM;
	if (remote_file_room(f) < f->in.max / 2)
		f->low = true;
	if (f->opened || f->channel.early) {
		channel_ready(&f->channel);
		guest_kick(f->guest);
	}
	return 0;
}

void remote_file_end(struct remote_file *f)
{
	f->end = true;
	if (f->opened || f->channel.early) {
		channel_ready(&f->channel);
		guest_kick(f->guest);
	}
}
