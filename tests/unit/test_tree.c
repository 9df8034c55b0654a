/*
 * test_tree.c - each entry once, directories before and after what is in them; mounts and links are
 * not entered; what is skipped, cancelled, too deep, or gone meanwhile.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>

#include <cmocka.h>

#include "agentd/tree.h"

static char top[64];
static int top_fd;

struct seen {
	char text[4096];
	unsigned n, limit; /* limit: cancelled after so many */
	const char *skip, *remove;
};

static const char *in_top(const char *name)
{
	static char paths[4][256];
	static unsigned next;
	char *p = paths[next++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", top, name);
	return p;
}

static void touch(const char *name)
{
	int fd = open(in_top(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	close(fd);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/test_tree.XXXXXX");
	assert_non_null(mkdtemp(top));
	top_fd = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return top_fd < 0;
}

static int tear_down(void **state)
{
	char cmd[128];

	(void)state;
	close(top_fd);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", top);
	return system(cmd);
}

static int visit(void *ctx, const struct tree_entry *e)
{
	static const char marks[] = {'f', '<', '>', 'm'};
	struct seen *s = ctx;
	size_t len = strlen(s->text);
	struct stat st;

	s->n++;
	snprintf(
		s->text + len, sizeof(s->text) - len, "%c%s%u ", marks[e->when], e->name, e->depth);
	if (e->when == TREE_ENTER || e->when == TREE_LEAVE) {
		assert_int_equal(fstat(e->fd, &st), 0);
		assert_true(st.st_ino == e->st.st_ino);
	} else {
		assert_int_equal(e->fd, -1);
	}
	if (e->when == TREE_ENTER && s->remove)
		unlinkat(e->fd, s->remove, 0);
	return s->skip && e->when == TREE_ENTER && strcmp(e->name, s->skip) == 0 ? TREE_SKIP : 0;
}

static bool cancelled(void *ctx)
{
	struct seen *s = ctx;

	return s->limit && s->n >= s->limit;
}

static int look(struct seen *s, const char *name, bool cross)
{
	const struct tree_config config = {
		.visit = visit, .cancelled = cancelled, .ctx = s, .cross_mounts = cross};

	s->text[0] = '\0';
	s->n = 0;
	return tree_visit(top_fd, name, &config);
}

static void test_order(void **state)
{
	struct seen s = {0};

	(void)state;
	touch("file");
	assert_int_equal(mkdir(in_top("a"), 0755), 0);
	assert_int_equal(mkdir(in_top("a/b"), 0755), 0);
	touch("a/b/c");
	assert_int_equal(look(&s, "file", false), 0);
	assert_string_equal(s.text, "ffile0 ");
	assert_int_equal(look(&s, "a", false), 0);
	assert_string_equal(s.text, "<a0 <b1 fc2 >b1 >a0 ");
	s.skip = "b";
	assert_int_equal(look(&s, "a", false), 0);
	assert_string_equal(s.text, "<a0 <b1 >a0 ");
	s.skip = NULL;
	s.limit = 2;
	assert_int_equal(look(&s, "a", false), -ECANCELED);
	s.limit = 0;
	s.remove = "c"; /* before its name is read */
	assert_int_equal(look(&s, "a", false), 0);
	assert_string_equal(s.text, "<a0 <b1 >b1 >a0 ");
	assert_int_equal(look(&s, "none", false), -ENOENT);
}

static void test_links(void **state)
{
	struct seen s = {0};

	(void)state;
	assert_int_equal(mkdir(in_top("l"), 0755), 0);
	assert_int_equal(symlink("/", in_top("l/root")), 0);
	assert_int_equal(look(&s, "l", false), 0);
	assert_string_equal(s.text, "<l0 froot1 >l0 ");
	assert_int_equal(look(&s, "l/root", false), 0);
	assert_string_equal(s.text, "fl/root0 ");
}

/* Also one of the same file system, which has the same device number. */
static void test_mounts(void **state)
{
	struct seen s = {0};

	(void)state;
	assert_int_equal(mkdir(in_top("m"), 0755), 0);
	assert_int_equal(mkdir(in_top("m/x"), 0755), 0);
	assert_int_equal(mkdir(in_top("n"), 0755), 0);
	touch("n/inside");
	assert_int_equal(mount(in_top("n"), in_top("m/x"), NULL, MS_BIND, NULL), 0);
	assert_int_equal(look(&s, "m", false), 0);
	assert_string_equal(s.text, "<m0 mx1 >m0 ");
	assert_int_equal(look(&s, "m", true), 0);
	assert_string_equal(s.text, "<m0 <x1 finside2 >x1 >m0 ");
	assert_int_equal(umount2(in_top("m/x"), MNT_DETACH), 0);
}

static void test_many(void **state)
{
	struct seen s = {0};
	char name[64];

	(void)state;
	assert_int_equal(mkdir(in_top("many"), 0755), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "many/a-name-that-takes-room-%d", i);
		touch(name);
	}
	assert_int_equal(look(&s, "many", false), 0);
	assert_int_equal(s.n, 1002);
}

static void test_depth(void **state)
{
	struct seen s = {0};
	int fd = openat(top_fd, ".", O_RDONLY | O_CLOEXEC), below;

	(void)state;
	for (int i = 0; i < TREE_DEPTH_MAX + 1; i++) {
		assert_int_equal(mkdirat(fd, "d", 0755), 0);
		below = openat(fd, "d", O_RDONLY | O_CLOEXEC);
		close(fd);
		fd = below;
		if (i == TREE_DEPTH_MAX - 1) {
			assert_int_equal(look(&s, "d", false), 0);
			assert_int_equal(s.n, 2 * TREE_DEPTH_MAX);
		}
	}
	close(fd);
	assert_int_equal(look(&s, "d", false), -ELOOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_mounts),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_depth),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
