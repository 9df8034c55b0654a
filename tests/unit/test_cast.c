/*
 * test_cast.c - recordings: every line is what a player takes, however the bytes were cut. (That a
 * JSON reader takes them, and that playing gives the bytes back, is in tests/e2e.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "bridge/cast.h"
#include "proto/text.h"

static char path[] = "/tmp/test-cast-XXXXXX";

static const char *contents(void)
{
	static char text[100000];
	FILE *f = fopen(path, "re");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	assert_true(utf8_valid(text, n));
	return text;
}

/* The texts of all output events in a row, as they are in the file; their number in *ret. */
static const char *outputs(size_t *ret)
{
	static char all[100000];
	const char *at = strchr(contents(), '\n');
	char *to = all;

	*ret = 0;
	for (const char *end; at && *++at; at = end) {
		const char *text = strstr(at, ", \"o\", \"");

		end = strchr(at, '\n');
		if (!text || !end) {
			fail_msg("no event: %s", at);
			return "";
		}
		assert_true(*at == '[' && text < end && end[-1] == ']' && end[-2] == '"');
		text += strlen(", \"o\", \"");
		memcpy(to, text, (size_t)(end - 2 - text));
		to += end - 2 - text;
		++*ret;
	}
	*to = '\0';
	return all;
}

static const struct msg_size size = {.cols = 80, .rows = 24};

static void record(struct cast *c)
{
	assert_int_equal(cast_open(c, path), 0);
	cast_begin(c, &size, 1700000000, "xterm", NULL);
}

static void test_lines(void **state)
{
	struct cast c;
	struct msg_size other = {.cols = 100, .rows = 30};
	const char *text;
	static const char head[] =
		"{\"version\": 2, \"width\": 80, \"height\": 24, \"timestamp\": 1700000000, "
		"\"env\": {\"TERM\": \"xterm\", \"SHELL\": \"/bin/\\\"sh\"}}\n[0.";

	(void)state;
	assert_int_equal(cast_open(&c, path), 0);
	cast_begin(&c, &size, 1700000000, "xterm", "/bin/\"sh");
	cast_output(&c, (const uint8_t *)"a\r\n\x1b[1m\"\\\x7f", 10);
	cast_resize(&c, &other);
	text = contents(); /* it is all there, before the end */
	assert_ptr_equal(strstr(text, head), text);
	assert_non_null(strstr(text, ", \"o\", \"a\\u000d\\u000a\\u001b[1m\\\"\\\\\\u007f\"]\n["));
	assert_non_null(strstr(text, ", \"r\", \"100x30\"]\n"));
	assert_int_equal(cast_close(&c), 0);
	assert_int_equal(cast_close(&c), 0);
}

/* Characters of every length, cut at every place, come whole; what is none becomes U+FFFD. */
static void test_cut_anywhere(void **state)
{
	static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"
				   "b\xff\xc3(\xe2\x82z\xf0\x9f";
	static const char expect[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"
				     "b\\ufffd\\ufffd(\\ufffd\\ufffdz\\ufffd\\ufffd";
	const uint8_t *p = (const uint8_t *)text;
	size_t len = sizeof(text) - 1, n;
	struct cast c;

	(void)state;
	for (size_t i = 0; i <= len; i++) {
		for (size_t k = i; k <= len; k++) {
			record(&c);
			cast_output(&c, p, i);
			cast_output(&c, p + i, k - i);
			cast_output(&c, p + k, len - k);
			assert_int_equal(cast_close(&c), 0);
			assert_string_equal(outputs(&n), expect);
		}
	}
	record(&c);
	for (size_t i = 0; i < len; i++)
		cast_output(&c, p + i, 1);
	assert_int_equal(cast_close(&c), 0);
	assert_string_equal(outputs(&n), expect);
}

/* A disk that is full is told of once, and nothing half is written after it. */
static void test_write_fails(void **state)
{
	struct cast c = {0};

	(void)state;
	assert_int_equal(cast_close(&c), 0);
	cast_output(&c, (const uint8_t *)"x", 1); /* not recording */
	assert_int_equal(cast_open(&c, "/no/such/directory/file"), -ENOENT);
	assert_int_equal(cast_open(&c, "/dev/full"), 0);
	cast_begin(&c, &size, 0, NULL, NULL);
	assert_int_equal(c.err, -ENOSPC);
	cast_output(&c, (const uint8_t *)"x", 1);
	cast_resize(&c, &size);
	assert_int_equal(cast_close(&c), -ENOSPC);
}

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	close(fd);
	return fd < 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_write_fails),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
