/* test_ignore.c - ignore rules: rank, anchors, directories, nested files, files above the top. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agentd/ignore.h"

static struct ignore *rules(struct ignore *up, const char *base, const char *text)
{
	struct ignore *i = ignore_new(up, base, false, text, strlen(text));

	assert_non_null(i);
	return i;
}

static bool out(struct ignore *i, const char *path)
{
	size_t len = strlen(path);
	bool dir = path[len - 1] == '/';

	return ignore_match(i, path, len - dir, dir) == 1;
}

static void test_one_file(void **state)
{
	struct ignore *i = rules(NULL, "",
		"\xef\xbb\xbf# comment\n\n*.o\n!keep.o\n/top\nbuild/\na/b\ndoc/**/x\nsp \nsq\\ \r\n\\#h\n\\!e\n"
		"[bad\n/\n!\nlast");

	(void)state;
	assert_true(out(i, "x.o") && out(i, "d/e/x.o"));
	assert_false(out(i, "keep.o") || out(i, "d/keep.o"));
	assert_true(out(i, "top"));
	assert_false(out(i, "d/top"));
	assert_true(out(i, "build/") && out(i, "d/build/"));
	assert_false(out(i, "build"));
	assert_true(out(i, "a/b"));
	assert_false(out(i, "q/a/b") || out(i, "b"));
	assert_true(out(i, "doc/x") && out(i, "doc/1/2/x"));
	assert_true(out(i, "sp") && out(i, "sq ") && out(i, "#h") && out(i, "!e"));
	assert_false(out(i, "# comment") || out(i, "[bad"));
	assert_true(out(i, "last"));
	ignore_unref(i);
}

static void test_nested(void **state)
{
	struct ignore *top = rules(NULL, "", "*.log\n/sub/x\n");
	struct ignore *sub = rules(ignore_ref(top), "sub", "!a.log\n/y\n");

	(void)state;
	assert_true(out(sub, "sub/b.log"));
	assert_false(out(sub, "sub/a.log"));
	assert_true(out(sub, "sub/x") && out(sub, "sub/y"));
	assert_false(out(sub, "sub/d/y") || out(top, "sub/y"));
	ignore_unref(top);
	assert_true(out(sub, "sub/b.log")); /* it holds its upper one */
	ignore_unref(sub);
}

/* The search begins in a directory of a repository: the rules above it hold too. */
static void test_above(void **state)
{
	const char *text = "/in/here/x\ny\n/z\n";
	struct ignore *i = ignore_new(NULL, "in/here", true, text, strlen(text));

	(void)state;
	assert_true(out(i, "x") && out(i, "y") && out(i, "q/y"));
	assert_false(out(i, "q/x") || out(i, "z"));
	ignore_unref(i);
}

static void test_given(void **state)
{
	static const char *const globs[] = {"*.{c,h}", "!x.c", "build/", "["};
	int r;
	struct ignore *i = ignore_globs(globs, 3, &r);

	(void)state;
	assert_non_null(i);
	assert_int_equal(ignore_match(i, "a/b.h", 5, false), 1);
	assert_int_equal(ignore_match(i, "x.c", 3, false), 0);
	assert_int_equal(ignore_match(i, "x", 1, false), -1);
	assert_true(out(i, "build/"));
	ignore_unref(i);
	assert_null(ignore_globs(globs, 4, &r));
	assert_int_equal(r, -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_file),
		cmocka_unit_test(test_nested), cmocka_unit_test(test_above),
		cmocka_unit_test(test_given)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
