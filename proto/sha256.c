/* FIPS 180-4. One function does whole blocks; there are two of it, alike in what they do. */
#include "proto/sha256.h"

#include <stdatomic.h>

#include "proto/buf.h"

#define BLOCK 64

static const uint32_t k[64] = {
	0x428a2f98,
	0x71374491,
	0xb5c0fbcf,
	0xe9b5dba5,
	0x3956c25b,
	0x59f111f1,
	0x923f82a4,
	0xab1c5ed5,
	0xd807aa98,
	0x12835b01,
	0x243185be,
	0x550c7dc3,
	0x72be5d74,
	0x80deb1fe,
	0x9bdc06a7,
	0xc19bf174,
	0xe49b69c1,
	0xefbe4786,
	0x0fc19dc6,
	0x240ca1cc,
	0x2de92c6f,
	0x4a7484aa,
	0x5cb0a9dc,
	0x76f988da,
	0x983e5152,
	0xa831c66d,
	0xb00327c8,
	0xbf597fc7,
	0xc6e00bf3,
	0xd5a79147,
	0x06ca6351,
	0x14292967,
	0x27b70a85,
	0x2e1b2138,
	0x4d2c6dfc,
	0x53380d13,
	0x650a7354,
	0x766a0abb,
	0x81c2c92e,
	0x92722c85,
	0xa2bfe8a1,
	0xa81a664b,
	0xc24b8b70,
	0xc76c51a3,
	0xd192e819,
	0xd6990624,
	0xf40e3585,
	0x106aa070,
	0x19a4c116,
	0x1e376c08,
	0x2748774c,
	0x34b0bcb5,
	0x391c0cb3,
	0x4ed8aa4a,
	0x5b9cca4f,
	0x682e6ff3,
	0x748f82ee,
	0x78a5636f,
	0x84c87814,
	0x8cc70208,
	0x90befffa,
	0xa4506ceb,
	0xbef9a3f7,
	0xc67178f2,
};

static uint32_t rotate_right(uint32_t v, unsigned by)
{
	return v >> by | v << (32 - by);
}

static void block_plain(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64], v[8];

	for (size_t t = 0; t < 16; t++)
		w[t] = get_u32(p + 4 * t);
	for (size_t t = 16; t < 64; t++) {
		uint32_t a = w[t - 15], b = w[t - 2];

		w[t] = w[t - 16] + w[t - 7] + (rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3) +
		       (rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10);
	}
	memcpy(v, h, sizeof(v));
	/* Round t finds a at place -t, modulo 8: so nothing is moved, and the compiler, which sees
	 * eight rounds at once, has them all in registers. */
#pragma GCC unroll 8
	for (unsigned t = 0; t < 64; t++) {
		uint32_t a = v[-t & 7], b = v[(1 - t) & 7], c = v[(2 - t) & 7];
		uint32_t e = v[(4 - t) & 7], f = v[(5 - t) & 7], g = v[(6 - t) & 7];
		uint32_t one = v[(7 - t) & 7] + k[t] + w[t] + ((e & f) ^ (~e & g)) +
			       (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25));

		v[(3 - t) & 7] += one;
		v[(7 - t) & 7] = one + ((a & b) ^ (a & c) ^ (b & c)) +
				 (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22));
	}
	for (size_t i = 0; i < 8; i++)
		h[i] += v[i];
}

static void blocks_plain(uint32_t h[8], const uint8_t *p, size_t n)
{
	for (; n > 0; n--, p += BLOCK)
		block_plain(h, p);
}

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>

static bool have_instructions(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

/* The instructions want the state as a, b, e, f and c, d, g, h (from the top), and do two rounds
 * each; after two rounds what was a, b, e, f is c, d, g, h. */
__attribute__((target("sha,sse4.1,ssse3"))) static void blocks_fast(
	uint32_t h[8], const uint8_t *p, size_t n)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i abef = _mm_set_epi32((int)h[0], (int)h[1], (int)h[4], (int)h[5]);
	__m128i cdgh = _mm_set_epi32((int)h[2], (int)h[3], (int)h[6], (int)h[7]);
	uint32_t out[8];

	for (; n > 0; n--, p += BLOCK) {
		const __m128i abef_before = abef, cdgh_before = cdgh;
		__m128i w[4];

#pragma GCC unroll 16
		for (unsigned i = 0; i < 16; i++) {
			__m128i *now = &w[i % 4], last = w[(i + 3) % 4], wk;

			if (i < 4) {
				*now = _mm_shuffle_epi8(
					_mm_loadu_si128(
						(const __m128i *)(const void *)(p + 16 * i)),
					swap);
			} else {
				__m128i sum = _mm_sha256msg1_epu32(*now, w[(i + 1) % 4]);

				sum = _mm_add_epi32(sum, _mm_alignr_epi8(last, w[(i + 2) % 4], 4));
				*now = _mm_sha256msg2_epu32(sum, last);
			}
			wk = _mm_add_epi32(
				*now, _mm_loadu_si128((const __m128i *)(const void *)(k + 4 * i)));
			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0e));
		}
		abef = _mm_add_epi32(abef, abef_before);
		cdgh = _mm_add_epi32(cdgh, cdgh_before);
	}
	_mm_storeu_si128((__m128i *)(void *)out, abef);
	_mm_storeu_si128((__m128i *)(void *)(out + 4), cdgh);
	h[0] = out[3];
	h[1] = out[2];
	h[4] = out[1];
	h[5] = out[0];
	h[2] = out[7];
	h[3] = out[6];
	h[6] = out[5];
	h[7] = out[4];
}

#else

static bool have_instructions(void)
{
	return false;
}

static void blocks_fast(uint32_t h[8], const uint8_t *p, size_t n)
{
	blocks_plain(h, p, n);
}

#endif

enum which { UNKNOWN, PLAIN, FAST };
static _Atomic enum which which;

static void blocks(uint32_t h[8], const uint8_t *p, size_t n)
{
	if (which == UNKNOWN)
		which = have_instructions() ? FAST : PLAIN;
	if (which == FAST)
		blocks_fast(h, p, n);
	else
		blocks_plain(h, p, n);
}

bool sha256_plain(bool plain)
{
	which = plain ? PLAIN : UNKNOWN;
	return have_instructions();
}

void sha256_init(struct sha256 *s)
{
	*s = (struct sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
				     0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_update(struct sha256 *s, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t have = s->len % BLOCK;

	s->len += len;
	if (have > 0) {
		size_t n = min_of(len, BLOCK - have);

		memcpy(s->block + have, p, n);
		p += n;
		len -= n;
		if (have + n < BLOCK)
			return;
		blocks(s->h, s->block, 1);
	}
	if (len >= BLOCK)
		blocks(s->h, p, len / BLOCK);
	if (len % BLOCK > 0)
		memcpy(s->block, p + len - len % BLOCK, len % BLOCK);
}

void sha256_final(struct sha256 *s, char hex[SHA256_HEX])
{
	static const char digits[] = "0123456789abcdef";
	uint64_t bits = s->len * 8;
	size_t have = s->len % BLOCK;
	uint8_t pad[BLOCK + 8] = {0x80};
	size_t n = (have < 56 ? 56 : 120) - have;

	put_u64(pad + n, bits);
	sha256_update(s, pad, n + 8);
	for (size_t i = 0; i < 64; i++)
		hex[i] = digits[s->h[i / 8] >> (28 - 4 * (i % 8)) & 15];
	hex[64] = '\0';
}
