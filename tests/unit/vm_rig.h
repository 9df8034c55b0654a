/*
 * vm_rig.h - real machines, through the driver table as sandbox.c uses it, waited for, and commands
 * run in them by agentctl. In a header, as it is linked with the bridge's layers
 * (tests/CMakeLists.txt).
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bridge/box/box.h"
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

static inline unsigned index_of(const struct box *b)
{
	return (unsigned)(b - rig.open);
}

static inline const struct box_result *result(const struct box *b)
{
	return &rig.result[index_of(b)];
}

static inline void on_answer(struct box *b, const struct box_result *r)
{
	rig.answers++;
	rig.result[index_of(b)] = *r;
}

static inline void on_gone(struct box *b, const char *why)
{
	(void)b;
	rig.gone = true;
	snprintf(rig.gone_why, sizeof(rig.gone_why), "%s", why);
}

static inline void await_n(unsigned n)
{
	while (rig.answers < n)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(rig.answers, n);
	rig.answers = 0;
}

static inline const struct box_result *await(const struct box *b)
{
	await_n(1);
	return result(b);
}

static inline void assert_ok(const struct box *b)
{
	const struct box_result *r = result(b);

	if (r->ok)
		return;
	if (rig.is_owner) {
		fprintf(stderr, "owner: %d %s (%s) %s\n", r->fault.status, r->fault.text, r->note,
			rig.gone ? rig.gone_why : "");
		_exit(1);
	}
	fail_msg("%s: %d %s (%s)", b->id, r->fault.status, r->fault.text, r->note);
}

static inline void await_ok(const struct box *b)
{
	await(b);
	assert_ok(b);
}

static inline void await_gone(void)
{
	while (!rig.gone)
		uv_run(&rig.loop, UV_RUN_ONCE);
	rig.gone = false;
}

static inline void open_driver(void)
{
	char why[200] = "";

	assert_int_equal(uv_loop_init(&rig.loop), 0);
	rig.config = (struct box_config){.state_dir = rig.dir, .image_dir = rig.images};
	if (boxes_open(&rig.boxes, &rig.loop, &box_driver_vm, &rig.config, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

/* The bridge ends, machines go on. */
static inline void close_driver(void)
{
	for (unsigned i = 0; i < rig.n_open; i++)
		box_leave(&rig.open[i]);
	rig.n_open = 0;
	boxes_close(&rig.boxes);
	uv_run(&rig.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&rig.loop), 0);
}

static inline void reap_below(const char *name)
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
static inline int group_setup(void **state)
{
	(void)state;
	rig = (struct rig){.dir = "/tmp/agentd-vmtest-XXXXXX"};
	assert_non_null(mkdtemp(rig.dir));
	snprintf(rig.images, sizeof(rig.images), "%s/../build/image", TESTS_DIR);
	return 0;
}

static inline int group_teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", rig.dir);
	return system(command);
}

static inline int setup(void **state)
{
	(void)state;
	rig.answers = 0;
	rig.gone = false;
	open_driver();
	return 0;
}

/* Also after a case that failed in the middle. */
static inline int teardown(void **state)
{
	(void)state;
	close_driver();
	reap_below("boxes");
	reap_below("images");
	return 0;
}

static inline unsigned count_entries(const char *name)
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

static inline struct box *new_box(const char *id)
{
	struct box *b = &rig.open[rig.n_open];

	assert_true(rig.n_open < BOXES);
	rig.n_open++;
	box_init(b, &rig.boxes, id, NULL, on_gone);
	return b;
}

static inline struct box *begin_from(const char *id, const char *checkpoint)
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

static inline struct box *start(const char *id)
{
	struct box *b = begin_from(id, NULL);

	await_ok(b);
	return b;
}

static inline void destroy(struct box *b)
{
	struct stat st;

	box_destroy(b, on_answer);
	await_ok(b);
	assert_int_equal(stat(b->dir, &st), -1);
	assert_null(b->state);
	assert_int_equal(vm_process_reap(b->dir, 0), 0);
}

static inline void hibernate(struct box *b)
{
	box_hibernate(b, on_answer);
	await_ok(b);
	assert_int_equal(result(b)->left, BOX_LEFT_ASLEEP);
	assert_int_equal(vm_process_reap(b->dir, 0), 0);
}

static inline void wake(struct box *b)
{
	box_wake(b, on_answer);
	await_ok(b);
}

static inline struct box *adopt(const char *id)
{
	struct box *b = new_box(id);

	box_adopt(b, on_answer);
	await_ok(b);
	return b;
}

/* ---- in the guest ---- */

/* The loop turns meanwhile, as a bridge's does: the driver mends what happens to the machine. */
static inline int agentctl(const struct box *b, const char *args, char *out, size_t size)
{
	char line[2048];
	FILE *f;
	size_t n = 0;
	ssize_t r;
	int status;

	snprintf(line, sizeof(line), "timeout 20 %s --connect hybrid:%s:%u %s 2>&1",
		getenv("AGENTCTL"), b->target.path, b->target.port, args);
	f = popen(line, "r");
	assert_non_null(f);
	assert_return_code(fcntl(fileno(f), F_SETFL, O_NONBLOCK), errno);
	while ((r = read(fileno(f), out + n, size - 1 - n)) != 0 && n < size - 1) {
		n += (size_t)max_of(r, (ssize_t)0);
		uv_run(&rig.loop, UV_RUN_NOWAIT);
		usleep(r < 0 ? 1000 : 0);
	}
	status = pclose(f);
	while (n > 0 && out[n - 1] == '\n')
		n--;
	out[n] = '\0';
	return status;
}

/* What a command prints, without the last line's end. */
static inline const char *run(const struct box *b, const char *command)
{
	static char out[4096];
	char args[1500];

	snprintf(args, sizeof(args), "run -- sh -c '%s'", command);
	agentctl(b, args, out, sizeof(out));
	return out;
}

/* A machine that booted may answer before its agent listens; sandbox.c dials again, too. An
 * emulated one beside other tests takes its time. */
static inline void await_agent(const struct box *b)
{
	char out[256];
	uint64_t until = now_ms() + 60000;

	while (agentctl(b, "ping -n 1", out, sizeof(out)) != 0) {
		if (now_ms() > until)
			fail_msg("no agent: %s", out);
	}
}

/* As sandbox.c does before it saves. */
static inline void prepare(const struct box *b)
{
	char out[1024];

	if (agentctl(b, "prepare", out, sizeof(out)) != 0)
		fail_msg("%s", out);
}

static inline void start_counter(const struct box *b)
{
	run(b, "(while :; do echo x >>/tmp/count; sleep 0.05; done) >/dev/null 2>&1 & "
	       "echo $! >/tmp/pid");
}

#define COUNTER_GOES_ON                                                                            \
	"kill -0 $(cat /tmp/pid) && a=$(wc -l </tmp/count); sleep 0.5; "                           \
	"b=$(wc -l </tmp/count); [ $b -gt $a ] && echo on"

static inline void counter_goes_on(const struct box *b)
{
	assert_string_equal(run(b, COUNTER_GOES_ON), "on");
}

static inline pid_t pid_of(const struct box *b, const char *comm)
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
