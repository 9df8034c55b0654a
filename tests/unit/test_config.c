/*
 * test_config.c - settings: every key with its edges, what a file may look like and how it is told
 * where it is wrong, and the token.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>

#include "agentd/config.h"

static char path[64];
static char why[300];

static void write_file(const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static int set(struct config *c, const char *key, const char *value)
{
	why[0] = '\0';
	return config_set(c, key, value, why, sizeof(why));
}

static void test_defaults(void **state)
{
	struct config c;

	(void)state;
	config_init(&c);
	assert_true(c.n_listen == 0 && !c.token && !c.token_file && !c.default_user);
	assert_string_equal(c.cgroup, "auto");
	/* Section 9 of docs/protocol.md. */
	assert_true(c.max_connections == 128 && c.max_channels == 1024 && c.max_sessions == 10240);
	assert_true(c.retain_max == 1024 && c.retain_ms == 300000 && c.store_max == 256 * MIB);
	assert_true(c.ring_default == 1 * MIB && c.hello_timeout_ms == 10000);
	assert_int_equal(c.log_level, LOG_INFO);
	config_fini(&c);
	config_fini(&c);
}

/* ---- one setting ---- */

static void test_numbers(void **state)
{
	static const char *const bad[] = {"", " ", "x", "12x", "-1", "+1", " 1", "1 ", "0x10",
		"1.5", "1e3", "99999999999999999999", "-18446744073709551615",
		" -18446744073709551615"};
	struct config c;

	(void)state;
	config_init(&c);
	assert_int_equal(set(&c, "max_connections", "1"), 0);
	assert_int_equal(c.max_connections, 1);
	assert_int_equal(set(&c, "max_connections", "4096"), 0);
	assert_int_equal(set(&c, "max_connections", "0"), -EINVAL);
	assert_string_equal(why, "max_connections must be a number from 1 to 4096, not \"0\"");
	assert_int_equal(set(&c, "max_connections", "4097"), -EINVAL);
	assert_int_equal(set(&c, "retain_ms", "0"), 0);
	assert_int_equal(set(&c, "retain_ms", "4294967295"), 0);
	assert_int_equal(c.retain_ms, UINT32_MAX);
	assert_int_equal(set(&c, "retain_ms", "4294967296"), -EINVAL);
	assert_int_equal(set(&c, "ring_default", "67108864"), 0);
	assert_int_equal(set(&c, "ring_default", "67108865"), -EINVAL);
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(set(&c, "max_channels", bad[i]), -EINVAL);
	assert_int_equal(c.max_channels, 1024); /* untouched */
	config_fini(&c);
}

static void test_words(void **state)
{
	static const char *const bad[] = {"", "unix:", "vsock", "tcp:1234", "unix/x", "UNIX:/x"};
	struct config c;
	char value[16];

	(void)state;
	config_init(&c);
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(set(&c, "listen", bad[i]), -EINVAL);
	assert_int_equal(c.n_listen, 0);
	for (int i = 0; i < CONFIG_LISTEN_MAX; i++) {
		snprintf(value, sizeof(value), i % 2 ? "unix:/%d" : "vsock:%d", i + 1);
		assert_int_equal(set(&c, "listen", value), 0);
		assert_string_equal(c.listen[i], value);
	}
	assert_int_equal(set(&c, "listen", "unix:/more"), -EINVAL);
	assert_int_equal(c.n_listen, CONFIG_LISTEN_MAX);
	assert_int_equal(set(&c, "default_user", "a"), 0);
	assert_int_equal(set(&c, "default_user", "b"), 0); /* the later one */
	assert_string_equal(c.default_user, "b");
	assert_int_equal(set(&c, "log_level", "debug"), 0);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(set(&c, "log_level", "loud"), -EINVAL);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(set(&c, "no_such", "1"), -EINVAL);
	assert_string_equal(why, "there is no setting \"no_such\"");
	assert_int_equal(set(&c, "", ""), -EINVAL);
	config_fini(&c);
}

/* Every key can be set and has a line of help. */
static void test_keys(void **state)
{
	const char *key, *help = NULL;
	struct config c;
	unsigned n = 0;

	(void)state;
	config_init(&c);
	for (; (key = config_key(n, &help)) != NULL; n++) {
		assert_true(key[0] && help && help[0]);
		for (unsigned k = 0; k < n; k++)
			assert_string_not_equal(config_key(k, &help), key);
		if (set(&c, key, "2000000") <
			0) /* a number or any word; else it says what it wants */
			assert_memory_equal(why, key, strlen(key));
	}
	assert_true(n >= 14);
	assert_null(config_key(n + 1, &help));
	config_fini(&c);
}

/* ---- a file ---- */

static int read_text(struct config *c, const char *text)
{
	write_file(text, strlen(text));
	why[0] = '\0';
	return config_read(c, path, why, sizeof(why));
}

static void test_file(void **state)
{
	struct config c;

	(void)state;
	config_init(&c);
	assert_int_equal(read_text(&c, ""), 0);
	assert_int_equal(
		read_text(&c,
			"# all of it\n\n  \t\r\n\tmax_sessions=5\r\n"
			"  default_user =  some body \n# max_sessions = 7\nlisten = unix:/a=b\n"
			"retain_max = 0"), /* no line end */
		0);
	assert_true(c.max_sessions == 5 && c.retain_max == 0 && c.n_listen == 1);
	assert_string_equal(c.default_user, "some body");
	assert_string_equal(c.listen[0], "unix:/a=b");
	config_fini(&c);
}

static void expect_line(const char *text, unsigned line, const char *reason)
{
	char want[300];
	struct config c;

	config_init(&c);
	assert_int_equal(read_text(&c, text), -EINVAL);
	snprintf(want, sizeof(want), "%s line %u: %s", path, line, reason);
	assert_string_equal(why, want);
	config_fini(&c);
}

static void test_file_errors(void **state)
{
	char text[6000];
	struct config c;

	(void)state;
	expect_line("max_sessions 5\n", 1, "\"key = value\" expected");
	expect_line("\n\nretain_max = 1\nfoo = bar\nretain_max = x\n", 4,
		"there is no setting \"foo\"");
	expect_line("= 5\n", 1, "there is no setting \"\"");
	expect_line("log_level =\n", 1, "log_level must be err, warn, info or debug, not \"\"");
	config_init(&c);
	why[0] = '\0';
	assert_int_equal(config_read(&c, "/no/such/file", why, sizeof(why)), -ENOENT);
	assert_string_equal(why, "/no/such/file: No such file or directory");
	/* Bug: a directory was taken for an empty file. */
	assert_int_equal(config_read(&c, "/tmp", why, sizeof(why)), -EISDIR);
	assert_string_equal(why, "/tmp: Is a directory");
	config_fini(&c);
	/* Bug: what was behind the 4095th character of a line counted as another one. */
	memset(text, ' ', sizeof(text));
	text[0] = '#';
	snprintf(text + 4095, sizeof(text) - 4095, "max_sessions = 3\nretain_max = 1\n");
	expect_line(text, 1, "a line of more than 4094 characters");
}

/* ---- the token ---- */

static void test_token(void **state)
{
	static const struct {
		const char *text, *token;
	} cases[] = {{"secret", "secret"}, {"secret\n", "secret"},
		{"secret\r\nsecond line\n", "secret"}, {"with blanks \n", "with blanks "},
		{"", NULL}, {"\n", NULL}, {"\nsecret", NULL}};
	struct config c;

	(void)state;
	config_init(&c);
	assert_int_equal(config_load_token(&c, why, sizeof(why)), 0);
	assert_null(c.token);
	assert_int_equal(set(&c, "token_file", path), 0);
	for (size_t i = 0; i < array_size(cases); i++) {
		write_file(cases[i].text, strlen(cases[i].text));
		why[0] = '\0';
		assert_int_equal(
			config_load_token(&c, why, sizeof(why)), cases[i].token ? 0 : -EINVAL);
		if (cases[i].token) {
			assert_string_equal(c.token, cases[i].token);
			continue;
		}
		assert_null(c.token); /* and not the one from before */
		assert_non_null(strstr(why, "empty"));
	}
	unlink(path);
	assert_int_equal(config_load_token(&c, why, sizeof(why)), -ENOENT);
	assert_null(strstr(why, "secret"));
	config_fini(&c);
}

static int setup(void **state)
{
	int fd;

	(void)state;
	strcpy(path, "/tmp/test_config.XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	return fd < 0 || close(fd) < 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_file_errors),
		cmocka_unit_test(test_token),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
