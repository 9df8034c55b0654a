/*
 * test_vm_driver.c - real machines, through the driver table as sandbox.c uses it: a golden
 * snapshot, sleep and wake, checkpoints, forks, restores, adoption, and that nothing is left over.
 * Needs an image (./dev image --flavour minimal) and takes seconds for each case.
 *
 * ctest: timeout=600 vm
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bridge/box/box.h"
#include "bridge/box/vm_copy.h"
#include "bridge/box/vm_files.h"
#include "bridge/box/vm_process.h"

#define MEMORY_MB 256
#define BOXES     8

struct rig {
	uv_loop_t loop;
	struct boxes boxes;
	struct box_config config;
	char dir[64], whole[48], images[256];
	struct box open[BOXES];
	unsigned n_open, answers;
	struct box_result result[BOXES]; /* of the boxes' last operations */
	bool gone;
	char gone_why[256];
	bool is_owner; /* the process that is killed: cmocka is not its own */
};

static struct rig rig;

/* ---- the rig ---- */

static unsigned index_of(const struct box *b)
{
	return (unsigned)(b - rig.open);
}

static const struct box_result *result(const struct box *b)
{
	return &rig.result[index_of(b)];
}

static void on_answer(struct box *b, const struct box_result *r)
{
	rig.answers++;
	rig.result[index_of(b)] = *r;
}

static void on_gone(struct box *b, const char *why)
{
	(void)b;
	rig.gone = true;
	snprintf(rig.gone_why, sizeof(rig.gone_why), "%s", why);
}

static void await_n(unsigned n)
{
	while (rig.answers < n)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(rig.answers, n);
	rig.answers = 0;
}

static const struct box_result *await(const struct box *b)
{
	await_n(1);
	return result(b);
}

static void assert_ok(const struct box *b)
{
	const struct box_result *r = result(b);

	if (r->ok)
		return;
	if (rig.is_owner) {
		fprintf(stderr, "owner: %d %s (%s)\n", r->fault.status, r->fault.text, r->note);
		_exit(1);
	}
	fail_msg("%s: %d %s (%s)", b->id, r->fault.status, r->fault.text, r->note);
}

static void await_ok(const struct box *b)
{
	await(b);
	assert_ok(b);
}

static void await_gone(void)
{
	while (!rig.gone)
		uv_run(&rig.loop, UV_RUN_ONCE);
	rig.gone = false;
}

static void open_driver(void)
{
	char why[200] = "";

	assert_int_equal(uv_loop_init(&rig.loop), 0);
	rig.config = (struct box_config){.state_dir = rig.dir, .image_dir = rig.images};
	if (boxes_open(&rig.boxes, &rig.loop, &box_driver_vm, &rig.config, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

/* The bridge ends, machines go on. */
static void close_driver(void)
{
	for (unsigned i = 0; i < rig.n_open; i++)
		box_leave(&rig.open[i]);
	rig.n_open = 0;
	boxes_close(&rig.boxes);
	uv_run(&rig.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&rig.loop), 0);
}

static void reap_below(const char *name)
{
	char dir[128], path[512];
	const struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/%s", rig.dir, name);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		vm_process_reap(path, 5000);
	}
	if (d)
		closedir(d);
}

/* Golden snapshots are kept from case to case. */
static int group_setup(void **state)
{
	(void)state;
	rig = (struct rig){.dir = "/tmp/agentd-vmtest-XXXXXX"};
	assert_non_null(mkdtemp(rig.dir));
	snprintf(rig.images, sizeof(rig.images), "%s/../build/image", TESTS_DIR);
	return 0;
}

static int group_teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", rig.dir);
	return system(command);
}

static int setup(void **state)
{
	(void)state;
	rig.answers = 0;
	rig.gone = false;
	open_driver();
	return 0;
}

/* Also after a case that failed in the middle. */
static int teardown(void **state)
{
	(void)state;
	close_driver();
	reap_below("boxes");
	reap_below("images");
	return 0;
}

static unsigned count_entries(const char *name)
{
	char path[300];
	DIR *d;
	unsigned n = 0;

	snprintf(path, sizeof(path), "%s/%s", rig.dir, name);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

/* ---- boxes ---- */

static struct box *new_box(const char *id)
{
	struct box *b = &rig.open[rig.n_open];

	assert_true(rig.n_open < BOXES);
	rig.n_open++;
	box_init(b, &rig.boxes, id, NULL, on_gone);
	return b;
}

static struct box *begin_from(const char *id, const char *checkpoint)
{
	struct box_spec spec = {.template = "minimal",
		.cpus = 1,
		.memory_mb = MEMORY_MB,
		.network = true,
		.checkpoint = checkpoint};
	struct box *b = new_box(id);

	box_start(b, &spec, on_answer);
	return b;
}

static struct box *start(const char *id)
{
	struct box *b = begin_from(id, NULL);

	await_ok(b);
	return b;
}

static void destroy(struct box *b)
{
	struct stat st;

	box_destroy(b, on_answer);
	await_ok(b);
	assert_int_equal(stat(b->dir, &st), -1);
	assert_null(b->state);
	assert_int_equal(vm_process_reap(b->dir, 0), 0);
}

static void hibernate(struct box *b)
{
	box_hibernate(b, on_answer);
	await_ok(b);
	assert_int_equal(result(b)->left, BOX_LEFT_ASLEEP);
	assert_int_equal(vm_process_reap(b->dir, 0), 0);
}

static void wake(struct box *b)
{
	box_wake(b, on_answer);
	await_ok(b);
}

static struct box *adopt(const char *id)
{
	struct box *b = new_box(id);

	box_adopt(b, on_answer);
	await_ok(b);
	return b;
}

/* ---- in the guest ---- */

static int agentctl(const struct box *b, const char *args, char *out, size_t size)
{
	char line[2048];
	FILE *f;
	size_t n;
	int status;

	snprintf(line, sizeof(line), "timeout 20 %s --connect hybrid:%s:%u %s 2>&1",
		getenv("AGENTCTL"), b->target.path, b->target.port, args);
	f = popen(line, "r");
	assert_non_null(f);
	n = fread(out, 1, size - 1, f);
	status = pclose(f);
	while (n > 0 && out[n - 1] == '\n')
		n--;
	out[n] = '\0';
	return status;
}

/* What a command prints, without the last line's end. */
static const char *run(const struct box *b, const char *command)
{
	static char out[4096];
	char args[1500];

	snprintf(args, sizeof(args), "run -- sh -c '%s'", command);
	agentctl(b, args, out, sizeof(out));
	return out;
}

/* A machine that booted may answer before its agent listens; sandbox.c dials again, too. */
static void await_agent(const struct box *b)
{
	char out[256];
	uint64_t until = now_ms() + 20000;

	while (agentctl(b, "ping -n 1", out, sizeof(out)) != 0) {
		if (now_ms() > until)
			fail_msg("no agent: %s", out);
	}
}

/* As sandbox.c does before it saves. */
static void prepare(const struct box *b)
{
	char out[1024];

	if (agentctl(b, "prepare", out, sizeof(out)) != 0)
		fail_msg("%s", out);
}

static void start_counter(const struct box *b)
{
	run(b, "(while :; do echo x >>/tmp/count; sleep 0.05; done) >/dev/null 2>&1 & "
	       "echo $! >/tmp/pid");
}

static void counter_goes_on(const struct box *b)
{
	assert_string_equal(run(b, "kill -0 $(cat /tmp/pid) && a=$(wc -l </tmp/count); sleep 0.5; "
				   "b=$(wc -l </tmp/count); [ $b -gt $a ] && echo on"),
		"on");
}

static pid_t pid_of(const struct box *b, const char *comm)
{
	char command[600], out[32] = "";
	FILE *f;

	snprintf(command, sizeof(command),
		"for p in /proc/[0-9]*; do [ \"$(readlink $p/cwd)\" = %s ] && "
		"[ \"$(cat $p/comm)\" = %s ] && echo ${p#/proc/}; done",
		b->dir, comm);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(out, sizeof(out), f));
	pclose(f);
	return atoi(out);
}

/* ---- the cases ---- */

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
		assert_string_equal(run(b, "cat /home/sandbox/file"), "kept");
		counter_goes_on(b);
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
		cmocka_unit_test_setup_teardown(test_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_checkpoint, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vsock_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_full, setup_small, teardown_small),
		cmocka_unit_test_setup_teardown(test_owner_killed, setup, teardown),
	};

	if (getenv("ONLY"))
		cmocka_set_test_filter(getenv("ONLY"));
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
