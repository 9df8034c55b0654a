/*
 * mux_pair.h - a server and a client mux with bytes under way between them, driven by ops from
 * numbers, so that a random generator and a fuzzer can use the same bench. Beside each channel
 * stands a model: what was given to it, what came out, what it may. After each op everything that
 * must hold is asserted, and on_close is called exactly once for each channel or the sanitizer
 * tells.
 *
 * Hostile: the two are not connected; each faces somebody who sends well-formed WebSocket messages
 * with any frames in them, cut anywhere.
 *
 * Callbacks close channels, their own and others', where the ops say so.
 */
#pragma once

#include "proto/mux.h"

#define PAIR_CHANS   12u /* at each end; the server takes fewer */
#define PAIR_INBOX   (1 * MIB)
#define PAIR_BIG     40000u
#define PAIR_CONTROL (MUX_CONTROL_HIGH + 4 * (FRAME_MAX + WS_HEADER_MAX))

struct pair_chan {
	struct channel channel;
	struct pair_end *end;
	uint64_t todo, pulled; /* bytes to send; sent */
	uint64_t got, granted; /* bytes received; the largest total granted */
	uint64_t acked;        /* server: the largest acknowledged; client: the largest heard */
	unsigned events;
	uint16_t answer; /* the window to accept with, later */
	bool ends;       /* CLOSE once todo is 0 */
	bool close_in_data, close_in_pull, close_in_close;
};

struct pair_end {
	struct pair *pair;
	struct mux mux;
	struct ws_decoder ws;
	struct buf inbox; /* on its way to this end */
	struct pair_chan *chans[PAIR_CHANS];
	struct pair_chan *busy; /* one of its callbacks runs: it must not be closed by another's */
	unsigned opened, closed, asked, answered;
	int code; /* the link had to end with */
};

struct pair {
	struct pair_end end[2]; /* by role */
	bool hostile;
	uint16_t window; /* the server's next answer */
};

static inline struct pair_end *pair_peer(struct pair_end *e)
{
	return &e->pair->end[e->mux.role == WS_SERVER ? WS_CLIENT : WS_SERVER];
}

static inline uint8_t pair_byte(uint32_t id, enum ws_role from, uint64_t off)
{
	return (uint8_t)(((off + id) * 0x9e3779b97f4a7c15u >> 35) + (unsigned)from);
}

static inline struct pair_chan *pair_of(struct channel *c)
{
	return container_of(c, struct pair_chan, channel);
}

/* A live channel of this end, or NULL. */
static inline struct pair_chan *pair_pick(struct pair_end *e, unsigned n)
{
	for (unsigned i = 0; i < PAIR_CHANS; i++) {
		if (e->chans[(n + i) % PAIR_CHANS])
			return e->chans[(n + i) % PAIR_CHANS];
	}
	return NULL;
}

static inline struct pair_chan *pair_find(struct pair_end *e, uint32_t id)
{
	for (unsigned i = 0; i < PAIR_CHANS; i++) {
		if (e->chans[i] && e->chans[i]->channel.id == id)
			return e->chans[i];
	}
	return NULL;
}

static inline void pair_close_another(struct pair_end *e, const struct pair_chan * not )
{
	for (unsigned i = 0; i < PAIR_CHANS; i++) {
		struct pair_chan *x = e->chans[i];

		if (!x || x == not || x == e->busy)
			continue;
		channel_close(&x->channel, "{}", 2);
		return;
	}
}

/* ---- what a channel does ---- */

static inline bool pair_pull(struct channel *c, size_t max, struct mux_item *ret)
{
	static uint8_t data[FRAME_PAYLOAD_MAX];
	struct pair_chan *x = pair_of(c);
	size_t n = (size_t)min_of(x->todo, (uint64_t)max);

	ASSERT(c->opened && !c->closing && x->end->mux.linked);
	if (x->close_in_pull) {
		x->close_in_pull = false;
		x->end->busy = x;
		pair_close_another(x->end, x);
		x->end->busy = NULL;
	}
	if (x->events > 0) {
		x->events--;
		*ret = (struct mux_item){.type = FRAME_EVENT, .data = "{}", .len = 2};
		return true;
	}
	if (n > 0) {
		for (size_t i = 0; i < n; i++)
			data[i] = pair_byte(c->id, x->end->mux.role, x->pulled + i);
		*ret = (struct mux_item){
			.type = FRAME_DATA, .stream = 1, .arg = x->pulled, .data = data, .len = n};
		x->pulled += n;
		x->todo -= n;
		return true;
	}
	*ret = (struct mux_item){.type = FRAME_CLOSE};
	return x->ends && x->todo == 0;
}

static inline void pair_on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct pair_chan *x = pair_of(c);
	struct pair_end *e = x->end;

	ASSERT(len > 0 || fin);
	x->got += len;
	ASSERT(x->got == c->received && x->got <= x->granted);
	if (!e->pair->hostile) {
		ASSERT(stream == 1 && off == x->got - len);
		for (size_t i = 0; i < len; i++)
			ASSERT(data[i] == pair_byte(c->id, pair_peer(e)->mux.role, off + i));
	}
	if (x->close_in_data)
		channel_close(c, NULL, 0);
}

static inline void pair_on_request(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	mux_respond(c->mux, c->id, id, json, min_of(len, (size_t)100));
}

static inline void pair_on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct pair_chan *x = pair_of(c);
	struct pair_end *e = x->end;
	unsigned slot = 0;
	bool again = x->close_in_close;

	while (slot < PAIR_CHANS && e->chans[slot] != x)
		slot++;
	ASSERT(slot < PAIR_CHANS && e->busy != x);
	ASSERT(len == 0 || error);
	ASSERT(list_empty(&c->ready) && list_empty(&c->due) && e->mux.data_channel != c);
	e->chans[slot] = NULL;
	e->closed++;
	free(x);
	if (again)
		pair_close_another(e, NULL);
}

static inline void pair_on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	c->send_limit = len == 2 ? get_u16(json) : 0;
	channel_ready(c);
}

static inline void pair_on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	(void)stream;
	(void)off;
	(void)missing;
	ASSERT(c->opened && c->mux->role == WS_CLIENT);
}

static inline void pair_on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	struct pair_chan *x = pair_of(c);

	(void)stream;
	ASSERT(x->end->pair->hostile || off > x->acked);
	x->acked = off;
}

static inline void pair_on_event(struct channel *c, const uint8_t *json, size_t len)
{
	(void)json;
	(void)len;
	ASSERT(c->opened && c->mux->role == WS_CLIENT);
}

static inline void pair_on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	(void)id;
	pair_on_event(c, json, len);
}

static const struct channel_ops pair_server_ops = {.pull = pair_pull,
	.on_data = pair_on_data,
	.on_request = pair_on_request,
	.on_close = pair_on_close};
static const struct channel_ops pair_client_ops = {.pull = pair_pull,
	.on_data = pair_on_data,
	.on_opened = pair_on_opened,
	.on_gap = pair_on_gap,
	.on_ack = pair_on_ack,
	.on_event = pair_on_event,
	.on_response = pair_on_response,
	.on_close = pair_on_close};

/* ---- what a link does ---- */

static inline struct pair_chan *pair_new_chan(struct pair_end *e, uint64_t window)
{
	unsigned slot = 0;

	while (slot < PAIR_CHANS && e->chans[slot])
		slot++;
	if (slot == PAIR_CHANS)
		return NULL;
	e->chans[slot] = calloc(1, sizeof(struct pair_chan));
	ASSERT(e->chans[slot]);
	e->chans[slot]->end = e;
	e->chans[slot]->granted = window;
	return e->chans[slot];
}

static inline void pair_hello(void *owner, const uint8_t *json, size_t len)
{
	(void)owner;
	(void)json;
	(void)len;
}

/* The payload of OPEN and OPENED is the window, two bytes. */
static inline void pair_on_open(void *owner, uint32_t id, const uint8_t *json, size_t len)
{
	struct pair_end *e = owner;
	uint16_t window = e->pair->window, limit = len >= 2 ? get_u16(json) : 0;
	struct pair_chan *x = limit % 8 == 7 ? NULL : pair_new_chan(e, window);
	uint8_t answer[2];

	ASSERT(id != 0 && !pair_find(e, id));
	if (!x) {
		mux_refuse(&e->mux, id, "{}", 2);
		return;
	}
	e->opened++;
	put_u16(answer, window);
	if (limit % 8 == 6) { /* pair_answer() */
		x->granted = 0;
		x->answer = window;
		ASSERT(mux_defer(&e->mux, id, &x->channel, &pair_server_ops, limit) == 0);
		return;
	}
	mux_accept(&e->mux, id, &x->channel, &pair_server_ops, window, limit, true, answer, 2);
}

/* To an OPEN that was kept waiting; the odd one is refused after all. */
static inline void pair_answer(struct pair_chan *x, bool refuse)
{
	uint8_t answer[2];

	put_u16(answer, x->answer);
	if (refuse) {
		channel_close(&x->channel, "{}", 2);
		return;
	}
	x->granted = x->answer;
	channel_accept(&x->channel, x->answer, answer, 2);
}

static inline bool pair_waits(const struct pair_chan *x)
{
	return x && !x->channel.opened && x->end->mux.role == WS_SERVER;
}

static inline void pair_request(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	struct pair_end *e = owner;

	mux_respond(&e->mux, 0, id, json, min_of(len, (size_t)1000));
}

static inline void pair_response(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	struct pair_end *e = owner;

	(void)json;
	(void)len;
	ASSERT(e->pair->hostile || id == e->answered); /* in order, none missing */
	e->answered++;
}

static const struct mux_events pair_events = {.on_hello = pair_hello,
	.on_open = pair_on_open,
	.on_request = pair_request,
	.on_response = pair_response,
	.on_notice = pair_hello};

/* ---- what must hold ---- */

static inline void pair_check_chan(struct pair_chan *x)
{
	struct channel *c = &x->channel;
	struct pair_end *other = pair_peer(x->end);
	struct pair_chan *far = x->end->pair->hostile ? NULL : pair_find(other, c->id);

	ASSERT(c->mux == &x->end->mux);
	ASSERT(c->received == x->got && c->recv_limit == x->granted);
	ASSERT(c->received <= c->recv_announced && c->recv_announced <= c->recv_limit);
	ASSERT(c->sent == x->pulled && c->sent <= c->send_limit);
	ASSERT(c->ack_sent <= c->ack);
	ASSERT(!c->closing || (list_empty(&c->ready) && list_empty(&c->due)));
	if (!far || c->closing || far->channel.closing)
		return;
	ASSERT(c->send_limit <= far->granted && c->sent <= far->channel.recv_announced);
	ASSERT(far->got <= x->pulled);
}

static inline void pair_check(struct pair_end *e)
{
	struct mux *m = &e->mux;
	unsigned live = 0;

	for (unsigned i = 0; i < PAIR_CHANS; i++) {
		if (!e->chans[i])
			continue;
		live++;
		pair_check_chan(e->chans[i]);
	}
	ASSERT(e->opened - e->closed == live);
	ASSERT(m->n_entries <= m->max_channels);
	for (size_t i = 0; i < m->n_entries; i++) {
		ASSERT(i == 0 || m->entries[i - 1].id < m->entries[i].id);
		if (!m->entries[i].channel)
			continue;
		live--;
		ASSERT(pair_of(m->entries[i].channel) == pair_find(e, m->entries[i].id));
	}
	ASSERT(live == 0);
	list_for_each (r, &m->ready, struct channel, ready)
		ASSERT(&pair_find(e, r->id)->channel == r && r->opened && !r->closing);
	list_for_each (d, &m->due, struct channel, due)
		ASSERT(&pair_find(e, d->id)->channel == d && !d->closing);
	ASSERT(!m->data_channel || &pair_find(e, m->data_channel->id)->channel == m->data_channel);
	ASSERT(buf_len(&m->control) <= PAIR_CONTROL && buf_len(&m->assembly) <= FRAME_PAYLOAD_MAX);
}

/* ---- bytes ---- */

/* Everything that is urgent and up to `frames` of the rest, onto its way. */
static inline void pair_pump(struct pair_end *e, unsigned frames)
{
	struct buf *to = &pair_peer(e)->inbox, nowhere = BUF_NULL(PAIR_INBOX * 4);
	struct mux_out out;

	if (e->pair->hostile)
		to = &nowhere;
	if (buf_len(to) > PAIR_INBOX || e->code)
		return; /* the other does not read */
	mux_flush_due(&e->mux);
	if (buf_len(&e->mux.control) > 0)
		ASSERT(buf_append(to, buf_head(&e->mux.control), buf_len(&e->mux.control)) == 0);
	buf_consume(&e->mux.control, buf_len(&e->mux.control));
	while (frames-- > 0 && mux_pull(&e->mux, &out)) {
		ASSERT(buf_append(to, out.prefix, out.prefix_len) == 0);
		ASSERT(buf_append(to, out.payload, out.payload_len) == 0);
	}
	buf_fini(&nowhere);
}

/* The next n bytes arrive, as far as they are wanted. */
static inline void pair_deliver(struct pair_end *e, size_t n)
{
	uint8_t *copy, *at;
	struct ws_event ev;
	int r = 0;

	n = min_of(n, buf_len(&e->inbox));
	if (n == 0 || e->code)
		return;
	copy = at = malloc(n); /* of exactly this size */
	ASSERT(copy);
	memcpy(copy, buf_head(&e->inbox), n);
	while (!e->code && buf_len(&e->mux.control) <= MUX_CONTROL_HIGH &&
		(r = ws_next(&e->ws, &at, &n, &ev)) > 0) {
		ASSERT(ev.type == WS_EV_DATA);
		e->code = mux_input(&e->mux, ev.data, ev.len, ev.first, ev.last);
		ASSERT(!e->code || e->pair->hostile);
	}
	ASSERT(r >= 0);
	buf_consume(&e->inbox, (size_t)(at - copy));
	free(copy);
}

/* A frame of somebody who knows how WebSocket goes, and nothing else. */
static inline void pair_attack(struct pair_end *e, uint8_t op, uint16_t arg)
{
	static const uint8_t types[] = {FRAME_DATA, FRAME_DATA, FRAME_DATA, FRAME_OPEN, FRAME_OPEN,
		FRAME_CLOSE, FRAME_WINDOW, FRAME_REQ, FRAME_OPENED, FRAME_REFUSED, FRAME_ACK,
		FRAME_GAP, FRAME_EVENT, FRAME_RES, FRAME_NOTICE, 99};
	static const uint64_t args[] = {0, 1, 100, 300, 50000, 1ULL << 53, 1ULL << 63, UINT64_MAX};
	static const uint16_t sizes[] = {0, 1, 2, 8, 100, 1000, 20000, FRAME_PAYLOAD_MAX};
	static uint8_t message[FRAME_MAX];
	struct frame f = {.type = types[arg & 15], .flags = op >> 7, .stream = op >> 5 & 3};
	enum ws_role far = e->mux.role == WS_SERVER ? WS_CLIENT : WS_SERVER;
	size_t len = FRAME_HEADER + sizes[arg >> 7 & 7],
	       first = op & 64 ? len : (size_t)(arg >> 6) % (len + 1);
	uint8_t header[WS_HEADER_MAX];
	static const uint8_t zero[4];

	f.channel = arg >> 4 & 7;
	f.arg = args[arg >> 10 & 7];
	frame_encode(&f, message);
	message[FRAME_HEADER] = (uint8_t)(arg >> 13);
	if (buf_len(&e->inbox) > PAIR_INBOX)
		return;
	buf_append(&e->inbox, header,
		ws_encode_header(header, far, WS_BINARY, first == len, first, zero));
	buf_append(&e->inbox, message, first);
	if (first == len)
		return;
	buf_append(
		&e->inbox, header, ws_encode_header(header, far, WS_CONT, true, len - first, zero));
	buf_append(&e->inbox, message + first, len - first);
}

/* ---- ops ---- */

static inline void pair_connect(struct pair_end *e, uint16_t arg)
{
	struct pair_chan *x = pair_new_chan(e, arg);
	uint8_t window[2];

	if (!x)
		return;
	put_u16(window, arg);
	e->opened++;
	e->pair->window = (uint16_t)(arg * 40503u);
	if (mux_open(&e->mux, &x->channel, &pair_client_ops, arg, window, 2) == 0)
		return;
	e->opened--;
	for (unsigned i = 0; i < PAIR_CHANS; i++) {
		if (e->chans[i] == x)
			e->chans[i] = NULL;
	}
	free(x);
}

static inline void pair_grant(struct pair_chan *x, uint16_t arg)
{
	/* Sometimes less than before: that must change nothing. */
	uint64_t total = x->got + arg % 3000 * (arg & 1 ? 1 : 20);

	x->granted = max_of(x->granted, total);
	channel_grant(&x->channel, total);
}

static inline void pair_touch(struct pair_end *e, struct pair_chan *x, unsigned what, uint16_t arg)
{
	if (pair_waits(x) && what > 1) {
		pair_answer(x, what == 2);
		return;
	}
	if (pair_waits(x))
		return;
	switch (what) {
	case 0:
		x->todo += arg % PAIR_BIG;
		channel_ready(&x->channel);
		break;
	case 1: pair_grant(x, arg); break;
	case 2: channel_close(&x->channel, "{}", arg & 1 ? 2 : 0); break;
	case 3:
		x->ends = true;
		channel_ready(&x->channel);
		break;
	case 4: x->close_in_data = arg & 1; break;
	case 5:
		x->close_in_pull = arg & 1;
		channel_ready(&x->channel);
		break;
	case 6: x->close_in_close = arg & 1; break;
	default:
		if (e->mux.role == WS_CLIENT) {
			mux_request(&e->mux, x->channel.id, 7, "{}", 2);
		} else if (x->channel.closing) {
			break;
		} else if (arg & 1) {
			x->acked = max_of(x->acked, (uint64_t)arg);
			channel_ack(&x->channel, 0, arg);
		} else {
			x->events += arg & 2;
			channel_ready(&x->channel);
			channel_event(&x->channel, "{}", 2);
		}
	}
}

static inline void pair_op(struct pair *p, uint8_t op, uint16_t arg)
{
	struct pair_end *e = &p->end[op >> 3 & 1];
	struct pair_chan *x = pair_pick(e, arg >> 8);

	switch (op & 7) {
	case 0: pair_connect(&p->end[WS_CLIENT], arg); break;
	case 1: pair_pump(e, arg & 15); break;
	case 2: pair_deliver(e, arg & 1 ? arg : arg % 40); break;
	case 3:
		if (p->hostile)
			pair_attack(e, op, arg);
		else
			pair_pump(e, 100);
		break;
	case 4:
		if (e->mux.role == WS_CLIENT)
			mux_request(&e->mux, 0, e->asked++, "{}", 2);
		break;
	default:
		if (x)
			pair_touch(e, x, (op >> 4) & 7, arg);
	}
	pair_check(&p->end[0]);
	pair_check(&p->end[1]);
}

/* ---- life ---- */

static inline struct pair *pair_new(bool hostile)
{
	struct pair *p = calloc(1, sizeof(*p));

	ASSERT(p);
	p->hostile = hostile;
	p->window = 1000;
	for (int i = 0; i < 2; i++) {
		struct pair_end *e = &p->end[i];
		enum ws_role role = i == WS_SERVER ? WS_SERVER : WS_CLIENT;

		e->pair = p;
		e->inbox = BUF_NULL(8 * PAIR_INBOX);
		mux_init(&e->mux, role, &pair_events, e,
			role == WS_SERVER ? PAIR_CHANS - 4 : PAIR_CHANS);
		ws_decoder_init(&e->ws, role, FRAME_MAX);
		e->mux.hello_seen = true;
	}
	return p;
}

/* Honest: when all has arrived, whoever still has something to send has used up what it was
 * granted; no request is without its answer. */
static inline void pair_settle(struct pair *p)
{
	for (unsigned i = 0; i < 2000; i++) {
		pair_pump(&p->end[i & 1], 100);
		pair_deliver(&p->end[~i & 1], SIZE_MAX);
	}
	for (unsigned i = 0; i < PAIR_CHANS; i++) {
		if (pair_waits(p->end[WS_SERVER].chans[i]))
			pair_answer(p->end[WS_SERVER].chans[i], i & 1);
	}
	for (unsigned i = 0; i < 2000; i++) {
		pair_pump(&p->end[i & 1], 100);
		pair_deliver(&p->end[~i & 1], SIZE_MAX);
	}
	for (int i = 0; i < 2; i++) {
		struct pair_end *e = &p->end[i];

		pair_check(e);
		ASSERT(buf_len(&e->inbox) == 0 && list_empty(&e->mux.ready));
		for (unsigned k = 0; k < PAIR_CHANS; k++) {
			struct pair_chan *x = e->chans[k];
			struct pair_chan *far = x ? pair_find(pair_peer(e), x->channel.id) : NULL;

			ASSERT(!x || (far && x->channel.opened && !x->channel.closing));
			ASSERT(!x || far->got == x->pulled);
			ASSERT(!x || x->todo == 0 || x->pulled == far->granted);
		}
	}
	ASSERT(p->end[WS_CLIENT].asked == p->end[WS_CLIENT].answered);
}

static inline void pair_free(struct pair *p, bool settle)
{
	if (settle && !p->hostile)
		pair_settle(p);
	for (int i = 0; i < 2; i++) {
		struct pair_end *e = &p->end[i];

		mux_fini(&e->mux);
		ASSERT(e->opened == e->closed && !pair_pick(e, 0));
		buf_fini(&e->inbox);
	}
	free(p);
}
