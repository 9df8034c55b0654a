/*
 * test_msg_sys.c - requests of the family sys: defaults, all members, every limit at its edge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "proto/msg_sys.h"

static struct error e;

#define PARSE(what, text, m) msg_parse_sys_##what((const uint8_t *)(text), strlen(text), m, &e)

static void test_defaults(void **state)
{
	struct msg_sys_env env;
	struct msg_sys_stats stats;
	struct msg_sys_prepare prepare;
	struct msg_sys_resume resume;
	struct msg_resources limits;
	uint64_t lines;

	(void)state;
	assert_int_equal(PARSE(env, "{}", &env), 0);
	assert_true(!env.clear && env.n_set == 0);
	assert_int_equal(PARSE(stats, "{}", &stats), 0);
	assert_true(stats.sessions.n == 0 && stats.mounts.n == 0);
	assert_int_equal(PARSE(prepare, "{}", &prepare), 0);
	assert_true(prepare.sync && prepare.freeze.n == 0 && prepare.thaw_ms == 10000);
	assert_int_equal(PARSE(resume, "{}", &resume), 0);
	assert_true(resume.thaw && !resume.has_clock && !resume.has_network && !resume.has_env &&
		    !resume.hostname && !resume.machine_id && resume.n_entropy == 0);
	assert_int_equal(PARSE(limits, "{}", &limits), 0);
	assert_false(msg_resources_any(&limits));
	assert_int_equal(PARSE(log, "{}", &lines), 0);
	assert_int_equal(lines, 100);
	free(env.mem);
	free(stats.mem);
	free(prepare.mem);
	free(resume.mem);
}

static void test_resume(void **state)
{
	struct msg_sys_resume m;

	(void)state;
	assert_int_equal(
		PARSE(resume,
			"{\"clock_ns\":\"1795161764526000001\",\"entropy\":\"AAEC\",\"hostname\":\"a-1.b\","
			"\"machine_id\":\"00112233445566778899aabbccddeeff\",\"thaw\":false,"
			"\"network\":{\"interface\":\"en0\",\"address\":[\"10.0.0.2/24\",\"fd00::2/64\"],"
			"\"gateway\":\"10.0.0.1\",\"dns\":[\"1.1.1.1\"],\"search\":[\"x.y\",\"z\"],\"mtu\":1400},"
			"\"env\":{\"A\":\"1\",\"B\":null}}",
			&m),
		0);
	assert_true(m.has_clock && !m.thaw && m.has_network && m.has_env);
	assert_int_equal(m.clock_ns, 1795161764526000001);
	assert_int_equal(m.n_entropy, 3);
	assert_memory_equal(m.entropy, "\0\1\2", 3);
	assert_string_equal(m.hostname, "a-1.b");
	assert_string_equal(m.network.interface, "en0");
	assert_int_equal(m.network.addresses.n, 2);
	assert_string_equal(m.network.addresses.s[1], "fd00::2/64");
	assert_string_equal(m.network.gateways.s[0], "10.0.0.1");
	assert_int_equal(m.network.search.n, 2);
	assert_int_equal(m.network.mtu, 1400);
	assert_int_equal(m.n_env, 2);
	assert_null(m.env[1].value);
	free(m.mem);
	assert_int_equal(PARSE(resume, "{\"network\":{}}", &m), 0);
	assert_string_equal(m.network.interface, "eth0");
	free(m.mem);
}

static void test_resources(void **state)
{
	struct msg_resources m;

	(void)state;
	assert_int_equal(
		PARSE(limits, "{\"memory\":65536,\"pids\":null,\"cpu_percent\":1}", &m), 0);
	assert_int_equal(m.memory, 65536);
	assert_int_equal(m.pids, RESOURCE_NONE);
	assert_int_equal(m.cpu_percent, 1);
	assert_int_equal(PARSE(limits, "{\"memory\":65535}", &m), -EINVAL);
	assert_int_equal(PARSE(limits, "{\"pids\":4194305}", &m), -EINVAL);
	assert_int_equal(PARSE(limits, "{\"cpu_percent\":0}", &m), -EINVAL);
}

/* As many as may be, and one more. */
static void check_count(int (*parse)(const char *text), const char *head, const char *item,
	const char *tail, unsigned max)
{
	static char text[32768];

	for (unsigned n = max; n <= max + 1; n++) {
		size_t len = (size_t)sprintf(text, "%s", head);

		for (unsigned i = 0; i < n; i++)
			len += (size_t)sprintf(text + len, "%s%s", i ? "," : "", item);
		sprintf(text + len, "%s", tail);
		assert_int_equal(parse(text), n == max ? 0 : -EINVAL);
	}
}

static int parse_stats(const char *text)
{
	struct msg_sys_stats m;
	int r = PARSE(stats, text, &m);

	free(m.mem);
	return r;
}

static int parse_prepare(const char *text)
{
	struct msg_sys_prepare m;
	int r = PARSE(prepare, text, &m);

	free(m.mem);
	return r;
}

static int parse_resume(const char *text)
{
	struct msg_sys_resume m;
	int r = PARSE(resume, text, &m);

	free(m.mem);
	return r;
}

static void test_counts(void **state)
{
	(void)state;
	check_count(parse_stats, "{\"sessions\":[", "\"a\"", "]}", MSG_STATS_SESSIONS);
	check_count(parse_stats, "{\"mounts\":[", "\"/\"", "]}", MSG_STATS_MOUNTS);
	check_count(parse_prepare, "{\"freeze\":[", "\"/\"", "]}", MSG_FREEZE_MAX);
	check_count(parse_resume, "{\"network\":{\"address\":[", "\"x\"", "]}}", MSG_ADDRESSES_MAX);
	check_count(parse_resume, "{\"network\":{\"dns\":[", "\"x\"", "]}}", MSG_DNS_MAX);
}

static void test_bad(void **state)
{
	static const char *const bad[] = {"{\"clock_ns\":5}", "{\"clock_ns\":\"\"}",
		"{\"clock_ns\":\" 5\"}", "{\"clock_ns\":\"9223372036854775808\"}",
		"{\"entropy\":\"\"}", "{\"entropy\":\"AAE\"}", "{\"entropy\":5}",
		"{\"hostname\":\".a\"}", "{\"hostname\":\"-a\"}", "{\"hostname\":\"a_b\"}",
		"{\"machine_id\":\"00112233445566778899AABBCCDDEEFF\"}",
		"{\"network\":{\"interface\":\"\"}}", "{\"network\":{\"interface\":\"a/b\"}}",
		"{\"network\":{\"interface\":\"0123456789abcdef\"}}",
		"{\"network\":{\"search\":[\"a\\nnameserver 1\"]}}",
		"{\"network\":{\"mtu\":65537}}", "{\"network\":1}", "{\"env\":{\"=\":\"\"}}",
		"{\"thaw\":1}", "[]", "{"};

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_int_equal(parse_resume(bad[i]), -EINVAL);
		assert_int_equal(e.code, E_BAD_MESSAGE);
	}
	assert_int_equal(parse_prepare("{\"thaw_ms\":600001}"), -EINVAL);
	assert_int_equal(parse_prepare("{\"freeze\":[\"\"]}"), -EINVAL);
	assert_int_equal(parse_stats("{\"sessions\":\"a\"}"), -EINVAL);
	assert_int_equal(PARSE(log, "{\"lines\":1001}", &(uint64_t){0}), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
