/*
 * test_local.c - sandboxes without a VM, for real: namespaces, overlay, agentd, and what is left of
 * them afterwards.
 * ctest: timeout=180
 */
#include "bridge/box/box.h"
#include "tests/unit/box_rig.h"

#include <grp.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "bridge/box/local.h"

static struct rig rig;
static char state_dir[BOX_PATH_MAX];

static void make_state_dir(void)
{
	snprintf(state_dir, sizeof(state_dir), "/tmp/test-local-XXXXXX");
	assert_non_null(mkdtemp(state_dir));
}

static void remove_state_dir(void)
{
	char path[BOX_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/boxes", state_dir);
	assert_int_equal(rmdir(path), 0); /* so no box is left */
	assert_int_equal(rmdir(state_dir), 0);
}

static int up(void **state)
{
	(void)state;
	make_state_dir();
	rig_up_in(&rig, &box_driver_local, state_dir);
	return 0;
}

static void no_group_left(void);

static int down(void **state)
{
	(void)state;
	rig_down(&rig);
	assert_int_equal(rig_count_fds(), rig.fds);
	no_group_left();
	remove_state_dir();
	return 0;
}

/* ---- what is left on the host ---- */

/* Processes that know of this state directory. */
static unsigned count_processes(void)
{
	DIR *d = opendir("/proc");
	unsigned n = 0;

	for (struct dirent *e; (e = readdir(d));) {
		char path[300], text[4096];
		int fd;
		ssize_t len;

		if (atoi(e->d_name) <= 0 || atoi(e->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? 0 : read(fd, text, sizeof(text));
		n += len > 0 && memmem(text, (size_t)len, state_dir, strlen(state_dir));
		if (fd >= 0)
			close(fd);
	}
	closedir(d);
	return n;
}

static bool file_has(const char *path, const char *what)
{
	char line[4096];
	FILE *f = fopen(path, "re");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, what);
	if (f)
		fclose(f);
	return found;
}

static bool has_cgroup(const char *id)
{
	char dir[BOX_PATH_MAX + 64], path[BOX_PATH_MAX + 128];

	local_cgroup_find(state_dir, dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/%s", dir, id);
	return dir[0] && access(path, F_OK) == 0;
}

static void nothing_left(const char *dir, const char *id)
{
	assert_int_equal(access(dir, F_OK), -1);
	assert_false(file_has("/proc/self/mountinfo", state_dir));
	assert_false(has_cgroup(id));
	assert_int_equal(count_processes(), 0);
}

static void no_group_left(void)
{
	assert_false(has_cgroup("."));
}

static void destroy(struct rig_box *x)
{
	rig_do(x, box_destroy(&x->box, on_rig_answer));
	rig_ok(x);
	assert_null(x->box.state);
	nothing_left(x->box.dir, x->box.id);
}

static void restart(struct rig_box *x)
{
	rig_do(x, box_restart(&x->box, on_rig_answer));
	rig_ok(x);
}

static void stop(struct rig_box *x)
{
	rig_do(x, box_stop(&x->box, on_rig_answer));
	rig_ok(x);
	assert_int_equal(x->r.left, BOX_LEFT_STOPPED);
	assert_int_equal(count_processes(), 0);
}

static void adopt(struct rig_box *x, enum box_left left)
{
	rig_do(x, box_adopt(&x->box, on_rig_answer));
	rig_ok(x);
	assert_int_equal(x->r.left, left);
}

static void start_new(struct rig_box *x, const char *id)
{
	rig_box_init(&rig, x, id);
	rig_start(x);
}

static void prints(struct rig_box *x, const char *script, const char *expected)
{
	struct rig_run run;

	rig_run(x, &run, script);
	assert_string_equal(run.out, expected);
}

/* ---- inside ---- */

static void a_command_as_the_user(void **state)
{
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x, "id -un; id -u; id -g; hostname; pwd; echo $HOME $USER $LOGNAME",
		"sandbox\n1000\n1000\nsb-00000001\n/home/sandbox\n/home/sandbox sandbox sandbox\n");
	prints(&x,
		"cd /workspace && pwd && touch here && touch ~/here /tmp/here && stat -c %U /workspace here",
		"/workspace\nsandbox\nsandbox\n");
	prints(&x, "test -w /usr || echo no; cat /etc/hostname; getent hosts $(hostname)",
		"no\nsb-00000001\n127.0.1.1       sb-00000001\n");
	destroy(&x);
}

/* bwrap sets no_new_privs for its children and mounts everything nosuid; agentd is none of them. */
static void sudo_works(void **state)
{
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x,
		"sudo -n id -u; sudo -n touch /usr/made && stat -c %U /usr/made; sudo -n -u sandbox id -un",
		"0\nroot\nsandbox\n");
	destroy(&x);
}

static void namespaces_of_its_own(void **state)
{
	struct rig_box x;
	struct rig_run run;

	(void)state;
	start_new(&x, "sb-00000001");
	assert_int_equal(rig_run(&x, &run, "kill -0 $$ && ls -d /proc/[0-9]* | wc -l"), 0);
	assert_in_range(atoi(run.out), 3, 12);
	prints(&x,
		"ls -A /tmp; sudo -n ls -A /root; ls -A /home; ls /run; ls /dev/pts; test -r /sys/class/net && echo sys",
		"sandbox\nagentd\nptmx\nsys\n");
	destroy(&x);
}

static void writes_do_not_reach_the_host(void **state)
{
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x,
		"sudo -n sh -c 'echo x > /etc/from-sandbox; echo x > /usr/from-sandbox; rm /etc/services; "
		"mount -t tmpfs none /mnt && hostname changed && hostname'",
		"changed\n");
	assert_int_equal(access("/etc/from-sandbox", F_OK), -1);
	assert_int_equal(access("/usr/from-sandbox", F_OK), -1);
	assert_int_equal(access("/etc/services", F_OK), 0);
	/* Nor do mistakes reach the machine: its settings, its disks. */
	prints(&x,
		"sudo -n sh -c 'for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger "
		"/sys/kernel/mm/ksm/run; do echo x 2>/dev/null > $f || echo no; done; "
		"mknod /node b 7 0; cat /node || echo no' 2>/dev/null",
		"no\nno\nno\nno\n");
	destroy(&x);
}

/* The state directory holds keys and the other sandboxes. Where it is below a directory that is
 * replaced it cannot be seen anyhow; this one is not. */
static void the_state_directory_is_masked(void **state)
{
	struct rig_box x;
	char key[BOX_PATH_MAX + 16], script[BOX_PATH_MAX + 64];
	FILE *f;

	(void)state;
	snprintf(state_dir, sizeof(state_dir), "/var/lib/test-local-XXXXXX");
	assert_non_null(mkdtemp(state_dir));
	snprintf(key, sizeof(key), "%s/api-key", state_dir);
	f = fopen(key, "we");
	fputs("secret", f);
	fclose(f);
	rig_up_in(&rig, &box_driver_local, state_dir);
	start_new(&x, "sb-00000001");
	snprintf(script, sizeof(script), "sudo -n ls -A %s; echo there", state_dir);
	prints(&x, script, "there\n");
	destroy(&x);
	unlink(key);
	rig_down(&rig);
	remove_state_dir();
}

static void two_are_apart(void **state)
{
	struct rig_box a, b;

	(void)state;
	start_new(&a, "sb-0000000a");
	start_new(&b, "sb-0000000b");
	prints(&a,
		"echo a > /tmp/f; echo a > /workspace/f; echo a > ~/f; "
		"sudo -n sh -c 'echo a > /usr/f'; (sleep 1000 >/dev/null 2>&1 &)",
		"");
	prints(&b, "ls /tmp/f /workspace/f ~/f /usr/f 2>/dev/null; pgrep sleep; hostname",
		"sb-0000000b\n");
	rig_do(&a, box_destroy(&a.box, on_rig_answer));
	rig_ok(&a);
	prints(&b, "echo fine", "fine\n");
	destroy(&b);
}

/* ---- life ---- */

static void no_work(uv_work_t *w)
{
	(void)w;
}

static void on_no_work_done(uv_work_t *w, int status)
{
	(void)status;
	*(bool *)w->data = true;
}

/* Bug: a sandbox slow to stop held one of the few threads that do the work of all of them; with
 * four of these none could be created for seconds. */
static void stopping_holds_no_thread(void **state)
{
	static const char *const ids[] = {"sb-a", "sb-b", "sb-c", "sb-d"};
	struct rig_box x[array_size(ids)];
	struct local_pids pids;
	bool worked = false;
	uv_work_t work = {.data = &worked};

	(void)state;
	for (size_t i = 0; i < array_size(ids); i++) {
		rig_box_init(&rig, &x[i], ids[i]);
		rig_start(&x[i]);
		assert_true(local_load_pids(x[i].box.dir, &pids));
		kill(pids.agent.pid, SIGSTOP); /* it does not hear TERM */
		x[i].answers = 0;
	}
	for (size_t i = 0; i < array_size(ids); i++)
		box_stop(&x[i].box, on_rig_answer);
	assert_int_equal(uv_queue_work(&rig.loop, &work, no_work, on_no_work_done), 0);
	rig_wait(&rig, &worked);
	for (size_t i = 0; i < array_size(ids); i++)
		assert_int_equal(x[i].answers, 0);
	for (size_t i = 0; i < array_size(ids); i++) {
		rig_answered(&x[i]);
		rig_ok(&x[i]);
	}
	for (size_t i = 0; i < array_size(ids); i++)
		destroy(&x[i]);
}

static void stop_and_restart_keep_files(void **state)
{
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x,
		"echo one > ~/f; echo two > /workspace/f; sudo -n sh -c 'echo three > /usr/local/f; rm /etc/services'; "
		"(sleep 1000 >/dev/null 2>&1 &)",
		"");
	stop(&x);
	assert_false(has_cgroup("sb-00000001"));
	restart(&x);
	prints(&x,
		"cat ~/f /workspace/f /usr/local/f; test -e /etc/services || echo gone; pgrep sleep; id -un",
		"one\ntwo\nthree\ngone\nsandbox\n");
	stop(&x);
	adopt(&x, BOX_LEFT_STOPPED);
	restart(&x);
	prints(&x, "cat ~/f", "one\n");
	assert_int_equal(x.gone, 0);
	destroy(&x);
}

static void wait_gone(struct rig_box *x)
{
	uint64_t until = now_ms() + RIG_MS;

	while (!x->gone) {
		assert_true(now_ms() < until);
		uv_run(&rig.loop, UV_RUN_ONCE);
	}
	assert_int_equal(x->gone, 1);
	assert_int_equal(count_processes(), 0);
}

static void the_end_of_agentd_is_told(void **state)
{
	struct rig_box x;
	struct local_pids pids;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x, "echo kept > ~/f; (setsid sleep 1000 >/dev/null 2>&1 &)", "");
	local_load_pids(x.box.dir, &pids);
	assert_int_equal(kill(pids.agent.pid, SIGKILL), 0);
	wait_gone(&x);
	restart(&x);
	prints(&x, "cat ~/f; pgrep sleep", "kept\n");
	x.gone = 0;
	local_load_pids(x.box.dir, &pids);
	assert_int_equal(kill(pids.inner.pid, SIGKILL), 0);
	wait_gone(&x);
	destroy(&x);
}

/* The operation takes the place of on_gone: it is not told in the middle of one. */
static void an_operation_while_it_is_going(void **state)
{
	struct rig_box x;
	struct local_pids pids;

	(void)state;
	start_new(&x, "sb-00000001");
	local_load_pids(x.box.dir, &pids);
	kill(pids.agent.pid, SIGKILL);
	/* Until it is seen: the driver's thread is at work then. */
	for (unsigned i = 0; i < 3; i++)
		uv_run(&rig.loop, UV_RUN_NOWAIT);
	destroy(&x);
	assert_in_range(x.gone, 0, 1);
}

static void what_is_not_there(void **state)
{
	struct rig_box x;

	(void)state;
	rig_box_init(&rig, &x, "sb-00000001");
	adopt(&x, BOX_LEFT_NOTHING);
	destroy(&x);
	rig_box_init(&rig, &x, "sb-00000001");
	destroy(&x);
}

/* ---- another bridge ---- */

/* In a process of its own: starts a box and is killed. */
static void start_and_die(const char *id, int after_ms)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct rig other;
		struct rig_box x;
		struct box_spec spec = {.template = "base"};
		uint64_t until = now_ms() + (uint64_t)after_ms;

		rig_up_in(&other, &box_driver_local, state_dir);
		rig_box_init(&other, &x, id);
		if (after_ms < 0) {
			rig_start(&x);
			kill(getpid(), SIGKILL);
		}
		box_start(&x.box, &spec, on_rig_answer);
		while (now_ms() < until)
			uv_run(&other.loop, UV_RUN_NOWAIT);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void adopted_after_a_kill(void **state)
{
	struct rig_box x;
	struct local_pids before, after;

	(void)state;
	start_and_die("sb-00000001", -1);
	rig_box_init(&rig, &x, "sb-00000001");
	local_load_pids(x.box.dir, &before);
	adopt(&x, BOX_LEFT_RUNNING);
	prints(&x, "hostname; sudo -n id -u", "sb-00000001\n0\n");
	local_load_pids(x.box.dir, &after);
	assert_int_equal(before.agent.pid, after.agent.pid);
	/* It is no child of ours, and its end is seen all the same. */
	kill(after.agent.pid, SIGKILL);
	wait_gone(&x);
	destroy(&x);
}

static void adopted_after_leaving(void **state)
{
	struct rig_box x, y;

	(void)state;
	start_new(&x, "sb-00000001");
	prints(&x, "(sleep 1000 >/dev/null 2>&1 &)", "");
	box_leave(&x.box);
	assert_null(x.box.state);
	rig_box_init(&rig, &y, "sb-00000001");
	adopt(&y, BOX_LEFT_RUNNING);
	prints(&y, "pgrep -c sleep", "1\n");
	stop(&y);
	box_leave(&y.box);
	rig_box_init(&rig, &x, "sb-00000001");
	adopt(&x, BOX_LEFT_STOPPED);
	destroy(&x);
}

/* A bridge that is killed at any step of a start leaves what adopt and destroy can clean. */
static void killed_while_it_starts(void **state)
{
	struct rig_box x;

	(void)state;
	for (int ms = 0; ms <= 48; ms += 4) {
		start_and_die("sb-00000001", ms);
		rig_box_init(&rig, &x, "sb-00000001");
		rig_do(&x, box_adopt(&x.box, on_rig_answer));
		rig_ok(&x);
		if (x.r.left == BOX_LEFT_STOPPED)
			restart(&x);
		if (x.r.left != BOX_LEFT_NOTHING)
			prints(&x, "echo works", "works\n");
		destroy(&x);
	}
}

static void half_a_box_is_cleaned(void **state)
{
	char path[BOX_PATH_MAX + 32];
	struct rig_box x;

	(void)state;
	start_new(&x, "sb-00000001");
	stop(&x);
	snprintf(path, sizeof(path), "%s/made", x.box.dir);
	assert_int_equal(unlink(path), 0);
	box_leave(&x.box);
	rig_box_init(&rig, &x, "sb-00000001");
	adopt(&x, BOX_LEFT_NOTHING);
	destroy(&x);
}

/* ---- other hosts ---- */

static void without_bubblewrap(void **state)
{
	const char *old = getenv("PATH");
	char *path = strdup(old ? old : "");
	struct box_spec spec = {.template = "base"};
	struct rig_box x;

	(void)state;
	assert_non_null(path);
	rig_box_init(&rig, &x, "sb-00000001");
	setenv("PATH", "/nowhere", 1);
	rig_do(&x, box_start(&x.box, &spec, on_rig_answer));
	setenv("PATH", path, 1);
	free(path);
	assert_false(x.r.ok);
	assert_int_equal(x.r.fault.status, 500);
	assert_string_equal(
		x.r.fault.text, "the sandbox cannot be made: bubblewrap (bwrap) is not installed");
	destroy(&x);
}

static void without_an_agent(void **state)
{
	struct boxes bs;
	struct box_config config = {.state_dir = state_dir, .agentd = "/no/agentd"};
	char why[128];

	(void)state;
	assert_int_equal(
		boxes_open(&bs, &rig.loop, &box_driver_local, &config, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "/no/agentd is no program: local sandboxes need a static agentd");
}

/* Longer than a socket's address may be. */
static void a_long_state_directory(void **state)
{
	char parent[32];
	struct rig_box x;

	(void)state;
	make_state_dir();
	snprintf(parent, sizeof(parent), "%.31s", state_dir);
	snprintf(state_dir, sizeof(state_dir), "%s/%0120d, with: odd \\ parts", parent, 0);
	assert_int_equal(mkdir(state_dir, 0700), 0);
	rig_up_in(&rig, &box_driver_local, state_dir);
	start_new(&x, "sb-00000001");
	prints(&x, "hostname", "sb-00000001\n");
	destroy(&x);
	rig_down(&rig);
	remove_state_dir();
	rmdir(parent);

	snprintf(state_dir, sizeof(state_dir), "/tmp/%0230d", 0);
	assert_int_equal(
		boxes_open(&rig.boxes, &rig.loop, &box_driver_local,
			&(struct box_config){.state_dir = state_dir}, rig.why, sizeof(rig.why)),
		-EINVAL);
	assert_string_equal(rig.why, "the path of the state directory is too long");
}

static void shell(const char *fmt, ...)
{
	char command[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

/* A root of its own, with a name that overlayfs must be told carefully, and in which somebody else
 * has our number already. */
static void another_root(void **state)
{
	char root[] = "/tmp/test-root:a,b-XXXXXX";
	struct rig_box x;

	(void)state;
	assert_non_null(mkdtemp(root));
	make_state_dir();
	shell("cd '%s' && chmod 755 . && mkdir -p bin etc proc dev tmp usr && cp /bin/busybox bin/ && "
	      "for p in sh cat id ls echo; do ln -s busybox bin/$p; done && "
	      "printf 'root:x:0:0:root:/root:/bin/sh\\nother:x:1000:1000::/home/other:/bin/sh\\n' > etc/passwd && "
	      "printf 'root:x:0:\\nother:x:1000:\\nmore:x:10001:other\\n' > etc/group",
		root);
	rig_up_in(&rig, &box_driver_local, state_dir);
	rig.config.root = root;
	start_new(&x, "sb-00000001");
	prints(&x, "id; cat /etc/passwd /etc/group; ls -A /home",
		"uid=1000(sandbox) gid=1000(sandbox) groups=1000(sandbox)\n"
		"root:x:0:0:root:/root:/bin/sh\nsandbox:x:1000:1000:sandbox:/home/sandbox:/bin/sh\n"
		"root:x:0:\nmore:x:10001:other\nsandbox:x:1000:\nsandbox\n");
	destroy(&x);
	rig_down(&rig);
	remove_state_dir();
	assert_int_equal(local_disk_remove(root), 0);
}

/* What is not a system call of root: no cgroup, one user in the namespace, overlays by directory.
 */
static void as_an_ordinary_user(void **state)
{
	struct rig_box x;

	(void)state;
	rig_up_in(&rig, &box_driver_local, state_dir);
	start_new(&x, "sb-00000001");
	prints(&x,
		"id -un; hostname; pwd; echo x > ~/f; echo x > /workspace/f; echo x > /tmp/f; "
		"echo y > /etc/made; cat ~/f /etc/made; ls -A /root /tmp; ls /run",
		"sandbox\nsb-00000001\n/home/sandbox\nx\ny\n/root:\n\n/tmp:\nf\nagentd\n");
	assert_int_equal(access("/etc/made", F_OK), -1);
	stop(&x);
	restart(&x);
	prints(&x, "cat ~/f /etc/made; stat -c %U ~/f", "x\ny\nsandbox\n");
	destroy(&x);
	rig_down(&rig);
}

static void an_ordinary_user(void **state)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(as_an_ordinary_user)};
	pid_t pid;
	int status;

	(void)state;
	make_state_dir();
	assert_int_equal(chown(state_dir, 65534, 65534), 0);
	pid = fork();
	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
			setresuid(65534, 65534, 65534) < 0)
			_exit(99);
		prctl(PR_SET_DUMPABLE, 1);
		_exit(cmocka_run_group_tests(tests, NULL, NULL));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	remove_state_dir();
}

/* In a container PID 1 may be anything. A namespace ends only when all in it are reaped, so agentd
 * must not be the child of somebody on the host. */
static void nobody_reaps_on_the_host(void **state)
{
	uint64_t began;
	struct rig_box x;

	(void)state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	start_new(&x, "sb-00000001");
	prints(&x, "(setsid sleep 1000 >/dev/null 2>&1 &)", "");
	began = now_ms();
	destroy(&x);
	assert_true(now_ms() - began < 1500);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

/* Where nothing limits us nothing is limited, and a box starts all the same. */
static void a_cgroup_of_its_own(void **state)
{
	struct box_spec spec = {.template = "base", .cpus = 1, .memory_mb = 256};
	struct rig_box x;

	(void)state;
	rig_box_init(&rig, &x, "sb-00000001");
	rig_do(&x, box_start(&x.box, &spec, on_rig_answer));
	rig_ok(&x);
	assert_true(has_cgroup("sb-00000001"));
	prints(&x,
		"grep ^0: /proc/self/cgroup; ls -d /sys/fs/cgroup/sandbox /sys/fs/cgroup/init; "
		"cat /sys/fs/cgroup/memory.max 2>/dev/null | grep -v '^268435456$'",
		"0::/sandbox/s0\n/sys/fs/cgroup/init\n/sys/fs/cgroup/sandbox\n");
	destroy(&x);
}

/* A service's cgroup with the service in it could not hand controllers down. */
static void as_a_service(void **state)
{
	char group[BOX_PATH_MAX + 64], found[BOX_PATH_MAX + 64], again[BOX_PATH_MAX + 64], *end;
	char path[BOX_PATH_MAX + 128];
	FILE *f;

	(void)state;
	local_cgroup_find("/x", found, sizeof(found));
	snprintf(group, sizeof(group), "%s", found);
	end = strrchr(group, '/');
	snprintf(end, sizeof(group) - (size_t)(end - group), "/test-local-%d", getpid());
	assert_int_equal(mkdir(group, 0755), 0);
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	f = fopen(path, "we");
	assert_true(f && fputs("0", f) >= 0 && fclose(f) == 0);
	local_cgroup_find("/x", found, sizeof(found));
	assert_int_equal(strncmp(found, group, strlen(group)), 0);
	assert_int_equal(strncmp(found + strlen(group), "/bridge-", 8), 0);
	assert_true(file_has("/proc/self/cgroup", "/bridge-main\n"));
	local_cgroup_find("/x", again, sizeof(again));
	assert_string_equal(again, found);
	snprintf(path, sizeof(path), "%s/../cgroup.procs", group);
	f = fopen(path, "we");
	assert_true(f && fputs("0", f) >= 0 && fclose(f) == 0);
	snprintf(path, sizeof(path), "%s/bridge-main", group);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(group), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_command_as_the_user, up, down),
		cmocka_unit_test_setup_teardown(sudo_works, up, down),
		cmocka_unit_test_setup_teardown(namespaces_of_its_own, up, down),
		cmocka_unit_test_setup_teardown(writes_do_not_reach_the_host, up, down),
		cmocka_unit_test(the_state_directory_is_masked),
		cmocka_unit_test_setup_teardown(two_are_apart, up, down),
		cmocka_unit_test_setup_teardown(stop_and_restart_keep_files, up, down),
		cmocka_unit_test_setup_teardown(stopping_holds_no_thread, up, down),
		cmocka_unit_test_setup_teardown(the_end_of_agentd_is_told, up, down),
		cmocka_unit_test_setup_teardown(an_operation_while_it_is_going, up, down),
		cmocka_unit_test_setup_teardown(what_is_not_there, up, down),
		cmocka_unit_test_setup_teardown(adopted_after_a_kill, up, down),
		cmocka_unit_test_setup_teardown(adopted_after_leaving, up, down),
		cmocka_unit_test_setup_teardown(killed_while_it_starts, up, down),
		cmocka_unit_test_setup_teardown(half_a_box_is_cleaned, up, down),
		cmocka_unit_test_setup_teardown(without_bubblewrap, up, down),
		cmocka_unit_test_setup_teardown(without_an_agent, up, down),
		cmocka_unit_test(a_long_state_directory),
		cmocka_unit_test(another_root),
		cmocka_unit_test(an_ordinary_user),
		cmocka_unit_test_setup_teardown(nobody_reaps_on_the_host, up, down),
		cmocka_unit_test_setup_teardown(a_cgroup_of_its_own, up, down),
		cmocka_unit_test(as_a_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
