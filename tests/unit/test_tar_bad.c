/*
 * test_tar_bad.c - damage of an archive is told with its place; what stands before entries (pax,
 * GNU's names, sparse maps) is believed only as far as it makes sense, and is bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/tar_rig.h"

static void test_cut(void **state)
{
	struct archive a = {0};
	struct tar_entry e = archive_file("a", 700);

	(void)state;
	e.mtime_ns = 1;
	archive_add_entry(&a, &e, 'x');
	archive_finish(&a);
	/* One block of zeros is an end, too. */
	for (size_t len = 0; len < a.len - TAR_BLOCK; len += 13)
		archive_expect_bad(&(struct archive){.data = a.data, .len = len}, "it is cut");
	a.len -= TAR_BLOCK;
	free(archive_tell(&a, 100, &(struct error){0}));
	free(a.data);
}

/* No byte of a head can change unnoticed, but for those of the checksum's own field. */
static void test_checksum(void **state)
{
	struct archive a = {0};
	struct tar_entry e = archive_file("a", 0);

	(void)state;
	archive_add_entry(&a, &e, 0);
	archive_add_entry(&a, &e, 0);
	archive_finish(&a);
	for (size_t i = 512; i < 1024; i++) {
		if (i >= 512 + 154 && i < 512 + 156)
			continue;
		a.data[i] ^= 1;
		archive_expect_bad(&a, "entry at byte 512");
		a.data[i] ^= 1;
	}
	free(a.data);
}

/* An archive of one entry, with a field changed. */
static struct archive changed(size_t at, const char *bytes, size_t n)
{
	struct archive a = {0};
	struct tar_entry e = archive_file("a", 0);

	archive_add_entry(&a, &e, 0);
	memcpy(a.data + at, bytes, n);
	archive_set_checksum(a.data);
	archive_finish(&a);
	return a;
}

static void test_bad_fields(void **state)
{
	static const struct {
		size_t at;
		const char *bytes;
		size_t n;
		const char *words;
	} bad[] = {
		{124, "9", 1, "its size"},
		{124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, "its size"},
		{124, "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, "its size"},
		{108, "\x80\0\0\xff\xff\xff\xff\xff", 8, "its owner"},
		{116, "0000x000", 8, "its owner"},
		{136, "12 x\t", 5, "\0"},
		{136, "-1", 2, "its time"},
		{100, "rwxr-xr-", 8, "its mode"},
		{156, "M", 1, "another volume"},
		{0, "\0", 1, "no name"},
		{156, "1", 1, "a link to nothing"},
		{156, "2", 1, "a link to nothing"},
	};

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		struct archive a = changed(bad[i].at, bad[i].bytes, bad[i].n);

		if (bad[i].words[0])
			archive_expect_bad(&a, bad[i].words);
		free(a.data);
	}
}

/* Signed sums, of programs long gone. */
static void test_signed_checksum(void **state)
{
	struct archive a = changed(0, "\xe4\xf6", 2);
	int sum = 0;
	char text[8];

	(void)state;
	memset(a.data + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += (int8_t)a.data[i];
	snprintf(text, sizeof(text), "%06o", (unsigned)sum);
	memcpy(a.data + 148, text, 7);
	archive_expect(&a, "\n0 \xe4\xf6> 640 1000:100 0 1700000000.000000000 0,0 ");
	free(a.data);
}

static struct archive with_meta(char type, const char *body, size_t len)
{
	struct archive a = {0};
	struct tar_entry e = archive_file("x", len);

	archive_add_entry(&a, &e, 0);
	memcpy(a.data + 512, body, len);
	a.data[156] = (uint8_t)type;
	archive_set_checksum(a.data);
	e = archive_file("y", 0);
	archive_add_entry(&a, &e, 0);
	archive_finish(&a);
	return a;
}

static void test_pax(void **state)
{
	static const struct {
		char type;
		const char *body, *words; /* NULL: it is fine */
	} cases[] = {
		{'x', "12 path=abc\n", NULL},
		{'x', "12 path=abc\n8 path=\n", NULL},
		{'x', "28 SCHILY.xattr.user.a=b=c\n\n", NULL},
		{'x', "18 mtime=12.123456789123\n", "cannot be read"},
		{'x', "27 mtime=12.12345678912345\n", NULL},
		{'x', "18 comment=a\nb\nc=\n", NULL},
		{'x', "11 path=abc\n", "cannot be read"},
		{'x', "13 path=abc\n", "cannot be read"},
		{'x', "999999999999999999999 path=abc\n", "cannot be read"},
		{'x', "0 path=abc\n", "cannot be read"},
		{'x', "3 \n", "cannot be read"},
		{'x', "6 abc\n", "cannot be read"},
		{'x', "x", "cannot be read"},
		{'x', "10 size=1x\n", "cannot be read"},
		{'x', "11 size=1x\n", "a number"},
		{'x', "28 size=9223372036854775808\n", "a number"},
		{'x', "18 uid=4294967296\n", "a number"},
		{'x', "12 mtime=--\n", "a number"},
		{'x', "22 GNU.sparse.major=1\n", "sparse"},
		{'g', "18 comment=abcdef\n", NULL},
		{'g', "16 mtime=1234.5\n", NULL},
		{'g', "12 path=abc\n", "global"},
		{'L', "long/name", NULL},
		{'L', "", "no name"},
		{'K', "unused", NULL},
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct archive a = with_meta(cases[i].type, cases[i].body, strlen(cases[i].body));
		struct error e = {0};

		if (cases[i].words) {
			archive_expect_bad(&a, cases[i].words);
		} else {
			auto_free char *text = archive_tell(&a, 100, &e);

			if (!text)
				fail_msg("case %zu: %s", i, e.message);
		}
		free(a.data);
	}
}

/* Sparse files: GNU tar's own make up the numbers of the head, pax 1.0 those before the data. */

static struct archive gnu_sparse(uint64_t stored, const char *size, const uint64_t pieces[8])
{
	struct archive a = {0};
	struct tar_entry e = archive_file("a", stored);

	archive_add_entry(&a, &e, 'x');
	a.data[156] = 'S';
	for (size_t i = 0; i < 8 && pieces[i] != UINT64_MAX; i++)
		snprintf((char *)a.data + 386 + 12 * i, 12, "%011llo",
			(unsigned long long)pieces[i] & 077777777777);
	memcpy(a.data + 483, size, strlen(size));
	archive_set_checksum(a.data);
	archive_finish(&a);
	return a;
}

static void test_gnu_sparse(void **state)
{
	static const struct {
		uint64_t stored, pieces[8];
		const char *size, *words; /* NULL: fine */
	} cases[] = {
		{4, {0, 1, 5, 3, UINT64_MAX}, "10", NULL},
		{4, {0, 1, 1, 3, UINT64_MAX}, "4", NULL},
		{0, {8, 0, UINT64_MAX}, "10", NULL},
		{0, {UINT64_MAX}, "", NULL},
		{4, {0, 1, 5, 3, UINT64_MAX}, "7", "not in order"},
		{4, {5, 3, 0, 1, UINT64_MAX}, "10", "not in order"},
		{4, {0, 2, 1, 2, UINT64_MAX}, "10", "not in order"},
		{4, {077777777777, 077777777777, UINT64_MAX}, "10", "not in order"},
		{5, {0, 4, UINT64_MAX}, "10", "more or less"},
		{3, {0, 4, UINT64_MAX}, "10", "more or less"},
		{0, {0, 0, UINT64_MAX}, "9", "its size"},
	};
	struct error e;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct archive a = gnu_sparse(cases[i].stored, cases[i].size, cases[i].pieces);

		if (cases[i].words) {
			archive_expect_bad(&a, cases[i].words);
		} else {
			char *text = archive_tell(&a, 100, &e);

			if (!text)
				fail_msg("case %zu: %s", i, e.message);
			free(text);
		}
		free(a.data);
	}
}

static struct archive pax_sparse(const char *map, size_t data, const char *header)
{
	struct archive a = {0};
	struct tar_entry e = archive_file("h", strlen(header));

	archive_add_entry(&a, &e, 0);
	memcpy(a.data + 512, header, strlen(header));
	a.data[156] = 'x';
	archive_set_checksum(a.data);
	e = archive_file("y", 512 + data);
	archive_add_entry(&a, &e, 'x');
	memset(a.data + 1536, 0, 512);
	memcpy(a.data + 1536, map, strlen(map));
	archive_finish(&a);
	return a;
}

static void test_pax_sparse(void **state)
{
	static const char good[] = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
				   "21 GNU.sparse.name=n\n28 GNU.sparse.realsize=1000\n";
	static const struct {
		const char *map;
		size_t data;
		const char *header, *words; /* NULL: fine */
	} cases[] = {
		{"2\n0\n3\n7\n2\n", 5, good, NULL},
		{"0\n", 0, good, NULL},
		{"1\n1000\n0\n", 0, good, NULL},
		{"1\n1001\n0\n", 0, good, "not in order"},
		{"1\n999\n2\n", 2, good, "not in order"},
		{"2\n7\n1\n6\n1\n", 2, good, "not in order"},
		{"1\n0\n3\n", 4, good, "more or less"},
		{"1\n0\n\n", 4, good, "cannot be read"},
		{"1\n0\n-1\n", 4, good, "cannot be read"},
		{"65537\n", 4, good, "more than 65536"},
		{"99999999999999999999999\n", 4, good, "cannot be read"},
		{"", 4, good, "cannot be read"},
		{"0\n", 0, "22 GNU.sparse.major=2\n22 GNU.sparse.minor=0\n", "old kind"},
		{"0\n", 0, "22 GNU.sparse.major=1\n", "old kind"},
		{"0\n", 0, "23 GNU.sparse.map=0,10\n", "old kind"},
	};
	struct error e;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct archive a = pax_sparse(cases[i].map, cases[i].data, cases[i].header);

		if (cases[i].words) {
			archive_expect_bad(&a, cases[i].words);
		} else {
			char *text = archive_tell(&a, 100, &e);

			if (!text || !strstr(text, "0 n> 640 1000:100 1000 "))
				fail_msg("case %zu: %s", i, e.message);
			free(text);
		}
		free(a.data);
	}
}

static void test_nul_in_name(void **state)
{
	struct archive a = with_meta('x', "12 path=a\0c\n", 12);

	(void)state;
	archive_expect_bad(&a, "has a NUL");
	free(a.data);
}

static void test_limits(void **state)
{
	static char body[TAR_META_MAX + 1];
	struct archive a = {0}, all = {0};

	(void)state;
	memset(body, 'n', TAR_META_MAX);
	a = with_meta('L', body, TAR_NAME_MAX + 1);
	archive_expect_bad(&a, "a name that is too long");
	free(a.data);
	a = with_meta('L', body, TAR_META_MAX);
	archive_expect_bad(&a, "over 1 MiB");
	free(a.data);
	/* Headers upon headers, each small and none followed by an entry. */
	a = with_meta('x', "", 0);
	for (int i = 0; i <= TAR_META_MAX / TAR_BLOCK; i++)
		archive_add(&all, a.data, 512);
	archive_finish(&all);
	archive_expect_bad(&all, "over 1 MiB");
	free(a.data);
	free(all.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_bad_fields),
		cmocka_unit_test(test_signed_checksum),
		cmocka_unit_test(test_pax),
		cmocka_unit_test(test_gnu_sparse),
		cmocka_unit_test(test_pax_sparse),
		cmocka_unit_test(test_nul_in_name),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
