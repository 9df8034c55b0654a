/*
 * floor_lws - a bare libwebsockets server: "hello" to every request, in one write. The requests a
 * second it answers are what the bridge's are compared with.
 */
#include "floor.h"

#include <libwebsockets.h>

static const char usage[] =
	"usage: floor_lws [--port N] [--cpu C] [--time S] [--uv]\n"
	"Says \"port N\" when it listens on 127.0.0.1, and serves until it is ended.\n"
	"  --port N  default: any\n"
	"  --cpu C   pinned to one CPU\n"
	"  --time S  seconds at most, default 60\n"
	"  --uv      on a libuv loop and not on poll()\n";

static int answer(struct lws *wsi)
{
	static uint8_t out[LWS_PRE + 1024];
	uint8_t *start = out + LWS_PRE, *p = start, *end = out + sizeof(out);

	if (lws_add_http_common_headers(wsi, 200, "text/plain", 5, &p, end) ||
		lws_finalize_http_header(wsi, &p, end))
		return -1;
	memcpy(p, "hello", 5);
	if (lws_write(wsi, start, (size_t)(p - start) + 5, LWS_WRITE_HTTP) < 0)
		return -1;
	return lws_http_transaction_completed(wsi) ? -1 : 0;
}

static int on_event(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	(void)user;
	(void)in;
	(void)len;
	return reason == LWS_CALLBACK_HTTP ? answer(wsi) : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"port", required_argument, NULL, 'p'},
		{"cpu", required_argument, NULL, 'c'}, {"time", required_argument, NULL, 't'},
		{"uv", no_argument, NULL, 'u'}, {0}};
	static const struct lws_protocols protocols[] = {
		{.name = "hello", .callback = on_event}, LWS_PROTOCOL_LIST_TERM};
	struct lws_context_creation_info info = {
		.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS, .protocols = protocols};
	struct lws_context *cx;
	struct lws_vhost *vhost;
	unsigned seconds = 60;
	int c, cpu = -1;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 'p': info.port = (int)floor_number(optarg, 0, 65535); break;
		case 'c': cpu = (int)floor_number(optarg, 0, 1023); break;
		case 't': seconds = (unsigned)floor_number(optarg, 1, 86400); break;
		case 'u': info.options |= LWS_SERVER_OPTION_LIBUV; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	floor_begin(seconds);
	floor_pin(cpu);
	lws_set_log_level(0, NULL);
	cx = lws_create_context(&info);
	if (!cx)
		floor_die("libwebsockets does not start");
	info.iface = "127.0.0.1";
	vhost = lws_create_vhost(cx, &info);
	if (!vhost)
		floor_die("cannot listen");
	printf("port %d\n", lws_get_vhost_listen_port(vhost));
	fflush(stdout);
	while (lws_service(cx, 0) >= 0)
		;
	lws_context_destroy(cx);
	return 0;
}
