/*
 * Bytes lie in one queue and how they are divided in another. Bytes of the kind that came last make
 * the last run longer, so a run is as long as nothing else came between, and however small the
 * reads were, messages are large. The beginning of a character at the end of a read is kept aside
 * and put before what comes next of its stream.
 */
#include "bridge/api/pieces.h"

#include "proto/text.h"

#define RUN_MAX 0xffffffu
#define KEEP    4096 /* memory kept when nothing waits: clients are many, and mostly quiet */

void pieces_init(struct pieces *p, size_t max, bool characters)
{
	ASSERT(max <= RUN_MAX);
	*p = (struct pieces){.characters = characters};
	p->data = BUF_NULL(max);
	p->runs = BUF_NULL((max + 1) * sizeof(uint32_t));
}

void pieces_fini(struct pieces *p)
{
	buf_fini(&p->data);
	buf_fini(&p->runs);
	p->cut_len[0] = p->cut_len[1] = 0;
}

static uint32_t first_run(const struct pieces *p)
{
	uint32_t run;

	memcpy(&run, buf_head(&p->runs), sizeof(run));
	return run;
}

static int push_run(struct pieces *p, enum piece_kind kind, size_t len)
{
	uint32_t run = (uint32_t)kind << 24 | (uint32_t)len;
	size_t n = buf_len(&p->runs);
	uint8_t *last = n ? buf_head(&p->runs) + n - sizeof(run) : NULL;
	uint32_t old;

	if (last && p->last_is_open) {
		memcpy(&old, last, sizeof(old));
		if (old >> 24 == (uint32_t)kind) {
			old += (uint32_t)len;
			memcpy(last, &old, sizeof(old));
			return 0;
		}
	}
	p->last_is_open = kind == PIECE_OUT || kind == PIECE_ERR;
	return buf_append(&p->runs, &run, sizeof(run));
}

/* Two parts that follow one another, the first of them short. */
static int push(struct pieces *p, enum piece_kind kind, const uint8_t *a, size_t a_len,
	const uint8_t *b, size_t b_len)
{
	int err = 0;

	if (a_len)
		err = buf_append(&p->data, a, a_len);
	if (err == 0 && b_len)
		err = buf_append(&p->data, b, b_len);
	return err < 0 ? err : push_run(p, kind, a_len + b_len);
}

/* With what is kept aside of the stream in front. The rest of that character comes with the first
 * three bytes, or it never was one. */
static int add_text(struct pieces *p, enum piece_kind kind, const uint8_t *data, size_t len)
{
	uint8_t *cut = p->cut[kind - PIECE_OUT], *cut_len = &p->cut_len[kind - PIECE_OUT];
	uint8_t head[6];
	size_t n_cut = *cut_len, n_head = n_cut + min_of(len, (size_t)3), whole;
	int err;

	memcpy(head, cut, n_cut);
	memcpy(head + n_cut, data, n_head - n_cut);
	/* Of a short slice all is in `head`; of a longer one its last three bytes decide. */
	whole = len <= 3 ? utf8_cut(head, n_head) : n_cut + utf8_cut(data, len);
	*cut_len = (uint8_t)(n_cut + len - whole);
	if (len <= 3) {
		memcpy(cut, head + whole, *cut_len);
		return whole ? push(p, kind, head, whole, NULL, 0) : 0;
	}
	err = push(p, kind, head, n_cut, data, whole - n_cut);
	memcpy(cut, data + len - *cut_len, *cut_len);
	return err;
}

int pieces_add(struct pieces *p, enum piece_kind kind, const void *data, size_t len)
{
	if (kind != PIECE_OUT && kind != PIECE_ERR)
		return push(p, kind, data, len, NULL, 0);
	if (len == 0)
		return 0;
	return p->characters ? add_text(p, kind, data, len) : push(p, kind, data, len, NULL, 0);
}

int pieces_flush(struct pieces *p)
{
	int err = 0;

	for (int i = 0; err == 0 && i < 2; i++) {
		if (p->cut_len[i])
			err = push(p, PIECE_OUT + i, p->cut[i], p->cut_len[i], NULL, 0);
		p->cut_len[i] = 0;
	}
	return err;
}

bool pieces_next(
	struct pieces *p, size_t max, enum piece_kind *kind, const uint8_t **data, size_t *len)
{
	size_t n;

	ASSERT(max >= 4);
	if (buf_len(&p->runs) == 0)
		return false;
	*kind = first_run(p) >> 24;
	n = first_run(p) & RUN_MAX;
	*data = n ? buf_head(&p->data) : NULL;
	if (n > max) {
		n = max;
		if (p->characters)
			n = utf8_cut(*data, n);
	}
	*len = n;
	return true;
}

void pieces_took(struct pieces *p, size_t len)
{
	uint32_t run = first_run(p);

	buf_consume(&p->data, len);
	if ((run & RUN_MAX) == len) {
		buf_consume(&p->runs, sizeof(run));
	} else {
		run -= (uint32_t)len;
		memcpy(buf_head(&p->runs), &run, sizeof(run));
	}
	if (buf_len(&p->runs) == 0) {
		buf_trim(&p->data, KEEP);
		buf_trim(&p->runs, KEEP);
	}
}
