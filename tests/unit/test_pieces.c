/*
 * test_pieces.c - what waits for a client: nothing lost, nothing changed place within its stream,
 * messages of one kind, whole characters wherever there are any.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/api/pieces.h"
#include "proto/text.h"

#define MAX 70000

static struct pieces pieces;

static int setup(void **state)
{
	(void)state;
	pieces_init(&pieces, MAX, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pieces_fini(&pieces);
	return 0;
}

static void add(enum piece_kind kind, const char *text)
{
	assert_int_equal(pieces_add(&pieces, kind, text, strlen(text)), 0);
}

static void expect_max(size_t max, enum piece_kind kind, const char *text)
{
	const uint8_t *data;
	enum piece_kind k;
	size_t len;

	assert_true(pieces_next(&pieces, max, &k, &data, &len));
	assert_int_equal(k, kind);
	assert_int_equal(len, strlen(text));
	assert_memory_equal(len ? data : (const uint8_t *)"", text, len);
	pieces_took(&pieces, len);
}

static void expect(enum piece_kind kind, const char *text)
{
	expect_max(65535, kind, text);
}

static void expect_nothing(void)
{
	const uint8_t *data;
	enum piece_kind k;
	size_t len;

	assert_false(pieces_next(&pieces, 65535, &k, &data, &len));
	assert_false(pieces_cut(&pieces));
}

/* Many small reads are one message; the kinds stay in their order. */
static void test_order(void **state)
{
	(void)state;
	add(PIECE_OUT, "one ");
	add(PIECE_OUT, "two");
	add(PIECE_ERR, "three");
	add(PIECE_OUT, "four");
	assert_int_equal(pieces_add(&pieces, PIECE_LIVE, NULL, 0), 0);
	add(PIECE_OUT, "five");
	expect(PIECE_OUT, "one two");
	expect(PIECE_ERR, "three");
	expect(PIECE_OUT, "four");
	expect(PIECE_LIVE, "");
	add(PIECE_OUT, " six");
	expect(PIECE_OUT, "five six");
	expect_nothing();
}

/* Each note is a message of its own, and ends the text before it. */
static void test_notes(void **state)
{
	(void)state;
	add(PIECE_NOTE, "{1}");
	add(PIECE_NOTE, "{2}");
	add(PIECE_OUT, "text");
	expect(PIECE_NOTE, "{1}");
	expect(PIECE_NOTE, "{2}");
	expect(PIECE_OUT, "text");
	expect_nothing();
}

/* A message that is full ends before the character that does not fit. */
static void test_full_message(void **state)
{
	(void)state;
	add(PIECE_OUT, "a\xe2\x82\xac\xe2\x82\xac\xf0\x9f\x98\x80z");
	expect_max(4, PIECE_OUT, "a\xe2\x82\xac");
	expect_max(5, PIECE_OUT, "\xe2\x82\xac");
	expect_max(4, PIECE_OUT, "\xf0\x9f\x98\x80");
	expect_max(4, PIECE_OUT, "z");
	expect_nothing();
}

/* A read that ends inside a character: the beginning goes with the rest of it. */
static void test_cut_read(void **state)
{
	(void)state;
	add(PIECE_OUT, "a\xf0");
	expect(PIECE_OUT, "a");
	add(PIECE_OUT, "\x9f");
	add(PIECE_OUT, "\x98");
	assert_true(pieces_cut(&pieces));
	add(PIECE_ERR, "b\xc3");
	add(PIECE_OUT, "\x80z");
	add(PIECE_ERR, "\xa9");
	expect(PIECE_ERR, "b");
	expect(PIECE_OUT, "\xf0\x9f\x98\x80z");
	expect(PIECE_ERR, "\xc3\xa9");
	expect_nothing();
}

/* The end of replay may fall into a character: the character is live then. */
static void test_cut_by_mark(void **state)
{
	(void)state;
	add(PIECE_OUT, "a\xc3");
	assert_int_equal(pieces_add(&pieces, PIECE_LIVE, NULL, 0), 0);
	add(PIECE_OUT, "\xa9");
	expect(PIECE_OUT, "a");
	expect(PIECE_LIVE, "");
	expect(PIECE_OUT, "\xc3\xa9");
	expect_nothing();
}

/* What only looked like the beginning of a character is let go by the next byte, or by the owner.
 */
static void test_no_character(void **state)
{
	(void)state;
	add(PIECE_OUT, "\xe2\x82");
	add(PIECE_OUT, "A");
	expect(PIECE_OUT, "\xe2\x82"
			  "A");
	add(PIECE_OUT, "\xe2\x82");
	add(PIECE_ERR, "\xc3");
	assert_int_equal(pieces_flush(&pieces), 0);
	expect(PIECE_OUT, "\xe2\x82");
	expect(PIECE_ERR, "\xc3");
	expect_nothing();
}

/* Without an eye on characters every byte goes at once. */
static void test_raw(void **state)
{
	(void)state;
	pieces_fini(&pieces);
	pieces_init(&pieces, MAX, false);
	add(PIECE_OUT, "a\xf0\x9f");
	expect_max(4, PIECE_OUT, "a\xf0\x9f");
	expect_nothing();
}

static void test_limits(void **state)
{
	static uint8_t big[MAX];

	(void)state;
	assert_int_equal(pieces_add(&pieces, PIECE_OUT, big, MAX), 0);
	assert_int_equal(pieces_add(&pieces, PIECE_ERR, big, 1), -ENOBUFS);
	pieces_fini(&pieces);
	/* As many runs as bytes. */
	for (int i = 0; i < MAX; i++)
		assert_int_equal(pieces_add(&pieces, PIECE_OUT + i % 2, big, 1), 0);
	assert_int_equal(pieces_add(&pieces, PIECE_LIVE, NULL, 0), 0);
	for (int i = 0; i < MAX; i++)
		pieces_took(&pieces, 1);
	expect(PIECE_LIVE, "");
	expect_nothing();
}

static uint32_t seed;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static size_t put_char(uint8_t *p)
{
	static const char *const some[] = {
		"a", "\n", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
	const char *s = some[any(array_size(some))];
	size_t n = 0;

	for (; s[n]; n++)
		p[n] = (uint8_t)s[n];
	return n;
}

/* However the text was read and however large messages may be: every message is UTF-8, and together
 * they are the text; bytes that are no text come out as they went in. */
static void test_any_cuts(void **state)
{
	(void)state;
	for (seed = 1; seed < 3000; seed += 7) {
		bool text = any(3) > 0;
		uint8_t in[2][400], out[2][400];
		size_t n[2] = {0}, at[2] = {0}, got[2] = {0}, len;
		const uint8_t *data;
		enum piece_kind kind;

		for (int s = 0; s < 2; s++)
			while (n[s] < 300)
				if (text)
					n[s] += put_char(in[s] + n[s]);
				else
					in[s][n[s]++] = (uint8_t)any(256);
		while (at[0] < n[0] || at[1] < n[1] || pieces_cut(&pieces)) {
			int s = (int)any(2);
			size_t m = min_of((size_t)any(7), n[s] - at[s]);

			assert_int_equal(pieces_add(&pieces, PIECE_OUT + s, in[s] + at[s], m), 0);
			at[s] += m;
			if (at[0] == n[0] && at[1] == n[1])
				assert_int_equal(pieces_flush(&pieces), 0);
			while (any(2) && pieces_next(&pieces, 4 + any(9), &kind, &data, &len)) {
				assert_true(!text || utf8_valid(data, len));
				memcpy(out[kind - 1] + got[kind - 1], data, len);
				got[kind - 1] += len;
				pieces_took(&pieces, len);
			}
		}
		while (pieces_next(&pieces, 4 + any(9), &kind, &data, &len)) {
			assert_true(!text || utf8_valid(data, len));
			memcpy(out[kind - 1] + got[kind - 1], data, len);
			got[kind - 1] += len;
			pieces_took(&pieces, len);
		}
		for (int s = 0; s < 2; s++) {
			assert_int_equal(got[s], n[s]);
			assert_memory_equal(out[s], in[s], n[s]);
		}
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order),
		TEST(test_notes),
		TEST(test_full_message),
		TEST(test_cut_read),
		TEST(test_cut_by_mark),
		TEST(test_no_character),
		TEST(test_raw),
		TEST(test_limits),
		TEST(test_any_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
