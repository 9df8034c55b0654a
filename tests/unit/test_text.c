/* test_text.c - UTF-8, base64 and SHA-1 against their documents' examples and against counting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/text.h"

static size_t encode_char(uint32_t c, uint8_t out[4])
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
		out[2] = (uint8_t)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
	out[3] = (uint8_t)(0x80 | (c & 63));
	return 4;
}

/* Every character is taken, every surrogate and everything beyond U+10FFFF is not. */
static void test_utf8_characters(void **state)
{
	(void)state;
	for (uint32_t c = 0; c < 0x140000; c++) {
		bool is_char = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
		uint8_t text[4];
		size_t n = encode_char(c, text);

		assert_int_equal(utf8_valid(text, n), is_char);
		if (n > 1)
			assert_false(utf8_valid(text, n - 1));
	}
}

/* Of all strings of two and of three bytes, as many are valid as there are ways to make them of
 * characters: so nothing else is taken, overlong forms for one. */
static void test_utf8_counts(void **state)
{
	const uint32_t one = 0x80, two = 0x800 - 0x80, three = 0x10000 - 0x800 - 0x800;
	uint32_t n2 = 0, n3 = 0;

	(void)state;
	for (uint32_t v = 0; v < 1U << 24; v++) {
		const uint8_t text[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

		n3 += utf8_valid(text, 3);
		if (v < 1U << 16)
			n2 += utf8_valid(text + 1, 2);
	}
	assert_int_equal(n2, one * one + two);
	assert_int_equal(n3, one * one * one + 2 * one * two + three);
}

/* The same for four bytes, where counting all would take long: first bytes of a four byte
 * character, all second bytes, the edges of the rest. */
static void test_utf8_four_bytes(void **state)
{
	static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};

	(void)state;
	for (uint32_t v = 0; v < 16 * 256 * 36; v++) {
		const uint8_t text[4] = {(uint8_t)(0xf0 + v % 16), (uint8_t)(v / 16 % 256),
			edges[v / 4096 % 6], edges[v / 24576]};
		uint32_t c = (text[0] & 7U) << 18 | (text[1] & 63U) << 12 | (text[2] & 63U) << 6 |
			     (text[3] & 63U);
		uint8_t again[4];
		bool want = c >= 0x10000 && c <= 0x10ffff && encode_char(c, again) == 4 &&
			    memcmp(text, again, 4) == 0;

		assert_int_equal(utf8_valid(text, 4), want);
	}
}

/* A bad byte is found wherever it stands, also in the part that is looked at eight at a time. */
static void test_utf8_long(void **state)
{
	uint8_t text[40];

	(void)state;
	assert_true(utf8_valid("", 0));
	assert_true(utf8_valid(NULL, 0));
	for (size_t len = 1; len <= sizeof(text); len++) {
		memset(text, 'a', len);
		assert_true(utf8_valid(text, len));
		for (size_t i = 0; i < len; i++) {
			text[i] = 0x80;
			assert_false(utf8_valid(text, len));
			text[i] = 'a';
			if (i + 2 > len)
				continue;
			text[i] = 0xc3;
			text[i + 1] = 0xbc;
			assert_true(utf8_valid(text, len));
			memset(text + i, 'a', 2);
		}
	}
}

static void test_utf8_cut(void **state)
{
	static const struct {
		const char *text;
		size_t len, want;
	} cases[] = {
		{"", 0, 0},
		{"abc", 3, 3},
		{"a\xc3\xbc", 3, 3},
		{"a\xc3\xbc", 2, 1},
		{"a\xe2\x82\xac", 4, 4},
		{"a\xe2\x82\xac", 3, 1},
		{"a\xe2\x82\xac", 2, 1},
		{"\xf0\x9f\x98\x80", 4, 4},
		{"\xf0\x9f\x98\x80", 3, 0},
		{"\xf0\x9f\x98\x80", 2, 0},
		{"\xf0\x9f\x98\x80", 1, 0},
		/* What can never become a character is not waited for. */
		{"a\x80", 2, 2},
		{"a\x80\x80\x80\x80", 5, 5},
		{"a\xc0", 2, 2},
		{"a\xff", 2, 2},
		{"a\xe0\x80", 3, 3}, /* overlong */
		{"a\xed\xa0", 3, 3}, /* a surrogate */
		{"a\xf4\x90", 3, 3}, /* beyond U+10FFFF */
		{"a\xc3\xbc\x80", 4, 4},
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++)
		assert_int_equal(utf8_cut(cases[i].text, cases[i].len), cases[i].want);
}

/* RFC 4648 section 10. */
static void test_base64_examples(void **state)
{
	static const struct {
		const char *raw, *text;
	} cases[] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
		{"\xff\xef\xbe", "/+++"},
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		size_t n = strlen(cases[i].raw), len = strlen(cases[i].text);
		uint8_t raw[8];
		char text[16];

		assert_int_equal(base64_encode(cases[i].raw, n, text), len);
		assert_int_equal(BASE64_LEN(n), len);
		assert_string_equal(text, cases[i].text);
		assert_int_equal(base64_decode(text, len, raw), n);
		assert_memory_equal(raw, cases[i].raw, n);
	}
}

static void test_base64_round_trip(void **state)
{
	uint8_t raw[256], again[256];
	char text[BASE64_LEN(256) + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (uint8_t)(i * 167 + 13);
	for (size_t n = 0; n <= sizeof(raw); n++) {
		size_t len = base64_encode(raw, n, text);

		assert_int_equal(strlen(text), len);
		memset(again, 0, sizeof(again));
		assert_int_equal(base64_decode(text, len, again), n);
		assert_memory_equal(again, raw, n);
	}
}

static void test_base64_refused(void **state)
{
	static const char *const bad[] = {"Z", "Zg", "Zg=", "Zg===", "=",
		"==", "====", "Z===", "Zg==Zg==", "Zm9v\n", "Zm 9", " Zm9",
		"Zm9v====", "Z=g=", "Zm=v", "Zm9-", "Zm9_",
		"Zh==", "Zm9=", "Zm8=Zm8=", "\xc3\xbczz"};
	uint8_t out[16];

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(base64_decode(bad[i], strlen(bad[i]), out), -EINVAL);
	/* Exactly 64 characters are digits, wherever they stand. */
	for (size_t at = 0; at < 4; at++) {
		unsigned taken = 0;

		for (int c = 0; c < 256; c++) {
			char text[4] = "AAAA";

			text[at] = (char)c;
			taken += c != '=' && base64_decode(text, 4, out) == 3;
		}
		assert_int_equal(taken, 64);
	}
}

static void hex(const uint8_t digest[SHA1_LEN], char out[2 * SHA1_LEN + 1])
{
	for (size_t i = 0; i < SHA1_LEN; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* FIPS 180-4's examples. */
static void test_sha1_examples(void **state)
{
	static const struct {
		const char *text, *digest;
	} cases[] = {
		{"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		{"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
			"84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
	};
	uint8_t digest[SHA1_LEN];
	char text[2 * SHA1_LEN + 1], *million = malloc(1000000);

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		sha1(cases[i].text, strlen(cases[i].text), digest);
		hex(digest, text);
		assert_string_equal(text, cases[i].digest);
	}
	assert_non_null(million);
	memset(million, 'a', 1000000);
	sha1(million, 1000000, digest);
	free(million);
	hex(digest, text);
	assert_string_equal(text, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

/* The digest of the digests of the bytes 0 to n for every n up to 256, which meets every way the
 * last block can be filled; the expected one is from Python's hashlib. */
static void test_sha1_lengths(void **state)
{
	uint8_t data[256], digests[257 * SHA1_LEN], digest[SHA1_LEN];
	char text[2 * SHA1_LEN + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t n = 0; n <= sizeof(data); n++)
		sha1(data, n, digests + n * SHA1_LEN);
	sha1(digests, sizeof(digests), digest);
	hex(digest, text);
	assert_string_equal(text, "17c6e3a851bf76148d18b52e0aae5ee7046586ca");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8_characters),
		cmocka_unit_test(test_utf8_counts),
		cmocka_unit_test(test_utf8_four_bytes),
		cmocka_unit_test(test_utf8_long),
		cmocka_unit_test(test_utf8_cut),
		cmocka_unit_test(test_base64_examples),
		cmocka_unit_test(test_base64_round_trip),
		cmocka_unit_test(test_base64_refused),
		cmocka_unit_test(test_sha1_examples),
		cmocka_unit_test(test_sha1_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
