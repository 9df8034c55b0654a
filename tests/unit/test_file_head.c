/* test_file_head.c - ranges of files at every edge, tags, and names that go into a header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "bridge/api/file_head.h"

struct example {
	const char *value;
	uint64_t size;
	enum file_range verdict;
	uint64_t from, len;
};

/* What is no single range of bytes gives the whole file; what lies behind it gives 416. */
static void test_ranges(void **state)
{
	static const struct example examples[] = {
		{NULL, 10, FILE_RANGE_WHOLE, 0, 0},
		{"bytes=0-", 10, FILE_RANGE_PART, 0, 10},
		{"bytes=0-0", 10, FILE_RANGE_PART, 0, 1},
		{"BYTES=3-5", 10, FILE_RANGE_PART, 3, 3},
		{"bytes= 3-5 ", 10, FILE_RANGE_PART, 3, 3},
		{"bytes=9-", 10, FILE_RANGE_PART, 9, 1},
		{"bytes=9-9", 10, FILE_RANGE_PART, 9, 1},
		{"bytes=5-1000", 10, FILE_RANGE_PART, 5, 5},
		{"bytes=10-", 10, FILE_RANGE_NONE, 0, 0},
		{"bytes=10-20", 10, FILE_RANGE_NONE, 0, 0},
		{"bytes=0-", 0, FILE_RANGE_NONE, 0, 0},
		{"bytes=-1", 10, FILE_RANGE_PART, 9, 1},
		{"bytes=-10", 10, FILE_RANGE_PART, 0, 10},
		{"bytes=-11", 10, FILE_RANGE_PART, 0, 10},
		{"bytes=-0", 10, FILE_RANGE_NONE, 0, 0},
		{"bytes=-5", 0, FILE_RANGE_WHOLE, 0, 0},
		{"bytes=5-3", 10, FILE_RANGE_WHOLE, 0, 0},
		{"bytes=-", 10, FILE_RANGE_WHOLE, 0, 0},
		{"bytes=", 10, FILE_RANGE_WHOLE, 0, 0},
		{"bytes=a-b", 10, FILE_RANGE_WHOLE, 0, 0},
		{"bytes=1-2x", 10, FILE_RANGE_WHOLE, 0, 0},
		{"bytes=1-2,4-5", 10, FILE_RANGE_WHOLE, 0, 0},
		{"lines=1-2", 10, FILE_RANGE_WHOLE, 0, 0},
		{"", 10, FILE_RANGE_WHOLE, 0, 0},
		/* Numbers beyond any file, and beyond any number. */
		{"bytes=0-18446744073709551615", 10, FILE_RANGE_PART, 0, 10},
		{"bytes=0-99999999999999999999999", 10, FILE_RANGE_PART, 0, 10},
		{"bytes=99999999999999999999999-", 10, FILE_RANGE_NONE, 0, 0},
		{"bytes=-99999999999999999999999", 10, FILE_RANGE_PART, 0, 10},
	};

	(void)state;
	for (size_t i = 0; i < array_size(examples); i++) {
		const struct example *e = &examples[i];
		uint64_t from = 0, len = 0;

		print_message("%s of %d\n", e->value ? e->value : "(none)", (int)e->size);
		assert_int_equal(file_range_parse(e->value, e->size, &from, &len), e->verdict);
		if (e->verdict != FILE_RANGE_PART)
			continue;
		assert_int_equal(from, e->from);
		assert_int_equal(len, e->len);
	}
}

static void test_tags(void **state)
{
	char a[FILE_TAG_MAX], b[FILE_TAG_MAX], list[3 * FILE_TAG_MAX];

	(void)state;
	file_tag(a, UINT64_MAX, INT64_MIN, INT64_MAX);
	file_tag(b, UINT64_MAX, INT64_MIN, 0);
	assert_string_not_equal(a, b);
	assert_int_equal(a[strlen(a) - 1], '"');
	assert_true(file_tag_listed(a, a));
	assert_true(file_tag_listed(" *", a));
	snprintf(list, sizeof(list), "\"x\" , W/%s", a);
	assert_true(file_tag_listed(list, a));
	assert_false(file_tag_listed(list, b));
	assert_false(file_tag_listed("", a));
	assert_false(file_tag_listed(NULL, a));
	assert_false(file_tag_listed("\"\",,W/", a));
}

static void test_dates(void **state)
{
	char text[FILE_DATE_MAX];

	(void)state;
	file_date(text, 784111777999999999);
	assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	file_date(text, -1);
	assert_string_equal(text, "Wed, 31 Dec 1969 23:59:59 GMT");
	file_date(text, INT64_MAX);
	assert_string_equal(text, "Fri, 11 Apr 2262 23:47:16 GMT");
}

static void check_name(const char *path, const char *suffix, const char *want)
{
	char text[FILE_DISPOSITION_MAX];

	file_disposition(text, path, suffix);
	assert_string_equal(text, want);
}

/* A name can end neither the quotes nor the line, and the longest one has room. */
static void test_dispositions(void **state)
{
	char name[400], text[FILE_DISPOSITION_MAX];

	(void)state;
	check_name("/a/b.txt", "", "attachment; filename=\"b.txt\"; filename*=UTF-8''b.txt");
	check_name("dir/", ".tar", "attachment; filename=\"dir.tar\"; filename*=UTF-8''dir.tar");
	check_name("/", ".tar", "attachment; filename=\"files.tar\"");
	check_name("a\"b\\c\r\n;%", "",
		"attachment; filename=\"a_b_c__;_\"; filename*=UTF-8''a%22b%5Cc%0D%0A%3B%25");
	check_name(
		"/x/\xc3\xa4 b", "", "attachment; filename=\"__ b\"; filename*=UTF-8''%C3%A4%20b");
	check_name("\xff", "", "attachment; filename=\"_\"");
	memset(name, 1, sizeof(name));
	name[255] = '\0';
	file_disposition(text, name, ".tar");
	assert_int_equal(strlen(text),
		strlen("attachment; filename=\"\"; filename*=UTF-8''") + 255 + 4 + 3 * 255 + 4);
	name[255] = 1;
	name[256] = '\0';
	check_name(name, "", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_dispositions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
