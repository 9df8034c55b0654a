#include "tests/unit/spawn_run.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

char tmp[64];
int devnull;

int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

void no_children(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

struct spawn_request request(char **argv)
{
	static char *no_env[] = {NULL};

	return (struct spawn_request){
		.argv = argv + 1,
		.envp = no_env,
		.path = "/usr/bin:/bin",
		.cwd = "/",
		.fd = {devnull, devnull, devnull},
		.cgroup_fd = -1,
	};
}

int wait_status(struct spawn_result *res)
{
	int status;

	assert_true(fcntl(res->pidfd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(waitpid(res->pid, &status, 0), res->pid);
	close(res->pidfd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int run(struct spawn_request req, char *out, size_t size)
{
	struct spawn_result res;
	size_t len = 0;
	ssize_t n;
	int p[2], r;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	req.fd[1] = p[1];
	r = spawn(&req, &res);
	close(p[1]);
	assert_int_equal(r, 0);
	assert_int_equal(res.stage, SPAWN_OK);
	while (len < size - 1 && (n = read(p[0], out + len, size - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	close(p[0]);
	return wait_status(&res);
}

void prints(struct spawn_request req, const char *expected)
{
	char out[4096];

	assert_int_equal(run(req, out, sizeof(out)), 0);
	assert_string_equal(out, expected);
}

void fails(struct spawn_request req, enum spawn_stage stage, int err)
{
	char *argv0 = req.argv[0], *spare = req.argv[-1];
	struct spawn_result res = {0};
	int fds = count_fds();

	int r = spawn(&req, &res);

	if (err)
		assert_int_equal(r, -err);
	assert_true(r < 0);
	assert_string_equal(spawn_stage_str(res.stage), spawn_stage_str(stage));
	assert_ptr_equal(req.argv[0], argv0);
	assert_ptr_equal(req.argv[-1], spare);
	assert_int_equal(count_fds(), fds);
	no_children();
}

void exits(struct spawn_request req, int status)
{
	char out[4096];

	assert_int_equal(run(req, out, sizeof(out)), status);
}

const char *make_file(const char *name, mode_t mode, const char *text)
{
	static char path[4][128];
	static unsigned next;
	char *p = path[next++ % 4];
	int fd;

	snprintf(p, sizeof(path[0]), "%s/%s", tmp, name);
	fd = open(p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return p;
}

const char *make_dir(const char *name, mode_t mode)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", tmp, name);
	assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static int fds_before;

int before(void **state)
{
	(void)state;
	spawn_reserve(); /* opened once, kept for ever */
	fds_before = count_fds();
	return 0;
}

int after(void **state)
{
	(void)state;
	assert_int_equal(count_fds(), fds_before);
	no_children();
	return 0;
}

bool spawn_run_init(void)
{
	umask(022);
	devnull = open("/dev/null", O_RDWR | O_CLOEXEC);
	strcpy(tmp, "/tmp/test_spawn.XXXXXX");
	return devnull > 2 && mkdtemp(tmp) && chmod(tmp, 0755) == 0;
}

int spawn_run_fini(void)
{
	struct spawn_request req = REQUEST((char *)"rm", (char *)"-r", tmp);
	struct spawn_result res;
	int r = spawn(&req, &res) < 0 ? 1 : wait_status(&res);

	close(devnull);
	return r;
}
