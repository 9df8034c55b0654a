/*
 * test_fdstore.c - init keeps descriptors by name, remembers how processes ended whose pidfd it
 * has, and listens to nobody but its agent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "init/notify.h"

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int null(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void test_names(void **state)
{
	struct fdstore s = {0};
	int before = count_fds();

	(void)state;
	assert_int_equal(fdstore_add(&s, "s1", null()), 0);
	assert_int_equal(fdstore_add(&s, "s2", null()), 0);
	assert_int_equal(fdstore_add(&s, "s1", null()), 0);
	assert_int_equal(fdstore_add(&s, "a:b", null()), -EINVAL);
	assert_int_equal(fdstore_add(&s, "", null()), -EINVAL);
	assert_int_equal(
		fdstore_add(&s, "0123456789012345678901234567890123456789", null()), -EINVAL);
	assert_int_equal(count_fds(), before + 3);
	fdstore_remove(&s, "s1");
	assert_int_equal(s.n, 1);
	assert_string_equal(s.entries[0].name, "s2");
	fdstore_remove(&s, "none");
	fdstore_remove(&s, "s2");
	assert_int_equal(s.n, 0);
	assert_int_equal(count_fds(), before);
}

static pid_t child(int *pidfd, int code)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(code);
	*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pid;
}

static void test_exits(void **state)
{
	struct fdstore s = {0};
	struct child_exit e = {0}, read_back;
	int before = count_fds(), fd, status;
	pid_t pid = child(&fd, 7);
	size_t at = 0;

	(void)state;
	assert_int_equal(fdstore_add(&s, "s1", fd), 0);
	assert_int_equal(s.entries[0].pid, pid);
	waitpid(pid, &status, 0);
	e.pid = pid + 1;
	assert_false(fdstore_note_exit(&s, &e)); /* an orphan of somebody */
	e.pid = pid;
	e.status = status;
	e.maxrss_kb = 1234;
	assert_true(fdstore_note_exit(&s, &e));
	assert_false(fdstore_note_exit(&s, &e)); /* the number, used again */
	assert_int_equal(fdstore_untold(&s, &at)->pid, pid);
	assert_int_equal(at, 0);
	fd = fdstore_exits(&s);
	fdstore_all_told(&s);
	assert_null(fdstore_untold(&s, &at));
	assert_int_equal(at, 1);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, &read_back, sizeof(read_back)), sizeof(read_back));
	assert_int_equal(WEXITSTATUS(read_back.status), 7);
	assert_int_equal(read_back.maxrss_kb, 1234);
	assert_int_equal(read(fd, &read_back, sizeof(read_back)), 0);
	close(fd);
	fdstore_clear(&s);
	assert_int_equal(count_fds(), before);
}

/* ---- notify ---- */

struct heard {
	unsigned ready, off, reboots;
};

static void on_ready(void *owner)
{
	((struct heard *)owner)->ready++;
}

static void on_power(void *owner, bool reboot)
{
	struct heard *h = owner;

	*(reboot ? &h->reboots : &h->off) += 1;
}

static const struct notify_events events = {on_ready, on_power};

static void say(int fd, const char *path, const char *text, const int *fds, size_t n)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char control[CMSG_SPACE(sizeof(int) * 8)] = {0};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr h = {
		.msg_name = &a, .msg_namelen = sizeof(a), .msg_iov = &iov, .msg_iovlen = 1};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (n) {
		struct cmsghdr *c = (struct cmsghdr *)(void *)control;

		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(int) * n)};
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	}
	assert_true(sendmsg(fd, &h, 0) >= 0);
}

static void test_notify(void **state)
{
	char dir[] = "/tmp/test-notify-XXXXXX", path[64];
	struct fdstore s = {0};
	struct heard h = {0};
	int before = count_fds(), fd, out, pair[2];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/n", dir);
	fd = notify_open(path);
	assert_true(fd >= 0);
	out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	say(out, path, "READY=1\nSTATUS=fine", NULL, 0);
	say(out, path, "FDSTORE=1\nFDNAME=s7\nFDPOLL=0", pair, 2);
	say(out, path, "FDSTORE=1\nFDNAME=a b", pair, 2);
	say(out, path, "nothing we know", pair, 1);
	notify_read(fd, getpid(), &s, &events, &h);
	assert_int_equal(h.ready, 1);
	assert_int_equal(s.n, 2);
	assert_string_equal(s.entries[1].name, "s7");
	assert_int_equal(count_fds(), before + 2 + 2 + 2);
	say(out, path, "FDSTOREREMOVE=1\nFDNAME=s7", NULL, 0);
	say(out, path, "X_AGENTD_POWER=reboot", NULL, 0);
	say(out, path, "X_AGENTD_POWER=off", NULL, 0);
	notify_read(fd, getpid(), &s, &events, &h);
	assert_int_equal(s.n, 0);
	assert_int_equal(h.off, 1);
	assert_int_equal(h.reboots, 1);
	/* Another process is not listened to. */
	say(out, path, "X_AGENTD_POWER=off", pair, 2);
	notify_read(fd, getpid() + 1, &s, &events, &h);
	notify_read(fd, 0, &s, &events, &h);
	assert_int_equal(h.off, 1);
	close(out);
	close(fd);
	close(pair[0]);
	close(pair[1]);
	unlink(path);
	rmdir(dir);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_exits),
		cmocka_unit_test(test_notify),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
