/*
 * test_stream.c - a thread's bytes, gaps and events arrive in order and at the pace of the credit;
 * a client's bytes reach the thread with their offsets; who goes away wakes the thread, and nothing
 * is left. A real loop and real threads on one side of a pair of muxes, a client that checks
 * everything on the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "agentd/stream.h"
#include "mux_pair.h"

enum what {
	WRITE,
	RESERVE,
	GAPS,
	EVENTS,
	READ,
	PEEK,
	BOTH,
	FAIL,
	FAIL_LATE,
	WAIT_INPUT,
	FLOOD,
	POLL,
	BULK
};

struct op {
	struct stream s;
	struct rig *rig;
	enum what what;
	uint64_t got, sum, jumps, last_off;
};

struct client {
	struct channel c;
	struct rig *rig;
	uint64_t off, gapped, grant, window; /* window: how far it lets the agent go ahead */
	uint64_t to_send, at, jump_every;    /* bytes left; offset; 0: no jumps */
	uint64_t sum, jumps;
	bool fin, fin_sent, opened, closed, hold, any; /* any: bytes */
	unsigned events;
	char last[256], error[ERROR_JSON_MAX];
	uint8_t out[FRAME_PAYLOAD_MAX];
};

struct rig {
	uv_loop_t loop;
	struct workers workers;
	struct service_link link;
	struct pair *pair;
	unsigned wakes, made, released;
	unsigned flags;
	enum what what;
};

static uint8_t at_off(uint64_t off)
{
	return (uint8_t)(off * 0x9e3779b97f4a7c15u >> 37);
}

static void fill(uint8_t *p, size_t n, uint64_t off)
{
	for (size_t i = 0; i < n; i++)
		p[i] = at_off(off + i);
}

/* ---- what the threads do (assertions of cmocka are not for them) ---- */

#define TOTAL (3 * MIB + 12345)

static void run_write(struct stream *s)
{
	static const size_t sizes[] = {1, 17, 4096, 65520, 100000, 7};
	uint8_t *p = malloc(100000);
	size_t n;

	for (uint64_t off = 0, i = 0; off < TOTAL; off += n, i++) {
		n = min_of(sizes[i % array_size(sizes)], (size_t)(TOTAL - off));
		fill(p, n, off);
		if (stream_write(s, p, n) < 0)
			break;
	}
	free(p);
	stream_done(s, "{\"event\":\"done\"}", 16);
}

static void run_reserve(struct stream *s, uint64_t total)
{
	for (uint64_t off = 0; off < total;) {
		size_t n = (size_t)(total - off);
		uint8_t *p = stream_reserve(s, &n);

		if (!p)
			return;
		n = min_of(n, (size_t)(off % 70000 + 1));
		fill(p, n, off);
		stream_commit(s, n);
		off += n;
	}
	stream_done(s, "{\"event\":\"done\"}", 16);
}

/* Between any two pieces of data an event, and every third a hole. */
static void run_events(struct stream *s, bool gaps)
{
	uint64_t off = 0;
	char text[40];

	stream_event(s, "{}", 2);
	for (int i = 0; i < 3000; i++) {
		uint8_t p[200];

		if (gaps && i % 3 == 0) {
			stream_gap(s, (uint64_t)i * 10);
			off += (uint64_t)i * 10;
		}
		fill(p, (size_t)i % 200, off);
		stream_write(s, p, (size_t)i % 200);
		off += (uint64_t)i % 200;
		if (stream_event(s, text,
			    (size_t)snprintf(text, sizeof(text), "{\"at\":%llu}",
				    (unsigned long long)off)) < 0)
			return;
	}
	stream_done(s, NULL, 0);
}

static void run_read(struct op *o)
{
	uint8_t *p = malloc(50000);
	ssize_t n;

	do {
		n = stream_read(&o->s, p, o->got % 2 ? 50000 : 4321);
		for (ssize_t i = 0; i < n; i++)
			ASSERT(p[i] == at_off(o->got + (uint64_t)i));
		o->got += n > 0 ? (uint64_t)n : 0;
	} while (n > 0);
	free(p);
	if (n == 0)
		stream_done(&o->s, NULL, 0);
}

static void run_peek(struct op *o)
{
	const uint8_t *p;
	uint64_t off, next = 0;
	ssize_t n;

	while ((n = stream_peek(&o->s, &p, &off)) > 0) {
		size_t take = min_of((size_t)n, (size_t)(o->got % 90000 + 1));

		o->jumps += off != next;
		ASSERT(off >= next);
		for (size_t i = 0; i < take; i++)
			ASSERT(p[i] == at_off(off + i));
		stream_consume(&o->s, take);
		o->got += take;
		next = off + take;
	}
	o->last_off = off;
	if (n == 0)
		stream_done(&o->s, "{\"event\":\"done\"}", 16);
}

static void run_echo(struct stream *s)
{
	const uint8_t *p;
	uint64_t off;
	ssize_t n;

	while ((n = stream_peek(s, &p, &off)) > 0) {
		if (stream_write(s, p, (size_t)n) < 0)
			return;
		stream_consume(s, (size_t)n);
	}
	stream_done(s, NULL, 0);
}

static void run_flood(struct stream *s)
{
	size_t n;
	uint8_t *p;

	do {
		n = SIZE_MAX;
		p = stream_reserve(s, &n);
		if (p)
			stream_commit(s, n);
	} while (p);
	ASSERT(stream_cancelled(s));
}

/* Little by little, then an answer is waited for. */
static void run_bulk(struct stream *s)
{
	uint8_t p[10], answer;

	stream_bulk(s);
	for (uint64_t off = 0; off < 100000; off += sizeof(p)) {
		fill(p, sizeof(p), off);
		stream_write(s, p, sizeof(p));
	}
	if (stream_read(s, &answer, 1) == 1)
		stream_done(s, NULL, 0);
}

static void run_poll(struct stream *s)
{
	int fd = stream_cancel_fd(s);
	uint64_t v;

	ASSERT(fd >= 0);
	while (read(fd, &v, sizeof(v)) < 0)
		usleep(1000);
}

static void run(struct stream *s)
{
	struct op *o = container_of(s, struct op, s);
	struct error e;
	uint64_t off;
	const uint8_t *p;
	ssize_t n;

	switch (o->what) {
	case WRITE: run_write(s); break;
	case RESERVE: run_reserve(s, TOTAL); break;
	case GAPS: run_events(s, true); break;
	case EVENTS: run_events(s, false); break;
	case READ: run_read(o); break;
	case PEEK: run_peek(o); break;
	case BOTH: run_echo(s); break;
	case FAIL_LATE:
		run_reserve(s, 100000); /* and says it is done; the first words count */
		stream_fail_errno(s, EIO, "/late");
		break;
	case FAIL:
		stream_event(s, "{}", 2);
		stream_fail_errno(s, ENOSPC, "/x");
		error_set(&e, E_TOO_LARGE, 0, "second");
		stream_fail(s, &e);
		break;
	case WAIT_INPUT:
		while ((n = stream_peek(s, &p, &off)) > 0)
			stream_consume(s, (size_t)n);
		ASSERT(n == -ECANCELED);
		break;
	case FLOOD: run_flood(s); break;
	case POLL: run_poll(s); break;
	case BULK: run_bulk(s); break;
	}
}

/* ---- the agent's side ---- */

static struct op last; /* as it was released */

static void release(struct stream *s)
{
	struct op *o = container_of(s, struct op, s);

	o->rig->released++;
	last = *o;
	free(o);
}

static const struct stream_ops ops = {.run = run, .release = release};

static void agent_open(void *owner, uint32_t id, const uint8_t *json, size_t len)
{
	struct rig *rig = owner;
	struct op *o = calloc(1, sizeof(*o));
	struct error e;
	char text[ERROR_JSON_MAX];

	o->rig = rig;
	o->what = rig->what;
	assert_int_equal(len, 8);
	if (stream_open(&o->s, &rig->link, id, get_u64(json), rig->flags, &ops, &e) < 0) {
		free(o);
		mux_refuse(rig->link.mux, id, text, error_json(&e, text));
		return;
	}
	rig->made++;
}

static const struct mux_events agent_events = {
	.on_hello = pair_hello, .on_open = agent_open, .on_request = pair_request};

static void wake(struct service_link *l)
{
	container_of(l, struct rig, link)->wakes++;
}

/* ---- the client ---- */

static struct client *of(struct channel *c)
{
	return container_of(c, struct client, c);
}

static bool c_pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct client *k = of(c);
	size_t n = (size_t)min_of(k->to_send, (uint64_t)max);

	if (k->hold)
		return false;
	if (n == 0 && (k->to_send > 0 || !k->fin || k->fin_sent))
		return false;
	if (k->jump_every) {
		n = min_of(n, (size_t)k->jump_every);
		k->at += k->jump_every;
		k->jumps++;
	}
	fill(k->out, n, k->at);
	*ret = (struct mux_item){.type = FRAME_DATA, .arg = k->at, .data = k->out, .len = n};
	k->at += n;
	k->to_send -= n;
	if (k->to_send == 0 && k->fin) {
		ret->flags = FRAME_FIN;
		k->fin_sent = true;
	}
	return true;
}

static void c_on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct client *k = of(c);

	assert_int_equal(stream, STREAM_OUT);
	assert_false(fin);
	assert_int_equal(off, k->off);
	for (size_t i = 0; i < len; i++) {
		if (!k->any && data[i] != at_off(off + i))
			fail_msg("byte %llu", (unsigned long long)(off + i));
	}
	k->off += len;
	k->sum += len;
	if (k->window && k->sum + k->window > k->grant) {
		k->grant = k->sum + k->window;
		channel_grant(c, k->grant);
	}
}

static void c_on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	struct client *k = of(c);
	char text[40] = "";

	memcpy(text, json, min_of(len, sizeof(text) - 1));
	k->opened = true;
	k->c.send_limit = max_of(k->c.send_limit, strtoull(strchr(text, ':') + 1, NULL, 10));
	channel_ready(c);
}

static void c_on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct client *k = of(c);

	assert_int_equal(stream, STREAM_OUT);
	assert_int_equal(off, k->off);
	k->off += missing;
	k->gapped += missing;
}

static void c_on_event(struct channel *c, const uint8_t *json, size_t len)
{
	struct client *k = of(c);
	char *at;

	assert_true(len < sizeof(k->last));
	memcpy(k->last, json, len);
	k->last[len] = 0;
	k->events++;
	at = strstr(k->last, "\"at\":");
	if (at)
		assert_int_equal(strtoull(at + 5, NULL, 10), k->off);
}

static void c_on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct client *k = of(c);

	assert_false(k->closed);
	memcpy(k->error, error ? (const char *)error : "", len);
	k->error[len] = 0;
	k->closed = true;
}

static const struct channel_ops client_ops = {.pull = c_pull,
	.on_data = c_on_data,
	.on_opened = c_on_opened,
	.on_gap = c_on_gap,
	.on_event = c_on_event,
	.on_close = c_on_close};

/* ---- the rig ---- */

static void rig_init(struct rig *rig, enum what what, unsigned flags)
{
	*rig = (struct rig){.what = what, .flags = flags};
	uv_loop_init(&rig->loop);
	assert_int_equal(workers_init(&rig->workers, &rig->loop, WORKERS_MAX), 0);
	uv_ref((uv_handle_t *)&rig->workers.poll); /* the loop has nothing else to wait for */
	rig->pair = pair_new(false);
	rig->link = (struct service_link){
		.mux = &rig->pair->end[WS_SERVER].mux, .workers = &rig->workers, .wake = wake};
	rig->link.mux->events = &agent_events;
	rig->link.mux->owner = rig;
	rig->link.mux->max_channels = rig->pair->end[WS_CLIENT].mux.max_channels = 1024;
	list_init(&rig->link.replies);
}

static void rig_open(struct rig *rig, struct client *k, uint64_t window)
{
	uint8_t json[8];

	k->rig = rig;
	k->grant = window;
	put_u64(json, window);
	assert_int_equal(
		mux_open(&rig->pair->end[WS_CLIENT].mux, &k->c, &client_ops, window, json, 8), 0);
}

/* One turn: what each has to say arrives at the other, and the loop runs. */
static void turn(struct rig *rig, unsigned frames)
{
	pair_pump(&rig->pair->end[WS_CLIENT], frames);
	pair_deliver(&rig->pair->end[WS_SERVER], SIZE_MAX);
	uv_run(&rig->loop, UV_RUN_NOWAIT);
	pair_pump(&rig->pair->end[WS_SERVER], frames);
	pair_deliver(&rig->pair->end[WS_CLIENT], SIZE_MAX);
}

static void until_closed(struct rig *rig, struct client *k)
{
	for (int idle = 0; !k->closed || rig->released < rig->made; idle++) {
		turn(rig, 1 + (unsigned)idle % 7);
		if (idle % 16 == 0)
			usleep(50);
		assert_true(idle < 400000);
	}
}

static void rig_fini(struct rig *rig)
{
	for (int i = 0; i < 20000 && rig->released < rig->made; i++) {
		turn(rig, 10);
		usleep(100);
	}
	assert_int_equal(rig->released, rig->made);
	assert_int_equal(rig->workers.streams, 0);
	assert_int_equal(rig->workers.pending, 0);
	pair_free(rig->pair, false);
	workers_close(&rig->workers);
	uv_run(&rig->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&rig->loop), 0);
	assert_true(workers_fini(&rig->workers));
}

/* ---- out ---- */

static void check_out(enum what what, uint64_t window)
{
	struct client k = {.window = window};
	struct rig rig;

	rig_init(&rig, what, 0);
	rig_open(&rig, &k, window);
	until_closed(&rig, &k);
	assert_string_equal(k.error, "");
	if (what == WRITE || what == RESERVE) {
		assert_int_equal(k.sum, TOTAL);
		assert_int_equal(k.events, 1);
		assert_string_equal(k.last, "{\"event\":\"done\"}");
	} else {
		assert_int_equal(k.events, 3001);
	}
	assert_true(what != GAPS || k.gapped == 10 * 3 * (uint64_t)(999 * 1000 / 2));
	rig_fini(&rig);
}

static void test_out(void **state)
{
	static const uint64_t windows[] = {1, 100, 65520, 300000, 1 << 20, 1ULL << 40};

	(void)state;
	for (size_t i = 1; i < array_size(windows); i++) {
		check_out(WRITE, windows[i] < 1000 ? 65536 : windows[i]);
		check_out(RESERVE, windows[i] < 1000 ? 65521 : windows[i]);
		check_out(GAPS, windows[i]);
		check_out(EVENTS, windows[i]);
	}
	check_out(EVENTS, windows[0]);
}

/* A small file is one piece: nothing wakes the loop before the thread has said all. */
static void test_one_piece(void **state)
{
	struct client k = {0};
	struct rig rig;
	uint64_t v;

	(void)state;
	rig_init(&rig, FAIL, 0);
	rig_open(&rig, &k, 1 << 20);
	pair_pump(&rig.pair->end[WS_CLIENT], 9);
	pair_deliver(&rig.pair->end[WS_SERVER], SIZE_MAX);
	assert_false(rig.link.mux->urgent && buf_len(&rig.link.mux->control) == 0);
	uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(rig.wakes, 1);
	v = buf_len(&rig.link.mux->control);
	assert_true(v > 0);
	until_closed(&rig, &k);
	assert_non_null(strstr(k.error, "\"errno\":28"));
	assert_non_null(strstr(k.error, "/x: "));
	rig_fini(&rig);
}

/* What comes in quick succession does not wake the loop each time, and is not kept back while
 * something is waited for. */
static void test_bulk(void **state)
{
	struct client k = {.window = 1 << 20, .to_send = 1, .hold = true};
	struct rig rig;

	(void)state;
	rig_init(&rig, BULK, STREAM_INPUT);
	rig_open(&rig, &k, 1 << 20);
	for (int i = 0; k.sum < 100000 && i < 100000; i++) {
		turn(&rig, 100);
		usleep(20);
	}
	assert_int_equal(k.sum, 100000);
	assert_true(rig.wakes < 10);
	k.hold = false;
	channel_ready(&k.c);
	until_closed(&rig, &k);
	assert_string_equal(k.error, "");
	rig_fini(&rig);
}

/* An error does not wait for credit; what was finished is not undone. */
static void test_fail(void **state)
{
	struct client k = {0}, l = {.window = 1 << 20};
	struct rig rig;

	(void)state;
	rig_init(&rig, FAIL, 0);
	rig_open(&rig, &k, 0);
	until_closed(&rig, &k);
	assert_non_null(strstr(k.error, "ENOSPC") ? k.error : strstr(k.error, "\"failed\""));
	rig.what = FAIL_LATE;
	rig_open(&rig, &l, 1 << 20);
	until_closed(&rig, &l);
	assert_string_equal(l.error, "");
	assert_int_equal(l.sum, 100000);
	rig_fini(&rig);
}

/* ---- in ---- */

static void check_in(enum what what, uint64_t bytes, uint64_t jump, bool early)
{
	struct client k = {.to_send = bytes, .fin = true, .jump_every = jump, .window = 1 << 20};
	struct rig rig;

	rig_init(&rig, what, jump ? STREAM_INPUT | STREAM_SPARSE : STREAM_INPUT);
	rig_open(&rig, &k, 1 << 20);
	if (early) {
		channel_presume(&k.c, STREAM_RING);
		pair_pump(&rig.pair->end[WS_CLIENT], 100);
		assert_true(k.c.sent == min_of(bytes, (uint64_t)STREAM_RING) && !k.opened);
	}
	until_closed(&rig, &k);
	assert_string_equal(k.error, "");
	if (what == BOTH)
		assert_int_equal(k.sum, bytes);
	else
		assert_int_equal(last.got, bytes);
	if (jump) {
		assert_int_equal(last.jumps, k.jumps);
		assert_int_equal(last.last_off, k.at);
	}
	rig_fini(&rig);
}

static void test_in(void **state)
{
	(void)state;
	for (int early = 0; early < 2; early++) {
		check_in(READ, 0, 0, early);
		check_in(READ, 1, 0, early);
		check_in(READ, 16384, 0, early);
		check_in(READ, 16385, 0, early);
		check_in(READ, TOTAL, 0, early);
		check_in(PEEK, TOTAL, 0, early);
		check_in(BOTH, TOTAL, 0, early);
	}
	check_in(PEEK, TOTAL, 60000, false);
	check_in(PEEK, 700000, 333, false);
}

/* A client that breaks the rules: its channel closes, the thread ends. */
static void test_wrong_input(void **state)
{
	struct client back = {.to_send = 10}, jump = {.to_send = 10}, mute = {.fin = true},
		      flood = {.to_send = 400000, .jump_every = 50}, over = {.to_send = 1000000};
	struct rig rig;

	(void)state;
	rig_init(&rig, WAIT_INPUT, STREAM_INPUT | STREAM_SPARSE);
	rig_open(&rig, &back, 0);
	while (back.to_send)
		turn(&rig, 1);
	back.at = 5;
	back.to_send = 1;
	channel_ready(&back.c);
	until_closed(&rig, &back);
	assert_non_null(strstr(back.error, "bad_offset"));

	rig.what = POLL;
	rig_open(&rig, &flood, 0);
	until_closed(&rig, &flood);
	assert_non_null(strstr(flood.error, "too_many"));

	rig.flags = STREAM_INPUT;
	jump.at = 1;
	rig_open(&rig, &jump, 0);
	until_closed(&rig, &jump);
	assert_non_null(strstr(jump.error, "bad_offset"));

	rig_open(&rig, &over, 0);
	channel_presume(&over.c, UINT64_MAX);
	until_closed(&rig, &over);
	assert_non_null(strstr(over.error, "credit_overrun"));

	rig.flags = 0;
	rig_open(&rig, &mute, 0);
	until_closed(&rig, &mute);
	assert_non_null(strstr(mute.error, "not_input"));
	rig_fini(&rig);
}

/* ---- going away ---- */

/* Wherever the thread is, it comes back: waiting for room, for input, for anything, or not begun.
 */
static void test_cancel(void **state)
{
	static const enum what what[] = {FLOOD, WAIT_INPUT, POLL, BOTH, EVENTS};
	struct rig rig;

	(void)state;
	for (unsigned i = 0; i < 120; i++) {
		struct client k = {.to_send = i % 2 ? 1000 : 0, .hold = true, .any = true};

		rig_init(&rig, what[i % array_size(what)], STREAM_INPUT);
		rig_open(&rig, &k, i % 3 ? 0 : 65520 * 3);
		for (unsigned t = 0; t < i % 4; t++)
			turn(&rig, 1);
		if (i % 4 > 1)
			usleep(2000);
		if (i < 60 && !k.closed) {
			channel_close(&k.c, NULL, 0);
		} else {
			mux_fini(&rig.pair->end[WS_SERVER].mux);
			mux_fini(&rig.pair->end[WS_CLIENT].mux);
		}
		assert_true(k.closed);
		rig_fini(&rig);
	}
}

/* One that does not read holds its own thread and no other; beyond the limit they are refused. */
static void test_too_many(void **state)
{
	static struct client k[STREAM_MAX + 20], quick;
	struct rig rig;
	unsigned refused = 0;

	(void)state;
	memset(k, 0, sizeof(k));
	rig_init(&rig, WAIT_INPUT, STREAM_INPUT);
	for (size_t i = 0; i < STREAM_MAX + 10; i++)
		rig_open(&rig, &k[i], 0);
	for (int i = 0; i < 50; i++)
		turn(&rig, 100);
	for (size_t i = 0; i < STREAM_MAX + 10; i++) {
		refused += k[i].closed;
		assert_true(!k[i].closed || strstr(k[i].error, "too_many"));
	}
	assert_int_equal(refused, 10);
	assert_int_equal(rig.workers.streams, STREAM_MAX);
	channel_close(&k[0].c, NULL, 0);
	while (rig.workers.streams == STREAM_MAX)
		turn(&rig, 100);
	rig.what = FAIL;
	rig_open(&rig, &quick, 0);
	while (!quick.closed)
		turn(&rig, 100);
	assert_non_null(
		strstr(quick.error, "ENOSPC") ? quick.error : strstr(quick.error, "failed"));
	for (size_t i = 1; i < STREAM_MAX + 10; i++) {
		if (!k[i].closed)
			channel_close(&k[i].c, NULL, 0);
	}
	rig_fini(&rig);
}

/* A client that never answers CLOSE has its channel, and nothing else. */
static void test_unanswered(void **state)
{
	struct client k = {0};
	struct rig rig;

	(void)state;
	rig_init(&rig, EVENTS, 0);
	rig_open(&rig, &k, 1 << 20);
	pair_pump(&rig.pair->end[WS_CLIENT], 1);
	pair_deliver(&rig.pair->end[WS_SERVER], SIZE_MAX);
	for (int i = 0; i < 20000 && rig.workers.streams > 0; i++) {
		uv_run(&rig.loop, UV_RUN_NOWAIT);
		pair_pump(&rig.pair->end[WS_SERVER], 100);
		usleep(20);
	}
	assert_int_equal(rig.workers.streams, 0);
	assert_int_equal(rig.released, 0);
	pair_deliver(&rig.pair->end[WS_CLIENT], SIZE_MAX);
	until_closed(&rig, &k);
	rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_out),
		cmocka_unit_test(test_one_piece),
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_fail),
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_wrong_input),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_unanswered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
