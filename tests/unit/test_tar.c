/*
 * test_tar.c - what is written is read again, at every cut; the archives of others (tests/vectors:
 * made by GNU tar and by Python's tarfile) mean what they say; damage is told with its place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/tar.h"

#define SOME_TIME 1700000000

struct archive {
	uint8_t *data;
	size_t len, room;
};

static void add(struct archive *a, const void *data, size_t len)
{
	if (a->len + len + 1 > a->room) {
		a->room = 2 * (a->len + len + 1);
		a->data = realloc(a->data, a->room);
		assert_non_null(a->data);
	}
	ASSERT(a->data);
	if (data)
		memcpy(a->data + a->len, data, len);
	else
		memset(a->data + a->len, 0, len);
	a->len += len;
}

static void add_entry(struct archive *a, const struct tar_entry *e, uint8_t fill)
{
	static uint8_t head[TAR_HEAD_MAX];

	add(a, head, tar_head(e, head));
	add(a, NULL, (size_t)e->size);
	memset(a->data + a->len - e->size, fill, (size_t)e->size);
	add(a, NULL, tar_padding(e->size));
}

/* Everything a reader says of an archive, as text; NULL and the error when it is not sound. */
static char *tell(const struct archive *a, size_t step, struct error *e)
{
	static struct tar_reader r;
	size_t size = 1 << 20, n = 0;
	char *text = calloc(1, size);
	int event = TAR_MORE;

	tar_reader_init(&r);
	for (size_t at = 0; at < a->len && event >= 0;) {
		size_t len = min_of(step, a->len - at), got = 0;
		const uint8_t *p = a->data + at, *data = NULL;

		at += len;
		do {
			event = tar_read(&r, &p, &len, &data, &got, e);
			if (event == TAR_ENTRY)
				n += (size_t)snprintf(text + n, size - n,
					"\n%d %s>%s %o %u:%u %llu %lld.%09u %u,%u ",
					(int)r.entry.type, r.entry.path, r.entry.link, r.entry.mode,
					r.entry.uid, r.entry.gid, (unsigned long long)r.entry.size,
					(long long)r.entry.mtime, r.entry.mtime_ns,
					r.entry.dev_major, r.entry.dev_minor);
			for (size_t i = 0; event == TAR_DATA && i < got; i++)
				text[n++] = (char)data[i];
		} while (event > TAR_MORE && len > 0);
	}
	if (event >= 0)
		event = tar_reader_check_end(&r, e);
	tar_reader_fini(&r);
	if (event < 0) {
		assert_int_equal(event, -EBADMSG);
		assert_int_equal(e->err, EBADMSG);
		free(take_ptr(&text));
	}
	return text;
}

static void expect(const struct archive *a, const char *want)
{
	static const size_t steps[] = {1 << 20, 1, 7, 511, 512, 513, 1024};
	struct error e;

	for (size_t i = 0; i < array_size(steps); i++) {
		char *text = tell(a, steps[i], &e);

		if (!text)
			fail_msg("%s", e.message);
		assert_string_equal(text, want);
		free(text);
	}
}

static void expect_bad(const struct archive *a, const char *words)
{
	static const size_t steps[] = {1 << 20, 1, 500}; /* bytes at a time */
	struct error e;

	for (size_t i = 0; i < array_size(steps); i++) {
		assert_null(tell(a, steps[i], &e));
		if (!strstr(e.message, words))
			fail_msg("\"%s\" says nothing of \"%s\"", e.message, words);
	}
}

static void finish(struct archive *a)
{
	add(a, NULL, TAR_END_BLOCK);
}

static struct tar_entry file(const char *path, uint64_t size)
{
	return (struct tar_entry){.type = TAR_FILE,
		.path = path,
		.link = "",
		.mode = 0640,
		.uid = 1000,
		.gid = 100,
		.size = size,
		.mtime = SOME_TIME};
}

static void test_plain(void **state)
{
	struct archive a = {0};
	struct tar_entry e = file("a/b", 3);
	struct tar_entry dir = {
		.type = TAR_DIR, .path = "d/", .link = "", .mode = 01777, .mtime = 1};
	struct tar_entry dev = {
		.type = TAR_CHAR, .path = "null", .link = "", .dev_major = 1, .dev_minor = 1048575};
	struct tar_entry link = {.type = TAR_SYMLINK, .path = "l", .link = "../x"};
	struct tar_entry hard = {.type = TAR_HARDLINK, .path = "h", .link = "a/b"};

	(void)state;
	add_entry(&a, &e, 'x');
	assert_int_equal(a.len, 1024); /* no pax header where none is needed */
	add_entry(&a, &dir, 0);
	add_entry(&a, &dev, 0);
	add_entry(&a, &link, 0);
	add_entry(&a, &hard, 0);
	finish(&a);
	expect(&a, "\n0 a/b> 640 1000:100 3 1700000000.000000000 0,0 xxx"
		   "\n5 d/> 1777 0:0 0 1.000000000 0,0 "
		   "\n3 null> 0 0:0 0 0.000000000 1,1048575 "
		   "\n2 l>../x 0 0:0 0 0.000000000 0,0 "
		   "\n1 h>a/b 0 0:0 0 0.000000000 0,0 ");
	free(a.data);
}

/* Every length of name, with and without a '/' to cut at; the last byte says whether it is whole.
 */
static void test_name_lengths(void **state)
{
	char path[TAR_NAME_MAX + 1], link[TAR_NAME_MAX + 1], want[3 * TAR_NAME_MAX];

	(void)state;
	for (size_t len = 1; len <= TAR_NAME_MAX; len += len < 300 ? 1 : 949) {
		for (unsigned slash = 0; slash < 3; slash++) {
			struct archive a = {0};
			struct tar_entry e = file(path, 0);
			auto_free char *text = NULL;
			struct error err;

			memset(path, 'n', len);
			memset(link, 'l', len);
			path[len] = link[len] = '\0';
			path[len - 1] = 'z';
			if (slash == 1 && len > 2)
				path[len / 2] = '/';
			for (size_t i = 50; slash == 2 && i + 1 < len; i += 50)
				path[i] = '/';
			e.type = TAR_SYMLINK;
			e.link = link;
			add_entry(&a, &e, 0);
			finish(&a);
			snprintf(want, sizeof(want),
				"\n2 %s>%s 640 1000:100 0 1700000000.000000000 0,0 ", path, link);
			text = tell(&a, 1 << 20, &err);
			assert_non_null(text);
			assert_string_equal(text, want);
			free(a.data);
		}
	}
}

static void test_large_numbers(void **state)
{
	static const struct {
		int64_t mtime;
		uint32_t ns;
		const char *want;
	} times[] = {
		{0, 1, "0.000000001"},
		{-1, 0, "-1.000000000"},
		{-2, 750000000, "-2.750000000"},
		{-1, 500000000, "-1.500000000"}, /* half a second before 1970 is "-0.5" */
		{077777777777, 0, "8589934591.000000000"},
		{0100000000000, 0, "8589934592.000000000"},
		{1LL << 50, 999999999, "1125899906842624.999999999"},
	};
	char want[200];

	(void)state;
	for (size_t i = 0; i < array_size(times); i++) {
		struct archive a = {0};
		struct tar_entry e = file("t", 0);

		e.mtime = times[i].mtime;
		e.mtime_ns = times[i].ns;
		e.uid = i % 2 ? 07777777 : 010000000;
		e.gid = UINT32_MAX;
		add_entry(&a, &e, 0);
		finish(&a);
		snprintf(want, sizeof(want), "\n0 t> 640 %u:4294967295 0 %s 0,0 ", e.uid,
			times[i].want);
		expect(&a, want);
		free(a.data);
	}
}

/* More than 8 GiB, of which only the head and the end are fed. */
static void test_large_file(void **state)
{
	static struct tar_reader r;
	static uint8_t head[TAR_HEAD_MAX], piece[1 << 20];
	static const uint64_t sizes[] = {077777777777, 0100000000000, 0100000000001};

	(void)state;
	for (size_t i = 0; i < array_size(sizes); i++) {
		struct tar_entry e = file("huge", sizes[i]);
		const uint8_t *p = head, *data;
		size_t len = tar_head(&e, head), got;
		struct error err;

		tar_reader_init(&r);
		assert_int_equal(tar_read(&r, &p, &len, &data, &got, &err), TAR_ENTRY);
		assert_true(r.entry.size == sizes[i] && len == 0);
		for (uint64_t left = sizes[i]; left > 0;) {
			size_t n = left < sizeof(piece) ? (size_t)left : sizeof(piece);

			p = piece;
			len = n;
			assert_int_equal(tar_read(&r, &p, &len, &data, &got, &err), TAR_DATA);
			assert_int_equal(got, n);
			left -= n;
			if (left > sizeof(piece) * 3) { /* as if they had been fed */
				r.left -= left - sizeof(piece);
				left = sizeof(piece);
			}
		}
		p = piece;
		len = tar_padding(sizes[i]) + TAR_BLOCK;
		assert_int_equal(tar_read(&r, &p, &len, &data, &got, &err), TAR_END);
		assert_int_equal(tar_reader_check_end(&r, &err), 0);
		tar_reader_fini(&r);
	}
}

static void test_any_byte(void **state)
{
	char path[256], longer[600], want[1200];

	(void)state;
	for (int i = 1; i < 256; i++)
		path[i - 1] = (char)(i == '/' ? '_' : i);
	path[255] = '\0';
	for (int round = 0; round < 2; round++) {
		struct archive a = {0};
		struct tar_entry e;

		snprintf(
			longer, sizeof(longer), "%.*s", round ? 255 : 90, path + (round ? 0 : 120));
		e = file(longer, 1);
		add_entry(&a, &e, 'y');
		finish(&a);
		snprintf(want, sizeof(want), "\n0 %s> 640 1000:100 1 1700000000.000000000 0,0 y",
			longer);
		expect(&a, want);
		free(a.data);
	}
}

static void load(struct archive *a, const char *name)
{
	char path[300], piece[4096];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), TESTS_DIR "/vectors/tar/%s", name);
	f = fopen(path, "rb");
	assert_non_null(f);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		add(a, piece, n);
	fclose(f);
}

/* Each archive has what tests/vectors/tar/make.py puts into it; the text is the reader's. */
static void test_others(void **state)
{
	static const char *const names[] = {
		"gnu", "oldgnu", "ustar", "v7", "posix", "py_gnu", "py_pax", "py_ustar"};

	(void)state;
	for (size_t i = 0; i < array_size(names); i++) {
		char name[32];
		struct archive a = {0}, want = {0};

		snprintf(name, sizeof(name), "%s.tar", names[i]);
		load(&a, name);
		snprintf(name, sizeof(name), "%s.txt", names[i]);
		load(&want, name);
		add(&want, "", 1);
		expect(&a, (const char *)want.data);
		free(a.data);
		free(want.data);
	}
}

/* ---- damage ---- */

static void test_cut(void **state)
{
	struct archive a = {0};
	struct tar_entry e = file("a", 700);

	(void)state;
	e.mtime_ns = 1;
	add_entry(&a, &e, 'x');
	finish(&a);
	/* One block of zeros is an end, too. */
	for (size_t len = 0; len < a.len - TAR_BLOCK; len += 13)
		expect_bad(&(struct archive){.data = a.data, .len = len}, "it is cut");
	a.len -= TAR_BLOCK;
	free(tell(&a, 100, &(struct error){0}));
	free(a.data);
}

/* No byte of a head can change unnoticed, but for those of the checksum's own field. */
static void test_checksum(void **state)
{
	struct archive a = {0};
	struct tar_entry e = file("a", 0);

	(void)state;
	add_entry(&a, &e, 0);
	add_entry(&a, &e, 0);
	finish(&a);
	for (size_t i = 512; i < 1024; i++) {
		if (i >= 512 + 154 && i < 512 + 156)
			continue;
		a.data[i] ^= 1;
		expect_bad(&a, "entry at byte 512");
		a.data[i] ^= 1;
	}
	free(a.data);
}

static void set_checksum(uint8_t *block)
{
	unsigned sum = 0;
	char text[8];

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += block[i];
	snprintf(text, sizeof(text), "%06o", sum);
	memcpy(block + 148, text, 7);
}

/* An archive of one entry, with a field changed. */
static struct archive changed(size_t at, const char *bytes, size_t n)
{
	struct archive a = {0};
	struct tar_entry e = file("a", 0);

	add_entry(&a, &e, 0);
	memcpy(a.data + at, bytes, n);
	set_checksum(a.data);
	finish(&a);
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
			expect_bad(&a, bad[i].words);
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
	expect(&a, "\n0 \xe4\xf6> 640 1000:100 0 1700000000.000000000 0,0 ");
	free(a.data);
}

static struct archive with_meta(char type, const char *body, size_t len)
{
	struct archive a = {0};
	struct tar_entry e = file("x", len);

	add_entry(&a, &e, 0);
	memcpy(a.data + 512, body, len);
	a.data[156] = (uint8_t)type;
	set_checksum(a.data);
	e = file("y", 0);
	add_entry(&a, &e, 0);
	finish(&a);
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
			expect_bad(&a, cases[i].words);
		} else {
			auto_free char *text = tell(&a, 100, &e);

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
	struct tar_entry e = file("a", stored);

	add_entry(&a, &e, 'x');
	a.data[156] = 'S';
	for (size_t i = 0; i < 8 && pieces[i] != UINT64_MAX; i++)
		snprintf((char *)a.data + 386 + 12 * i, 12, "%011llo",
			(unsigned long long)pieces[i] & 077777777777);
	memcpy(a.data + 483, size, strlen(size));
	set_checksum(a.data);
	finish(&a);
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
			expect_bad(&a, cases[i].words);
		} else {
			char *text = tell(&a, 100, &e);

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
	struct tar_entry e = file("h", strlen(header));

	add_entry(&a, &e, 0);
	memcpy(a.data + 512, header, strlen(header));
	a.data[156] = 'x';
	set_checksum(a.data);
	e = file("y", 512 + data);
	add_entry(&a, &e, 'x');
	memset(a.data + 1536, 0, 512);
	memcpy(a.data + 1536, map, strlen(map));
	finish(&a);
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
			expect_bad(&a, cases[i].words);
		} else {
			char *text = tell(&a, 100, &e);

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
	expect_bad(&a, "has a NUL");
	free(a.data);
}

static void test_limits(void **state)
{
	static char body[TAR_META_MAX + 1];
	struct archive a = {0}, all = {0};

	(void)state;
	memset(body, 'n', TAR_META_MAX);
	a = with_meta('L', body, TAR_NAME_MAX + 1);
	expect_bad(&a, "a name that is too long");
	free(a.data);
	a = with_meta('L', body, TAR_META_MAX);
	expect_bad(&a, "over 1 MiB");
	free(a.data);
	/* Headers upon headers, each small and none followed by an entry. */
	a = with_meta('x', "", 0);
	for (int i = 0; i <= TAR_META_MAX / TAR_BLOCK; i++)
		add(&all, a.data, 512);
	finish(&all);
	expect_bad(&all, "over 1 MiB");
	free(a.data);
	free(all.data);
}

static void test_trailing(void **state)
{
	struct archive a = {0};
	struct tar_entry e = file("a", 0);

	(void)state;
	add_entry(&a, &e, 0);
	finish(&a);
	add(&a, "anything", 8);
	expect(&a, "\n0 a> 640 1000:100 0 1700000000.000000000 0,0 ");
	free(a.data);
	a = (struct archive){0};
	finish(&a);
	expect(&a, "");
	free(a.data);
}

static void test_clean_path(void **state)
{
	static const struct {
		const char *path;
		unsigned strip;
		int r;
		const char *want;
	} cases[] = {
		{"a/b", 0, 1, "a/b"},
		{"a/b", 1, 1, "b"},
		{"a/b", 2, 0, ""},
		{"./a//b/./c/", 1, 1, "b/c"},
		{"/etc/passwd", 0, 1, "etc/passwd"},
		{"//", 0, 0, ""},
		{".", 0, 0, ""},
		{"...", 0, 1, "..."},
		{"..a/.b/..", 0, -EXDEV, NULL},
		{"../a", 1, -EXDEV, NULL},
		{"a/../b", 0, -EXDEV, NULL},
	};
	static char out[TAR_NAME_MAX + 1];

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		assert_int_equal(tar_clean_path(cases[i].path, cases[i].strip, out), cases[i].r);
		if (cases[i].want)
			assert_string_equal(out, cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_name_lengths),
		cmocka_unit_test(test_large_numbers),
		cmocka_unit_test(test_large_file),
		cmocka_unit_test(test_any_byte),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_bad_fields),
		cmocka_unit_test(test_signed_checksum),
		cmocka_unit_test(test_pax),
		cmocka_unit_test(test_gnu_sparse),
		cmocka_unit_test(test_pax_sparse),
		cmocka_unit_test(test_nul_in_name),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_trailing),
		cmocka_unit_test(test_clean_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
