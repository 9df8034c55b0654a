/* test_cmdline.c - the kernel's command line: quotes, bare words, the last one wins, numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "init/agent.h"

static void read_text(struct cmdline *c, const char *text, char **argv)
{
	char path[] = "/tmp/test-cmdline-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	cmdline_read(c, path, argv);
	unlink(path);
}

static char *no_args[] = {NULL};

static void test_words(void **state)
{
	struct cmdline c;

	(void)state;
	read_text(&c, "quiet root=LABEL=root  a=\"b c\" d=\"e\nro a=f x=", no_args);
	assert_string_equal(cmdline_get(&c, "quiet"), "");
	assert_string_equal(cmdline_get(&c, "root"), "LABEL=root");
	assert_string_equal(cmdline_get(&c, "a"), "b c");
	assert_string_equal(
		cmdline_get(&c, "d"), "e\nro a=f x="); /* a quote that is never closed */
	assert_null(cmdline_get(&c, "ro"));
	assert_null(cmdline_get(&c, "roo"));
	cmdline_fini(&c);
	read_text(&c, "a=1 a=2 \n", (char *[]){(char *)"init", (char *)"a=3 4", NULL});
	assert_string_equal(cmdline_get(&c, "a"), "3 4");
	cmdline_fini(&c);
	cmdline_read(&c, "/no/such/file", no_args);
	assert_int_equal(c.n, 0);
	cmdline_fini(&c);
}

static void test_numbers(void **state)
{
	struct cmdline c;

	(void)state;
	read_text(&c, "a=12 b=-1 c= d=1x e=99999999999999999999 f=100 g", no_args);
	assert_int_equal(cmdline_number(&c, "a", 5, 100), 12);
	assert_int_equal(cmdline_number(&c, "b", 5, 100), 5);
	assert_int_equal(cmdline_number(&c, "c", 5, 100), 5);
	assert_int_equal(cmdline_number(&c, "d", 5, 100), 5);
	assert_int_equal(cmdline_number(&c, "e", 5, 100), 5);
	assert_int_equal(cmdline_number(&c, "f", 5, 99), 5);
	assert_int_equal(cmdline_number(&c, "g", 5, 99), 5);
	assert_int_equal(cmdline_number(&c, "h", 5, 99), 5);
	cmdline_fini(&c);
}

/* More words than there is room for are left out, and nothing else happens. */
static void test_many(void **state)
{
	char text[4 * CMDLINE_WORDS * 2 + 1];
	struct cmdline c;

	(void)state;
	for (size_t i = 0; i < CMDLINE_WORDS * 2; i++)
		memcpy(text + 4 * i, "w=1 ", 5);
	read_text(&c, text, no_args);
	assert_int_equal(c.n, CMDLINE_WORDS);
	cmdline_fini(&c);
}

static void test_agent_arguments(void **state)
{
	struct cmdline c;
	struct agent a;

	(void)state;
	read_text(&c, "agentd.log_level=debug agentd.token=secret agentd.path=/x agentd.flag quiet",
		no_args);
	agent_init(&a, &c, true, 9000);
	assert_string_equal(a.path, "/x");
	assert_string_equal(a.argv[0], "agentd");
	assert_string_equal(a.argv[1], "--listen=vsock:1024");
	assert_string_equal(a.argv[2], "--cgroup=/sys/fs/cgroup/sandbox");
	assert_string_equal(a.argv[3], "--stop_grace_ms=4500");
	assert_string_equal(a.argv[4], "--log_level=debug");
	assert_null(a.argv[5]);
	agent_fini(&a);
	cmdline_fini(&c);
	read_text(&c, "agentd.listen=unix:/a agentd.listen=unix:/b", no_args);
	agent_init(&a, &c, false, 1000);
	assert_string_equal(a.argv[1], "--stop_grace_ms=500");
	assert_string_equal(a.argv[2], "--listen=unix:/a");
	assert_string_equal(a.argv[3], "--listen=unix:/b");
	assert_null(a.argv[4]);
	/* It dies at once, again and again: each start is later than the one before, up to a limit.
	 */
	a.started = now_ms();
	agent_died(&a);
	assert_true(a.start_at <= now_ms());
	for (int i = 0; i < 20; i++)
		agent_died(&a);
	assert_int_equal(a.delay, 1000);
	a.started = now_ms() - 3600000;
	agent_died(&a);
	assert_true(a.start_at <= now_ms());
	agent_fini(&a);
	cmdline_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_agent_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
