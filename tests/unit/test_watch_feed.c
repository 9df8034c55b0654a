/*
 * test_watch_feed.c - real directories under inotify, read when the test says so: what was there
 * before its watch, halves of renames, names that meant something else, limits, the end.
 */
#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>
#include <fcntl.h>

#include "agentd/watch_feed.h"

struct fixture {
	struct watch_feed feed;
	struct config config;
	char top[64];
	char said[4000]; /* "create a, rename a b" */
	int dir;
};

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned fds_before;

static int set_up(void **state)
{
	static struct fixture f;

	fds_before = open_fds();
	f = (struct fixture){0};
	config_init(&f.config);
	strcpy(f.top, "/tmp/watch-feed-XXXXXX");
	assert_non_null(mkdtemp(f.top));
	f.dir = open(f.top, O_PATH | O_DIRECTORY | O_CLOEXEC);
	*state = &f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	watch_feed_fini(&f->feed);
	close_fd(&f->dir);
	config_fini(&f->config);
	nftw(f->top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(open_fds(), fds_before);
	return 0;
}

static int start(struct fixture *f, const char *path, bool recursive)
{
	const struct msg_where where = {.path = path};
	struct error e;

	watch_feed_init(&f->feed);
	assert_int_equal(place_init(&f->feed.place, &where, &f->config, &e), 0);
	f->feed.recursive = recursive;
	return watch_feed_start(&f->feed);
}

static const char *heard(struct fixture *f)
{
	size_t n = 0;

	f->said[0] = '\0';
	watch_feed_read(&f->feed);
	for (struct watch_event *e = f->feed.out, *next; e; e = next) {
		next = e->next;
		n += (size_t)snprintf(f->said + n, sizeof(f->said) - n, "%s%s%s%.*s %.*s",
			n ? ", " : "", watch_kind_str(e->kind), e->from_len ? " " : "",
			(int)e->from_len, e->text + e->len, (int)e->len, e->text);
		free(e);
	}
	f->feed.out = NULL;
	f->feed.tail = &f->feed.out;
	return f->said;
}

static void make(struct fixture *f, const char *name)
{
	close(openat(f->dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void make_dir(struct fixture *f, const char *name)
{
	assert_int_equal(mkdirat(f->dir, name, 0700), 0);
}

static void move(struct fixture *f, const char *from, const char *to)
{
	assert_int_equal(renameat(f->dir, from, f->dir, to), 0);
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){0, ms * 1000000L}, NULL);
}

static void test_made_before_the_watch(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(start(f, f->top, true), 0);
	make_dir(f, "a");
	make_dir(f, "a/b");
	make(f, "a/b/f");
	assert_string_equal(heard(f), "create a, create a/b, create a/b/f");
	make(f, "a/b/g");
	assert_string_equal(heard(f), "create a/b/g");
	unlinkat(f->dir, "a/b/f", 0);
	unlinkat(f->dir, "a/b/g", 0);
	unlinkat(f->dir, "a/b", AT_REMOVEDIR);
	assert_string_equal(heard(f), "remove a/b/f, remove a/b/g, remove a/b");
	assert_int_equal(f->feed.dirs.n, 2);
	assert_string_equal(heard(f), "");
}

/* A name that meant another directory when the kernel told of it. */
static void test_past_names(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(start(f, f->top, true), 0);
	make_dir(f, "d");
	move(f, "d", "e");
	make_dir(f, "d");
	make(f, "d/x");
	make(f, "e/y");
	heard(f);
	assert_int_equal(f->feed.dirs.n, 3);
	make(f, "d/x2");
	make(f, "e/y2");
	assert_string_equal(heard(f), "create d/x2, create e/y2");
	move(f, "e", "d/e");
	make(f, "d/e/y3");
	assert_string_equal(heard(f), "rename e d/e, create d/e/y3");
}

static void test_halves(void **state)
{
	struct fixture *f = *state;
	char out[100];

	make_dir(f, "in");
	make_dir(f, "in/d");
	make_dir(f, "in/d/deep");
	snprintf(out, sizeof(out), "%s/in", f->top);
	assert_int_equal(start(f, out, true), 0);
	make(f, "in/f");
	heard(f);
	move(f, "in/f", "f");
	assert_string_equal(heard(f), "");
	assert_int_equal(f->feed.waiting, 1);
	pause_ms(WATCH_PAIR_MS + 5);
	assert_string_equal(heard(f), "remove f");
	assert_int_equal(f->feed.waiting, 0);
	/* What comes anew under the name is told behind the end of what was there. */
	move(f, "in/d", "d");
	make_dir(f, "in/d");
	assert_string_equal(heard(f), "remove d, create d");
	make(f, "d/deep/unseen");
	assert_string_equal(heard(f), "");
	move(f, "d", "in/e");
	assert_string_equal(heard(f), "create e, create e/deep, create e/deep/unseen");
	for (int i = 0; i < 20; i++) {
		char name[32];

		snprintf(name, sizeof(name), "in/%d", i);
		make(f, name);
		move(f, name, name + 3);
	}
	heard(f);
	assert_int_equal(f->feed.waiting, WATCH_PAIRS);
}

static void test_one_file(void **state)
{
	struct fixture *f = *state;
	char path[100];

	make(f, "file");
	make_dir(f, "other");
	snprintf(path, sizeof(path), "%s/file", f->top);
	assert_int_equal(start(f, path, true), 0);
	assert_int_equal(f->feed.dirs.n, 1);
	make(f, "new");
	make(f, "other/x");
	move(f, "new", "file");
	assert_string_equal(heard(f), "create file");
	unlinkat(f->dir, "file", 0);
	assert_string_equal(heard(f), "remove file");
}

static void test_end(void **state)
{
	struct fixture *f = *state;
	char path[100];

	make_dir(f, "top");
	make_dir(f, "top/sub");
	snprintf(path, sizeof(path), "%s/top", f->top);
	assert_int_equal(start(f, path, true), 0);
	unlinkat(f->dir, "top/sub", AT_REMOVEDIR);
	unlinkat(f->dir, "top", AT_REMOVEDIR);
	make_dir(f, "top"); /* another one */
	make_dir(f, "top/new");
	assert_string_equal(heard(f), "remove sub, remove ");
	assert_true(f->feed.over);
}

static void test_failures(void **state)
{
	struct fixture *f = *state;
	char path[100];

	snprintf(path, sizeof(path), "%s/nothing", f->top);
	assert_int_equal(start(f, path, true), -ENOENT);
	watch_feed_fini(&f->feed);
	watch_feed_fini(&f->feed);
	assert_int_equal(start(f, f->top, false), 0);
	make_dir(f, "d");
	make(f, "d/unseen");
	assert_string_equal(heard(f), "create d");
	assert_int_equal(f->feed.dirs.n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_made_before_the_watch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_past_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_halves, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
