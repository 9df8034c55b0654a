/*
 * test_walk.c - every entry once, whatever the depth and the number of directories open; links not
 * followed, or followed without going round for ever; what cannot be read told; descriptors
 * bounded.
 *
 * ctest: timeout=120
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>

#include <cmocka.h>

#include "agentd/walk.h"

static char top[] = "/tmp/test-walk-XXXXXX";

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *fmt, ...)
{
	char command[2000], script[1900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(script, sizeof(script), fmt, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "cd %s && %s", top, script);
	assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/test-walk-XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	run("chmod -R u+rwx . && rm -rf %s", top);
	return 0;
}

static unsigned open_fds(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* The paths in byte order, each with a newline; errors as "path!errno". */
static char *walk_all(const char *dir, unsigned flags, unsigned depth, const struct place *place)
{
	size_t n = 0, room = 1 << 20;
	unsigned before = open_fds(), seen = 0;
	const struct walk_entry *e;
	char *text = calloc(1, room);
	FILE *sort;
	struct walk w;
	int r;

	assert_int_equal(walk_init(&w, open(dir, O_RDONLY | O_DIRECTORY), flags, depth, place), 0);
	while ((r = walk_next(&w, &e)) > 0) {
		assert_string_equal(
			strrchr(e->path, '/') ? strrchr(e->path, '/') + 1 : e->path, e->name);
		assert_int_equal(strlen(e->path), e->path_len);
		if (e->err)
			n += (size_t)snprintf(text + n, room - n, "%s!%d\n", e->path, -e->err);
		else
			n += (size_t)snprintf(text + n, room - n, "%s %d\n", e->path, e->type);
		if (flags & WALK_STAT && !e->err)
			assert_int_equal(e->type, (e->st.st_mode & S_IFMT) >> 12);
		if (seen++ % 64 == 0)
			assert_true(open_fds() <= before + WALK_OPEN + 2);
	}
	assert_int_equal(r, 0);
	assert_int_equal(walk_next(&w, &e), 0);
	walk_fini(&w);
	walk_fini(&w);
	assert_int_equal(open_fds(), before);
	sort = popen("LC_ALL=C sort > /tmp/test-walk.out", "w");
	fwrite(text, 1, n, sort);
	pclose(sort);
	sort = fopen("/tmp/test-walk.out", "r");
	n = fread(text, 1, room - 1, sort);
	text[n] = '\0';
	fclose(sort);
	unlink("/tmp/test-walk.out");
	return text;
}

static void expect(unsigned flags, unsigned depth, const struct place *place, const char *want)
{
	auto_free char *text = walk_all(top, flags, depth, place);

	assert_string_equal(text, want);
}

static void test_types(void **state)
{
	static const char all[] = "a 4\na/b 8\nf 1\nl 10\nlost 10\n";

	(void)state;
	run("mkdir a && touch a/b && mkfifo f && ln -s a l && ln -s nowhere lost");
	expect(0, 0, NULL, all);
	expect(WALK_STAT, 0, NULL, all);
	expect(WALK_FLAT, 0, NULL, "a 4\nf 1\nl 10\nlost 10\n");
	expect(WALK_STAT, 1, NULL, "a 4\nf 1\nl 10\nlost 10\n");
}

static void test_empty(void **state)
{
	(void)state;
	expect(0, 0, NULL, "");
}

static void test_depth(void **state)
{
	(void)state;
	run("mkdir -p a/b/c/d");
	expect(0, 3, NULL, "a 4\na/b 4\na/b/c 4\n");
}

static void test_skip(void **state)
{
	const struct walk_entry *e;
	struct walk w;
	unsigned n = 0;

	(void)state;
	run("mkdir -p a/b c/d");
	assert_int_equal(walk_init(&w, open(top, O_RDONLY), 0, 0, NULL), 0);
	while (walk_next(&w, &e) > 0) {
		n++;
		walk_skip(&w);
	}
	assert_int_equal(n, 2);
	walk_fini(&w);
}

/* Deeper than descriptors are kept, with much in each: all levels are closed and opened again. */
static void test_deep(void **state)
{
	auto_free char *text = NULL, *again = NULL;
	unsigned lines = 0;

	(void)state;
	run("for i in $(seq 60); do touch a b c z y x $(seq -f %%0100.0f 40); mkdir d e; touch d/in e/in; "
	    "cd d; done");
	text = walk_all(top, 0, 0, NULL);
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 60 * (6 + 40 + 2 + 2));
	again = walk_all(top, WALK_STAT, 0, NULL);
	assert_string_equal(text, again);
}

/* Directories in each other; a shell has no name for those far down. */
static void chain(unsigned n, unsigned name_len)
{
	int fd = open(top, O_PATH);
	char name[256] = {0};

	memset(name, 'n', name_len);
	for (unsigned i = 0; i < n; i++) {
		int next;

		assert_int_equal(mkdirat(fd, name, 0755), 0);
		next = openat(fd, name, O_PATH);
		close(fd);
		fd = next;
	}
	close(fd);
}

static void test_too_deep(void **state)
{
	auto_free char *text = NULL;
	unsigned lines = 0;

	(void)state;
	chain(WALK_DEPTH + 10, 1);
	text = walk_all(top, 0, 0, NULL);
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, WALK_DEPTH + 1); /* the last one twice: that it is too deep */
	assert_non_null(strstr(text, "!36\n"));
}

static void test_long_path(void **state)
{
	auto_free char *text = NULL;

	(void)state;
	chain(80, 250);
	text = walk_all(top, 0, 0, NULL);
	assert_non_null(strstr(text, "!36\n"));
}

/* Names that fill the buffer several times over, entered at every place. */
static void test_wide(void **state)
{
	auto_free char *text = NULL;
	unsigned lines = 0;

	(void)state;
	run("mkdir $(seq -f %%0120.0f 700) && touch $(seq 100 | sed s/$/x/) && for i in 0*; do touch $i/f; done");
	text = walk_all(top, 0, 0, NULL);
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 2 * 700 + 100);
}

static void test_unreadable(void **state)
{
	(void)state;
	run("mkdir -p a/b c && touch c/d && mkdir x && mkdir x/y");
	/* Root may read everything: a directory that is gone and made a file between is what stops
	 * it as well. */
	const struct walk_entry *e;
	struct walk w;
	unsigned told = 0;

	assert_int_equal(walk_init(&w, open(top, O_RDONLY), 0, 0, NULL), 0);
	while (walk_next(&w, &e) > 0) {
		if (strcmp(e->path, "x") == 0 && !e->opening)
			run("rm -r x && touch x");
		if (e->opening) {
			assert_int_equal(e->err, -ENOTDIR);
			assert_string_equal(e->name, "x");
			told++;
		}
	}
	assert_int_equal(told, 1);
	walk_fini(&w);
}

/* A directory moved away while it is closed: told, and the rest goes on. */
static void test_moved(void **state)
{
	const struct walk_entry *e;
	unsigned told = 0, last = 0;
	struct walk w;

	(void)state;
	run("mkdir last && for i in $(seq 40); do mkdir d; cd d; done; touch bottom");
	run("cd d/d/d && touch $(seq -f %%0200.0f 400)"); /* more than one buffer */
	assert_int_equal(walk_init(&w, open(top, O_RDONLY), 0, 0, NULL), 0);
	while (walk_next(&w, &e) > 0) {
		if (strcmp(e->name, "bottom") == 0)
			run("mv d/d/d elsewhere && mkdir d/d/d");
		if (e->err) {
			assert_true(e->opening);
			assert_true(e->err == -ESTALE || e->err == -ENOENT);
			told++;
		}
		last += strcmp(e->path, "last") == 0;
	}
	assert_true(told > 0);
	assert_int_equal(last, 1);
	walk_fini(&w);
}

static void test_follow(void **state)
{
	struct msg_where where = {.path = top};
	struct config config;
	struct place place;
	struct error err;

	(void)state;
	config_init(&config);
	assert_int_equal(place_init(&place, &where, &config, &err), 0);
	run("mkdir -p a/b && touch a/f && ln -s .. a/b/up && ln -s a again && ln -s a/f file && ln -s none lost");
	/* "up" and "again/b/up" are the start itself: given, and not entered. */
	expect(WALK_FOLLOW, 0, &place,
		"a 4\na/b 4\na/b/up 4\na/b/up!40\na/f 8\nagain 4\nagain/b 4\nagain/b/up 4\n"
		"again/b/up!40\nagain/f 8\nfile 8\nlost 10\n");
	expect(0, 0, NULL, "a 4\na/b 4\na/b/up 10\na/f 8\nagain 10\nfile 10\nlost 10\n");
	place_fini(&place);
	config_fini(&config);
}

/* Beneath a root, links that lead out of it stay links. */
static void test_follow_beneath(void **state)
{
	char root[100];
	struct msg_where where = {.path = "in", .root = root};
	struct config config;
	struct place place;
	struct error err;
	auto_free char *text = NULL;

	(void)state;
	run("mkdir -p r/in r/other out && touch out/secret r/other/fine && ln -s ../../out r/in/bad && "
	    "ln -s /etc r/in/etc && ln -s ../other r/in/good");
	snprintf(root, sizeof(root), "%s/r", top);
	config_init(&config);
	assert_int_equal(place_init(&place, &where, &config, &err), 0);
	snprintf(root, sizeof(root), "%s/r/in", top);
	text = walk_all(root, WALK_FOLLOW | WALK_STAT, 0, &place);
	assert_string_equal(text, "bad 10\netc 10\ngood 4\ngood/fine 8\n");
	place_fini(&place);
	config_fini(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_types, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_skip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_deep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_path, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wide, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_follow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_follow_beneath, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
