/*
 * Pieces are small at first, since most commands say little, and then as large as all there is so
 * far, up to PIECE_MAX.
 *
 * A character may lie across pieces, so reading looks at up to four bytes wherever they are; runs
 * of plain text, which is nearly everything, are copied from within one piece.
 */
#include "bridge/api/exec_output.h"

#define PIECE_MIN ((size_t)4096)
#define PIECE_MAX ((size_t)256 * 1024)

struct piece {
	struct list node;
	size_t start, end, size;
	uint8_t data[];
};

static struct piece *piece_of(const struct list *node)
{
	return container_of(node, struct piece, node);
}

void exec_output_init(struct exec_output *o)
{
	*o = (struct exec_output){0};
	list_init(&o->pieces);
}

static void drop(struct exec_output *o, struct piece *p)
{
	o->len -= p->end - p->start;
	o->memory -= sizeof(*p) + p->size;
	list_remove(&p->node);
	free(p);
}

void exec_output_fini(struct exec_output *o)
{
	if (!o->pieces.next)
		return;
	while (!list_empty(&o->pieces))
		drop(o, piece_of(o->pieces.next));
}

/* Room for at least a byte at the end. */
static struct piece *last_piece(struct exec_output *o, size_t want)
{
	struct piece *p = list_empty(&o->pieces) ? NULL : piece_of(o->pieces.prev);
	size_t size;

	if (p && p->end < p->size)
		return p;
	size = min_of(max_of(max_of(want, o->len), PIECE_MIN), PIECE_MAX);
	p = malloc(sizeof(*p) + size);
	if (!p)
		return NULL;
	p->start = p->end = 0;
	p->size = size;
	list_append(&o->pieces, &p->node);
	o->memory += sizeof(*p) + size;
	return p;
}

static void take_back(struct exec_output *o, size_t n)
{
	while (n > 0) {
		struct piece *p = piece_of(o->pieces.prev);
		size_t here = min_of(n, p->end - p->start);

		p->end -= here;
		o->len -= here;
		n -= here;
		if (p->end == p->start)
			drop(o, p);
	}
}

int exec_output_add(struct exec_output *o, const void *data, size_t len)
{
	const uint8_t *from = data;
	size_t done = 0;

	while (done < len) {
		struct piece *p = last_piece(o, len - done);
		size_t n;

		if (!p) {
			take_back(o, done);
			return -ENOMEM;
		}
		n = min_of(len - done, p->size - p->end);
		memcpy(p->data + p->end, from + done, n);
		p->end += n;
		o->len += n;
		done += n;
	}
	return 0;
}

void exec_output_keep(struct exec_output *o, size_t keep)
{
	while (o->len > keep) {
		struct piece *p = piece_of(o->pieces.next);
		size_t n = min_of(o->len - keep, p->end - p->start);

		o->cut = true;
		p->start += n;
		o->len -= n;
		if (p->start == p->end)
			drop(o, p);
	}
}

/* ---- reading ---- */

/* Up to `max` bytes from where reading is. */
static size_t look(
	const struct exec_output *o, const struct exec_output_at *at, uint8_t *out, size_t max)
{
	const struct list *node = at->piece;
	size_t n = 0, i = at->at;

	while (n < max && node != &o->pieces) {
		const struct piece *p = piece_of(node);

		if (i < p->end) {
			out[n++] = p->data[i++];
		} else {
			node = node->next;
			i = node == &o->pieces ? 0 : piece_of(node)->start;
		}
	}
	return n;
}

static void go_to(const struct exec_output *o, struct exec_output_at *at, const struct list *node)
{
	at->piece = node;
	at->at = node == &o->pieces ? 0 : piece_of(node)->start;
}

static void skip(const struct exec_output *o, struct exec_output_at *at, size_t n)
{
	at->at += n;
	while (at->piece != &o->pieces && at->at >= piece_of(at->piece)->end) {
		size_t over = at->at - piece_of(at->piece)->end;

		go_to(o, at, at->piece->next);
		at->at += over;
	}
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

static size_t put_plain(
	const struct exec_output *o, struct exec_output_at *at, char *out, size_t max)
{
	const struct piece *p = piece_of(at->piece);
	size_t n = 0;

	max = min_of(max, p->end - at->at);
	while (n < max && is_plain(p->data[at->at + n]))
		n++;
	memcpy(out, p->data + at->at, n);
	skip(o, at, n);
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
	memcpy(out + 1, "u00", 3);
	out[4] = hex[c >> 4];
	out[5] = hex[c & 15];
	return 6;
}

static size_t put_other(const struct exec_output *o, struct exec_output_at *at, char *out)
{
	uint8_t bytes[4];
	size_t len = look(o, at, bytes, sizeof(bytes));
	int n = character(bytes, len);

	skip(o, at, (size_t)(n < 0 ? -n : n));
	if (n == 1)
		return put_escaped(bytes[0], out);
	if (n < 0)
		memcpy(out, "\xef\xbf\xbd", 3);
	else
		memcpy(out, bytes, (size_t)n);
	return n < 0 ? 3 : (size_t)n;
}

size_t exec_output_json(
	const struct exec_output *o, struct exec_output_at *at, char *out, size_t max)
{
	size_t n = 0;

	if (!at->piece)
		go_to(o, at, o->pieces.next);
	while (at->piece != &o->pieces && max - n >= 6) {
		size_t plain = put_plain(o, at, out + n, max - n);

		n += plain;
		if (at->piece != &o->pieces && max - n >= 6 &&
			(plain == 0 || !is_plain(piece_of(at->piece)->data[at->at])))
			n += put_other(o, at, out + n);
	}
	return n;
}
