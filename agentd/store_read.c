/*
 * Reading. A cursor walks the segments. Nobody tells it when the tail moves past it: it finds out
 * at its next look, by its offsets, and makes a gap of the difference, one for each stream. The
 * tail and every cursor lie on one path (the order of arrival), on which both offsets only grow; so
 * a cursor is behind the tail exactly when one of its offsets is, and a single comparison of each
 * tells the size of the gap.
 */
#include "agentd/store.h"

/* In a cursor that stands at a loss, seg_off 1 means: told. */
#define LOSS_TOLD 1

static uint64_t *cursor_off(struct store_cursor *c, enum store_stream stream)
{
	return stream == STORE_OUT ? &c->out : &c->err;
}

static uint64_t wanted_from(const struct store_cursor *c, enum store_stream stream)
{
	return stream == STORE_OUT ? c->want_out : c->want_err;
}

/* What of a stream was dropped before this cursor got it. */
static bool find_gap(const struct store *s, struct store_cursor *c, enum store_stream stream,
	struct store_piece *ret)
{
	uint64_t tail = stream == STORE_OUT ? max_of(store_tail(s)->out, c->floor_out)
					    : max_of(store_tail(s)->err, c->floor_err);
	uint64_t *off = cursor_off(c, stream);

	if (*off >= tail)
		return false;
	*off = max_of(*off, min_of(tail, wanted_from(c, stream)));
	if (*off == tail)
		return false;
	*ret = (struct store_piece){
		.kind = STORE_GAP,
		.stream = stream,
		.off = *off,
		.len = tail - *off,
	};
	return true;
}

/* The offsets have reached the tail: the place among the segments must not be before it either. */
static void catch_up(const struct store *s, struct store_cursor *c)
{
	const struct store_tail *t = store_tail(s);

	if (c->seg < t->seg || (c->seg == t->seg && c->seg_off < t->seg_skip)) {
		c->seg = t->seg;
		c->seg_off = t->seg_skip;
	}
}

/* Goes on to the first thing at or after the cursor that its reader wants; false when there is
 * none. */
static bool find_wanted(const struct store *s, struct store_cursor *c)
{
	for (; c->seg < s->st->seg_head; c->seg++, c->seg_off = 0) {
		uint32_t e = *store_entry(s, c->seg);
		uint64_t *off = cursor_off(c, entry_stream(e)), left;
		uint64_t want = wanted_from(c, entry_stream(e));

		if (entry_lost(e)) {
			if (*off < want)
				c->seg_off = LOSS_TOLD;
			left = LOSS_TOLD - c->seg_off;
		} else {
			left = entry_len(e) - c->seg_off;
			if (*off < want) {
				uint64_t skip = min_of(left, want - *off);

				*off += skip;
				c->seg_off += (uint32_t)skip;
				left -= skip;
			}
		}
		if (left > 0)
			return true;
		/* The last segment may yet grow: wait at its end. */
		if (c->seg + 1 == s->st->seg_head)
			return false;
	}
	return false;
}

static void data_piece(const struct store *s, const struct store_cursor *c,
	enum store_stream stream, uint64_t max, struct store_piece *ret)
{
	uint64_t at = store_cursor_pos(c) % s->st->cap;

	max = min_of(max, entry_len(*store_entry(s, c->seg)) - c->seg_off);
	*ret = (struct store_piece){
		.kind = STORE_DATA,
		.stream = stream,
		.off = stream == STORE_OUT ? c->out : c->err,
		.len = min_of(max, s->st->cap - at),
		.data = s->ring + at,
	};
}

void store_peek(struct store *s, struct store_cursor *c, size_t max, struct store_piece *ret)
{
	uint32_t e;

	*ret = (struct store_piece){.kind = STORE_NOTHING};
	if (find_gap(s, c, STORE_OUT, ret) || find_gap(s, c, STORE_ERR, ret))
		return;
	catch_up(s, c);
	if (!find_wanted(s, c))
		return;
	e = *store_entry(s, c->seg);
	if (entry_lost(e)) {
		ret->kind = STORE_GAP;
		ret->stream = entry_stream(e);
		ret->off = *cursor_off(c, ret->stream);
		return;
	}
	data_piece(s, c, entry_stream(e), max, ret);
}

void store_advance(struct store *s, struct store_cursor *c, const struct store_piece *p, size_t n)
{
	(void)s;
	if (p->kind == STORE_DATA) {
		ASSERT(n <= p->len);
		*cursor_off(c, p->stream) += n;
		c->seg_off += (uint32_t)n;
	} else if (p->kind == STORE_GAP) {
		*cursor_off(c, p->stream) = p->off + p->len;
		if (p->len == 0)
			c->seg_off = LOSS_TOLD;
	}
}

void store_seek_now(const struct store *s, struct store_cursor *c)
{
	uint64_t out = s->head[STORE_OUT], err = s->head[STORE_ERR];

	*c = (struct store_cursor){.out = out, .err = err, .want_out = out, .want_err = err};
	if (s->st->seg_head == 0)
		return;
	c->seg = s->st->seg_head - 1;
	c->seg_off = entry_len(*store_entry(s, c->seg));
	if (entry_lost(*store_entry(s, c->seg)))
		c->seg_off = LOSS_TOLD;
}

/* A cursor at the oldest position promised for replay: what the slack still holds is no longer
 * counted on. */
static struct store_cursor promised(const struct store *s)
{
	const struct store_tail *t = store_tail(s);
	struct store_cursor c = {
		.out = t->out, .err = t->err, .seg = t->seg, .seg_off = t->seg_skip};
	uint64_t held = store_head(s) - store_tail_pos(s);
	uint64_t left = held > s->st->keep ? held - s->st->keep : 0;

	while (left > 0) {
		uint32_t e = *store_entry(s, c.seg);
		uint64_t rest = entry_lost(e) ? 0 : entry_len(e) - c.seg_off;
		uint64_t n = min_of(left, rest);

		*cursor_off(&c, entry_stream(e)) += n;
		c.seg_off += (uint32_t)n;
		left -= n;
		if (left > 0) {
			c.seg++;
			c.seg_off = 0;
		}
	}
	return c;
}

void store_oldest(const struct store *s, uint64_t *ret_out, uint64_t *ret_err)
{
	struct store_cursor c = promised(s);

	*ret_out = c.out;
	*ret_err = c.err;
}

int store_seek(const struct store *s, struct store_cursor *c, uint64_t out, uint64_t err, bool held)
{
	const struct store_tail *t = store_tail(s);
	struct store_cursor from = {
		.out = t->out, .err = t->err, .seg = t->seg, .seg_off = t->seg_skip};

	if (out > s->head[STORE_OUT] || err > s->head[STORE_ERR])
		return -ERANGE;
	if (!held)
		from = promised(s);
	*c = from;
	c->floor_out = from.out;
	c->floor_err = from.err;
	c->out = min_of(out, from.out);
	c->err = min_of(err, from.err);
	c->want_out = out;
	c->want_err = err;
	/* Already here, not at the first peek: where the cursor stands may hold a writer back. */
	if (c->out == from.out && c->err == from.err)
		find_wanted(s, c);
	return 0;
}
