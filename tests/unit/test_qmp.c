/*
 * test_qmp.c - the QMP client against a peer that says what it should, what it should not, nothing,
 * and too much; and that what it leaves is nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bridge/box/qmp.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define CAPABLE  "{\"return\": {}, \"id\": 1}\r\n"

struct rig {
	uv_loop_t loop;
	struct qmp qmp;
	char dir[64], path[80];
	int listener, peer;
	int up, down, closed, answers;
	char events[256], answer[256], error[256];
};

static struct rig rig;

static void on_up(struct qmp *q)
{
	(void)q;
	rig.up++;
}

static void on_event(struct qmp *q, struct jsonr name, struct jsonr data)
{
	size_t n = strlen(rig.events);

	(void)q;
	snprintf(rig.events + n, sizeof(rig.events) - n, "%.*s=%.*s ", (int)name.len, name.p,
		(int)data.len, data.p);
}

static void on_down(struct qmp *q, int err)
{
	(void)q;
	assert_true(err < 0 && rig.down == 0);
	rig.down = err;
}

static const struct qmp_ops ops = {.on_up = on_up, .on_event = on_event, .on_down = on_down};

static void on_answer(void *owner, struct jsonr value, const char *error)
{
	assert_ptr_equal(owner, &rig);
	rig.answers++;
	snprintf(rig.answer, sizeof(rig.answer), "%.*s", (int)value.len, value.p ? value.p : "");
	snprintf(rig.error, sizeof(rig.error), "%s", error ? error : "");
}

static void on_closed(struct qmp *q)
{
	(void)q;
	rig.closed++;
}

static void turn(void)
{
	for (int i = 0; i < 20; i++)
		uv_run(&rig.loop, UV_RUN_NOWAIT);
}

static void say(const char *text)
{
	assert_int_equal(send(rig.peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	turn();
}

/* What the client has said, and a descriptor that came along. */
static void hear(char *out, size_t size, int *ret_fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {out, size - 1};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(rig.peer, &m, MSG_DONTWAIT);
	const struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	out[n < 0 ? 0 : n] = '\0';
	if (ret_fd)
		*ret_fd = -1;
	if (ret_fd && n > 0 && c)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
}

static int setup(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	(void)state;
	rig = (struct rig){.dir = "/tmp/qmp-test-XXXXXX", .peer = -1};
	assert_non_null(mkdtemp(rig.dir));
	snprintf(rig.path, sizeof(rig.path), "%s/qmp", rig.dir);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", rig.path);
	rig.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(rig.listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(rig.listener, 1), 0);
	assert_int_equal(uv_loop_init(&rig.loop), 0);
	assert_int_equal(qmp_open(&rig.qmp, &rig.loop, rig.path, &ops, NULL), 0);
	rig.peer = accept(rig.listener, NULL, NULL);
	assert_true(rig.peer >= 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	qmp_close(&rig.qmp, on_closed);
	assert_int_equal(rig.closed, 0); /* never from inside */
	uv_run(&rig.loop, UV_RUN_DEFAULT);
	assert_int_equal(rig.closed, 1);
	assert_false(rig.qmp.open);
	assert_int_equal(uv_loop_close(&rig.loop), 0);
	close(rig.peer);
	close(rig.listener);
	unlink(rig.path);
	return rmdir(rig.dir);
}

static void come_up(void)
{
	char text[256];

	say(GREETING);
	assert_int_equal(rig.up, 0);
	hear(text, sizeof(text), NULL);
	assert_string_equal(text, "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
	say(CAPABLE);
	assert_int_equal(rig.up, 1);
}

/* Commands and answers are told apart by their ids; events come in between. */
static void test_talk(void **state)
{
	char text[512];

	(void)state;
	come_up();
	assert_int_equal(qmp_ask(&rig.qmp, "stop", NULL, -1, on_answer, &rig), 0);
	assert_int_equal(qmp_ask(&rig.qmp, "device_del", "{\"id\":\"x\"}", -1, on_answer, &rig), 0);
	hear(text, sizeof(text), NULL);
	assert_string_equal(text,
		"{\"execute\":\"stop\",\"id\":2}\n"
		"{\"execute\":\"device_del\",\"id\":3,\"arguments\":{\"id\":\"x\"}}\n");
	assert_true(qmp_busy(&rig.qmp));
	say("{\"event\":\"STOP\"}\n{\"error\":{\"class\":\"C\",\"desc\":\"no \\\"x\\\"\"},\"id\":3}\n");
	assert_int_equal(rig.answers, 1);
	assert_string_equal(rig.error, "no \"x\"");
	assert_string_equal(rig.events, "STOP= ");
	say("{\"return\": {\"a\": 1}, \"id\"");
	assert_int_equal(rig.answers, 1);
	say(": 2}\r\n{\"event\":\"DEVICE_DELETED\",\"data\":{\"device\":\"x\"}}\n");
	assert_int_equal(rig.answers, 2);
	assert_string_equal(rig.answer, "{\"a\": 1}");
	assert_string_equal(rig.error, "");
	assert_false(qmp_busy(&rig.qmp));
	assert_string_equal(rig.events, "STOP= DEVICE_DELETED={\"device\":\"x\"} ");
	assert_int_equal(rig.down, 0);
}

/* A descriptor goes along and stays ours. */
static void test_descriptor(void **state)
{
	int ours = open("/dev/null", O_RDONLY | O_CLOEXEC), theirs;
	struct stat a, b;
	char text[256];

	(void)state;
	come_up();
	assert_int_equal(
		qmp_ask(&rig.qmp, "getfd", "{\"fdname\":\"s\"}", ours, on_answer, &rig), 0);
	hear(text, sizeof(text), &theirs);
	assert_true(theirs >= 0);
	assert_int_equal(fstat(ours, &a), 0);
	assert_int_equal(fstat(theirs, &b), 0);
	assert_true(a.st_rdev == b.st_rdev);
	close(theirs);
	close(ours);
}

/* What is no QMP, and hanging up, end the connection once; nothing can be asked then. */
static void test_bad(void **state)
{
	static const char *const bad[] = {"hello\n", "{}\n", "{\"return\":{},\"id\":9}\n",
		"{\"return\":{},\"id\":\"x\"}\n", "{\"error\":{},\"id\":2}\n", "{\"event\":1}\n",
		GREETING};

	(void)state;
	for (size_t i = 0; i <= array_size(bad); i++) {
		come_up();
		assert_int_equal(qmp_ask(&rig.qmp, "stop", NULL, -1, on_answer, &rig), 0);
		if (i < array_size(bad))
			say(bad[i]);
		else
			shutdown(rig.peer, SHUT_WR);
		turn();
		assert_true(rig.down < 0);
		assert_int_equal(rig.answers, 0);
		assert_int_equal(qmp_ask(&rig.qmp, "cont", NULL, -1, on_answer, &rig), -ENOTCONN);
		teardown(NULL);
		setup(NULL);
	}
}

/* A line without end, commands without answers, a peer that does not read: all have a limit. */
static void test_limits(void **state)
{
	static char much[QMP_LINE_MAX / 4], args[QMP_COMMAND_MAX];
	int r = 0;

	(void)state;
	come_up();
	for (int i = 0; i < QMP_PENDING_MAX; i++)
		assert_int_equal(qmp_ask(&rig.qmp, "x", NULL, -1, on_answer, &rig), 0);
	assert_int_equal(qmp_ask(&rig.qmp, "x", NULL, -1, on_answer, &rig), -EBUSY);
	for (int i = 0; i < QMP_PENDING_MAX; i++) {
		char text[64];

		snprintf(text, sizeof(text), "{\"return\":{},\"id\":%d}\n", 2 + i);
		say(text);
	}
	memset(args, ' ', sizeof(args) - 1);
	assert_int_equal(qmp_ask(&rig.qmp, "x", args, -1, on_answer, &rig), -EMSGSIZE);
	args[3000] = '\0';
	for (int i = 0; i < 1000 && r == 0; i++) { /* it answers, and reads nothing */
		char text[64];

		r = qmp_ask(&rig.qmp, "x", args, -1, on_answer, &rig);
		snprintf(
			text, sizeof(text), "{\"return\":{},\"id\":%d}\n", 2 + QMP_PENDING_MAX + i);
		if (r == 0)
			say(text);
	}
	assert_int_equal(r, -EAGAIN);
	memset(much, 'x', sizeof(much));
	for (int i = 0; i < 8 && rig.down == 0; i++) {
		send(rig.peer, much, sizeof(much), MSG_NOSIGNAL | MSG_DONTWAIT);
		turn();
	}
	for (int i = 0; i < 100 && rig.down == 0; i++) {
		send(rig.peer, much, sizeof(much), MSG_NOSIGNAL | MSG_DONTWAIT);
		turn();
	}
	assert_int_equal(rig.down, -EMSGSIZE);
}

static void test_nobody(void **state)
{
	struct qmp q;
	char path[200];

	(void)state;
	snprintf(path, sizeof(path), "%s/none", rig.dir);
	assert_int_equal(qmp_open(&q, &rig.loop, path, &ops, NULL), -ENOENT);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(qmp_open(&q, &rig.loop, path, &ops, NULL), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_talk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
