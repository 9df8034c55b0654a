/*
 * local_rig.h - boxes of the local driver for real, and what is left of them on the host
 * afterwards: nothing.
 */
#pragma once

#include "bridge/box/local.h"
#include "tests/unit/box_rig.h"

static struct rig rig;
static char state_dir[BOX_PATH_MAX];

static inline void make_state_dir(void)
{
	snprintf(state_dir, sizeof(state_dir), "/tmp/test-local-XXXXXX");
	assert_non_null(mkdtemp(state_dir));
}

static inline void remove_state_dir(void)
{
	char path[BOX_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/boxes", state_dir);
	assert_int_equal(rmdir(path), 0); /* so no box is left */
	assert_int_equal(rmdir(state_dir), 0);
}

static inline int up(void **state)
{
	(void)state;
	make_state_dir();
	rig_up_in(&rig, &box_driver_local, state_dir);
	return 0;
}

static inline void no_group_left(void);

static inline int down(void **state)
{
	(void)state;
	rig_down(&rig);
	assert_int_equal(fake_count_fds(), rig.fds);
	no_group_left();
	remove_state_dir();
	return 0;
}

/* ---- what is left on the host ---- */

/* Processes that know of this state directory. */
static inline unsigned count_processes(void)
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

static inline bool file_has(const char *path, const char *what)
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

static inline bool has_cgroup(const char *id)
{
	char dir[BOX_PATH_MAX + 64], path[BOX_PATH_MAX + 128];

	local_cgroup_find(state_dir, dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/%s", dir, id);
	return dir[0] && access(path, F_OK) == 0;
}

static inline void nothing_left(const char *dir, const char *id)
{
	assert_int_equal(access(dir, F_OK), -1);
	assert_false(file_has("/proc/self/mountinfo", state_dir));
	assert_false(has_cgroup(id));
	assert_int_equal(count_processes(), 0);
}

static inline void no_group_left(void)
{
	assert_false(has_cgroup("."));
}

static inline void destroy(struct rig_box *x)
{
	rig_do(x, box_destroy(&x->box, on_rig_answer));
	rig_ok(x);
	assert_null(x->box.state);
	nothing_left(x->box.dir, x->box.id);
}

static inline void restart(struct rig_box *x)
{
	rig_do(x, box_restart(&x->box, on_rig_answer));
	rig_ok(x);
}

static inline void stop(struct rig_box *x)
{
	rig_do(x, box_stop(&x->box, on_rig_answer));
	rig_ok(x);
	assert_int_equal(x->r.left, BOX_LEFT_STOPPED);
	assert_int_equal(count_processes(), 0);
}

static inline void adopt(struct rig_box *x, enum box_left left)
{
	rig_do(x, box_adopt(&x->box, on_rig_answer));
	rig_ok(x);
	assert_int_equal(x->r.left, left);
}

static inline void start_new(struct rig_box *x, const char *id)
{
	rig_box_init(&rig, x, id);
	rig_start(x);
}

static inline void prints(struct rig_box *x, const char *script, const char *expected)
{
	struct rig_run run;

	rig_run(x, &run, script);
	assert_string_equal(run.out, expected);
}
