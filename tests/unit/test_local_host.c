/*
 * test_local_host.c - sandboxes without a VM on other hosts: programs and rights that are missing,
 * long paths, other roots, full disks, cgroups.
 * ctest: timeout=120
 */
#include "bridge/box/box.h"
#include "tests/unit/local_rig.h"

#include <grp.h>
#include <sys/mount.h>
#include <sys/prctl.h>

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

/* It is said, and what was begun can be removed: neither of files nor of bytes is there one more.
 */
static void a_full_disk(void **state)
{
	static const char *const options[] = {"nr_inodes=10", "size=16k"};
	struct box_spec spec = {.template = "base"};
	struct rig_box x;

	(void)state;
	for (size_t i = 0; i < array_size(options); i++) {
		make_state_dir();
		assert_int_equal(mount("none", state_dir, "tmpfs", 0, options[i]), 0);
		rig_up_in(&rig, &box_driver_local, state_dir);
		rig_box_init(&rig, &x, "sb-00000001");
		rig_do(&x, box_start(&x.box, &spec, on_rig_answer));
		assert_false(x.r.ok);
		assert_int_equal(x.r.fault.status, 507);
		rig_do(&x, box_destroy(&x.box, on_rig_answer));
		rig_ok(&x);
		assert_int_equal(access(x.box.dir, F_OK), -1);
		rig_down(&rig);
		assert_int_equal(umount2(state_dir, MNT_DETACH), 0);
		assert_int_equal(rmdir(state_dir), 0);
	}
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
		cmocka_unit_test_setup_teardown(without_bubblewrap, up, down),
		cmocka_unit_test_setup_teardown(without_an_agent, up, down),
		cmocka_unit_test(a_long_state_directory),
		cmocka_unit_test(another_root),
		cmocka_unit_test(an_ordinary_user),
		cmocka_unit_test(a_full_disk),
		cmocka_unit_test_setup_teardown(nobody_reaps_on_the_host, up, down),
		cmocka_unit_test_setup_teardown(a_cgroup_of_its_own, up, down),
		cmocka_unit_test(as_a_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
