/*
 * fuzz_pieces.c - output of two streams in any slices, messages of any size taken at any time: what
 * comes out of each stream is what went in, no message is too large, notes stay whole, and none
 * ends in the middle of a character that is one.
 */
#include "bridge/api/pieces.h"
#include "proto/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX 65536

static uint8_t in[2][MAX], out[2][MAX];
static size_t n_in[2], n_out[2];
static bool flushed;

/* Is there a character that begins before `at` and ends behind it, for all that is known? */
static bool ends_inside(int s, size_t at)
{
	size_t from = utf8_cut(in[s], at), whole;

	if (from == at)
		return false;
	whole = min_of(n_in[s] - from, (size_t)4);
	for (size_t n = at - from + 1; n <= whole; n++) {
		if (utf8_valid(in[s] + from, n))
			return true;
	}
	return whole == at - from;
}

static void take(struct pieces *p, size_t max)
{
	enum piece_kind kind;
	const uint8_t *data;
	size_t len;

	if (!pieces_next(p, max, &kind, &data, &len))
		return;
	ASSERT(len <= max);
	if (kind == PIECE_LIVE) {
		ASSERT(len == 0);
	} else if (kind == PIECE_NOTE) {
		ASSERT(len == 3 && memcmp(data, "{1}", 3) == 0);
	} else {
		int s = kind - PIECE_OUT;

		ASSERT(len > 0 && n_out[s] + len <= n_in[s]);
		memcpy(out[s] + n_out[s], data, len);
		n_out[s] += len;
		ASSERT(!p->characters || flushed || !ends_inside(s, n_out[s]));
	}
	pieces_took(p, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pieces p;

	if (size < 1 || size > MAX)
		return 0;
	pieces_init(&p, MAX, data[0] & 1);
	flushed = false;
	n_in[0] = n_in[1] = n_out[0] = n_out[1] = 0;
	for (size_t i = 1; i < size;) {
		uint8_t op = data[i++];
		int s = op & 1;
		size_t len = min_of((size_t)(op >> 4), size - i);

		switch (op >> 1 & 7) {
		case 0:
			ASSERT(pieces_flush(&p) == 0);
			flushed = true;
			break;
		case 1: ASSERT(pieces_add(&p, PIECE_LIVE, NULL, 0) == 0); break;
		case 2: ASSERT(pieces_add(&p, PIECE_NOTE, "{1}", 3) == 0); break;
		case 3:
		case 4: take(&p, 4 + len); break;
		default:
			ASSERT(pieces_add(&p, PIECE_OUT + s, data + i, len) == 0);
			memcpy(in[s] + n_in[s], data + i, len);
			n_in[s] += len;
			i += len;
		}
	}
	ASSERT(pieces_flush(&p) == 0);
	flushed = true;
	while (buf_len(&p.runs) > 0)
		take(&p, 64);
	for (int s = 0; s < 2; s++)
		ASSERT(n_out[s] == n_in[s] && memcmp(out[s], in[s], n_in[s]) == 0);
	pieces_fini(&p);
	return 0;
}
