#include "bridge/api/front_body.h"

/* More than one read of the socket, which is the most that comes after a pause. */
#define HELD_MAX (4 * BODY_READ_MAX)

void body_init(struct body *b, enum body_kind kind, uint64_t length)
{
	buf_fini(&b->held);
	*b = (struct body){.kind = kind, .left = length, .held = BUF_NULL(HELD_MAX)};
	b->complete = kind == BODY_NONE;
}

void body_reset(struct body *b)
{
	buf_fini(&b->held);
}

/* A call that is paused may wait for its handler, who will want it all. */
static bool wanted(const struct call *c)
{
	return c && !call_answered(c) && c->ops && (c->paused || c->ops->on_body);
}

static int give(struct body *b, struct call *c, const uint8_t *data, size_t len)
{
	if (!wanted(c))
		return 0;
	if (c->paused || buf_len(&b->held) > 0)
		return buf_append(&b->held, data, len);
	c->ops->on_body(c, data, len);
	return 0;
}

static int take_chunks(struct body *b, struct call *c, const uint8_t **data, size_t *len)
{
	const uint8_t *slice;
	int r, kept = 0;
	size_t n;

	while ((r = chunked_next(&b->chunks, data, len, &slice, &n)) > 0 && kept == 0)
		kept = give(b, c, slice, n);
	b->broken |= r < 0;
	b->complete |= chunked_done(&b->chunks);
	return r < 0 ? r : kept;
}

int body_take(struct body *b, struct call *c, const uint8_t *data, size_t len)
{
	size_t n = 0;
	int r = 0;

	if (b->broken)
		return 0;
	if (b->kind == BODY_CHUNKED) {
		r = take_chunks(b, c, &data, &len);
	} else {
		n = (size_t)min_of((uint64_t)len, b->left);
		b->left -= n;
		b->complete = b->left == 0;
		if (n > 0)
			r = give(b, c, data, n);
		len -= n;
	}
	b->excess |= len > 0;
	return r;
}

void body_deliver(struct body *b, struct call *c)
{
	if (!c || c->paused || !c->ops || call_answered(c)) {
		if (!c || call_answered(c))
			buf_fini(&b->held);
		return;
	}
	if (buf_len(&b->held) > 0) {
		struct buf held = b->held;

		/* It may pause, or end it all: what it gets is its own. */
		b->held = BUF_NULL(HELD_MAX);
		if (c->ops->on_body)
			c->ops->on_body(c, buf_head(&held), buf_len(&held));
		buf_fini(&held);
	}
	if (!b->complete || b->told || c->paused || call_answered(c))
		return;
	b->told = true;
	c->body_done = true;
	if (c->ops->on_body_end)
		c->ops->on_body_end(c);
}
