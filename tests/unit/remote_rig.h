/*
 * remote_rig.h - a session as one viewer sees it, against an agent on the same loop: every byte is
 * checked for its place when it comes, and the end finds an empty loop and as many descriptors as
 * before. In a header, as test_guest_agent.h is.
 */
#pragma once

#include "tests/unit/test_guest_agent.h"

#include "bridge/remote.h"

#define WINDOW 100000

struct viewer {
	uv_loop_t loop;
	struct fake fake;
	struct guest guest;
	struct remote remote;
	struct remote_config config;
	struct msg_start start;
	size_t fds;
	bool opened, ended, over, guest_closed;
	unsigned n_opened, n_live, n_ended, n_over, n_stdin_closed;
	enum remote_why why;
	struct error error;
	uint64_t got[3], gaps[3]; /* bytes received, bytes announced as missing */
	uint64_t next[3];         /* offset of the next byte */
	bool stopped;             /* consumes nothing */
	uint64_t unconsumed, peak;
	uint64_t in_len, in_given;
	void (*then)(struct viewer *v); /* in every callback */
};

static char *argv_cat[] = {(char *)"cat", NULL};

static inline void then(struct viewer *v)
{
	if (v->then)
		v->then(v);
}

static inline void give_input(struct viewer *v)
{
	static uint8_t data[10000];

	while (v->in_given < v->in_len) {
		size_t n = (size_t)min_of((uint64_t)sizeof(data), v->in_len - v->in_given), took;

		for (size_t i = 0; i < n; i++)
			data[i] = fake_byte(0, v->in_given + i);
		took = remote_input(&v->remote, data, n);
		v->in_given += took;
		if (took < n)
			return;
	}
	if (v->in_len)
		remote_input_end(&v->remote);
	v->in_len = 0;
}

static inline void on_opened(struct remote *r, const struct msg_opened *o)
{
	struct viewer *v = r->owner;

	assert_string_equal(o->id, r->id);
	v->opened = true;
	v->n_opened++;
	then(v);
}

static inline void consume(struct viewer *v)
{
	size_t n = (size_t)v->unconsumed;

	v->unconsumed = 0;
	remote_consumed(&v->remote, n);
}

static inline void on_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	struct viewer *v = r->owner;

	assert_true(stream == STREAM_OUT || stream == STREAM_ERR);
	assert_int_equal(off, v->next[stream]);
	for (size_t i = 0; i < len; i++) {
		if (data[i] != fake_byte(stream, off + i))
			fail_msg("stream %u differs at %llu", stream, (unsigned long long)off + i);
	}
	v->next[stream] += len;
	v->got[stream] += len;
	v->unconsumed += len;
	v->peak = max_of(v->peak, v->unconsumed);
	if (!v->stopped)
		consume(v);
	then(v);
}

static inline void on_gap(struct remote *r, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct viewer *v = r->owner;

	assert_int_equal(off, v->next[stream]);
	v->next[stream] += missing;
	v->gaps[stream] += missing;
	then(v);
}

static inline void on_live(struct remote *r)
{
	struct viewer *v = r->owner;

	v->n_live++;
	then(v);
}

static inline void on_input_room(struct remote *r)
{
	give_input(r->owner);
}

static inline void on_stdin_closed(struct remote *r)
{
	struct viewer *v = r->owner;

	v->n_stdin_closed++;
	then(v);
}

static inline void on_end(struct remote *r, const struct msg_end *end)
{
	struct viewer *v = r->owner;

	assert_int_equal(end->state, END_EXITED);
	assert_int_equal(end->code, 7);
	v->ended = true;
	v->n_ended++;
	then(v);
}

static inline void on_close(struct remote *r, enum remote_why why, const struct error *error)
{
	struct viewer *v = r->owner;

	assert_int_equal(error == NULL, why == REMOTE_DONE);
	v->over = true;
	v->n_over++;
	v->why = why;
	if (error)
		v->error = *error;
	then(v);
}

static const struct remote_events events = {
	.on_opened = on_opened,
	.on_output = on_output,
	.on_gap = on_gap,
	.on_live = on_live,
	.on_input_room = on_input_room,
	.on_stdin_closed = on_stdin_closed,
	.on_end = on_end,
	.on_close = on_close,
};

static inline void viewer_init(struct viewer *v)
{
	*v = (struct viewer){.fds = fake_count_fds()};
	assert_int_equal(uv_loop_init(&v->loop), 0);
	fake_init(&v->fake, &v->loop);
	v->start = (struct msg_start){.argv = argv_cat, .argc = 1};
	v->config = (struct remote_config){.start = &v->start, .window = WINDOW};
	v->remote.owner = v;
}

static inline void viewer_start(struct viewer *v)
{
	struct guest_config config;

	fake_config(&v->fake, &config);
	config.first_ms = config.retry_ms;
	assert_int_equal(guest_init(&v->guest, &v->loop, &config), 0);
	assert_int_equal(remote_open(&v->remote, &v->guest, &events, &v->config), 0);
	guest_start(&v->guest);
}

static inline void on_guest_closed(void *owner)
{
	((struct viewer *)owner)->guest_closed = true;
}

static inline void viewer_fini(struct viewer *v)
{
	v->then = NULL;
	remote_close(&v->remote);
	guest_close(&v->guest, on_guest_closed, v);
	fake_run_until(&v->loop, &v->guest_closed);
	fake_stop(&v->fake);
	uv_run(&v->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&v->loop), 0);
	fake_fini(&v->fake);
	assert_int_equal(fake_count_fds(), v->fds);
	assert_true(v->n_over <= 1);
	assert_true(v->n_live <= 1);
	assert_true(v->n_ended <= 1);
	assert_true(v->n_opened <= 1);
	assert_true(v->n_stdin_closed <= 1);
}

static inline void assert_done(struct viewer *v)
{
	fake_run_until(&v->loop, &v->over);
	assert_int_equal(v->why, REMOTE_DONE);
	assert_int_equal(v->n_live, 1);
	assert_true(v->ended);
	assert_int_equal(v->got[1] + v->gaps[1], v->fake.out_len);
	assert_int_equal(v->got[2] + v->gaps[2], v->fake.err_len);
	assert_true(v->peak <= v->config.window);
	viewer_fini(v);
}

static inline void assert_over(struct viewer *v, enum remote_why why, enum error_code code)
{
	fake_run_until(&v->loop, &v->over);
	assert_int_equal(v->why, why);
	assert_int_equal(v->error.code, code);
	assert_int_equal(v->n_ended, 0);
	viewer_fini(v);
}

static inline struct fake_session *session_of(struct viewer *v)
{
	return fake_find(&v->fake, v->remote.id);
}
