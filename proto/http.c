/*
 * http.c - llhttp ends here.
 *
 * llhttp is run in its strict mode over the head only: on_headers_complete answers 2, which makes
 * it stop right behind the empty line, whatever the message claims about a body. Its callbacks come
 * in pieces, so the name of the current field and its value are collected, each up to its bound,
 * and stored when the value is complete. A field that is not in the table below is collected
 * nowhere.
 *
 * What is wrong is remembered in h->status, a negative HTTP status, and stays wrong. Of a value
 * that is both too long and broken, it depends on how the input was cut which of the two is said.
 */
#include "proto/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include <llhttp.h>

#include "proto/buf.h"
#include "proto/ws.h"

#define NAME_MAX_LEN 32 /* longer than any name in the table */

enum field {
	FIELD_NONE,
	FIELD_CONNECTION,
	FIELD_UPGRADE,
	FIELD_EXTENSIONS,
	FIELD_PROTOCOL,
	FIELD_KEY,
	FIELD_VERSION,
	FIELD_ACCEPT,
	FIELD_AUTHORIZATION,
};

static const struct {
	const char *name;
	enum field field;
} fields[] = {
	{"Connection", FIELD_CONNECTION},
	{"Upgrade", FIELD_UPGRADE},
	{"Sec-WebSocket-Extensions", FIELD_EXTENSIONS},
	{"Sec-WebSocket-Protocol", FIELD_PROTOCOL},
	{"Sec-WebSocket-Key", FIELD_KEY},
	{"Sec-WebSocket-Version", FIELD_VERSION},
	{"Sec-WebSocket-Accept", FIELD_ACCEPT},
	{"Authorization", FIELD_AUTHORIZATION},
};

struct http {
	llhttp_t parser;
	struct http_head head;
	size_t taken;  /* bytes of the head so far */
	uint32_t tail; /* the last four of them */
	bool done;
	int status; /* 0, or what is wrong */
	bool lists_upgrade, lists_websocket;
	enum field field;
	char name[NAME_MAX_LEN];
	size_t name_len;  /* NAME_MAX_LEN: too long to be known */
	struct buf value; /* of the current field, or the target */
};

/* ---- collecting ---- */

static int fail(struct http *h, int status)
{
	h->status = status;
	return HPE_USER;
}

static int collect(struct http *h, const char *at, size_t len)
{
	int r = buf_append(&h->value, at, len);

	if (r < 0)
		return fail(h, r == -ENOBUFS ? -431 : -503);
	return HPE_OK;
}

/* Copies what was collected into a string of the head; a second time appends to a list. */
static int store(struct http *h, char **slot)
{
	size_t old = *slot ? strlen(*slot) : 0;
	size_t comma = *slot ? strlen(", ") : 0;
	size_t len = buf_len(&h->value);
	char *s;

	if (old + comma + len > HTTP_VALUE_MAX)
		return fail(h, -431);
	s = realloc(*slot, old + comma + len + 1);
	if (!s)
		return fail(h, -503);
	*slot = s;
	if (comma > 0)
		memcpy(s + old, ", ", comma);
	if (len > 0)
		memcpy(s + old + comma, buf_head(&h->value), len);
	s[old + comma + len] = '\0';
	return HPE_OK;
}

/* For fields that may come once only. */
static int store_single(struct http *h, char **slot)
{
	return *slot ? fail(h, -400) : store(h, slot);
}

static int on_target(llhttp_t *parser, const char *at, size_t len)
{
	return collect(parser->data, at, len);
}

static int on_target_complete(llhttp_t *parser)
{
	struct http *h = parser->data;
	int r = store(h, &h->head.target);

	buf_consume(&h->value, buf_len(&h->value));
	return r;
}

static int on_name(llhttp_t *parser, const char *at, size_t len)
{
	struct http *h = parser->data;

	if (len >= NAME_MAX_LEN - h->name_len) {
		h->name_len = NAME_MAX_LEN;
		return HPE_OK;
	}
	memcpy(h->name + h->name_len, at, len);
	h->name_len += len;
	return HPE_OK;
}

static int on_name_complete(llhttp_t *parser)
{
	struct http *h = parser->data;

	h->field = FIELD_NONE;
	for (size_t i = 0; i < array_size(fields); i++) {
		if (h->name_len == strlen(fields[i].name) &&
			strncasecmp(h->name, fields[i].name, h->name_len) == 0)
			h->field = fields[i].field;
	}
	h->name_len = 0;
	return HPE_OK;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
	struct http *h = parser->data;

	return h->field == FIELD_NONE ? HPE_OK : collect(h, at, len);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool span_has(const char *list, size_t len, const char *word)
{
	size_t word_len = strlen(word);

	for (size_t at = 0, stop; at < len; at = stop + 1) {
		const char *comma = memchr(list + at, ',', len - at);
		size_t last;

		stop = comma ? (size_t)(comma - list) : len;
		last = stop;
		while (at < last && is_blank(list[at]))
			at++;
		while (last > at && is_blank(list[last - 1]))
			last--;
		if (last - at == word_len && strncasecmp(list + at, word, word_len) == 0)
			return true;
	}
	return false;
}

bool http_list_has(const char *list, const char *word)
{
	return span_has(list, strlen(list), word);
}

static int take_value(struct http *h)
{
	size_t len = buf_len(&h->value);
	const char *value = len > 0 ? (const char *)buf_head(&h->value) : "";

	switch (h->field) {
	case FIELD_NONE: return HPE_OK;
	case FIELD_CONNECTION: h->lists_upgrade |= span_has(value, len, "upgrade"); return HPE_OK;
	case FIELD_UPGRADE: h->lists_websocket |= span_has(value, len, "websocket"); return HPE_OK;
	/* A client may offer any; we never do, so a server must not choose one. */
	case FIELD_EXTENSIONS:
		return h->parser.type == HTTP_RESPONSE && len > 0 ? fail(h, -400) : HPE_OK;
	case FIELD_PROTOCOL: return store(h, &h->head.ws_protocol);
	case FIELD_KEY: return store_single(h, &h->head.ws_key);
	case FIELD_VERSION: return store_single(h, &h->head.ws_version);
	case FIELD_ACCEPT: return store_single(h, &h->head.ws_accept);
	case FIELD_AUTHORIZATION: return store_single(h, &h->head.authorization);
	}
	return HPE_OK;
}

static int on_value_complete(llhttp_t *parser)
{
	struct http *h = parser->data;
	int r;

	/* llhttp skips the blanks before a value, not those behind it. */
	while (h->value.len > 0 && is_blank((char)buf_head(&h->value)[h->value.len - 1]))
		h->value.len--;
	r = take_value(h);
	buf_consume(&h->value, buf_len(&h->value));
	return r;
}

static int on_headers_complete(llhttp_t *parser)
{
	struct http *h = parser->data;

	if (parser->http_major != 1 || parser->http_minor != 1)
		return -1;
	h->head.is_get = parser->type == HTTP_REQUEST && parser->method == HTTP_GET;
	h->head.is_head = parser->type == HTTP_REQUEST && parser->method == HTTP_HEAD;
	h->head.status = parser->type == HTTP_RESPONSE ? parser->status_code : 0;
	h->head.upgrade_websocket = h->lists_upgrade && h->lists_websocket;
	h->head.has_body = (parser->flags & (F_TRANSFER_ENCODING | F_CHUNKED)) ||
			   ((parser->flags & F_CONTENT_LENGTH) && parser->content_length > 0);
	return 2; /* stop behind the empty line */
}

static const llhttp_settings_t settings = {
	.on_url = on_target,
	.on_url_complete = on_target_complete,
	.on_header_field = on_name,
	.on_header_field_complete = on_name_complete,
	.on_header_value = on_value,
	.on_header_value_complete = on_value_complete,
	.on_headers_complete = on_headers_complete,
};

/* ---- the parser ---- */

struct http *http_new(enum http_role role)
{
	struct http *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->value = BUF_NULL(HTTP_VALUE_MAX);
	llhttp_init(&h->parser, role == HTTP_SERVER ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	h->parser.data = h;
	return h;
}

static char absent[1]; /* what a string of a head is that did not come */

static void finish_string(char **slot)
{
	if (!*slot)
		*slot = absent;
}

static void free_string(char **slot)
{
	if (*slot != absent)
		free(*slot);
}

static void each_string(struct http_head *head, void (*fn)(char **slot))
{
	fn(&head->target);
	fn(&head->ws_key);
	fn(&head->ws_version);
	fn(&head->ws_protocol);
	fn(&head->ws_accept);
	fn(&head->authorization);
}

void http_free(struct http *h)
{
	if (!h)
		return;
	each_string(&h->head, free_string);
	buf_fini(&h->value);
	free(h);
}

/* llhttp takes a status line that ends in two carriage returns; a head ends in "\r\n\r\n" and in
 * nothing else. */
static bool ends_properly(struct http *h, const uint8_t *data, size_t n)
{
	for (size_t i = n > 4 ? n - 4 : 0; i < n; i++)
		h->tail = h->tail << 8 | data[i];
	return !h->done || h->tail == 0x0d0a0d0a;
}

int http_feed(struct http *h, const void *data, size_t len, bool *done)
{
	size_t n = min_of(len, HTTP_HEAD_MAX - h->taken);
	llhttp_errno_t r;

	*done = h->done;
	if (h->done || h->status < 0)
		return h->status;
	r = llhttp_execute(&h->parser, data, n);
	if (r == HPE_PAUSED_UPGRADE) {
		n = (size_t)(llhttp_get_error_pos(&h->parser) - (const char *)data);
		h->done = true;
		each_string(&h->head, finish_string);
		buf_fini(&h->value);
	} else if (r != HPE_OK) {
		if (h->status == 0)
			h->status = -400;
		return h->status;
	}
	if (!ends_properly(h, data, n)) {
		h->done = false;
		return h->status = -400;
	}
	h->taken += n;
	if (!h->done && h->taken == HTTP_HEAD_MAX)
		return h->status = -431; /* full, and still not at its end */
	*done = h->done;
	return (int)n;
}

const struct http_head *http_head(const struct http *h)
{
	ASSERT(h->done);
	return &h->head;
}

/* ---- judging ---- */

int http_check_upgrade(const struct http_head *head, const char *path, const char *protocol)
{
	size_t path_len = strcspn(head->target, "?");

	if (head->has_body)
		return 400;
	if (path_len != strlen(path) || memcmp(head->target, path, path_len) != 0)
		return 404;
	if (!head->is_get)
		return 405;
	if (!head->upgrade_websocket || strcmp(head->ws_version, "13") != 0 ||
		!http_list_has(head->ws_protocol, protocol))
		return 426;
	return ws_key_valid(head->ws_key) ? 0 : 400;
}

int http_check_switching(const struct http_head *head, const char *key, const char *protocol)
{
	char accept[WS_ACCEPT_LEN + 1];

	switch (head->status) {
	case 101: break;
	case 401:
	case 403: return -EACCES;
	case 503: return -EUSERS;
	default: return -EPROTO;
	}
	ws_accept_for(key, accept);
	if (!head->upgrade_websocket || strcmp(head->ws_accept, accept) != 0 ||
		strcmp(head->ws_protocol, protocol) != 0)
		return -EPROTO;
	return 0;
}

/* ---- formatting ---- */

static int __attribute__((format(printf, 3, 4)))
format(char *out, size_t size, const char *form, ...)
{
	va_list args;
	int n;

	va_start(args, form);
	n = vsnprintf(out, size, form, args);
	va_end(args);
	return n < 0 || (size_t)n >= size ? -ENOBUFS : n;
}

int http_format_upgrade(char *out, size_t size, const char *path, const char *key,
	const char *protocol, const char *bearer)
{
	return format(out, size,
		"GET %s HTTP/1.1\r\n"
		"Host: agentd\r\n"
		"Upgrade: websocket\r\n"
		"Connection: Upgrade\r\n"
		"Sec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Key: %s\r\n"
		"Sec-WebSocket-Protocol: %s\r\n"
		"%s%s%s"
		"\r\n",
		path, key, protocol, bearer ? "Authorization: Bearer " : "", bearer ? bearer : "",
		bearer ? "\r\n" : "");
}

int http_format_switching(char *out, size_t size, const char *ws_key, const char *protocol)
{
	char accept[WS_ACCEPT_LEN + 1];

	ws_accept_for(ws_key, accept);
	return format(out, size,
		"HTTP/1.1 101 Switching Protocols\r\n"
		"Upgrade: websocket\r\n"
		"Connection: Upgrade\r\n"
		"Sec-WebSocket-Accept: %s\r\n"
		"Sec-WebSocket-Protocol: %s\r\n"
		"\r\n",
		accept, protocol);
}

/* What RFC 9110 wants beside a status. */
static const char *status_fields(int status)
{
	switch (status) {
	case 401: return "Connection: close\r\nWWW-Authenticate: Bearer\r\n";
	case 405: return "Connection: close\r\nAllow: GET\r\n";
	case 426:
		return "Connection: close, Upgrade\r\nUpgrade: websocket\r\n"
		       "Sec-WebSocket-Version: 13\r\n";
	default: return "Connection: close\r\n";
	}
}

int http_format_refusal(char *out, size_t size, int status, const char *text)
{
	return format(out, size,
		"HTTP/1.1 %d %s\r\n"
		"Content-Type: text/plain; charset=utf-8\r\n"
		"Content-Length: %zu\r\n"
		"%s"
		"\r\n"
		"%s\n",
		status, http_status_text(status), strlen(text) + 1, status_fields(status), text);
}

int http_format_answer(char *out, size_t size, const struct http_answer *a)
{
	return format(out, size,
		"HTTP/1.1 %d %s\r\n"
		"Content-Type: %s\r\n"
		"Content-Length: %zu\r\n"
		"Connection: close\r\n"
		"\r\n",
		a->status, http_status_text(a->status), a->type, a->len);
}

const char *http_status_text(int status)
{
	switch (status) {
	case 101: return "Switching Protocols";
	case 200: return "OK";
	case 201: return "Created";
	case 202: return "Accepted";
	case 204: return "No Content";
	case 206: return "Partial Content";
	case 304: return "Not Modified";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 402: return "Payment Required";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 409: return "Conflict";
	case 410: return "Gone";
	case 411: return "Length Required";
	case 413: return "Content Too Large";
	case 415: return "Unsupported Media Type";
	case 416: return "Range Not Satisfiable";
	case 426: return "Upgrade Required";
	case 429: return "Too Many Requests";
	case 431: return "Request Header Fields Too Large";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 507: return "Insufficient Storage";
	default: return "Unknown";
	}
}
