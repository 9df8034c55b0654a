/*
 * test_dial.c - one connection behind a channel, step by step: the answer that comes later, bytes
 * against credit on either side, ends and errors in their order, what a timer does. Through the
 * whole agent, with many and with real programs, it is in e2e/test_dial.py.
 */
#include "tests/unit/wire_rig.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agentd/dial.h"
#include "agentd/netaddr.h"

struct bed {
	struct rig rig;
	struct service_link link;
	struct dials all;
	struct poller poller;
	uv_loop_t loop;
	uv_timer_t tick; /* so that a condition of time is looked at */
	char path[64];
	int listener, fds;
	unsigned wakes;
};

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void wake(struct service_link *l)
{
	container_of(l, struct bed, link)->wakes++;
}

static void on_tick(uv_timer_t *t)
{
	(void)t;
}

static void up(struct bed *b, int backlog)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	static unsigned number;

	*b = (struct bed){0};
	uv_loop_init(&b->loop); /* what libuv keeps for good, it opens for its first loop */
	uv_loop_close(&b->loop);
	b->fds = count_fds();
	uv_loop_init(&b->loop);
	assert_int_equal(poller_init(&b->poller, &b->loop), 0);
	assert_int_equal(dials_init(&b->all, &b->loop, &b->poller), 0);
	uv_timer_init(&b->loop, &b->tick);
	uv_timer_start(&b->tick, on_tick, 1, 1);
	rig_server(&b->rig, 64);
	b->link = (struct service_link){.mux = &b->rig.wire.mux, .dials = &b->all, .wake = wake};
	list_init(&b->link.replies);
	b->rig.service = &b->link;
	snprintf(b->path, sizeof(b->path), "/tmp/test_dial.%d.%u", getpid(), number++);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", b->path);
	b->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(b->listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(b->listener, backlog), 0);
}

static void down(struct bed *b)
{
	rig_fini(&b->rig);
	assert_int_equal(b->all.n, 0);
	assert_true(list_empty(&b->all.connecting));
	dials_close(&b->all);
	poller_close(&b->poller);
	uv_close((uv_handle_t *)&b->tick, NULL);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&b->loop), 0);
	close(b->listener);
	unlink(b->path);
	assert_int_equal(count_fds(), b->fds);
}

/* Turns until what the client hears has `text` in it; gives all of it. */
static const char *hear(struct bed *b, const char *text)
{
	static char all[4096];
	uint64_t until = now_ms() + 5000;

	all[0] = '\0';
	for (;;) {
		const char *more = rig_heard(&b->rig);

		if (*more)
			snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s",
				*all ? "; " : "", more);
		if (strstr(all, text))
			return all;
		if (now_ms() > until)
			fail_msg("never heard '%s', but '%s'", text, all);
		uv_run(&b->loop, UV_RUN_ONCE);
	}
}

static void turn_for(struct bed *b, uint64_t ms)
{
	for (uint64_t until = now_ms() + ms; now_ms() < until;)
		uv_run(&b->loop, UV_RUN_ONCE);
}

static void say_open(struct bed *b, uint32_t id, uint64_t window, unsigned timeout_ms)
{
	char json[256];

	snprintf(json, sizeof(json),
		"{\"service\":\"dial\",\"to\":\"unix:%s\",\"window\":%llu,\"timeout_ms\":%u}",
		b->path, (unsigned long long)window, timeout_ms);
	rig_say(&b->rig, FRAME_OPEN, id, 0, json);
}

#define OPENED "OPENED 1 {\"window\":524288}"

static int connect_peer(struct bed *b, uint32_t id, uint64_t window)
{
	say_open(b, id, window, 5000);
	hear(b, "OPENED");
	return accept4(b->listener, NULL, NULL, SOCK_CLOEXEC);
}

static void expect_read(int fd, const char *text)
{
	char got[100] = "";

	assert_int_equal(recv(fd, got, sizeof(got) - 1, 0), strlen(text));
	assert_string_equal(got, text);
}

static void test_both_ways(void **state)
{
	struct bed b;
	int peer;

	(void)state;
	up(&b, 5);
	peer = connect_peer(&b, 1, 100);
	rig_say_data(&b.rig, 1, 0, "hello", false);
	expect_read(peer, "hello");
	assert_int_equal(send(peer, "hi", 2, 0), 2);
	assert_string_equal(hear(&b, "hi"), "DATA 1.1 hi");
	assert_int_equal(send(peer, " you", 4, 0), 4);
	assert_string_equal(hear(&b, "you"), "DATA 1.1@2  you");
	/* The peer's end, then ours, then the channel's. */
	shutdown(peer, SHUT_WR);
	assert_string_equal(hear(&b, "fin"), "DATA 1.1@6+fin");
	rig_say_data(&b.rig, 1, 5, "bye", true);
	expect_read(peer, "bye");
	expect_read(peer, "");
	assert_string_equal(hear(&b, "CLOSE"), "CLOSE 1");
	assert_int_equal(b.all.n, 1);
	rig_say(&b.rig, FRAME_CLOSE, 1, 0, "");
	assert_int_equal(b.all.n, 0);
	close(peer);
	down(&b);
}

/* The client's end first; the last bytes of both are kept. */
static void test_client_ends_first(void **state)
{
	struct bed b;
	int peer;

	(void)state;
	up(&b, 5);
	peer = connect_peer(&b, 1, 100);
	rig_say_data(&b.rig, 1, 0, "", true);
	expect_read(peer, "");
	rig_say_data(&b.rig, 1, 0, "more", false); /* behind its own end: dropped */
	turn_for(&b, 5);
	assert_int_equal(send(peer, "late", 4, 0), 4);
	close(peer);
	assert_string_equal(hear(&b, "CLOSE"), "DATA 1.1 late; DATA 1.1@4+fin; CLOSE 1");
	down(&b);
}

/* No more is read than there is credit for, and an end is seen without any. */
static void test_credit(void **state)
{
	struct bed b;
	int peer;

	(void)state;
	up(&b, 5);
	peer = connect_peer(&b, 1, 3);
	assert_int_equal(send(peer, "abcdef", 6, 0), 6);
	assert_string_equal(hear(&b, "DATA"), "DATA 1.1 abc");
	turn_for(&b, 20);
	assert_string_equal(rig_heard(&b.rig), "");
	rig_say(&b.rig, FRAME_WINDOW, 1, 5, "");
	assert_string_equal(hear(&b, "DATA"), "DATA 1.1@3 de");
	shutdown(peer, SHUT_WR);
	turn_for(&b, 20);
	assert_string_equal(rig_heard(&b.rig), "");
	rig_say(&b.rig, FRAME_WINDOW, 1, 6, "");
	assert_string_equal(hear(&b, "fin"), "DATA 1.1@5 f; DATA 1.1@6+fin");
	close(peer);
	down(&b);
}

/* What the peer does not take waits, at most a window, and credit comes back with its reading. */
static void test_backpressure(void **state)
{
	static char block[60000], sink[300000];
	struct bed b;
	uint64_t sent = 0, got = 0, granted = DIAL_WINDOW;
	int peer;

	(void)state;
	up(&b, 5);
	memset(block, 'x', sizeof(block));
	block[sizeof(block) - 1] = '\0';
	peer = connect_peer(&b, 1, 100);
	for (int i = 0; i < 100 && sent + sizeof(block) - 1 <= granted; i++) {
		const char *heard;

		rig_say_data(&b.rig, 1, sent, block, false);
		sent += sizeof(block) - 1;
		heard = strstr(rig_heard(&b.rig), "WINDOW 1@");
		if (heard)
			granted = strtoull(heard + 9, NULL, 10);
	}
	turn_for(&b, 20);
	assert_string_equal(rig_heard(&b.rig), "");
	assert_true(granted - sent < sizeof(block) && sent < 2 * MIB);
	/* The end waits for its turn behind what waits. */
	rig_say_data(&b.rig, 1, sent, "", true);
	while (got < sent) {
		ssize_t n = recv(peer, sink, sizeof(sink), MSG_DONTWAIT);

		got += n > 0 ? (uint64_t)n : 0;
		uv_run(&b.loop, UV_RUN_ONCE);
	}
	assert_int_equal(got, sent);
	expect_read(peer, "");
	assert_non_null(strstr(hear(&b, "WINDOW"), "WINDOW 1@"));
	close(peer);
	assert_string_equal(hear(&b, "CLOSE"), "DATA 1.1+fin; CLOSE 1");
	down(&b);
}

/* A peer that is gone for writing is still read to its end; then comes the failure. */
static void test_broken_in_writing(void **state)
{
	struct bed b;
	int peer;

	(void)state;
	up(&b, 5);
	peer = connect_peer(&b, 1, 4);
	assert_int_equal(send(peer, "abcdefgh", 8, 0), 8);
	assert_string_equal(hear(&b, "DATA"), "DATA 1.1 abcd");
	shutdown(peer, SHUT_RD);
	rig_say_data(&b.rig, 1, 0, "lost", false);
	rig_say_data(&b.rig, 1, 4, "as well", false);
	turn_for(&b, 10);
	assert_string_equal(rig_heard(&b.rig), "");
	rig_say(&b.rig, FRAME_WINDOW, 1, 100, "");
	assert_string_equal(hear(&b, "DATA"), "DATA 1.1@4 efgh");
	assert_int_equal(send(peer, "i", 1, 0), 1);
	assert_string_equal(hear(&b, "DATA"), "DATA 1.1@8 i");
	close(peer);
	assert_string_equal(hear(&b, "CLOSE"), "CLOSE 1 !failed");
	down(&b);
}

/* A unix socket that is closed with something unread is a reset. */
static void test_reset(void **state)
{
	struct bed b;
	int peer;

	(void)state;
	up(&b, 5);
	peer = connect_peer(&b, 1, 100);
	rig_say_data(&b.rig, 1, 0, "unread", false);
	assert_int_equal(send(peer, "last", 4, 0), 4);
	close(peer);
	assert_string_equal(hear(&b, "CLOSE"), "DATA 1.1 last; CLOSE 1 !failed");
	assert_int_equal(b.all.n, 0);
	down(&b);
}

static void test_refusals(void **state)
{
	struct bed b;

	(void)state;
	up(&b, 5);
	rig_say(&b.rig, FRAME_OPEN, 1, 0, "{\"service\":\"dial\"}");
	rig_say(&b.rig, FRAME_OPEN, 2, 0, "{\"service\":\"dial\",\"to\":\"x\"}");
	rig_say(&b.rig, FRAME_OPEN, 3, 0, "{\"service\":\"dial\",\"to\":\"unix:/no/such\"}");
	rig_say(&b.rig, FRAME_OPEN, 4, 0,
		"{\"service\":\"dial\",\"to\":\"unix:/x\",\"timeout_ms\":0}");
	assert_string_equal(rig_heard(&b.rig),
		"REFUSED 1 !bad_message; REFUSED 2 !bad_message; REFUSED 3 !failed; REFUSED 4 !bad_message");
	b.all.n = DIAL_MAX;
	say_open(&b, 1, 0, 1000);
	assert_string_equal(rig_heard(&b.rig), "REFUSED 1 !too_many");
	b.all.n = 0;
	down(&b);
}

/* A full queue: tried again until there is room or the time is over; closed meanwhile. */
static void test_waiting(void **state)
{
	struct bed b;
	int first, second;

	(void)state;
	up(&b, 0);
	first = connect_peer(&b, 1, 0); /* accepted: its place is free again */
	say_open(&b, 2, 0, 5000);
	hear(&b, "OPENED 2"); /* and taken */
	say_open(&b, 3, 0, 100);
	say_open(&b, 4, 0, 5000);
	say_open(&b, 5, 0, 5000);
	rig_say_data(&b.rig, 4, 0, "", true);
	assert_int_equal(b.all.n, 5);
	rig_say(&b.rig, FRAME_CLOSE, 5, 0, "");
	assert_string_equal(hear(&b, "REFUSED"), "CLOSE 5; REFUSED 3 !failed");
	second = accept4(b.listener, NULL, NULL, SOCK_CLOEXEC);
	assert_string_equal(hear(&b, "OPENED 4"), "OPENED 4 {\"window\":524288}");
	close(second);
	second = accept4(b.listener, NULL, NULL, SOCK_CLOEXEC);
	expect_read(second, ""); /* the end that came before the answer */
	close(first);
	close(second);
	say_open(&b, 6, 0, 5000);
	down(&b); /* whatever is under way */
}

static void test_tcp(void **state)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t len = sizeof(a);
	char json[128];
	struct bed b;
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;

	(void)state;
	up(&b, 5);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(json, sizeof(json), "{\"service\":\"dial\",\"to\":\"tcp:localhost:%u\"}",
		ntohs(a.sin6_port));
	rig_say(&b.rig, FRAME_OPEN, 1, 0, json); /* on neither */
	assert_string_equal(hear(&b, "REFUSED"), "REFUSED 1 !failed");
	assert_int_equal(listen(fd, 5), 0);
	rig_say(&b.rig, FRAME_OPEN, 1, 0, json); /* on the second */
	assert_string_equal(hear(&b, "OPENED"), OPENED);
	peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	rig_say_data(&b.rig, 1, 0, "half", false);
	expect_read(peer, "half");
	rig_say(&b.rig, FRAME_CLOSE, 1, 0, "");
	assert_int_equal(recv(peer, json, 1, 0), -1); /* not an end */
	assert_int_equal(errno, ECONNRESET);
	close(peer);
	close(fd);
	close(b.listener);
	b.listener = -1;
	b.fds--; /* fd was there when they were counted */
	down(&b);
}

static void test_addresses(void **state)
{
	static const char *const wrong[] = {"", "tcp", "tcp:", "tcp::", "tcp::1",
		"tcp:localhost:", "tcp:localhost:x", "tcp:localhost:1x", "tcp:LOCALHOST:1",
		"tcp:[]:1", "tcp:[:1", "tcp:[::1]", "tcp:[::1%lo]:1", "tcp:1.2.3.4.5:1",
		"tcp:1.2.3.4:99999999999999999999", "unix:", "unix:/", "unix:@", "unix:x",
		"http://x"};
	struct netaddr a;
	struct error e;

	(void)state;
	for (size_t i = 0; i < array_size(wrong); i++) {
		assert_int_equal(netaddr_parse(wrong[i], &a, &e), -EINVAL);
		assert_int_equal(e.code, E_BAD_MESSAGE);
	}
	assert_int_equal(netaddr_parse("tcp:10.1.2.3:65535", &a, &e), 0);
	assert_int_equal(a.n, 1);
	assert_int_equal(a.at[0].v4.sin_addr.s_addr, htonl(0x0a010203));
	assert_int_equal(a.at[0].v4.sin_port, 0xffff);
	assert_int_equal(netaddr_parse("tcp:localhost:80", &a, &e), 0);
	assert_int_equal(a.n, 2);
	assert_int_equal(a.at[1].v6.sin6_family, AF_INET6);
	assert_int_equal(netaddr_parse("unix:@ab", &a, &e), 0);
	assert_int_equal(a.at[0].len, offsetof(struct sockaddr_un, sun_path) + 3);
	assert_memory_equal(a.at[0].un.sun_path, "\0ab", 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_client_ends_first),
		cmocka_unit_test(test_credit),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_broken_in_writing),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
