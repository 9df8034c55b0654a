/*
 * What is set on the listening socket its clients' sockets have from the beginning: nothing has to
 * be set for each.
 */
#include "bridge/api/front_listen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>

#include "bridge/api/front.h"

#define CLIENTS_AT_ONCE 32  /* before others have their turn */
#define AGAIN_MS        100 /* when there are no descriptors */

static void on_poll(uv_poll_t *h, int status, int events);

static void on_again(uv_timer_t *t)
{
	struct listener *l = t->data;

	uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct listener *l = h->data;
	int fd;

	(void)status;
	(void)events;
	for (int i = 0; i < CLIENTS_AT_ONCE && l->fd >= 0; i++) {
		fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			l->on_client(l->owner, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			uv_poll_stop(&l->poll);
			uv_timer_start(&l->again, on_again, AGAIN_MS, 0);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

static void set(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

/* Dead clients are found out about, and those that are as good as dead. */
static void set_patience(int fd)
{
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, FRONT_STUCK_MS / 2000);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, FRONT_STUCK_MS / 6000);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
	set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, FRONT_STUCK_MS);
}

static int open_socket(const struct addrinfo *a, int *ret)
{
	auto_close int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (a->ai_family == AF_INET6)
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_patience(fd);
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	*ret = take_fd(&fd);
	return 0;
}

static uint16_t port_of(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} a = {.v6 = {0}};
	socklen_t len = sizeof(a);

	if (getsockname(fd, &a.any, &len) < 0)
		return 0;
	return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

static int open_address(const char *host, uint16_t port, int *ret_fd, const char **why)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	char service[8];
	int r;

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &found) != 0) {
		*why = "that is no IPv4 or IPv6 address";
		return -EINVAL;
	}
	r = open_socket(found, ret_fd);
	freeaddrinfo(found);
	*why = strerror(-r);
	return r;
}

int listener_open(struct listener *l, uv_loop_t *loop, const char *host, uint16_t port,
	void (*on_client)(void *owner, int fd), void *owner, uint16_t *ret_port, char *why,
	size_t why_size)
{
	bool v6 = strchr(host, ':');
	const char *reason;
	int r;

	*l = (struct listener){.fd = -1, .on_client = on_client, .owner = owner};
	r = open_address(host, port, &l->fd, &reason);
	if (r < 0) {
		snprintf(why, why_size, "cannot listen on %s%s%s:%u: %s", v6 ? "[" : "", host,
			v6 ? "]" : "", port, reason);
		return r;
	}
	r = uv_poll_init(loop, &l->poll, l->fd);
	if (r < 0) {
		close_fd(&l->fd);
		snprintf(why, why_size, "epoll: %s", strerror(-r));
		return r;
	}
	uv_timer_init(loop, &l->again);
	l->poll.data = l->again.data = l;
	l->open = 2;
	uv_poll_start(&l->poll, UV_READABLE, on_poll);
	*ret_port = port_of(l->fd);
	return 0;
}

void listener_stop(struct listener *l)
{
	uv_poll_stop(&l->poll);
	uv_timer_stop(&l->again);
	close_fd(&l->fd);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct listener *l = h->data;

	if (--l->open == 0)
		l->on_closed(l->owner);
}

void listener_close(struct listener *l, void (*fn)(void *owner), void *owner)
{
	l->on_closed = fn;
	l->owner = owner;
	uv_close((uv_handle_t *)&l->poll, on_handle_closed);
	uv_close((uv_handle_t *)&l->again, on_handle_closed);
}

void listen_peer(int fd, char ret[LISTEN_PEER_MAX])
{
	struct sockaddr_storage a = {0};
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
	socklen_t len = sizeof(a);

	*ret = '\0';
	if (getpeername(fd, (struct sockaddr *)&a, &len) < 0)
		return;
	if (a.ss_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)&a)->sin_addr, ret, LISTEN_PEER_MAX);
	else if (a.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		inet_ntop(AF_INET, v6->sin6_addr.s6_addr + 12, ret, LISTEN_PEER_MAX);
	else if (a.ss_family == AF_INET6)
		inet_ntop(AF_INET6, &v6->sin6_addr, ret, LISTEN_PEER_MAX);
}
