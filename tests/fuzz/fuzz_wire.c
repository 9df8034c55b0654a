/*
 * fuzz_wire.c - one end of a link and any bytes. Byte 0: which end, and whether the bytes come
 * behind a good upgrade and HELLO; the rest is the stream. Fed whole, cut, and byte by byte, what
 * the wire sends must be the same to the byte, its end too; and whatever it sends is well-formed.
 */
#include "proto/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define WINDOW 2000

struct chan {
	struct channel channel;
	uint64_t todo, sent;
};

struct end {
	struct wire wire;
	struct buf sent;
	unsigned live;
};

/* ---- a service that sends back as many bytes as it gets ---- */

static struct chan *of(struct channel *c)
{
	return container_of(c, struct chan, channel);
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	static const uint8_t zeros[FRAME_PAYLOAD_MAX];
	struct chan *x = of(c);
	size_t n = (size_t)min_of(x->todo, (uint64_t)max);

	if (n == 0)
		return false;
	*ret = (struct mux_item){
		.type = FRAME_DATA, .stream = 1, .arg = x->sent, .data = zeros, .len = n};
	x->todo -= n;
	x->sent += n;
	return true;
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	(void)off;
	(void)data;
	(void)fin;
	of(c)->todo += len;
	channel_ready(c);
	channel_ack(c, stream, c->received);
	channel_grant(c, c->received + WINDOW);
}

static void on_request(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	mux_respond(c->mux, c->id, id, json, len);
}

static void on_json(struct channel *c, const uint8_t *json, size_t len)
{
	(void)json;
	c->send_limit = len * 10;
}

static void on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	(void)stream;
	(void)off;
	of(c)->todo += missing % 100;
	channel_ready(c);
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	on_gap(c, stream, 0, off);
}

static void on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	(void)id;
	(void)json;
	(void)len;
	(void)c;
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct end *e = c->mux->owner;

	(void)error;
	(void)len;
	e->live--;
	free(of(c));
}

static const struct channel_ops ops = {.pull = pull,
	.on_data = on_data,
	.on_request = on_request,
	.on_opened = on_json,
	.on_gap = on_gap,
	.on_ack = on_ack,
	.on_event = on_json,
	.on_response = on_response,
	.on_close = on_close};

static struct channel *new_chan(struct end *e)
{
	struct chan *x = calloc(1, sizeof(*x));

	ASSERT(x);
	e->live++;
	return &x->channel;
}

static void on_upgraded(void *owner)
{
	struct end *e = owner;

	mux_hello(&e->wire.mux, "{}", 2);
	for (int i = 0; e->wire.role == WS_CLIENT && i < 3; i++)
		ASSERT(mux_open(&e->wire.mux, new_chan(e), &ops, WINDOW, "{}", 2) == 0);
}

static void on_hello(void *owner, const uint8_t *json, size_t len)
{
	struct end *e = owner;

	if (len > 0 && json[0] == '!')
		wire_close(&e->wire, WS_CLOSE_PROTOCOL, "bad HELLO");
}

static void on_open(void *owner, uint32_t id, const uint8_t *json, size_t len)
{
	struct end *e = owner;

	if (len > 0 && json[0] == '!')
		mux_refuse(&e->wire.mux, id, json, len);
	else
		mux_accept(&e->wire.mux, id, new_chan(e), &ops, WINDOW, len * 10, true, json, len);
}

static void on_link_request(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	struct end *e = owner;

	if (e->wire.role == WS_SERVER)
		mux_respond(&e->wire.mux, 0, id, json, len);
}

static bool answer_plain(void *owner, const char *path, struct http_answer *ret)
{
	(void)owner;
	*ret = (struct http_answer){.status = 200, .type = "text/plain", .body = path, .len = 1};
	return path[0] == '/' && path[1] == 'p';
}

static const struct wire_events events = {.answer_plain = answer_plain,
	.on_upgraded = on_upgraded,
	.mux = {.on_hello = on_hello,
		.on_open = on_open,
		.on_request = on_link_request,
		.on_response = on_link_request,
		.on_notice = on_hello}};

/* ---- in and out ---- */

static void drain(struct end *e)
{
	struct iovec iov[WIRE_IOV_MAX];
	int n;

	while ((n = wire_output(&e->wire, iov)) > 0) {
		size_t taken = 0;

		for (int i = 0; i < n; i++) {
			ASSERT(iov[i].iov_len > 0);
			ASSERT(buf_append(&e->sent, iov[i].iov_base, iov[i].iov_len) == 0);
			taken += iov[i].iov_len;
		}
		wire_wrote(&e->wire, taken);
	}
}

/* As a connection does it: it writes when nothing more is taken, and in the end. */
static void feed(struct end *e, const uint8_t *data, size_t len)
{
	while (len > 0) {
		uint8_t *copy = malloc(len); /* of exactly its size; unmasked in place */
		size_t n;

		ASSERT(copy);
		memcpy(copy, data, len);
		n = wire_input(&e->wire, copy, len);
		free(copy);
		ASSERT(n <= len && (n == len || !wire_wants_input(&e->wire)));
		ASSERT(buf_len(&e->wire.mux.control) <= MUX_CONTROL_HIGH + 2 * FRAME_MAX);
		data += n;
		len -= n;
		if (!wire_wants_input(&e->wire))
			drain(e);
	}
}

static void begin(struct end *e, enum ws_role role, bool upgraded)
{
	static const char hello[] = "\x82\x92\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{}";
	static const char bare_hello[] = "\x82\x12\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{}";
	char text[1024];
	int n;

	*e = (struct end){.sent = BUF_NULL(GIB)};
	if (role == WS_SERVER)
		ASSERT(wire_init_server(&e->wire, &events, e, 8) == 0);
	else
		ASSERT(wire_init_client(&e->wire, &events, e, NULL) == 0);
	strcpy(e->wire.key, "dGhlIHNhbXBsZSBub25jZQ=="); /* the same each time */
	drain(e);
	buf_consume(&e->sent, buf_len(&e->sent));
	if (!upgraded)
		return;
	if (role == WS_SERVER)
		n = http_format_upgrade(
			text, sizeof(text), PROTO_PATH, e->wire.key, PROTO_NAME, NULL);
	else
		n = http_format_switching(text, sizeof(text), e->wire.key, PROTO_NAME);
	feed(e, (uint8_t *)text, (size_t)n);
	if (role == WS_SERVER)
		feed(e, (const uint8_t *)hello, sizeof(hello) - 1);
	else
		feed(e, (const uint8_t *)bare_hello, sizeof(bare_hello) - 1);
	ASSERT(e->wire.state == WIRE_OPEN);
}

/* step 0: varying. */
static void run(struct end *e, const uint8_t *data, size_t len, size_t step)
{
	uint32_t seed = (uint32_t)len * 2654435761u;

	for (size_t at = 0, n; at < len; at += n) {
		seed = seed * 1664525 + 1013904223;
		n = step ? step : 1 + (seed >> 16) % (seed >> 31 ? 9 : 300);
		n = min_of(n, len - at);
		feed(e, data + at, n);
	}
	drain(e);
}

static void check_sent(struct end *e)
{
	enum ws_role far = e->wire.role == WS_SERVER ? WS_CLIENT : WS_SERVER;
	uint8_t *at = buf_len(&e->sent) ? buf_head(&e->sent) : NULL, *end;
	size_t left = buf_len(&e->sent);
	struct ws_decoder d;
	struct ws_event ev;
	struct frame f;
	int r = 0;

	end = left ? memmem(at, left, "\r\n\r\n", 4) : NULL;
	if (e->wire.role == WS_SERVER && end) {
		left -= (size_t)(end + 4 - at);
		at = end + 4;
	}
	if (e->wire.close_code >= 400 && e->wire.close_code < 1000)
		return; /* the rest is a body */
	ws_decoder_init(&d, far, FRAME_MAX);
	while (left > 0 && (r = ws_next(&d, &at, &left, &ev)) > 0) {
		if (ev.type != WS_EV_DATA)
			continue;
		ASSERT(ev.first && ev.last && ev.len >= FRAME_HEADER);
		frame_decode(&f, ev.data);
		ASSERT(frame_type_known(f.type));
	}
	ASSERT(r >= 0);
}

static bool same(const struct end *a, const struct end *b)
{
	/* Of a head that is both too long and broken, either may be said first. */
	if (a->wire.close_code == 400 || a->wire.close_code == 431)
		return b->wire.close_code == 400 || b->wire.close_code == 431;
	return a->wire.state == b->wire.state && a->wire.close_code == b->wire.close_code &&
	       a->live == b->live && a->sent.len == b->sent.len &&
	       (a->sent.len == 0 ||
		       memcmp(buf_head(&a->sent), buf_head(&b->sent), a->sent.len) == 0);
}

static void finish(struct end *e)
{
	wire_fini(&e->wire);
	ASSERT(e->live == 0);
	buf_fini(&e->sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum ws_role role = len > 0 && data[0] & 1 ? WS_CLIENT : WS_SERVER;
	bool upgraded = len > 0 && data[0] & 2;
	struct end whole, cut, bytes;

	if (len == 0)
		return 0;
	data++;
	len--;
	begin(&whole, role, upgraded);
	begin(&cut, role, upgraded);
	begin(&bytes, role, upgraded);
	run(&whole, data, len, len);
	run(&cut, data, len, 0);
	run(&bytes, data, len, 1);
	ASSERT(same(&whole, &cut));
	ASSERT(same(&whole, &bytes));
	check_sent(&whole);
	finish(&whole);
	finish(&cut);
	finish(&bytes);
	return 0;
}
