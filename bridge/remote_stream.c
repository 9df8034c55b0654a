/*
 * The buffer keeps what the mux was given until it asks again: by then the link has written or
 * copied it.
 */
#include "bridge/remote_stream.h"

#include "proto/msg_net.h"

static struct remote_stream *of_channel(struct channel *c)
{
	return container_of(c, struct remote_stream, channel);
}

static void set_state(struct remote_stream *s, enum remote_stream_state state)
{
	s->state = state;
	if (state == REMOTE_STREAM_CLOSED)
		buf_fini(&s->out);
}

static void finish(struct remote_stream *s, const struct error *error)
{
	set_state(s, REMOTE_STREAM_CLOSED);
	s->events->on_close(s, error);
}

void remote_stream_close(struct remote_stream *s)
{
	if (s->state == REMOTE_STREAM_CLOSED)
		return;
	set_state(s, REMOTE_STREAM_CLOSED);
	channel_close(&s->channel, NULL, 0);
	guest_kick(s->guest);
}

/* ---- what goes ---- */

size_t remote_stream_room(const struct remote_stream *s)
{
	if (s->state == REMOTE_STREAM_CLOSED || s->end)
		return 0;
	return REMOTE_STREAM_WINDOW - buf_len(&s->out);
}

static void ready(struct remote_stream *s)
{
	channel_ready(&s->channel);
	guest_kick(s->guest);
}

size_t remote_stream_write(struct remote_stream *s, const void *data, size_t len)
{
	size_t n = min_of(len, remote_stream_room(s));

	if (n == 0 || buf_append(&s->out, data, n) < 0)
		return 0;
	s->low |= remote_stream_room(s) < REMOTE_STREAM_WINDOW / 2;
	ready(s);
	return n;
}

void remote_stream_end(struct remote_stream *s)
{
	if (s->state == REMOTE_STREAM_CLOSED || s->end)
		return;
	s->end = true;
	ready(s);
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct remote_stream *s = of_channel(c);
	size_t n;

	buf_consume(&s->out, s->pulled);
	s->pulled = 0;
	if (s->low && remote_stream_room(s) >= REMOTE_STREAM_WINDOW / 2) {
		s->low = false;
		s->events->on_room(s);
	}
	n = min_of(buf_len(&s->out), max);
	if (buf_len(&s->out) == 0)
		buf_fini(&s->out);
	if (n == 0 && (!s->end || s->end_sent || buf_len(&s->out) > 0))
		return false;
	*ret = (struct mux_item){.type = FRAME_DATA, .stream = STREAM_IN, .arg = s->sent};
	ret->data = n ? buf_head(&s->out) : NULL;
	ret->len = s->pulled = n;
	s->sent += n;
	if (s->end && n == buf_len(&s->out)) {
		ret->flags = FRAME_FIN;
		s->end_sent = true;
	}
	return true;
}

/* ---- what comes ---- */

void remote_stream_consumed(struct remote_stream *s, size_t n)
{
	if (s->state == REMOTE_STREAM_CLOSED)
		return;
	ASSERT(n <= s->unconsumed);
	s->unconsumed -= n;
	channel_grant(&s->channel, s->channel.received + REMOTE_STREAM_WINDOW - s->unconsumed);
	guest_kick(s->guest);
}

static void broken(struct remote_stream *s, const char *message)
{
	struct error e;
	char json[ERROR_JSON_MAX];

	error_set(&e, E_BAD_MESSAGE, 0, "%s", message);
	set_state(s, REMOTE_STREAM_CLOSED);
	channel_close(&s->channel, json, error_json(&e, json));
	guest_kick(s->guest);
	s->events->on_close(s, &e);
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct remote_stream *s = of_channel(c);

	if (stream != STREAM_OUT || off != s->got || s->peer_end) {
		broken(s, "bytes that do not follow on those before");
		return;
	}
	s->got += len;
	s->unconsumed += len;
	if (len > 0)
		s->events->on_data(s, data, len);
	if (fin && s->state == REMOTE_STREAM_OPEN) {
		s->peer_end = true;
		s->events->on_end(s);
	}
}

static void on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	struct remote_stream *s = of_channel(c);
	uint64_t window = 0;
	struct error e;

	if (msg_parse_window(json, len, &window, &e) < 0) {
		broken(s, "an answer that cannot be read");
		return;
	}
	c->send_limit = max_of(c->send_limit, window);
	set_state(s, REMOTE_STREAM_OPEN);
	ready(s);
	if (s->events->on_opened)
		s->events->on_opened(s);
}

static void on_close(struct channel *c, const uint8_t *json, size_t len)
{
	struct remote_stream *s = of_channel(c);
	struct error e;

	if (s->state == REMOTE_STREAM_CLOSED) /* we did it */
		return;
	if (!mux_linked(c->mux))
		error_set(&e, E_FAILED, ENETRESET, "the link to the agent broke");
	else if (len > 0 && msg_parse_error(json, len, &e) == 1)
		;
	else if (s->peer_end && s->end_sent) {
		finish(s, NULL);
		return;
	} else {
		error_set(&e, E_FAILED, ECONNRESET, "the agent closed the stream");
	}
	finish(s, &e);
}

/* What an agent may say on any channel and says on none of these. */
static void on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	(void)stream, (void)off, (void)missing;
	broken(of_channel(c), "a gap in a stream");
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	(void)c, (void)stream, (void)off;
}

static void on_event(struct channel *c, const uint8_t *json, size_t len)
{
	(void)c, (void)json, (void)len;
}

static void on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	(void)c, (void)id, (void)json, (void)len;
}

static const struct channel_ops channel_ops = {
	.pull = pull,
	.on_data = on_data,
	.on_opened = on_opened,
	.on_gap = on_gap,
	.on_ack = on_ack,
	.on_event = on_event,
	.on_response = on_response,
	.on_close = on_close,
};

int remote_stream_open(struct remote_stream *s, struct guest *g,
	const struct remote_stream_events *events, const char *to, uint64_t timeout_ms)
{
	struct msg_dial m = {.to = to, .timeout_ms = timeout_ms};
	char json[1024];
	size_t len = msg_format_dial(&m, REMOTE_STREAM_WINDOW, json, sizeof(json));
	int r;

	*s = (struct remote_stream){.guest = g, .events = events, .owner = s->owner};
	s->out = BUF_NULL(REMOTE_STREAM_WINDOW);
	if (len == 0)
		return -ENAMETOOLONG;
	r = guest_open(g, &s->channel, &channel_ops, REMOTE_STREAM_WINDOW, json, len);
	if (r == 0)
		set_state(s, REMOTE_STREAM_OPENING);
	return r;
}
