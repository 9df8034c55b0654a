/* What is about the bridge and not about one sandbox. */
#include "base/embed.h"
#include "bridge/api/metrics.h"
#include "bridge/api/openapi.h"
#include "bridge/api/route.h"
#include "bridge/api/text.h"

extern const struct embedded embedded_console[], embedded_xterm[];

#define PAGE_FILE "index.html"
/* xterm.js makes style elements; all else is from here, and nobody else's page frames it. */
#define PAGE_POLICY                                                                                \
	"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "                \
	"img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "                \
	"frame-ancestors 'none'"

static void reply_text(struct call *c, int code, const char *json)
{
	call_reply(c, code, NULL, json, strlen(json));
}

static void on_health(struct call *c)
{
	reply_text(c, 200, "{\"status\":\"ok\"}");
}

static void on_alive(struct call *c)
{
	reply_text(c, 200, "{\"status\":\"alive\"}");
}

static void on_ready(struct call *c)
{
	if (bridge_of(c)->stopping)
		reply_text(c, 503, "{\"status\":\"stopping\"}");
	else
		reply_text(c, 200, "{\"status\":\"ready\"}");
}

/* ---- who and what ---- */

static void on_whoami(struct call *c)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "orgID", "local");
	text_str(&t, "credential", bridge_of(c)->config.open ? "none" : "key");
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

static void on_workers(struct call *c)
{
	const struct bridge *b = bridge_of(c);
	const struct box_driver *driver = box_driver_find(b->config.driver);
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '[');
	text_open(&t, NULL, '{');
	text_str(&t, "id", b->config.worker);
	text_str(&t, "region", b->config.region);
	text_str(&t, "driver", b->config.driver);
	text_bool(&t, "canHibernate", driver && driver->can & BOX_CAN_HIBERNATE);
	text_str(&t, "version", AGENTD_VERSION);
	text_int(&t, "current", (int64_t)sandboxes_count(b->sandboxes, SANDBOX_RUNNING));
	text_close(&t, '}');
	text_close(&t, ']');
	text_reply(&t, c, 200);
}

/* Sandboxes as records of use: one a sandbox, killed ones too while they are remembered. */
static void on_sessions(struct call *c)
{
	const struct bridge *b = bridge_of(c);
	auto_free char *wanted = call_query(c, "status");
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '[');
	list_for_each (s, sandboxes_list(b->sandboxes), struct sandbox, node) {
		const char *status = sandbox_state_str(s->state);

		if (wanted && *wanted && strcmp(wanted, status) != 0)
			continue;
		text_open(&t, NULL, '{');
		text_str(&t, "sandboxID", s->id);
		text_str(&t, "status", status);
		text_str(&t, "template", s->template);
		text_str(&t, "region", b->config.region);
		text_str(&t, "workerID", b->config.worker);
		text_time(&t, "startedAt", s->created_ms);
		if (s->ended_ms)
			text_time(&t, "stoppedAt", s->ended_ms);
		text_close(&t, '}');
	}
	text_close(&t, ']');
	text_reply(&t, c, 200);
}

/* ---- figures ---- */

static void on_metrics(struct call *c)
{
	const char *key = call_get_header(c, "x-api-key");
	/* And not passed on by a proxy that is on this machine too. */
	bool near = call_is_near(c) && !call_get_header(c, "x-forwarded-proto");
	size_t len;
	char *text;

	if (!near && !(key && keys_check(bridge_of(c)->keys, key, strlen(key)))) {
		call_error(c, 403, "metrics are for this machine, or with an API key");
		return;
	}
	text = metrics_text(bridge_of(c), &len);
	if (text)
		call_reply_take(c, 200, "text/plain; version=0.0.4; charset=utf-8", text, len);
	else
		call_error(c, 500, "out of memory");
}

/* ---- what is embedded ---- */

static void on_openapi(struct call *c)
{
	size_t len;
	const char *text = openapi_text(&len);

	if (text)
		call_reply(c, 200, NULL, text, len);
	else
		call_error(c, 500, "out of memory");
}

static const char *type_of(const char *name)
{
	static const char *const types[][2] = {
		{".html", "text/html; charset=utf-8"},
		{".js", "text/javascript; charset=utf-8"},
		{".css", "text/css; charset=utf-8"},
		{".svg", "image/svg+xml"},
		{".txt", "text/plain; charset=utf-8"},
	};
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < array_size(types); i++)
		if (strcmp(dot, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

static const struct embedded *find_file(const struct embedded *e, const char *name)
{
	while (e->name && strcmp(e->name, name) != 0)
		e++;
	return e->name ? e : NULL;
}

static void reply_file(struct call *c, const char *name)
{
	const struct embedded *e = find_file(embedded_console, name);

	if (!e)
		e = find_file(embedded_xterm, name);
	if (!e) {
		call_error(c, 404, "there is no page %.100s", name);
		return;
	}
	call_header(c, "Content-Security-Policy", PAGE_POLICY);
	call_header(c, "X-Content-Type-Options", "nosniff");
	call_header(c, "Cache-Control", "no-cache");
	call_reply(c, 200, type_of(name), e->data, e->len);
}

static void on_page(struct call *c)
{
	reply_file(c, PAGE_FILE);
}

static void on_console(struct call *c)
{
	reply_file(c, c->params[0]);
}

const struct route routes_misc[] = {
	{CALL_GET, "/health", R_PUBLIC, on_health, "getHealth"},
	{CALL_GET, "/healthz", R_PUBLIC, on_alive, "getAlive"},
	{CALL_GET, "/readyz", R_PUBLIC, on_ready, "getReady"},
	{CALL_GET, "/whoami", 0, on_whoami, "getWhoami"},
	{CALL_GET, "/workers", 0, on_workers, "listWorkers"},
	{CALL_GET, "/sessions", 0, on_sessions, "listSessions"},
	{CALL_GET, "/metrics", R_PUBLIC, on_metrics, "getMetrics"},
	{CALL_GET, "/openapi.json", R_PUBLIC, on_openapi, "getOpenapi"},
	{CALL_GET, "/", R_PUBLIC, on_page, "getPage"},
	{CALL_GET, "/console/:file", R_PUBLIC, on_console, "getConsoleFile"},
	{0},
};
