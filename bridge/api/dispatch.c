/*
 * From a head to the handler: route, credentials, sandbox, body, the sandbox up. Each step either
 * answers or begins the next; those that take time are the body (ops of our own) and the sandbox
 * (sandbox_use).
 */
#include "bridge/api/dispatch.h"

#include <stdio.h>
#include <strings.h>

#include "base/log.h"
#include "bridge/api/metrics.h"
#include "bridge/api/signed.h"

#define ORIGINS_MAX_AGE "86400"

/* ---- credentials ---- */

/* The value of "Authorization: Bearer X", or NULL. */
static const char *bearer(const struct call *c)
{
	const char *value = call_get_header(c, "authorization");

	if (!value || strncasecmp(value, "bearer ", 7) != 0)
		return NULL;
	return value + 7 + strspn(value + 7, " ");
}

static enum token_verdict check_token(const struct call *c, const char *token)
{
	const char *id = c->sandbox ? c->sandbox->id : c->params[0];

	if (!(c->route->flags & R_TOKEN) || !id)
		return TOKEN_OTHER;
	return token_check(c->bridge->keys, token, strlen(token), id);
}

/* One slot for keys: a key, or a sandbox token where that will do. */
static bool good_key(struct call *c, const char *key)
{
	if (!key)
		return false;
	if (keys_check(c->bridge->keys, key, strlen(key)))
		c->who = CALL_KEY;
	else if (check_token(c, key) == TOKEN_GOOD)
		c->who = CALL_TOKEN;
	return c->who != CALL_NOBODY;
}

static bool good_token(struct call *c, const char *token, enum token_verdict *ret)
{
	if (!token)
		return false;
	*ret = check_token(c, token);
	if (*ret == TOKEN_GOOD)
		c->who = CALL_TOKEN;
	return c->who != CALL_NOBODY;
}

static bool refuse_token(struct call *c, const char *token, enum token_verdict verdict)
{
	/* A key is no bearer token; nor is a token good for what is not its sandbox's. */
	if (!(c->route->flags & R_TOKEN) || keys_check(c->bridge->keys, token, strlen(token)))
		call_error(c, 401, "missing API key");
	else if (verdict == TOKEN_EXPIRED)
		call_error(c, 403, "the sandbox token has expired");
	else if (verdict == TOKEN_OTHER)
		call_error(c, 403, "the sandbox token is for another sandbox");
	else
		call_error(c, 403, "invalid sandbox token");
	return false;
}

static bool authorized(struct call *c)
{
	auto_free char *query_key = call_query(c, "api_key"), *query_token = call_query(c, "token");
	const char *key = call_get_header(c, "x-api-key"), *token = bearer(c);
	enum token_verdict verdict = TOKEN_BAD;

	if (c->route->flags & (R_PUBLIC | R_SIGNED))
		return true;
	if (c->bridge->config.open) {
		c->who = CALL_KEY;
		return true;
	}
	if (good_key(c, key) || good_key(c, query_key) || good_token(c, token, &verdict) ||
		good_token(c, query_token, &verdict))
		return true;
	if (key || query_key)
		call_error(c, 403, "invalid API key");
	else if (token || query_token)
		return refuse_token(c, token ? token : query_token, verdict);
	else
		call_error(c, 401, "missing API key");
	return false;
}

static bool from_this_machine(const struct call *c)
{
	return !strncmp(c->peer, "127.", 4) || !strncmp(c->peer, "::ffff:127.", 11) ||
	       !strcmp(c->peer, "::1");
}

/* ---- the handler ---- */

static void on_nothing(struct call *c)
{
	(void)c;
}

/* While the handler is not called yet. */
static const struct call_ops waiting_ops = {.on_end = on_nothing};

static void run_handler(struct call *c)
{
	c->ops = NULL;
	if (c->route->flags & R_STREAM)
		call_pause(c, false);
	c->route->handle(c);
	ASSERT(call_answered(c) || c->ops);
	if (c->status == 101)
		metrics_socket(c->bridge->metrics, 1);
}

static void on_used(struct sandbox_use *u, const struct fault *fault)
{
	struct call *c = u->owner;

	if (fault)
		call_fault(c, fault);
	else
		run_handler(c);
}

/* The client would rather come again than wait. */
static bool comes_again(struct call *c)
{
	static const char files[] = "/sandboxes/:id/files";
	const char *async = call_get_header(c, "x-osb-async-wake");

	if (!async || strcmp(async, "1") != 0 ||
		strncmp(c->route->pattern, files, sizeof(files) - 1) != 0 ||
		!sandbox_sleeps(c->sandbox))
		return false;
	sandbox_rouse(c->sandbox);
	call_header(c, "Retry-After", "1");
	call_error_with(c, 503, ",\"waking\":true", "sandbox %s is waking up", c->sandbox->id);
	return true;
}

/* The request is whole. */
static void use_sandbox(struct call *c)
{
	if (!(c->route->flags & R_DATA) || c->websocket) {
		run_handler(c);
		return;
	}
	c->use = calloc(1, sizeof(*c->use));
	if (!c->use) {
		call_error(c, 503, "out of memory");
		return;
	}
	c->ops = &waiting_ops;
	if (c->route->flags & R_STREAM)
		call_pause(c, true);
	sandbox_use(c->sandbox, c->use, on_used, c);
}

/* ---- a JSON body ---- */

static size_t body_max(const struct call *c)
{
	return c->route->flags & R_LARGE ? BODY_LARGE_MAX : BODY_JSON_MAX;
}

static void refuse_size(struct call *c)
{
	call_error(c, 413, "the body is larger than %zu bytes", body_max(c));
}

static void on_json(struct call *c, const uint8_t *data, size_t len)
{
	size_t want = c->text_len + len, size;
	char *grown;

	if (want > body_max(c)) {
		refuse_size(c);
		return;
	}
	if (want > c->text_size) {
		size = max_of(max_of(want, 2 * c->text_size), (size_t)1024);
		grown = realloc(c->text, size);
		if (!grown) {
			call_error(c, 503, "out of memory");
			return;
		}
		c->text = grown;
		c->text_size = size;
	}
	memcpy(c->text + c->text_len, data, len);
	c->text_len += len;
}

static void on_json_end(struct call *c)
{
	if (c->text_len == 0)
		c->body = (struct jsonr){"{}", 2};
	else if (jsonr_parse(c->text, c->text_len, &c->body) < 0 || !jsonr_is(c->body, '{')) {
		call_error(c, 400, "invalid request body");
		return;
	}
	use_sandbox(c);
}

static const struct call_ops json_ops = {
	.on_body = on_json, .on_body_end = on_json_end, .on_end = on_nothing};

/* ---- steps ---- */

static void preflight(struct call *c)
{
	call_header(c, "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE, PATCH");
	call_header(c, "Access-Control-Allow-Headers",
		"X-API-Key, Authorization, Content-Type, X-Request-Id, X-OSB-Async-Wake, Range, "
		"If-None-Match, If-Range, Last-Event-ID");
	call_header(c, "Access-Control-Max-Age", ORIGINS_MAX_AGE);
	call_empty(c, 204);
}

static void refuse_method(struct call *c)
{
	static const char *const names[] = {
		"GET, HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};
	unsigned methods = route_methods(c);
	char allow[64];
	size_t n = 0;

	for (unsigned i = 0; i < array_size(names); i++)
		if (methods & 1U << i)
			n += (size_t)snprintf(
				allow + n, sizeof(allow) - n, "%s%s", n > 0 ? ", " : "", names[i]);
	call_header(c, "Allow", allow);
	call_error(c, 405, "%s is not for this route", call_method_str(c));
}

static bool find_route(struct call *c)
{
	int status;

	if (!strncmp(c->path, "/api", 4) && (c->path[4] == '/' || !c->path[4]))
		c->path += 4;
	if (c->method == CALL_OPTIONS) {
		preflight(c);
		return false;
	}
	status = route_find(c);
	if (status == 405)
		refuse_method(c);
	else if (status != 0)
		call_error(c, status, "no such route");
	else if (c->websocket && !(c->route->flags & R_SOCKET))
		call_error(c, 400, "this route is no WebSocket");
	else if (!c->websocket && (c->route->flags & (R_SOCKET | R_EITHER)) == R_SOCKET) {
		call_header(c, "Upgrade", "websocket");
		call_error(c, 426, "this route is a WebSocket");
	} else
		return true;
	return false;
}

/* After the credentials were looked at: who has none is not told what there is. */
static bool check_sandbox(struct call *c)
{
	if (!(c->route->flags & (R_SANDBOX | R_DATA)))
		return true;
	if (!c->sandbox)
		call_error(c, 404, "sandbox not found");
	else if (c->route->flags & R_SIGNED && !signed_check(c))
		return false;
	else if (c->route->flags & R_DATA &&
		 (c->sandbox->state == SANDBOX_KILLED || c->sandbox->state == SANDBOX_KILLING))
		call_error(c, 410, "sandbox %s has been stopped", c->sandbox->id);
	else
		return !(c->route->flags & R_DATA) || !comes_again(c);
	return false;
}

void dispatch_call(struct call *c)
{
	if (!find_route(c))
		return;
	if (c->route->flags & (R_SANDBOX | R_DATA))
		c->sandbox = sandboxes_find(c->bridge->sandboxes, c->params[0]);
	if (!authorized(c) || !check_sandbox(c))
		return;
	if (c->route->flags & R_ADMIN && (c->who != CALL_KEY || !from_this_machine(c))) {
		call_error(c, 403, "this route is for this machine only");
		return;
	}
	if (!(c->route->flags & R_JSON)) {
		use_sandbox(c);
		return;
	}
	if (c->length > (int64_t)body_max(c)) {
		refuse_size(c);
		return;
	}
	c->ops = &json_ops;
}

void dispatch_done(struct call *c)
{
	double ms = (double)(now_ns() - c->began_ns) / 1e6;

	if (c->use) {
		sandbox_unuse(c->use);
		free(c->use);
		c->use = NULL;
	}
	metrics_count(c->bridge->metrics, c);
	if (c->status == 101)
		metrics_socket(c->bridge->metrics, -1);
	if (c->bridge->config.access_log)
		log_info("call method=%s path=%s status=%d in=%llu out=%llu ms=%.1f id=%s",
			call_method_str(c), c->path, c->status, (unsigned long long)c->bytes_in,
			(unsigned long long)c->bytes_out, ms, c->id);
}

void call_fault(struct call *c, const struct fault *f)
{
	char members[128];

	if (f->status == 503)
		call_header(c, "Retry-After", "1");
	snprintf(members, sizeof(members), "%s%s%s%s", f->code ? ",\"code\":\"" : "",
		f->code ? f->code : "", f->code ? "\"" : "", f->waking ? ",\"waking\":true" : "");
	call_error_with(c, f->status, members, "%s", f->text);
}
