/*
 * test_nomem.c - memory runs out at every place where it can. This program's malloc, calloc and
 * realloc go through a shim (see tests/CMakeLists.txt) that refuses the n-th request, or that one
 * and all after it, while an agent's end of a link goes through a whole conversation. Whatever n
 * is: nothing is lost or leaked, and only that request fails or that link ends; another session,
 * and the next link, do not notice.
 */
#include "tests/unit/session_rig.h"

#include <cjson/cJSON.h>

#include <signal.h>
#include <stdio.h>

#include "agentd/service.h"
#include "proto/wire.h"

/* ---- the shim ---- */

static struct {
	bool armed, for_ever;
	unsigned count, fail_at; /* counted from 1; 0: never */
} shim;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static bool refuse(void)
{
	if (!shim.armed)
		return false;
	shim.count++;
	return shim.fail_at &&
	       (shim.count == shim.fail_at || (shim.for_ever && shim.count > shim.fail_at));
}

void *__wrap_malloc(size_t n)
{
	return refuse() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return refuse() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return refuse() ? NULL : __real_realloc(p, n);
}

/* ---- the link ---- */

#define REQUESTS 7  /* ids 1 to 7, and channel 9 */
#define PLACES   70 /* more than there are */

struct link {
	struct wire wire;
	struct service_link service;
	struct ws_decoder ws;
	bool upgraded;
	uint8_t head[4];
	unsigned head_len; /* of HTTP's last bytes */
	uint8_t frame[FRAME_HEADER];
	size_t frame_len;
	unsigned answered; /* bit n: request n; bit 0: the channel */
	bool channel, ended;
	int closed;
};

static void on_upgraded(void *owner)
{
	mux_hello(&((struct link *)owner)->wire.mux, "{}", 2);
}

static void on_hello(void *owner, const uint8_t *json, size_t len)
{
	(void)owner;
	(void)json;
	(void)len;
}

static void on_open(void *owner, uint32_t id, const uint8_t *json, size_t len)
{
	service_open(&((struct link *)owner)->service, id, json, len);
}

static void on_request(void *owner, uint64_t id, const uint8_t *json, size_t len)
{
	control_request(&((struct link *)owner)->service, id, json, len);
}

static const struct wire_events events = {.on_upgraded = on_upgraded,
	.mux = {.on_hello = on_hello, .on_open = on_open, .on_request = on_request}};

static void no_info(void *ctx, struct jsonw *w)
{
	(void)ctx;
	(void)w;
}

static int no_upgrade(void *ctx, const char *path, struct error *e)
{
	(void)ctx;
	return error_set(e, E_FAILED, ENOENT, "%s", path);
}

static const struct service_host host = {.info = no_info, .upgrade = no_upgrade};

static void wake(struct service_link *l)
{
	(void)l;
}

/* ---- what comes back: only noted, so that listening needs no memory ---- */

static void hear_frame(struct link *l)
{
	struct frame f;

	if (l->frame_len < FRAME_HEADER)
		return;
	frame_decode(&f, l->frame);
	if (f.type == FRAME_RES && f.arg <= REQUESTS)
		l->answered |= 1u << f.arg;
	if (f.channel == 9 && (f.type == FRAME_OPENED || f.type == FRAME_REFUSED)) {
		l->answered |= 1;
		l->channel = f.type == FRAME_OPENED;
	}
	l->ended |= f.channel == 9 && f.type == FRAME_CLOSE;
}

static void hear(struct link *l, const uint8_t *data, size_t len)
{
	uint8_t copy[4096], *at = copy;
	struct ws_event ev;

	memcpy(copy, data, len);
	while (len > 0 && memcmp(l->head, "\r\n\r\n", 4) != 0) {
		memmove(l->head, l->head + 1, 3);
		l->head[3] = *at++;
		len--;
	}
	while (ws_next(&l->ws, &at, &len, &ev) > 0) {
		if (ev.type == WS_EV_CLOSE)
			l->closed = ev.code;
		if (ev.type != WS_EV_DATA)
			continue;
		l->frame_len = ev.first ? 0 : l->frame_len;
		for (size_t i = 0; i < ev.len && l->frame_len < FRAME_HEADER; i++)
			l->frame[l->frame_len++] = ev.data[i];
		if (ev.last)
			hear_frame(l);
	}
}

static void drain(struct link *l)
{
	struct iovec iov[WIRE_IOV_MAX];

	while (wire_output(&l->wire, iov) > 0) {
		size_t n = min_of(iov[0].iov_len, (size_t)4096);

		hear(l, iov[0].iov_base, n);
		wire_wrote(&l->wire, n);
	}
}

/* ---- the conversation ---- */

static uint8_t talk[20000];
static size_t talk_len;

static void fragment(enum ws_opcode op, bool fin, const void *p, size_t len)
{
	static const uint8_t key[4];

	assert_true(talk_len + WS_HEADER_MAX + len < sizeof(talk));
	talk_len += ws_encode_header(talk + talk_len, WS_CLIENT, op, fin, len, key);
	memcpy(talk + talk_len, p, len);
	talk_len += len;
}

/* In fragments, so that it has to be put together. */
static void add(
	enum frame_type type, uint32_t channel, uint64_t arg, const char *payload, uint8_t flags)
{
	struct frame f = {.type = (uint8_t)type, .flags = flags, .channel = channel, .arg = arg};
	size_t len = strlen(payload);
	uint8_t header[FRAME_HEADER];

	frame_encode(&f, header);
	fragment(WS_BINARY, false, header, sizeof(header));
	fragment(WS_CONT, false, payload, len / 2);
	fragment(WS_CONT, true, payload + len / 2, len - len / 2);
}

static void write_talk(void)
{
	char big[8001];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	talk_len = (size_t)http_format_upgrade((char *)talk, sizeof(talk), PROTO_PATH,
		"dGhlIHNhbXBsZSBub25jZQ==", PROTO_NAME, "a token");
	add(FRAME_HELLO, 0, 0, "{\"proto\":1}", 0);
	add(FRAME_REQ, 0, 1, "{\"op\":\"ping\"}", 0);
	add(FRAME_REQ, 0, 2, "{\"op\":\"list\",\"limit\":5}", 0);
	add(FRAME_OPEN, 9, 0,
		"{\"service\":\"exec\",\"id\":\"new\",\"window\":100000,\"start\":{\"cmd\":[\"cat\"],\"env\":{\"A\":\"1\"},"
		"\"stdin\":true,\"ring\":65536},\"attach\":{\"viewer\":\"me\",\"hold_ms\":1000,\"input\":true}}",
		0);
	add(FRAME_DATA, 9, 0, big, 0);
	add(FRAME_REQ, 9, 3, "{\"op\":\"signal\",\"signal\":\"CONT\",\"to\":\"tree\"}", 0);
	add(FRAME_WINDOW, 9, 200000, "", 0);
	add(FRAME_REQ, 0, 4,
		"{\"op\":\"start\",\"id\":\"two\",\"start\":{\"cmd\":[\"true\"],\"user\":\"root\"}}",
		0);
	add(FRAME_REQ, 0, 5, "{\"op\":\"kill\",\"id\":\"two\",\"signal\":\"KILL\",\"to\":\"tree\"}",
		0);
	add(FRAME_REQ, 0, 6, "{\"op\":\"info\"}", 0);
	add(FRAME_DATA, 9, 8000, "the end\n", FRAME_FIN);
	add(FRAME_REQ, 0, 7, "{\"op\":\"no such thing\"}", 0);
}

/* Some at a time, with turns of the loop between; until all is answered or the link has ended. */
static void converse(struct srig *r, struct link *l)
{
	size_t at = 0, n;
	uint64_t until = now_ms() + 5000;

	while (l->wire.state != WIRE_CLOSED && (at < talk_len || (l->channel && !l->ended))) {
		assert_true(now_ms() < until);
		n = min_of(talk_len - at, (size_t)700);
		at += n ? wire_input(&l->wire, talk + at, n) : 0;
		uv_run(&r->loop, UV_RUN_NOWAIT);
		drain(l);
		if (at == talk_len)
			uv_run(&r->loop, UV_RUN_ONCE);
		drain(l);
	}
}

static bool link_up(struct srig *r, struct link *l)
{
	*l = (struct link){.service = {.sessions = &r->all, .host = &host, .wake = wake}};
	ws_decoder_init(&l->ws, WS_CLIENT, FRAME_MAX);
	if (wire_init_server(&l->wire, &events, l, 10) < 0)
		return false;
	l->service.mux = &l->wire.mux;
	return true;
}

/* Bug: a link that broke for want of memory while its viewer attached gave that viewer's place up,
 * as if it had said goodbye. */
static void check_place(const struct srig *r)
{
	const struct session *s = sessions_find(&r->all, "new");

	for (int i = 0; s && i < RECORD_PLACES; i++) {
		if (strcmp(s->rec->places[i].name, "me") == 0)
			assert_true(s->rec->places[i].hold_until > 0);
	}
}

/* True when it came to a refusal. */
static bool run(struct srig *r, unsigned fail_at, bool for_ever)
{
	struct session *other = srig_start(r, "other", srig_sh("sleep 0.02; echo fine; sleep 60"));
	struct watcher w;
	struct link l;
	bool up;

	watch_session(&w, other, ATTACH(.policy = POLICY_LOSSLESS));
	shim.count = 0;
	shim.fail_at = fail_at;
	shim.for_ever = for_ever;
	shim.armed = true;
	up = link_up(r, &l);
	if (up)
		converse(r, &l);
	shim.armed = false;
	if (up && l.wire.state != WIRE_CLOSED)
		assert_int_equal(l.answered, (2u << REQUESTS) - 1);
	else if (up)
		assert_true(l.wire.close_code == WS_CLOSE_INTERNAL || l.wire.close_code == 503);
	if (up)
		wire_fini(&l.wire);
	if (up && l.wire.close_code == WS_CLOSE_INTERNAL && !for_ever)
		check_place(r);
	/* Nobody else has noticed. */
	UNTIL(r, watcher_has(&w, STORE_OUT, "fine\n"));
	assert_string_equal(srig_state(other), "running");
	watcher_fini(&w);
	return shim.count >= fail_at;
}

static void test_every_place(void **state)
{
	struct srig r;
	struct link l;

	(void)state;
	for (int mode = 0; mode < 2; mode++) {
		unsigned refused = 0;

		for (unsigned n = 1; n <= PLACES; n++) {
			srig_up(&r, n % 2 ? "none" : "auto");
			refused += run(&r, n, mode == 1);
			/* And there is memory again. */
			session_kill(sessions_find(&r.all, "other"), CAUSE_CLIENT, TARGET_GROUP,
				SIGKILL, false, 0);
			UNTIL(&r, session_ended(sessions_find(&r.all, "other")));
			assert_true(link_up(&r, &l));
			wire_input(&l.wire, memcpy((uint8_t[400]){0}, talk, 400), 400);
			drain(&l);
			assert_true(l.answered & 2);
			wire_fini(&l.wire);
			srig_down(&r);
		}
		/* How many there are depends on what comes together. */
		assert_true(refused > PLACES / 3 && refused < PLACES);
	}
}

static int setup(void **state)
{
	(void)state;
	cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = __wrap_malloc, .free_fn = free});
	write_talk();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_place),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
