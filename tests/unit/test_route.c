/* Finding the route of a path: static parts win, methods are told apart, parameters are decoded. */
#include "bridge/api/route.h"

#include <stdarg.h>
#include <stdio.h>
// clang-format off
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "bridge/api/call_wire.h"

static void nothing(struct call *c)
{
	(void)c;
}

static const struct route first[] = {
	{CALL_GET, "/", 0, nothing, "root"},
	{CALL_GET, "/sandboxes", 0, nothing, "list"},
	{CALL_POST, "/sandboxes", 0, nothing, "create"},
	{CALL_GET, "/sandboxes/:id", 0, nothing, "get"},
	{CALL_GET, "/sandboxes/:id/exec/:sid", 0, nothing, "attach"},
	{CALL_POST, "/sandboxes/:id/exec/:sid/kill", 0, nothing, "kill"},
	{0},
};
static const struct route second[] = {
	{CALL_POST, "/sandboxes/:id/exec/run", 0, nothing, "run"},
	{CALL_POST, "/sandboxes/:id/:what/:sid", 0, nothing, "any"},
	{CALL_POST, "/sandboxes/from-checkpoint/:cp", 0, nothing, "fork"},
	{CALL_POST, "/sandboxes/:id/hibernate", 0, nothing, "hibernate"},
	{CALL_GET, "/snapshots/:name", 0, nothing, "snapshot"},
	{0},
};

/* In place of those of routes.c. */
const struct route *const route_tables[] = {first, second, NULL};

static struct call *find(enum call_method method, const char *path, int want)
{
	struct call *c = call_new(path, strlen(path), "q=1", 3);

	c->method = method;
	if (route_find(c) != want)
		fail_msg("%s is not %d", path, want);
	return c;
}

static void is(enum call_method method, const char *path, const char *name, const char *param0,
	const char *param1)
{
	struct call *c = find(method, path, 0);

	assert_string_equal(c->route->name, name);
	if (param0)
		assert_string_equal(c->params[0], param0);
	else
		assert_null(c->params[0]);
	if (param1)
		assert_string_equal(c->params[1], param1);
	else
		assert_null(c->params[1]);
	call_free(c);
}

static void is_not(enum call_method method, const char *path, int status)
{
	struct call *c = find(method, path, status);

	assert_null(c->route);
	call_free(c);
}

static void test_found(void **state)
{
	(void)state;
	is(CALL_GET, "/", "root", NULL, NULL);
	is(CALL_GET, "/sandboxes", "list", NULL, NULL);
	is(CALL_GET, "/sandboxes/", "list", NULL, NULL);
	is(CALL_POST, "/sandboxes", "create", NULL, NULL);
	is(CALL_GET, "/sandboxes/sb-1", "get", "sb-1", NULL);
	is(CALL_GET, "/sandboxes/sb-1/exec/x1", "attach", "sb-1", "x1");
	is(CALL_POST, "/sandboxes/sb-1/exec/x1/kill", "kill", "sb-1", "x1");
}

static void test_static_wins(void **state)
{
	(void)state;
	is(CALL_POST, "/sandboxes/sb-1/exec/run", "run", "sb-1", NULL);
	is(CALL_POST, "/sandboxes/sb-1/exec/runs", "any", "sb-1", "exec");
	is(CALL_POST, "/sandboxes/from-checkpoint/hibernate", "fork", "hibernate", NULL);
	/* A static part of another method does not hide what is a parameter. */
	is(CALL_GET, "/sandboxes/sb-1/exec/run", "attach", "sb-1", "run");
}

static void test_decoded(void **state)
{
	(void)state;
	is(CALL_GET, "/snapshots/a%2Fb%20c+%c3%a9", "snapshot", "a/b c+\xc3\xa9", NULL);
	is(CALL_GET, "/snapshots/50%", "snapshot", "50%", NULL);
	is(CALL_GET, "/snapshots/%zz%4", "snapshot", "%zz%4", NULL);
	is(CALL_GET, "/snapshots/%41", "snapshot", "A", NULL);
	is_not(CALL_GET, "/snapshots/a%00b", 404);
}

static void test_not_found(void **state)
{
	(void)state;
	is_not(CALL_GET, "/nothing", 404);
	is_not(CALL_GET, "/sandboxes//", 404);
	is_not(CALL_GET, "/sandboxes//exec/x", 404);
	is_not(CALL_GET, "//", 404);
	is_not(CALL_GET, "sandboxes", 404);
	is_not(CALL_GET, "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p", 404);
	is_not(CALL_DELETE, "/sandboxes", 405);
	is_not(CALL_GET, "/sandboxes/sb-1/exec/x1/kill", 405);
}

static void test_methods(void **state)
{
	struct call *c = find(CALL_PUT, "/sandboxes", 405);

	(void)state;
	assert_int_equal(route_methods(c), 1U << CALL_GET | 1U << CALL_POST);
	call_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_static_wins),
		cmocka_unit_test(test_decoded),
		cmocka_unit_test(test_not_found),
		cmocka_unit_test(test_methods),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
