/*
 * Sixteen places are asked at once for two bytes of the needle, the two that are the least common
 * in texts; only where both fit is the rest compared.
 */
#include "agentd/needle.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* From common to rare; what is not here is rarer still. */
static const char common[] = " etaoinsrlcdupmhgbfy\n\t_.,()=;*/-\"0vwk1:>x#'<{}2[]+";

static size_t rarity(uint8_t byte)
{
	const char *at = byte ? strchr(common, byte) : NULL;

	return at ? (size_t)(at - common) : sizeof(common);
}

static bool is_letter(uint8_t b)
{
	return (b | 0x20) >= 'a' && (b | 0x20) <= 'z';
}

int needle_init(struct needle *n, const void *bytes, size_t len, bool icase)
{
	uint8_t *copy = malloc(2 * len + 1);

	*n = (struct needle){0};
	if (!copy)
		return -ENOMEM;
	memcpy(copy, bytes, len);
	*n = (struct needle){.bytes = copy, .mask = copy + len, .len = len, .icase = icase};
	for (size_t i = 0; i < len; i++) {
		n->mask[i] = icase && is_letter(copy[i]) ? 0x20 : 0;
		copy[i] |= n->mask[i];
		if (rarity(copy[i]) > rarity(copy[n->rarer]))
			n->rarer = i;
	}
	n->rare = n->rarer == 0 && len > 1 ? 1 : 0;
	for (size_t i = 0; i < len; i++) {
		if (i != n->rarer && rarity(copy[i]) > rarity(copy[n->rare]))
			n->rare = i;
	}
	return 0;
}

void needle_fini(struct needle *n)
{
	free((void *)n->bytes);
	*n = (struct needle){0};
}

static bool is_here(const struct needle *n, const uint8_t *text)
{
	if (!n->icase)
		return memcmp(text, n->bytes, n->len) == 0;
	for (size_t i = 0; i < n->len; i++) {
		if ((text[i] | n->mask[i]) != n->bytes[i])
			return false;
	}
	return true;
}

static const uint8_t *find_slowly(const struct needle *n, const uint8_t *text, size_t len)
{
	if (!n->icase)
		return memmem(text, len, n->bytes, n->len);
	for (; len >= n->len; text++, len--) {
		if ((text[n->rarer] | n->mask[n->rarer]) == n->bytes[n->rarer] && is_here(n, text))
			return text;
	}
	return NULL;
}

#ifdef __SSE2__

static __m128i matches(__m128i text, __m128i mask, __m128i byte)
{
	return _mm_cmpeq_epi8(_mm_or_si128(text, mask), byte);
}

const uint8_t *needle_find(const struct needle *n, const uint8_t *text, size_t len)
{
	const __m128i byte1 = _mm_set1_epi8((char)n->bytes[n->rarer]),
		      mask1 = _mm_set1_epi8((char)n->mask[n->rarer]),
		      byte2 = _mm_set1_epi8((char)n->bytes[n->rare]),
		      mask2 = _mm_set1_epi8((char)n->mask[n->rare]);

	/* As long as sixteen needles that begin side by side all lie in the text. */
	while (len >= n->len + 15) {
		__m128i a = _mm_loadu_si128((const void *)(text + n->rarer)),
			b = _mm_loadu_si128((const void *)(text + n->rare));
		unsigned bits = (unsigned)_mm_movemask_epi8(
			_mm_and_si128(matches(a, mask1, byte1), matches(b, mask2, byte2)));

		for (; bits; bits &= bits - 1) {
			const uint8_t *at = text + __builtin_ctz(bits);

			if (is_here(n, at))
				return at;
		}
		text += 16;
		len -= 16;
	}
	return len >= n->len ? find_slowly(n, text, len) : NULL;
}

size_t count_newlines(const uint8_t *text, size_t len)
{
	const __m128i newline = _mm_set1_epi8('\n');
	size_t n = 0;

	while (len >= 16) {
		__m128i sum = _mm_setzero_si128();
		size_t rounds = min_of(len / 16, (size_t)255); /* what a byte can count */

		len -= rounds * 16;
		for (; rounds > 0; rounds--, text += 16)
			sum = _mm_sub_epi8(
				sum, _mm_cmpeq_epi8(_mm_loadu_si128((const void *)text), newline));
		sum = _mm_sad_epu8(sum, _mm_setzero_si128());
		n += (size_t)_mm_cvtsi128_si32(sum) + (size_t)_mm_extract_epi16(sum, 4);
	}
	for (; len > 0; len--)
		n += *text++ == '\n';
	return n;
}

#else

const uint8_t *needle_find(const struct needle *n, const uint8_t *text, size_t len)
{
	return len >= n->len ? find_slowly(n, text, len) : NULL;
}

size_t count_newlines(const uint8_t *text, size_t len)
{
	size_t n = 0;

	for (; len > 0; len--)
		n += *text++ == '\n';
	return n;
}

#endif
