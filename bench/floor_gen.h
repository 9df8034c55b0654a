/*
 * floor_gen.h - the byte stream of all stream measurements, and a fast hash to compare streams by.
 *
 * The stream of a seed: a pseudo-random pattern of 256 KiB, repeated, in which every 4 KiB chunk
 * starts with 8 bytes that depend on seed and chunk number. Writing it costs hardly more than the
 * write(), and a lost, repeated or swapped byte is found by floor_gen_check() and changes the hash.
 * By convention a command that writes to both streams uses SEED for stdout and SEED + 1 for stderr.
 *
 * The hash is XXH64 (seed 0, printed as 16 hex digits), so `xxhsum -H1` gives the same value.
 * Little-endian machines only, as everything in bench/.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FLOOR_GEN_BLOCK ((size_t)256 * 1024)
#define FLOOR_GEN_CHUNK ((size_t)4096)

struct floor_gen {
	uint64_t seed;
	uint64_t offset; /* of the next byte that floor_gen_next() gives */
	_Alignas(4096) uint8_t block[FLOOR_GEN_BLOCK];
};

static inline uint64_t floor_mix(uint64_t x) /* splitmix64 */
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static inline void floor_gen_stamp(struct floor_gen *g)
{
	uint64_t chunk = g->offset / FLOOR_GEN_BLOCK * (FLOOR_GEN_BLOCK / FLOOR_GEN_CHUNK);

	for (size_t i = 0; i < FLOOR_GEN_BLOCK; i += FLOOR_GEN_CHUNK) {
		uint64_t stamp = floor_mix(floor_mix(g->seed) ^ chunk++);

		memcpy(g->block + i, &stamp, sizeof(stamp));
	}
}

/* The stream can be entered anywhere, as a viewer that attaches at an offset does. */
static inline void floor_gen_seek(struct floor_gen *g, uint64_t offset)
{
	g->offset = offset;
	if (offset % FLOOR_GEN_BLOCK)
		floor_gen_stamp(g);
}

static inline void floor_gen_init(struct floor_gen *g, uint64_t seed)
{
	uint64_t x = ~seed;

	for (size_t i = 0; i < FLOOR_GEN_BLOCK; i += sizeof(x)) {
		x = floor_mix(x);
		memcpy(g->block + i, &x, sizeof(x));
	}
	g->seed = seed;
	floor_gen_seek(g, 0);
}

/* The next bytes of the stream, at most `want`, fewer at the end of a block; valid until the next
 * call. */
static inline size_t floor_gen_next(struct floor_gen *g, size_t want, const uint8_t **bytes)
{
	size_t pos = g->offset % FLOOR_GEN_BLOCK;
	size_t n = FLOOR_GEN_BLOCK - pos;

	if (pos == 0)
		floor_gen_stamp(g);
	if (n > want)
		n = want;
	*bytes = g->block + pos;
	g->offset += n;
	return n;
}

/* Compares with the stream and goes on in it: `len` when all is equal, else the index of the first
 * wrong byte. */
static inline size_t floor_gen_check(struct floor_gen *g, const void *data, size_t len)
{
	const uint8_t *got = data, *expected;

	for (size_t done = 0; done < len;) {
		size_t n = floor_gen_next(g, len - done, &expected);

		if (memcmp(got + done, expected, n) != 0) {
			while (got[done] == *expected++)
				done++;
			return done;
		}
		done += n;
	}
	return len;
}

#define FLOOR_P1 0x9e3779b185ebca87ULL
#define FLOOR_P2 0xc2b2ae3d27d4eb4fULL
#define FLOOR_P3 0x165667b19e3779f9ULL
#define FLOOR_P4 0x85ebca77c2b2ae63ULL
#define FLOOR_P5 0x27d4eb2f165667c5ULL

struct floor_hash {
	uint64_t acc[4];
	uint64_t total;
	uint8_t rest[32]; /* the total % 32 bytes that do not fill a stripe yet */
};

static inline uint64_t floor_rotl(uint64_t x, int r)
{
	return (x << r) | (x >> (64 - r));
}

static inline uint64_t floor_hash_round(uint64_t acc, uint64_t word)
{
	return floor_rotl(acc + word * FLOOR_P2, 31) * FLOOR_P1;
}

static inline void floor_hash_stripe(struct floor_hash *h, const uint8_t *p)
{
	for (size_t i = 0; i < 4; i++) {
		uint64_t word;

		memcpy(&word, p + i * sizeof(word), sizeof(word));
		h->acc[i] = floor_hash_round(h->acc[i], word);
	}
}

static inline void floor_hash_init(struct floor_hash *h)
{
	*h = (struct floor_hash){.acc = {FLOOR_P1 + FLOOR_P2, FLOOR_P2, 0, 0 - FLOOR_P1}};
}

static inline void floor_hash_add(struct floor_hash *h, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t have = h->total % sizeof(h->rest);

	h->total += len;
	if (have + len < sizeof(h->rest)) {
		memcpy(h->rest + have, p, len);
		return;
	}
	if (have) {
		size_t n = sizeof(h->rest) - have;

		memcpy(h->rest + have, p, n);
		floor_hash_stripe(h, h->rest);
		p += n;
		len -= n;
	}
	for (; len >= sizeof(h->rest); p += sizeof(h->rest), len -= sizeof(h->rest))
		floor_hash_stripe(h, p);
	memcpy(h->rest, p, len);
}

static inline uint64_t floor_hash_value(const struct floor_hash *h)
{
	size_t left = h->total % sizeof(h->rest);
	const uint8_t *p = h->rest;
	uint64_t x = FLOOR_P5, word;
	uint32_t half;

	if (h->total >= sizeof(h->rest)) {
		x = floor_rotl(h->acc[0], 1) + floor_rotl(h->acc[1], 7) +
		    floor_rotl(h->acc[2], 12) + floor_rotl(h->acc[3], 18);
		for (size_t i = 0; i < 4; i++)
			x = (x ^ floor_hash_round(0, h->acc[i])) * FLOOR_P1 + FLOOR_P4;
	}
	x += h->total;
	for (; left >= 8; left -= 8, p += 8) {
		memcpy(&word, p, 8);
		x = floor_rotl(x ^ floor_hash_round(0, word), 27) * FLOOR_P1 + FLOOR_P4;
	}
	for (; left >= 4; left -= 4, p += 4) {
		memcpy(&half, p, 4);
		x = floor_rotl(x ^ (half * FLOOR_P1), 23) * FLOOR_P2 + FLOOR_P3;
	}
	for (; left > 0; left--, p++)
		x = floor_rotl(x ^ (*p * FLOOR_P5), 11) * FLOOR_P1;
	x = (x ^ (x >> 33)) * FLOOR_P2;
	x = (x ^ (x >> 29)) * FLOOR_P3;
	return x ^ (x >> 32);
}
