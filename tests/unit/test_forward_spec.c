/* test_forward_spec.c - what agentctl forward is told: every form, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "agentd/netaddr.h"
#include "bridge/forward_spec.h"

static const char *text_of(const char *spec)
{
	static char text[512];
	struct forward_spec f;
	const char *why = NULL;

	if (forward_spec_parse(spec, &f, &why) < 0) {
		assert_non_null(why);
		return "!";
	}
	if (f.kind == FORWARD_STDIO)
		snprintf(text, sizeof(text), "- %s", f.to);
	else if (f.kind == FORWARD_UNIX)
		snprintf(text, sizeof(text), "%s %s", f.path, f.to);
	else
		snprintf(text, sizeof(text), "%s,%u %s", f.host, f.port, f.to);
	return text;
}

static void test_forms(void **state)
{
	static const char *const pairs[][2] = {
		{"3000", "127.0.0.1,3000 tcp:localhost:3000"},
		{"0:80", "127.0.0.1,0 tcp:localhost:80"},
		{"8080:127.0.0.1:80", "127.0.0.1,8080 tcp:127.0.0.1:80"},
		{"8080:localhost:80", "127.0.0.1,8080 tcp:localhost:80"},
		{"8080:[::1]:80", "127.0.0.1,8080 tcp:[::1]:80"},
		{"localhost:8080:80", "127.0.0.1,8080 tcp:localhost:80"},
		{"*:8080:80", "0.0.0.0,8080 tcp:localhost:80"},
		{"[::]:8080:80", "::,8080 tcp:localhost:80"},
		{"[::1]:0:[fe80::1]:1", "::1,0 tcp:[fe80::1]:1"},
		{"0.0.0.0:1:10.0.0.1:65535", "0.0.0.0,1 tcp:10.0.0.1:65535"},
		{"8080:/run/x:y", "127.0.0.1,8080 unix:/run/x:y"},
		{"[::1]:8080:/s", "::1,8080 unix:/s"},
		{"8080:@name", "127.0.0.1,8080 unix:@name"},
		{"/tmp/s:80", "/tmp/s tcp:localhost:80"},
		{"./s:localhost:80", "./s tcp:localhost:80"},
		{"/tmp/s:/run/t:u", "/tmp/s unix:/run/t:u"},
		{"-:80", "- tcp:localhost:80"},
		{"-:[::1]:80", "- tcp:[::1]:80"},
		{"-:/s", "- unix:/s"},
	};
	static const char *const wrong[] = {"", "-", "-:", ":", "::", "x", "-1", "1:", ":1", "1:0",
		"65536", "1:65536", "1 ", "+1", "0x1", "0", "1:host:2", "host:1:2", "1:2:3:4",
		"1:2:3:4:5", "::1:1:2", "[::1:1:2", "[::1]1:2", "[127.0.0.1]:1:2", "/", "/x",
		"/x:", "/x:/", "1:/", "1:@", "/a", "8080/a", "a:b:/c", "1:2:3:/c", "8080:[]:1",
		"./s", "-:host:1", "-:1:2:3"};
	char longest[400];

	(void)state;
	for (size_t i = 0; i < array_size(pairs); i++)
		assert_string_equal(text_of(pairs[i][0]), pairs[i][1]);
	for (size_t i = 0; i < array_size(wrong); i++) {
		if (strcmp(text_of(wrong[i]), "!") != 0)
			fail_msg("'%s' is taken as %s", wrong[i], text_of(wrong[i]));
	}
	for (size_t n = 100; n < 120; n++) {
		snprintf(longest, sizeof(longest), "/%0*d:1", (int)n - 1, 0);
		assert_int_equal(strcmp(text_of(longest), "!") == 0, n >= TARGET_PATH_MAX);
		snprintf(longest, sizeof(longest), "1:/%0*d", (int)n - 1, 0);
		assert_int_equal(strcmp(text_of(longest), "!") == 0, n >= TARGET_PATH_MAX);
	}
	snprintf(longest, sizeof(longest), "1:%0*d:1", 300, 0);
	assert_string_equal(text_of(longest), "!");
	snprintf(longest, sizeof(longest), "1:[%0*d]:1", 300, 0);
	assert_string_equal(text_of(longest), "!");
}

/* What we say is what the agent takes. */
static void test_agent_agrees(void **state)
{
	static const char *const specs[] = {"80", "1:[::1]:80", "1:10.1.2.3:80", "1:/s", "1:@n"};
	static const unsigned addresses[] = {2, 1, 1, 1, 1};

	(void)state;
	for (size_t i = 0; i < array_size(specs); i++) {
		struct forward_spec f;
		struct netaddr a;
		struct error e;
		const char *why;

		assert_int_equal(forward_spec_parse(specs[i], &f, &why), 0);
		assert_int_equal(netaddr_parse(f.to, &a, &e), 0);
		assert_int_equal(a.n, addresses[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_agent_agrees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
