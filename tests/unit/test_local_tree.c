/*
 * test_local_tree.c - a directory into an archive and back, in pieces of any size; archives that
 * want to lead out of their directory; a file that shrinks while it is read; nothing half-done.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "bridge/local_tree.h"

static char top[64];
static unsigned complaints;

static const char *in_top(const char *name)
{
	static char paths[4][512];
	static unsigned next;
	char *p = paths[next++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", top, name);
	return p;
}

static void put(const char *name, const char *text, mode_t mode)
{
	int fd = open(in_top(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
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

static void complain(void *ctx, const char *path, const char *why)
{
	(void)ctx, (void)path, (void)why;
	complaints++;
}

static int set_up(void **state)
{
	(void)state;
	umask(022);
	snprintf(top, sizeof(top), "/tmp/test_local_tree.XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int tear_down(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", top);
	return system(cmd);
}

/* All of it at once; the caller frees. */
static uint8_t *packed(const char *dir, size_t *len)
{
	struct local_pack *p = local_pack_new(in_top(dir), complain, NULL);
	uint8_t *all = malloc(MIB);
	size_t n;

	assert_non_null(p);
	*len = 0;
	while ((n = local_pack_read(p, all + *len, LOCAL_PACK_MIN)) > 0)
		*len += n;
	assert_int_equal(local_pack_read(p, all, LOCAL_PACK_MIN), 0);
	local_pack_free(p);
	assert_int_equal(*len % TAR_BLOCK, 0);
	return all;
}

static int unpacked(const char *dir, const uint8_t *data, size_t len, size_t piece)
{
	struct local_unpack *u = local_unpack_new(in_top(dir), complain, NULL);
	struct error e;
	int r = 0;

	assert_non_null(u);
	for (size_t at = 0; at < len && r == 0; at += piece)
		r = local_unpack_write(u, data + at, min_of(piece, len - at), &e);
	if (r == 0)
		r = local_unpack_end(u, &e);
	local_unpack_free(u);
	return r;
}

static void test_there_and_back(void **state)
{
	const size_t pieces[] = {1, 511, 512, 100000};
	auto_free uint8_t *tar = NULL;
	char name[32], path[64];
	struct stat st;
	size_t len;

	(void)state;
	mkdir(in_top("a"), 0755);
	mkdir(in_top("a/sub"), 0750);
	mkdir(in_top("a/locked"), 0755);
	put("a/f", "text", 0640);
	put("a/empty", "", 0644);
	put("a/sub/run", "#!", 0755);
	put("a/locked/x", "in", 0600);
	assert_int_equal(symlink("../f", in_top("a/sub/link")), 0);
	assert_int_equal(chmod(in_top("a/locked"), 0500), 0);
	tar = packed("a", &len);
	assert_int_equal(complaints, 0);
	for (size_t i = 0; i < array_size(pieces); i++) {
		snprintf(name, sizeof(name), "b%zu", i);
		assert_int_equal(unpacked(name, tar, len, pieces[i]), 0);
		assert_int_equal(unpacked(name, tar, len, pieces[i]), 0); /* over itself */
		snprintf(path, sizeof(path), "%s/f", name);
		text_is(path, "text");
		assert_int_equal(stat(in_top(path), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0640);
		snprintf(path, sizeof(path), "%s/locked/x", name);
		text_is(path, "in");
		snprintf(path, sizeof(path), "%s/locked", name);
		assert_int_equal(stat(in_top(path), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0500);
		snprintf(path, sizeof(path), "%s/sub/link", name);
		text_is(path, "text");
	}
	assert_int_equal(complaints, 0);
}

static size_t put_entry(
	uint8_t *out, enum tar_type type, const char *path, const char *link, const char *text)
{
	struct tar_entry e = {
		.type = type, .path = path, .link = link, .mode = 0644, .size = strlen(text)};
	size_t n = tar_head(&e, out), len = strlen(text);

	memset(out + n, 0, len + tar_padding(len));
	snprintf((char *)out + n, len + 1, "%s", text);
	return n + len + tar_padding(len);
}

/* What a hostile guest would send. */
static void test_stays_inside(void **state)
{
	auto_free uint8_t *tar = calloc(1, MIB);
	size_t n = 0;

	(void)state;
	mkdir(in_top("out"), 0755);
	put("out/victim", "precious", 0644);
	complaints = 0;
	n += put_entry(tar + n, TAR_FILE, "../out/victim", "", "evil");
	n += put_entry(tar + n, TAR_SYMLINK, "link", "../out", "");
	n += put_entry(tar + n, TAR_FILE, "link/victim", "", "evil");
	n += put_entry(tar + n, TAR_FILE, "link/new", "", "evil");
	n += put_entry(tar + n, TAR_DIR, "link/dir", "", "");
	n += put_entry(tar + n, TAR_HARDLINK, "hard", "link/victim", "");
	n += put_entry(tar + n, TAR_HARDLINK, "hard2", "../out/victim", "");
	n += put_entry(tar + n, TAR_SYMLINK, "file", "../out/victim", "");
	n += put_entry(tar + n, TAR_FILE, "file", "", "mine"); /* the link goes */
	n += put_entry(tar + n, TAR_FIFO, "fifo", "", "");
	n += put_entry(tar + n, TAR_FILE, "/abs", "", "fine");
	n += TAR_END_BLOCK;
	assert_int_equal(unpacked("in", tar, n, 700), 0);
	text_is("out/victim", "precious");
	text_is("in/file", "mine");
	text_is("in/abs", "fine");
	assert_int_equal(access(in_top("out/new"), F_OK), -1);
	assert_int_equal(access(in_top("out/dir"), F_OK), -1);
	assert_int_equal(access(in_top("in/fifo"), F_OK), -1);
	assert_int_equal(complaints, 7);
}

/* A second name that cannot be given took away what had it. */
static void test_hard_links(void **state)
{
	auto_free uint8_t *tar = calloc(1, MIB);
	struct stat a, b;
	size_t n = 0;

	(void)state;
	mkdir(in_top("l"), 0755);
	put("l/mine", "precious", 0644);
	put("l/other", "old", 0644);
	complaints = 0;
	n += put_entry(tar + n, TAR_HARDLINK, "mine", "mine", "");
	n += put_entry(tar + n, TAR_HARDLINK, "mine", "missing", "");
	n += put_entry(tar + n, TAR_FILE, "first", "", "new");
	n += put_entry(tar + n, TAR_HARDLINK, "other", "first", "");
	n += TAR_END_BLOCK;
	for (int i = 0; i < 2; i++) { /* the second time over itself */
		assert_int_equal(unpacked("l", tar, n, 700), 0);
		assert_int_equal(complaints, i + 1);
		text_is("l/mine", "precious");
		text_is("l/other", "new");
		assert_int_equal(stat(in_top("l/first"), &a), 0);
		assert_int_equal(stat(in_top("l/other"), &b), 0);
		assert_int_equal(a.st_ino, b.st_ino);
	}
}

static void test_cut(void **state)
{
	auto_free uint8_t *tar = calloc(1, MIB);
	size_t n = put_entry(tar, TAR_FILE, "f", "", "0123456789");
	DIR *d;
	unsigned entries = 0;

	(void)state;
	assert_int_equal(unpacked("cut", tar, n - TAR_BLOCK + 5, 100), -EBADMSG);
	d = opendir(in_top("cut"));
	while (readdir(d))
		entries++;
	closedir(d);
	assert_int_equal(entries, 2); /* no part of it, under no name */
	memset(tar, 'x', TAR_BLOCK);
	assert_int_equal(unpacked("cut", tar, TAR_BLOCK, 512), -EBADMSG);
}

/* Its size is said already: the archive stays one. */
static void test_shrinks(void **state)
{
	struct local_pack *p;
	auto_free uint8_t *tar = malloc(MIB);
	size_t len = 0, n;

	(void)state;
	mkdir(in_top("s"), 0755);
	put("s/f", "a file of some bytes", 0644);
	complaints = 0;
	p = local_pack_new(in_top("s"), complain, NULL);
	assert_non_null(p);
	len = local_pack_read(p, tar, LOCAL_PACK_MIN); /* the directory, perhaps the file's head */
	assert_int_equal(truncate(in_top("s/f"), 3), 0);
	while ((n = local_pack_read(p, tar + len, LOCAL_PACK_MIN)) > 0)
		len += n;
	local_pack_free(p);
	assert_int_equal(unpacked("s2", tar, len, 512), 0);
}

static void test_local_file(void **state)
{
	struct local_file f = LOCAL_FILE_NULL;
	int dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	(void)state;
	local_file_abort(&f);
	assert_int_equal(local_file_begin(&f, dir, "new", 0777), 0);
	assert_int_equal(write(f.fd, "1", 1), 1);
	assert_int_equal(access(in_top("new"), F_OK), -1);
	assert_int_equal(local_file_commit(&f, NULL), 0);
	assert_int_equal(stat(in_top("new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755); /* by the umask */
	assert_int_equal(chmod(in_top("new"), 0604), 0);
	assert_int_equal(local_file_begin(&f, dir, "new", 0777), 0);
	local_file_abort(&f);
	text_is("new", "1");
	assert_int_equal(local_file_begin(&f, dir, "new", 0777), 0);
	assert_int_equal(local_file_commit(&f, NULL), 0);
	text_is("new", "");
	assert_int_equal(stat(in_top("new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0604);
	assert_int_equal(mkdir(in_top("dir"), 0755), 0);
	assert_int_equal(local_file_begin(&f, dir, "dir", 0644), -EISDIR);
	close(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_stays_inside),
		cmocka_unit_test(test_hard_links),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_shrinks),
		cmocka_unit_test(test_local_file),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
