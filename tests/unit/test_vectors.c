/*
 * test_vectors.c - the examples of the protocol in tests/vectors, which other implementations read
 * too: ours makes the same bytes of the same meaning, and the other way round; and what a client
 * must not send is answered as it is written there, by the agent's own services.
 */
#include "tests/unit/session_rig.h"
#include "tests/unit/vectors.h"
#include "tests/unit/wire_rig.h"
#include "tests/ws_trace.h"

static struct buf hex(const char *text)
{
	struct buf b = BUF_NULL(GIB);

	vectors_unhex(&b, text);
	return b;
}

static bool same_bytes(const struct buf *a, const void *p, size_t len)
{
	return a->len == len && (len == 0 || memcmp(buf_head(a), p, len) == 0);
}

/* ---- frames ---- */

static struct buf payload_of(const char *text)
{
	struct buf b = BUF_NULL(GIB);

	if (strncmp(text, "hex:", 4) == 0)
		vectors_unhex(&b, text + 4);
	else
		vectors_unescape(&b, text);
	return b;
}

/* JSON is understood by whoever gets it. */
static int parse(const struct frame *f, const uint8_t *json, size_t len)
{
	struct msg_hello hello = {0};
	struct msg_open open = {0};
	struct msg_request request = {0};
	struct msg_opened opened;
	struct msg_event event;
	struct error e;
	char word[20];
	int r = 0;

	switch (f->type) {
	case FRAME_HELLO: r = msg_parse_hello(json, len, &hello, &e); break;
	case FRAME_REQ: r = msg_parse_request(json, len, &request, &e); break;
	case FRAME_OPEN: r = msg_parse_open(json, len, &open, &e); break;
	case FRAME_OPENED: r = msg_parse_opened(json, len, &opened, &e); break;
	case FRAME_EVENT: r = msg_parse_event(json, len, &event, &e); break;
	case FRAME_NOTICE: r = msg_parse_notice(json, len, word, sizeof(word)); break;
	case FRAME_RES: r = msg_parse_error(json, len, &e); break;
	case FRAME_REJECT:
	case FRAME_REFUSED:
		r = msg_parse_error(json, len, &e) == 1 && e.code < E_LAST ? 0 : -1;
		break;
	case FRAME_CLOSE: r = len ? msg_parse_error(json, len, &e) : 0; break;
	default: break;
	}
	msg_hello_fini(&hello);
	msg_request_fini(&request);
	msg_open_fini(&open);
	return r;
}

static void check_frame(
	const struct frame *want, const struct buf *bytes, const struct buf *payload)
{
	uint8_t prefix[FRAME_PREFIX_MAX];
	struct buf sent = BUF_NULL(GIB);
	struct frame f;
	size_t n;

	frame_decode(&f, buf_head(bytes));
	assert_true(f.type == want->type && f.flags == want->flags && f.stream == want->stream);
	assert_true(f.channel == want->channel && f.arg == want->arg);
	assert_true(same_bytes(payload, buf_head(bytes) + FRAME_HEADER, bytes->len - FRAME_HEADER));
	/* And made anew; only the reserved byte is not kept. */
	buf_head(bytes)[3] = 0;
	n = frame_prefix(prefix, WS_SERVER, want, payload->len);
	buf_append(&sent, prefix + n - FRAME_HEADER, FRAME_HEADER);
	if (payload->len > 0)
		buf_append(&sent, buf_head(payload), payload->len);
	assert_true(same_bytes(&sent, buf_head(bytes), bytes->len));
	buf_fini(&sent);
}

static void test_frames(void **state)
{
	struct vectors v;
	bool seen[256] = {false};

	(void)state;
	vectors_open(&v, VECTORS("frames"), 4);
	while (vectors_next(&v)) {
		struct buf bytes = hex(v.field[1]), payload = payload_of(v.field[3]);
		unsigned type, flags, stream;
		unsigned long long arg;
		struct frame f = {0};

		assert_int_equal(sscanf(v.field[2], "%u %u %u %u %llu", &type, &flags, &stream,
					 &f.channel, &arg),
			5);
		f.type = (uint8_t)type;
		f.flags = (uint8_t)flags;
		f.stream = (uint8_t)stream;
		f.arg = arg;
		check_frame(&f, &bytes, &payload);
		if (parse(&f, payload.len ? buf_head(&payload) : NULL, payload.len) < 0)
			fail_msg("%s is not understood", v.field[0]);
		seen[f.type] = true;
		buf_fini(&bytes);
		buf_fini(&payload);
	}
	for (unsigned type = 0; type < 256; type++)
		assert_true(seen[type] || !frame_type_known((uint8_t)type));
}

/* ---- WebSocket ---- */

static enum ws_role reader_of(const char *sender)
{
	assert_true(strcmp(sender, "client") == 0 || strcmp(sender, "server") == 0);
	return sender[0] == 'c' ? WS_SERVER : WS_CLIENT;
}

/* "2:hex, 9:hex" as a trace; false: it has text, which our decoder refuses. */
static bool expected(struct ws_trace *t, char *text)
{
	char *rest = text;

	*t = WS_TRACE_NULL;
	for (char *one; (one = strsep(&rest, ",")) != NULL;) {
		struct buf b = hex(strchr(one, ':') + 1);
		const uint8_t *p = b.len ? buf_head(&b) : NULL;
		int opcode = atoi(one);

		if (opcode == WS_BINARY)
			ws_trace_add(t, WS_EV_DATA, 0, p, b.len);
		else if (opcode == WS_PING || opcode == WS_PONG)
			ws_trace_add(t, opcode == WS_PING ? WS_EV_PING : WS_EV_PONG, 0, p, b.len);
		else if (opcode == WS_CLOSE && b.len == 0)
			ws_trace_add(t, WS_EV_CLOSE, WS_CLOSE_NO_STATUS, NULL, 0);
		else if (opcode == WS_CLOSE)
			ws_trace_add(t, WS_EV_CLOSE, get_u16(p), p + 2, b.len - 2);
		buf_fini(&b);
		if (opcode == WS_TEXT)
			return false;
	}
	return true;
}

/* One frame with all of a message in it: made anew with the same key it is the same bytes. */
static void check_encoder(enum ws_role reader, const struct buf *bytes)
{
	enum ws_role sender = reader == WS_SERVER ? WS_CLIENT : WS_SERVER;
	struct buf copy = BUF_NULL(GIB), again = BUF_NULL(GIB);
	struct ws_decoder d;
	struct ws_event ev;
	uint8_t header[WS_HEADER_MAX], *at;
	size_t left = bytes->len, n;

	buf_append(&copy, buf_head(bytes), left);
	at = buf_head(&copy);
	ws_decoder_init(&d, reader, FRAME_MAX);
	if (ws_next(&d, &at, &left, &ev) == 1 && ev.type == WS_EV_DATA && ev.last && left == 0) {
		n = ws_encode_header(header, sender, WS_BINARY, true, ev.len, d.mask);
		if (n + ev.len == bytes->len) {
			buf_append(&again, header, n);
			ws_mask(ev.data, ev.len, d.mask, 0);
			buf_append(&again, ev.data, ev.len);
			if (sender == WS_SERVER)
				ws_mask(buf_head(&again) + n, ev.len, d.mask, 0);
			assert_true(same_bytes(&again, buf_head(bytes), bytes->len));
		}
	}
	buf_fini(&copy);
	buf_fini(&again);
}

static void test_websocket(void **state)
{
	struct vectors v;

	(void)state;
	vectors_open(&v, VECTORS("websocket"), 4);
	while (vectors_next(&v)) {
		enum ws_role reader = reader_of(v.field[1]);
		struct buf bytes = hex(v.field[2]);
		struct ws_trace want, got;
		bool binary = expected(&want, v.field[3]);

		for (size_t step = 1; step <= bytes.len; step = step == 1   ? 7
								: step == 7 ? bytes.len
									    : step + 1) {
			struct ws_decoder d;

			got = WS_TRACE_NULL;
			ws_decoder_init(&d, reader, FRAME_MAX);
			ws_trace_run(&got, &d, buf_head(&bytes), bytes.len, step, 1);
			if (!binary)
				assert_int_equal(got.result, -WS_CLOSE_UNSUPPORTED);
			else if (!ws_trace_equal(&want, &got))
				fail_msg("%s says something else", v.field[0]);
			ws_trace_fini(&got);
			if (step == bytes.len)
				break;
		}
		check_encoder(reader, &bytes);
		ws_trace_fini(&want);
		buf_fini(&bytes);
	}
}

static void test_bad_websocket(void **state)
{
	struct vectors v;
	struct rig r;

	(void)state;
	vectors_open(&v, VECTORS("bad_websocket"), 4);
	while (vectors_next(&v)) {
		struct buf bytes = hex(v.field[2]);
		int code = atoi(v.field[3]);

		reader_of(v.field[1]) == WS_SERVER ? rig_server(&r, 0) : rig_client(&r);
		assert_int_equal(rig_bytes(&r, buf_head(&bytes), bytes.len), bytes.len);
		rig_heard(&r);
		if (r.closed != code)
			fail_msg("%s: closed with %d", v.field[0], r.closed);
		rig_fini(&r);
		/* Byte by byte, and not a byte later than it shows. */
		reader_of(v.field[1]) == WS_SERVER ? rig_server(&r, 0) : rig_client(&r);
		for (size_t i = 0; i < bytes.len; i++)
			rig_bytes(&r, buf_head(&bytes) + i, 1);
		rig_heard(&r);
		assert_int_equal(r.closed, code);
		rig_fini(&r);
		buf_fini(&bytes);
	}
}

/* ---- frames a client must not send ---- */

static void wake(struct service_link *l)
{
	(void)l;
}

/* "RES 0@1 !bad_message" for "error bad_message". */
static void answer_of(char *out, size_t size, const struct buf *bytes, const char *answer)
{
	const char *code = strchr(answer, ' ');
	struct frame f = {0};
	char arg[32] = "";

	if (bytes->len >= FRAME_HEADER)
		frame_decode(&f, buf_head(bytes));
	if (strncmp(answer, "close", 5) == 0)
		snprintf(out, size, "close%s", code);
	else if (strcmp(answer, "ignored") == 0)
		snprintf(out, size, "%s", "");
	else if (strncmp(answer, "refused", 7) == 0)
		snprintf(out, size, "REFUSED %u !%s", f.channel, code + 1);
	else if (strncmp(answer, "reject", 6) == 0)
		snprintf(arg, sizeof(arg), f.type ? "@%u" : "", f.type);
	else
		snprintf(arg, sizeof(arg), f.arg ? "@%llu" : "", (unsigned long long)f.arg);
	if (strncmp(answer, "reject", 6) == 0 || strncmp(answer, "error", 5) == 0)
		snprintf(out, size, "%s %u%s !%s", answer[0] == 'r' ? "REJECT" : "RES", f.channel,
			arg, code + 1);
}

static void test_bad_frames(void **state)
{
	static const struct service_host host;
	struct service_link link = {.host = &host, .wake = wake};
	struct vectors v;
	struct srig s;
	struct rig r;
	char want[100];

	(void)state;
	srig_up(&s, "none");
	vectors_open(&v, VECTORS("bad_frames"), 3);
	while (vectors_next(&v)) {
		struct buf bytes = hex(v.field[1]);
		const char *heard;

		rig_server(&r, 0);
		link.mux = &r.wire.mux;
		link.sessions = &s.all;
		r.service = &link;
		rig_ws(&r, WS_BINARY, true, bytes.len ? buf_head(&bytes) : NULL, bytes.len);
		answer_of(want, sizeof(want), &bytes, v.field[2]);
		heard = rig_heard(&r);
		if (strcmp(heard, want) != 0)
			fail_msg("%s: %s, not %s", v.field[0], heard, want);
		if (!r.closed) { /* and else nothing has changed */
			rig_say(&r, FRAME_REQ, 0, 77, "{\"op\":\"ping\"}");
			assert_string_equal(rig_heard(&r), "RES 0@77 {}");
		}
		rig_fini(&r);
		buf_fini(&bytes);
	}
	assert_int_equal(s.all.n, 0);
	srig_down(&s);
}

/* ---- HTTP ---- */

static void test_http(void **state)
{
	struct vectors v;
	struct rig r;

	(void)state;
	vectors_open(&v, VECTORS("http"), 3);
	while (vectors_next(&v)) {
		struct buf bytes = BUF_NULL(GIB);
		int status = atoi(v.field[1]);

		vectors_unescape(&bytes, v.field[2]);
		rig_init(&r, WS_SERVER, 0, NULL);
		rig_bytes(&r, buf_head(&bytes), bytes.len);
		rig_heard(&r);
		assert_true(r.head.len > 12);
		buf_append(&r.head, "", 1); /* to be read as text */
		if (atoi((char *)buf_head(&r.head) + 9) != status)
			fail_msg("%s: %.12s", v.field[0], (char *)buf_head(&r.head));
		assert_int_equal(r.wire.state == WIRE_OPEN, status == 101);
		if (status == 101) {
			assert_non_null(
				strstr((char *)buf_head(&r.head), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
		}
		rig_fini(&r);
		buf_fini(&bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_bad_websocket),
		cmocka_unit_test(test_bad_frames),
		cmocka_unit_test(test_http),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
