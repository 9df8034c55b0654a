/* test_target.c - target texts, and the hybrid handshake against a real server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "bridge/target.h"

static void test_good_texts(void **state)
{
	struct target t;
	const char *why;

	(void)state;
	assert_int_equal(target_parse("unix:/run/a.sock", &t, &why), 0);
	assert_int_equal(t.kind, TARGET_UNIX);
	assert_string_equal(t.path, "/run/a.sock");
	assert_int_equal(target_parse("unix:rel:1", &t, &why), 0);
	assert_string_equal(t.path, "rel:1");
	assert_int_equal(target_parse("vsock:3:1024", &t, &why), 0);
	assert_int_equal(t.kind, TARGET_VSOCK);
	assert_int_equal(t.cid, 3);
	assert_int_equal(t.port, 1024);
	assert_int_equal(target_parse("hybrid:/a:b/v.sock:52", &t, &why), 0);
	assert_int_equal(t.kind, TARGET_HYBRID);
	assert_string_equal(t.path, "/a:b/v.sock");
	assert_int_equal(t.port, 52);
}

static void test_bad_texts(void **state)
{
	static const char *const bad[] = {"", "unix", "unix:", "/run/a.sock", "tcp:1:2",
		"vsock:", "vsock:3", "vsock:3:", "vsock::1024", "vsock:-1:1024", "vsock:3:0x10",
		"vsock:3:4294967295", "vsock:99999999999999999999:1", "vsock:3:10 ", "hybrid:/a",
		"hybrid::5", "hybrid:/a:", "hybrid:/a:b", "hybrid:/a:-1"};
	struct target t = {.port = 77};
	char longest[256];

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		const char *why = NULL;

		assert_int_equal(target_parse(bad[i], &t, &why), -EINVAL);
		assert_non_null(why);
	}
	assert_int_equal(t.port, 77); /* only written on success */

	for (int n = 100; n < 120; n++) {
		const char *why = NULL;

		snprintf(longest, sizeof(longest), "unix:%0*d", n, 0);
		assert_int_equal(target_parse(longest, &t, &why), n < 108 ? 0 : -EINVAL);
	}
}

/* ---- a listener to dial ---- */

struct listener {
	char path[64];
	int fd;
	struct target target;
};

static void listener_open(struct listener *l, enum target_kind kind)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(l->path, sizeof(l->path), "/tmp/test_target.%d", (int)getpid());
	unlink(l->path);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", l->path);
	assert_int_equal(bind(l->fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(l->fd, 1), 0);
	l->target = (struct target){.kind = kind, .port = 1024};
	snprintf(l->target.path, sizeof(l->target.path), "%s", l->path);
}

static void listener_close(struct listener *l)
{
	close(l->fd);
	unlink(l->path);
}

static void assert_dial_fd(int fd)
{
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void test_unix(void **state)
{
	struct listener l;
	struct dial d;

	(void)state;
	listener_open(&l, TARGET_UNIX);
	assert_int_equal(dial_start(&d, &l.target), DIAL_DONE);
	assert_int_equal(d.state, DIAL_CONNECTED);
	assert_dial_fd(d.fd);
	dial_fini(&d);
	dial_fini(&d);
	assert_int_equal(d.fd, -1);
	listener_close(&l);

	assert_int_equal(dial_start(&d, &l.target), -ENOENT);
	assert_int_equal(d.fd, -1);
}

/* Where somebody else has the socket's directory, a link leads to what only we may reach. */
static void test_unix_no_link(void **state)
{
	struct target link = {.kind = TARGET_UNIX, .path = "/tmp/test-target-link-XXXXXX"};
	struct listener l;
	struct dial d;
	int fd = mkstemp(link.path);

	(void)state;
	close(fd);
	listener_open(&l, TARGET_UNIX);
	l.target.no_link = link.no_link = true;
	assert_int_equal(dial_start(&d, &l.target), DIAL_DONE);
	assert_dial_fd(d.fd);
	dial_fini(&d);
	assert_int_equal(dial_start(&d, &link), -ENOTSOCK);
	unlink(link.path);
	assert_int_equal(symlink(l.target.path, link.path), 0);
	assert_int_equal(dial_start(&d, &link), -ELOOP);
	assert_int_equal(d.fd, -1);
	link.no_link = false; /* as agentctl --connect takes it */
	assert_int_equal(dial_start(&d, &link), DIAL_DONE);
	dial_fini(&d);
	unlink(link.path);
	listener_close(&l);
	assert_int_equal(dial_start(&d, &l.target), -ENOENT);
}

static void test_unix_full_queue(void **state)
{
	struct listener l;
	struct dial d[8];
	int r = DIAL_DONE;
	size_t n = 0;

	(void)state;
	listener_open(&l, TARGET_UNIX);
	while (n < array_size(d) && (r = dial_start(&d[n], &l.target)) == DIAL_DONE)
		n++;
	assert_int_equal(r, -EAGAIN);
	while (n > 0)
		dial_fini(&d[--n]);
	listener_close(&l);
}

/* Dials, says `answer` in pieces of `step` bytes, and gives what the dial makes of it. */
static int hybrid(const char *answer, size_t len, size_t step, bool hang_up, struct dial *ret)
{
	static struct listener l; /* *ret refers to its target */
	char asked[64];
	ssize_t n;
	int peer, r;

	listener_open(&l, TARGET_HYBRID);
	assert_int_equal(dial_start(ret, &l.target), DIAL_READABLE);
	peer = accept(l.fd, NULL, NULL);
	n = recv(peer, asked, sizeof(asked) - 1, 0);
	assert_true(n > 0);
	asked[n] = '\0';
	assert_string_equal(asked, "CONNECT 1024\n");
	assert_int_equal(r = dial_step(ret), DIAL_READABLE);
	for (size_t at = 0; at < len && r == DIAL_READABLE; at += step) {
		size_t k = min_of(step, len - at);

		assert_int_equal(send(peer, answer + at, k, MSG_NOSIGNAL), k);
		r = dial_step(ret);
	}
	if (hang_up) {
		close(peer);
		peer = -1;
		r = dial_step(ret);
	}
	close_fd(&peer);
	listener_close(&l);
	return r;
}

static void test_hybrid_answers(void **state)
{
	static const char good[] = "OK 1073741824\nrest";
	struct dial d;

	(void)state;
	for (size_t step = 1; step < sizeof(good); step++) {
		char rest[8];
		ssize_t n;

		assert_int_equal(hybrid(good, sizeof(good) - 1, step, false, &d), DIAL_DONE);
		assert_dial_fd(d.fd);
		/* What follows the line is the stream's, not the dial's. */
		n = recv(d.fd, rest, sizeof(rest), 0);
		assert_true(n >= 0 && n <= 4);
		assert_memory_equal(rest, "rest", (size_t)n);
		if (step >= sizeof(good) - 1)
			assert_int_equal(n, 4);
		dial_fini(&d);
	}
}

static void test_hybrid_refusals(void **state)
{
	static const struct {
		const char *answer;
		bool hang_up;
		int want;
	} cases[] = {
		{"", true, -ECONNRESET},
		{"OK 12", true, -ECONNRESET},
		{"NO\n", false, -EPROTO},
		{"\n", false, -EPROTO},
		{"OKAY\n", false, -EPROTO},
		{"HTTP/1.1 400 Bad Request\r\n", false, -EPROTO},
		{"OK 0000000000000000000000000000000000000000000000000000000000000000000", false,
			-EPROTO},
	};
	char text[128];

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		for (size_t step = 1; step < 80; step += 13) {
			struct dial d;
			int r = hybrid(cases[i].answer, strlen(cases[i].answer), step,
				cases[i].hang_up, &d);

			assert_int_equal(r, cases[i].want);
			target_explain(d.target, r, text, sizeof(text));
			assert_non_null(strchr(text, '?'));
			dial_fini(&d);
		}
	}
}

static void test_vsock_nobody(void **state)
{
	struct target t = {.kind = TARGET_VSOCK, .cid = 4242, .port = 9};
	struct dial d;
	char text[128];
	int r = dial_start(&d, &t);

	(void)state;
	/* Whatever this machine says, it is said without blocking and in words. */
	while (r == DIAL_WRITABLE) {
		struct pollfd p = {.fd = d.fd, .events = POLLOUT};

		if (poll(&p, 1, 3000) == 0)
			break;
		r = dial_step(&d);
	}
	assert_int_not_equal(r, DIAL_DONE);
	target_explain(&t, r < 0 ? r : -ETIMEDOUT, text, sizeof(text));
	assert_true(strlen(text) > 5);
	dial_fini(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_texts),
		cmocka_unit_test(test_bad_texts),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_unix_no_link),
		cmocka_unit_test(test_unix_full_queue),
		cmocka_unit_test(test_hybrid_answers),
		cmocka_unit_test(test_hybrid_refusals),
		cmocka_unit_test(test_vsock_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
