/*
 * test_cgroup_limits.c - what is written where, in a tree of plain files that looks like a
 * cgroup's, and what is said when a controller is not there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agentd/cgroup_limits.h"
#include "agentd/procfile.h"

static char dir[64];
static int fd;

static void put(const char *name, const char *text)
{
	int f = openat(fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(f >= 0);
	assert_int_equal(write(f, text, strlen(text)), strlen(text));
	close(f);
}

static void expect(const char *name, const char *text)
{
	char found[256];

	assert_true(procfile_read_at(fd, name, found, sizeof(found)) >= 0);
	assert_string_equal(found, text);
}

/* DIR/parent/leaf; fd is the leaf's. */
static int set_up(void **state)
{
	char path[128];

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test-limits-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/leaf", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	close(fd);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

static void test_missing(void **state)
{
	static const struct {
		struct msg_resources limits;
		const char *message;
	} cases[] = {
		{{.memory = 1 << 20}, "the memory controller is not available here"},
		{{.pids = RESOURCE_NONE}, "the pids controller is not available here"},
		{{.cpu_percent = 50}, "the cpu controller is not available here"},
		{{.cpu_percent = 50, .memory = 1}, "the memory controller is not available here"},
	};
	struct msg_resources none = {0};
	struct error e;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		assert_int_equal(
			cgroup_limits_enable(fd, false, &cases[i].limits, &e), -EOPNOTSUPP);
		assert_string_equal(e.message, cases[i].message);
		assert_int_equal(e.code, E_FAILED);
		assert_int_equal(cgroup_limits_enable(-1, true, &cases[i].limits, &e), -EOPNOTSUPP);
	}
	assert_int_equal(cgroup_limits_enable(fd, true, &none, &e), 0);
	assert_int_equal(cgroup_limits_enable(-1, true, &none, &e), 0);
	assert_int_equal(cgroup_limits_set(fd, &cases[0].limits, &e), -ENOENT);
	assert_string_equal(e.message, "memory.max: No such file or directory");
}

/* A plain file keeps what is written: "+memory" is asked for in the right place. */
static void test_enable(void **state)
{
	struct msg_resources limits = {.memory = 1 << 20};
	struct error e;

	(void)state;
	put("../cgroup.subtree_control", "");
	assert_int_equal(cgroup_limits_enable(fd, false, &limits, &e), -EOPNOTSUPP);
	expect("../cgroup.subtree_control", "+memory");
	put("memory.max", "max\n");
	assert_int_equal(cgroup_limits_enable(fd, false, &limits, &e), 0);
	put("cgroup.subtree_control", "cpu memory_x\n");
	assert_int_equal(cgroup_limits_enable(fd, true, &limits, &e), -EOPNOTSUPP);
	expect("cgroup.subtree_control", "+memory");
	put("cgroup.subtree_control", "cpu memory pids\n");
	assert_int_equal(cgroup_limits_enable(fd, true, &limits, &e), 0);
	expect("cgroup.subtree_control", "cpu memory pids\n");
}

static void expect_told(const char *text)
{
	char json[256];
	struct jsonw w;

	jsonw_init(&w, json, sizeof(json) - 1);
	cgroup_limits_put(fd, &w, "limits");
	json[w.len] = '\0';
	assert_string_equal(json, text);
}

static void test_values(void **state)
{
	struct msg_resources limits = {.memory = 5LL << 30, .pids = 100, .cpu_percent = 150};
	struct error e;

	(void)state;
	expect_told("\"limits\":{}");
	put("memory.max", "max\n");
	put("pids.max", "max\n");
	put("cpu.max", "max 100000\n");
	expect_told("\"limits\":{\"memory\":null,\"pids\":null,\"cpu_percent\":null}");
	assert_int_equal(cgroup_limits_set(fd, &limits, &e), 0);
	expect("memory.max", "5368709120");
	expect("pids.max", "100");
	expect("cpu.max", "150000 100000");
	expect_told("\"limits\":{\"memory\":5368709120,\"pids\":100,\"cpu_percent\":150}");
	limits = (struct msg_resources){.pids = RESOURCE_NONE, .cpu_percent = 1};
	assert_int_equal(cgroup_limits_set(fd, &limits, &e), 0);
	expect("memory.max", "5368709120"); /* not said: as it was */
	expect("pids.max", "max");
	expect("cpu.max", "1000 100000");
	limits = (struct msg_resources){.cpu_percent = RESOURCE_NONE};
	assert_int_equal(cgroup_limits_set(fd, &limits, &e), 0);
	expect("cpu.max", "max");
	put("cpu.max", "25000 50000\n");
	expect_told("\"limits\":{\"memory\":5368709120,\"pids\":null,\"cpu_percent\":50}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_enable, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_values, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
