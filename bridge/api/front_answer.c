#include "bridge/api/front_answer.h"

#define CHUNK_HEAD 8 /* "010000\r\n": always that long, so that the data's place is known */

static bool is_all(const struct answer *a, const struct call *c)
{
	return c->head || a->framing == CALL_FRAME_NONE ||
	       (a->framing == CALL_FRAME_LENGTH && c->bytes_out == (uint64_t)c->answer_length);
}

static size_t end_of(const struct answer *a, uint8_t *out)
{
	static const uint8_t end[] = {'0', '\r', '\n', '\r', '\n'};

	if (a->framing != CALL_FRAME_CHUNKED)
		return 0;
	memcpy(out, end, sizeof(end));
	return sizeof(end);
}

static void put_line_end(uint8_t *out)
{
	out[0] = '\r';
	out[1] = '\n';
}

static void put_chunk_head(uint8_t *out, size_t len)
{
	for (int i = CHUNK_HEAD - 3; i >= 0; i--, len >>= 4)
		out[i] = (uint8_t) "0123456789abcdef"[len & 15];
	put_line_end(out + CHUNK_HEAD - 2);
}

static ssize_t piece(struct answer *a, struct call *c, uint8_t *out, bool *ret_done)
{
	size_t at = a->framing == CALL_FRAME_CHUNKED ? CHUNK_HEAD : 0;
	ssize_t r;

	if (is_all(a, c)) {
		*ret_done = true;
		return 0;
	}
	r = call_pull(c, out + at, CALL_PIECE);
	if (r == CALL_DONE && a->framing == CALL_FRAME_LENGTH)
		return CALL_BROKEN; /* more was promised */
	if (r == CALL_DONE) {
		*ret_done = true;
		return (ssize_t)end_of(a, out);
	}
	if (r <= 0)
		return r == CALL_BROKEN ? r : 0;
	ASSERT(r <= CALL_PIECE);
	c->bytes_out += (uint64_t)r;
	if (a->framing == CALL_FRAME_LENGTH) {
		ASSERT(c->bytes_out <= (uint64_t)c->answer_length);
		*ret_done = is_all(a, c);
	}
	if (at == 0)
		return r;
	put_chunk_head(out, (size_t)r);
	put_line_end(out + at + r);
	return r + CHUNK_HEAD + 2;
}

ssize_t answer_next(
	struct answer *a, struct call *c, bool http10, bool keep, uint8_t *out, bool *ret_done)
{
	size_t head = 0;
	ssize_t r;

	*ret_done = false;
	if (!a->head_out) {
		a->framing = call_framing(c, http10);
		head = call_head(
			c, a->framing, keep && a->framing != CALL_FRAME_CLOSE, (char *)out);
		a->head_out = true;
	}
	r = piece(a, c, out + head, ret_done);
	return r < 0 ? r : (ssize_t)head + r;
}
