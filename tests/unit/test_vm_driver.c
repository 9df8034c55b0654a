/*
 * test_vm_driver.c - real machines, through the driver table as sandbox.c uses it: a golden
 * snapshot, sleep and wake, checkpoints, forks, restores, adoption, and that nothing is left over.
 * Needs an image (./dev image --flavour minimal) and takes seconds for each case.
 *
 * ctest: timeout=600 serial
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
#include "bridge/box/vm_process.h"

#define MEMORY_MB 256

struct rig {
	uv_loop_t loop;
	struct boxes boxes;
	struct box_config config;
	char dir[64], images[256];
	bool answered, gone;
	struct box_result result;
	char gone_why[256];
};

static struct rig rig;

/* ---- the rig ---- */

static void on_answer(struct box *b, const struct box_result *r)
{
	(void)b;
	assert_false(rig.answered);
	rig.answered = true;
	rig.result = *r;
}

static void on_gone(struct box *b, const char *why)
{
	(void)b;
	rig.gone = true;
	snprintf(rig.gone_why, sizeof(rig.gone_why), "%s", why);
}

static const struct box_result *await(void)
{
	while (!rig.answered)
		uv_run(&rig.loop, UV_RUN_ONCE);
	rig.answered = false;
	return &rig.result;
}

static void await_ok(void)
{
	const struct box_result *r = await();

	if (!r->ok)
		print_error("%d %s (%s)\n", r->fault.status, r->fault.text, r->note);
	assert_true(r->ok);
}

static void open_driver(void)
{
	char why[200] = "";

	if (boxes_open(&rig.boxes, &rig.loop, &box_driver_vm, &rig.config, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

static void close_driver(void)
{
	boxes_close(&rig.boxes);
	uv_run(&rig.loop, UV_RUN_DEFAULT);
}

static int setup(void **state)
{
	(void)state;
	rig = (struct rig){.dir = "/tmp/agentd-vmtest-XXXXXX"};
	assert_non_null(mkdtemp(rig.dir));
	snprintf(rig.images, sizeof(rig.images), "%s/../build/image", TESTS_DIR);
	rig.config = (struct box_config){.state_dir = rig.dir, .image_dir = rig.images};
	assert_int_equal(uv_loop_init(&rig.loop), 0);
	open_driver();
	return 0;
}

static int remove_all(const char *dir)
{
	char command[512];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static int teardown(void **state)
{
	(void)state;
	close_driver();
	assert_int_equal(uv_loop_close(&rig.loop), 0);
	return remove_all(rig.dir);
}

static void init_box(struct box *b, const char *id)
{
	box_init(b, &rig.boxes, id, NULL, on_gone);
}

static void start_from(struct box *b, const char *id, const char *checkpoint)
{
	struct box_spec spec = {.template = "minimal",
		.cpus = 1,
		.memory_mb = MEMORY_MB,
		.network = true,
		.checkpoint = checkpoint};

	init_box(b, id);
	box_start(b, &spec, on_answer);
}

static void start(struct box *b, const char *id)
{
	start_from(b, id, NULL);
	await_ok();
}

static void destroy(struct box *b)
{
	struct stat st;

	box_destroy(b, on_answer);
	await_ok();
	assert_int_equal(stat(b->dir, &st), -1);
	assert_null(b->state);
	assert_int_equal(vm_process_reap(b->dir, 0), 0);
}

/* What a command in the guest prints, without the line's end. */
static const char *run(const struct box *b, const char *command)
{
	static char out[4096];
	char line[1024];
	FILE *f;
	size_t n;

	snprintf(line, sizeof(line), "timeout 20 %s --connect hybrid:%s:%u run -- sh -c '%s' 2>&1",
		getenv("AGENTCTL"), b->target.path, b->target.port, command);
	f = popen(line, "r");
	assert_non_null(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	pclose(f);
	while (n > 0 && out[n - 1] == '\n')
		n--;
	out[n] = '\0';
	return out;
}

/* As sandbox.c does before it saves. */
static void prepare(const struct box *b)
{
	char line[1024];

	snprintf(line, sizeof(line), "timeout 20 %s --connect hybrid:%s:%u prepare >/dev/null",
		getenv("AGENTCTL"), b->target.path, b->target.port);
	assert_int_equal(system(line), 0);
}

static void start_counter(const struct box *b)
{
	run(b, "(while :; do echo x >>/tmp/count; sleep 0.05; done) >/dev/null 2>&1 & echo $! >/tmp/pid");
}

static void counter_goes_on(const struct box *b)
{
	assert_string_equal(run(b, "kill -0 $(cat /tmp/pid) && a=$(wc -l </tmp/count); sleep 0.5; "
				   "b=$(wc -l </tmp/count); [ $b -gt $a ] && echo on"),
		"on");
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

/* ---- the cases ---- */

static void test_life(void **state)
{
	struct box b;
	uint64_t t0 = now_ms(), t1;

	(void)state;
	start(&b, "life");
	assert_false(rig.result.cold);
	t1 = now_ms();
	assert_string_equal(run(&b, "echo hello"), "hello");
	print_message("first start with its snapshot %llu ms\n", (unsigned long long)(t1 - t0));
	start_counter(&b);

	t0 = now_ms();
	prepare(&b);
	t1 = now_ms();
	box_hibernate(&b, on_answer);
	await_ok();
	print_message("prepare %llu ms, hibernate %llu ms, %llu MiB\n",
		(unsigned long long)(t1 - t0), (unsigned long long)(now_ms() - t1),
		(unsigned long long)(rig.result.bytes >> 20));
	assert_int_equal(vm_process_reap(b.dir, 0), 0);
	assert_int_equal(rig.result.left, BOX_LEFT_ASLEEP);

	t0 = now_ms();
	box_wake(&b, on_answer);
	await_ok();
	t1 = now_ms();
	assert_false(rig.result.cold);
	assert_string_equal(run(&b, "echo hello"), "hello");
	print_message("wake %llu ms, first command %llu ms\n", (unsigned long long)(t1 - t0),
		(unsigned long long)(now_ms() - t0));
	counter_goes_on(&b);
	destroy(&b);
	assert_int_equal(count_entries("boxes"), 0);

	t0 = now_ms();
	start(&b, "second");
	print_message("create from the snapshot %llu ms\n", (unsigned long long)(now_ms() - t0));
	assert_false(rig.result.cold);
	assert_string_equal(run(&b, "echo hello; ls /tmp"), "hello");
	run(&b, "echo kept >/root/file");
	box_stop(&b, on_answer);
	await_ok();
	assert_int_equal(rig.result.left, BOX_LEFT_STOPPED);
	assert_int_equal(vm_process_reap(b.dir, 0), 0);
	t0 = now_ms();
	box_restart(&b, on_answer);
	await_ok();
	print_message("cold boot %llu ms\n", (unsigned long long)(now_ms() - t0));
	assert_string_equal(run(&b, "cat /root/file"), "kept");
	destroy(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_life, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
