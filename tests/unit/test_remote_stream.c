/*
 * test_remote_stream.c - a connection in the guest as its relay sees it: every byte once and in
 * order, no more than the window on the way, ends and failures told once. Against an agent on the
 * same loop; every test ends with an empty loop and as many descriptors as before.
 */
#include "tests/unit/test_guest_agent.h"

#include "bridge/remote_stream.h"

#define FAR_WINDOW 65536

/* The agent's end: says `todo` bytes and its end, and hears. */
struct far {
	struct channel channel;
	struct near *near;
	uint64_t todo, sent, got;
	bool said_end, got_end;
};

struct near {
	uv_loop_t loop;
	struct fake fake;
	struct guest guest;
	struct guest_user user;
	struct remote_stream stream;
	struct far *far; /* NULL: there is none */
	size_t fds;
	bool up, opened, ended, over, guest_closed;
	unsigned opens, ends, overs, rooms;
	bool failed;
	struct error error; /* if failed */
	uint64_t got, unconsumed, peak, in_len, in_given;
	bool stopped;   /* consumes nothing */
	bool far_stuck; /* the far end gives no credit back */
	enum error_code refuse;
	bool full;                    /* the stream takes no more */
	void (*then)(struct near *n); /* in on_data */
};

/* ---- the agent's end ---- */

static bool far_pull(struct channel *c, size_t max, struct mux_item *ret)
{
	static uint8_t data[FRAME_PAYLOAD_MAX];
	struct far *f = container_of(c, struct far, channel);
	size_t n = (size_t)min_of(f->todo, (uint64_t)max);

	*ret = (struct mux_item){
		.type = FRAME_DATA, .stream = STREAM_OUT, .arg = f->sent, .data = data, .len = n};
	for (size_t i = 0; i < n; i++)
		data[i] = fake_byte(1, f->sent + i);
	f->sent += n;
	f->todo -= n;
	if (n > 0)
		return true;
	if (f->todo == 0 && !f->said_end && f->sent > 0) {
		ret->flags = FRAME_FIN;
		f->said_end = true;
		return true;
	}
	*ret = (struct mux_item){.type = FRAME_CLOSE};
	return f->said_end && f->got_end;
}

static void far_on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct far *f = container_of(c, struct far, channel);

	assert_int_equal(stream, STREAM_IN);
	assert_int_equal(off, f->got);
	for (size_t i = 0; i < len; i++) {
		if (data[i] != fake_byte(0, off + i))
			fail_msg("input differs at %llu", (unsigned long long)off + i);
	}
	f->got += len;
	f->got_end |= fin;
	if (!f->near->far_stuck)
		channel_grant(c, c->received + FAR_WINDOW);
	channel_ready(c);
}

static void far_on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct far *f = container_of(c, struct far, channel);

	(void)error, (void)len;
	f->near->far = NULL;
	free(f);
}

static const struct channel_ops far_ops = {
	.pull = far_pull, .on_data = far_on_data, .on_close = far_on_close};

static void far_open(struct fake *fake, struct mux *m, uint32_t id)
{
	struct near *n = container_of(fake, struct near, fake);
	static const char text[] = "{\"window\":65536}";

	if (n->refuse != E_NONE) {
		fake_refuse(m, id, n->refuse);
		return;
	}
	n->far = xcalloc(1, sizeof(*n->far));
	n->far->near = n;
	mux_accept(m, id, &n->far->channel, &far_ops, FAR_WINDOW, REMOTE_STREAM_WINDOW, true, text,
		sizeof(text) - 1);
}

static void far_say(struct near *n, uint64_t bytes)
{
	n->far->todo += bytes;
	channel_ready(&n->far->channel);
	fake_flush_all(&n->fake);
}

/* ---- ours ---- */

static void give(struct near *n)
{
	static uint8_t data[10000];

	n->full = false;
	while (n->in_given < n->in_len && !n->full) {
		size_t len = (size_t)min_of((uint64_t)sizeof(data), n->in_len - n->in_given), took;

		for (size_t i = 0; i < len; i++)
			data[i] = fake_byte(0, n->in_given + i);
		took = remote_stream_write(&n->stream, data, len);
		n->in_given += took;
		n->full = took < len;
	}
	if (n->in_len > 0 && n->in_given == n->in_len)
		remote_stream_end(&n->stream);
}

static void on_opened(struct remote_stream *s)
{
	struct near *n = s->owner;

	n->opened = true;
	n->opens++;
}

static void on_data(struct remote_stream *s, const uint8_t *data, size_t len)
{
	struct near *n = s->owner;

	for (size_t i = 0; i < len; i++) {
		if (data[i] != fake_byte(1, n->got + i))
			fail_msg("output differs at %llu", (unsigned long long)n->got + i);
	}
	n->got += len;
	n->unconsumed += len;
	n->peak = max_of(n->peak, n->unconsumed);
	if (n->then) {
		n->then(n);
	} else if (!n->stopped) {
		n->unconsumed = 0;
		remote_stream_consumed(s, len);
	}
}

static void on_end(struct remote_stream *s)
{
	struct near *n = s->owner;

	n->ended = true;
	n->ends++;
}

static void on_room(struct remote_stream *s)
{
	struct near *n = s->owner;

	n->rooms++;
	give(n);
}

static void on_close(struct remote_stream *s, const struct error *error)
{
	struct near *n = s->owner;

	n->over = true;
	n->overs++;
	n->failed = error;
	if (error)
		n->error = *error;
}

static const struct remote_stream_events events = {
	.on_opened = on_opened,
	.on_data = on_data,
	.on_end = on_end,
	.on_room = on_room,
	.on_close = on_close,
};

static void on_up(struct guest_user *u, bool same)
{
	(void)same;
	container_of(u, struct near, user)->up = true;
}

static void on_lost(struct guest_user *u)
{
	(void)u;
	fail_msg("the link is lost");
}

static const struct guest_user_ops user_ops = {.on_up = on_up, .on_lost = on_lost};

static int open_stream(struct near *n)
{
	n->stream.owner = n;
	n->opened = n->ended = n->over = n->failed = false;
	return remote_stream_open(&n->stream, &n->guest, &events, "tcp:localhost:80", 0);
}

static void begin(struct near *n)
{
	struct guest_config config;

	*n = (struct near){.fds = fake_count_fds()};
	assert_int_equal(uv_loop_init(&n->loop), 0);
	fake_init(&n->fake, &n->loop);
	n->fake.open_other = far_open;
	fake_config(&n->fake, &config);
	assert_int_equal(guest_init(&n->guest, &n->loop, &config), 0);
	guest_add_user(&n->guest, &n->user, &user_ops);
	guest_start(&n->guest);
	assert_int_equal(open_stream(n), -ENOTCONN);
	fake_run_until(&n->loop, &n->up);
	assert_int_equal(open_stream(n), 0);
}

static void on_guest_closed(void *owner)
{
	((struct near *)owner)->guest_closed = true;
}

static void finish(struct near *n)
{
	remote_stream_close(&n->stream);
	remote_stream_close(&n->stream);
	guest_remove_user(&n->user);
	guest_close(&n->guest, on_guest_closed, n);
	fake_run_until(&n->loop, &n->guest_closed);
	fake_stop(&n->fake);
	uv_run(&n->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&n->loop), 0);
	fake_fini(&n->fake);
	assert_null(n->far);
	assert_int_equal(fake_count_fds(), n->fds);
	assert_true(n->peak <= REMOTE_STREAM_WINDOW);
}

static void settle(struct near *n)
{
	for (int i = 0; i < 200; i++) {
		fake_flush_all(&n->fake);
		uv_run(&n->loop, UV_RUN_NOWAIT);
	}
}

/* ---- tests ---- */

static void test_both_ways(void **state)
{
	struct near n;

	(void)state;
	begin(&n);
	n.in_len = 3000001;
	give(&n); /* before it is open */
	fake_run_until(&n.loop, &n.opened);
	far_say(&n, 2500000);
	fake_run_until(&n.loop, &n.over);
	assert_false(n.failed);
	assert_int_equal(n.got, 2500000);
	assert_int_equal(n.in_given, n.in_len);
	assert_true(n.rooms > 3);
	assert_int_equal(n.opens + n.ends + n.overs, 3);
	finish(&n);
}

/* Each side in turn holds the other up, within its window, and lets it go on. */
static void test_windows(void **state)
{
	struct near n;

	(void)state;
	begin(&n);
	n.far_stuck = n.stopped = true;
	n.in_len = 1000000;
	give(&n);
	fake_run_until(&n.loop, &n.opened);
	far_say(&n, 1000000);
	settle(&n);
	assert_int_equal(n.got, REMOTE_STREAM_WINDOW);
	assert_int_equal(n.far->got, FAR_WINDOW);
	assert_true(n.in_given <= FAR_WINDOW + REMOTE_STREAM_WINDOW);
	give(&n);
	assert_int_equal(remote_stream_room(&n.stream), 0);
	n.stopped = n.far_stuck = false;
	remote_stream_consumed(&n.stream, n.unconsumed);
	n.unconsumed = 0;
	channel_grant(&n.far->channel, n.far->got + FAR_WINDOW);
	fake_flush_all(&n.fake);
	fake_run_until(&n.loop, &n.over);
	assert_false(n.failed);
	assert_int_equal(n.got, 1000000);
	finish(&n);
}

static void test_failures(void **state)
{
	static const char reset[] =
		"{\"error\":{\"code\":\"failed\",\"message\":\"x\",\"errno\":104}}";
	struct near n;

	(void)state;
	begin(&n);
	fake_run_until(&n.loop, &n.opened);
	channel_close(&n.far->channel, reset, sizeof(reset) - 1);
	fake_flush_all(&n.fake);
	fake_run_until(&n.loop, &n.over);
	assert_true(n.failed && n.error.code == E_FAILED && n.error.err == ECONNRESET);
	assert_int_equal(remote_stream_room(&n.stream), 0);
	/* Closed without a word, in the middle: no end. */
	assert_int_equal(open_stream(&n), 0);
	fake_run_until(&n.loop, &n.opened);
	channel_close(&n.far->channel, NULL, 0);
	fake_flush_all(&n.fake);
	fake_run_until(&n.loop, &n.over);
	assert_true(n.failed && n.error.err == ECONNRESET);
	/* A gap: nothing that a stream has. */
	assert_int_equal(open_stream(&n), 0);
	fake_run_until(&n.loop, &n.opened);
	mux_send(n.far->channel.mux,
		&(struct frame){.type = FRAME_GAP, .stream = 1, .channel = n.far->channel.id},
		"\0\0\0\0\0\0\0\1", 8);
	fake_flush_all(&n.fake);
	fake_run_until(&n.loop, &n.over);
	assert_true(n.failed && n.error.code == E_BAD_MESSAGE);
	settle(&n);
	n.refuse = E_TOO_MANY;
	assert_int_equal(open_stream(&n), 0);
	fake_run_until(&n.loop, &n.over);
	assert_true(n.failed && n.error.code == E_TOO_MANY && !n.opened);
	assert_int_equal(n.overs, 4);
	finish(&n);
}

static void test_link_breaks(void **state)
{
	struct near n;

	(void)state;
	begin(&n);
	fake_run_until(&n.loop, &n.opened);
	far_say(&n, 1000);
	n.up = false;
	fake_cut_all(&n.fake);
	fake_run_until(&n.loop, &n.over);
	assert_true(n.failed && n.error.err == ENETRESET);
	fake_hurry(&n.guest);
	fake_run_until(&n.loop, &n.up);
	n.got = 0;
	assert_int_equal(open_stream(&n), 0);
	fake_run_until(&n.loop, &n.opened);
	n.in_len = 10;
	give(&n);
	far_say(&n, 1000);
	fake_run_until(&n.loop, &n.over);
	assert_false(n.failed);
	finish(&n);
}

static void close_it(struct near *n)
{
	remote_stream_close(&n->stream);
}

/* From its own callback: not a word more. Before it is open, too. */
static void test_close(void **state)
{
	struct near n;

	(void)state;
	begin(&n);
	n.then = close_it;
	fake_run_until(&n.loop, &n.opened);
	far_say(&n, 1000000);
	settle(&n);
	assert_true(n.got > 0 && n.got <= FRAME_PAYLOAD_MAX);
	assert_int_equal(n.overs + n.ends, 0);
	assert_null(n.far);
	assert_int_equal(remote_stream_write(&n.stream, "x", 1), 0);
	remote_stream_end(&n.stream);
	remote_stream_consumed(&n.stream, 0);
	assert_int_equal(open_stream(&n), 0);
	remote_stream_close(&n.stream);
	settle(&n);
	assert_int_equal(n.opens, 1);
	assert_null(n.far);
	finish(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_link_breaks),
		cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests(tests, fake_warm_up, NULL);
}
