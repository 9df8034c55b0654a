/*
 * test_sha256.c - the published examples; every length around the block boundaries, in pieces, and
 * the same from both ways of computing it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/sha256.h"

static void of(const void *data, size_t len, size_t piece, char hex[SHA256_HEX])
{
	const uint8_t *p = data;
	struct sha256 s;

	sha256_init(&s);
	for (size_t at = 0; at < len; at += piece)
		sha256_update(&s, p + at, min_of(piece, len - at));
	sha256_final(&s, hex);
}

static void is(const char *text, const char *want)
{
	char hex[SHA256_HEX];

	of(text, strlen(text), 1000, hex);
	assert_string_equal(hex, want);
}

static void examples(void)
{
	char hex[SHA256_HEX];
	static char million[1000000];

	is("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	is("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	is("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnop"
	   "qrlmnopqrsmnopqrstnopqrstu",
		"cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
	memset(million, 'a', sizeof(million));
	of(million, 1000000, 4099, hex);
	assert_string_equal(
		hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_examples(void **state)
{
	(void)state;
	sha256_plain(true);
	examples();
	if (!sha256_plain(false))
		print_message("this processor has no instructions for it\n");
	examples();
}

static void test_lengths(void **state)
{
	uint8_t data[300];
	char plain[SHA256_HEX], fast[SHA256_HEX], bits[SHA256_HEX];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 13);
	for (size_t len = 0; len <= sizeof(data); len++) {
		sha256_plain(true);
		of(data, len, sizeof(data), plain);
		sha256_plain(false);
		of(data, len, sizeof(data), fast);
		of(data, len, 1 + len % 70, bits);
		assert_string_equal(plain, fast);
		assert_string_equal(plain, bits);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
