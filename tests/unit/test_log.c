/*
 * test_log.c - the ring keeps whole lines, the newest; what is held back is written once, later; a
 * stderr that takes nothing costs lines and no time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>

#include "base/base.h"
#include "base/log.h"

static char out[LOG_RING + 1];

static const char *tail(size_t lines)
{
	out[log_tail(lines, out)] = '\0';
	return out;
}

/* stderr is a file during fn; its text. */
static char *captured(void (*fn)(void))
{
	static char text[64 * 1024];
	FILE *f = tmpfile();
	int saved = dup(2);
	ssize_t n;

	dup2(fileno(f), 2);
	fn();
	dup2(saved, 2);
	close(saved);
	n = pread(fileno(f), text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	fclose(f);
	return text;
}

static void three(void)
{
	log_info("one a=1");
	log_warn("two \"q\" \n\t");
	log_debug("not logged at this level");
	log_err("three");
}

static void test_lines(void **state)
{
	(void)state;
	assert_string_equal(tail(10), "");
	assert_string_equal(captured(three), "info one a=1\nwarn two \"q\" ??\nerr three\n");
	assert_string_equal(tail(10), "info one a=1\nwarn two \"q\" ??\nerr three\n");
	assert_string_equal(tail(3), tail(1000));
	assert_string_equal(tail(2), "warn two \"q\" ??\nerr three\n");
	assert_string_equal(tail(1), "err three\n");
	assert_string_equal(tail(0), "");
}

static void held(void)
{
	log_info("before");
	log_hold(true);
	log_hold(true);
	log_info("held 1");
	log_info("held 2");
}

static void released(void)
{
	log_hold(false);
	log_hold(false);
	log_info("after");
}

static void test_hold(void **state)
{
	(void)state;
	assert_string_equal(captured(held), "info before\n");
	assert_string_equal(tail(2), "info held 1\ninfo held 2\n");
	assert_string_equal(captured(released), "info held 1\ninfo held 2\ninfo after\n");
}

static void many(void)
{
	for (int i = 0; i < 5000; i++)
		log_info("line number %d of many", i);
}

static void test_ring(void **state)
{
	int n = 5000;

	(void)state;
	captured(many);
	tail(100000);
	assert_true(strlen(out) > LOG_RING - 100 && strlen(out) <= LOG_RING);
	/* Whole lines, without a gap, up to the last. */
	for (char *at = out + strlen(out); at > out; n--) {
		char line[64];
		size_t len = (size_t)snprintf(
			line, sizeof(line), "info line number %d of many\n", n - 1);

		at -= len;
		assert_memory_equal(at, line, len);
	}
	assert_true(n > 4000);
}

static void many_held(void)
{
	log_hold(true);
	many();
	log_hold(false);
}

static void test_hold_of_more_than_fits(void **state)
{
	char *text;

	(void)state;
	text = captured(many_held);
	assert_memory_equal(text, "info line number ", 17);
	assert_string_equal(text + strlen(text) - 31, "\ninfo line number 4999 of many\n");
}

static void to_full(void)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), file = dup(2);

	log_info("seen");
	dup2(full, 2);
	log_info("lost 1");
	log_info("lost 2");
	dup2(file, 2);
	log_info("seen again");
	close(full);
	close(file);
}

static void test_full_disk(void **state)
{
	(void)state;
	assert_string_equal(
		captured(to_full), "info seen\nwarn log lines dropped n=2\ninfo seen again\n");
	assert_string_equal(tail(4), "info seen\ninfo lost 1\ninfo lost 2\ninfo seen again\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_hold_of_more_than_fits),
		cmocka_unit_test(test_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
