#include "bridge/api/front_listen.h"

#include <arpa/inet.h>
#include <libwebsockets.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "bridge/api/front_body.h"

/* Tries it and lets go again. */
static int try_port(const struct front_config *config)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(config->port)};
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

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

static void fill_info(struct lws_context_creation_info *info, const struct lws_protocols *protocols,
	void *user, size_t max)
{
	/* A client that does not read for minutes is normal; TCP finds out about dead ones. */
	static const lws_retry_bo_t keepalive = {
		.secs_since_valid_ping = FRONT_KEEPALIVE_S, .secs_since_valid_hangup = UINT16_MAX};

	*info = (struct lws_context_creation_info){
		.port = CONTEXT_PORT_NO_LISTEN,
		.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
			   LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND,
		.user = user,
		.protocols = protocols,
		.pt_serv_buf_size = BODY_READ_MAX + LWS_PRE,
		.max_http_header_data = FRONT_HEAD_MAX,
		.max_http_header_pool2 = (unsigned)max,
		.fd_limit_per_thread = (unsigned)max + 64,
		.timeout_secs = 20,
		.timeout_secs_ah_idle = FRONT_HEAD_MS / 1000,
		.keepalive_timeout = FRONT_IDLE_MS / 1000,
		.ka_time = 60,
		.ka_probes = 3,
		.ka_interval = 20,
		.retry_and_idle_policy = &keepalive,
		.vhost_name = "bridge",
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};
}

int listen_open(struct front_loop *l, const struct front_config *config,
	const struct lws_protocols *protocols, void *user, size_t max, uint16_t *ret_port,
	char *why, size_t why_size)
{
	struct lws_context_creation_info info;
	struct lws_vhost *vhost;
	int r = try_port(config);

	snprintf(why, why_size, "cannot listen on %s:%u%s%s", config->host, config->port,
		r < 0 ? ": " : "", r < 0 ? strerror(-r) : "");
	if (r < 0)
		return r;
	lws_set_log_level(0, NULL);
	fill_info(&info, protocols, user, max);
	front_loop_use(l, &info);
	if (config->cert) {
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info.alpn = "http/1.1";
	}
	l->cx = lws_create_context(&info);
	if (!l->cx) {
		snprintf(why, why_size, "libwebsockets does not start");
		return -EIO;
	}
	info.port = config->port;
	info.iface = strcmp(config->host, "0.0.0.0") != 0 ? config->host : NULL;
	info.ssl_cert_filepath = config->cert;
	info.ssl_private_key_filepath = config->cert_key;
	vhost = lws_create_vhost(l->cx, &info);
	if (!vhost) {
		if (config->cert)
			snprintf(why, why_size, "the certificate or its key cannot be used");
		return -EIO;
	}
	*ret_port = (uint16_t)lws_get_vhost_listen_port(vhost);
	return 0;
}
