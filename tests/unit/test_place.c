/*
 * test_place.c - a root cannot be left: not by .., not by links, not by links that change while we
 * look; rights are the thread's and are given back; who owns what is new.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "agentd/place.h"

static char top[64];
static struct config config;

static const char *in_top(const char *name)
{
	static char paths[4][256];
	static unsigned next;
	char *p = paths[next++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", top, name);
	return p;
}

static void put(const char *name, const char *text)
{
	int fd = open(in_top(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static int set_up(void **state)
{
	(void)state;
	config_init(&config);
	snprintf(top, sizeof(top), "/tmp/test_place.XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(chmod(top, 0755), 0);
	assert_int_equal(mkdir(in_top("root"), 0755), 0);
	assert_int_equal(mkdir(in_top("root/sub"), 0755), 0);
	put("secret", "outside");
	put("root/file", "inside");
	assert_int_equal(symlink("../secret", in_top("root/up")), 0);
	assert_int_equal(symlink(in_top("secret"), in_top("root/abs")), 0);
	assert_int_equal(symlink("../file", in_top("root/sub/back")), 0);
	assert_int_equal(symlink("/proc/self/root", in_top("root/magic")), 0);
	return 0;
}

static int tear_down(void **state)
{
	char cmd[128];

	(void)state;
	config_fini(&config);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", top);
	return system(cmd);
}

static struct place place(const char *path, const char *root, const char *user)
{
	struct msg_where w = {.path = path, .root = root, .user = user};
	struct place p;
	struct error e;

	assert_int_equal(place_init(&p, &w, &config, &e), 0);
	return p;
}

static int open_in_root(const char *path)
{
	struct place p = place(path, in_top("root"), NULL);
	int fd = place_open(&p, p.path, O_RDONLY, 0);

	place_fini(&p);
	return fd;
}

static void opens(const char *path)
{
	int fd = open_in_root(path);

	assert_true(fd >= 0);
	close(fd);
}

static void test_root(void **state)
{
	(void)state;
	opens("file");
	opens("/file");
	opens("///sub/../file");
	opens("/");
	opens("sub/back");
	assert_int_equal(open_in_root("up"), -EXDEV);
	assert_int_equal(open_in_root("abs"), -EXDEV);
	assert_int_equal(open_in_root(".."), -EXDEV);
	assert_int_equal(open_in_root("../secret"), -EXDEV);
	assert_int_equal(open_in_root("sub/../../secret"), -EXDEV);
	assert_int_equal(open_in_root("/../root/file"), -EXDEV);
	assert_true(open_in_root("magic/etc") < 0);
	assert_int_equal(open_in_root("none"), -ENOENT);
}

static void test_root_of_new_things(void **state)
{
	struct place p = place("../new", in_top("root"), NULL);
	char name[256];
	int fd;

	(void)state;
	assert_int_equal(place_open(&p, p.path, O_CREAT | O_WRONLY, 0644), -EXDEV);
	assert_int_equal(place_parent(&p, p.path, &fd, name), -EXDEV);
	assert_int_equal(place_make_parents(&p, "../x/y", 0755, true), -EXDEV);
	assert_int_equal(place_make_parents(&p, "a/../../x/y", 0755, true), -EXDEV);
	assert_int_equal(access(in_top("x"), F_OK), -1);
	assert_int_equal(place_make_parents(&p, "/n1/n2/n3", 0750, false), 2);
	assert_int_equal(access(in_top("root/n1/n2"), F_OK), 0);
	assert_int_equal(access(in_top("root/n1/n2/n3"), F_OK), -1);
	fd = place_open(&p, "n1/n2/f", O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	place_fini(&p);
}

static atomic_bool swapping;

/* A directory that is now itself, now a link to the outside. */
static void *swap(void *arg)
{
	const char *dir = in_top("root/d"), *link = in_top("root/l");

	(void)arg;
	while (swapping)
		syscall(SYS_renameat2, AT_FDCWD, dir, AT_FDCWD, link, 2 /* RENAME_EXCHANGE */);
	return NULL;
}

/* Checking a path and opening it later is how others leak files. */
static void test_race(void **state)
{
	struct place p = place("d/secret", in_top("root"), NULL);
	unsigned in = 0, out = 0;
	pthread_t t;
	char c = 0;

	(void)state;
	assert_int_equal(mkdir(in_top("root/d"), 0755), 0);
	put("root/d/secret", "inside");
	assert_int_equal(symlink(top, in_top("root/l")), 0);
	swapping = true;
	assert_int_equal(pthread_create(&t, NULL, swap, NULL), 0);
	while (in < 2000 || out < 100) {
		int fd = place_open(&p, p.path, O_RDONLY, 0);

		if (fd < 0) {
			assert_true(fd == -EXDEV);
			out++;
			continue;
		}
		assert_int_equal(read(fd, &c, 1), 1);
		assert_int_equal(c, 'i');
		close(fd);
		in++;
	}
	swapping = false;
	pthread_join(t, NULL);
	place_fini(&p);
}

static void test_parent(void **state)
{
	struct place p = place("/", NULL, NULL);
	char name[256], longer[300];
	int fd = -1;

	(void)state;
	assert_int_equal(place_parent(&p, in_top("root/sub//"), &fd, name), 0);
	assert_string_equal(name, "sub");
	assert_int_equal(faccessat(fd, "sub/back", F_OK, 0), 0);
	close(fd);
	assert_int_equal(place_parent(&p, "/etc", &fd, name), 0);
	assert_string_equal(name, "etc");
	close(fd);
	assert_int_equal(place_parent(&p, "", &fd, name), -EINVAL);
	assert_int_equal(place_parent(&p, "/", &fd, name), -EBUSY);
	assert_int_equal(place_parent(&p, "///", &fd, name), -EBUSY);
	assert_int_equal(place_parent(&p, "/tmp/..", &fd, name), -EINVAL);
	assert_int_equal(place_parent(&p, "/tmp/.", &fd, name), -EINVAL);
	assert_int_equal(place_parent(&p, "/no/such/dir", &fd, name), -ENOENT);
	assert_int_equal(place_parent(&p, in_top("secret/x"), &fd, name), -ENOTDIR);
	memset(longer, 'n', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(place_parent(&p, longer, &fd, name), -ENAMETOOLONG);
	place_fini(&p);
}

static void test_relative(void **state)
{
	char passwd[200], passwd_path[256], group_path[256];
	struct place p;

	(void)state;
	snprintf(passwd_path, sizeof(passwd_path), "%s", in_top("passwd"));
	snprintf(group_path, sizeof(group_path), "%s", in_top("group"));
	snprintf(passwd, sizeof(passwd), "ada:x:4242:4343::%s/root:/bin/sh\n", top);
	put("passwd", passwd);
	put("group", "more:x:4444:ada\n");
	user_set_files(passwd_path, group_path);
	p = place("sub/../file", NULL, "ada");
	assert_string_equal(p.path, in_top("root/sub/../file"));
	assert_true(p.as_user);
	close(place_open(&p, "file", O_RDONLY, 0));
	place_fini(&p);
	assert_int_equal(config_set(&config, "default_user", "ada", passwd, sizeof(passwd)), 0);
	p = place("file", NULL, NULL); /* the home, not the rights */
	assert_string_equal(p.path, in_top("root/file"));
	assert_false(p.as_user);
	place_fini(&p);
	user_set_files(NULL, NULL);
}

static void test_refusals(void **state)
{
	char longer[PATH_MAX + 10];
	struct msg_where w = {.path = "/x", .user = "nobody-here"};
	struct place p;
	struct error e;

	(void)state;
	assert_int_equal(place_init(&p, &w, &config, &e), -ENOENT);
	assert_int_equal(e.code, E_FAILED);
	assert_int_equal(e.err, ENOENT);
	memset(longer, '/', sizeof(longer));
	longer[PATH_MAX] = '\0';
	w = (struct msg_where){.path = longer};
	assert_int_equal(place_init(&p, &w, &config, &e), -ENAMETOOLONG);
	w = (struct msg_where){.path = "x", .root = longer};
	assert_int_equal(place_init(&p, &w, &config, &e), -ENAMETOOLONG);
	longer[PATH_MAX - 1] = '\0';
	w = (struct msg_where){.path = longer};
	assert_int_equal(place_init(&p, &w, &config, &e), 0);
	place_fini(&p);
}

/* A FIFO without a writer held the thread of whoever looked. */
static void test_fifo(void **state)
{
	struct place p = place("/", NULL, NULL);
	int fd;

	(void)state;
	assert_int_equal(mkfifo(in_top("fifo"), 0600), 0);
	fd = place_open(&p, in_top("fifo"), O_RDONLY, 0);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(place_open(&p, in_top("fifo"), O_WRONLY, 0), -ENXIO);
	place_fini(&p);
}

static void test_rights(void **state)
{
	struct place p = place(in_top("private"), NULL, "4242:4343");
	gid_t groups[8];
	struct stat st;
	int fd;

	(void)state;
	put("private", "mine");
	assert_int_equal(chmod(in_top("private"), 0600), 0);
	assert_int_equal(place_enter(&p), 0);
	assert_int_equal(place_open(&p, p.path, O_RDONLY, 0), -EACCES);
	assert_int_equal(place_open(&p, in_top("root/no"), O_CREAT | O_WRONLY, 0644), -EACCES);
	assert_int_equal(getgroups(8, groups), 1);
	assert_int_equal(groups[0], 4343);
	place_leave(&p);
	fd = place_open(&p, p.path, O_RDONLY, 0);
	assert_true(fd >= 0);
	close(fd);

	assert_int_equal(mkdir(in_top("theirs"), 0755), 0);
	assert_int_equal(chown(in_top("theirs"), 4242, 4343), 0);
	assert_int_equal(place_enter(&p), 0);
	fd = place_open(&p, in_top("theirs/f"), O_CREAT | O_WRONLY, 0644);
	place_leave(&p);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_gid, 4343);
	close(fd);
	place_fini(&p);
}

static void *other_thread(void *arg)
{
	uid_t *ret = arg;
	int fd = open(in_top("private"), O_RDONLY | O_CLOEXEC);

	*ret = fd >= 0 ? 0 : 1;
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* The C library's setgroups and setuid are for the whole process. */
static void test_thread_only(void **state)
{
	struct place p = place("/", NULL, "4242:4343");
	uid_t other = 9;
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, other_thread, &other), 0);
	assert_int_equal(place_enter(&p), 0);
	pthread_join(t, NULL);
	place_leave(&p);
	assert_int_equal(other, 0);
	place_fini(&p);
}

static struct stat made(struct place *p, const char *path)
{
	auto_close int fd = -1;
	char name[256];
	struct stat st;
	int dir;

	assert_int_equal(place_parent(p, path, &dir, name), 0);
	fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	place_give(p, dir, fd);
	assert_int_equal(fstat(fd, &st), 0);
	close(dir);
	return st;
}

/* Files that root made in a user's home are the complaint of every peer's users. */
static void test_owners(void **state)
{
	struct msg_where w = {.path = "/"};
	struct place p;
	struct error e;
	struct stat st;

	(void)state;
	assert_int_equal(mkdir(in_top("home"), 0755), 0);
	assert_int_equal(chown(in_top("home"), 4242, 4343), 0);
	assert_int_equal(place_init(&p, &w, &config, &e), 0);
	st = made(&p, in_top("home/parent"));
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_gid, 4343);
	assert_int_equal(place_make_parents(&p, in_top("home/a/b/c"), 0777, true), 3);
	assert_int_equal(stat(in_top("home/a/b/c"), &st), 0);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_gid, 4343);
	assert_int_equal(st.st_mode & 07777, 0777); /* whatever the umask is */
	p.owner = (struct msg_owner){.kind = OWNER_SELF};
	assert_int_equal(made(&p, in_top("home/self")).st_uid, geteuid());
	p.owner = (struct msg_owner){OWNER_IDS, 7, 8};
	st = made(&p, in_top("home/ids"));
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_gid, 8);
	place_fini(&p);
}

static void test_make_parents(void **state)
{
	struct place p = place("/", NULL, NULL);

	(void)state;
	assert_int_equal(place_make_parents(&p, in_top("m/n/file"), 0755, false), 2);
	assert_int_equal(place_make_parents(&p, in_top("m/n/file"), 0755, false), 0);
	assert_int_equal(place_make_parents(&p, in_top("m//o/./q/"), 0755, true), 2);
	assert_int_equal(place_make_parents(&p, in_top("m/r/../s"), 0755, true), 2);
	assert_int_equal(place_make_parents(&p, in_top("secret/x"), 0755, true), -ENOTDIR);
	assert_int_equal(place_make_parents(&p, in_top("secret"), 0755, true), -ENOTDIR);
	assert_int_equal(symlink("nowhere", in_top("dangling")), 0);
	assert_int_equal(place_make_parents(&p, in_top("dangling"), 0755, true), -EEXIST);
	assert_int_equal(place_make_parents(&p, "/", 0755, true), 0);
	assert_int_equal(place_make_parents(&p, "/x", 0755, false), 0);
	place_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_root_of_new_things),
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_parent),
		cmocka_unit_test(test_relative),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_fifo),
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_thread_only),
		cmocka_unit_test(test_owners),
		cmocka_unit_test(test_make_parents),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
