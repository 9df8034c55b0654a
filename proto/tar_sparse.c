/*
 * The maps of sparse files. GNU tar's own kind: pairs of numbers in the head, four of them, and in
 * blocks behind it, 21 each. That of pax 1.0: lines of decimal text at the beginning of the data,
 * how many pairs and then these, up to the end of a block.
 */
#include "proto/tar_internal.h"

#define HEAD_PIECES  386 /* where they are, how many, and whether there are more */
#define HEAD_COUNT   4
#define HEAD_MORE    482
#define HEAD_SIZE    483, 12
#define BLOCK_COUNT  21
#define BLOCK_MORE   504
#define PIECE_STRIDE 24

void tar_map_fini(struct tar_map *m)
{
	free(m->pieces);
	*m = (struct tar_map){0};
}

static const char *add_piece(struct tar_reader *r, uint64_t at, uint64_t len)
{
	struct tar_map *m = &r->map;
	uint64_t behind = m->n ? m->pieces[m->n - 1].at + m->pieces[m->n - 1].len : 0;

	if (m->n == TAR_PIECES_MAX)
		return "a sparse file of more than 65536 pieces";
	if (at < behind || at > r->entry.size || len > r->entry.size - at)
		return "a sparse file whose pieces are not in order";
	if (m->n == m->room) {
		size_t room = m->room ? 2 * m->room : 16;
		struct tar_piece *p = realloc(m->pieces, room * sizeof(*p));

		if (!p)
			return "out of memory";
		m->pieces = p;
		m->room = room;
	}
	m->pieces[m->n++] = (struct tar_piece){at, len};
	return NULL;
}

/* What is stored is what the map says. */
static const char *finish(struct tar_reader *r)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < r->map.n; i++)
		sum += r->map.pieces[i].len; /* in order and within the file: no overflow */
	r->state = TAR_IN_DATA;
	return sum == r->left ? NULL : "a sparse file with more or less data than its map says";
}

static const char *add_numbers(struct tar_reader *r, size_t from, unsigned count)
{
	const char *wrong = NULL;

	for (unsigned i = 0; i < count && !wrong; i++, from += PIECE_STRIDE) {
		int64_t at, len;

		if (r->block[from] == 0)
			break;
		if (!tar_number(r->block, from, 12, &at) ||
			!tar_number(r->block, from + 12, 12, &len) || at < 0 || len < 0)
			return "the map of a sparse file cannot be read";
		wrong = add_piece(r, (uint64_t)at, (uint64_t)len);
	}
	return wrong;
}

const char *tar_map_begin(struct tar_reader *r, bool gnu)
{
	const struct tar_pax *p = &r->pax;
	const char *wrong;
	int64_t size;

	if (r->entry.type != TAR_FILE)
		return "sparse, and no file";
	r->entry.sparse = true;
	r->map.gnu = gnu;
	r->have = 0;
	r->state = TAR_IN_MAP;
	if (!gnu) {
		if ((p->set & SET_SPARSE) != (SET_SPARSE & ~SET_SPARSE_OLD) ||
			p->sparse_major != 1 || p->sparse_minor != 0)
			return "a sparse file of an old kind, which is not supported";
		r->entry.size = p->real_size;
		return NULL;
	}
	if (!tar_number(r->block, HEAD_SIZE, &size) || size < 0)
		return "its size cannot be read";
	r->entry.size = (uint64_t)size;
	wrong = add_numbers(r, HEAD_PIECES, HEAD_COUNT);
	if (!wrong && r->block[HEAD_MORE] == 0)
		wrong = finish(r);
	return wrong;
}

/* One number of the text. The first says how many pairs follow. */
static const char *text_number(struct tar_reader *r)
{
	struct tar_map *m = &r->map;
	uint64_t v = m->number;

	if (!m->digits)
		return "the map of a sparse file cannot be read";
	m->number = 0;
	m->digits = false;
	if (m->read++ == 0) {
		if (v > TAR_PIECES_MAX)
			return "a sparse file of more than 65536 pieces";
		m->numbers = 1 + 2 * v;
		return NULL;
	}
	if (m->read % 2 == 0) /* the place; the length comes next */
		return add_piece(r, v, 0);
	m->n--;
	return add_piece(r, m->pieces[m->n].at, v);
}

static const char *text_block(struct tar_reader *r)
{
	struct tar_map *m = &r->map;
	const char *wrong = NULL;

	if (r->left < TAR_BLOCK)
		return "the map of a sparse file is cut";
	r->left -= TAR_BLOCK;
	for (size_t i = 0; i < TAR_BLOCK && !wrong && (m->read == 0 || m->read < m->numbers); i++) {
		uint8_t c = r->block[i];

		if (c == '\n') {
			wrong = text_number(r);
		} else if (c >= '0' && c <= '9' && m->number <= (INT64_MAX - 9) / 10) {
			m->number = m->number * 10 + (uint64_t)(c - '0');
			m->digits = true;
		} else {
			wrong = "the map of a sparse file cannot be read";
		}
	}
	return !wrong && m->read > 0 && m->read == m->numbers ? finish(r) : wrong;
}

const char *tar_map_block(struct tar_reader *r)
{
	const char *wrong;

	if (!r->map.gnu)
		return text_block(r);
	wrong = add_numbers(r, 0, BLOCK_COUNT);
	if (!wrong && r->block[BLOCK_MORE] == 0)
		wrong = finish(r);
	return wrong;
}
