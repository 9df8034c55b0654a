/*
 * stream_rig.h - a service whose threads write, read, wait and fail as they are told (enum what),
 * on a real loop on one side of a pair of muxes, and on the other a client that checks everything.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "agentd/stream.h"
#include "tests/unit/mux_pair.h"

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

static inline uint8_t at_off(uint64_t off)
{
	return (uint8_t)(off * 0x9e3779b97f4a7c15u >> 37);
}

static inline void fill(uint8_t *p, size_t n, uint64_t off)
{
	for (size_t i = 0; i < n; i++)
		p[i] = at_off(off + i);
}

/* ---- what the threads do (assertions of cmocka are not for them) ---- */

#define TOTAL (3 * MIB + 12345)

static inline void run_write(struct stream *s)
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

static inline void run_reserve(struct stream *s, uint64_t total)
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
static inline void run_events(struct stream *s, bool gaps)
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

static inline void run_read(struct op *o)
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

static inline void run_peek(struct op *o)
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

static inline void run_echo(struct stream *s)
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

static inline void run_flood(struct stream *s)
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
static inline void run_bulk(struct stream *s)
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

static inline void run_poll(struct stream *s)
{
	int fd = stream_cancel_fd(s);
	uint64_t v;

	ASSERT(fd >= 0);
	while (read(fd, &v, sizeof(v)) < 0)
		usleep(1000);
}

static inline void run(struct stream *s)
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

static inline void release(struct stream *s)
{
	struct op *o = container_of(s, struct op, s);

	o->rig->released++;
	last = *o;
	free(o);
}

static const struct stream_ops ops = {.run = run, .release = release};

static inline void agent_open(void *owner, uint32_t id, const uint8_t *json, size_t len)
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

static inline void wake(struct service_link *l)
{
	container_of(l, struct rig, link)->wakes++;
}

/* ---- the client ---- */

static inline struct client *of(struct channel *c)
{
	return container_of(c, struct client, c);
}

static inline bool c_pull(struct channel *c, size_t max, struct mux_item *ret)
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

static inline void c_on_data(
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

static inline void c_on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	struct client *k = of(c);
	char text[40] = "";

	memcpy(text, json, min_of(len, sizeof(text) - 1));
	k->opened = true;
	k->c.send_limit = max_of(k->c.send_limit, strtoull(strchr(text, ':') + 1, NULL, 10));
	channel_ready(c);
}

static inline void c_on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct client *k = of(c);

	assert_int_equal(stream, STREAM_OUT);
	assert_int_equal(off, k->off);
	k->off += missing;
	k->gapped += missing;
}

static inline void c_on_event(struct channel *c, const uint8_t *json, size_t len)
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

static inline void c_on_close(struct channel *c, const uint8_t *error, size_t len)
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

static inline void rig_init(struct rig *rig, enum what what, unsigned flags)
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

static inline void rig_open(struct rig *rig, struct client *k, uint64_t window)
{
	uint8_t json[8];

	k->rig = rig;
	k->grant = window;
	put_u64(json, window);
	assert_int_equal(
		mux_open(&rig->pair->end[WS_CLIENT].mux, &k->c, &client_ops, window, json, 8), 0);
}

/* One turn: what each has to say arrives at the other, and the loop runs. */
static inline void turn(struct rig *rig, unsigned frames)
{
	pair_pump(&rig->pair->end[WS_CLIENT], frames);
	pair_deliver(&rig->pair->end[WS_SERVER], SIZE_MAX);
	uv_run(&rig->loop, UV_RUN_NOWAIT);
	pair_pump(&rig->pair->end[WS_SERVER], frames);
	pair_deliver(&rig->pair->end[WS_CLIENT], SIZE_MAX);
}

static inline void until_closed(struct rig *rig, struct client *k)
{
	for (int idle = 0; !k->closed || rig->released < rig->made; idle++) {
		turn(rig, 1 + (unsigned)idle % 7);
		if (idle % 16 == 0)
			usleep(50);
		assert_true(idle < 400000);
	}
}

static inline void rig_fini(struct rig *rig)
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
