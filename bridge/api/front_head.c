#include "bridge/api/front_head.h"

#include "bridge/api/call_wire.h"
#include "proto/http.h"
#include "proto/ws.h"

#define NAMES_MAX 200 /* headers that have no place */

#define IN_PATH  "/-._~!$&'()*+,;=:@"
#define IN_QUERY "-._~/:@,"

/* ---- what came ---- */

/* Headers of call_kept that have no place: they go by their names. */
#define BY_NAME WEB_HEADERS

static const enum web_header kept_headers[CALL_KEPT] = {WEB_ACCEPT, WEB_AUTHORIZATION,
	WEB_CONTENT_TYPE, WEB_IF_NONE_MATCH, WEB_RANGE, BY_NAME, BY_NAME, BY_NAME, BY_NAME, BY_NAME,
	WEB_HOST, WEB_ORIGIN, WEB_IF_RANGE, WEB_CONTENT_RANGE};

static int keep_headers(const struct web_conn *w, struct call *c)
{
	char value[WEB_ROOM];
	int len;

	for (unsigned i = 0; i < CALL_KEPT; i++) {
		if (kept_headers[i] == BY_NAME)
			len = web_header_named(w, call_kept[i], value, sizeof(value));
		else
			len = web_header(w, kept_headers[i], value, sizeof(value));
		if (len > 0 && call_keep(c, i, value, (size_t)len) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* It comes decoded: the way back. */
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

/* Each "name=value" comes by itself; an equals sign in a name is no longer there. */
static size_t encode_query(const struct web_conn *w, char *out, char *scratch)
{
	size_t n = 0;
	int len;

	for (int i = 0;; i++) {
		const char *equals;
		size_t name;

		len = web_query(w, i, scratch, FRONT_HEAD_MAX);
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

struct call *head_call(const struct web_conn *w, struct head *h, char *scratch)
{
	static const enum call_method methods[] = {
		[WEB_GET] = CALL_GET,
		[WEB_HEAD] = CALL_GET,
		[WEB_POST] = CALL_POST,
		[WEB_PUT] = CALL_PUT,
		[WEB_DELETE] = CALL_DELETE,
		[WEB_PATCH] = CALL_PATCH,
		[WEB_OPTIONS] = CALL_OPTIONS,
	};
	size_t path_len, query_len, len;
	const char *path;
	struct call *c;
	enum web_method method = web_request(w, &path, &len);

	if (method == WEB_OTHER)
		return NULL;
	*h = (struct head){.last = true, .oversize = web_head_size(w, NAMES_MAX) > FRONT_HEAD_MAX};
	path_len = encode(scratch, path, h->oversize ? 1 : len, IN_PATH);
	query_len = h->oversize ? 0
				: encode_query(w, scratch + path_len,
					  scratch + HEAD_SCRATCH - FRONT_HEAD_MAX);
	c = call_new(scratch, path_len, scratch + path_len, query_len);
	if (c && keep_headers(w, c) < 0) {
		call_free(c);
		c = NULL;
	}
	if (!c)
		return NULL;
	c->method = methods[method];
	c->head = method == WEB_HEAD;
	c->encrypted = web_encrypted(w);
	call_set_id(c);
	return c;
}

/* ---- what it means ---- */

static bool is_token(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* A header that has no place: what is no name may hide one that has. */
static void check_name(const char *name, int len, void *bad)
{
	for (int i = 0; i < len - 1; i++)
		if (!is_token(name[i]))
			*(bool *)bad = true;
	if (len < 2)
		*(bool *)bad = true;
}

static const char *read_version(const struct web_conn *w, struct call *c, struct head *h)
{
	char version[16];
	bool bad = false;

	if (web_header(w, WEB_VERSION, version, sizeof(version)) < 0 ||
		(strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0))
		return "HTTP/1.1 is spoken here";
	h->http10 = !strcmp(version, "HTTP/1.0");
	web_each_name(w, check_name, &bad);
	if (bad)
		return "a header's name is none";
	if (!h->http10 && !call_get_header(c, "host"))
		return "there is no Host";
	return NULL;
}

const char *head_read(const struct web_conn *w, struct call *c, struct head *h, int *ret_status)
{
	bool may = c->method == CALL_POST || c->method == CALL_PUT || c->method == CALL_PATCH;
	char length[32], coding[32], connection[256], expect[32];
	const char *why;

	*ret_status = 431;
	if (h->oversize)
		return "the head of the request is too long";
	*ret_status = 400;
	why = read_version(w, c, h);
	if (why)
		return why;
	if (web_header(w, WEB_CONTENT_LENGTH, length, sizeof(length)) < 0 ||
		web_header(w, WEB_TRANSFER_ENCODING, coding, sizeof(coding)) < 0 ||
		web_header(w, WEB_CONNECTION, connection, sizeof(connection)) < 0 ||
		web_header(w, WEB_EXPECT, expect, sizeof(expect)) < 0)
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
	/* Without a length all that follows a POST is taken for its body. */
	h->last = *coding || (may && !*length) || http_list_has(connection, "close") ||
		  (h->http10 && !http_list_has(connection, "keep-alive"));
	h->expects = !strcasecmp(expect, "100-continue") && !h->http10;
	return NULL;
}

const char *head_read_upgrade(
	const struct web_conn *w, struct call *c, struct head *h, int *ret_status)
{
	char connection[120], key[64], version[8];
	const char *why = head_read(w, c, h, ret_status);

	if (why)
		return why;
	if (c->method != CALL_GET || c->head || h->body != BODY_NONE || h->http10)
		return "an upgrade is a GET without a body";
	if (web_header(w, WEB_CONNECTION, connection, sizeof(connection)) < 0 ||
		!http_list_has(connection, "upgrade"))
		return "Connection must say Upgrade";
	if (web_header(w, WEB_SOCKET_KEY, key, sizeof(key)) < 0 || !ws_key_valid(key))
		return "Sec-WebSocket-Key is not the base64 of 16 bytes";
	if (web_header(w, WEB_SOCKET_PROTOCOL, key, sizeof(key)) != 0)
		return "no WebSocket subprotocol is spoken here";
	if (web_header(w, WEB_SOCKET_VERSION, version, sizeof(version)) < 0 ||
		strcmp(version, "13") != 0) {
		call_header(c, "Sec-WebSocket-Version", "13");
		*ret_status = 426;
		return "Sec-WebSocket-Version must be 13";
	}
	return NULL;
}
