/* test_bridge_config.c - options of the bridge: each form, each kind of mistake with a sentence
 * that names it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "bridge/api/config.h"

static struct config c;
static char why[512];

static void fresh(void)
{
	unsetenv("OPENSANDBOX_EXEC_INLINE_HOLD_MS");
	unsetenv("OPENSANDBOX_EXEC_RESULT_HOLD_MS");
	assert_int_equal(config_init(&c, why, sizeof(why)), 0);
}

static int parse(char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	why[0] = '\0';
	return config_parse(&c, argc, argv, 0, why, sizeof(why));
}

#define PARSE(...) parse((char *[]){__VA_ARGS__, NULL})

static void test_defaults(void **state)
{
	(void)state;
	fresh();
	assert_int_equal(PARSE("--access-log"), 1);
	assert_int_equal(c.bridge.port, 8080);
	assert_string_equal(c.bridge.host, "127.0.0.1");
	assert_string_equal(c.bridge.driver, "local");
	assert_int_equal(c.bridge.inline_hold_ms, 400);
	assert_int_equal(c.bridge.result_hold_ms, 500);
	assert_false(c.bridge.open);
	assert_true(c.bridge.access_log);
	assert_true(c.bridge.worker[0] != '\0');
	assert_int_equal(config_check(&c, why, sizeof(why)), 0);
}

static void test_forms(void **state)
{
	(void)state;
	fresh();
	assert_int_equal(
		PARSE("--port", "0", "--host=::1", "--log-level", "debug", "keys", "--port"), 5);
	assert_int_equal(c.bridge.port, 0);
	assert_string_equal(c.bridge.host, "::1");
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(PARSE("list"), 0);
}

static void test_environment(void **state)
{
	(void)state;
	fresh();
	setenv("OPENSANDBOX_EXEC_INLINE_HOLD_MS", "0", 1);
	setenv("OPENSANDBOX_EXEC_RESULT_HOLD_MS", "1234", 1);
	assert_int_equal(config_init(&c, why, sizeof(why)), 0);
	assert_int_equal(c.bridge.inline_hold_ms, 0);
	assert_int_equal(c.bridge.result_hold_ms, 1234);
	assert_int_equal(PARSE("--result-hold-ms", "7"), 2); /* an option wins */
	assert_int_equal(c.bridge.result_hold_ms, 7);
	setenv("OPENSANDBOX_EXEC_INLINE_HOLD_MS", "soon", 1);
	assert_int_equal(config_init(&c, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "OPENSANDBOX_EXEC_INLINE_HOLD_MS"));
	fresh();
}

static void bad(char **argv, const char *word)
{
	fresh();
	assert_int_equal(parse(argv), -EINVAL);
	if (!strstr(why, word))
		fail_msg("\"%s\" does not name %s", why, word);
}

#define BAD(word, ...) bad((char *[]){__VA_ARGS__, NULL}, word)

static void test_mistakes(void **state)
{
	(void)state;
	BAD("--nothing", "--nothing");
	BAD("--port", "--port");
	BAD("--port", "--port", "65536");
	BAD("--port", "--port", "-1");
	BAD("--port", "--port", "80x");
	BAD("--port", "--port=");
	BAD("--host", "--host=");
	BAD("--no-auth", "--no-auth=yes");
	BAD("--log-level", "--log-level", "loud");
	BAD("--max-sandboxes", "--max-sandboxes", "0");
	BAD("--", "--");
}

static int together(char **argv)
{
	fresh();
	assert_true(parse(argv) > 0);
	return config_check(&c, why, sizeof(why));
}

#define TOGETHER(...) together((char *[]){__VA_ARGS__, NULL})

/* Nobody opens it to the world by accident. */
static void test_together(void **state)
{
	(void)state;
	assert_int_equal(TOGETHER("--no-auth"), 0);
	assert_int_equal(TOGETHER("--no-auth", "--host", "localhost"), 0);
	assert_string_equal(c.bridge.host, "127.0.0.1");
	assert_int_equal(TOGETHER("--no-auth", "--host", "::1"), 0);
	assert_int_equal(TOGETHER("--no-auth", "--host", "0.0.0.0"), -EINVAL);
	assert_int_equal(TOGETHER("--no-auth", "--host", "::"), -EINVAL);
	assert_int_equal(TOGETHER("--no-auth", "--host", "127.0.0.1.example.org"), -EINVAL);
	assert_int_equal(TOGETHER("--no-auth", "--host", "0.0.0.0", "--i-know"), 0);
	assert_int_equal(TOGETHER("--tls-cert", "x"), -EINVAL);
	assert_int_equal(TOGETHER("--tls-key", "x"), -EINVAL);
	assert_int_equal(TOGETHER("--tls-key", "x", "--tls-cert", "y"), 0);
}

/* --help tells of each. */
static void test_help(void **state)
{
	const char *name, *value, *help;
	unsigned n = 0;

	(void)state;
	for (; (name = config_option(n, &value, &help)) != NULL; n++)
		assert_true(name[0] && help[0]);
	assert_true(n > 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_together),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
