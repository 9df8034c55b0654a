/*
 * test_vm_trouble.c - machines and what can happen to them: processes and their owner killed, files
 * damaged, a QEMU that hangs, a full disk (it mounts a tmpfs). Nothing is lost but what must be,
 * and nothing is left over. Needs an image, as test_vm_driver.c does.
 *
 * ctest: timeout=600 vm
 */
#include "tests/unit/vm_rig.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "bridge/box/box.h"
#include "bridge/box/vm_files.h"

static void run_loop_for(unsigned ms)
{
	uint64_t until = now_ms() + ms;

	while (now_ms() < until) {
		uv_run(&rig.loop, UV_RUN_NOWAIT);
		usleep(1000);
	}
}

/* QEMU killed: it is said, nothing else stays, and the disk is still good. */
static void test_killed(void **state)
{
	struct box *b;

	(void)state;
	b = start("killed");
	run(b, "echo kept >/home/sandbox/file; sync");
	kill(pid_of(b, "qemu-system-x86"), SIGKILL);
	await_gone();
	assert_int_equal(vm_process_reap(b->dir, 0), 0);
	box_restart(b, on_answer);
	await_ok(b);
	await_agent(b);
	assert_string_equal(run(b, "cat /home/sandbox/file"), "kept");
	destroy(b);
}

/* The vsock device's process killed: there is another, and the machine goes on. */
static void test_vsock_killed(void **state)
{
	struct box *b;
	char out[256];
	uint64_t until;

	(void)state;
	b = start("deaf");
	start_counter(b);
	for (int i = 0; i < 2; i++) {
		kill(pid_of(b, "vhost-device-vs"), SIGKILL);
		until = now_ms() + 20000;
		do {
			run_loop_for(1500);
			if (rig.gone || now_ms() > until)
				fail_msg("not mended: %s", rig.gone_why);
		} while (agentctl(b, "ping -n 1", out, sizeof(out)) != 0);
		counter_goes_on(b);
	}
	/* And while we are away. */
	kill(pid_of(b, "vhost-device-vs"), SIGKILL);
	close_driver();
	open_driver();
	b = adopt("deaf");
	assert_int_equal(result(b)->left, BOX_LEFT_RUNNING);
	counter_goes_on(b);
	destroy(b);
}

static void damage(const struct box *b, bool device)
{
	struct vm_files f;
	char path[BOX_PATH_MAX + VM_NAME_MAX];

	assert_int_equal(vm_files_load(b->dir, &f), 0);
	assert_int_equal(f.life, VM_ASLEEP);
	snprintf(path, sizeof(path), "%s/%s", b->dir, device ? f.saved.device : f.saved.ram);
	if (device) {
		assert_int_equal(truncate(path, 1000), 0);
	} else {
		auto_close int fd = open(path, O_WRONLY);

		assert_int_equal(pwrite(fd, "damaged", 7, 5 * MIB), 7);
	}
}

/* What was saved and is not whole any more is never run: it boots, with its disk, and says so. */
static void test_damaged(void **state)
{
	struct box *b;

	(void)state;
	b = start("damaged");
	run(b, "echo kept >/home/sandbox/file");
	for (int i = 0; i < 2; i++) {
		prepare(b);
		hibernate(b);
		damage(b, i == 1);
		wake(b);
		assert_true(result(b)->cold);
		assert_non_null(strstr(result(b)->note, "damaged"));
		await_agent(b);
		assert_string_equal(run(b, "cat /home/sandbox/file"), "kept");
	}
	destroy(b);
}

/* A QEMU that does not answer is given up on in time. */
static void test_hangs(void **state)
{
	struct box *b;
	uint64_t t0;

	(void)state;
	b = start("hangs");
	run(b, "echo kept >/home/sandbox/file; sync");
	kill(pid_of(b, "qemu-system-x86"), SIGSTOP);
	t0 = now_ms();
	box_hibernate(b, on_answer);
	await(b);
	assert_false(result(b)->ok);
	assert_int_equal(result(b)->left, BOX_LEFT_STOPPED);
	assert_true(now_ms() - t0 < 20000);
	assert_int_equal(vm_process_reap(b->dir, 0), 0);
	box_restart(b, on_answer);
	await_ok(b);
	await_agent(b);
	assert_string_equal(run(b, "cat /home/sandbox/file"), "kept");
	kill(pid_of(b, "qemu-system-x86"), SIGSTOP);
	destroy(b);
}

/* ---- a full disk ---- */

static int setup_small(void **state)
{
	char command[200];

	snprintf(rig.whole, sizeof(rig.whole), "%.40s", rig.dir);
	snprintf(rig.dir, sizeof(rig.dir), "%.40s/small", rig.whole);
	snprintf(command, sizeof(command), "mkdir %s && mount -t tmpfs -o size=900m none %s",
		rig.dir, rig.dir);
	assert_int_equal(system(command), 0);
	return setup(state);
}

static int teardown_small(void **state)
{
	char command[200];
	int r = teardown(state);

	snprintf(command, sizeof(command), "umount %s && rmdir %s", rig.dir, rig.dir);
	snprintf(rig.dir, sizeof(rig.dir), "%s", rig.whole);
	return system(command) != 0 ? -1 : r;
}

static void fill(const char *path)
{
	static char zeros[64 * KIB];
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	while (write(fd, zeros, 1) > 0)
		;
}

/* It cannot be saved, which is said, and goes on; with room it can. */
static void test_disk_full(void **state)
{
	struct box *b;
	char path[128];

	(void)state;
	b = start("full");
	start_counter(b);
	run(b, "echo kept >/home/sandbox/file; sync");
	snprintf(path, sizeof(path), "%s/filler", rig.dir);
	for (int i = 0; i < 3; i++) {
		fill(path);
		prepare(b);
		if (i == 0)
			box_hibernate(b, on_answer);
		else
			box_checkpoint(b, "cpf", i == 1, on_answer);
		await(b);
		assert_false(result(b)->ok);
		assert_int_equal(result(b)->fault.status, 507);
		assert_int_equal(result(b)->left, BOX_LEFT_RUNNING);
		counter_goes_on(b);
	}
	/* A guest that writes stands still, and goes on when there is room. */
	fill(path);
	run(b, "(dd if=/dev/urandom of=/home/sandbox/much bs=65536 count=64; sync; echo $? >/tmp/done) "
	       ">/dev/null 2>&1 &");
	run_loop_for(1000);
	unlink(path);
	run_loop_for(4000);
	assert_string_equal(run(b, "cat /tmp/done; wc -c </home/sandbox/much"), "0\n4194304");
	assert_int_equal(count_entries("checkpoints"), 0);
	prepare(b);
	hibernate(b);
	wake(b);
	assert_false(result(b)->cold);
	counter_goes_on(b);
	assert_string_equal(run(b, "cat /home/sandbox/file"), "kept");
	box_checkpoint(b, "cpf", true, on_answer);
	await_ok(b);
	destroy(b);
}

/* Memory that was given back is not had again where there is no room for it. */
static void test_disk_full_for_memory(void **state)
{
	struct box *b;
	char path[128];

	(void)state;
	b = start("small");
	start_counter(b);
	box_scale(b, 160, on_answer);
	await_ok(b);
	snprintf(path, sizeof(path), "%s/filler", rig.dir);
	fill(path);
	box_scale(b, 256, on_answer);
	await(b);
	assert_false(result(b)->ok);
	assert_int_equal(result(b)->fault.status, 507);
	assert_int_equal(result(b)->left, BOX_LEFT_RUNNING);
	assert_int_equal(b->scaled_mb, 160);
	counter_goes_on(b);
	unlink(path);
	box_scale(b, 256, on_answer);
	await_ok(b);
	assert_int_equal(b->scaled_mb, 0);
	counter_goes_on(b);
	destroy(b);
}

/* The bridge ends while workers are at it; what is there goes. (They used what it had freed.) */
static void test_closed(void **state)
{
	struct box *b;

	(void)state;
	destroy(start("first"));
	for (unsigned i = 0; i < 12; i++) {
		begin_from("closed", NULL);
		run_loop_for(i * i * 3);
		close_driver();
		rig.answers = 0;
		open_driver();
		b = new_box("closed");
		box_destroy(b, on_answer);
		await_ok(b);
		assert_int_equal(vm_process_reap(b->dir, 0), 0);
	}
	assert_int_equal(count_entries("boxes"), 0);
}

/* ---- the owner is killed at any instant ---- */

static _Noreturn void owner(int told)
{
	struct box *b;

	rig.is_owner = true;
	open_driver();
	b = adopt("owned");
	if (write(told, "x", 1) != 1)
		_exit(1);
	for (;;) {
		box_drop(b, "cpo", on_answer);
		await_ok(b);
		box_hibernate(b, on_answer);
		await_ok(b);
		wake(b);
		box_checkpoint(b, "cpo", true, on_answer);
		await_ok(b);
		box_restore(b, "cpo", on_answer);
		await_ok(b);
	}
}

static void kill_owner_after(unsigned ms)
{
	int told[2], status;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(told), 0);
	pid = fork();
	if (pid == 0)
		owner(told[1]);
	close(told[1]);
	assert_int_equal(read(told[0], &byte, 1), 1);
	close(told[0]);
	usleep(ms * 1000);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The guest may be letting go of its vsock device only now, for an unplugging that the killed one
 * had asked for, and at any of these moments: then it gets another, and who dials dials again, as
 * sandbox.c does. What it says is to be right the first time it says anything. */
static void await_dialled(const struct box *b)
{
	uint64_t until = now_ms() + 20000;
	const char *said;

	do {
		await_agent(b);
		said = run(b, "cat /home/sandbox/file && " COUNTER_GOES_ON);
	} while (strncmp(said, "agentctl: ", 10) == 0 && now_ms() < until);
	assert_string_equal(said, "kept\non");
}

/* Before or after, never half: it runs, sleeps or is stopped, and goes on from there. */
static void test_owner_killed(void **state)
{
	struct box *b;
	unsigned seen[4] = {0};

	(void)state;
	b = start("owned");
	run(b, "echo kept >/home/sandbox/file; sync");
	start_counter(b);
	close_driver();
	for (unsigned i = 0; i < 12; i++) {
		kill_owner_after(17 + i * 97);
		open_driver();
		b = adopt("owned");
		seen[result(b)->left]++;
		assert_int_not_equal(result(b)->left, BOX_LEFT_NOTHING);
		if (result(b)->left == BOX_LEFT_ASLEEP) {
			wake(b);
			assert_false(result(b)->cold);
		} else if (result(b)->left == BOX_LEFT_STOPPED) {
			box_restart(b, on_answer);
			await_ok(b);
			await_agent(b);
			start_counter(b);
		}
		await_dialled(b);
		close_driver();
	}
	print_message("left running %u, asleep %u, stopped %u\n", seen[BOX_LEFT_RUNNING],
		seen[BOX_LEFT_ASLEEP], seen[BOX_LEFT_STOPPED]);
	open_driver();
	b = adopt("owned");
	destroy(b);
	box_drop(b, "cpo", on_answer);
	await_ok(b);
	assert_int_equal(count_entries("boxes"), 0);
	assert_int_equal(count_entries("checkpoints"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vsock_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_full, setup_small, teardown_small),
		cmocka_unit_test_setup_teardown(
			test_disk_full_for_memory, setup_small, teardown_small),
		cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_owner_killed, setup, teardown),
	};

	if (getenv("ONLY"))
		cmocka_set_test_filter(getenv("ONLY"));
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
