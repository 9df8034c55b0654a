/*
 * test_vm_driver.c - machines and what is done with them: a golden snapshot, sleep and wake,
 * checkpoints, forks, restores, adoption, and that nothing is left over. Needs an image
 * (./dev image --flavour minimal) and takes seconds for each case.
 *
 * ctest: timeout=600 vm
 */
#include "tests/unit/vm_rig.h"

#include <fcntl.h>

#include "bridge/box/box.h"
#include "bridge/box/vm_files.h"

/* The whole life; what it takes is printed. */
static void test_life(void **state)
{
	struct box *b;
	uint64_t t0 = now_ms(), t1, t2;

	(void)state;
	b = start("life");
	assert_false(result(b)->cold);
	print_message(
		"first start with its snapshot %llu ms\n", (unsigned long long)(now_ms() - t0));
	start_counter(b);

	t0 = now_ms();
	prepare(b);
	t1 = now_ms();
	hibernate(b);
	t2 = now_ms();
	print_message("prepare %llu ms, hibernate %llu ms\n", (unsigned long long)(t1 - t0),
		(unsigned long long)(t2 - t1));
	assert_true(result(b)->bytes > 10 * MIB);
	t0 = now_ms();
	wake(b);
	t1 = now_ms();
	assert_false(result(b)->cold);
	assert_string_equal(run(b, "echo hello"), "hello");
	print_message("wake %llu ms, first command %llu ms\n", (unsigned long long)(t1 - t0),
		(unsigned long long)(now_ms() - t0));
	counter_goes_on(b);
	destroy(b);
	assert_int_equal(count_entries("boxes"), 0);

	t0 = now_ms();
	b = start("second");
	t1 = now_ms();
	assert_false(result(b)->cold);
	assert_string_equal(run(b, "echo hello; ls /tmp"), "hello");
	print_message("create from the snapshot %llu ms, first command %llu ms\n",
		(unsigned long long)(t1 - t0), (unsigned long long)(now_ms() - t0));
	run(b, "echo kept >/home/sandbox/file");
	box_stop(b, on_answer);
	await_ok(b);
	assert_int_equal(result(b)->left, BOX_LEFT_STOPPED);
	assert_int_equal(vm_process_reap(b->dir, 0), 0);
	t0 = now_ms();
	box_restart(b, on_answer);
	await_ok(b);
	t1 = now_ms();
	await_agent(b);
	assert_string_equal(run(b, "cat /home/sandbox/file"), "kept");
	print_message("cold boot %llu ms, first command %llu ms\n", (unsigned long long)(t1 - t0),
		(unsigned long long)(now_ms() - t0));
	destroy(b);
}

/* Forks are apart, live on without their source and the checkpoint, and nothing is left over. */
static void test_fork(void **state)
{
	struct box *a, *f[2];
	uint64_t t0;

	(void)state;
	a = start("source");
	start_counter(a);
	run(a, "echo then >/home/sandbox/file");
	prepare(a);
	t0 = now_ms();
	box_checkpoint(a, "cp", true, on_answer);
	await_ok(a);
	print_message("checkpoint %llu ms, %llu MiB\n", (unsigned long long)(now_ms() - t0),
		(unsigned long long)(result(a)->bytes >> 20));
	counter_goes_on(a);
	run(a, "echo later >/home/sandbox/file");

	t0 = now_ms();
	f[0] = begin_from("fork0", "cp");
	f[1] = begin_from("fork1", "cp");
	await_n(2);
	assert_ok(f[0]);
	assert_ok(f[1]);
	print_message("two forks %llu ms\n", (unsigned long long)(now_ms() - t0));
	for (int i = 0; i < 2; i++) {
		assert_false(result(f[i])->cold);
		counter_goes_on(f[i]);
		assert_string_equal(run(f[i], "cat /home/sandbox/file"), "then");
	}
	run(f[0], "echo zero >/home/sandbox/file; sync");
	assert_string_equal(run(f[1], "cat /home/sandbox/file"), "then");
	assert_string_equal(run(a, "cat /home/sandbox/file"), "later");

	/* Twice, in place. */
	for (int i = 0; i < 2; i++) {
		prepare(a);
		box_restore(a, "cp", on_answer);
		await_ok(a);
		assert_false(result(a)->cold);
		assert_string_equal(run(a, "cat /home/sandbox/file"), "then");
		counter_goes_on(a);
		run(a, "echo again >/home/sandbox/file");
	}
	destroy(a);
	box_drop(f[0], "cp", on_answer);
	await_ok(f[0]);
	assert_int_equal(count_entries("checkpoints"), 0);
	prepare(f[0]);
	hibernate(f[0]);
	wake(f[0]);
	assert_false(result(f[0])->cold);
	assert_string_equal(run(f[0], "cat /home/sandbox/file"), "zero");
	counter_goes_on(f[1]);
	destroy(f[0]);
	destroy(f[1]);
	assert_int_equal(count_entries("boxes"), 0);
}

/* A disk-only checkpoint boots, with the files of then. */
static void test_disk_checkpoint(void **state)
{
	struct box *a, *b;

	(void)state;
	a = start("disk");
	run(a, "echo then >/home/sandbox/file; sync");
	box_checkpoint(a, "cpd", false, on_answer);
	await_ok(a);
	run(a, "echo later >/home/sandbox/file; sync");
	b = begin_from("booted", "cpd");
	await_ok(b);
	await_agent(b);
	assert_string_equal(run(b, "cat /home/sandbox/file"), "then");
	assert_string_equal(run(a, "cat /home/sandbox/file"), "later");
	destroy(a);
	destroy(b);
	box_drop(b, "cpd", on_answer);
	await_ok(b);
}

static unsigned total_mb(struct box *b)
{
	unsigned kb = 0;

	assert_int_equal(sscanf(run(b, "head -n 1 /proc/meminfo"), "MemTotal: %u", &kb), 1);
	return kb / 1024;
}

static uint64_t memory_blocks(const struct box *b)
{
	struct vm_files f;
	struct stat st;
	char path[BOX_PATH_MAX + VM_NAME_MAX];

	assert_int_equal(vm_files_load(b->dir, &f), 0);
	snprintf(path, sizeof(path), "%s/%s", b->dir, f.saved.ram);
	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void scale(struct box *b, unsigned mb)
{
	box_scale(b, mb, on_answer);
	await_ok(b);
	assert_int_equal(b->scaled_mb, mb == 256 ? 0 : mb);
}

/* The host has what a machine gives back; it sleeps, boots and grows again with what it has. */
static void test_scale(void **state)
{
	struct box *b;
	uint64_t before;
	unsigned all;

	(void)state;
	b = start("scaled");
	start_counter(b);
	all = total_mb(b);
	before = memory_blocks(b);
	scale(b, 160);
	assert_in_range(total_mb(b), all - 96 - 8, all - 96 + 8);
	/* Not all of it: where the host's cache has pages larger than the guest's, what is given
	 * back by halves stays, as zeros. */
	assert_true(memory_blocks(b) < before - 16 * MIB);
	counter_goes_on(b);
	prepare(b);
	hibernate(b);
	wake(b);
	assert_false(result(b)->cold);
	assert_int_equal(b->scaled_mb, 160);
	assert_in_range(total_mb(b), all - 96 - 8, all - 96 + 8);
	counter_goes_on(b);
	scale(b, 256);
	assert_in_range(total_mb(b), all - 8, all);
	assert_true(memory_blocks(b) >= 256 * MIB);
	counter_goes_on(b);
	scale(b, 200);
	box_stop(b, on_answer);
	await_ok(b);
	box_restart(b, on_answer);
	await_ok(b);
	await_agent(b);
	assert_int_equal(b->scaled_mb, 200);
	for (uint64_t until = now_ms() + 20000; total_mb(b) > all - 56 + 8;)
		assert_true(now_ms() < until);
	destroy(b);
}

/* A machine goes on without us and is found again. */
static void test_adopt(void **state)
{
	struct box *b;

	(void)state;
	b = start("adopted");
	start_counter(b);
	close_driver();
	open_driver();
	b = adopt("adopted");
	assert_int_equal(result(b)->left, BOX_LEFT_RUNNING);
	counter_goes_on(b);
	prepare(b);
	hibernate(b);
	close_driver();
	open_driver();
	b = adopt("adopted");
	assert_int_equal(result(b)->left, BOX_LEFT_ASLEEP);
	wake(b);
	counter_goes_on(b);
	kill(pid_of(b, "qemu-system-x86"), SIGKILL);
	await_gone();
	close_driver();
	open_driver();
	b = adopt("adopted");
	assert_int_equal(result(b)->left, BOX_LEFT_STOPPED);
	destroy(b);
	b = new_box("never");
	box_adopt(b, on_answer);
	await(b);
	assert_int_equal(result(b)->left, BOX_LEFT_NOTHING);
	destroy(b);
}

/* ---- golden snapshots ---- */

/* There is one. */
static void find_golden(char *out, size_t size)
{
	char path[300];
	const struct dirent *e;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/images", rig.dir);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d))) {
		if (!strstr(e->d_name, "-1x256n-"))
			continue;
		snprintf(out, size, "%s/%s", path, e->d_name);
		n++;
	}
	closedir(d);
	assert_int_equal(n, 1);
}

/* One that is damaged (power was lost when it was new) serves nobody, and is made again: once
 * every create was cold from then on. */
static void test_damaged_golden(void **state)
{
	char dir[600], path[700];
	struct vm_files f;
	struct box *b;
	int fd;

	(void)state;
	destroy(start("whole"));
	find_golden(dir, sizeof(dir));
	assert_int_equal(vm_files_load(dir, &f), 0);
	snprintf(path, sizeof(path), "%s/%s", dir, f.saved.ram);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "damaged", 7, 5 * MIB), 7);
	close(fd);
	b = start("cold");
	assert_true(result(b)->cold);
	assert_non_null(strstr(result(b)->note, "damaged"));
	await_agent(b);
	assert_string_equal(run(b, "echo hello"), "hello");
	destroy(b);
	b = start("warm");
	assert_false(result(b)->cold);
	assert_string_equal(run(b, "echo hello"), "hello");
	destroy(b);
	find_golden(dir, sizeof(dir));
}

/* Another QEMU may not be able to load it: it makes its own, and the old one goes. */
static void test_other_qemu(void **state)
{
	char before[600], after[600], dir[] = "/tmp/agentd-qemu-XXXXXX", text[2100];
	const char *was = getenv("PATH");
	char path[2048];
	struct box *b;

	(void)state;
	snprintf(path, sizeof(path), "%s", was ? was : "/usr/bin:/bin");
	destroy(start("one"));
	find_golden(before, sizeof(before));
	assert_non_null(mkdtemp(dir));
	snprintf(text, sizeof(text),
		"chmod 755 %s && cd %s && p=$(command -v qemu-system-x86_64) && "
		"printf '#!/bin/sh\nexec %%s \"$@\"\n' $p >qemu-system-x86_64 && chmod 755 *",
		dir, dir);
	assert_int_equal(system(text), 0);
	snprintf(text, sizeof(text), "%s:%s", dir, path);
	setenv("PATH", text, 1);
	b = start("another");
	assert_false(result(b)->cold);
	find_golden(after, sizeof(after));
	assert_string_not_equal(before, after);
	destroy(b);
	setenv("PATH", path, 1);
	snprintf(text, sizeof(text), "%s/qemu-system-x86_64", dir);
	assert_int_equal(unlink(text), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_checkpoint, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scale, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_golden, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_qemu, setup, teardown),
	};

	if (getenv("ONLY"))
		cmocka_set_test_filter(getenv("ONLY"));
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
