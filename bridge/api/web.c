/*
 * Names and numbers of libwebsockets made into ours, and its events into those of web.h. It is
 * given sockets that are connected; it does TLS on them if there is a certificate. Its own time
 * limits are those that concern heads and idle connections.
 *
 * It runs on our loop by its interface for event loops (evlib below); the rest of that is
 * front_loop.c's, which does not know it.
 */
#include "bridge/api/web.h"

#include <libwebsockets.h>
#include <stdio.h>

_Static_assert(LWS_PRE <= WEB_PRE, "room before what is written");

/* ---- on the loop: what it calls ---- */

struct lws_side { /* it keeps one for us */
	struct web *web;
};

static struct front_loop *loop_of(struct lws *wsi)
{
	struct lws_side *side = lws_evlib_wsi_to_evlib_pt(wsi);

	return &side->web->loop;
}

static int on_init(struct lws_context *cx, void *web, int tsi)
{
	struct lws_side *side = lws_evlib_tsi_to_evlib_pt(cx, tsi);

	side->web = web;
	return 0;
}

static int on_socket(struct lws *wsi)
{
	int fd = wsi ? lws_get_socket_fd(wsi) : -1;

	if (fd >= 0)
		front_loop_add(loop_of(wsi), fd);
	return 0;
}

static void on_io(struct lws *wsi, unsigned flags)
{
	int fd = lws_get_socket_fd(wsi);
	unsigned bits = 0;

	if (flags & LWS_EV_READ)
		bits |= FRONT_IN;
	if (flags & LWS_EV_WRITE)
		bits |= FRONT_OUT;
	if (fd >= 0)
		front_loop_want(loop_of(wsi), fd, bits, flags & LWS_EV_START);
}

static int on_logical_close(struct lws *wsi)
{
	int fd = lws_get_socket_fd(wsi);

	if (fd >= 0)
		front_loop_remove(loop_of(wsi), fd);
	return 0;
}

static const struct lws_event_loop_ops loop_ops = {
	.name = "bridge",
	.init_pt = on_init,
	.init_vhost_listen_wsi = on_socket,
	.sock_accept = on_socket,
	.io = on_io,
	.wsi_logical_close = on_logical_close,
	.evlib_size_pt = sizeof(struct lws_side),
};

static const lws_plugin_evlib_t evlib = {
	.hdr = {"bridge", "lws_evlib_plugin", LWS_BUILD_HASH, LWS_PLUGIN_API_MAGIC},
	.ops = &loop_ops,
};

/* ---- on the loop: what calls it ---- */

static void service(void *owner, int fd, short revents)
{
	struct web *w = owner;
	struct lws_pollfd p = {.fd = fd, .events = POLLIN | POLLOUT, .revents = revents};

	if (w->cx)
		lws_service_fd(w->cx, &p);
}

static int attend(void *owner)
{
	struct web *w = owner;
	int ms;

	if (!w->cx)
		return -1;
	ms = lws_service_adjust_timeout(w->cx, 3600 * 1000, 0);
	if (ms == 0)
		_lws_plat_service_forced_tsi(w->cx, 0);
	return ms;
}

/* ---- events ---- */

static int begin(struct lws *wsi)
{
	struct web *w = lws_context_user(lws_get_context(wsi));
	struct web_conn *c = w->events->on_open(w->owner);

	if (!c)
		return -1;
	c->wsi = wsi;
	lws_set_opaque_user_data(wsi, c);
	return 0;
}

static bool message_ends(struct lws *wsi)
{
	return lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;
}

static int on_event(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	const struct web_events *events;
	struct web_conn *c;

	(void)user;
	if (reason == LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED)
		return begin(wsi);
	c = wsi ? lws_get_opaque_user_data(wsi) : NULL;
	if (!c)
		return 0;
	events = ((struct web *)lws_context_user(lws_get_context(wsi)))->events;
	switch (reason) {
	case LWS_CALLBACK_HTTP: return events->on_request(c);
	case LWS_CALLBACK_HTTP_BODY: return len > 0 ? events->on_body(c, in, len) : 0;
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
	case LWS_CALLBACK_HTTP_WRITEABLE:
	case LWS_CALLBACK_SERVER_WRITEABLE: return events->on_writable(c);
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return strcasecmp(in, "websocket") != 0 ? 0 : events->on_upgrade(c);
	case LWS_CALLBACK_ESTABLISHED: events->on_upgraded(c); return 0;
	case LWS_CALLBACK_RECEIVE: return events->on_message(c, in, len, message_ends(wsi));
	case LWS_CALLBACK_TIMER: return events->on_timer(c);
	case LWS_CALLBACK_RAW_ADOPT: return -1; /* CONNECT: it would make a tunnel of it */
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_CLOSED_HTTP: events->on_closed(c); return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		lws_set_opaque_user_data(wsi, NULL);
		events->on_gone(c);
		return 0;
	default: return 0;
	}
}

/* ---- open and close ---- */

/* What of it lws does not copy, and of which there can be but one. */
static struct lws_protocols protocols[] = {
	{.name = "bridge", .callback = on_event},
	LWS_PROTOCOL_LIST_TERM,
};
/* Never a hang-up: who does not answer a ping may just not read, and TCP knows the dead. */
static lws_retry_bo_t pings = {.secs_since_valid_hangup = UINT16_MAX};

static struct lws_context_creation_info info_of(const struct web_config *config, void **loops)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.user = *loops,
		.protocols = protocols,
		.pt_serv_buf_size = (unsigned)(config->read_max + LWS_PRE),
		.max_http_header_data = (unsigned short)config->head_max,
		.max_http_header_pool2 = (unsigned)config->conns_max,
		.fd_limit_per_thread = (unsigned)config->conns_max + 64,
		.timeout_secs = 20,
		.timeout_secs_ah_idle = config->head_s,
		.keepalive_timeout = (int)config->idle_s,
		.vhost_name = "bridge",
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
		.retry_and_idle_policy = &pings,
		.event_lib_custom = &evlib,
		.foreign_loops = loops,
	};

	protocols[0].rx_buffer_size = config->message_piece;
	protocols[0].tx_packet_size = config->write_max;
	pings.secs_since_valid_ping = (uint16_t)config->ping_s;
	if (config->cert) {
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info.alpn = "http/1.1";
	}
	return info;
}

/* 0 or why not. */
static const char *start(struct web *w, const struct web_config *config)
{
	void *loops[] = {w};
	struct lws_context_creation_info info = info_of(config, loops);

	lws_set_log_level(0, NULL);
	w->cx = lws_create_context(&info);
	if (!w->cx)
		return "libwebsockets does not start";
	info.ssl_cert_filepath = config->cert;
	info.ssl_private_key_filepath = config->cert_key;
	w->vhost = lws_create_vhost(w->cx, &info);
	if (w->vhost)
		return NULL;
	return config->cert ? "the certificate or its key cannot be used"
			    : "libwebsockets does not start";
}

static void on_undone(void *gone)
{
	*(bool *)gone = true;
}

int web_open(struct web *w, uv_loop_t *loop, const struct web_config *config,
	const struct web_events *events, void *owner, char *why, size_t why_size)
{
	static const struct front_loop_ops ops = {.service = service, .attend = attend};
	const char *failed;
	bool gone = false;
	int r;

	*w = (struct web){.events = events, .owner = owner};
	r = front_loop_open(&w->loop, loop, &ops, w);
	if (r < 0) {
		snprintf(why, why_size, "epoll: %s", strerror(-r));
		return r;
	}
	failed = start(w, config);
	if (!failed)
		return 0;
	snprintf(why, why_size, "%s", failed);
	web_destroy(w);
	web_close(w, on_undone, &gone);
	while (!gone)
		uv_run(loop, UV_RUN_NOWAIT);
	return -EIO;
}

void web_adopt(struct web *w, int fd)
{
	lws_adopt_socket_vhost(w->vhost, fd);
}

void web_destroy(struct web *w)
{
	if (w->cx)
		lws_context_destroy(w->cx);
	w->cx = NULL;
}

void web_close(struct web *w, void (*fn)(void *owner), void *owner)
{
	front_loop_close(&w->loop, fn, owner);
}

/* ---- a head ---- */

static const enum lws_token_indexes tokens[WEB_HEADERS] = {
	[WEB_ACCEPT] = WSI_TOKEN_HTTP_ACCEPT,
	[WEB_AUTHORIZATION] = WSI_TOKEN_HTTP_AUTHORIZATION,
	[WEB_CONNECTION] = WSI_TOKEN_CONNECTION,
	[WEB_CONTENT_LENGTH] = WSI_TOKEN_HTTP_CONTENT_LENGTH,
	[WEB_CONTENT_RANGE] = WSI_TOKEN_HTTP_CONTENT_RANGE,
	[WEB_CONTENT_TYPE] = WSI_TOKEN_HTTP_CONTENT_TYPE,
	[WEB_EXPECT] = WSI_TOKEN_HTTP_EXPECT,
	[WEB_HOST] = WSI_TOKEN_HOST,
	[WEB_IF_NONE_MATCH] = WSI_TOKEN_HTTP_IF_NONE_MATCH,
	[WEB_IF_RANGE] = WSI_TOKEN_HTTP_IF_RANGE,
	[WEB_ORIGIN] = WSI_TOKEN_ORIGIN,
	[WEB_RANGE] = WSI_TOKEN_HTTP_RANGE,
	[WEB_TRANSFER_ENCODING] = WSI_TOKEN_HTTP_TRANSFER_ENCODING,
	[WEB_SOCKET_KEY] = WSI_TOKEN_KEY,
	[WEB_SOCKET_PROTOCOL] = WSI_TOKEN_PROTOCOL,
	[WEB_SOCKET_VERSION] = WSI_TOKEN_VERSION,
	[WEB_VERSION] = WSI_TOKEN_HTTP,
};

enum web_method web_request(const struct web_conn *c, const char **path, size_t *len)
{
	static const enum web_method methods[] = {
		[LWSHUMETH_GET] = WEB_GET,
		[LWSHUMETH_POST] = WEB_POST,
		[LWSHUMETH_OPTIONS] = WEB_OPTIONS,
		[LWSHUMETH_PUT] = WEB_PUT,
		[LWSHUMETH_PATCH] = WEB_PATCH,
		[LWSHUMETH_DELETE] = WEB_DELETE,
		[LWSHUMETH_CONNECT] = WEB_OTHER,
		[LWSHUMETH_HEAD] = WEB_HEAD,
	};
	char *uri;
	int n, method = lws_http_get_uri_and_method(c->wsi, &uri, &n);

	if (method < 0 || method >= (int)array_size(methods))
		return WEB_OTHER;
	*path = uri;
	*len = (size_t)n;
	return methods[method];
}

int web_query(const struct web_conn *c, int i, char *out, size_t size)
{
	return lws_hdr_copy_fragment(c->wsi, out, (int)size, WSI_TOKEN_HTTP_URI_ARGS, i);
}

static int trim(char *value, int len)
{
	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		value[--len] = '\0';
	return len;
}

int web_header(const struct web_conn *c, enum web_header h, char *out, size_t size)
{
	int n = 0;

	*out = '\0';
	if (lws_hdr_total_length(c->wsi, tokens[h]) > 0)
		n = lws_hdr_copy(c->wsi, out, (int)size, tokens[h]);
	return n < 0 ? WEB_TOO_BIG : trim(out, n);
}

int web_header_named(const struct web_conn *c, const char *name, char *out, size_t size)
{
	int n = (int)strlen(name) + 1;
	char text[32]; /* it wants the colon */

	ASSERT(n < (int)sizeof(text));
	memcpy(text, name, (size_t)n);
	text[n - 1] = ':';
	*out = '\0';
	n = lws_hdr_custom_copy(c->wsi, out, (int)size, text, n);
	return trim(out, max_of(n, 0));
}

void web_each_name(
	const struct web_conn *c, void (*fn)(const char *name, int len, void *arg), void *arg)
{
	lws_hdr_custom_name_foreach(c->wsi, fn, arg);
}

struct names {
	struct lws *wsi;
	size_t n, max, len;
};

static void add_name(const char *name, int len, void *arg)
{
	struct names *names = arg;

	names->len += (size_t)len;
	if (++names->n <= names->max) /* each is looked for */
		names->len += (size_t)max_of(lws_hdr_custom_length(names->wsi, name, len), 0);
}

size_t web_head_size(const struct web_conn *c, size_t names_max)
{
	struct names names = {.wsi = c->wsi, .max = names_max};
	size_t len = 0;

	for (int t = 0; t < WSI_TOKEN_COUNT; t++)
		len += (size_t)max_of(lws_hdr_total_length(c->wsi, (enum lws_token_indexes)t), 0);
	lws_hdr_custom_name_foreach(c->wsi, add_name, &names);
	return names.n > names_max ? SIZE_MAX : len + names.len;
}

bool web_encrypted(const struct web_conn *c)
{
	return lws_is_ssl(c->wsi);
}

/* ---- a connection ---- */

int web_write(const struct web_conn *c, enum web_kind kind, uint8_t *data, size_t len)
{
	static const enum lws_write_protocol kinds[] = {
		[WEB_BYTES] = LWS_WRITE_HTTP,
		[WEB_INTERIM] = LWS_WRITE_HTTP_HEADERS_CONTINUATION,
		[WEB_TEXT] = LWS_WRITE_TEXT,
		[WEB_BINARY] = LWS_WRITE_BINARY,
	};

	return lws_write(c->wsi, data, len, kinds[kind]) < 0 ? -1 : 0;
}

bool web_takes_more(const struct web_conn *c)
{
	return !lws_send_pipe_choked(c->wsi);
}

bool web_holds_bytes(const struct web_conn *c)
{
	return lws_partial_buffered(c->wsi);
}

void web_want_write(const struct web_conn *c)
{
	lws_callback_on_writable(c->wsi);
}

int web_next_request(const struct web_conn *c)
{
	return lws_http_transaction_completed(c->wsi) ? -1 : 0;
}

void web_say_close(const struct web_conn *c, uint16_t code, const char *reason)
{
	lws_close_reason(
		c->wsi, (enum lws_close_status)code, (unsigned char *)reason, strlen(reason));
}

void web_read(const struct web_conn *c, bool on)
{
	lws_rx_flow_control(c->wsi, on);
}

void web_timer(const struct web_conn *c, uint64_t ms)
{
	lws_set_timer_usecs(c->wsi, (lws_usec_t)(ms * 1000));
}

void web_patience(const struct web_conn *c, unsigned s)
{
	lws_set_timeout(c->wsi, s ? PENDING_TIMEOUT_CLOSE_ACK : NO_PENDING_TIMEOUT, (int)s);
}

void web_kill(const struct web_conn *c)
{
	lws_set_timeout(c->wsi, 1, LWS_TO_KILL_ASYNC);
}

int web_fd(const struct web_conn *c)
{
	return lws_get_socket_fd(c->wsi);
}
