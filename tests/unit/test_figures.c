/*
 * test_figures.c - texts of the kernel, of old ones and odd ones too, as members; what is not told
 * is absent. And of this very process, what is told is right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "agentd/figures.h"
#include "agentd/procfile.h"
#include "agentd/self.h"
#include "agentd/usage.h"

static char text[8192];
static struct jsonw w;

static struct jsonw *begin(void)
{
	jsonw_init(&w, text, sizeof(text) - 1);
	jsonw_open(&w, NULL, '{');
	return &w;
}

static const char *end(void)
{
	jsonw_close(&w, '}');
	assert_false(w.overflow);
	text[w.len] = '\0';
	return text;
}

static void test_cpu(void **state)
{
	(void)state;
	figures_put_cpu(begin(), "cpu  100 20 30 4000 50 6 7 8 0 0\ncpu0 1 1 1 1\n", 2);
	assert_string_equal(end(),
		"{\"cpu\":{\"count\":2,\"user_ms\":1200,\"system_ms\":430,\"idle_ms\":40000,"
		"\"iowait_ms\":500,\"steal_ms\":80}}");
	figures_put_cpu(begin(), "cpu  1 2 3 4\n", -1); /* Linux 2.4 */
	assert_string_equal(end(), "{\"cpu\":{\"user_ms\":30,\"system_ms\":30,\"idle_ms\":40}}");
	figures_put_cpu(begin(), "cpu x", 1);
	figures_put_cpu(&w, "", 1);
	assert_string_equal(end(), "{}");
}

static void test_load(void **state)
{
	(void)state;
	figures_put_load(begin(), "0.20 10.05 3.00 1/80 11206\n");
	figures_put_tasks(&w, "0.20 10.05 3.00 1/80 11206\n", 60, 32768);
	assert_string_equal(end(),
		"{\"load\":[0.2,10.05,3],\"tasks\":{\"running\":1,\"threads\":80,"
		"\"processes\":60,\"max\":32768}}");
	figures_put_load(begin(), "");
	figures_put_tasks(&w, "", 0, 0);
	assert_string_equal(end(), "{\"tasks\":{}}");
}

static void test_memory(void **state)
{
	(void)state;
	figures_put_memory(begin(),
		"MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:\t600 kB\n"
		"Cached: 50 kB\nSwapCached: 9 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n");
	assert_string_equal(end(),
		"{\"memory\":{\"total\":1024000,\"available\":614400,\"used\":409600,"
		"\"cached\":51200,\"swap_total\":10240,\"swap_used\":6144}}");
	figures_put_memory(begin(), "MemTotal: 1 kB\n");
	assert_string_equal(end(), "{\"memory\":{\"total\":1024}}");
	figures_put_memory(begin(), "nothing\n");
	assert_string_equal(end(), "{}");
}

static void test_net(void **state)
{
	(void)state;
	figures_put_net(begin(), "Inter-|   Receive\n face |bytes packets\n"
				 "    lo:       1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
				 "cut: 1 2 3\n"
				 "eth0:1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0");
	assert_string_equal(end(),
		"{\"net\":[{\"name\":\"lo\",\"rx_bytes\":1,\"rx_packets\":2,\"rx_errors\":3,\"rx_dropped\":4,"
		"\"tx_bytes\":9,\"tx_packets\":10,\"tx_errors\":11,\"tx_dropped\":12},"
		"{\"name\":\"eth0\",\"rx_bytes\":1,\"rx_packets\":0,\"rx_errors\":0,\"rx_dropped\":0,"
		"\"tx_bytes\":2,\"tx_packets\":0,\"tx_errors\":0,\"tx_dropped\":0}]}");
}

static void test_pressure(void **state)
{
	(void)state;
	figures_put_pressure(begin(), "cpu",
		"some avg10=1.23 avg60=0.00 avg300=100.00 total=5\nfull avg10=0.01 avg60=");
	assert_string_equal(end(),
		"{\"cpu\":{\"some\":{\"avg10\":1.23,\"avg60\":0,\"avg300\":100,\"total_us\":5},"
		"\"full\":{\"avg10\":0.01,\"avg60\":0}}}");
	figures_put_pressure(begin(), "io", "some\nrubbish\n");
	assert_string_equal(end(), "{\"io\":{}}");
}

static void test_values(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_true(procfile_value("a 1\nab 2\nb: 3\n", "ab", &v) && v == 2);
	assert_true(procfile_value("a 1\nb:\t\t3", "b:", &v) && v == 3);
	assert_false(procfile_value("a 1\n", "b", &v));
	assert_false(procfile_value("a x\n", "a", &v));
	assert_false(procfile_value("a", "a", &v));
	assert_false(procfile_value("", "a", &v));
}

static void test_self(void **state)
{
	struct self_figures f, g;
	int fd;

	(void)state;
	self_read(&f);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	self_read(&g);
	close(fd);
	assert_int_equal(g.descriptors, f.descriptors + 1);
	assert_int_equal(f.threads, 1);
	assert_true(f.rss > 100 * KIB && f.vsize > f.rss && f.max_descriptors > 0);
	assert_true(f.started > 1e9);
	assert_true(self_pss() > 0);
}

/* Two children of which one has a child: three, with the memory they have. */
static void test_usage(void **state)
{
	int ready[2];
	struct usage u;
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		if (fork() == 0)
			fork();
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(read(ready[0], &c, 1), 1);
	usage_of_tree(pid, &u);
	assert_int_equal(u.processes, 3);
	assert_true(u.rss > 300 * KIB && u.rss < 3 * GIB);
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
	usage_of_tree(pid, &u);
	assert_int_equal(u.processes, 0);
	close(ready[0]);
	close(ready[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpu),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_net),
		cmocka_unit_test(test_pressure),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_self),
		cmocka_unit_test(test_usage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
