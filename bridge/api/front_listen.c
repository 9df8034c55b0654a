#include "bridge/api/front_listen.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

int listen_try(const struct front_config *config, char *what, size_t size)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(config->port)};
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	snprintf(what, size, "cannot listen on %s:%u", config->host, config->port);
	if (inet_pton(AF_INET, config->host, &a.sin_addr) != 1)
		return -EADDRNOTAVAIL;
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		return -errno;
	return 0;
}

size_t listen_max(const struct front_config *config)
{
	struct rlimit r;
	size_t n;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		r.rlim_cur = 1024;
	n = min_of((size_t)r.rlim_cur, (size_t)1 << 20);
	n -= min_of(n / 4, (size_t)1024); /* for guests, files, the store */
	return config->max_connections > 0 ? min_of(config->max_connections, n) : n;
}
