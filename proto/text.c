/*
 * text.c - UTF-8, base64 and SHA-1, each in its plainest form.
 *
 * UTF-8 is judged one character at a time by char_len(), which knows the ranges of RFC 3629 (no
 * overlong forms, no surrogates, nothing above U+10FFFF); runs of ASCII are skipped eight bytes at
 * a time. base64 takes and gives only the one canonical form of RFC 4648 section 4. SHA-1 follows
 * FIPS 180-4; it meets sixty bytes per connection, so it is written to be read.
 */
#include "proto/text.h"

#include "proto/buf.h"

#define CHAR_INVALID 0
#define CHAR_CUT     (-1) /* so far it is a character, but the bytes end */

/* How many bytes the character at p takes (1 to 4), or one of the two above. len is not 0. */
static int char_len(const uint8_t *p, size_t len)
{
	uint8_t low = 0x80, high = 0xbf; /* the second byte's range; later ones have this one */
	int n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return CHAR_INVALID;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		low = 0xa0; /* below: overlong */
	else if (p[0] == 0xed)
		high = 0x9f; /* above: surrogates */
	else if (p[0] == 0xf0)
		low = 0x90; /* below: overlong */
	else if (p[0] == 0xf4)
		high = 0x8f; /* above: beyond U+10FFFF */
	for (int i = 1; i < n; i++) {
		if ((size_t)i >= len)
			return CHAR_CUT;
		if (p[i] < low || p[i] > high)
			return CHAR_INVALID;
		low = 0x80;
		high = 0xbf;
	}
	return n;
}

bool utf8_valid(const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len;) {
		uint64_t eight;
		int n;

		if (len - i >= sizeof(eight)) {
			memcpy(&eight, p + i, sizeof(eight));
			if (!(eight & 0x8080808080808080ULL)) {
				i += sizeof(eight);
				continue;
			}
		}
		n = char_len(p + i, len - i);
		if (n <= 0)
			return false;
		i += (size_t)n;
	}
	return true;
}

size_t utf8_cut(const void *data, size_t len)
{
	const uint8_t *p = data;

	/* A cut character has at most three bytes here, and its first is the last byte that is not
	 * a continuation byte. */
	for (size_t back = 1; back <= 3 && back <= len; back++) {
		if ((p[len - back] & 0xc0) == 0x80)
			continue;
		return char_len(p + len - back, back) == CHAR_CUT ? len - back : len;
	}
	return len;
}

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_encode(const void *data, size_t n, char *out)
{
	const uint8_t *p = data;
	char *o = out;

	for (size_t i = 0; i < n; i += 3) {
		size_t have = min_of(n - i, (size_t)3);
		uint32_t v = (uint32_t)p[i] << 16;

		if (have > 1)
			v |= (uint32_t)p[i + 1] << 8;
		if (have > 2)
			v |= p[i + 2];
		*o++ = base64_digits[v >> 18];
		*o++ = base64_digits[v >> 12 & 63];
		*o++ = have > 1 ? base64_digits[v >> 6 & 63] : '=';
		*o++ = have > 2 ? base64_digits[v & 63] : '=';
	}
	*o = '\0';
	return (size_t)(o - out);
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t base64_decode(const char *text, size_t n, void *out)
{
	uint8_t *o = out;
	size_t pad = 0;

	if (n % 4 != 0)
		return -EINVAL;
	if (n > 0 && text[n - 1] == '=')
		pad = text[n - 2] == '=' ? 2 : 1;
	for (size_t i = 0; i < n; i += 4) {
		size_t digits = i + 4 == n ? 4 - pad : 4;
		uint32_t v = 0;

		for (size_t j = 0; j < 4; j++) {
			int d = j < digits ? digit_value(text[i + j]) : 0;

			if (d < 0)
				return -EINVAL;
			v = v << 6 | (uint32_t)d;
		}
		/* Bits that padding leaves over are zero, or two texts would mean the same. */
		if (v & (digits == 2 ? 0xffffU : digits == 3 ? 0xffU : 0))
			return -EINVAL;
		for (size_t j = 0; j + 1 < digits; j++)
			*o++ = (uint8_t)(v >> (16 - 8 * j));
	}
	return (ssize_t)(o - (uint8_t *)out);
}

#define SHA1_BLOCK 64

static uint32_t rotate_left(uint32_t v, unsigned by)
{
	return v << by | v >> (32 - by);
}

static void sha1_block(uint32_t h[5], const uint8_t *block)
{
	uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	for (size_t t = 0; t < 16; t++)
		w[t] = get_u32(block + 4 * t);
	for (size_t t = 16; t < 80; t++)
		w[t] = rotate_left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
	for (size_t t = 0; t < 80; t++) {
		uint32_t f, next;

		if (t < 20)
			f = ((b & c) | (~b & d)) + 0x5a827999;
		else if (t < 40)
			f = (b ^ c ^ d) + 0x6ed9eba1;
		else if (t < 60)
			f = ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
		else
			f = (b ^ c ^ d) + 0xca62c1d6;
		next = rotate_left(a, 5) + f + e + w[t];
		e = d;
		d = c;
		c = rotate_left(b, 30);
		b = a;
		a = next;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

void sha1(const void *data, size_t n, uint8_t out[SHA1_LEN])
{
	uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
	uint8_t tail[2 * SHA1_BLOCK] = {0};
	const uint8_t *p = data;
	size_t rest = n % SHA1_BLOCK;
	size_t tail_len = rest + 1 + 8 <= SHA1_BLOCK ? SHA1_BLOCK : 2 * SHA1_BLOCK;

	for (size_t i = 0; i < n - rest; i += SHA1_BLOCK)
		sha1_block(h, p + i);
	if (rest > 0)
		memcpy(tail, p + (n - rest), rest);
	tail[rest] = 0x80;
	put_u64(tail + tail_len - 8, (uint64_t)n * 8);
	for (size_t i = 0; i < tail_len; i += SHA1_BLOCK)
		sha1_block(h, tail + i);
	for (size_t i = 0; i < array_size(h); i++)
		put_u32(out + 4 * i, h[i]);
}
