/*
 * test_atomic.c - whole or not at all: new and replaced files, links, owners, modes, a full disk,
 * and nothing left behind of what was given up. On tmpfs (O_TMPFILE) and on a file system
 * without it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "agentd/atomic.h"

static char top[64];
static struct place place = {.path = (char *)""};
static struct error error;

static const char *in_top(const char *name)
{
	static char paths[4][256];
	static unsigned next;
	char *p = paths[next++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", top, name);
	return p;
}

static int set_up(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/test_atomic.XXXXXX");
	assert_non_null(mkdtemp(top));
	return mount("none", top, "tmpfs", 0, "size=1m,mode=755");
}

static int tear_down(void **state)
{
	(void)state;
	return umount2(top, MNT_DETACH) < 0 || rmdir(top) < 0 ? -1 : 0;
}

static void text_is(const char *name, const char *want)
{
	char buf[64] = "";
	int fd = open(in_top(name), O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, buf, sizeof(buf) - 1) >= 0);
	close(fd);
	assert_string_equal(buf, want);
}

static int write_file(
	const char *name, const char *text, mode_t mode, enum atomic_how how, bool sync)
{
	struct atomic a;
	int r = atomic_begin(&a, &place, in_top(name), mode, how, &error);

	if (r < 0)
		return r;
	assert_int_equal(write(a.fd, text, strlen(text)), strlen(text));
	return atomic_commit(&a, sync);
}

static unsigned entries(const char *name)
{
	DIR *d = opendir(in_top(name));
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(lstat(in_top(name), &st), 0);
	return st.st_mode & 07777;
}

static void test_new_and_replaced(void **state)
{
	(void)state;
	assert_int_equal(mkdir(in_top("a"), 0755), 0);
	assert_int_equal(write_file("a/f", "one", ATOMIC_MODE_KEEP, ATOMIC_REPLACE, false), 0);
	text_is("a/f", "one");
	assert_int_equal(mode_of("a/f"), 0644);
	assert_int_equal(write_file("a/f", "two", ATOMIC_MODE_KEEP, ATOMIC_NEW, false), -EEXIST);
	text_is("a/f", "one");
	assert_int_equal(chmod(in_top("a/f"), 04751), 0);
	assert_int_equal(write_file("a/f", "three", ATOMIC_MODE_KEEP, ATOMIC_REPLACE, true), 0);
	text_is("a/f", "three");
	assert_int_equal(mode_of("a/f"), 04751);
	assert_int_equal(write_file("a/f", "four", 0600, ATOMIC_REPLACE, false), 0);
	assert_int_equal(mode_of("a/f"), 0600);
	assert_int_equal(write_file("a/g", "", 0777, ATOMIC_NEW, true), 0);
	assert_int_equal(mode_of("a/g"), 0777);
	assert_int_equal(entries("a"), 2);
}

static void test_owner(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(mkdir(in_top("home"), 0755), 0);
	assert_int_equal(chown(in_top("home"), 4242, 4343), 0);
	assert_int_equal(write_file("home/f", "x", 06755, ATOMIC_REPLACE, false), 0);
	assert_int_equal(stat(in_top("home/f"), &st), 0);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_gid, 4343);
	assert_int_equal(st.st_mode & 07777, 06755);
	assert_int_equal(chown(in_top("home/f"), 7, 8), 0);
	assert_int_equal(write_file("home/f", "y", ATOMIC_MODE_KEEP, ATOMIC_REPLACE, false), 0);
	assert_int_equal(stat(in_top("home/f"), &st), 0);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_gid, 8);
}

/* Who writes with a user's rights: linkat() needs another way then, and an owner cannot be kept. */
static void test_as_user(void **state)
{
	struct place p = {.path = (char *)"", .as_user = true, .user = {.uid = 4242, .gid = 4343}};
	struct place save = place;
	struct stat st;
	struct config config;
	struct msg_where w = {.path = "/", .user = "4242:4343"};

	(void)state;
	config_init(&config);
	assert_int_equal(place_init(&p, &w, &config, &error), 0);
	place = p;
	assert_int_equal(mkdir(in_top("user"), 0755), 0);
	assert_int_equal(chown(in_top("user"), 4242, 4343), 0);
	assert_int_equal(place_enter(&p), 0);
	assert_int_equal(write_file("user/f", "x", 0640, ATOMIC_NEW, true), 0);
	assert_int_equal(write_file("user/f", "y", ATOMIC_MODE_KEEP, ATOMIC_REPLACE, true), 0);
	assert_int_equal(write_file("f", "y", 0640, ATOMIC_REPLACE, false), -EACCES);
	place_leave(&p);
	assert_int_equal(stat(in_top("user/f"), &st), 0);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(chown(in_top("user/f"), 0, 0), 0);
	assert_int_equal(chmod(in_top("user/f"), 04755), 0);
	assert_int_equal(place_enter(&p), 0);
	assert_int_equal(write_file("user/f", "z", ATOMIC_MODE_KEEP, ATOMIC_REPLACE, true), 0);
	place_leave(&p);
	assert_int_equal(stat(in_top("user/f"), &st), 0);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(entries("user"), 1);
	place = save;
	place_fini(&p);
	config_fini(&config);
}

static void test_links(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(mkdir(in_top("l"), 0755), 0);
	assert_int_equal(mkdir(in_top("l/sub"), 0755), 0);
	assert_int_equal(symlink("sub/two", in_top("l/one")), 0);
	assert_int_equal(symlink("../real", in_top("l/sub/two")), 0);
	assert_int_equal(write_file("l/one", "far", 0644, ATOMIC_REPLACE, false), 0); /* dangling */
	text_is("l/real", "far");
	assert_int_equal(write_file("l/one", "away", 0644, ATOMIC_REPLACE, false), 0);
	text_is("l/real", "away");
	assert_int_equal(lstat(in_top("l/one"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(write_file("l/one", "x", 0644, ATOMIC_NEW, false), -EEXIST);
	assert_int_equal(symlink("loop", in_top("l/loop")), 0);
	assert_int_equal(write_file("l/loop", "x", 0644, ATOMIC_REPLACE, false), -ELOOP);
	/* Another's link in a directory like /tmp. */
	assert_int_equal(mkdir(in_top("tmp"), 0755), 0);
	assert_int_equal(chmod(in_top("tmp"), 01777), 0);
	assert_int_equal(symlink("../l/real", in_top("tmp/trap")), 0);
	assert_int_equal(write_file("tmp/trap", "ours", 0644, ATOMIC_REPLACE, false), 0);
	assert_int_equal(lchown(in_top("tmp/trap"), 4242, 4242), 0);
	assert_int_equal(write_file("tmp/trap", "x", 0644, ATOMIC_REPLACE, false), -EACCES);
	text_is("l/real", "ours");
}

static void test_root(void **state)
{
	(void)state;
	assert_int_equal(mkdir(in_top("jail"), 0755), 0);
	assert_int_equal(symlink("../outside", in_top("jail/up")), 0);
	assert_int_equal(symlink("/etc/outside", in_top("jail/abs")), 0);
	assert_int_equal(symlink("inside", in_top("jail/in")), 0);
	place.root = strdup(in_top("jail"));
	for (int i = 0; i < 3; i++) {
		const char *const paths[] = {"up", "abs", "../outside"};
		struct atomic a;

		assert_int_equal(
			atomic_begin(&a, &place, paths[i], 0644, ATOMIC_REPLACE, &error), -EXDEV);
		assert_int_equal(error.err, EXDEV);
	}
	{
		struct atomic a;

		assert_int_equal(atomic_begin(&a, &place, "/in", 0644, ATOMIC_REPLACE, &error), 0);
		assert_int_equal(atomic_commit(&a, false), 0);
	}
	free(take_ptr(&place.root));
	text_is("jail/inside", "");
	assert_int_equal(access(in_top("outside"), F_OK), -1);
}

static void test_refused(void **state)
{
	struct atomic a;

	(void)state;
	assert_int_equal(mkdir(in_top("r"), 0755), 0);
	assert_int_equal(mkdir(in_top("r/dir"), 0755), 0);
	assert_int_equal(mkfifo(in_top("r/fifo"), 0644), 0);
	assert_int_equal(write_file("r/dir", "x", 0644, ATOMIC_REPLACE, false), -EISDIR);
	assert_int_equal(write_file("r/dir/", "x", 0644, ATOMIC_REPLACE, false), -EISDIR);
	assert_int_equal(write_file("r/new/", "x", 0644, ATOMIC_REPLACE, false), -EISDIR);
	assert_int_equal(atomic_begin(&a, &place, "/", 0644, ATOMIC_REPLACE, &error), -EISDIR);
	assert_int_equal(write_file("r/none/x", "x", 0644, ATOMIC_REPLACE, false), -ENOENT);
	assert_true(write_file("r/fifo", "x", 0644, ATOMIC_REPLACE, false) < 0);
	assert_int_equal(error.code, E_SPECIAL_FILE);
	atomic_abort(&a); /* after a failed begin */
	assert_int_equal(entries("r"), 2);
}

static void fill(int fd)
{
	static char chunk[64 * 1024];

	while (write(fd, chunk, sizeof(chunk)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
}

static void test_full(void **state)
{
	struct atomic a;

	(void)state;
	assert_int_equal(mkdir(in_top("full"), 0755), 0);
	assert_int_equal(write_file("full/f", "old", 0644, ATOMIC_REPLACE, false), 0);
	assert_int_equal(
		atomic_begin(&a, &place, in_top("full/f"), 0644, ATOMIC_REPLACE, &error), 0);
	fill(a.fd);
	atomic_abort(&a);
	text_is("full/f", "old");
	assert_int_equal(entries("full"), 1);
	assert_int_equal(write_file("full/f", "new", 0644, ATOMIC_REPLACE, false), 0);
}

/* Somebody made the target, or a directory of its name, while the file was written. */
static void test_target_appears(void **state)
{
	struct atomic a;

	(void)state;
	assert_int_equal(mkdir(in_top("t"), 0755), 0);
	assert_int_equal(atomic_begin(&a, &place, in_top("t/f"), 0644, ATOMIC_REPLACE, &error), 0);
	assert_int_equal(write_file("t/f", "other", 0644, ATOMIC_NEW, false), 0);
	assert_int_equal(atomic_commit(&a, false), 0);
	text_is("t/f", "");
	assert_int_equal(atomic_begin(&a, &place, in_top("t/g"), 0644, ATOMIC_NEW, &error), 0);
	assert_int_equal(write_file("t/g", "other", 0644, ATOMIC_NEW, false), 0);
	assert_int_equal(atomic_commit(&a, false), -EEXIST);
	assert_int_equal(atomic_begin(&a, &place, in_top("t/h"), 0644, ATOMIC_REPLACE, &error), 0);
	assert_int_equal(mkdir(in_top("t/h"), 0755), 0);
	assert_int_equal(atomic_commit(&a, false), -EISDIR);
	assert_int_equal(entries("t"), 3);
}

/* A named file from the start, as where O_TMPFILE is not known: an 8-bit FAT of our own is more
 * than a test needs, so the state is made by hand. */
static void hide(struct atomic *a)
{
	snprintf(a->temp, sizeof(a->temp), ".agentd%016d", 7);
	close_fd(&a->fd);
	a->fd = openat(a->dir, a->temp, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	assert_true(a->fd >= 0);
}

static void test_without_tmpfile(void **state)
{
	struct atomic a;

	(void)state;
	assert_int_equal(mkdir(in_top("n"), 0755), 0);
	for (int i = 0; i < 3; i++) {
		enum atomic_how how = i == 0 ? ATOMIC_NEW : ATOMIC_REPLACE;

		assert_int_equal(atomic_begin(&a, &place, in_top("n/f"), 0640, how, &error), 0);
		hide(&a);
		if (i == 2)
			atomic_abort(&a);
		else
			assert_int_equal(atomic_commit(&a, true), 0);
		assert_int_equal(mode_of("n/f"), 0640);
		assert_int_equal(entries("n"), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_and_replaced),
		cmocka_unit_test(test_owner),
		cmocka_unit_test(test_as_user),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_target_appears),
		cmocka_unit_test(test_without_tmpfile),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
