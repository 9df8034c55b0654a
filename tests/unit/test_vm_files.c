/*
 * test_vm_files.c - the description of a machine survives what is done to it or is refused; layers
 * live as long as anybody links them; copies are whole, their sums the same for holes and zeros.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bridge/box/vm_copy.h"
#include "bridge/box/vm_files.h"

static char top[64], dir[80], other[80];

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/vm-files-XXXXXX");
	assert_non_null(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/one", top);
	snprintf(other, sizeof(other), "%s/two", top);
	assert_int_equal(vm_files_make(dir, 0), 0);
	assert_int_equal(vm_files_make(dir, 0), -EEXIST);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(vm_files_remove(dir), 0);
	assert_int_equal(vm_files_remove(other), 0);
	assert_int_equal(vm_files_remove(other), 0); /* idempotent */
	return rmdir(top);
}

static void path_in(char out[160], const char *where, const char *name)
{
	snprintf(out, 160, "%s/%s", where, name);
}

static void put(const char *where, const char *name, const char *text)
{
	char path[160];
	FILE *f;

	path_in(path, where, name);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static bool there(const char *where, const char *name)
{
	char path[160];

	path_in(path, where, name);
	return access(path, F_OK) == 0;
}

static struct vm_files example(void)
{
	struct vm_files f = {
		.life = VM_ASLEEP, .cid = 1234, .cpus = 2, .memory_mb = 512, .network = true};

	assert_int_equal(vm_files_push(&f, "base.ext4"), 0);
	vm_files_name(&f, "ram", "", f.saved.ram);
	vm_files_name(&f, "device", "", f.saved.device);
	f.saved.ram_sum = UINT64_MAX;
	f.saved.ram_bytes = 7;
	return f;
}

static void test_description(void **state)
{
	struct vm_files f = example(), g;
	char name[VM_NAME_MAX], last[VM_NAME_MAX] = "";

	(void)state;
	assert_int_equal(vm_files_load(dir, &g), -ENOENT);
	for (int i = 0; i < VM_LAYERS_MAX - 1; i++) {
		vm_files_name(&f, "disk", ".qcow2", name);
		assert_string_not_equal(name, last); /* never twice */
		memcpy(last, name, strlen(name) + 1);
		assert_int_equal(vm_files_push(&f, name), 0);
	}
	assert_int_equal(vm_files_push(&f, "one-more"), -E2BIG);
	assert_int_equal(vm_files_save(dir, &f), 0);
	assert_int_equal(vm_files_load(dir, &g), 0);
	assert_memory_equal(&f, &g, sizeof(f));
	assert_false(there(dir, VM_JSON ".new"));
}

/* Whatever else it says, it is refused and nothing of it is used. */
static void test_bad_descriptions(void **state)
{
	static const char good[] =
		"{\"life\":\"stopped\",\"cid\":3,\"cpus\":1,\"memory_mb\":128,\"network\":false,"
		"\"last\":1,\"ram\":\"\",\"device\":\"\",\"ram_sum\":0,\"ram_bytes\":0,"
		"\"device_sum\":0,\"layers\":[\"base.ext4\"]}";
	static const char *const swaps[][2] = {{"stopped", "gone"}, {"stopped", "asleep"},
		{"\"cid\":3", "\"cid\":-3"}, {"\"cid\":3", "\"cid\":4294967296"},
		{"base.ext4", "../base"}, {"base.ext4", ".hidden"}, {"base.ext4", ""},
		{"[\"base.ext4\"]", "[]"}, {"[\"base.ext4\"]", "{}"},
		{"\"ram\":\"\"", "\"ram\":\"a/b\""}, {"\"network\":false,", ""},
		{"\"last\":1,", ""}, {"}", ""}};
	struct vm_files f;
	char text[1024];

	(void)state;
	put(dir, VM_JSON, good);
	assert_int_equal(vm_files_load(dir, &f), 0);
	for (size_t i = 0; i < array_size(swaps); i++) {
		const char *at = strstr(good, swaps[i][0]);

		assert_non_null(at);
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, swaps[i][1],
			at + strlen(swaps[i][0]));
		put(dir, VM_JSON, text);
		assert_int_equal(vm_files_load(dir, &f), -EBADMSG);
	}
	for (size_t n = 0; n < sizeof(good) - 1; n += 7) { /* torn */
		memcpy(text, good, n);
		text[n] = '\0';
		put(dir, VM_JSON, text);
		assert_int_equal(vm_files_load(dir, &f), -EBADMSG);
	}
}

/* Sweeping takes what nobody names; removing one directory takes nothing from the other. */
static void test_layers(void **state)
{
	struct vm_files f = example();
	struct stat st;
	char path[160];

	(void)state;
	put(dir, "vmlinuz", "k");
	put(dir, "initramfs.img", "i");
	put(dir, "vhost-device-vsock", "v");
	put(dir, "base.ext4", "b");
	put(dir, "disk-9.9.qcow2", "old");
	put(dir, f.saved.ram, "r");
	put(dir, "qemu.log", "l");
	assert_int_equal(vm_files_save(dir, &f), 0);
	vm_files_sweep(dir, &f);
	assert_false(there(dir, "disk-9.9.qcow2"));
	assert_true(there(dir, f.saved.ram) && there(dir, "base.ext4") && there(dir, "vmlinuz"));
	assert_true(there(dir, "qemu.log") && there(dir, VM_JSON) && there(dir, VM_RUN));
	assert_int_equal(vm_files_make(other, 0), 0);
	assert_int_equal(vm_files_link(&f, dir, other), 0);
	assert_int_equal(vm_files_link(&f, dir, other), 0);
	assert_int_equal(vm_files_remove(dir), 0);
	path_in(path, other, "base.ext4");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(vm_files_push(&f, "disk-1.1.qcow2"), 0);
	assert_int_equal(vm_files_link(&f, other, other), -ENOENT); /* a layer is missing */
}

/* Sockets only for those whose processes run; their user can pass, whatever the umask. */
static void test_directory(void **state)
{
	struct vm_files f = example();
	char run[160], path[160];
	struct stat st;
	mode_t mask = umask(077);

	(void)state;
	assert_int_equal(vm_files_make(other, 0), 0);
	umask(mask);
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0710);
	path_in(run, other, VM_RUN);
	path_in(path, run, "qmp");
	put(run, "qmp", "");
	f.life = VM_RUNNING;
	vm_files_sweep(other, &f);
	assert_int_equal(access(path, F_OK), 0);
	f.life = VM_ASLEEP;
	vm_files_sweep(other, &f);
	assert_int_equal(access(path, F_OK), -1);
	assert_true(there(other, VM_RUN));
}

/* What is reserved is given back, what was written is not. */
static void test_reserve(void **state)
{
	char a[160];
	uint64_t sum, again;
	struct stat st;
	int fd;

	(void)state;
	path_in(a, dir, "a");
	assert_int_equal(vm_create(a, 0), 0);
	assert_int_equal(vm_reserve(a, 40 * MIB), 0);
	assert_int_equal(stat(a, &st), 0);
	assert_true(st.st_size == 40 * MIB && st.st_blocks * 512ULL >= 40 * MIB);
	fd = open(a, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "middle", 6, 20 * MIB + 65533), 6);
	close(fd);
	vm_trim(a);
	assert_int_equal(stat(a, &st), 0);
	assert_int_equal(st.st_size, 40 * MIB);
	assert_in_range(st.st_blocks * 512, 1, MIB);
	assert_int_equal(vm_sum(a, &sum, NULL), 0);
	assert_int_equal(vm_reserve(a, 40 * MIB), 0);
	assert_int_equal(vm_sum(a, &again, NULL), 0);
	assert_true(sum == again && sum != 0);
	vm_trim("/tmp/there-is-no-such-file");
}

static void test_copies(void **state)
{
	char a[160], b[160], c[160];
	uint64_t sum, again, bytes;
	struct stat st;
	int fd;

	(void)state;
	path_in(a, dir, "a");
	path_in(b, dir, "b");
	path_in(c, dir, "c");
	fd = open(a, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 40 * MIB + 12345), 0);
	assert_int_equal(pwrite(fd, "begin", 5, 0), 5);
	assert_int_equal(pwrite(fd, "middle", 6, 20 * MIB + 65533), 6); /* across two blocks */
	assert_int_equal(pwrite(fd, "end", 3, 40 * MIB + 12342), 3);
	assert_int_equal(vm_copy(a, b, 0, 0640, &sum), 0);
	assert_int_equal(vm_copy(a, b, 0, 0640, &sum), -EEXIST);
	assert_int_equal(stat(b, &st), 0);
	assert_int_equal(st.st_size, 40 * MIB + 12345);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(vm_sum(b, &again, &bytes), 0);
	assert_true(sum == again);
	assert_int_equal(bytes, 3 * 64 * KIB + 12345);
	/* Zeros in the place of holes. */
	assert_int_equal(vm_reserve(b, 40 * MIB + 12345), 0);
	close(fd);
	fd = open(b, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, (char[4096]){0}, 4096, 30 * MIB), 4096);
	assert_int_equal(vm_sum(b, &again, NULL), 0);
	assert_true(sum == again);
	/* One bit, one byte moved, one byte less. */
	assert_int_equal(pwrite(fd, "beghn", 5, 0), 5);
	assert_int_equal(vm_sum(b, &again, NULL), 0);
	assert_true(sum != again);
	assert_int_equal(pwrite(fd, (char[5]){0}, 5, 0), 5);
	assert_int_equal(pwrite(fd, "begin", 5, 64 * KIB), 5);
	assert_int_equal(vm_sum(b, &again, NULL), 0);
	assert_true(sum != again);
	close(fd);
	assert_int_equal(truncate(a, 40 * MIB + 12344), 0);
	assert_int_equal(vm_sum(a, &again, NULL), 0);
	assert_true(sum != again);
	assert_int_equal(vm_create(c, 0), 0);
	assert_int_equal(vm_sum(c, &again, &bytes), 0);
	assert_true(again == 0 && bytes == 0);
	assert_int_equal(vm_copy("/tmp/there-is-no-such-file", c, 0, 0600, &sum), -ENOENT);
}

/* First the file, which can be mapped at once, then what is in it. */
static void test_copy_in_parts(void **state)
{
	char a[160], b[160];
	uint64_t sum, again = 0;
	bool whole = true;
	struct stat st;
	int fd;

	(void)state;
	path_in(a, dir, "a");
	path_in(b, dir, "b");
	fd = open(a, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 40 * MIB), 0);
	assert_int_equal(pwrite(fd, "middle", 6, 20 * MIB + 65533), 6);
	close(fd);
	assert_int_equal(vm_sum(a, &sum, NULL), 0);
	assert_int_equal(vm_copy_begin(a, b, 0, &whole), 0);
	assert_int_equal(vm_copy_begin(a, b, 0, &whole), -EEXIST);
	assert_int_equal(stat(b, &st), 0);
	assert_true(st.st_size == 40 * MIB && st.st_blocks * 512ULL >= 40 * MIB);
	if (!whole)
		assert_int_equal(vm_copy_rest(a, b, &again), 0);
	assert_true(whole || again == sum);
	assert_int_equal(vm_sum(b, &again, NULL), 0);
	assert_true(again == sum);
	assert_int_equal(vm_copy_rest("/tmp/there-is-no-such-file", b, &again), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_description, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_descriptions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_layers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy_in_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reserve, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
