#include "tests/unit/wire_rig.h"

#include <stdio.h>

#include "proto/msg.h"

static const struct wire_events wire_events;

/* ---- text ---- */

static void __attribute__((format(printf, 2, 3))) note(struct buf *b, const char *fmt, ...)
{
	char text[1200];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < sizeof(text));
	if (buf_len(b) > 0)
		assert_int_equal(buf_append(b, "; ", 2), 0);
	assert_int_equal(buf_append(b, text, (size_t)n), 0);
}

/* " text", " !code" or " #length"; nothing for nothing. */
static const char *brief(const uint8_t *data, size_t len)
{
	static char text[1100];
	struct error e;

	if (len == 0)
		return "";
	if (data[0] == '{' && msg_parse_error(data, len, &e) == 1)
		snprintf(text, sizeof(text), " !%s", error_code_str(e.code));
	else if (len > 64)
		snprintf(text, sizeof(text), " #%zu", len);
	else
		snprintf(text, sizeof(text), " %.*s", (int)len, (const char *)data);
	return text;
}

static const char *take(struct rig *r, struct buf *b)
{
	buf_fini(&r->hidden);
	assert_int_equal(buf_append(b, "", 1), 0);
	r->hidden = *b;
	*b = BUF_NULL(GIB);
	return (const char *)buf_head(&r->hidden);
}

const char *rig_told(struct rig *r)
{
	return take(r, &r->told);
}

/* ---- the service ---- */

static struct rig_chan *of(struct channel *c)
{
	return container_of(c, struct rig_chan, channel);
}

static uint8_t xs[FRAME_PAYLOAD_MAX];

void rig_scribble(void)
{
	memset(xs, '?', sizeof(xs));
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct rig_chan *x = of(c);
	static uint8_t gap[8];
	size_t n;

	if (x->on_pull)
		x->on_pull(x);
	if (x->event) {
		*ret = (struct mux_item){
			.type = FRAME_EVENT, .data = x->event, .len = strlen(x->event)};
		x->event = NULL;
		return true;
	}
	if (x->gap) {
		put_u64(gap, x->gap);
		*ret = (struct mux_item){.type = FRAME_GAP,
			.stream = STREAM_OUT,
			.arg = x->sent,
			.data = gap,
			.len = 8};
		x->gap = 0;
		return true;
	}
	if (x->todo > 0) {
		n = (size_t)min_of(x->todo, (uint64_t)max);
		n = x->chunk ? min_of(n, x->chunk) : n;
		if (n == 0)
			return false;
		for (size_t i = 0; i < n; i++)
			xs[i] = i < 64 ? 'x' : (uint8_t)('a' + (i + x->sent) % 23);
		*ret = (struct mux_item){.type = FRAME_DATA,
			.stream = STREAM_OUT,
			.arg = x->sent,
			.data = xs,
			.len = n};
		x->sent += n;
		x->todo -= n;
		return true;
	}
	*ret = (struct mux_item){.type = FRAME_CLOSE};
	return x->ends;
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct rig_chan *x = of(c);

	note(&x->rig->told, "data %u.%u@%llu%s%s", c->id, stream, (unsigned long long)off,
		fin ? "+fin" : "", brief(data, len));
	if (x->grants)
		channel_grant(c, c->received + x->rig->window);
	if (x->on_data)
		x->on_data(x);
}

static void on_request(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	note(&of(c)->rig->told, "request %u@%llu%s", c->id, (unsigned long long)id,
		brief(json, len));
	mux_respond(c->mux, c->id, id, "{}", 2);
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct rig_chan *x = of(c);
	struct rig *r = x->rig;
	uint32_t id = c->id;

	note(&r->told, "close %u%s%s", id, mux_linked(c->mux) ? "" : " unlinked",
		brief(error, len));
	assert_ptr_equal(r->chans[id], x);
	r->chans[id] = NULL;
	r->live--;
	r->closes++;
	free(x);
	if (r->on_close)
		r->on_close(r, id);
}

static void on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	note(&of(c)->rig->told, "opened %u%s", c->id, brief(json, len));
	c->send_limit = of(c)->rig->send_limit;
	channel_ready(c);
}

static void on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	note(&of(c)->rig->told, "gap %u.%u@%llu +%llu", c->id, stream, (unsigned long long)off,
		(unsigned long long)missing);
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	note(&of(c)->rig->told, "ack %u.%u@%llu", c->id, stream, (unsigned long long)off);
}

static void on_event(struct channel *c, const uint8_t *json, size_t len)
{
	note(&of(c)->rig->told, "event %u%s", c->id, brief(json, len));
}

static void on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	note(&of(c)->rig->told, "response %u@%llu%s", c->id, (unsigned long long)id,
		brief(json, len));
}

static const struct channel_ops server_ops = {
	.pull = pull, .on_data = on_data, .on_request = on_request, .on_close = on_close};
static const struct channel_ops client_ops = {.pull = pull,
	.on_data = on_data,
	.on_request = on_request,
	.on_opened = on_opened,
	.on_gap = on_gap,
	.on_ack = on_ack,
	.on_event = on_event,
	.on_response = on_response,
	.on_close = on_close};

/* ---- the owner of the wire ---- */

static int authorize(void *owner, const struct http_head *head)
{
	struct rig *r = owner;

	if (head->authorization[0])
		note(&r->told, "authorize %s", head->authorization);
	return r->status;
}

static void on_upgraded(void *owner)
{
	struct rig *r = owner;

	note(&r->told, "upgraded");
	mux_hello(&r->wire.mux, "{\"proto\":1}", 11);
}

static void hear_hello(void *owner, const uint8_t *json, size_t len)
{
	note(&((struct rig *)owner)->told, "hello%s", brief(json, len));
}

static struct rig_chan *new_chan(struct rig *r)
{
	struct rig_chan *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->rig = r;
	r->live++;
	return x;
}

static void on_open(void *owner, uint32_t id, const uint8_t *json, size_t len)
{
	struct rig *r = owner;
	struct rig_chan *x;

	note(&r->told, "open %u%s", id, brief(json, len));
	if (r->service) {
		service_open(r->service, id, json, len);
		return;
	}
	if (r->refuse) {
		mux_refuse(&r->wire.mux, id, r->refuse, strlen(r->refuse));
		return;
	}
	x = new_chan(r);
	assert_true(id < RIG_CHANS);
	r->chans[id] = x;
	if (r->defer) {
		assert_int_equal(
			mux_defer(&r->wire.mux, id, &x->channel, &server_ops, r->send_limit), 0);
		return;
	}
	mux_accept(&r->wire.mux, id, &x->channel, &server_ops, r->window, r->send_limit,
		!r->patient, "{}", 2);
}

static void on_link_request(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	struct rig *r = owner;

	note(&r->told, "request 0@%llu%s", (unsigned long long)id, brief(json, len));
	if (r->service)
		control_request(r->service, id, json, len);
	else
		mux_respond(&r->wire.mux, 0, id, "{}", 2);
}

static void on_link_response(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	note(&((struct rig *)owner)->told, "response 0@%llu%s", (unsigned long long)id,
		brief(json, len));
}

static void on_notice(void *owner, const uint8_t *json, size_t len)
{
	note(&((struct rig *)owner)->told, "notice%s", brief(json, len));
}

static const struct wire_events wire_events = {
	.authorize = authorize,
	.on_upgraded = on_upgraded,
	.mux = {.on_hello = hear_hello,
		.on_open = on_open,
		.on_request = on_link_request,
		.on_response = on_link_response,
		.on_notice = on_notice},
};

/* ---- what it sends ---- */

static const char *type_name(uint8_t type)
{
	static const char *const names[] = {[FRAME_HELLO] = "HELLO",
		[FRAME_REQ] = "REQ",
		[FRAME_RES] = "RES",
		[FRAME_NOTICE] = "NOTICE",
		[FRAME_REJECT] = "REJECT",
		[FRAME_OPEN] = "OPEN",
		[FRAME_OPENED] = "OPENED",
		[FRAME_REFUSED] = "REFUSED",
		[FRAME_CLOSE] = "CLOSE",
		[FRAME_DATA] = "DATA",
		[FRAME_GAP] = "GAP",
		[FRAME_WINDOW] = "WINDOW",
		[FRAME_ACK] = "ACK",
		[FRAME_EVENT] = "EVENT"};

	assert_true(frame_type_known(type));
	return names[type];
}

static void hear_frame(struct rig *r)
{
	struct frame f;
	char stream[16] = "", arg[32] = "";
	const uint8_t *payload = buf_head(&r->message) + FRAME_HEADER;
	size_t len = buf_len(&r->message) - FRAME_HEADER;

	assert_true(buf_len(&r->message) >= FRAME_HEADER);
	frame_decode(&f, buf_head(&r->message));
	if (f.stream)
		snprintf(stream, sizeof(stream), ".%u", f.stream);
	if (f.arg)
		snprintf(arg, sizeof(arg), "@%llu", (unsigned long long)f.arg);
	if (f.type == FRAME_GAP)
		note(&r->heard, "GAP %u%s%s +%llu", f.channel, stream, arg,
			(unsigned long long)get_u64(payload));
	else
		note(&r->heard, "%s %u%s%s%s%s", type_name(f.type), f.channel, stream, arg,
			f.flags & FRAME_FIN ? "+fin" : "", brief(payload, len));
	r->heard_frames++;
	r->heard_bytes += f.type == FRAME_DATA ? len : 0;
	buf_consume(&r->message, buf_len(&r->message));
}

static void hear_ws(struct rig *r, uint8_t *data, size_t len)
{
	struct ws_event ev;
	int n;

	assert_true(!r->closed || len == 0); /* a close frame is the last one */
	while ((n = ws_next(&r->ws, &data, &len, &ev)) > 0) {
		switch (ev.type) {
		case WS_EV_DATA:
			assert_int_equal(buf_append(&r->message, ev.data, ev.len), 0);
			if (ev.last)
				hear_frame(r);
			break;
		case WS_EV_PING: note(&r->heard, "ping%s", brief(ev.data, ev.len)); break;
		case WS_EV_PONG: note(&r->heard, "pong%s", brief(ev.data, ev.len)); break;
		case WS_EV_CLOSE:
			note(&r->heard, "close %u%s", ev.code, brief(ev.data, ev.len));
			r->closed = ev.code;
			assert_int_equal(len, 0);
			break;
		}
	}
	assert_int_equal(n, 0);
}

/* HTTP first: up to its empty line it is kept as it is. */
static void hear(struct rig *r, uint8_t *data, size_t len)
{
	while (len > 0 &&
		(buf_len(&r->head) < 4 ||
			memcmp(buf_head(&r->head) + buf_len(&r->head) - 4, "\r\n\r\n", 4) != 0)) {
		assert_int_equal(buf_append(&r->head, data++, 1), 0);
		len--;
	}
	if (r->wire.close_code >= 400 && r->wire.close_code < 1000)
		assert_int_equal(buf_append(&r->head, data, len), 0);
	else
		hear_ws(r, data, len);
}

bool rig_pump(struct rig *r)
{
	struct iovec iov[WIRE_IOV_MAX];
	int n = r->deaf ? 0 : wire_output(&r->wire, iov);
	size_t left = r->step ? r->step : SIZE_MAX, taken = 0;

	for (int i = 0; i < n; i++) {
		size_t part = min_of(iov[i].iov_len, left);
		uint8_t *copy = part < SIZE_MAX ? malloc(part + 1) : NULL;

		if (!copy)
			abort();
		assert_true(copy && iov[i].iov_len > 0);
		memcpy(copy, iov[i].iov_base, part);
		hear(r, copy, part);
		free(copy);
		left -= part;
		taken += part;
	}
	if (n > 0)
		wire_wrote(&r->wire, taken);
	return n > 0;
}

const char *rig_heard(struct rig *r)
{
	while (rig_pump(r))
		;
	return take(r, &r->heard);
}

/* ---- what it is sent ---- */

size_t rig_bytes(struct rig *r, const void *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	size_t n;

	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, data, len);
	n = wire_input(&r->wire, copy, len);
	assert_true(n <= len);
	free(copy);
	return n;
}

void rig_ws(struct rig *r, enum ws_opcode op, bool fin, const void *data, size_t len)
{
	static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
	enum ws_role far = r->role == WS_SERVER ? WS_CLIENT : WS_SERVER;
	uint8_t *frame = malloc(WS_HEADER_MAX + len);
	size_t n = ws_encode_header(frame, far, op, fin, len, key);

	if (len > 0)
		memcpy(frame + n, data, len);
	if (far == WS_CLIENT)
		ws_mask(frame + n, len, key, 0);
	assert_int_equal(rig_bytes(r, frame, n + len), n + len);
	free(frame);
}

void rig_frame(struct rig *r, const struct frame *f, const void *payload, size_t len)
{
	uint8_t *message = malloc(FRAME_HEADER + len);

	assert_non_null(message);
	frame_encode(f, message);
	if (len > 0)
		memcpy(message + FRAME_HEADER, payload, len);
	rig_ws(r, WS_BINARY, true, message, FRAME_HEADER + len);
	free(message);
}

void rig_say(struct rig *r, enum frame_type type, uint32_t channel, uint64_t arg, const char *text)
{
	struct frame f = {.type = (uint8_t)type, .channel = channel, .arg = arg};

	rig_frame(r, &f, text, strlen(text));
}

void rig_say_data(struct rig *r, uint32_t channel, uint64_t off, const char *text, bool fin)
{
	struct frame f = {
		.type = FRAME_DATA, .flags = fin ? FRAME_FIN : 0, .channel = channel, .arg = off};

	rig_frame(r, &f, text, strlen(text));
}

/* ---- life ---- */

void rig_init(struct rig *r, enum ws_role role, size_t max_channels, const char *bearer)
{
	*r = (struct rig){.role = role, .window = 1000, .send_limit = 1000};
	r->told = r->heard = r->hidden = r->head = r->message = BUF_NULL(GIB);
	r->chans = calloc(RIG_CHANS, sizeof(struct rig_chan *));
	assert_non_null(r->chans);
	ws_decoder_init(&r->ws, role == WS_SERVER ? WS_CLIENT : WS_SERVER, FRAME_MAX);
	if (role == WS_SERVER)
		assert_int_equal(wire_init_server(&r->wire, &wire_events, r,
					 max_channels ? max_channels : 16),
			0);
	else
		assert_int_equal(wire_init_client(&r->wire, &wire_events, r, bearer), 0);
}

void rig_fini(struct rig *r)
{
	wire_fini(&r->wire);
	wire_fini(&r->wire);
	assert_int_equal(r->live, 0); /* on_close came for each */
	free(r->chans);
	buf_fini(&r->told);
	buf_fini(&r->heard);
	buf_fini(&r->hidden);
	buf_fini(&r->head);
	buf_fini(&r->message);
}

void rig_upgrade(struct rig *r)
{
	char text[1024];
	int n;

	if (r->role == WS_SERVER) {
		n = http_format_upgrade(text, sizeof(text), PROTO_PATH,
			"dGhlIHNhbXBsZSBub25jZQ==", PROTO_NAME, NULL);
	} else {
		rig_heard(r);
		n = http_format_switching(text, sizeof(text), r->wire.key, PROTO_NAME);
	}
	assert_int_equal(rig_bytes(r, text, (size_t)n), n);
}

void rig_hello(struct rig *r)
{
	rig_say(r, FRAME_HELLO, 0, 0, "{\"proto\":1}");
	assert_string_equal(rig_told(r), "upgraded; hello {\"proto\":1}");
	assert_string_equal(rig_heard(r), "HELLO 0 {\"proto\":1}");
}

void rig_server(struct rig *r, size_t max_channels)
{
	rig_init(r, WS_SERVER, max_channels, NULL);
	rig_upgrade(r);
	rig_hello(r);
}

void rig_client(struct rig *r)
{
	rig_init(r, WS_CLIENT, 0, NULL);
	rig_upgrade(r);
	rig_hello(r);
}

struct rig_chan *rig_chan(struct rig *r, uint32_t id)
{
	assert_true(id < RIG_CHANS && r->chans[id]);
	return r->chans[id];
}

struct rig_chan *rig_open(struct rig *r, uint32_t id)
{
	char opened[32];

	rig_say(r, FRAME_OPEN, id, 0, "{}");
	snprintf(opened, sizeof(opened), "OPENED %u {}", id);
	assert_string_equal(rig_heard(r), opened);
	rig_told(r);
	return rig_chan(r, id);
}

struct rig_chan *rig_connect(struct rig *r, uint64_t window)
{
	struct rig_chan *x = new_chan(r);

	assert_int_equal(mux_open(&r->wire.mux, &x->channel, &client_ops, window, "{}", 2), 0);
	r->chans[x->channel.id] = x;
	return x;
}
