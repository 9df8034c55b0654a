#include "proto/lines.h"

#define READ_SIZE (64 * KIB)
#define KEEP      (64 * KIB)

void lines_init(struct lines *l, size_t max)
{
	*l = (struct lines){.max = max, .buf = BUF_NULL(max + READ_SIZE)};
}

void lines_fini(struct lines *l)
{
	buf_fini(&l->buf);
	lines_init(l, l->max);
}

static void drop_taken(struct lines *l)
{
	buf_consume(&l->buf, l->taken);
	l->taken = 0;
}

uint8_t *lines_space(struct lines *l, size_t *ret_size)
{
	drop_taken(l);
	*ret_size = READ_SIZE;
	return buf_reserve(&l->buf, READ_SIZE);
}

void lines_commit(struct lines *l, size_t n)
{
	buf_commit(&l->buf, n);
}

void lines_end(struct lines *l)
{
	l->ended = true;
}

/* The next line end's distance, or -1. */
static ssize_t find_end(struct lines *l)
{
	size_t len = buf_len(&l->buf);
	const uint8_t *head = buf_head(&l->buf), *end = NULL;

	if (l->scanned < len)
		end = memchr(head + l->scanned, '\n', len - l->scanned);
	l->scanned = end ? 0 : len;
	return end ? end - head : -1;
}

static int nothing_yet(struct lines *l)
{
	buf_trim(&l->buf, KEEP);
	return 0;
}

int lines_next(struct lines *l, struct jsonr *ret)
{
	drop_taken(l);
	for (;;) {
		size_t len = buf_len(&l->buf);
		ssize_t end = find_end(l);

		if (end < 0 && l->ended && len > 0) {
			l->scanned = 0;
			l->taken = len;
			end = (ssize_t)len;
		} else if (end < 0) {
			if (len <= l->max && !l->dropping)
				return nothing_yet(l);
			/* All of it belongs to a line that is too long. */
			l->scanned = 0;
			buf_consume(&l->buf, len);
			if (l->dropping)
				return nothing_yet(l);
			l->dropping = true;
			return -EMSGSIZE;
		} else {
			l->taken = (size_t)end + 1;
		}
		if (l->dropping) {
			l->dropping = false;
			drop_taken(l);
			continue;
		}
		if ((size_t)end > l->max) {
			drop_taken(l);
			return -EMSGSIZE;
		}
		*ret = (struct jsonr){(const char *)buf_head(&l->buf), (size_t)end};
		return 1;
	}
}
