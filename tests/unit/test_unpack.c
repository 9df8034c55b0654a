/*
 * test_unpack.c - files, links and directories made below a directory: what is there is replaced,
 * nothing is made outside, what fails leaves nothing, the limits hold. Who may have what is tested
 * end to end (test_file_tar.py).
 *
 * ctest: timeout=120
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include <cmocka.h>

#include "agentd/unpack.h"

static char top[] = "/tmp/test-unpack-XXXXXX", inner[40];
static struct config config;
static struct place place;
static struct unpack u;
static const struct unpack_meta plain = {.mode = 0640};
static unsigned fds;

static unsigned open_fds(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int setup(void **state)
{
	struct msg_where where = {.path = inner};
	struct error e;

	(void)state;
	fds = open_fds();
	snprintf(top, sizeof(top), "/tmp/test-unpack-XXXXXX");
	assert_non_null(mkdtemp(top));
	snprintf(inner, sizeof(inner), "%s/in", top);
	assert_int_equal(mkdir(inner, 0755), 0);
	config_init(&config);
	assert_int_equal(place_init(&place, &where, &config, &e), 0);
	return unpack_init(&u, &place, open(inner, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

static int teardown(void **state)
{
	char command[100];

	(void)state;
	unpack_fini(&u);
	unpack_fini(&u);
	place_fini(&place);
	config_fini(&config);
	snprintf(command, sizeof(command), "rm -rf %s", top);
	assert_int_equal(system(command), 0);
	assert_int_equal(open_fds(), fds);
	return 0;
}

/* The entries of a directory below the top. */
static unsigned entries(const char *dir)
{
	char path[200];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", top, dir);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static struct stat look(const char *path)
{
	struct stat st = {0};
	char full[200];

	snprintf(full, sizeof(full), "%s/%s", inner, path);
	assert_int_equal(lstat(full, &st), 0);
	return st;
}

static void test_file(void **state)
{
	(void)state;
	assert_int_equal(unpack_file(&u, "a", &plain, "abc", 3, false), 0);
	assert_int_equal(unpack_file(&u, "a", &plain, "x", 1, false), -EEXIST);
	assert_int_equal(look("a").st_size, 3);
	assert_int_equal(unpack_file(&u, "a", &plain, "x", 1, true), 0);
	assert_int_equal(look("a").st_size, 1);
	assert_int_equal(look("a").st_mode, S_IFREG | 0640);
	assert_int_equal(unpack_file(&u, "d/e/f", &plain, "x", 1, false), 0);
	assert_int_equal(unpack_file(&u, "d/e/g", &plain, NULL, 0, false), 0);
	assert_int_equal(look("d/e").st_mode, S_IFDIR | 0755);
	assert_int_equal(entries("in/d/e"), 2);
	assert_int_equal(unpack_file(&u, "a/b", &plain, "x", 1, false), -ENOTDIR);
	assert_int_equal(unpack_file(&u, "d", &plain, "x", 1, true), -EISDIR);
	assert_int_equal(entries("in"), 2);
}

static void test_large(void **state)
{
	(void)state;
	assert_int_equal(unpack_begin(&u, "d/large", &plain), 0);
	assert_int_equal(unpack_write(u.atomic.fd, "12345", 5), 0);
	assert_int_equal(entries("in/d"), 0);
	assert_int_equal(unpack_commit(&u), 0);
	assert_int_equal(look("d/large").st_size, 5);
	assert_int_equal(unpack_begin(&u, "d/large", &plain), 0);
	assert_int_equal(unpack_write(u.atomic.fd, "1", 1), 0);
	unpack_fini(&u); /* in the middle */
	assert_int_equal(look("d/large").st_size, 5);
	assert_int_equal(entries("in/d"), 1);
}

static void test_links(void **state)
{
	(void)state;
	assert_int_equal(unpack_file(&u, "d/f", &plain, "x", 1, false), 0);
	for (int i = 0; i < 2; i++) { /* the second time over what is the same file already */
		assert_int_equal(unpack_hardlink(&u, "h", "d/f"), 0);
		assert_int_equal(look("h").st_nlink, 2);
		assert_int_equal(unpack_symlink(&u, "s", &plain, "anywhere"), 0);
		assert_int_equal(look("s").st_size, 8);
	}
	assert_int_equal(unpack_hardlink(&u, "h", "none"), -ENOENT);
	assert_int_equal(unpack_hardlink(&u, "h", "none/deeper"), -ENOENT);
	assert_int_equal(unpack_symlink(&u, "d", &plain, "x"), -EISDIR);
	assert_int_equal(entries("in"), 3);
}

static void test_out(void **state)
{
	(void)state;
	assert_int_equal(unpack_symlink(&u, "up", &plain, ".."), 0);
	assert_int_equal(unpack_symlink(&u, "root", &plain, "/"), 0);
	assert_int_equal(unpack_file(&u, "up/x", &plain, "x", 1, true), -EXDEV);
	assert_int_equal(unpack_begin(&u, "up/x", &plain), -EXDEV);
	assert_int_equal(unpack_dir(&u, "up/in", &plain), -EXDEV);
	assert_int_equal(unpack_symlink(&u, "up/y", &plain, "z"), -EXDEV);
	assert_int_equal(unpack_hardlink(&u, "h", "root/etc/passwd"), -EXDEV);
	assert_int_equal(
		unpack_node(&u, "up/fifo", &(struct unpack_meta){.mode = S_IFIFO}, 0), -EXDEV);
	assert_int_equal(entries(""), 1);
}

static void test_dirs(void **state)
{
	const struct unpack_meta closed = {
		.mode = 0500, .timed = true, .mtime = {.tv_sec = 7, .tv_nsec = 8}};

	(void)state;
	assert_int_equal(unpack_dir(&u, "d", &closed), 1);
	assert_int_equal(unpack_dir(&u, "d", &closed), 0);
	assert_int_equal(unpack_file(&u, "d/f", &plain, "x", 1, true), 0);
	assert_int_equal(unpack_dir(&u, "d/f", &closed), 1); /* in place of the file */
	assert_int_equal(unpack_finish(&u), 0);
	assert_int_equal(look("d").st_mode, S_IFDIR | 0500);
	assert_int_equal(look("d").st_mtim.tv_sec, 7);
	assert_int_equal(look("d/f").st_mtim.tv_nsec, 8);
}

static void test_long_names(void **state)
{
	static char path[UNPACK_PATH_MAX + 1];

	(void)state;
	memset(path, 'n', 256);
	assert_int_equal(unpack_file(&u, path, &plain, "x", 1, true), -ENAMETOOLONG);
	assert_int_equal(unpack_begin(&u, path, &plain), -ENAMETOOLONG);
	for (size_t i = 0; i < UNPACK_PATH_MAX; i++)
		path[i] = i % 2 ? '/' : 'n';
	path[UNPACK_PATH_MAX] = '\0';
	path[UNPACK_PATH_MAX - 1] =
		'\0'; /* two thousand directories, just within the kernel's limit */
	assert_int_equal(unpack_file(&u, path, &plain, "x", 1, true), 0);
}

static void test_dirs_limit(void **state)
{
	char path[1025];
	int r = 0;

	(void)state;
	for (size_t i = 0; i < 1024; i++)
		path[i] = i % 200 == 199 ? '/' : 'n';
	path[1024] = '\0';
	for (unsigned i = 0; i < UNPACK_DIRS_MAX / 1000 && r >= 0; i++)
		r = unpack_dir(&u, path, &plain);
	assert_int_equal(r, -ENOBUFS);
	assert_true(u.later_len <= UNPACK_DIRS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dirs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dirs_limit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
