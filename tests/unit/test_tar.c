/*
 * test_tar.c - what is written is read again, at every cut; the archives of others (tests/vectors:
 * made by GNU tar and by Python's tarfile) mean what they say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/tar_rig.h"

static void test_plain(void **state)
{
	struct archive a = {0};
	struct tar_entry e = archive_file("a/b", 3);
	struct tar_entry dir = {
		.type = TAR_DIR, .path = "d/", .link = "", .mode = 01777, .mtime = 1};
	struct tar_entry dev = {
		.type = TAR_CHAR, .path = "null", .link = "", .dev_major = 1, .dev_minor = 1048575};
	struct tar_entry link = {.type = TAR_SYMLINK, .path = "l", .link = "../x"};
	struct tar_entry hard = {.type = TAR_HARDLINK, .path = "h", .link = "a/b"};

	(void)state;
	archive_add_entry(&a, &e, 'x');
	assert_int_equal(a.len, 1024); /* no pax header where none is needed */
	archive_add_entry(&a, &dir, 0);
	archive_add_entry(&a, &dev, 0);
	archive_add_entry(&a, &link, 0);
	archive_add_entry(&a, &hard, 0);
	archive_finish(&a);
	archive_expect(&a, "\n0 a/b> 640 1000:100 3 1700000000.000000000 0,0 xxx"
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
			struct tar_entry e = archive_file(path, 0);
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
			archive_add_entry(&a, &e, 0);
			archive_finish(&a);
			snprintf(want, sizeof(want),
				"\n2 %s>%s 640 1000:100 0 1700000000.000000000 0,0 ", path, link);
			text = archive_tell(&a, 1 << 20, &err);
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
		struct tar_entry e = archive_file("t", 0);

		e.mtime = times[i].mtime;
		e.mtime_ns = times[i].ns;
		e.uid = i % 2 ? 07777777 : 010000000;
		e.gid = UINT32_MAX;
		archive_add_entry(&a, &e, 0);
		archive_finish(&a);
		snprintf(want, sizeof(want), "\n0 t> 640 %u:4294967295 0 %s 0,0 ", e.uid,
			times[i].want);
		archive_expect(&a, want);
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
		struct tar_entry e = archive_file("huge", sizes[i]);
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
		e = archive_file(longer, 1);
		archive_add_entry(&a, &e, 'y');
		archive_finish(&a);
		snprintf(want, sizeof(want), "\n0 %s> 640 1000:100 1 1700000000.000000000 0,0 y",
			longer);
		archive_expect(&a, want);
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
		archive_add(a, piece, n);
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
		archive_add(&want, "", 1);
		archive_expect(&a, (const char *)want.data);
		free(a.data);
		free(want.data);
	}
}

static void test_trailing(void **state)
{
	struct archive a = {0};
	struct tar_entry e = archive_file("a", 0);

	(void)state;
	archive_add_entry(&a, &e, 0);
	archive_finish(&a);
	archive_add(&a, "anything", 8);
	archive_expect(&a, "\n0 a> 640 1000:100 0 1700000000.000000000 0,0 ");
	free(a.data);
	a = (struct archive){0};
	archive_finish(&a);
	archive_expect(&a, "");
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
		cmocka_unit_test(test_trailing),
		cmocka_unit_test(test_clean_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
