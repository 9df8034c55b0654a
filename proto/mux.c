/*
 * Everything that moves a channel is in this file: the table of ids, the two windows, the ready
 * list.
 *
 * The table is an array sorted by id; clients count ids up, so an insertion is an append. An entry
 * outlives its channel as a tombstone (channel NULL) while our CLOSE is on its way to the peer: the
 * id may not be used again before.
 *
 * A callback may close any channel, its own included; therefore nothing here keeps a channel
 * pointer across a callback except data_channel, which channel_detach() clears.
 */
#include "proto/mux.h"

#include "proto/error.h"

#define CONTROL_MAX (MUX_CONTROL_HIGH + 4 * (FRAME_MAX + WS_HEADER_MAX))

void mux_init(struct mux *m, enum ws_role role, const struct mux_events *events, void *owner,
	size_t max_channels)
{
	*m = (struct mux){.role = role,
		.events = events,
		.owner = owner,
		.max_channels = max_channels,
		.linked = true};
	m->control = BUF_NULL(CONTROL_MAX);
	m->assembly = BUF_NULL(FRAME_MAX);
	list_init(&m->ready);
	list_init(&m->due);
}

/* ---- the table ---- */

/* Index of the first entry whose id is not below `id`. */
static size_t lower_bound(const struct mux *m, uint32_t id)
{
	size_t lo = 0, hi = m->n_entries;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->entries[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct mux_entry *find_entry(const struct mux *m, uint32_t id)
{
	size_t i = lower_bound(m, id);

	return i < m->n_entries && m->entries[i].id == id ? &m->entries[i] : NULL;
}

/* One that still takes part; what comes for others has crossed a CLOSE. */
static struct channel *find_channel(const struct mux *m, uint32_t id)
{
	struct mux_entry *e = find_entry(m, id);

	return e && e->channel && !e->channel->closing ? e->channel : NULL;
}

static int insert_entry(struct mux *m, uint32_t id, struct channel *c)
{
	size_t at = lower_bound(m, id);

	if (m->n_entries == m->cap_entries) {
		size_t cap = max_of(m->cap_entries * 2, (size_t)8);
		struct mux_entry *p = realloc(m->entries, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		m->entries = p;
		m->cap_entries = cap;
	}
	memmove(m->entries + at + 1, m->entries + at, (m->n_entries - at) * sizeof(*m->entries));
	m->entries[at] = (struct mux_entry){.id = id, .channel = c};
	m->n_entries++;
	return 0;
}

static void remove_entry(struct mux *m, struct mux_entry *e)
{
	size_t at = (size_t)(e - m->entries);

	m->n_entries--;
	memmove(m->entries + at, m->entries + at + 1, (m->n_entries - at) * sizeof(*m->entries));
}

static int channel_attach(
	struct mux *m, uint32_t id, struct channel *c, const struct channel_ops *ops)
{
	*c = (struct channel){.mux = m, .ops = ops, .id = id};
	list_init(&c->ready);
	list_init(&c->due);
	return insert_entry(m, id, c);
}

/* The service is told, once, and may free the channel; the table must be right before this. */
static void channel_detach(struct channel *c, const uint8_t *error, size_t len)
{
	struct mux *m = c->mux;

	list_remove(&c->ready);
	list_remove(&c->due);
	if (m->data_channel == c)
		m->data_channel = NULL;
	c->ops->on_close(c, error, len);
}

void mux_fini(struct mux *m)
{
	m->linked = false;
	while (m->n_entries > 0) {
		struct mux_entry e = m->entries[--m->n_entries];

		if (e.channel)
			channel_detach(e.channel, NULL, 0);
	}
	free(take_ptr(&m->entries));
	m->cap_entries = 0;
	buf_fini(&m->control);
	buf_fini(&m->assembly);
}

/* ---- control frames ---- */

void mux_send(struct mux *m, const struct frame *f, const void *payload, size_t len)
{
	uint8_t prefix[FRAME_PREFIX_MAX];
	size_t n;

	ASSERT(len <= FRAME_PAYLOAD_MAX);
	if (m->broken || !m->linked)
		return;
	m->urgent = true;
	n = frame_prefix(prefix, m->role, f, len);
	if (!buf_reserve(&m->control, n + len)) {
		m->broken = buf_len(&m->control) > MUX_CONTROL_HIGH ? WS_CLOSE_POLICY
								    : WS_CLOSE_INTERNAL;
		return;
	}
	buf_append(&m->control, prefix, n);
	buf_append(&m->control, payload, len);
}

void mux_hello(struct mux *m, const void *json, size_t len)
{
	mux_send(m, &(struct frame){.type = FRAME_HELLO}, json, len);
}

void mux_respond(struct mux *m, uint32_t channel, uint64_t id, const void *json, size_t len)
{
	bool before = m->urgent;

	mux_send(m, &(struct frame){.type = FRAME_RES, .channel = channel, .arg = id}, json, len);
	m->urgent = before || !m->patient;
}

void mux_request(struct mux *m, uint32_t channel, uint64_t id, const void *json, size_t len)
{
	mux_send(m, &(struct frame){.type = FRAME_REQ, .channel = channel, .arg = id}, json, len);
}

static void send_error(struct mux *m, struct frame f, enum error_code code, const char *message)
{
	struct error e;
	char json[ERROR_JSON_MAX];

	error_set(&e, code, 0, "%s", message);
	mux_send(m, &f, json, error_json(&e, json));
}

void mux_refuse(struct mux *m, uint32_t id, const void *error, size_t len)
{
	mux_send(m, &(struct frame){.type = FRAME_REFUSED, .channel = id}, error, len);
}

void mux_accept(struct mux *m, uint32_t id, struct channel *c, const struct channel_ops *ops,
	uint64_t window, uint64_t send_limit, bool urgent, const void *json, size_t len)
{
	bool before = m->urgent;

	if (mux_defer(m, id, c, ops, send_limit) < 0) {
		m->broken = WS_CLOSE_INTERNAL;
		channel_detach(c, NULL, 0);
		return;
	}
	channel_accept(c, window, json, len);
	m->urgent = before || urgent;
	m->patient = !m->urgent;
}

int mux_defer(struct mux *m, uint32_t id, struct channel *c, const struct channel_ops *ops,
	uint64_t send_limit)
{
	int r = channel_attach(m, id, c, ops);

	c->send_limit = send_limit;
	return r;
}

void channel_accept(struct channel *c, uint64_t window, const void *json, size_t len)
{
	ASSERT(!c->opened && c->mux->role == WS_SERVER);
	c->opened = true;
	c->recv_limit = c->recv_announced = window;
	mux_send(c->mux, &(struct frame){.type = FRAME_OPENED, .channel = c->id}, json, len);
	channel_ready(c);
}

int mux_open(struct mux *m, struct channel *c, const struct channel_ops *ops, uint64_t window,
	const void *json, size_t len)
{
	uint32_t id;
	int r;

	if (m->n_entries >= m->max_channels)
		return -EMFILE;
	id = m->n_entries ? m->entries[m->n_entries - 1].id + 1 : 1;
	ASSERT(id != 0);
	r = channel_attach(m, id, c, ops);
	if (r < 0)
		return r;
	c->recv_limit = c->recv_announced = window;
	mux_send(m, &(struct frame){.type = FRAME_OPEN, .channel = id}, json, len);
	return 0;
}

void channel_presume(struct channel *c, uint64_t window)
{
	c->early = true;
	c->send_limit = max_of(c->send_limit, window);
	channel_ready(c);
}

void channel_close(struct channel *c, const void *error, size_t len)
{
	struct mux *m = c->mux;
	struct mux_entry *e = find_entry(m, c->id);

	if (m->role == WS_SERVER && !c->opened) {
		mux_refuse(m, c->id, error, len);
		remove_entry(m, e);
	} else {
		if (!c->closing)
			mux_send(m, &(struct frame){.type = FRAME_CLOSE, .channel = c->id}, error,
				len);
		/* Also while the link goes: mux_fini() must not come to this channel any more. */
		e->channel = NULL;
	}
	channel_detach(c, error, len);
}

void channel_event(struct channel *c, const void *json, size_t len)
{
	if (!c->closing)
		mux_send(c->mux, &(struct frame){.type = FRAME_EVENT, .channel = c->id}, json, len);
}

/* ---- credit ---- */

static void mark_due(struct channel *c)
{
	if (c->closing)
		return;
	c->mux->urgent = true;
	if (list_empty(&c->due) && c->mux->linked)
		list_append(&c->mux->due, &c->due);
}

void channel_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	c->ack_stream = stream;
	if (off > c->ack) {
		c->ack = off;
		mark_due(c);
	}
}

/* The peer is told when what it knows of is less than half of what it may have. */
static void check_window(struct channel *c)
{
	if (c->recv_limit > c->recv_announced &&
		c->recv_announced - c->received <= c->recv_limit - c->recv_announced)
		mark_due(c);
}

void channel_grant(struct channel *c, uint64_t total)
{
	if (total <= c->recv_limit)
		return;
	c->recv_limit = total;
	check_window(c);
}

void mux_flush_due(struct mux *m)
{
	while (!list_empty(&m->due) && buf_len(&m->control) <= MUX_CONTROL_HIGH) {
		struct channel *c = list_first(&m->due, struct channel, due);
		struct frame f = {.channel = c->id};

		list_remove(&c->due);
		if (c->ack > c->ack_sent) {
			f.type = FRAME_ACK;
			f.stream = c->ack_stream;
			f.arg = c->ack_sent = c->ack;
			mux_send(m, &f, NULL, 0);
		}
		if (c->recv_limit > c->recv_announced) {
			f.type = FRAME_WINDOW;
			f.stream = 0;
			f.arg = c->recv_announced = c->recv_limit;
			mux_send(m, &f, NULL, 0);
		}
	}
}

/* ---- in-stream frames ---- */

void channel_ready(struct channel *c)
{
	c->mux->urgent = true;
	if ((c->opened || c->early) && !c->closing && list_empty(&c->ready) && c->mux->linked)
		list_append(&c->mux->ready, &c->ready);
}

bool mux_pull(struct mux *m, struct mux_out *ret)
{
	while (!list_empty(&m->ready) && !m->broken) {
		struct channel *c = list_first(&m->ready, struct channel, ready);
		uint64_t credit = channel_credit(c);
		struct mux_item it = {0};
		struct frame f;

		/* To the end of the line before it speaks: each in turn. */
		list_remove(&c->ready);
		if (!c->ops->pull(c, (size_t)min_of(credit, (uint64_t)FRAME_PAYLOAD_MAX), &it))
			continue;
		ASSERT(it.len <= FRAME_PAYLOAD_MAX);
		f = (struct frame){.type = it.type,
			.flags = it.flags,
			.stream = it.stream,
			.channel = c->id,
			.arg = it.arg};
		ret->prefix_len = frame_prefix(ret->prefix, m->role, &f, it.len);
		ret->payload = it.data;
		ret->payload_len = it.len;
		if (it.type == FRAME_CLOSE) {
			ASSERT(it.len == 0);
			c->closing = true;
			list_remove(&c->due);
			return true;
		}
		if (it.type == FRAME_DATA) {
			ASSERT(it.len <= credit);
			c->sent += it.len;
		}
		channel_ready(c);
		return true;
	}
	return false;
}

/* ---- input ---- */

static void reject(struct mux *m)
{
	struct frame f = {.type = FRAME_REJECT, .channel = m->frame.channel, .arg = m->frame.type};

	if (m->role == WS_SERVER)
		send_error(m, f, E_UNKNOWN_TYPE, "this frame type is not known here");
}

static void input_open(struct mux *m, const uint8_t *data, size_t len)
{
	struct frame f = {.type = FRAME_REFUSED, .channel = m->frame.channel};

	if (f.channel == 0)
		send_error(m, f, E_BAD_MESSAGE, "channel 0 is the link itself");
	else if (find_entry(m, f.channel))
		send_error(m, f, E_CHANNEL_IN_USE, "this channel id is in use");
	else if (m->n_entries >= m->max_channels)
		send_error(m, f, E_TOO_MANY, "too many channels on this link");
	else
		m->events->on_open(m->owner, f.channel, data, len);
}

static void input_request(struct mux *m, const uint8_t *data, size_t len)
{
	struct channel *c = find_channel(m, m->frame.channel);

	if (m->frame.channel == 0)
		m->events->on_request(m->owner, m->frame.arg, data, len);
	else if (c)
		c->ops->on_request(c, m->frame.arg, data, len);
	else
		send_error(m,
			(struct frame){.type = FRAME_RES,
				.channel = m->frame.channel,
				.arg = m->frame.arg},
			E_NO_CHANNEL, "there is no such channel");
}

static void input_close(struct mux *m, const uint8_t *data, size_t len)
{
	struct mux_entry *e = find_entry(m, m->frame.channel);
	struct channel *c;

	if (!e)
		return;
	c = e->channel;
	remove_entry(m, e);
	if (c && !c->closing)
		mux_send(m, &(struct frame){.type = FRAME_CLOSE, .channel = c->id}, NULL, 0);
	if (c)
		channel_detach(c, data, len);
}

/* Frames only the client end takes. */
static void input_client(struct mux *m, const uint8_t *data, size_t len)
{
	struct mux_entry *e = find_entry(m, m->frame.channel);
	struct channel *c = e ? e->channel : NULL;

	if (m->frame.type == FRAME_NOTICE) {
		m->events->on_notice(m->owner, data, len);
	} else if (m->frame.type == FRAME_RES && m->frame.channel == 0) {
		m->events->on_response(m->owner, m->frame.arg, data, len);
	} else if (!c) {
		/* We closed it before this came, and there will be no CLOSE for what never was. */
		if (e && m->frame.type == FRAME_REFUSED)
			remove_entry(m, e);
	} else if (!c->opened && m->frame.type == FRAME_OPENED) {
		c->opened = true;
		c->ops->on_opened(c, data, len);
	} else if (!c->opened && m->frame.type == FRAME_REFUSED) {
		remove_entry(m, e);
		channel_detach(c, data, len);
	} else if (!c->opened) {
		return;
	} else if (m->frame.type == FRAME_RES) {
		c->ops->on_response(c, m->frame.arg, data, len);
	} else if (m->frame.type == FRAME_GAP && len == 8) {
		c->ops->on_gap(c, m->frame.stream, m->frame.arg, get_u64(data));
	} else if (m->frame.type == FRAME_ACK) {
		c->ops->on_ack(c, m->frame.stream, m->frame.arg);
	} else if (m->frame.type == FRAME_EVENT) {
		c->ops->on_event(c, data, len);
	}
}

static void input_window(struct mux *m)
{
	struct channel *c = find_channel(m, m->frame.channel);

	if (c && m->frame.arg > c->send_limit) {
		c->send_limit = m->frame.arg;
		channel_ready(c);
	}
}

/* A whole frame other than DATA. */
static int dispatch(struct mux *m, const uint8_t *data, size_t len)
{
	bool server = m->role == WS_SERVER;

	switch (m->frame.type) {
	case FRAME_HELLO:
		if (m->hello_seen || m->frame.channel != 0)
			return WS_CLOSE_PROTOCOL;
		m->hello_seen = true;
		m->events->on_hello(m->owner, data, len);
		break;
	case FRAME_WINDOW: input_window(m); break;
	case FRAME_ACK: /* like WINDOW it may have crossed a CLOSE: never rejected */
		if (!server)
			input_client(m, data, len);
		break;
	case FRAME_CLOSE: input_close(m, data, len); break;
	case FRAME_OPEN:
		if (server)
			input_open(m, data, len);
		break;
	case FRAME_REQ:
		if (server)
			input_request(m, data, len);
		break;
	default:
		if (server)
			reject(m);
		else
			input_client(m, data, len);
	}
	return m->broken;
}

static void input_data(struct mux *m, const uint8_t *data, size_t len, bool last)
{
	struct channel *c = m->data_channel;
	bool fin = last && (m->frame.flags & FRAME_FIN);
	uint64_t off = m->frame.arg + m->frame_at;

	m->frame_at += len;
	if (!c || (len == 0 && !fin))
		return;
	if (len > c->recv_announced - c->received) {
		struct error e;
		char json[ERROR_JSON_MAX];

		error_set(&e, E_CREDIT_OVERRUN, 0, "more data than the window of %llu bytes allows",
			(unsigned long long)c->recv_announced);
		channel_close(c, json, error_json(&e, json));
		return;
	}
	c->received += len;
	check_window(c);
	c->ops->on_data(c, m->frame.stream, off, data, len, fin);
}

/* Collects the header; returns how many bytes of the slice belong to it. */
static size_t input_head(struct mux *m, const uint8_t *data, size_t len)
{
	size_t n = min_of(len, FRAME_HEADER - m->head_len);

	memcpy(m->head + m->head_len, data, n);
	m->head_len += n;
	if (n > 0 && m->head_len == FRAME_HEADER) {
		frame_decode(&m->frame, m->head);
		if (m->frame.type == FRAME_DATA)
			m->data_channel = find_channel(m, m->frame.channel);
		if (m->data_channel && !m->data_channel->opened && m->role == WS_CLIENT)
			m->data_channel = NULL;
	}
	return n;
}

int mux_input(struct mux *m, const uint8_t *data, size_t len, bool first, bool last)
{
	size_t n;
	int r;

	if (m->broken)
		return m->broken;
	if (first) {
		m->head_len = 0;
		m->frame_at = 0;
		m->data_channel = NULL;
		buf_consume(&m->assembly, buf_len(&m->assembly));
	}
	if (m->head_len < FRAME_HEADER) {
		n = input_head(m, data, len);
		data += n;
		len -= n;
		if (m->head_len < FRAME_HEADER)
			return last ? WS_CLOSE_PROTOCOL : 0;
	}
	if (!m->hello_seen && m->frame.type != FRAME_HELLO)
		return WS_CLOSE_PROTOCOL;
	if (m->frame.type == FRAME_DATA) {
		input_data(m, data, len, last);
		return m->broken;
	}
	if (last && buf_len(&m->assembly) == 0)
		return dispatch(m, data, len);
	r = buf_append(&m->assembly, data, len);
	if (r < 0)
		return r == -ENOMEM ? WS_CLOSE_INTERNAL : WS_CLOSE_TOO_BIG;
	if (!last)
		return 0;
	r = dispatch(m, buf_head(&m->assembly), buf_len(&m->assembly));
	buf_fini(&m->assembly);
	return r;
}
