/*
 * test_mux.c - the server end of the channels: which ids there are, what ends a channel, who may
 * send how much, who sends next. What is said and what must come of it is a table of steps where
 * that is all there is to it. The client end and both together are in test_mux_client.c, a peer
 * that breaks the rules or never reads in test_mux_peer.c.
 */
#include "tests/unit/wire_rig.h"

#include <stdio.h>

enum act {
	SAYS_DATA = 256, /* below: a frame of that type */
	SAYS_END,        /* DATA with FIN */
	SAYS_PART,       /* a WebSocket frame: the beginning of a message, `arg` bytes */
	SAYS_REST,       /* and the rest of it */
	OPENS,           /* by the rig's own words, of which nothing is written down */
	CLOSES,          /* from here on we */
	ACCEPTS,         /* with this window */
	GRANTS,
	ACKS,
	HAS, /* so many bytes to send, or an error as text: OPEN is refused with it */
};

struct step {
	unsigned act;
	uint32_t id;
	uint64_t arg;
	const char *text;
	const char *told, *heard; /* since it was last looked; NULL: is not looked at */
};

struct script {
	const char *name;
	uint64_t max_channels, window, send_limit;
	bool defer;
	unsigned closes; /* in all; 0: not counted */
	const struct step *steps;
	size_t n;
};

static void act(struct rig *r, const struct step *s)
{
	const char *text = s->text ? s->text : "";
	struct channel *c = s->id && s->act >= CLOSES ? &rig_chan(r, s->id)->channel : NULL;

	switch (s->act) {
	case SAYS_DATA: rig_say_data(r, s->id, s->arg, text, false); break;
	case SAYS_END: rig_say_data(r, s->id, s->arg, text, true); break;
	case SAYS_PART: rig_ws(r, WS_BINARY, false, text, s->arg); break;
	case SAYS_REST: rig_ws(r, WS_CONT, true, text, s->arg); break;
	case OPENS: rig_open(r, s->id); break;
	case CLOSES: channel_close(c, text, strlen(text)); break;
	case ACCEPTS: channel_accept(c, s->arg, text, strlen(text)); break;
	case GRANTS: channel_grant(c, s->arg); break;
	case ACKS: channel_ack(c, STREAM_IN, s->arg); break;
	case HAS:
		r->refuse = s->text;
		if (c)
			rig_chan(r, s->id)->todo = s->arg, channel_ready(c);
		break;
	default: rig_say(r, (enum frame_type)s->act, s->id, s->arg, text);
	}
}

static void check(const char *name, size_t at, const char *got, const char *want)
{
	if (strcmp(got, want) != 0)
		fail_msg("%s, step %zu: %s, and not %s", name, at, got, want);
}

static void play(void **state)
{
	const struct script *p = *state;
	struct rig r;

	rig_server(&r, p->max_channels);
	r.window = p->window ? p->window : r.window;
	r.send_limit = p->send_limit ? p->send_limit : r.send_limit;
	r.defer = p->defer;
	for (size_t i = 0; i < p->n; i++) {
		act(&r, &p->steps[i]);
		if (p->steps[i].told)
			check(p->name, i, rig_told(&r), p->steps[i].told);
		if (p->steps[i].heard)
			check(p->name, i, rig_heard(&r), p->steps[i].heard);
	}
	rig_fini(&r);
	if (p->closes)
		assert_int_equal(r.closes, p->closes);
}

#define FAILED "{\"error\":{\"code\":\"failed\"}}"

/* ---- ids ---- */

static const struct step open_steps[] = {
	{FRAME_OPEN, 5, 0, "{\"a\":1}", "open 5 {\"a\":1}", "OPENED 5 {}"},
	{FRAME_OPEN, 5, 0, "{}", "", "REFUSED 5 !channel_in_use"},
	{FRAME_OPEN, 0, 0, "{}", "", "REFUSED 0 !bad_message"},
	{HAS, 0, 0, "{\"error\":{\"code\":\"not_found\"}}", "", ""},
	{FRAME_OPEN, 6, 0, "{}", "open 6 {}", "REFUSED 6 !not_found"},
	{FRAME_OPEN, 6, 0, "{}", "open 6 {}", "REFUSED 6 !not_found"}, /* a refused id is free */
	/* The one whose id was wanted goes on. */
	{SAYS_DATA, 5, 0, "abc", "data 5.0@0 abc", ""},
	{FRAME_REQ, 5, 9, "{}", "request 5@9 {}", "RES 5@9 {}"},
};

/* An id is free when both have sent CLOSE, and not before. */
static const struct step reuse_steps[] = {
	{.act = OPENS, .id = 5},
	{CLOSES, 5, 0, "", "close 5", "CLOSE 5"},
	{FRAME_OPEN, 5, 0, "{}", "", "REFUSED 5 !channel_in_use"},
	{SAYS_END, 5, 0, "crossed", "", ""},
	{FRAME_WINDOW, 5, 5000, "", "", ""},
	{FRAME_REQ, 5, 1, "{}", "", "RES 5@1 !no_channel"},
	{FRAME_CLOSE, 5, 0, "", "", ""},
	{.act = OPENS, .id = 5},
	{FRAME_CLOSE, 5, 0, FAILED, "close 5 !failed", "CLOSE 5"},
	{FRAME_CLOSE, 5, 0, "", "", ""},
	{.act = OPENS, .id = 5},
};

static const struct step unknown_steps[] = {
	{SAYS_END, 77, 0, "x", "", ""},
	{FRAME_WINDOW, 77, 1, "", "", ""},
	{FRAME_ACK, 77, 1, "", "", ""}, /* bug: was rejected */
	{FRAME_CLOSE, 77, 0, "", "", ""},
	{SAYS_END, 0, 0, "x", "", ""},
	{FRAME_WINDOW, 0, 1, "", "", ""},
	{FRAME_CLOSE, 0, 0, "", "", ""},
	{FRAME_REQ, 77, 3, "{}", "", "RES 77@3 !no_channel"},
	{FRAME_REQ, 0, UINT64_MAX, "{}", "request 0@18446744073709551615 {}",
		"RES 0@18446744073709551615 {}"},
};

/* Ids in any order; what waits for the peer's CLOSE counts. */
static const struct step max_steps[] = {
	{.act = OPENS, .id = 900},
	{.act = OPENS, .id = 7},
	{.act = OPENS, .id = 60000},
	{CLOSES, 60000, 0, "", "close 60000", "CLOSE 60000"},
	{FRAME_OPEN, 1, 0, "{}", "", "REFUSED 1 !too_many"},
	{FRAME_CLOSE, 60000, 0, "", "", ""},
	{.act = OPENS, .id = 1},
	{FRAME_OPEN, 2, 0, "{}", "", "REFUSED 2 !too_many"},
};

/* An answer that takes a while: the id is taken meanwhile, nothing may be sent but an end. */
static const struct step deferred_steps[] = {
	{FRAME_OPEN, 5, 0, "{}", "open 5 {}", ""},
	{HAS, 5, 10, NULL, "", ""}, /* said too early: forgotten until it is open */
	{FRAME_OPEN, 5, 0, "{}", "", "REFUSED 5 !channel_in_use"},
	{SAYS_END, 5, 0, "", "data 5.0@0+fin", ""},
	{FRAME_REQ, 5, 1, "{}", "request 5@1 {}", "RES 5@1 {}"},
	{FRAME_WINDOW, 5, 7, "", "", ""},
	{ACCEPTS, 5, 4, "{\"window\":4}", "", "OPENED 5 {\"window\":4}; DATA 5.1 xxxxxxx"},
	{SAYS_DATA, 5, 0, "abcd", "data 5.0@0 abcd", ""},
	/* Others: refused after all; with more than nothing sent; and too many of them. */
	{FRAME_OPEN, 6, 0, "{}", "open 6 {}", ""},
	{FRAME_OPEN, 7, 0, "{}", "open 7 {}", ""},
	{FRAME_OPEN, 8, 0, "{}", "", "REFUSED 8 !too_many"},
	{CLOSES, 6, 0, FAILED, "close 6 !failed", "REFUSED 6 !failed"},
	{SAYS_DATA, 7, 0, "x", "close 7 !credit_overrun", "REFUSED 7 !credit_overrun"},
	{FRAME_CLOSE, 7, 0, "", "", ""},           /* crossed it */
	{FRAME_OPEN, 6, 0, "{}", "open 6 {}", ""}, /* free again */
	{FRAME_OPEN, 7, 0, "{}", "open 7 {}", ""},
	/* The client does not want it any more; the link goes. */
	{FRAME_CLOSE, 6, 0, "", "close 6", "CLOSE 6"},
};

/* The table is kept sorted whatever comes. */
static void test_many_ids(void **state)
{
	struct rig r;
	uint32_t id = 1;
	unsigned opened = 0;

	(void)state;
	rig_server(&r, 1000);
	for (unsigned i = 0; i < 5000; i++) {
		id = (id * 1103515245u + 12345u) & 0x7fffffffu;
		uint32_t n = 1 + (id >> 8) % 600;

		if (r.chans[n]) {
			rig_say(&r, FRAME_CLOSE, n, 0, "");
			assert_null(r.chans[n]);
		} else {
			rig_say(&r, FRAME_OPEN, n, 0, "{}");
			assert_int_equal(rig_chan(&r, n)->channel.id, n);
			opened++;
		}
		if (i % 100 == 0)
			rig_heard(&r);
	}
	rig_fini(&r);
	assert_int_equal(r.closes, opened);
}

/* ---- credit ---- */

static const struct step receive_steps[] = {
	{.act = OPENS, .id = 1},
	{.act = OPENS, .id = 2},
	{.act = OPENS, .id = 3},
	{SAYS_DATA, 1, 0, "123456", "data 1.0@0 123456", ""},
	{SAYS_DATA, 1, 6, "7890", "data 1.0@6 7890", ""},
	{SAYS_DATA, 1, 10, "", "", ""},               /* nothing: no event */
	{SAYS_END, 1, 10, "", "data 1.0@10+fin", ""}, /* an end needs no credit */
	{SAYS_DATA, 1, 10, "1", "close 1 !credit_overrun", "CLOSE 1 !credit_overrun"},
	{SAYS_DATA, 2, 0, "12345678901", "close 2 !credit_overrun", "CLOSE 2 !credit_overrun"},
	{SAYS_END, 3, 0, "1234567890", "data 3.0@0+fin 1234567890", ""},
	/* In two fragments: the end is with the last. */
	{.act = OPENS, .id = 4},
	{SAYS_PART, 4, 18, "\x20\1\0\0\0\0\0\4\0\0\0\0\0\0\0\7ab", "data 4.0@7 ab", ""},
	{SAYS_REST, 4, 2, "cd", "data 4.0@9+fin cd", ""},
};

/* However many grants: one WINDOW, when half of it is used, and never a lower one. */
static void test_grants(void **state)
{
	struct rig r;
	struct rig_chan *c;

	(void)state;
	rig_server(&r, 0);
	r.window = 100;
	c = rig_open(&r, 1);
	c->grants = true;
	for (unsigned i = 0; i < 49; i++)
		rig_say_data(&r, 1, i, "x", false);
	assert_string_equal(rig_heard(&r), "");
	rig_say_data(&r, 1, 49, "x", false);
	assert_string_equal(rig_heard(&r), "WINDOW 1@150");
	channel_grant(&c->channel, 100);
	channel_grant(&c->channel, 150);
	assert_string_equal(rig_heard(&r), "");
	for (unsigned i = 1; i <= 1000; i++)
		channel_grant(&c->channel, 150 + i);
	assert_string_equal(rig_heard(&r), "WINDOW 1@1150");
	channel_grant(&c->channel, UINT64_MAX);
	assert_string_equal(rig_heard(&r), "WINDOW 1@18446744073709551615");
	rig_fini(&r);
}

/* Bug: a grant too small to be told at once was never told, and the peer ran dry with it. */
static const struct step small_grant_steps[] = {
	{.act = OPENS, .id = 1},
	{SAYS_DATA, 1, 0, "0123456789012345678901234567890123456789", NULL, ""},
	{GRANTS, 1, 150, NULL, NULL, ""},
	{SAYS_DATA, 1, 40, "012345678901234567890123456789012345678901234567890123456789", NULL,
		"WINDOW 1@150"},
};

/* What was not told yet is not granted yet. */
static const struct step untold_grant_steps[] = {
	{.act = OPENS, .id = 1},
	{.act = SAYS_DATA,
		.id = 1,
		.arg = 0,
		.text = "1234567890",
		.told = "data 1.0@0 1234567890"},
	{.act = GRANTS, .id = 1, .arg = 20},
	{SAYS_DATA, 1, 10, "1", "close 1 !credit_overrun", "CLOSE 1 !credit_overrun"},
};

/* However many: the latest is told, and never a lower one. */
static const struct step ack_steps[] = {
	{.act = OPENS, .id = 1},
	{.act = ACKS, .id = 1, .arg = 0},
	{.act = ACKS, .id = 1, .arg = 50},
	{ACKS, 1, 100, NULL, NULL, "ACK 1@100"},
	{.act = ACKS, .id = 1, .arg = 99},
	{ACKS, 1, 100, NULL, NULL, ""},
	{.act = ACKS, .id = 1, .arg = UINT64_MAX},
	{GRANTS, 1, 5000, NULL, NULL, "ACK 1@18446744073709551615; WINDOW 1@5000"},
	/* A channel that closes has nothing more to say of itself. */
	{.act = GRANTS, .id = 1, .arg = 9000},
	{CLOSES, 1, 0, "", NULL, "CLOSE 1"},
};

/* Exactly what the peer granted, by the largest total it named. */
static void test_send_credit(void **state)
{
	static const uint64_t totals[] = {100, 150, 120, 150, 0, 151, 70000, UINT64_MAX};
	uint64_t most = 99;
	struct rig r;
	struct rig_chan *c;

	(void)state;
	rig_server(&r, 0);
	r.send_limit = 99;
	c = rig_open(&r, 1);
	c->todo = 200000;
	channel_ready(&c->channel);
	rig_heard(&r);
	assert_int_equal(r.heard_bytes, 99);
	for (size_t i = 0; i < array_size(totals); i++) {
		rig_say(&r, FRAME_WINDOW, 1, totals[i], "");
		most = max_of(most, totals[i]);
		rig_heard(&r);
		assert_int_equal(r.heard_bytes, min_of(most, (uint64_t)200000));
		assert_int_equal(c->channel.sent, r.heard_bytes);
	}
	/* A smaller total takes nothing back. */
	rig_say(&r, FRAME_CLOSE, 1, 0, "");
	rig_heard(&r);
	r.send_limit = 100;
	c = rig_open(&r, 1);
	rig_say(&r, FRAME_WINDOW, 1, 5, "");
	c->todo = 10;
	channel_ready(&c->channel);
	assert_string_equal(rig_heard(&r), "DATA 1.1 xxxxxxxxxx");
	/* Without any credit, events and gaps still come. */
	rig_say(&r, FRAME_CLOSE, 1, 0, "");
	rig_heard(&r);
	r.send_limit = 0;
	c = rig_open(&r, 1);
	*c = (struct rig_chan){
		.channel = c->channel, .rig = &r, .event = "{}", .gap = 7, .todo = 1};
	channel_ready(&c->channel);
	assert_string_equal(rig_heard(&r), "EVENT 1 {}; GAP 1.1 +7");
	rig_say(&r, FRAME_WINDOW, 1, 1, "");
	assert_string_equal(rig_heard(&r), "DATA 1.1 x");
	rig_fini(&r);
}

/* ---- who sends next ---- */

static void test_fair(void **state)
{
	static const size_t chunks[] = {10, 1000, 100, 5000, 1};
	const char *text;
	struct rig r;

	(void)state;
	rig_server(&r, 0);
	r.send_limit = GIB;
	for (uint32_t id = 1; id <= 5; id++)
		rig_open(&r, id);
	for (uint32_t id = 1; id <= 5; id++) {
		struct rig_chan *c = rig_chan(&r, id);

		c->chunk = chunks[id - 1];
		c->todo = 100 * c->chunk;
		channel_ready(&c->channel);
		channel_ready(&c->channel);
	}
	text = rig_heard(&r);
	for (unsigned i = 0; i < 500; i++) {
		char want[16];

		snprintf(want, sizeof(want), "DATA %u.1", i % 5 + 1);
		assert_memory_equal(text, want, strlen(want));
		text = strstr(text, "; ") ? strstr(text, "; ") + 2 : "";
	}
	assert_string_equal(text, "");
	rig_fini(&r);
}

/* An answer waits for the rest of one frame, whatever else there is to send. */
static void test_control_overtakes(void **state)
{
	struct rig r;
	struct rig_chan *c;

	(void)state;
	rig_server(&r, 0);
	r.send_limit = GIB;
	c = rig_open(&r, 1);
	c->todo = MIB;
	channel_ready(&c->channel);
	r.step = 1000; /* a frame has begun to leave */
	assert_true(rig_pump(&r));
	rig_say(&r, FRAME_REQ, 0, 1, "{}");
	rig_ws(&r, WS_PING, true, "hi", 2);
	channel_event(&c->channel, "{\"e\":1}", 7);
	r.step = 0;
	assert_true(rig_pump(&r)); /* the rest of it */
	assert_true(rig_pump(&r));
	r.deaf = true;
	assert_string_equal(rig_heard(&r),
		"DATA 1.1 #65520; pong hi; RES 0@1 {}; EVENT 1 {\"e\":1}; DATA 1.1@65520 #65520");
	rig_fini(&r);
}

static void grant_and_ack(struct rig_chan *c)
{
	channel_grant(&c->channel, 9000);
	channel_ack(&c->channel, STREAM_IN, 1);
}

static void test_in_stream_order(void **state)
{
	struct rig r;
	struct rig_chan *c;

	(void)state;
	rig_server(&r, 0);
	c = rig_open(&r, 1);
	c->event = "{\"event\":\"live\"}";
	c->gap = 9;
	c->todo = 5;
	c->ends = true;
	channel_ready(&c->channel);
	channel_event(&c->channel, "{}", 2);
	assert_string_equal(rig_heard(&r),
		"EVENT 1 {}; EVENT 1 {\"event\":\"live\"}; GAP 1.1 +9; DATA 1.1 xxxxx; CLOSE 1");
	/* It ends when the peer has answered, and says nothing meanwhile. */
	channel_ready(&c->channel);
	channel_event(&c->channel, "{}", 2);
	channel_grant(&c->channel, 9000);
	channel_ack(&c->channel, STREAM_IN, 1);
	rig_say_data(&r, 1, 0, "crossed", false);
	rig_say(&r, FRAME_WINDOW, 1, 9000, "");
	rig_say(&r, FRAME_REQ, 1, 1, "{}");
	assert_string_equal(rig_heard(&r), "RES 1@1 !no_channel");
	assert_string_equal(rig_told(&r), "");
	rig_say(&r, FRAME_CLOSE, 1, 0, "");
	assert_string_equal(rig_heard(&r), "");
	assert_string_equal(rig_told(&r), "close 1");
	/* The link may go first, or we lose patience. */
	c = rig_open(&r, 1);
	c->ends = true;
	channel_grant(&c->channel, 9000);
	channel_ready(&c->channel);
	assert_string_equal(rig_heard(&r), "WINDOW 1@9000; CLOSE 1");
	channel_close(&c->channel, NULL, 0);
	assert_string_equal(rig_heard(&r), "");
	assert_string_equal(rig_told(&r), "close 1");
	/* What becomes due on the way to the end is not sent behind it. */
	c = rig_open(&r, 2);
	c->ends = true;
	c->on_pull = grant_and_ack;
	channel_ready(&c->channel);
	assert_string_equal(rig_heard(&r), "CLOSE 2");
	rig_fini(&r);
	assert_int_equal(r.closes, 3);
}

/* ---- the end of a channel ---- */

static void close_itself(struct rig_chan *c)
{
	channel_close(&c->channel, NULL, 0);
}

static void close_2(struct rig_chan *c)
{
	if (c->rig->chans[2])
		channel_close(&c->rig->chans[2]->channel, NULL, 0);
}

static void close_others(struct rig *r, uint32_t id)
{
	for (uint32_t other = 1; other <= 3; other++) {
		if (other != id && r->chans[other])
			channel_close(&r->chans[other]->channel, NULL, 0);
	}
}

/* Ready, with credit due and an ACK to send: in every list there is. */
static struct rig_chan *busy(struct rig *r, uint32_t id)
{
	struct rig_chan *c = r->chans[id] ? r->chans[id] : rig_open(r, id);

	c->todo = 3;
	c->grants = true;
	channel_ready(&c->channel);
	channel_ack(&c->channel, STREAM_IN, 1);
	channel_grant(&c->channel, 10000);
	return c;
}

static void test_close_in_callbacks(void **state)
{
	struct rig r;
	struct rig_chan *c;

	(void)state;
	rig_server(&r, 0);
	busy(&r, 1)->on_data = close_itself;
	rig_say_data(&r, 1, 0, "abc", true);
	assert_string_equal(rig_told(&r), "data 1.0@0+fin abc; close 1");
	assert_string_equal(rig_heard(&r), "CLOSE 1");
	/* Inside its own frame, and there is more of it to come. */
	c = busy(&r, 2);
	c->on_data = close_itself;
	rig_ws(&r, WS_BINARY, false, "\x20\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0ab", 18);
	rig_ws(&r, WS_CONT, true, "cd", 2);
	assert_string_equal(rig_told(&r), "data 2.0@0 ab; close 2");
	assert_string_equal(rig_heard(&r), "CLOSE 2");
	rig_say(&r, FRAME_CLOSE, 2, 0, "");
	/* A neighbour, between the slices of its frame and while it is in the ready list. */
	busy(&r, 2);
	rig_ws(&r, WS_BINARY, false, "\x20\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0ab", 18);
	channel_close(&rig_chan(&r, 2)->channel, NULL, 0);
	rig_ws(&r, WS_CONT, true, "cd", 2);
	assert_string_equal(rig_told(&r), "data 2.0@0 ab; close 2");
	assert_string_equal(rig_heard(&r), "CLOSE 2");
	rig_say(&r, FRAME_CLOSE, 2, 0, "");
	rig_open(&r, 3);
	rig_open(&r, 2);
	busy(&r, 3)->on_pull = close_2;
	busy(&r, 2);
	assert_string_equal(rig_heard(&r),
		"ACK 3@1; WINDOW 3@10000; ACK 2@1; WINDOW 2@10000; DATA 3.1 xxx; CLOSE 2");
	rig_fini(&r);
	assert_int_equal(r.closes, 5);
}

/* Bug: pulling may find more to send, by which it stood in the list of the ready twice. */
static void make_ready(struct rig_chan *c)
{
	if (c->todo > 0)
		channel_ready(&c->channel);
}

static void test_ready_in_pull(void **state)
{
	struct rig r;
	struct rig_chan *c;

	(void)state;
	rig_server(&r, 0);
	rig_open(&r, 2);
	c = rig_open(&r, 1);
	c->todo = 30;
	c->chunk = 10;
	c->on_pull = make_ready;
	channel_ready(&c->channel);
	assert_string_equal(rig_heard(&r),
		"DATA 1.1 xxxxxxxxxx; DATA 1.1@10 xxxxxxxxxx; DATA 1.1@20 xxxxxxxxxx");
	rig_fini(&r);
}

static void test_link_gone(void **state)
{
	struct rig r;

	(void)state;
	rig_server(&r, 0);
	for (uint32_t id = 1; id <= 3; id++)
		rig_open(&r, id);
	for (uint32_t id = 1; id <= 3; id++)
		busy(&r, id);
	rig_say_data(&r, 2, 0, "abc", false);
	rig_told(&r);
	wire_fini(&r.wire);
	assert_string_equal(rig_told(&r), "close 3 unlinked; close 2 unlinked; close 1 unlinked");
	rig_fini(&r);
	assert_int_equal(r.closes, 3);
	/* Bug: one that was closed by another's on_close while the link went was told twice. */
	rig_server(&r, 0);
	for (uint32_t id = 1; id <= 3; id++)
		rig_open(&r, id);
	for (uint32_t id = 1; id <= 3; id++)
		busy(&r, id);
	r.on_close = close_others;
	rig_fini(&r);
	assert_int_equal(r.closes, 3);
	rig_server(&r, 0);
	r.on_close = close_others;
	for (uint32_t id = 1; id <= 3; id++)
		rig_open(&r, id);
	rig_say(&r, FRAME_CLOSE, 2, 0, "");
	assert_string_equal(rig_heard(&r), "CLOSE 2; CLOSE 1; CLOSE 3");
	assert_int_equal(r.closes, 3);
	rig_fini(&r);
}

#define PLAY(of, ...)                                                                              \
	cmocka_unit_test_prestate(play, (&(struct script){#of, .steps = of##_steps,                \
						.n = array_size(of##_steps), __VA_ARGS__}))

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAY(open, .closes = 1),
		PLAY(reuse, .closes = 3),
		PLAY(unknown, .closes = 0),
		PLAY(max, .max_channels = 3, .closes = 4),
		PLAY(deferred, .max_channels = 3, .defer = true, .send_limit = 5, .closes = 5),
		cmocka_unit_test(test_many_ids),
		PLAY(receive, .window = 10, .closes = 4),
		cmocka_unit_test(test_grants),
		PLAY(small_grant, .window = 100),
		PLAY(untold_grant, .window = 10),
		PLAY(ack, .closes = 1),
		cmocka_unit_test(test_send_credit),
		cmocka_unit_test(test_fair),
		cmocka_unit_test(test_control_overtakes),
		cmocka_unit_test(test_in_stream_order),
		cmocka_unit_test(test_close_in_callbacks),
		cmocka_unit_test(test_ready_in_pull),
		cmocka_unit_test(test_link_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
