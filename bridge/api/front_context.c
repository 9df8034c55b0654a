/*
 * libwebsockets gets sockets that are connected (front_listen.c); it does TLS on them if there is a
 * certificate. Its own time limits are those that concern heads and idle connections.
 */
#include "bridge/api/front_context.h"

#include <libwebsockets.h>
#include <stdio.h>
#include <sys/resource.h>

#include "bridge/api/front_body.h"
#include "bridge/api/front_head.h"

size_t context_max(const struct front_config *config)
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
	*info = (struct lws_context_creation_info){
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.user = user,
		.protocols = protocols,
		.pt_serv_buf_size = BODY_READ_MAX + LWS_PRE,
		.max_http_header_data = HEAD_ROOM,
		.max_http_header_pool2 = (unsigned)max,
		.fd_limit_per_thread = (unsigned)max + 64,
		.timeout_secs = 20,
		.timeout_secs_ah_idle = FRONT_HEAD_MS / 1000,
		.keepalive_timeout = FRONT_IDLE_MS / 1000,
		.vhost_name = "bridge",
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};
}

int context_open(struct front_loop *l, const struct front_config *config,
	const struct lws_protocols *protocols, void *user, size_t max, struct lws_vhost **ret,
	char *why, size_t why_size)
{
	/* Never a hang-up: who does not answer a ping may just not read, and TCP knows the dead. */
	static lws_retry_bo_t pings = {.secs_since_valid_hangup = UINT16_MAX};
	struct lws_context_creation_info info;

	pings.secs_since_valid_ping =
		(uint16_t)(config->ping_s > 0 ? config->ping_s : FRONT_PING_S);
	lws_set_log_level(0, NULL);
	fill_info(&info, protocols, user, max);
	info.retry_and_idle_policy = &pings;
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
	info.ssl_cert_filepath = config->cert;
	info.ssl_private_key_filepath = config->cert_key;
	*ret = lws_create_vhost(l->cx, &info);
	if (!*ret) {
		snprintf(why, why_size, "%s",
			config->cert ? "the certificate or its key cannot be used"
				     : "libwebsockets does not start");
		return -EIO;
	}
	return 0;
}
