#include "tests/unit/msg_rig.h"

char json[FRAME_PAYLOAD_MAX];

static uint64_t seed = 88172645463325252u;

uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16) % n;
}

uint64_t rnd_u64(uint64_t max)
{
	switch (rnd(4)) {
	case 0: return min_of(max, (uint64_t)rnd(10));
	case 1: return max;
	case 2: return max - min_of(max, (uint64_t)rnd(10));
	default: return ((uint64_t)rnd(UINT32_MAX) << 32 | rnd(UINT32_MAX)) % (max + 1);
	}
}

char *rnd_bytes(size_t min)
{
	static char ring[256][48];
	static unsigned at;
	char *s = ring[at++ % array_size(ring)];
	size_t n = min + rnd(rnd(8) ? 6 : 40);
	unsigned kind = rnd(3);

	for (size_t i = 0; i < n; i++)
		s[i] = kind == 0   ? (char)('a' + rnd(26))
		       : kind == 1 ? "\"\\/\n\t\x01 {}[]:,"[rnd(13)]
				   : (char)(1 + rnd(255));
	s[n] = '\0';
	return s;
}

char *rnd_name(size_t max)
{
	static const char letters[] = "ABCXYZabcxyz0189._-";
	static char ring[64][MSG_ID_MAX + 1];
	static unsigned at;
	char *s = ring[at++ % array_size(ring)];
	size_t n = 1 + rnd((uint32_t)(rnd(4) ? 8 : max));

	for (size_t i = 0; i < n; i++)
		s[i] = letters[rnd(sizeof(letters) - 1)];
	s[n] = '\0';
	return s;
}

void same_str(const char *a, const char *b)
{
	if (!a || !b)
		assert_ptr_equal(a, b);
	else
		assert_string_equal(a, b);
}

uint8_t *test_block(size_t len)
{
	uint8_t *p = len ? malloc(len) : NULL;

	assert_non_null(p);
	return p;
}
