/*
 * fuzz_frame.c - frames as they come out of the WebSocket decoder: byte 0 chooses the end of the
 * link, then each message is two bytes of length and its bytes. Given whole and given in slices,
 * with empty ones among them, they must come to the same: answers, callbacks, close code. What a
 * header holds comes back when it is written again.
 */
#include <stdio.h>

#include "proto/mux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHANNELS 6
#define WINDOW   300

struct end;

struct chan {
	struct channel channel;
	struct end *end;
	uint64_t bytes;
	uint32_t sum; /* of what came; told when it closes */
};

struct end {
	struct mux mux;
	struct buf trace, sent;
	unsigned live;
	int code;
};

static struct chan *of(struct channel *c)
{
	return container_of(c, struct chan, channel);
}

/* ---- what is told ---- */

static void note(
	struct end *e, char what, uint32_t channel, uint64_t arg, const void *p, size_t len)
{
	uint8_t head[17];

	head[0] = (uint8_t)what;
	put_u32(head + 1, channel);
	put_u64(head + 5, arg);
	put_u32(head + 13, (uint32_t)len);
	ASSERT(buf_append(&e->trace, head, sizeof(head)) == 0);
	ASSERT(buf_append(&e->trace, p, len) == 0);
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	(void)c;
	(void)max;
	(void)ret;
	return false;
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct chan *x = of(c);

	for (size_t i = 0; i < len; i++)
		x->sum = (x->sum ^ data[i] ^ stream ^ (uint32_t)(off + i)) * 16777619u;
	x->bytes += len;
	ASSERT(x->bytes == c->received && c->received <= c->recv_announced);
	if (fin)
		note(x->end, 'f', c->id, off + len, NULL, 0);
	if (len > 0)
		channel_ack(c, stream, x->bytes);
	channel_grant(c, c->received + WINDOW);
}

static void on_request(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	note(of(c)->end, 'r', c->id, id, json, len);
	mux_respond(c->mux, c->id, id, json, len);
}

/* A frame beyond the window is passed on up to where it is too much, so by slices. */
static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct chan *x = of(c);
	bool overrun = len > 0 && memmem(error, len, "credit_overrun", 14);

	note(x->end, 'c', c->id, overrun ? 0 : x->bytes << 32 | x->sum, error, overrun ? 0 : len);
	x->end->live--;
	free(x);
}

static void on_json(struct channel *c, const uint8_t *json, size_t len)
{
	note(of(c)->end, 'j', c->id, 0, json, len);
}

static void on_number(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	note(of(c)->end, 'g', c->id, off ^ missing, &stream, 1);
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	on_number(c, stream, off, 0);
}

static const struct channel_ops ops = {.pull = pull,
	.on_data = on_data,
	.on_request = on_request,
	.on_opened = on_json,
	.on_gap = on_number,
	.on_ack = on_ack,
	.on_event = on_json,
	.on_response = on_request,
	.on_close = on_close};

static struct chan *new_chan(struct end *e)
{
	struct chan *x = calloc(1, sizeof(*x));

	ASSERT(x);
	x->end = e;
	e->live++;
	return x;
}

static void on_open(void *owner, uint32_t id, const uint8_t *json, size_t len)
{
	struct end *e = owner;

	note(e, 'o', id, 0, json, len);
	if (len > 0 && json[0] & 1) {
		mux_refuse(&e->mux, id, "{}", 2);
		return;
	}
	mux_accept(&e->mux, id, &new_chan(e)->channel, &ops, WINDOW, 0, true, json, len);
}

static void on_link_request(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	struct end *e = owner;

	note(e, 'R', 0, id, json, len);
	if (e->mux.role == WS_SERVER)
		mux_respond(&e->mux, 0, id, json, len);
}

static void on_word(void *owner, const uint8_t *json, size_t len)
{
	note(owner, 'n', 0, 0, json, len);
}

static const struct mux_events events = {.on_hello = on_word,
	.on_open = on_open,
	.on_request = on_link_request,
	.on_response = on_link_request,
	.on_notice = on_word};

/* ---- feeding ---- */

static void end_init(struct end *e, enum ws_role role)
{
	*e = (struct end){.trace = BUF_NULL(GIB), .sent = BUF_NULL(GIB)};
	mux_init(&e->mux, role, &events, e, CHANNELS);
	for (int i = 0; role == WS_CLIENT && i < 3; i++)
		ASSERT(mux_open(&e->mux, &new_chan(e)->channel, &ops, WINDOW, "{}", 2) == 0);
}

static void end_fini(struct end *e)
{
	mux_fini(&e->mux);
	ASSERT(e->live == 0);
	buf_fini(&e->trace);
	buf_fini(&e->sent);
}

static void slice(struct end *e, const uint8_t *p, size_t len, bool first, bool last)
{
	uint8_t *copy = malloc(len ? len : 1); /* of exactly its size */

	ASSERT(copy);
	if (len > 0)
		memcpy(copy, p, len);
	e->code = mux_input(&e->mux, copy, len, first, last);
	free(copy);
}

/* In slices as the seed has it, some of them empty. */
static void message(struct end *e, const uint8_t *p, size_t len, uint32_t seed)
{
	bool first = true, last;

	do {
		size_t n = len;

		seed = seed * 1664525 + 1013904223;
		if (seed >> 31)
			n = min_of(len, (size_t)(seed >> 16) % (seed >> 30 & 1 ? 20 : 400));
		last = n == len;
		slice(e, p, n, first, last);
		p += n;
		len -= n;
		first = false;
	} while (!last && !e->code);
}

/* Everything it has to say is taken; so no more than one answer can wait. */
static void flush(struct end *e)
{
	struct buf *control = &e->mux.control;

	mux_flush_due(&e->mux);
	ASSERT(buf_len(control) <= 2 * FRAME_MAX + 1000);
	ASSERT(e->mux.n_entries <= CHANNELS && e->live <= CHANNELS);
	if (buf_len(control) > 0)
		ASSERT(buf_append(&e->sent, buf_head(control), buf_len(control)) == 0);
	buf_consume(control, buf_len(control));
}

static void check_header(const uint8_t *p)
{
	uint8_t again[FRAME_HEADER];
	struct frame f;

	frame_decode(&f, p);
	frame_encode(&f, again);
	ASSERT(memcmp(again, p, 3) == 0 && again[3] == 0 && memcmp(again + 4, p + 4, 12) == 0);
}

static bool same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(buf_head(a), buf_head(b), a->len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum ws_role role = len > 0 && data[0] & 1 ? WS_CLIENT : WS_SERVER;
	struct end whole, cut;
	size_t at = 1;

	end_init(&whole, role);
	end_init(&cut, role);
	whole.mux.hello_seen = cut.mux.hello_seen = len > 0 && data[0] & 2;
	while (at + 2 <= len && !whole.code && !cut.code) {
		size_t n = min_of((size_t)get_u16(data + at), len - at - 2);

		at += 2;
		if (n >= FRAME_HEADER)
			check_header(data + at);
		slice(&whole, data + at, n, true, true);
		message(&cut, data + at, n, 1 + (uint32_t)(n * 2654435761u + data[0]));
		flush(&whole);
		flush(&cut);
		at += n;
	}
	ASSERT(whole.code == cut.code);
	ASSERT(same(&whole.sent, &cut.sent));
	mux_fini(&whole.mux);
	mux_fini(&cut.mux);
	ASSERT(same(&whole.trace, &cut.trace));
	end_fini(&whole);
	end_fini(&cut);
	return 0;
}
