/*
 * test_ports.c - who asks and who watches: one look for all, a fresh one for who came meanwhile,
 * differences to each at its own pace, and nothing kept for nobody. Against the whole agent it is
 * in e2e/test_ports.py.
 */
#include "tests/unit/wire_rig.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "agentd/ports.h"

struct bed {
	struct rig rig;
	struct service_link link;
	struct ports ports;
	struct workers workers;
	struct sessions sessions;
	uv_loop_t loop;
	uv_timer_t tick; /* so that a condition of time is looked at */
	char heard[256 * 1024];
	size_t len;
};

static void wake(struct service_link *l)
{
	(void)l;
}

static void on_tick(uv_timer_t *t)
{
	(void)t;
}

static void up(struct bed *b)
{
	uv_loop_init(&b->loop);
	assert_int_equal(workers_init(&b->workers, &b->loop, 4), 0);
	list_init(&b->sessions.by_age);
	assert_int_equal(ports_init(&b->ports, &b->loop, &b->workers, &b->sessions), 0);
	uv_timer_init(&b->loop, &b->tick);
	uv_timer_start(&b->tick, on_tick, 1, 1);
	rig_server(&b->rig, 64);
	b->link = (struct service_link){.mux = &b->rig.wire.mux, .ports = &b->ports, .wake = wake};
	list_init(&b->link.replies);
	b->rig.service = &b->link;
}

static void link_gone(struct bed *b)
{
	rig_fini(&b->rig);
	service_link_fini(&b->link);
	b->rig.service = NULL;
}

static void down(struct bed *b)
{
	if (b->rig.service)
		link_gone(b);
	ports_close(&b->ports);
	workers_close(&b->workers);
	uv_close((uv_handle_t *)&b->tick, NULL);
	uv_run(&b->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&b->loop), 0);
	assert_true(workers_fini(&b->workers));
	assert_null(b->ports.scan);
	assert_int_equal(b->ports.n_asked, 0);
	free(b);
}

static struct bed *new_bed(void)
{
	struct bed *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	up(b);
	return b;
}

static void turn(struct bed *b)
{
	const char *more;
	size_t n;

	uv_run(&b->loop, UV_RUN_ONCE);
	more = rig_heard(&b->rig);
	n = strlen(more);
	assert_true(b->len + n + 3 < sizeof(b->heard));
	if (n > 0)
		b->len += (size_t)sprintf(b->heard + b->len, "%s; ", more);
}

#define UNTIL(b, condition)                                                                        \
	do {                                                                                       \
		uint64_t until_ = now_ms() + 8000;                                                 \
		while (!(condition)) {                                                             \
			if (now_ms() > until_)                                                     \
				fail_msg("never came: %s, but %s", #condition, (b)->heard);        \
			turn(b);                                                                   \
		}                                                                                  \
	} while (0)

static unsigned count(const struct bed *b, const char *what)
{
	unsigned n = 0;

	for (const char *at = b->heard; (at = strstr(at, what)); at++)
		n++;
	return n;
}

static int listen_somewhere(uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static void test_requests(void **state)
{
	struct bed *b = new_bed();
	uint16_t port;
	int fd = listen_somewhere(&port);

	(void)state;
	for (uint64_t id = 1; id <= 5; id++)
		rig_say(&b->rig, FRAME_REQ, 0, id, "{\"op\":\"net.ports\"}");
	assert_int_equal(b->ports.n_asked, 5);
	UNTIL(b, count(b, "RES 0@") == 5);
	assert_int_equal(b->ports.n, 0); /* nobody is left to keep it for */
	assert_false(uv_is_active((uv_handle_t *)&b->ports.timer));
	rig_say(&b->rig, FRAME_REQ, 0, 6, "{\"op\":\"net.ports\",\"after\":\"x\"}");
	rig_say(&b->rig, FRAME_REQ, 0, 7, "{\"op\":\"net.other\"}");
	UNTIL(b, count(b, "RES 0@") == 7);
	assert_non_null(strstr(b->heard, "RES 0@6 !bad_message; RES 0@7 !unknown_op"));
	for (uint64_t id = 1; id <= PORTS_ASKED_MAX + 1; id++)
		rig_say(&b->rig, FRAME_REQ, 0, id, "{\"op\":\"net.ports\"}");
	UNTIL(b, count(b, "RES 0@") == 7 + PORTS_ASKED_MAX + 1);
	assert_int_equal(count(b, "!too_many"), 1);
	close(fd);
	down(b);
}

/* The link goes while a look is under way: it ends, and answers nobody. */
static void test_nobody_left(void **state)
{
	struct bed *b = new_bed();

	(void)state;
	rig_say(&b->rig, FRAME_REQ, 0, 1, "{\"op\":\"net.ports\"}");
	rig_say(&b->rig, FRAME_REQ, 0, 2, "{\"op\":\"net.ports\"}");
	rig_say(&b->rig, FRAME_OPEN, 1, 0, "{\"service\":\"ports\"}");
	assert_non_null(b->ports.scan);
	link_gone(b);
	for (uint64_t until = now_ms() + 5000; b->ports.n_asked > 0 && now_ms() < until;)
		uv_run(&b->loop, UV_RUN_ONCE);
	assert_int_equal(b->ports.n_asked, 0);
	assert_int_equal(b->ports.n, 0);
	down(b);
	/* And the whole agent goes. */
	b = new_bed();
	rig_say(&b->rig, FRAME_REQ, 0, 1, "{\"op\":\"net.ports\"}");
	rig_say(&b->rig, FRAME_REQ, 0, 2, "{\"op\":\"net.ports\"}");
	down(b);
}

static void test_watchers(void **state)
{
	struct bed *b = new_bed();
	uint16_t port;
	unsigned opens;
	int fd;

	(void)state;
	rig_say(&b->rig, FRAME_OPEN, 1, 0, "{\"service\":\"ports\"}");
	rig_say(&b->rig, FRAME_OPEN, 2, 0, "{\"service\":\"ports\"}"); /* while that one looks */
	UNTIL(b, strstr(b->heard, "EVENT 1 {\"event\":\"live\"}") &&
			 strstr(b->heard, "EVENT 2 {\"event\":\"live\"}"));
	assert_true(uv_is_active((uv_handle_t *)&b->ports.timer));
	rig_say(&b->rig, FRAME_REQ, 1, 9, "{\"op\":\"x\"}");
	UNTIL(b, strstr(b->heard, "RES 1@9 !unknown_op"));
	opens = count(b, "EVENT 1 ");
	fd = listen_somewhere(&port);
	UNTIL(b, count(b, "EVENT 1 ") > opens);
	close(fd);
	UNTIL(b, count(b, "EVENT 1 ") > opens + 1);
	assert_int_equal(count(b, "{\"event\":\"live\"}"), 2);
	/* One goes, the other is told on; both gone: all quiet. */
	rig_say(&b->rig, FRAME_CLOSE, 1, 0, "");
	opens = count(b, "EVENT 2 ");
	fd = listen_somewhere(&port);
	UNTIL(b, count(b, "EVENT 2 ") > opens);
	close(fd);
	rig_say(&b->rig, FRAME_CLOSE, 2, 0, "");
	UNTIL(b, !b->ports.scan);
	assert_false(uv_is_active((uv_handle_t *)&b->ports.timer));
	assert_int_equal(b->ports.n, 0);
	down(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_nobody_left),
		cmocka_unit_test(test_watchers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
