#include "bridge/api/chunked.h"

static int digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_digit(struct chunked *c, uint8_t ch)
{
	int d = digit(ch);

	if (d < 0 || c->left >> 56)
		return false;
	c->left = c->left << 4 | (unsigned)d;
	c->state = CHUNKED_DIGITS;
	return true;
}

/* What stands between chunks, a byte at a time. */
static bool step(struct chunked *c, uint8_t ch)
{
	switch (c->state) {
	case CHUNKED_SIZE: c->left = 0; return take_digit(c, ch);
	case CHUNKED_DIGITS:
		if (ch != ';' && ch != '\r')
			return take_digit(c, ch);
		c->state = ch == ';' ? CHUNKED_EXTENSION : CHUNKED_SIZE_LF;
		c->line = 0;
		return true;
	case CHUNKED_EXTENSION:
		if (ch == '\r')
			c->state = CHUNKED_SIZE_LF;
		return ch != '\n' && ++c->line <= CHUNKED_LINE_MAX;
	case CHUNKED_SIZE_LF:
		c->line = 0;
		c->state = c->left > 0 ? CHUNKED_DATA : CHUNKED_TRAILER;
		return ch == '\n';
	case CHUNKED_DATA_CR: c->state = CHUNKED_DATA_LF; return ch == '\r';
	case CHUNKED_DATA_LF: c->state = CHUNKED_SIZE; return ch == '\n';
	case CHUNKED_TRAILER:
		c->state = ch == '\r' ? CHUNKED_LAST_LF : CHUNKED_TRAILER_LINE;
		return ch != '\n' && ++c->line <= CHUNKED_TRAILER_MAX;
	case CHUNKED_TRAILER_LINE:
		if (ch == '\r')
			c->state = CHUNKED_TRAILER_LF;
		return ch != '\n' && ++c->line <= CHUNKED_TRAILER_MAX;
	case CHUNKED_TRAILER_LF: c->state = CHUNKED_TRAILER; return ch == '\n';
	case CHUNKED_LAST_LF: c->state = CHUNKED_END; return ch == '\n';
	default: ASSERT(!"no such state"); return false;
	}
}

int chunked_next(
	struct chunked *c, const uint8_t **data, size_t *len, const uint8_t **ret, size_t *ret_len)
{
	size_t n;

	while (*len > 0 && c->state != CHUNKED_END) {
		if (c->state != CHUNKED_DATA) {
			if (!step(c, **data))
				return -EPROTO;
			++*data;
			--*len;
			continue;
		}
		n = (size_t)min_of((uint64_t)*len, c->left);
		*ret = *data;
		*ret_len = n;
		*data += n;
		*len -= n;
		c->left -= n;
		if (c->left == 0)
			c->state = CHUNKED_DATA_CR;
		return 1;
	}
	return 0;
}
