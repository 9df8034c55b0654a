/*
 * Files of our own in place of /etc/passwd and /etc/group: good, odd, broken, missing, and changed
 * in between.
 */
#include "agentd/user.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

static char dir[64], passwd[96], group[96];

static void write_text(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static void set_files(const char *p, const char *g)
{
	write_text(passwd, p, strlen(p));
	write_text(group, g, strlen(g));
	user_set_files(passwd, group);
}

static const char usual_passwd[] = "root:x:0:0:root:/root:/bin/bash\n"
				   "daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n"
				   "ada:x:1000:100:Ada,,,:/home/ada:/bin/zsh\n"
				   "bare:x:1001:1001:::\n"
				   "twin:x:1000:7::/twin:/bin/sh\n"
				   "007:x:2000:2000::/bond:/bin/sh\n"
				   "big:x:4294967294:4294967294::/:/bin/sh";
static const char usual_group[] = "root:x:0:\n"
				  "users:x:100:\n"
				  "wheel:x:10:root,ada\n"
				  "docker:x:990:ada\n"
				  "dup:x:10:ada\n"
				  "near:x:50:adam,xada,ada2\n"
				  "video:x:44:daemon,ada";

static struct user resolve(const char *spec)
{
	struct user u;

	assert_int_equal(user_resolve(spec, &u), 0);
	return u;
}

static void has_groups(const struct user *u, size_t n, const gid_t *groups)
{
	assert_int_equal(u->n_groups, n);
	assert_memory_equal(u->groups, groups, n * sizeof(*groups));
}

static void test_names(void **state)
{
	struct user u;

	(void)state;
	set_files(usual_passwd, usual_group);
	u = resolve("ada");
	assert_int_equal(u.uid, 1000);
	assert_int_equal(u.gid, 100);
	assert_string_equal(u.name, "ada");
	assert_string_equal(u.home, "/home/ada");
	assert_string_equal(u.shell, "/bin/zsh");
	has_groups(&u, 4, (gid_t[]){100, 10, 990, 44});
	u = resolve("bare");
	assert_string_equal(u.home, "/");
	assert_string_equal(u.shell, "/bin/sh");
	has_groups(&u, 1, (gid_t[]){1001});
	u = resolve("big"); /* no newline at the end */
	assert_int_equal(u.uid, 4294967294U);
}

static void test_numbers(void **state)
{
	struct user u;

	(void)state;
	set_files(usual_passwd, usual_group);
	u = resolve("1000"); /* the first entry of that uid, with its groups */
	assert_string_equal(u.name, "ada");
	has_groups(&u, 4, (gid_t[]){100, 10, 990, 44});
	u = resolve("4711");
	assert_int_equal(u.uid, 4711);
	assert_int_equal(u.gid, 4711);
	assert_string_equal(u.name, "");
	assert_string_equal(u.home, "/");
	assert_string_equal(u.shell, "/bin/sh");
	has_groups(&u, 1, (gid_t[]){4711});
	u = resolve("007"); /* digits are a number, also where there is such a name */
	assert_int_equal(u.uid, 7);
	assert_int_equal(user_by_uid(1, &u), 0);
	assert_string_equal(u.name, "daemon");
	assert_int_equal(user_by_uid(4712, &u), 0);
	assert_int_equal(u.gid, 4712);
}

static void test_groups_of_spec(void **state)
{
	struct user u;

	(void)state;
	set_files(usual_passwd, usual_group);
	u = resolve("ada:docker");
	assert_int_equal(u.gid, 990);
	has_groups(&u, 3, (gid_t[]){990, 10, 44});
	u = resolve("ada:5");
	assert_int_equal(u.gid, 5);
	has_groups(&u, 4, (gid_t[]){5, 10, 990, 44});
	u = resolve("4711:wheel");
	assert_int_equal(u.uid, 4711);
	has_groups(&u, 1, (gid_t[]){10});
	u = resolve("4711:815");
	has_groups(&u, 1, (gid_t[]){815});
	u = resolve("root:root");
	has_groups(&u, 2, (gid_t[]){0, 10});
}

static void test_refusals(void **state)
{
	const struct {
		const char *spec;
		int err;
	} c[] = {
		{"nobody-here", -ENOENT},
		{"ad", -ENOENT},
		{"ada ", -ENOENT},
		{"ada:nogroup", -ENOENT},
		{"nobody-here:wheel", -ENOENT},
		{"-1", -ENOENT},
		{"", -EINVAL},
		{":", -EINVAL},
		{":wheel", -EINVAL},
		{"ada:", -EINVAL},
		{"ada:wheel:x", -EINVAL},
		{"4294967295", -EINVAL}, /* (uid_t)-1 */
		{"4294967296", -EINVAL},
		{"99999999999999999999", -EINVAL},
		{"0:4294967295", -EINVAL},
	};
	struct user u = {.uid = 5};
	char huge[5000];

	(void)state;
	set_files(usual_passwd, usual_group);
	for (size_t i = 0; i < array_size(c); i++)
		assert_int_equal(user_resolve(c[i].spec, &u), c[i].err);
	memset(huge, 'a', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	assert_int_equal(user_resolve(huge, &u), -EINVAL);
	assert_int_equal(u.uid, 5); /* written only on success */
}

static void test_odd_lines(void **state)
{
	static const char p[] = "\n"
				"# ada:x:1:1::/:/bin/sh\n"
				"#ada:x:1:1::/:/bin/sh\n"
				"+::::::\n"
				":x:3:3::/:/bin/sh\n"
				"short:x:1:1\n"
				"ada:x:one:1::/:/bin/sh\n"
				"ada:x:-1:1::/:/bin/sh\n"
				"ada:x:4294967295:1::/:/bin/sh\n"
				"ada:x: 1:1::/:/bin/sh\n"
				"ada:x:1:::/:/bin/sh\n"
				"ada:x:12:13::/h:/bin/sh:more\n"
				"ada:x:99:99::/late:/bin/sh\n";
	static const char nul[] = "ada\0:x:5:5::/:/bin/sh\nada:x:6:6::/six:/bin/sh\n";
	char line[600], groups[600], home[257];
	struct user u;

	(void)state;
	set_files(p, "bad\nada\ng:x:x:ada\ng:x:4\ng:x:5:ada:\n,:x:6:,ada,,\nlast:x:7:ada,\n");
	u = resolve("ada"); /* the first one that is an entry */
	assert_int_equal(u.uid, 12);
	assert_string_equal(u.shell, "/bin/sh:more");
	has_groups(&u, 3, (gid_t[]){13, 6, 7});
	assert_int_equal(user_resolve("short", &u), -ENOENT);

	write_text(passwd, nul, sizeof(nul) - 1);
	u = resolve("ada");
	assert_int_equal(u.uid, 6);

	/* A home that does not fit makes no entry, rather than another home. */
	memset(home, 'h', 256);
	home[256] = '\0';
	snprintf(line, sizeof(line), "far:x:1:1::%s:/bin/sh\n", home);
	set_files(line, "");
	assert_int_equal(user_resolve("far", &u), -ENOENT);
	snprintf(line, sizeof(line), "far:x:1:1::%s:/bin/sh\n", home + 1);
	set_files(line, "");
	assert_string_equal(resolve("far").home, home + 1);
	/* A long name, and a group with one. */
	snprintf(line, sizeof(line), "%s:x:3:3::/:\n", home + 1);
	snprintf(groups, sizeof(groups), "%s:x:4:\n", home + 1);
	set_files(line, groups);
	snprintf(line, sizeof(line), "%s:%.250s", home + 1, home);
	assert_int_equal(user_resolve(line, &u), -ENOENT);
	snprintf(groups, sizeof(groups), "%.250s:x:4:\n", home);
	write_text(group, groups, strlen(groups));
	assert_int_equal(resolve(line).gid, 4);
}

static void test_many_groups(void **state)
{
	auto_free char *text = malloc(64 * KIB);
	char *p = text;
	struct user u;

	(void)state;
	for (int i = 0; i < 255; i++)
		p += sprintf(p, "g%d:x:%d:x,ada\n", i, 5000 + i);
	set_files(usual_passwd, text);
	assert_int_equal(resolve("ada").n_groups, 256);
	sprintf(p, "more:x:9999:ada\n");
	set_files(usual_passwd, text);
	assert_int_equal(user_resolve("ada", &u), -E2BIG);
	assert_int_equal(resolve("root").n_groups, 1);
}

static void test_files(void **state)
{
	struct user u;
	int fd;

	(void)state;
	/* None: numbers still work. */
	user_set_files("/nowhere/passwd", "/etc/passwd/group");
	assert_int_equal(user_resolve("root", &u), -ENOENT);
	assert_int_equal(user_resolve("0:wheel", &u), -ENOENT);
	assert_int_equal(resolve("0:12").gid, 12);
	/* Not a file, not readable to the end, too big. */
	user_set_files(dir, group);
	assert_int_equal(user_resolve("0", &u), -EINVAL);
	set_files("", "");
	assert_int_equal(user_resolve("root", &u), -ENOENT);
	fd = open(passwd, O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 4 * MIB), 0);
	assert_int_equal(user_resolve("root", &u), -ENOENT);
	assert_int_equal(ftruncate(fd, 4 * MIB + 1), 0);
	assert_int_equal(user_resolve("root", &u), -EFBIG);
	close(fd);
	/* The machine's own. */
	user_set_files(NULL, NULL);
	assert_int_equal(resolve("root").uid, 0);
}

static void test_changes_are_seen(void **state)
{
	char next[128], spec[16];

	(void)state;
	set_files(usual_passwd, usual_group);
	assert_int_equal(resolve("ada").uid, 1000);
	assert_int_equal(resolve("ada").uid, 1000); /* from the cache */
	/* Rewritten in place, replaced by rename, removed, there again. */
	write_text(passwd, "ada:x:21:1::/:/bin/sh\n", 22);
	assert_int_equal(resolve("ada").uid, 21);
	snprintf(next, sizeof(next), "%s.new", passwd);
	write_text(next, "ada:x:22:1::/:/bin/sh\n", 22);
	assert_int_equal(rename(next, passwd), 0);
	assert_int_equal(resolve("ada").uid, 22);
	assert_int_equal(unlink(passwd), 0);
	assert_int_equal(user_resolve("ada", &(struct user){0}), -ENOENT);
	write_text(passwd, "ada:x:23:1::/:/bin/sh\n", 22);
	assert_int_equal(resolve("ada").uid, 23);
	write_text(group, "one:x:1000:ada\n", 15);
	assert_int_equal(resolve("ada").n_groups, 2);
	/* More questions than the cache has room for. */
	for (int round = 0; round < 3; round++) {
		for (uid_t uid = 30; uid < 60; uid++) {
			snprintf(spec, sizeof(spec), "%u", uid);
			assert_int_equal(resolve(spec).uid, uid);
			assert_int_equal(resolve("ada").uid, 23);
		}
	}
}

static int remove_files(void **state)
{
	(void)state;
	unlink(passwd);
	unlink(group);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_groups_of_spec),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_odd_lines),
		cmocka_unit_test(test_many_groups),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_changes_are_seen),
	};

	strcpy(dir, "/tmp/test_user.XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	snprintf(passwd, sizeof(passwd), "%s/passwd", dir);
	snprintf(group, sizeof(group), "%s/group", dir);
	return cmocka_run_group_tests(tests, NULL, remove_files);
}
