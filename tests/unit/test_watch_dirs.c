/* test_watch_dirs.c - the directories of a watched tree: by number, by name, moved and removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "agentd/watch_dirs.h"

static struct watch_dir *add(
	struct watch_dirs *ds, struct watch_dir *parent, const char *name, int wd)
{
	struct watch_dir *d = watch_dirs_add(ds, parent, name, strlen(name));

	assert_non_null(d);
	watch_dirs_set_wd(ds, d, wd);
	return d;
}

static struct watch_dir *at(struct watch_dirs *ds, const char *path)
{
	return watch_dirs_by_path(ds, path, strlen(path));
}

static void path_is(const struct watch_dir *d, const char *name, const char *expected)
{
	char out[WATCH_PATH_MAX];

	assert_int_equal(watch_dirs_path(d, name, out), strlen(expected));
	assert_string_equal(out, expected);
}

static void count(void *ctx, int wd)
{
	*(int *)ctx += wd;
}

static void test_tree(void **state)
{
	struct watch_dirs ds;
	struct watch_dir *a, *b, *c;
	int dropped = 0;

	(void)state;
	assert_int_equal(watch_dirs_init(&ds), 0);
	path_is(ds.top, NULL, "");
	path_is(ds.top, "x", "x");
	a = add(&ds, ds.top, "a", 1);
	b = add(&ds, a, "b", 2);
	c = add(&ds, b, "c", 4);
	path_is(c, NULL, "a/b/c");
	path_is(c, "f", "a/b/c/f");
	assert_ptr_equal(at(&ds, "a/b/c"), c);
	assert_ptr_equal(at(&ds, ""), ds.top);
	assert_null(at(&ds, "a/c"));
	assert_null(at(&ds, "a/b/c/d"));
	assert_int_equal(watch_dirs_move(&ds, b, ds.top, "z", 1), 0);
	path_is(c, NULL, "z/c");
	assert_null(at(&ds, "a/b"));
	assert_ptr_equal(watch_dirs_by_wd(&ds, 4), c);
	watch_dirs_set_wd(&ds, c, 9);
	assert_null(watch_dirs_by_wd(&ds, 4));
	watch_dirs_remove(&ds, b, count, &dropped);
	assert_int_equal(dropped, 11);
	assert_int_equal(ds.n, 2);
	assert_null(watch_dirs_by_wd(&ds, 9));
	assert_null(at(&ds, "z"));
	watch_dirs_fini(&ds);
	watch_dirs_fini(&ds);
}

static void test_many(void **state)
{
	struct watch_dirs ds;
	char name[32];

	(void)state;
	assert_int_equal(watch_dirs_init(&ds), 0);
	for (int i = 0; i < 5000; i++) {
		sprintf(name, "d%d", i);
		add(&ds, i % 2 ? at(&ds, "d0") : ds.top, name, 100000 - i);
	}
	for (int i = 0; i < 5000; i++) {
		sprintf(name, i % 2 ? "d0/d%d" : "d%d", i);
		assert_ptr_equal(watch_dirs_by_wd(&ds, 100000 - i), at(&ds, name));
		assert_non_null(at(&ds, name));
	}
	watch_dirs_remove(&ds, at(&ds, "d0"), NULL, NULL);
	assert_int_equal(ds.n, 2500);
	watch_dirs_fini(&ds);
}

/* As deep as memory allows: no recursion, and a path that is too long is said to be. */
static void test_deep(void **state)
{
	struct watch_dirs ds;
	struct watch_dir *d;
	char out[WATCH_PATH_MAX];

	(void)state;
	assert_int_equal(watch_dirs_init(&ds), 0);
	d = ds.top;
	for (int i = 0; i < 50000; i++)
		d = add(&ds, d, "n", i);
	assert_int_equal(watch_dirs_path(d, "x", out), -ENAMETOOLONG);
	watch_dirs_fini(&ds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_tree), cmocka_unit_test(test_many),
		cmocka_unit_test(test_deep)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
