/*
 * `dial`: bytes through a dial channel to a TCP server, and a small message there and back, next to
 * the smallest relay there can be (a unix socket on one side, TCP on the other, a poll loop and two
 * buffers). Server, client bytes and the way are the same for both.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "bench/bench_link.h"
#include "bench/floor.h"

#define CHUNK     65536
#define WINDOW    MIB
#define MESSAGE   64
#define MAX_TRIPS 20000

static uint8_t block[CHUNK];

/* ---- the server: the first byte says what is wanted ---- */

static void send_zeros(int fd, uint64_t n)
{
	while (n > 0) {
		size_t part = (size_t)min_of(n, (uint64_t)CHUNK);

		if (!floor_send_all(fd, block, part))
			return;
		n -= part;
	}
}

static void serve_one(int fd)
{
	uint8_t word[9];
	uint64_t n;
	ssize_t got;

	if (!floor_recv_all(fd, word, sizeof(word)))
		return;
	memcpy(&n, word + 1, sizeof(n));
	if (word[0] == 'S') {
		send_zeros(fd, n);
	} else if (word[0] == 'D') {
		while (recv(fd, block, sizeof(block), 0) > 0)
			;
		send_zeros(fd, 1);
	} else {
		while ((got = recv(fd, block, sizeof(block), 0)) > 0)
			floor_send_all(fd, block, (size_t)got);
	}
}

static void serve(int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		serve_one(fd);
		close(fd);
	}
}

static int tcp_socket(struct sockaddr_in *a)
{
	*a = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_addr = {htonl(INADDR_LOOPBACK)},
		.sin_port = a->sin_port};
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static pid_t start_server(struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int fd;
	pid_t pid;

	a->sin_port = 0;
	fd = tcp_socket(a);
	if (bind(fd, (struct sockaddr *)a, len) < 0 || listen(fd, 8) < 0 ||
		getsockname(fd, (struct sockaddr *)a, &len) < 0)
		die("listen: %s", strerror(errno));
	pid = helper_fork();
	if (pid == 0)
		serve(fd);
	close(fd);
	return pid;
}

/* ---- the floor: a relay that does nothing else ---- */

struct way {
	int from, to;
	uint8_t data[256 * 1024];
	size_t len, at;
	bool ended;
};

/* False once there is nothing more to do in this direction. */
static bool step(struct way *w)
{
	ssize_t n;

	if (w->len == w->at && !w->ended) {
		n = recv(w->from, w->data, sizeof(w->data), MSG_DONTWAIT);
		w->at = 0;
		w->len = n > 0 ? (size_t)n : 0;
		w->ended = n == 0 || (n < 0 && errno != EAGAIN);
	}
	if (w->len > w->at) {
		n = send(w->to, w->data + w->at, w->len - w->at, MSG_DONTWAIT | MSG_NOSIGNAL);
		w->at += n > 0 ? (size_t)n : 0;
	}
	if (w->ended && w->len == w->at)
		shutdown(w->to, SHUT_WR);
	return !w->ended || w->len > w->at;
}

static void relay_one(int near, int far)
{
	static struct way up, down;
	bool up_on = true, down_on = true;

	up.from = down.to = near;
	up.to = down.from = far;
	up.len = up.at = down.len = down.at = 0;
	up.ended = down.ended = false;
	while (up_on || down_on) {
		struct pollfd p[2] = {{.fd = near}, {.fd = far}};

		p[0].events |= up_on && up.len == up.at ? POLLIN : 0;
		p[0].events |= down_on && down.len > down.at ? POLLOUT : 0;
		p[1].events |= down_on && down.len == down.at ? POLLIN : 0;
		p[1].events |= up_on && up.len > up.at ? POLLOUT : 0;
		poll(p, 2, -1);
		up_on = up_on && step(&up);
		down_on = down_on && step(&down);
	}
}

static void relay(int listener, struct sockaddr_in *server)
{
	for (;;) {
		int near = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		int far = tcp_socket(server), on = 1;

		if (connect(far, (struct sockaddr *)server, sizeof(*server)) < 0)
			_exit(1);
		setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		relay_one(near, far);
		close(near);
		close(far);
	}
}

static pid_t start_relay(char path[64], struct sockaddr_in *server)
{
	int fd;
	pid_t pid;

	snprintf(path, 64, "/tmp/bench-relay.%d", getpid());
	fd = floor_listen(path);
	pid = helper_fork();
	if (pid == 0)
		relay(fd, server);
	close(fd);
	return pid;
}

/* ---- a client of the relay ---- */

struct rates {
	double down, up, p50; /* MB/s, MB/s, us */
};

static void put_word(uint8_t word[9], char what, uint64_t n)
{
	word[0] = (uint8_t)what;
	memcpy(word + 1, &n, sizeof(n));
}

static int ask_relay(const char *path, char what, uint64_t n)
{
	int fd = floor_connect(path);
	uint8_t word[9];

	put_word(word, what, n);
	if (!floor_send_all(fd, word, sizeof(word)))
		die("the relay is gone");
	return fd;
}

static double rate(uint64_t bytes, uint64_t since)
{
	return (double)bytes * 1e3 / (double)(floor_now_ns() - since);
}

static struct rates through_relay(const char *path, uint64_t bytes, size_t trips)
{
	static uint64_t samples[MAX_TRIPS];
	uint64_t t0 = floor_now_ns(), got = 0;
	struct rates r;
	ssize_t n;
	int fd = ask_relay(path, 'S', bytes);

	while ((n = recv(fd, block, sizeof(block), 0)) > 0)
		got += (uint64_t)n;
	r.down = rate(got, t0);
	close(fd);
	t0 = floor_now_ns();
	fd = ask_relay(path, 'D', 0);
	send_zeros(fd, bytes);
	shutdown(fd, SHUT_WR);
	if (!floor_recv_all(fd, block, 1) || got != bytes)
		die("the relay lost something");
	r.up = rate(bytes, t0);
	close(fd);
	fd = ask_relay(path, 'E', 0);
	for (size_t i = 0; i < trips; i++) {
		t0 = floor_now_ns();
		if (!floor_send_all(fd, block, MESSAGE) || !floor_recv_all(fd, block, MESSAGE))
			die("the relay is gone");
		samples[i] = floor_now_ns() - t0;
	}
	close(fd);
	r.p50 = floor_percentile(samples, trips, 50, 1e3);
	return r;
}

/* ---- a client of agentd ---- */

struct tube {
	struct channel channel;
	uint8_t word[9];
	size_t word_left;
	uint64_t todo, sent, got;
	bool end, fin, opened, peer_end, closed;
};

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct tube *t = container_of(c, struct tube, channel);
	size_t n = (size_t)min_of(t->word_left ? t->word_left : t->todo, (uint64_t)max);

	n = min_of(n, sizeof(block));
	if (n == 0 && (!t->end || t->fin || t->todo > 0 || t->word_left > 0))
		return false;
	*ret = (struct mux_item){.type = FRAME_DATA, .stream = STREAM_IN, .arg = t->sent, .len = n};
	ret->data = t->word_left ? t->word + sizeof(t->word) - t->word_left : block;
	t->sent += n;
	if (t->word_left)
		t->word_left -= n;
	else
		t->todo -= n;
	if (n == 0) {
		ret->flags = FRAME_FIN;
		t->fin = true;
	}
	return true;
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct tube *t = container_of(c, struct tube, channel);

	(void)stream, (void)data;
	if (off != t->got)
		die("an offset that does not follow");
	t->got += len;
	t->peer_end |= fin;
	channel_grant(c, c->received + WINDOW);
}

static void on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	struct tube *t = container_of(c, struct tube, channel);
	char text[128];

	snprintf(text, sizeof(text), "%.*s", (int)len, (const char *)json);
	c->send_limit = link_number(text, NULL, "window");
	t->opened = true;
	channel_ready(c);
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct tube *t = container_of(c, struct tube, channel);

	if (len > 0)
		die("the stream broke: %.*s", (int)len, (const char *)error);
	t->closed = true;
}

static void on_other(struct channel *c, uint8_t stream, uint64_t off)
{
	(void)c, (void)stream, (void)off;
}

static const struct channel_ops ops = {.pull = pull,
	.on_data = on_data,
	.on_opened = on_opened,
	.on_ack = on_other,
	.on_close = on_close};

static void open_tube(
	struct tube *t, struct link *l, const struct sockaddr_in *server, char what, uint64_t n)
{
	char json[128];
	int len = snprintf(json, sizeof(json),
		"{\"service\":\"dial\",\"to\":\"tcp:127.0.0.1:%u\",\"window\":%llu}",
		ntohs(server->sin_port), (unsigned long long)WINDOW);

	*t = (struct tube){.word_left = sizeof(t->word)};
	put_word(t->word, what, n);
	if (mux_open(&l->wire.mux, &t->channel, &ops, WINDOW, json, (size_t)len) < 0)
		die("no memory");
}

static void finish_tube(struct tube *t, struct link *l)
{
	t->end = true;
	if (!t->closed)
		channel_ready(&t->channel);
	while (!t->closed)
		link_must_step(l);
}

static struct rates through_agent(
	struct link *l, const struct sockaddr_in *server, uint64_t bytes, size_t trips)
{
	static uint64_t samples[MAX_TRIPS];
	uint64_t t0 = floor_now_ns();
	struct rates r;
	struct tube t;

	open_tube(&t, l, server, 'S', bytes);
	while (!t.peer_end)
		link_must_step(l);
	r.down = rate(t.got, t0);
	if (t.got != bytes)
		die("a stream did not come whole");
	finish_tube(&t, l);
	t0 = floor_now_ns();
	open_tube(&t, l, server, 'D', 0);
	t.todo = bytes;
	t.end = true;
	while (t.got == 0)
		link_must_step(l);
	r.up = rate(bytes, t0);
	finish_tube(&t, l);
	open_tube(&t, l, server, 'E', 0);
	while (!t.opened)
		link_must_step(l);
	for (size_t i = 0; i < trips; i++) {
		uint64_t expected = t.got + MESSAGE;

		t0 = floor_now_ns();
		t.todo = MESSAGE;
		channel_ready(&t.channel);
		while (t.got < expected)
			link_must_step(l);
		samples[i] = floor_now_ns() - t0;
	}
	finish_tube(&t, l);
	r.p50 = floor_percentile(samples, trips, 50, 1e3);
	return r;
}

void bench_dial(void)
{
	static const struct line down = {"dial", "1 GiB from a TCP server", "MB/s", "bare relay",
					 RATIO_MIN, 0.70},
				 up = {"dial", "1 GiB to a TCP server", "MB/s", "bare relay",
					 RATIO_MIN, 0.70},
				 trip = {"dial", "64 bytes there and back, p50", "us", "bare relay",
					 RATIO_MAX, 1.5};
	struct sockaddr_in server = {0};
	pid_t helpers[2];
	struct agent agent;
	struct link l;
	char path[64];
	uint64_t bytes = work(GIB);
	size_t trips = work(MAX_TRIPS);

	helpers[0] = start_server(&server);
	helpers[1] = start_relay(path, &server);
	agent_start(&agent, program("agentd"), NULL);
	link_open(&l, agent.path, UINT64_MAX, UINT64_MAX);
	for (unsigned i = 0; i < options.rounds; i++) {
		struct rates floor = through_relay(path, bytes, trips),
			     ours = through_agent(&l, &server, bytes, trips);

		table_add(&down, ours.down, floor.down);
		table_add(&up, ours.up, floor.up);
		table_add(&trip, ours.p50, floor.p50);
	}
	link_finish(&l);
	agent_stop(&agent);
	for (int i = 0; i < 2; i++) {
		kill(helpers[i], SIGKILL);
		helper_wait(helpers[i]);
	}
	unlink(path);
}
