/*
 * Pieces are small at first, since most commands say little, and then as large as all there is so
 * far, up to PIECE_MAX.
 *
 * A character may lie across pieces, so reading looks at up to four bytes wherever they are; runs
 * of plain text, which is nearly everything, are copied from within one piece.
 */
#include "bridge/api/exec_output.h"

#define PIECE_MIN ((size_t)512)
#define PIECE_MAX ((size_t)256 * 1024)

struct exec_output_piece {
	struct exec_output_piece *next;
	size_t start, end, size;
	uint8_t data[];
};

void exec_output_init(struct exec_output *o)
{
	*o = (struct exec_output){0};
}

static void drop_first(struct exec_output *o)
{
	struct exec_output_piece *p = o->first;

	o->first = p->next;
	if (!o->first)
		o->last = NULL;
	o->len -= p->end - p->start;
	o->memory -= sizeof(*p) + p->size;
	free(p);
}

void exec_output_fini(struct exec_output *o)
{
	while (o->first)
		drop_first(o);
}

/* Room for `want` bytes in a new piece at the end. */
static bool add_piece(struct exec_output *o, size_t want)
{
	size_t size = max_of(want, min_of(max_of(o->len, PIECE_MIN), PIECE_MAX));
	struct exec_output_piece *p = malloc(sizeof(*p) + size);

	if (!p)
		return false;
	*p = (struct exec_output_piece){.size = size};
	if (o->last)
		o->last->next = p;
	else
		o->first = p;
	o->last = p;
	o->memory += sizeof(*p) + size;
	return true;
}

static void fill(struct exec_output *o, struct exec_output_piece *p, const void *data, size_t len)
{
	memcpy(p->data + p->end, data, len);
	p->end += len;
	o->len += len;
}

int exec_output_add(struct exec_output *o, const void *data, size_t len)
{
	struct exec_output_piece *last = o->last;
	size_t here = last ? min_of(len, last->size - last->end) : 0;

	if (here < len && !add_piece(o, len - here))
		return -ENOMEM;
	if (here > 0)
		fill(o, last, data, here);
	if (here < len)
		fill(o, o->last, (const uint8_t *)data + here, len - here);
	return 0;
}

void exec_output_keep(struct exec_output *o, size_t keep)
{
	while (o->len > keep) {
		struct exec_output_piece *p = o->first;
		size_t n = min_of(o->len - keep, p->end - p->start);

		o->cut = true;
		p->start += n;
		o->len -= n;
		if (p->start == p->end)
			drop_first(o);
	}
}

/* ---- reading ---- */

static void go_to(struct exec_output_at *at, const struct exec_output_piece *piece)
{
	at->piece = piece;
	at->at = piece ? piece->start : 0;
}

static void skip(struct exec_output_at *at, size_t n)
{
	at->at += n;
	while (at->piece && at->at >= at->piece->end) {
		size_t over = at->at - at->piece->end;

		go_to(at, at->piece->next);
		at->at += over;
	}
}

/* Up to `max` bytes from where reading is. */
static size_t look(struct exec_output_at at, uint8_t *out, size_t max)
{
	size_t n = 0;

	while (n < max && at.piece) {
		out[n++] = at.piece->data[at.at];
		skip(&at, 1);
	}
	return n;
}

/* How many bytes the character at p takes; negative: so many that are none (Unicode, table 3-7). */
static int character(const uint8_t *p, size_t len)
{
	uint8_t low = 0x80, high = 0xbf;
	int n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return -1;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	for (int i = 1; i < n; i++) {
		if ((size_t)i == len || p[i] < low || p[i] > high)
			return -i;
		low = 0x80;
		high = 0xbf;
	}
	return n;
}

static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static size_t put_plain(struct exec_output_at *at, char *out, size_t max)
{
	const uint8_t *from = at->piece->data + at->at;
	size_t n = 0;

	max = min_of(max, at->piece->end - at->at);
	while (n < max && is_plain(from[n]))
		n++;
	memcpy(out, from, n);
	skip(at, n);
	return n;
}

static size_t put_escaped(uint8_t c, char *out)
{
	static const char hex[] = "0123456789abcdef";
	static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
	const char *known = c ? strchr(from, c) : NULL;

	out[0] = '\\';
	if (known) {
		out[1] = to[known - from];
		return 2;
	}
	out[1] = 'u';
	out[2] = out[3] = '0';
	out[4] = hex[c >> 4];
	out[5] = hex[c & 15];
	return 6;
}

static size_t put_other(struct exec_output_at *at, char *out)
{
	static const char unknown[3] = {'\xef', '\xbf', '\xbd'};
	uint8_t bytes[4] = {0};
	size_t len = look(*at, bytes, sizeof(bytes));
	int n = character(bytes, len);

	skip(at, (size_t)(n < 0 ? -n : n));
	if (n == 1)
		return put_escaped(bytes[0], out);
	if (n < 0)
		memcpy(out, unknown, sizeof(unknown));
	else
		memcpy(out, bytes, (size_t)n);
	return n < 0 ? sizeof(unknown) : (size_t)n;
}

size_t exec_output_json(
	const struct exec_output *o, struct exec_output_at *at, char *out, size_t max)
{
	size_t n = 0;

	if (!at->begun)
		go_to(at, o->first);
	at->begun = true;
	while (at->piece && max - n >= 6) {
		if (is_plain(at->piece->data[at->at]))
			n += put_plain(at, out + n, max - n);
		else
			n += put_other(at, out + n);
	}
	return n;
}
