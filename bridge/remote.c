/*
 * A remote has a channel exactly while it is OPENING or OPEN. The link takes the channel away
 * (IDLE) and the next on_up opens another, with the offsets of what came so far. `start` goes along
 * until OPENED has been seen once: only then it is known that the OPEN arrived, and starting is
 * idempotent by id. Our viewer's name makes the session hold our place, and our input's offset, in
 * between.
 *
 * Credit belongs to a channel, what the consumer has not consumed to the remote: a new channel's
 * window is what is left of ours, and every grant is "received + window - unconsumed". But a grant
 * of T also tells the agent that T - (the window in OPEN) bytes of this channel have arrived and
 * need not be kept for us any more (docs/protocol.md, Resume); so it is never more than what was
 * received by that count. A channel that was opened while much was unconsumed therefore keeps its
 * small window, and is replaced by one with a full window once the consumer has caught up (renew).
 */
#include "bridge/remote.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/log.h"

#define INPUT_KEEP 4096 /* bytes of memory for input, when there is none */

static const struct channel_ops channel_ops;

static struct remote *remote_of(struct channel *c)
{
	return container_of(c, struct remote_channel, channel)->remote;
}

static void remote_set_state(struct remote *r, enum remote_state state)
{
	ASSERT(r->state != REMOTE_CLOSED);
	r->state = state;
}

static void make_name(char out[REMOTE_NAME_LEN + 1])
{
	uint8_t bytes[REMOTE_NAME_LEN / 2];

	ASSERT(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		sprintf(out + 2 * i, "%02x", bytes[i]);
}

/* ---- the end ---- */

static void leave(struct remote *r)
{
	bool has_channel = r->state == REMOTE_OPENING || r->state == REMOTE_OPEN;

	remote_set_state(r, REMOTE_CLOSED);
	guest_remove_user(&r->user);
	buf_fini(&r->in);
	if (has_channel) {
		channel_close(r->channel, NULL, 0);
		guest_kick(r->guest);
	}
}

/* The one place that decides what the end was. `why` is what it is unless the process ended. */
static void finish(struct remote *r, enum remote_why why, const struct error *error)
{
	leave(r);
	if (r->ended)
		r->events->on_close(r, REMOTE_DONE, NULL);
	else
		r->events->on_close(r, why, error);
}

static void lost(struct remote *r, enum error_code code, const char *message)
{
	struct error e;

	error_set(&e, code, 0, "%s", message);
	finish(r, REMOTE_LOST, &e);
}

void remote_close(struct remote *r)
{
	if (r->guest && r->state != REMOTE_CLOSED)
		leave(r);
}

/* ---- opening ---- */

static void fill_open(const struct remote *r, struct msg_open *m)
{
	const struct remote_config *c = &r->config;

	*m = (struct msg_open){.service = "exec", .id = r->id};
	m->window = c->window - r->unconsumed;
	if (c->start && !r->opened) {
		m->has_start = true;
		m->start = *c->start;
	}
	m->attach = (struct msg_attach){
		.viewer = *r->viewer ? r->viewer : NULL,
		.since_now = c->since_now && !r->opened,
		.since_out = r->off[STREAM_OUT],
		.since_err = r->off[STREAM_ERR],
		.policy = c->policy,
		.hold_ms = c->policy == POLICY_LOSSLESS && *r->viewer ? REMOTE_HOLD_MS : 0,
		.yield_ms = c->yield_ms,
		.input = c->input,
		/* Whoever has taken it from us meanwhile keeps it. */
		.own = c->own == OWN_TAKE && r->opened ? OWN_IF_FREE : c->own,
		.has_size = c->has_size,
		.size = c->size,
	};
}

static int open_channel(struct remote *r)
{
	char json[FRAME_PAYLOAD_MAX];
	struct channel *c = &r->channels[r->channel == &r->channels[0].channel].channel;
	struct msg_open m;
	size_t len;
	int err;

	fill_open(r, &m);
	len = msg_format_open(&m, json, sizeof(json));
	if (len == 0)
		return -E2BIG;
	err = guest_open(r->guest, c, &channel_ops, m.window, json, len);
	if (err < 0)
		return err;
	r->channel = c;
	r->opened_window = m.window;
	r->asked = true;
	r->in_end_sent = false;
	remote_set_state(r, REMOTE_OPENING);
	return 0;
}

/*
 * A full window at last: the viewer's name brings our place along to a new channel. What is still
 * on its way on the old one is not taken, and sent again on the new.
 */
static void renew(struct remote *r)
{
	struct channel *old = r->channel;

	if (open_channel(r) == 0) /* else the old one goes on, slowly */
		channel_close(old, NULL, 0);
}

static void on_up(struct guest_user *u, bool same)
{
	struct remote *r = container_of(u, struct remote, user);
	struct error e;
	int err;

	if (!same && r->asked) {
		lost(r, E_NOT_FOUND, "the agent was started anew, its sessions are gone");
		return;
	}
	err = open_channel(r);
	if (err == -E2BIG) {
		error_set(&e, E_BAD_MESSAGE, E2BIG, "command and environment are over 64 KiB");
		finish(r, REMOTE_REFUSED, &e);
	} else if (err < 0) {
		error_set(&e, E_FAILED, -err, "no channel on the link: %s", strerror(-err));
		finish(r, REMOTE_LOST, &e);
	}
}

static void on_lost(struct guest_user *u)
{
	struct remote *r = container_of(u, struct remote, user);

	lost(r, E_FAILED, guest_why(r->guest));
}

static const struct guest_user_ops user_ops = {.on_up = on_up, .on_lost = on_lost};

int remote_open(struct remote *r, struct guest *g, const struct remote_events *events,
	const struct remote_config *config)
{
	void *owner = r->owner;

	if (!config->id && !config->start)
		return -EINVAL;
	if (config->id && !msg_name_valid(config->id, MSG_ID_MAX))
		return -EINVAL;
	if (g->state >= GUEST_LOST)
		return -ENOTCONN;
	ASSERT(!config->viewer || *config->viewer || !config->input);
	ASSERT(!config->viewer || strlen(config->viewer) <= MSG_VIEWER_MAX);
	*r = (struct remote){.guest = g, .events = events, .owner = owner, .config = *config};
	if (config->id)
		snprintf(r->id, sizeof(r->id), "%s", config->id);
	else
		make_name(r->id);
	if (config->viewer)
		snprintf(r->viewer, sizeof(r->viewer), "%s", config->viewer);
	else
		make_name(r->viewer);
	r->config.viewer = r->viewer;
	r->channels[0].remote = r->channels[1].remote = r;
	r->config.id = r->id;
	if (r->config.window == 0)
		r->config.window = REMOTE_WINDOW;
	r->off[STREAM_OUT] = config->since[0];
	r->off[STREAM_ERR] = config->since[1];
	r->in = BUF_NULL(REMOTE_INPUT);
	guest_add_user(g, &r->user, &user_ops);
	if (guest_is_up(g)) {
		int err = open_channel(r);

		if (err < 0)
			leave(r);
		return err;
	}
	return 0;
}

/* ---- input ---- */

static uint64_t in_head(const struct remote *r)
{
	return r->in_safe + buf_len(&r->in);
}

static void set_stdin_closed(struct remote *r)
{
	bool told = r->stdin_closed;

	r->stdin_closed = true;
	buf_fini(&r->in);
	r->in_sent = r->in_safe;
	if (!told && r->events->on_stdin_closed)
		r->events->on_stdin_closed(r);
}

/* The session has our input up to here. */
static void set_safe(struct remote *r, uint64_t off)
{
	buf_consume(&r->in, off - r->in_safe);
	r->in_safe = off;
	if (r->in_low && remote_input_room(r) >= REMOTE_INPUT / 2) {
		r->in_low = false;
		if (!r->in_end && r->events->on_input_room)
			r->events->on_input_room(r);
	}
	buf_trim(&r->in, INPUT_KEEP);
	if (buf_len(&r->in) == 0 && r->events->on_input_safe)
		r->events->on_input_safe(r);
}

size_t remote_input_room(const struct remote *r)
{
	return REMOTE_INPUT - buf_len(&r->in);
}

size_t remote_input(struct remote *r, const void *data, size_t len)
{
	size_t n = min_of(len, remote_input_room(r));

	ASSERT(!r->in_end);
	if (r->stdin_closed || r->state == REMOTE_CLOSED)
		return len;
	if (buf_append(&r->in, data, n) < 0)
		n = 0;
	if (remote_input_room(r) < REMOTE_INPUT / 2)
		r->in_low = true;
	if (r->state == REMOTE_OPEN) {
		channel_ready(r->channel);
		guest_kick(r->guest);
	}
	return n;
}

void remote_input_end(struct remote *r)
{
	r->in_end = true;
	if (r->state == REMOTE_OPEN) {
		channel_ready(r->channel);
		guest_kick(r->guest);
	}
}

/* ---- the terminal ---- */

static void send_size(struct remote *r)
{
	struct msg_request m = {.op = OP_RESIZE, .size = r->config.size};
	char json[256];
	size_t len;

	if (r->state != REMOTE_OPEN || !r->owns || !r->config.has_size)
		return;
	len = msg_format_request(&m, json, sizeof(json));
	mux_request(r->channel->mux, r->channel->id, 1, json, len); /* the answer is of no use */
	guest_kick(r->guest);
}

void remote_set_size(struct remote *r, const struct msg_size *size)
{
	if (r->config.has_size && memcmp(&r->config.size, size, sizeof(*size)) == 0)
		return;
	r->config.size = *size;
	r->config.has_size = true;
	send_size(r);
}

static void set_owner(struct remote *r, bool owner)
{
	r->owns = owner;
	if (r->events->on_owner)
		r->events->on_owner(r, owner);
	send_size(r);
}

static bool on_pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct remote *r = remote_of(c);
	size_t left = (size_t)(in_head(r) - r->in_sent), n = min_of(left, max);
	bool fin = r->in_end && n == left;

	if (r->state != REMOTE_OPEN || r->stdin_closed || max == 0)
		return false;
	if (n == 0 && (!fin || r->in_end_sent))
		return false;
	*ret = (struct mux_item){.type = FRAME_DATA, .stream = STREAM_IN, .arg = r->in_sent};
	ret->flags = fin ? FRAME_FIN : 0;
	ret->data = n ? buf_head(&r->in) + (r->in_sent - r->in_safe) : NULL;
	ret->len = n;
	r->in_sent += n;
	r->in_end_sent = fin;
	return true;
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	struct remote *r = remote_of(c);

	if (stream == STREAM_IN && off > r->in_safe && off <= r->in_sent)
		set_safe(r, off);
}

/* ---- opened ---- */

static void grant(struct remote *r)
{
	uint64_t window = r->config.window;

	if (r->state != REMOTE_OPEN)
		return;
	if (r->opened_window < window / 2 && r->unconsumed <= window / 4)
		renew(r);
	else
		channel_grant(r->channel,
			r->channel->received + min_of(window - r->unconsumed, r->opened_window));
	guest_kick(r->guest);
}

/* Our input goes on from where the session says. False: that is nowhere in what we kept. */
static bool resume_input(struct remote *r, const struct msg_opened *o)
{
	if (!r->opened)
		r->in_safe = o->stdin_offset;
	else if (!r->stdin_closed && (o->stdin_offset < r->in_safe || o->stdin_offset > in_head(r)))
		return false;
	if (r->stdin_closed)
		return true;
	r->in_sent = max_of(o->stdin_offset, r->in_safe);
	return true;
}

static void on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	struct remote *r = remote_of(c);
	struct msg_opened o;
	struct error e;
	bool first = !r->opened;

	if (msg_parse_opened(json, len, &o, &e) < 0) {
		finish(r, REMOTE_LOST, &e);
		return;
	}
	if (r->config.input && !resume_input(r, &o)) {
		lost(r, E_BAD_OFFSET,
			"the session's offset of our input is not one we can go on from");
		return;
	}
	if (first && r->config.since_now) {
		r->off[STREAM_OUT] = o.out.head;
		r->off[STREAM_ERR] = o.err.head;
	}
	r->opened = true;
	r->owns = o.owner;
	c->send_limit = o.window;
	remote_set_state(r, REMOTE_OPEN);
	log_debug("remote open sess=%s ch=%u new=%d in=%llu", r->id, c->id, o.is_new,
		(unsigned long long)o.stdin_offset);
	if (first)
		r->events->on_opened(r, &o);
	if (r->state == REMOTE_OPEN && r->config.input && !o.stdin_open)
		set_stdin_closed(r);
	else if (r->state == REMOTE_OPEN && r->config.input)
		set_safe(r, r->in_sent);
	if (r->state != REMOTE_OPEN)
		return;
	channel_ready(c);
	if (memcmp(&o.size, &r->config.size, sizeof(o.size)) != 0)
		send_size(r); /* it has changed since OPEN */
	grant(r);             /* the consumer may have gone on since OPEN */
}

/* ---- output ---- */

void remote_consumed(struct remote *r, size_t n)
{
	ASSERT(n <= r->unconsumed);
	r->unconsumed -= n;
	grant(r);
}

/* Bytes up to `to` are not there. */
static void skip_to(struct remote *r, uint8_t stream, uint64_t to)
{
	uint64_t at = r->off[stream];

	r->off[stream] = to;
	if (r->events->on_gap)
		r->events->on_gap(r, stream, at, to - at);
}

static void on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct remote *r = remote_of(c);

	if (stream != STREAM_OUT && stream != STREAM_ERR)
		return;
	if (off + missing > r->off[stream])
		skip_to(r, stream, off + missing);
	if (missing == 0 && r->state == REMOTE_OPEN && r->events->on_gap)
		r->events->on_gap(r, stream, off, 0);
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct remote *r = remote_of(c);
	uint64_t had;

	(void)fin;
	if (stream != STREAM_OUT && stream != STREAM_ERR)
		return;
	if (off > r->off[stream])
		skip_to(r, stream, off);
	if (r->state != REMOTE_OPEN)
		return;
	had = min_of(r->off[stream] - off, (uint64_t)len);
	data += had;
	len -= had;
	if (had)
		grant(r);
	if (len == 0)
		return;
	off = r->off[stream];
	r->off[stream] += len;
	r->unconsumed += len;
	ASSERT(r->unconsumed <= r->config.window);
	r->events->on_output(r, stream, off, data, len);
}

static void on_event(struct channel *c, const uint8_t *json, size_t len)
{
	struct remote *r = remote_of(c);
	struct msg_event m;
	struct error e;

	if (msg_parse_event(json, len, &m, &e) < 0) {
		finish(r, REMOTE_LOST, &e);
	} else if (m.kind == EVENT_END && !r->ended) {
		r->ended = true;
		r->events->on_end(r, &m.end);
	} else if (m.kind == EVENT_LIVE && !r->live) {
		r->live = true; /* a later channel's replay is only what this one had not sent */
		if (r->events->on_live)
			r->events->on_live(r);
	} else if (m.kind == EVENT_STDIN_CLOSED) {
		set_stdin_closed(r);
	} else if (m.kind == EVENT_OWNER) {
		set_owner(r, m.owner);
	} else if (m.kind == EVENT_SIZE && r->events->on_size) {
		r->events->on_size(r, &m.size);
	}
}

static void on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	(void)c, (void)id, (void)json, (void)len;
}

/* REFUSED, CLOSE, or the link went. */
static void on_channel_close(struct channel *c, const uint8_t *json, size_t len)
{
	struct remote *r = remote_of(c);
	bool refused = r->state == REMOTE_OPENING;
	struct error e;

	if (r->state == REMOTE_CLOSED || c != r->channel) /* we did it */
		return;
	remote_set_state(r, REMOTE_IDLE);
	if (!mux_linked(c->mux))
		return;
	if (len == 0 || msg_parse_error(json, len, &e) != 1)
		error_set(&e, E_FAILED, 0, "the agent closed the channel");
	/* An agent that goes away breaks the link next, and then we shall know more. */
	if (refused && e.code == E_STOPPING)
		return;
	finish(r, refused && !r->opened ? REMOTE_REFUSED : REMOTE_LOST, &e);
}

static const struct channel_ops channel_ops = {
	.pull = on_pull,
	.on_data = on_data,
	.on_opened = on_opened,
	.on_gap = on_gap,
	.on_ack = on_ack,
	.on_event = on_event,
	.on_response = on_response,
	.on_close = on_channel_close,
};
