#include "bridge/api/front_head.h"

#include <libwebsockets.h>

#include "bridge/api/call_wire.h"
#include "proto/http.h"
#include "proto/ws.h"

#define NAMES_MAX 200 /* headers that lws has no number for */

#define IN_PATH  "/-._~!$&'()*+,;=:@"
#define IN_QUERY "-._~/:@,"

/* ---- what lws has ---- */

/* A header's value, "" when there is none; NULL when it does not fit. */
static const char *header(struct lws *wsi, enum lws_token_indexes token, char *out, size_t size)
{
	int n;

	*out = '\0';
	if (lws_hdr_total_length(wsi, token) <= 0)
		return out;
	n = lws_hdr_copy(wsi, out, (int)size, token);
	while (n > 0 && (out[n - 1] == ' ' || out[n - 1] == '\t'))
		out[--n] = '\0';
	return n < 0 ? NULL : out;
}

static const int kept_tokens[CALL_KEPT] = {WSI_TOKEN_HTTP_ACCEPT, WSI_TOKEN_HTTP_AUTHORIZATION,
	WSI_TOKEN_HTTP_CONTENT_TYPE, WSI_TOKEN_HTTP_IF_NONE_MATCH, WSI_TOKEN_HTTP_RANGE, -1, -1, -1,
	-1, -1, WSI_TOKEN_HOST, WSI_TOKEN_ORIGIN, WSI_TOKEN_HTTP_IF_RANGE,
	WSI_TOKEN_HTTP_CONTENT_RANGE};

/* One that lws has no number for; it wants the colon. */
static int copy_custom(struct lws *wsi, char *out, int size, const char *name)
{
	int n = (int)strlen(name) + 1;
	char text[32];

	ASSERT(n < (int)sizeof(text));
	memcpy(text, name, (size_t)n);
	text[n - 1] = ':';
	return lws_hdr_custom_copy(wsi, out, size, text, n);
}

static int keep_headers(struct lws *wsi, struct call *c)
{
	char value[4096];
	int len;

	for (unsigned i = 0; i < CALL_KEPT; i++) {
		if (kept_tokens[i] >= 0)
			len = lws_hdr_copy(
				wsi, value, sizeof(value), (enum lws_token_indexes)kept_tokens[i]);
		else
			len = copy_custom(wsi, value, sizeof(value), call_kept[i]);
		while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
			len--;
		if (len > 0 && call_keep(c, i, value, (size_t)len) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* lws has decoded it: the way back. */
static size_t encode(char *out, const char *p, size_t len, const char *keep)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c && strchr(keep, c))) {
			out[n++] = (char)c;
		} else {
			out[n++] = '%';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		}
	}
	return n;
}

/* It keeps each "name=value" by itself; an equals sign in a name is no longer there. */
static size_t encode_query(struct lws *wsi, char *out, char *scratch)
{
	size_t n = 0;
	int len;

	for (int i = 0;; i++) {
		const char *equals;
		size_t name;

		len = lws_hdr_copy_fragment(
			wsi, scratch, FRONT_HEAD_MAX, WSI_TOKEN_HTTP_URI_ARGS, i);
		if (len < 0)
			return n;
		equals = memchr(scratch, '=', (size_t)len);
		name = equals ? (size_t)(equals - scratch) : (size_t)len;
		if (i > 0)
			out[n++] = '&';
		n += encode(out + n, scratch, name, IN_QUERY);
		if (!equals)
			continue;
		out[n++] = '=';
		n += encode(out + n, equals + 1, (size_t)len - name - 1, IN_QUERY);
	}
}

struct names {
	struct lws *wsi;
	size_t n, len;
};

static void add_name(const char *name, int len, void *ctx)
{
	struct names *names = ctx;

	names->len += (size_t)len;
	if (++names->n <= NAMES_MAX) /* each is looked for */
		names->len += (size_t)max_of(lws_hdr_custom_length(names->wsi, name, len), 0);
}

/* As lws keeps it: without what is the same in every head. */
static bool is_long(struct lws *wsi)
{
	struct names names = {.wsi = wsi};
	size_t len = 0;

	for (int t = 0; t < WSI_TOKEN_COUNT; t++)
		len += (size_t)max_of(lws_hdr_total_length(wsi, (enum lws_token_indexes)t), 0);
	lws_hdr_custom_name_foreach(wsi, add_name, &names);
	return names.n > NAMES_MAX || len + names.len > FRONT_HEAD_MAX;
}

struct call *head_call(struct lws *wsi, struct head *h, char *scratch)
{
	static const enum call_method methods[] = {
		[LWSHUMETH_GET] = CALL_GET,
		[LWSHUMETH_HEAD] = CALL_GET,
		[LWSHUMETH_POST] = CALL_POST,
		[LWSHUMETH_PUT] = CALL_PUT,
		[LWSHUMETH_DELETE] = CALL_DELETE,
		[LWSHUMETH_PATCH] = CALL_PATCH,
		[LWSHUMETH_OPTIONS] = CALL_OPTIONS,
	};
	size_t path_len, query_len;
	struct call *c;
	char *uri;
	int len, method = lws_http_get_uri_and_method(wsi, &uri, &len);

	if (method < 0 || method >= (int)array_size(methods))
		return NULL;
	*h = (struct head){.last = true, .oversize = is_long(wsi)};
	path_len = encode(scratch, uri, h->oversize ? 1 : (size_t)len, IN_PATH);
	query_len = h->oversize ? 0
				: encode_query(wsi, scratch + path_len,
					  scratch + HEAD_SCRATCH - FRONT_HEAD_MAX);
	c = call_new(scratch, path_len, scratch + path_len, query_len);
	if (c && keep_headers(wsi, c) < 0) {
		call_free(c);
		c = NULL;
	}
	if (!c)
		return NULL;
	c->method = methods[method];
	c->head = method == LWSHUMETH_HEAD;
	c->encrypted = lws_is_ssl(wsi);
	call_set_id(c);
	return c;
}

/* ---- what it means ---- */

static bool is_token(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* A header lws does not know: what is no name may hide one that it should have known. */
static void check_name(const char *name, int len, void *bad)
{
	for (int i = 0; i < len - 1; i++)
		if (!is_token(name[i]))
			*(bool *)bad = true;
	if (len < 2)
		*(bool *)bad = true;
}

static const char *read_version(struct lws *wsi, struct call *c, struct head *h)
{
	char version[16];
	bool bad = false;

	if (!header(wsi, WSI_TOKEN_HTTP, version, sizeof(version)) ||
		(strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0))
		return "HTTP/1.1 is spoken here";
	h->http10 = !strcmp(version, "HTTP/1.0");
	lws_hdr_custom_name_foreach(wsi, check_name, &bad);
	if (bad)
		return "a header's name is none";
	if (!h->http10 && !call_get_header(c, "host"))
		return "there is no Host";
	return NULL;
}

const char *head_read(struct lws *wsi, struct call *c, struct head *h, int *ret_status)
{
	bool may = c->method == CALL_POST || c->method == CALL_PUT || c->method == CALL_PATCH;
	char length[32], coding[32], connection[256], expect[32];
	const char *why;

	*ret_status = 431;
	if (h->oversize)
		return "the head of the request is too long";
	*ret_status = 400;
	why = read_version(wsi, c, h);
	if (why)
		return why;
	if (!header(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, length, sizeof(length)) ||
		!header(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING, coding, sizeof(coding)) ||
		!header(wsi, WSI_TOKEN_CONNECTION, connection, sizeof(connection)) ||
		!header(wsi, WSI_TOKEN_HTTP_EXPECT, expect, sizeof(expect)))
		return "a header is too long";
	if (*length && *coding)
		return "Content-Length and Transfer-Encoding exclude each other";
	if (strspn(length, "0123456789") != strlen(length) || strlen(length) > 18)
		return "Content-Length must be a number";
	if (*coding && (strcasecmp(coding, "chunked") != 0 || h->http10)) {
		*ret_status = 501;
		return "the only Transfer-Encoding known here is chunked";
	}
	if (*coding && !may) {
		*ret_status = 411;
		return "a body of this method needs a Content-Length";
	}
	c->length = *coding ? -1 : strtoll(length, NULL, 10);
	h->length = (uint64_t)max_of(c->length, 0);
	h->body = *coding ? BODY_CHUNKED : h->length > 0 ? BODY_LENGTH : BODY_NONE;
	/* Without a length lws takes all that follows a POST for its body. */
	h->last = *coding || (may && !*length) || http_list_has(connection, "close") ||
		  (h->http10 && !http_list_has(connection, "keep-alive"));
	h->expects = !strcasecmp(expect, "100-continue") && !h->http10;
	return NULL;
}

const char *head_read_upgrade(struct lws *wsi, struct call *c, struct head *h, int *ret_status)
{
	char connection[120], key[64], version[8];
	const char *why = head_read(wsi, c, h, ret_status);

	if (why)
		return why;
	if (c->method != CALL_GET || c->head || h->body != BODY_NONE || h->http10)
		return "an upgrade is a GET without a body";
	if (!header(wsi, WSI_TOKEN_CONNECTION, connection, sizeof(connection)) ||
		!http_list_has(connection, "upgrade"))
		return "Connection must say Upgrade";
	if (!header(wsi, WSI_TOKEN_KEY, key, sizeof(key)) || !ws_key_valid(key))
		return "Sec-WebSocket-Key is not the base64 of 16 bytes";
	if (lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) > 0)
		return "no WebSocket subprotocol is spoken here";
	if (!header(wsi, WSI_TOKEN_VERSION, version, sizeof(version)) ||
		strcmp(version, "13") != 0) {
		call_header(c, "Sec-WebSocket-Version", "13");
		*ret_status = 426;
		return "Sec-WebSocket-Version must be 13";
	}
	return NULL;
}
