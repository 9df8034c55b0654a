#include "proto/buf.h"

void buf_fini(struct buf *b)
{
	free(b->data);
	*b = BUF_NULL(b->max);
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
	size_t cap;
	uint8_t *data;

	if (n > b->max || b->len > b->max - n)
		return NULL;
	if (b->start + b->len + n <= b->cap)
		return b->data + b->start + b->len;
	if (b->len + n <= b->cap) {
		memmove(b->data, b->data + b->start, b->len);
		b->start = 0;
		return b->data + b->len;
	}
	cap = max_of(b->cap * 2, (size_t)512);
	while (cap < b->len + n)
		cap *= 2;
	cap = min_of(cap, b->max);
	data = malloc(cap);
	if (!data)
		return NULL;
	if (b->len > 0)
		memcpy(data, b->data + b->start, b->len);
	free(b->data);
	b->data = data;
	b->cap = cap;
	b->start = 0;
	return b->data + b->len;
}

void buf_commit(struct buf *b, size_t n)
{
	ASSERT(n <= b->cap - b->start - b->len);
	b->len += n;
}

int buf_append(struct buf *b, const void *data, size_t n)
{
	uint8_t *p;

	if (n == 0)
		return 0;
	p = buf_reserve(b, n);
	if (!p)
		return n > b->max || b->len > b->max - n ? -ENOBUFS : -ENOMEM;
	memcpy(p, data, n);
	b->len += n;
	return 0;
}

void buf_consume(struct buf *b, size_t n)
{
	ASSERT(n <= b->len);
	b->start += n;
	b->len -= n;
	if (b->len == 0)
		b->start = 0;
}

void buf_trim(struct buf *b, size_t keep)
{
	if (b->len == 0 && b->cap > keep)
		buf_fini(b);
}
